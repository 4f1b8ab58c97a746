"""One changed bit in every kind of file that a finished run leaves in its home: refused by name before anything is parsed.

The files that carry no hash are listed here, with what becomes of a changed bit in them.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.tracking import mirror_waiting
from tft_pipeline.storage.artifacts import MANIFEST, IntegrityError, read_version
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.deployment_log import LOG_FILE, read_log
from tft_pipeline.storage.experiments import claim_name, owner_of
from tft_pipeline.storage.frozen import write_frozen
from tft_pipeline.storage.looks import competing_looks
from tft_pipeline.storage.scopes import Scope
from tft_pipeline.storage.trials import competing_trials
from tft_pipeline.storage.usage import read_usage
from tft_pipeline_tests.conftest import DOWNSTREAM, SYMBOLS, Workbench
from tft_pipeline_tests.faults.frozen_bars import bars
from tft_pipeline_tests.released import candidate

pytestmark = pytest.mark.slow

OWN = r"experiments/small/"
NO_HASH = {
    rf"{OWN}owner\.txt": "a path that leads nowhere is written anew; one that leads to another experiment file is refused",
    rf"{OWN}usage\.jsonl": "a line that is no row is passed over or refused; no result is made of it",
    rf"{OWN}(progress\.jsonl|background/.*)": "for people to read",
    rf"{OWN}(drift/drift_.*|ensemble/ensemble)\.json": "for people and other programs; the record itself is a version",
    rf"{OWN}tracking/.*\.(mirrored|jsonl|torn|gone)": "what MLflow was told; the record itself is a version",
    rf"{OWN}tuning/(study\.db.*|control_log\.jsonl|control\.json)": "Optuna's database, and a file that people write",
    rf"{OWN}(models/)?removed\.jsonl": "what was removed, for people to read; the lines carry no hash",
    r"(dagster|mlflow)/.*": "databases and logs of Dagster and MLflow, with what checks those have; no figure comes from them, "
    "but whether something is up to date does",
    r"(.*/)?[\w.]*\.?lock|.*\.lock": "holds no data",
}
"""Pattern of a path below the home -> what a changed bit in it does."""
CHAINED = {
    rf"{OWN}models/deployments\.jsonl": "each line carries the hash of the one before",
    r"(production_looks|research_trials)\.jsonl": "each line carries the hash of all before it",
    r"(production_looks|research_trials)\.jsonl\.head": "number and hash of the ledger's lines",
}
"""Files that are no version and carry hashes all the same; each is changed below."""


def flip(path: Path, share: float = 0.5) -> bytes:
    """Change one bit; answers the bytes before."""
    path.parent.chmod(0o755)
    path.chmod(0o644)
    whole = path.read_bytes()
    place = min(len(whole) - 1, int(share * len(whole)))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
    return whole


def files(bench: Workbench) -> Iterator[Path]:
    """Every file of the home, but through links."""
    root = bench.layout.home
    return (
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(p.is_symlink() for p in links(path, root))
    )


def links(path: Path, root: Path) -> list[Path]:
    return [path, *(parent for parent in path.parents if parent != root and root in parent.parents)]


def version_of(path: Path) -> Path | None:
    """The folder of the version that a file belongs to."""
    return next((folder for folder in path.parents if (folder / MANIFEST).is_file()), None)


@pytest.mark.fault("flipped_byte")
def test_every_kind_of_file_carries_a_hash_or_is_listed_as_one_that_does_not(finished: Workbench) -> None:
    root = finished.layout.home
    without = {path.relative_to(root).as_posix() for path in files(finished) if version_of(path) is None}
    assert [name for name in without if not any(re.fullmatch(one, name) for one in (*NO_HASH, *CHAINED))] == []
    assert without > {
        "production_looks.jsonl",
        "production_looks.jsonl.head",
        "research_trials.jsonl",
        "research_trials.jsonl.head",
        "experiments/small/usage.jsonl",
        "experiments/small/tuning/study.db",
    }


@pytest.mark.fault("flipped_byte")
def test_a_changed_bit_of_any_kind_of_file_is_refused_by_name(finished: Workbench) -> None:
    root, kinds = finished.layout.experiment("small"), set()
    write_frozen(finished.layout, bars(30), interval="1d", source={"name": "bars.parquet"})
    for path in files(finished):
        folder = version_of(path)
        if folder is None:
            continue
        asset = path.relative_to(root).parts[0] if path.is_relative_to(root) else "snapshots"
        kind = (asset, path.relative_to(folder).as_posix())
        if kind in kinds:
            continue
        kinds.add(kind)
        read_version(folder)
        for share in (0.0, 0.37, 1.0):
            whole = flip(path, share)
            if path.name != MANIFEST or whole[min(len(whole) - 1, int(share * len(whole)))] not in b" \n":
                with pytest.raises(IntegrityError, match=re.escape(path.name)):
                    read_version(folder)
            path.write_bytes(whole)
    suffixes = {Path(name).suffix for _, name in kinds}
    assert suffixes == {".parquet", ".json", ".safetensors", ".txt", ".onnx", ".html", ".md"}
    assert {asset for asset, _ in kinds} >= {*DOWNSTREAM, "snapshot", "snapshots", "production_fold", "models"}


@pytest.mark.fault("flipped_byte")
def test_a_changed_bit_of_a_ledger_or_of_the_log_of_deployments_is_refused_by_name(finished: Workbench) -> None:
    layout = finished.layout
    models = layout.models("small")
    candidate(models, "made-up", "one")
    deploy_release(models, "made-up", reason="to have a log")
    scope = Scope(frozenset(SYMBOLS), "1d", date(2020, 1, 1), date(2022, 1, 1))
    readers: dict[Path, Callable[[], object]] = {
        layout.looks_ledger: lambda: competing_looks(layout.looks_ledger, scope),
        layout.trials_ledger: lambda: competing_trials(layout.trials_ledger, scope),
        models / LOG_FILE: lambda: read_log(models),
    }
    for path, read in readers.items():
        assert read()
        for share in (0.0, 0.13, 0.37, 0.5, 0.71, 0.99):
            whole = flip(path, share)
            with pytest.raises(IntegrityError, match=re.escape(path.name)):
                read()
            path.write_bytes(whole)
        assert read()


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize(
    ("damaged", "name", "reader"),
    [
        ("snapshot", "bars.parquet", "feature_catalogue"),
        ("features", "data.parquet", "prefiltered_features"),
        ("tuned_hyperparameters", "report.json", "production_plan"),
        ("production_fold", "weights.safetensors", "oos_portfolio"),
        ("production_fold", "predictions.parquet", "oos_portfolio"),
        ("oos_portfolio", "data.parquet", "oos_performance"),
    ],
)
def test_what_reads_a_damaged_file_fails_with_its_name_and_stores_nothing(
    damaged: str, name: str, reader: str, finished: Workbench
) -> None:
    before = finished.versions()
    flip(finished.artifact(damaged, finished.folds()[0] if damaged == "production_fold" else None) / name)
    result = materialise_asset(finished.file, reader, partition=None, downstream=True, report=finished.lines.append)
    (failed,) = result["failed"]
    assert failed["asset"] == f"small/{reader}"
    assert re.search(rf"{re.escape(name)}: SHA-256 is \w+, the manifest says \w+", failed["reason"]), failed
    assert finished.versions() == before


@pytest.mark.fault("flipped_byte")
def test_a_changed_bit_where_there_is_no_hash_is_refused_or_passed_over(finished: Workbench) -> None:
    root = finished.layout.experiment("small")
    rows = read_usage(finished.layout.usage("small"))
    usage = finished.layout.usage("small")
    whole = flip(usage, 0.0)
    assert read_usage(usage) == rows[1:], "a line that is no row is passed over"
    usage.write_bytes(whole)

    journal = next((root / "tracking").glob("production-*.mirrored"))
    waiting = journal.with_suffix(".jsonl")
    shutil.copy(journal, waiting)
    flip(waiting, 0.0)
    assert mirror_waiting(finished.layout, "small") is None
    assert waiting.with_suffix(".torn").is_file(), "told by its name, and no other journal waits for it"

    claim_name(root, finished.file)
    flip(root / "owner.txt", 0.3)
    claim_name(root, finished.file)
    assert owner_of(root) == finished.file, "a path that leads nowhere is written anew"
