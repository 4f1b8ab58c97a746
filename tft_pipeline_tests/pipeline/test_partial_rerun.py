"""One fold fails; repairing it recomputes that fold and what is downstream of it, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline_tests.conftest import DOWNSTREAM, Workbench, random_bars, write_experiment

FAILING = "f2021-03-12"
KEPT_FOR_ITSELF = {
    "drift",
    "ensemble",
    "tracking",
    "usage.jsonl",
    "run.lock",
    "locks",
    "training",
    "owner.txt",
}
LOOKED_AT = ("snapshot", None)  # always run: only reading tells whether the outside changed


def hashes(bench: Workbench, *, but: set[str]) -> dict[str, str]:
    """SHA-256 of every file of every asset and fold, except some assets."""
    root = bench.layout.experiment("small")
    found = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if (
            path.is_file()
            and not path.is_symlink()
            and relative.parts[0] not in but
            and "current" not in relative.parts
        ):
            found[str(relative)] = sha256_file(path)
    return found


def _grown(
    before: dict[tuple[str, str | None], int], after: dict[tuple[str, str | None], int]
) -> set[tuple[str, str | None]]:
    return {name for name, count in after.items() if count != before.get(name, 0)}


def block(bench: Workbench, fold: str) -> Path:
    """Put a file where the fold's folder must be, as a damaged disk would; the fold cannot be stored."""
    place = bench.layout.artifact("small", "production_fold", fold)
    if place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("in the way")
    return place


@pytest.mark.fault("failed_fold")
@pytest.mark.parametrize("repair", ["resume", "materialize"])
def test_a_failed_fold_is_reported_others_are_kept_and_its_repair_runs_it_and_its_downstream_only(
    repair: str, workbench: Callable[..., Workbench]
) -> None:
    bench = workbench()
    obstacle = block(bench, FAILING)
    result = bench.run()
    assert [(row["asset"], row["partition"]) for row in result["failed"]] == [("small/production_fold", FAILING)], (
        result
    )
    assert result["resume"] == f"tft run {bench.file} --resume"
    counts = bench.materialisations()
    assert not {name for name, _ in counts} & DOWNSTREAM
    others = [fold for fold in bench.folds() if fold != FAILING]
    assert all(counts["production_fold", fold] == 1 for fold in others)
    before = hashes(bench, but=KEPT_FOR_ITSELF)

    obstacle.unlink()
    commands = {
        "resume": ["run", str(bench.file), "--resume", "--json"],
        "materialize": ["materialize", str(bench.file), "production_fold", "--partition", FAILING, "--downstream"],
    }
    done = CliRunner().invoke(app, commands[repair])
    assert done.exit_code == 0, done.output

    looked_at = {LOOKED_AT} if repair == "resume" else set()
    ran = {("production_fold", FAILING), *((name, None) for name in DOWNSTREAM)}
    assert _grown(counts, bench.materialisations()) == looked_at | ran
    now = hashes(bench, but=KEPT_FOR_ITSELF)
    assert {name: digest for name, digest in now.items() if name in before} == {
        name: digest for name, digest in before.items() if not name.endswith(FAILING)
    }


def test_re_materialising_one_fold_runs_exactly_it_and_its_downstream(finished: Workbench) -> None:
    counts, versions = finished.materialisations(), finished.versions()
    kept = hashes(
        finished, but={*DOWNSTREAM, "models", "drift", "ensemble", "tracking", "usage.jsonl", "run.lock", "locks"}
    )

    result = materialise_asset(
        finished.file, "production_fold", partition=FAILING, downstream=True, report=finished.lines.append
    )

    assert not result["failed"]
    grown = {name: after - counts.get(name, 0) for name, after in finished.materialisations().items()}
    ran = {name for name, more in grown.items() if more}
    assert ran == {("production_fold", FAILING), *((name, None) for name in DOWNSTREAM)}
    assert all(grown[name] == 1 for name in ran)
    after = hashes(
        finished, but={*DOWNSTREAM, "models", "drift", "ensemble", "tracking", "usage.jsonl", "run.lock", "locks"}
    )
    assert {name: after[name] for name in kept if FAILING not in name} == {
        name: digest for name, digest in kept.items() if FAILING not in name
    }
    others = {name: version for name, version in versions.items() if name.startswith("production_fold/")}
    now = finished.versions()
    assert {name: now[name] for name in others if FAILING not in name} == {
        name: version for name, version in others.items() if FAILING not in name
    }


