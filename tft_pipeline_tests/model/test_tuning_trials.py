"""What becomes of trials that somebody else leaves behind, and which of them count."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tft_pipeline.domain.reports import trials_that_count
from tft_pipeline.model.tuning_storage import opened
from tft_pipeline.model.tuning_trials import counted
from tft_pipeline.model.tuning_workers import working
from tft_pipeline_tests.model.test_tuning_rounds import bench, stored
from tft_pipeline_tests.scripted_fits import ScriptedBench, memory_folder


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Studies of these tests lie in memory."""
    with memory_folder(tmp_path) as folder:
        yield folder


def asked(one: ScriptedBench, *, worker: dict[str, Any], **attributes: Any) -> None:
    """A trial that another worker took and does not run on; the study exists."""
    with opened(one.study) as storage:
        trial = optuna.load_study(study_name=one.study.name, storage=storage).ask()
        trial.set_user_attr("worker", worker)
        trial.suggest_float("position.position_smooth", 0.0, 0.9)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        storage.record_heartbeat(trial._trial_id)


def gone() -> dict[str, Any]:
    """A worker of this machine whose process is not there."""
    with working() as worker:
        return {**worker, "pid": 2**22 - 1, "token": "gone"}


def test_a_study_that_is_stopped_is_swept_all_the_same(tmp_path):
    one = bench(tmp_path, n_trials=2)
    one.run()
    asked(one, worker=gone())
    one.control(stop=True)
    rows = one.run()
    assert [row.state for row in rows] == ["complete", "complete", "fail"]
    assert TrialState.RUNNING not in {trial.state for trial in stored(one)}
    assert len(trials_that_count(rows)) == 3


def test_a_trial_that_another_worker_still_runs_is_among_those_that_were_started(tmp_path):
    one = bench(tmp_path, n_trials=2)
    one.run()
    asked(one, worker={**gone(), "host": "elsewhere"})
    one.control(stop=True)
    rows = one.run()
    assert [row.state for row in rows] == ["complete", "complete", "running"]
    assert len(trials_that_count(rows)) == 3


def test_a_trial_whose_worker_died_while_a_lowered_limit_cut_it_is_not_tried_again(tmp_path):
    one = bench(tmp_path, n_trials=3)
    one.control(max_trials=2)
    one.run()
    asked(one, worker=gone(), beyond_limit=2)
    one.control()
    rows = one.run()
    assert [(row.state, row.replaces) for row in rows] == [
        ("complete", None),
        ("complete", None),
        ("pruned", None),
        ("complete", None),
    ]
    assert rows[2].note == "max_trials was lowered to 2; its worker is gone"


def test_a_replacement_of_a_trial_that_does_not_count_counts_itself():
    def trial(number: int, state: TrialState, **attributes: Any) -> optuna.trial.FrozenTrial:
        value = 1.0 if state == TrialState.COMPLETE else None
        one = optuna.trial.create_trial(state=state, value=value, user_attrs=attributes)
        one.number = number
        return one

    cut = trial(0, TrialState.FAIL, beyond_limit=1)
    assert counted([cut, trial(1, TrialState.COMPLETE, replaces=0)]) == 1
    stopped = trial(0, TrialState.FAIL)
    assert counted([stopped]) == 1
    assert counted([stopped, trial(1, TrialState.WAITING, replaces=0)]) == 0
    assert counted([stopped, trial(1, TrialState.COMPLETE, replaces=0)]) == 1
    assert counted([trial(0, TrialState.COMPLETE), trial(1, TrialState.FAIL, replaces=0, withdrawn=True)]) == 1


def test_a_slow_worker_that_ends_its_trial_while_it_is_put_back_leaves_no_second_one(tmp_path, monkeypatch):
    one = bench(tmp_path, n_trials=4)
    one.control(max_trials=2)
    one.run()
    asked(one, worker=gone())
    one.control()
    enqueue = optuna.Study.enqueue_trial

    def slow(study: optuna.Study, params: dict[str, Any], **settings: Any) -> None:
        enqueue(study, params, **settings)
        study._storage.set_trial_state_values(study.get_trials()[2]._trial_id, TrialState.COMPLETE, [9.0])

    monkeypatch.setattr(optuna.Study, "enqueue_trial", slow)
    rows = one.run()
    assert [(row.number, row.state, row.replaces) for row in rows] == [
        (number, "complete", None) for number in (0, 1, 2, 4)
    ]
    assert any("but it has ended meanwhile" in line for line in one.lines)
    assert TrialState.WAITING not in {trial.state for trial in stored(one)}


def test_a_full_disk_is_not_the_fault_of_the_parameters(tmp_path):
    one = bench(tmp_path, n_trials=1, parallel_trials=1)

    def full(n: int) -> None:
        raise OSError(28, "No space left on device")

    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            one.run(full)
    rows = one.run()
    assert [row.state for row in rows] == ["fail"] * 3 + ["complete"]
    assert len({str(row.params) for row in rows}) == 1
    assert len(trials_that_count(rows)) == 1, "no fold of the first three was scored"


def test_a_trial_whose_worker_died_before_any_value_was_asked_for_says_so_and_does_not_count(tmp_path):
    one = bench(tmp_path, n_trials=1)
    one.control(max_trials=0)
    one.run()
    with opened(one.study) as storage:
        optuna.load_study(study_name="study", storage=storage).ask()
    one.control()
    rows = one.run()
    assert [row.state for row in rows] == ["fail", "complete"]
    assert rows[0].note == "was cut off while it was asked for; it had no parameters yet and does not count"
    assert [row.number for row in trials_that_count(rows)] == [1]


def test_a_trial_of_which_a_fold_was_scored_counts_although_it_is_tried_again(tmp_path):
    for folder, fold, n in (("seen", 2, 2), ("unseen", 1, 1)):
        one = bench(tmp_path / folder, n_trials=1, pruner="hyperband", epochs=9)

        def interrupt(k: int, fold: int = fold) -> None:
            if k == fold:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            one.run(interrupt)
        assert len(trials_that_count(one.run())) == n


def test_a_study_that_was_cut_off_keeps_its_finished_trials_and_retries_the_running_one_once(tmp_path):
    class CutOffError(Exception):
        """Stands for a process that ends in the middle of a round."""

    one = bench(tmp_path / "one", n_trials=4)

    def cut_off(line: str) -> None:
        if line.startswith("trial 2:"):
            raise CutOffError(line)

    with pytest.raises(CutOffError):
        one.run(report=cut_off)
    resumed = one.run()
    assert [row.state for row in resumed] == ["complete"] * 3 + ["fail"] + ["complete"]
    assert resumed[3].note == "was interrupted (CutOffError); its parameters are tried once more"
    assert (resumed[4].params, resumed[4].replaces) == (resumed[3].params, 3)
    assert len(trials_that_count(resumed)) == 5, "all folds of the fourth were scored before it was dropped"
    whole = bench(tmp_path / "whole", n_trials=4).run()
    assert resumed[:3] == whole[:3]
    assert (resumed[4].params, resumed[4].returns) == (whole[3].params, whole[3].returns)
