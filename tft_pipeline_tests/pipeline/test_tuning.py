"""The asset and its workers share one study; what the asset shows; how the storage's password stays secret."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.reports import TunedHyperparameters
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.tuning_worker import STORAGE_VARIABLE, work_on_study
from tft_pipeline.storage import slots
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.stored import stored_report

ASSET = "tuned_hyperparameters"


def record(bench: Workbench) -> TunedHyperparameters:
    return stored_report(bench, TunedHyperparameters, ASSET)


def again(bench: Workbench) -> dict[str, Any]:
    return materialise_asset(bench.file, ASSET, partition=None, downstream=False, report=bench.lines.append)


def control(bench: Workbench, **settings: Any) -> None:
    bench.layout.tuning_control("small").write_text(json.dumps(settings))


def shown(bench: Workbench) -> dict[str, Any]:
    with bench.instance() as instance:
        event = instance.get_latest_materialization_event(bench.graph.key(ASSET))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_the_asset_shows_progress_pictures_and_where_the_study_is(finished: Workbench) -> None:
    metadata = shown(finished)
    assert (metadata["trials_complete"], metadata["trials_wanted"]) == (3, 3)
    assert metadata["best_trial"] == record(finished).best_trial
    for name in ("history", "slice", "parallel_coordinates", "importances"):
        assert "data:image/png;base64," in str(metadata[name])
    assert str(metadata["control_file"]).endswith("tuning/control.json")
    assert str(metadata["storage"]).endswith("experiments/small/tuning/study.db")


def test_each_round_leaves_an_observation_with_what_was_done_so_far(finished: Workbench) -> None:
    with finished.instance() as instance:
        records = instance.fetch_observations(finished.graph.key(ASSET), limit=10).records
    seen = [one.asset_observation.metadata for one in reversed(records) if one.asset_observation is not None]
    assert [one["trials_complete"].value for one in seen] == [2, 3]
    assert all(one["trials_wanted"].value == 3 and "best_sharpe_annual" in one for one in seen)


def test_a_worker_waits_where_all_cores_compute_and_says_who_does(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(slots, "n_cores", lambda: 1)
    with ExitStack() as another:
        another.enter_context(slots.computing(finished.layout.slots, waits=print))

        def told(line: str) -> None:
            lines.append(line)
            if line.startswith("waits for one of 1 slots"):
                another.close()

        assert work_on_study(finished.file, told)["trials"] == {"complete": 3}
    assert any(f"process {os.getpid()} of this machine compute" in line for line in lines)


def test_a_worker_joins_the_assets_study_and_the_asset_records_what_it_found(finished: Workbench) -> None:
    before = record(finished)
    lines: list[str] = []
    done = work_on_study(finished.file, lines.append)
    assert done["study"] == before.study
    assert done["trials"] == {"complete": 3}
    assert done["best_sharpe_annual"] == before.best_sharpe_annual
    assert not any("begins" in line for line in lines)
    control(finished, max_trials=5)
    assert work_on_study(finished.file, lines.append)["trials"] == {"complete": 5}
    assert record(finished) == before, "a worker writes no record"
    ledger = [json.loads(line) for line in finished.layout.trials_ledger.read_text().splitlines()]
    settled = {start for entry in ledger for start in entry["settled"]}
    assert len(settled) == 5, "each was written down when it started"
    assert len({key for entry in ledger for key in entry["trials"]} - settled) == 5
    assert not again(finished)["failed"]
    after = record(finished)
    assert after.trials[:3] == before.trials
    assert len(after.trials) == 5
    (change,) = shown(finished)["control_changes"].records
    assert change.data["after"] == "{'max_trials': 5}"


def test_a_worker_has_nothing_to_work_on_before_features_are_selected(workbench: Any) -> None:
    bench = workbench()
    with pytest.raises(ConfigurationError, match="selected_features of small is not materialised yet"):
        work_on_study(bench.file, print)


@pytest.mark.fault("kill_tuning")
@pytest.mark.slow
def test_a_real_worker_that_is_killed_leaves_a_study_that_the_asset_completes(finished: Workbench) -> None:
    control(finished, max_trials=9)
    script = (
        "import sys; from pathlib import Path; from tft_pipeline.pipeline.tuning_worker import work_on_study; "
        "work_on_study(Path(sys.argv[1]), lambda line: print(line, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(finished.file)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as worker:
        assert worker.stdout is not None
        lines = iter(worker.stdout.readline, "")
        assert any("trial 4 begins" in line for line in lines)
        worker.kill()
    assert not again(finished)["failed"]
    trials = record(finished).trials
    assert sum(trial.state == "complete" for trial in trials) == 9
    replaced = [trial.replaces for trial in trials if trial.replaces is not None]
    assert sorted(trial.number for trial in trials if trial.state == "fail") == sorted(replaced) != []


def test_the_variable_names_another_database_with_equal_trials(
    finished: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = record(finished)
    monkeypatch.setenv(STORAGE_VARIABLE, f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert not again(finished)["failed"]
    assert (tmp_path / "elsewhere.db").is_file()
    assert record(finished).content_sha256() == before.content_sha256()


def test_a_storage_that_cannot_be_used_fails_the_asset_and_its_password_is_nowhere_in_the_log(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE_VARIABLE, "postgresql+nodriver://tuner:hush@127.0.0.1/x")
    (failed,) = again(finished)["failed"]
    assert "postgresql+nodriver://tuner:***@127.0.0.1/x needs a driver that is not installed" in failed["reason"]
    with finished.instance() as instance:
        logged = "".join(str(one) for one in instance.all_logs(failed["run_id"]))
    assert "hush" not in logged