def test_an_identical_fold_has_the_same_data_version_so_nothing_downstream_is_outdated(finished: Workbench) -> None:
    materialise_asset(
        finished.file, "production_fold", partition=FAILING, downstream=False, report=finished.lines.append
    )
    counts = finished.materialisations()
    assert not finished.run(resume=True)["failed"]
    assert _grown(counts, finished.materialisations()) == {LOOKED_AT}


@pytest.mark.fault("failed_fold")
def test_an_aggregate_without_a_fold_is_refused_and_names_it(finished: Workbench) -> None:
    place = finished.layout.artifact("small", "production_fold", FAILING)
    shutil.rmtree(place)
    result = materialise_asset(
        finished.file, "oos_portfolio", partition=None, downstream=False, report=finished.lines.append
    )
    assert FAILING in result["failed"][0]["reason"]
    assert "no result yet" in result["failed"][0]["reason"]


def test_a_fold_of_an_older_plan_is_refused_by_the_aggregate(finished: Workbench) -> None:
    write_experiment(finished.folder, {"production.epochs": 1})
    for asset in ("production_plan", "oos_portfolio"):
        result = materialise_asset(finished.file, asset, partition=None, downstream=False, report=finished.lines.append)
    assert "older spec" in result["failed"][0]["reason"]
    assert FAILING in result["failed"][0]["reason"]


def test_new_bars_add_a_fold_and_leave_the_old_ones_as_they_are(finished: Workbench) -> None:
    before, old = finished.materialisations(), finished.folds()
    random_bars(460).write_parquet(finished.folder / "bars.parquet")
    assert not finished.run(resume=True)["failed"]
    after, now = finished.materialisations(), finished.folds()
    assert len(now) == len(old) + 1
    assert now[: len(old)] == old
    assert all(after["production_fold", fold] == before["production_fold", fold] for fold in old)
    assert after["production_fold", now[-1]] == 1
    assert all(
        after["exploration_fold", fold] == before["exploration_fold", fold] for fold in finished.folds("exploration")
    )


def test_a_changed_pruning_limit_runs_pruning_and_nothing_upstream(finished: Workbench) -> None:
    before = finished.materialisations()
    write_experiment(finished.folder, {"pruning.min_stability": 0.2})
    assert not finished.run(resume=True)["failed"]
    grown = _grown(before, finished.materialisations()) - {LOOKED_AT}
    assert ("selected_features", None) in grown
    assert grown <= {("selected_features", None), ("tuned_hyperparameters", None), ("production_plan", None)} | {
        ("production_fold", fold) for fold in finished.folds()
    } | {(name, None) for name in DOWNSTREAM}
    assert not any(name == "exploration_fold" or name == "features" for name, _ in grown)


def test_a_failure_names_asset_partition_reason_and_the_command_that_resumes(
    workbench: Callable[..., Workbench],
) -> None:
    bench = workbench(changes={"periods.production_start": "2035-01-01"})
    result = bench.run()
    (failed,) = result["failed"]
    assert failed["asset"] == "small/prefiltered_features"
    assert "production_start 2035-01-01 is not inside the bars" in failed["reason"]
    assert result["resume"].endswith("--resume")


@pytest.mark.fault("flipped_byte")
def test_missing_or_damaged_files_are_made_again_by_resume(finished: Workbench) -> None:
    shutil.rmtree(finished.layout.artifact("small", "production_fold", FAILING))
    damaged = finished.artifact("oos_portfolio") / "data.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    before = finished.materialisations()
    assert not finished.run(resume=True)["failed"]
    grown = _grown(before, finished.materialisations())
    assert {("production_fold", FAILING), ("oos_portfolio", None)} <= grown
    assert not finished.run(resume=True)["failed"]


def test_another_file_of_the_same_name_does_not_overwrite_an_experiment(finished: Workbench) -> None:
    assert not finished.run(resume=True)["failed"]
    copy = finished.folder / "copy" / "small.yaml"
    copy.parent.mkdir()
    shutil.copy(finished.file, copy)
    before = finished.versions()
    done = CliRunner().invoke(app, ["run", str(copy)])
    assert isinstance(done.exception, ConfigurationError)
    assert "give it another name" in str(done.exception)
    assert finished.versions() == before
