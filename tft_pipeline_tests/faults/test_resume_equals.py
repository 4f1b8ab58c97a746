"""A whole run that is killed in exploration, in tuning and between two epochs of a production fold, then asked to stop, then
resumed, ends in the bytes of one that was never disturbed.

What is compared: the content of every asset as its data version, and the stored files themselves. By name are left out what
holds times, ids or measured latencies (`MEASURED`), and the rows and ids of trials that were cut off, which two records keep on
purpose (`SEARCHED`): the parameters that were tried, in their order, everything chosen from them, and the whole verdict are
compared.
"""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline.storage.locks import run_holder
from tft_pipeline_tests.conftest import Workbench

pytestmark = [pytest.mark.slow, pytest.mark.fault("resume_equals", "sigterm")]

TIMEOUT_SECONDS = 600.0
STOPS = (
    ("exploration:2", "SIGKILL"),  # in the fold's second fit
    ("tuning:2", "SIGKILL"),  # two trials run
    ("production:4", "SIGKILL"),  # the second fold, behind its first epoch
    ("production:4", "SIGTERM"),  # the third fold likewise; the second one's first epoch is told again
)
MEASURED = {"latency_benchmark", "model_card", "release", "report"}
"""Assets whose content holds measured latencies, times or the id of a release, which is a time."""
SEARCHED = {("tuned_hyperparameters", None), ("oos_performance", None)}
"""Records that name every trial of the study, those that were cut off too."""
STORED = ("weights.safetensors", "lightgbm.txt", "network.json", "predictions.parquet", "data.parquet", "bars.parquet")
"""Files without times."""


def stopped(bench: Workbench, moment: str, name: str) -> "subprocess.CompletedProcess[str]":
    """`tft run --resume` with a signal at a moment."""
    script = [sys.executable, "-m", "tft_pipeline_tests.faults.stopped_run", moment, name]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [*script, "run", str(bench.file), "--resume"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        start_new_session=True,
    )


def contents(bench: Workbench) -> dict[tuple[str, str | None], str]:
    """Data version of what is current, by asset and fold."""
    found: dict[tuple[str, str | None], tuple[int, str]] = {}
    with bench.instance() as instance:
        for key in instance.all_asset_keys():
            for record in instance.fetch_materializations(key, limit=1000).records:
                made = record.asset_materialization
                assert made is not None
                name = (key.path[-1], made.partition)
                version = (made.tags or {})["dagster/data_version"]
                found[name] = max(found.get(name, (0, "")), (record.storage_id, version))
    return {name: version for name, (_, version) in found.items() if name[0] not in MEASURED}


def stored(bench: Workbench) -> dict[str, str]:
    """SHA-256 of the current files that hold no time, by their place."""
    root = bench.layout.experiment("small")
    return {
        f"{link.parent.relative_to(root)}/{path.name}": sha256_file(path)
        for link in root.rglob("current")
        for path in link.resolve().iterdir()
        if path.name in STORED and "models" not in link.parts
    }


def search(bench: Workbench) -> dict[str, Any]:
    """The search without its cut-off trials and their numbers."""
    record = json.loads((bench.artifact("tuned_hyperparameters") / "report.json").read_text())
    told = [trial for trial in record["trials"] if trial["state"] != "fail"]
    for gone in ("seconds", "best_trial", "trials"):
        record.pop(gone)
    shown = ("state", "params", "sharpe_annual", "fold_sharpes", "returns")
    return record | {"trials": [{name: trial[name] for name in shown} for trial in told]}


def verdict(bench: Workbench) -> dict[str, Any]:
    """The verdict without times and the ids of trials."""
    record = json.loads((bench.artifact("oos_performance") / "report.json").read_text())
    for gone in ("snapshot_id", "looks_seen"):
        record.pop(gone)
    record["research"].pop("own_trials")
    return dict(record)


def unfinished(bench: Workbench) -> int:
    """Runs that are recorded as going on."""
    open_ones = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
    with bench.instance() as instance:
        return instance.get_runs_count(dg.RunsFilter(statuses=open_ones))


def test_a_run_that_is_killed_three_times_and_stopped_once_ends_in_the_bytes_of_one_that_never_was(
    finished: Workbench, tmp_path: Path
) -> None:
    bench = Workbench(tmp_path / "stopped")
    bench.folder.mkdir()
    for name in ("small.yaml", "bars.parquet"):
        shutil.copy(finished.folder / name, bench.folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFT_HOME", str(bench.layout.home))
        patch.setenv("DAGSTER_HOME", str(bench.layout.dagster_home))
        patch.setenv("OMP_NUM_THREADS", "1")
        for moment, name in STOPS:
            ended = stopped(bench, moment, name)
            if name == "SIGKILL":
                assert ended.returncode == -signal.SIGKILL, ended.stderr
                assert "Traceback" not in ended.stderr
            else:
                assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
                last = ended.stderr.strip().splitlines()[-1]
                assert last.startswith("stopped by SIGTERM: what was finished is kept; go on with")
                assert last.endswith(f"tft run {bench.file} --resume")
                assert unfinished(bench) == 0
            assert run_holder(bench.layout.run_lock("small")) is None
            if moment.startswith("production"):
                (state,) = bench.layout.training_state("small", "production", "any").parent.glob("production-*")
                assert state.stat().st_size > 0
        assert not (bench.layout.models("small") / "versions").exists()
        answer = bench.run(resume=True)
        assert not answer["failed"], answer
        assert unfinished(bench) == 0
        resumed = contents(bench), stored(bench), search(bench), verdict(bench)
    undisturbed = contents(finished), stored(finished), search(finished), verdict(finished)
    for one in (resumed, undisturbed):
        assert {name: one[0].pop(name) for name in SEARCHED}
        assert len(one[0]) > 15
        assert len(one[1]) > 10
    assert resumed == undisturbed
