"""The graph that Dagster loads: experiments side by side, versions that follow configuration, blocking checks."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.factory import build_definitions
from tft_pipeline.storage.experiments import usable_experiments
from tft_pipeline.storage.layout import PROJECT_ROOT, Layout
from tft_pipeline_tests.conftest import Workbench, small_experiment, write_experiment

ISSUE_ASSETS = {
    "snapshot",
    "features",
    "prefiltered_features",
    "exploration_plan",
    "exploration_fold",
    "selected_features",
    "tuned_hyperparameters",
    "production_plan",
    "production_fold",
    "oos_performance",
    "latency_benchmark",
    "drift_report",
    "ensemble_weights",
    "leakage_audit",
    "purge_comparison",
    "model_card",
    "report",
    "release",
}


def code_versions(definitions: dg.Definitions) -> dict[str, str | None]:
    assets = definitions.resolve_asset_graph()
    return {node.key.to_user_string(): node.code_version for node in assets.asset_nodes if node.is_materializable}


def test_every_stage_of_the_pipeline_is_an_asset(workbench: Callable[..., Workbench]) -> None:
    names = {key.split("/")[1] for key in code_versions(workbench().definitions)}
    assert names >= ISSUE_ASSETS


def test_experiments_live_side_by_side_without_sharing_keys_partitions_jobs_or_folders(tmp_path: Path) -> None:
    first = small_experiment(tmp_path / "one")
    second = small_experiment(tmp_path / "two")
    content = yaml.safe_load(second.read_text())
    content["name"] = "other"
    second.write_text(yaml.safe_dump(content))
    definitions = build_definitions(usable_experiments([first, second])[0], Layout(tmp_path / "home"))
    assets = definitions.resolve_asset_graph()
    by_experiment = {
        name: [key for key in assets.get_all_asset_keys() if key.path[0] == name] for name in ("small", "other")
    }
    assert len(by_experiment["small"]) == len(by_experiment["other"]) > 15
    for name, keys in by_experiment.items():
        for key in keys:
            assert all(parent.path[0] == name for parent in assets.get(key).parent_keys)
    partitions = {
        assets.get(key).partitions_def.name
        for key in assets.get_all_asset_keys()
        if assets.get(key).is_partitioned and key.path[-1] != "drift_night"
    }
    assert partitions == {f"{name}_{phase}_folds" for name in by_experiment for phase in ("exploration", "production")}


@pytest.mark.parametrize(
    ("change", "outdated"),
    [
        ({"pruning.min_stability": 0.4}, {"selected_features", "leakage_audit"}),
        ({"latency.n": 30}, {"latency_benchmark"}),
        ({"drift.recent_bars": 12}, {"drift_report", "model_card"}),
        ({"tuning.n_trials": 4}, {"tuned_hyperparameters"}),
        ({"evaluation.min_psr": 0.97}, {"oos_performance", "model_card", "release"}),
        ({"evaluation.min_accuracy": 0.55}, {"oos_performance", "model_card", "release"}),
        ({"ensemble.sentiment_column": "mood"}, {"feature_catalogue", "production_plan"}),
        ({"ensemble.l2": 0.5}, {"ensemble_weights"}),
        ({"description": "other words"}, {"model_card"}),
        ({"card.owner": "a desk"}, {"model_card"}),
    ],
)
def test_a_changed_section_changes_the_code_version_of_exactly_its_readers(
    change: dict[str, object], outdated: set[str], workbench: Callable[..., Workbench]
) -> None:
    bench = workbench()
    before = code_versions(bench.definitions)
    write_experiment(bench.folder, change)
    after = code_versions(bench.definitions)
    printed = {"report"}  # the whole configuration stands on the page
    assert {key.split("/")[1] for key in before if before[key] != after[key]} == outdated | printed


def test_a_feature_that_sees_later_bars_blocks_everything_downstream(
    workbench: Callable[..., Workbench], monkeypatch: pytest.MonkeyPatch
) -> None:
    import polars as pl

    from tft_pipeline.pipeline.assets import features as module

    honest = module.feature_frames

    def leaking(*arguments: object, **named: object) -> Iterator[pl.DataFrame]:
        for frame in honest(*arguments, **named):  # type: ignore[arg-type]
            yield frame.with_columns(pl.col("ret_1").shift(-1).over("symbol"))

    monkeypatch.setattr(module, "feature_frames", leaking)
    bench = workbench()
    result = bench.run()
    (failed,) = result["failed"]
    assert failed["asset"] == "small/features"
    assert "features_do_not_see_later_bars" in failed["reason"]
    assert "ret_1" in failed["reason"]
    (again,) = bench.run(resume=True)["failed"]
    assert again["asset"] == "small/features", "resuming does not step over a failed check"


def test_a_damaged_input_is_refused_by_the_asset_that_reads_it(finished: Workbench) -> None:
    path = finished.artifact("oos_portfolio") / "data.parquet"
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    result = materialise_asset(finished.file, "oos_performance", partition=None, downstream=False, report=print)
    assert "SHA-256 is" in result["failed"][0]["reason"]


@pytest.mark.slow
def test_dagsters_own_validators_accept_the_project() -> None:
    binaries = Path(sys.executable).parent
    for command in (["dg", "check", "defs"], ["dagster", "definitions", "validate", "-w", "workspace.yaml"]):
        done = subprocess.run(
            [binaries / command[0], *command[1:]], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
