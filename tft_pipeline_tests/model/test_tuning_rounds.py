"""The search loop with fits that cost nothing: limits, steering while it runs, what happens to trials that are cut."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from tft_pipeline.domain.sharpe import sharpe_ratio
from tft_pipeline.model.tuning_control import ControlFileError, read_control_log
from tft_pipeline.model.tuning_rounds import search
from tft_pipeline.model.tuning_trials import SharedTrials
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.object_store import StoreError
from tft_pipeline_tests.builders import small
from tft_pipeline_tests.scripted_fits import ScriptedBench, ScriptedFits, memory_folder, returns_of

SPACE = {"position.position_smooth": {"low": 0.0, "high": 0.9}}


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Studies of these tests lie in memory."""
    with memory_folder(tmp_path) as folder:
        yield folder


def smooth_is_bad(params: dict[str, Any], fold: int, epochs: int) -> float:
    """The less smoothing the better, and no two folds alike."""
    return 2.0 - float(params["position.position_smooth"]) + 0.01 * fold


def bench(folder: Path, **changes: Any) -> ScriptedBench:
    settings = {"n_trials": 6, "parallel_trials": 2, "space": SPACE, "folds.max_folds": 4} | changes
    return ScriptedBench(folder, small({f"tuning.{key}": value for key, value in settings.items()}), smooth_is_bad)


def stored(one: ScriptedBench) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{one.study.database}")
    return optuna.load_study(study_name=one.study.name, storage=storage).get_trials()


def at_fit(number: int, act: Callable[[], None]) -> Callable[[int], None]:
    def before(n: int) -> None:
        if n == number:
            act()

    return before


def test_a_study_ends_at_its_limit_and_nothing_stays_running(tmp_path):
    one = bench(tmp_path)
    rows = one.run()
    assert [row.state for row in rows] == ["complete"] * 6
    assert [row.number for row in rows] == list(range(6))
    assert all(len(row.returns) == 4 * 20 for row in rows)
    assert {trial.state for trial in stored(one)} == {TrialState.COMPLETE}


def test_equal_inputs_give_equal_trials_and_a_study_resumed_between_rounds_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole = bench(tmp_path / "whole", n_trials=8).run()
    assert bench(tmp_path / "again", n_trials=8).run() == whole
    parts = bench(tmp_path / "parts", n_trials=8)
    for limit in (2, 6, 8):
        parts.control(max_trials=limit)
        rows = parts.run()
    assert rows == whole


@pytest.mark.fault("kill_switch")
def test_stop_is_obeyed_within_one_fold_and_what_was_cut_is_tried_when_the_study_goes_on(tmp_path):
    one = bench(tmp_path)
    rows = one.run(at_fit(11, lambda: one.control(stop=True)))  # second round, second fold
    assert len(one.fits.asked) == 12, "a fold more than the one that ran was fitted"
    assert [row.state for row in rows] == ["complete", "complete", "fail", "fail"]
    assert rows[2].note == "was stopped (stop); its parameters wait for the study to go on"
    assert [trial.state for trial in stored(one)[4:]] == [TrialState.WAITING] * 2
    one.control()
    resumed = one.run()
    assert [row.state for row in resumed] == ["complete", "complete", "fail", "fail", *["complete"] * 4]
    assert [row.replaces for row in resumed[4:6]] == [2, 3]
    assert [row.params for row in resumed[4:6]] == [row.params for row in resumed[2:4]]
    assert resumed[:2] == rows[:2]


def test_a_trial_that_was_stopped_is_not_one_that_died_however_often(tmp_path):
    one = bench(tmp_path, n_trials=1)
    for _ in range(3):
        one.control()
        one.run(at_fit(2, lambda: one.control(stop=True)))
    one.control()
    assert [row.state for row in one.run()] == ["fail"] * 3 + ["complete"]


def test_a_deadline_that_passes_while_a_round_runs_cuts_it_and_one_to_come_does_not(tmp_path):
    one = bench(tmp_path, n_trials=2)
    rows = one.run(at_fit(3, lambda: one.control(deadline=time.time() - 1)))
    assert [row.note for row in rows] == ["was stopped (deadline); its parameters wait for the study to go on"] * 2
    one.control(deadline=time.time() + 3600)
    assert [row.state for row in one.run()] == ["fail", "fail", "complete", "complete"]


def test_a_lowered_limit_prunes_the_newest_running_trials_and_keeps_what_they_scored(tmp_path):
    one = bench(tmp_path, parallel_trials=3)
    rows = one.run(at_fit(14, lambda: one.control(max_trials=4)))  # trials 3, 4, 5 run, in their first fold
    assert [row.state for row in rows] == ["complete"] * 4 + ["pruned"] * 2
    for row in rows[4:]:
        assert row.note == "max_trials was lowered to 4"
        assert row.returns == tuple(returns_of(row.fold_sharpes[0], 0))
    one.control(max_trials=6)
    raised = one.run()
    assert [row.state for row in raised[6:]] == ["complete"] * 2, "trials that were cut must not count"
    assert raised[:6] == rows


def test_a_limit_below_what_has_ended_cuts_everything(tmp_path):
    one = bench(tmp_path)
    rows = one.run(at_fit(10, lambda: one.control(max_trials=1)))
    assert [row.state for row in rows] == ["complete"] * 2 + ["pruned"] * 2


def test_pause_waits_at_the_fold_and_goes_on_when_the_file_says_so(tmp_path):
    one = bench(tmp_path, n_trials=2)
    fits_while_paused: list[int] = []

    def resume() -> None:
        time.sleep(0.3)
        fits_while_paused.append(len(one.fits.asked))
        one.control(pause=False)

    clock = threading.Thread(target=resume)

    def pause() -> None:
        one.control(pause=True)
        clock.start()

    rows = one.run(at_fit(4, pause))
    clock.join()
    assert fits_while_paused == [4]
    assert [row.state for row in rows] == ["complete"] * 2
    assert [line for line in one.lines if line.startswith("paused")] == [
        f"paused by {one.study.control}; set pause to false to go on"
    ]


@pytest.mark.parametrize("more", [{"stop": True}, {"deadline": 1.0}])
def test_a_paused_study_can_be_ended(tmp_path, more):
    one = bench(tmp_path)
    one.control(pause=True, **more)
    assert one.run() == ()
    assert one.fits.asked == []


def test_every_change_of_the_settings_is_told_and_logged_once(tmp_path):
    one = bench(tmp_path, n_trials=6)
    one.control(max_trials=4)

    def change(n: int) -> None:
        if n == 3:
            one.control(max_trials=2, pause=False)
        if n == 6:
            one.control()

    one.run(change)
    assert [line for line in one.lines if "changed" in line] == [
        "control.json changed: max_trials unset -> 4",
        "control.json changed: max_trials 4 -> 2, pause unset -> false",
        "control.json changed: max_trials 2 -> unset, pause false -> unset",
    ]
    log = read_control_log(one.study.control_log)
    assert [(line["before"], line["after"]) for line in log] == [
        ({}, {"max_trials": 4}),
        ({"max_trials": 4}, {"max_trials": 2, "pause": False}),
        ({"max_trials": 2, "pause": False}, {}),
    ]
    assert all(line["study"] == "study" and line["at"].endswith("+00:00") for line in log)
    one.run()
    assert read_control_log(one.study.control_log) == log, "what was known is logged again"


@pytest.mark.fault("flipped_byte")
def test_a_spoilt_control_file_ends_the_worker_but_loses_no_trial(tmp_path):
    one = bench(tmp_path, n_trials=2)
    with pytest.raises(ControlFileError, match="halt = True is not understood"):
        one.run(at_fit(3, lambda: one.control(halt=True)))
    assert {trial.state for trial in stored(one)} == {TrialState.FAIL, TrialState.WAITING}
    one.control()
    rows = one.run()
    assert [row.state for row in rows] == ["fail", "fail", "complete", "complete"]
    assert "ControlFileError" in rows[0].note


def test_a_control_file_that_is_half_written_is_read_again(tmp_path):
    one = bench(tmp_path, n_trials=2)

    def half_write() -> None:
        one.study.control.write_text('{"max_tri')
        threading.Timer(0.3, lambda: one.control(max_trials=2)).start()

    assert [row.state for row in one.run(at_fit(3, half_write))] == ["complete"] * 2


class BrokenFits:
    """A pool whose process was killed, at some fit."""

    def __init__(self, whole: Any, at: int) -> None:
        self.whole, self.left = whole, at

    def submit(self, params: dict[str, Any], fold: int, epochs: int) -> "Future[dict[str, Any]]":
        self.left -= 1
        if self.left < 0:
            raise BrokenProcessPool("a process was terminated abruptly")
        return self.whole.submit(params, fold, epochs)


def test_parameters_that_break_the_machine_are_tried_once_more_and_then_given_up(tmp_path):
    one = bench(tmp_path, n_trials=3, parallel_trials=1)
    for _ in range(2):
        broken = BrokenFits(ScriptedFits(smooth_is_bad), at=1)
        with pytest.raises(BrokenProcessPool):
            search(one.experiment, one.fold_keys, one.study, broken, report=one.lines.append)
    rows = one.run()
    assert [row.state for row in rows] == ["fail", "fail", "complete", "complete"]
    assert rows[1].replaces == 0
    assert rows[1].note == "was interrupted (BrokenProcessPool); its parameters are given up"
    assert rows[2].replaces is None


def test_a_trial_that_another_worker_took_for_dead_drops_its_result(tmp_path):
    one = bench(tmp_path, n_trials=2)

    def sweep() -> None:
        storage = optuna.storages.RDBStorage(f"sqlite:///{one.study.database}")
        optuna.load_study(study_name="study", storage=storage).tell(1, state=TrialState.FAIL)

    rows = one.run(at_fit(6, sweep))
    assert [row.state for row in rows] == ["complete", "fail"]
    assert any(line.startswith("trial 1 was taken for cut off") for line in one.lines)


def test_each_control_change_is_valid_json_on_its_own_line_even_after_a_killed_writer(tmp_path):
    one = bench(tmp_path, n_trials=2)
    one.study.control_log.write_text('{"at": "2020')
    one.control(max_trials=2)
    one.run()
    assert json.loads(one.study.control_log.read_text().splitlines()[1])["after"] == {"max_trials": 2}
    assert len(read_control_log(one.study.control_log)) == 1


def told_by(one: ScriptedBench, before: Callable[[int], None]) -> list[list[str]]:
    """States of all trials, each time that they are remembered."""
    told: list[list[str]] = []
    fits = ScriptedFits(one.score, before)
    with suppress(KeyboardInterrupt):
        search(
            one.experiment,
            one.fold_keys,
            one.study,
            fits,
            report=one.lines.append,
            remember=lambda rows: told.append([row.state for row in rows]),
        )
    return told


def test_trials_are_told_before_their_first_fit_and_when_their_round_ends(tmp_path):
    one = bench(tmp_path, n_trials=3)
    told = told_by(one, lambda n: None)
    assert told == [["running"] * 2, ["complete"] * 2, ["complete"] * 2 + ["running"], ["complete"] * 3]


def test_trials_of_a_round_that_is_interrupted_are_told(tmp_path):
    def interrupt(n: int) -> None:
        raise KeyboardInterrupt

    assert told_by(bench(tmp_path), interrupt) == [["running"] * 2, ["fail"] * 2]


@pytest.mark.parametrize("unwritten", [OSError(28, "disk full"), StoreError("no answer"), IntegrityError("damaged")])
@pytest.mark.parametrize("locked_out", [False, True])
def test_an_interruption_stays_one_whatever_fails_while_trials_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unwritten: Exception, locked_out: bool
) -> None:
    one = bench(tmp_path)

    def remember(rows: Any) -> None:
        if one.fits.asked:
            raise unwritten

    def interrupt(n: int) -> None:
        if locked_out:
            monkeypatch.setattr(SharedTrials, "put_back", refuse)
        raise KeyboardInterrupt

    def refuse(*_: Any, **__: Any) -> None:
        raise unwritten

    one.fits = ScriptedFits(one.score, interrupt)
    with pytest.raises(KeyboardInterrupt) as raised:
        search(one.experiment, one.fold_keys, one.study, one.fits, report=one.lines.append, remember=remember)
    (note,) = raised.value.__notes__
    assert str(unwritten) in note
    if locked_out:
        assert note.startswith("trials [0, 1] could not be put back, the next start sweeps them")
        assert {trial.state for trial in stored(one)} == {TrialState.RUNNING}
    else:
        assert note.startswith("trials [0, 1] were put back; the ledger was not told, the next start tells it")
        assert {trial.state for trial in stored(one)} == {TrialState.FAIL, TrialState.WAITING}


def test_a_limit_that_is_deleted_cuts_as_one_that_is_lowered(tmp_path):
    one = bench(tmp_path, n_trials=2, parallel_trials=3)
    one.control(max_trials=6)
    rows = one.run(at_fit(14, lambda: one.control()))  # trials 3, 4, 5 run
    assert [row.state for row in rows] == ["complete"] * 3 + ["pruned"] * 3
    assert {row.note for row in rows[3:]} == {"max_trials was lowered to 2"}


def test_after_every_round_all_trials_so_far_are_told_and_a_study_begun_anew_finds_the_same(tmp_path):
    one, told = bench(tmp_path / "one", n_trials=4), []
    fits = ScriptedFits(one.score)
    rows = search(one.experiment, one.fold_keys, one.study, fits, report=print, on_round=told.append)
    assert [len(trials) for trials in told] == [2, 4]
    assert told[-1] == rows
    identities = {row.identity for row in rows}
    assert len(identities) == 4
    assert all(row.sharpe == pytest.approx(sharpe_ratio(np.array(row.returns))) for row in rows)
    anew = bench(tmp_path / "deleted and begun anew", n_trials=4)
    anew.study = replace(anew.study, name="another name")
    assert {row.identity for row in anew.run()} == identities
