import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import research_folds
from tft_pipeline.domain.reports import TrialRow, TunedHyperparameters
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio
from tft_pipeline.model import tuning
from tft_pipeline.model.tuning import NoTrialCompletedError, Study, read_control, tune
from tft_pipeline_tests.builders import small, toy_panel
from tft_pipeline_tests.conftest import random_bars

SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")
SPACE = {
    "training.learning_rate": {"low": 0.001, "high": 0.02, "log": True},
    "position.position_smooth": {"low": 0.0, "high": 0.9},
}


SETTINGS: dict[str, Any] = {
    "seed": 7,
    "network.hidden": 8,
    "tuning.n_trials": 4,
    "tuning.space": SPACE,
    "tuning.folds.max_folds": 2,
}


class Bench:
    """One tiny study; `run` tunes it, each time as a process that starts anew would."""

    def __init__(self, folder: Path, name: str = "study", **changes: Any) -> None:
        settings = {f"tuning.{key}": value for key, value in changes.items()}
        self.experiment: Experiment = small(SETTINGS | settings)
        self.panel: Panel = toy_panel(random_bars(400, SYMBOLS), self.experiment)
        self.folds: tuple[Fold, ...] = research_folds(self.panel, self.experiment, self.experiment.tuning.folds)
        self.study = Study(database=folder / "study.db", name=name, control=folder / "control.json")
        self.lines: list[str] = []

    def run(self, report: Callable[[str], None] | None = None) -> TunedHyperparameters:
        return tune(self.panel, self.folds, self.experiment, self.study, report=report or self.lines.append)

    def control(self, **settings: Any) -> None:
        self.study.control.write_text(json.dumps(settings))


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_WORKERS", "1")


def fresh(folder: Path, **changes: Any) -> Bench:
    folder.mkdir(exist_ok=True)
    return Bench(folder, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, TunedHyperparameters]:
    bench = Bench(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFT_WORKERS", "1")
        return bench, bench.run()


def test_two_fresh_studies_find_the_same_trials_to_the_bit(finished, tmp_path):
    _, first = finished
    assert fresh(tmp_path).run().content_sha256() == first.content_sha256()
    assert len(first.trials) == 4


def test_processes_find_what_one_thread_finds(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("TFT_WORKERS", "2")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    pools = []
    whole = tuning.process_pool
    monkeypatch.setattr(tuning, "process_pool", lambda *arguments: pools.append(arguments[0]) or whole(*arguments))
    assert fresh(tmp_path).run().content_sha256() == finished[1].content_sha256()
    assert pools == [2]


def test_a_trials_value_is_the_mean_of_its_folds_sharpes_and_these_are_those_of_its_returns(finished):
    bench, tuned = finished
    lengths = [fold.test.n_bars for fold in bench.folds]
    assert tuned.fold_keys == tuple(fold.key for fold in bench.folds)
    for trial in tuned.trials:
        assert trial.state == "complete"
        returns = np.split(np.array(trial.returns), np.cumsum(lengths)[:-1])
        assert [len(part) for part in returns] == lengths
        np.testing.assert_allclose(
            trial.fold_sharpes, [annualise(sharpe_ratio(part), 252.0) for part in returns], rtol=1e-12
        )
        assert trial.sharpe_annual == pytest.approx(np.mean(trial.fold_sharpes), rel=1e-12)


def test_after_each_fold_the_running_mean_is_reported_to_the_pruner(finished):
    bench, tuned = finished
    storage = optuna.storages.RDBStorage(f"sqlite:///{bench.study.database}")
    study = optuna.load_study(study_name=bench.study.name, storage=storage)
    for trial, row in zip(study.get_trials(), tuned.trials, strict=True):
        first, second = row.fold_sharpes
        assert trial.intermediate_values == pytest.approx({0: first, 1: (first + second) / 2}, rel=1e-12)


def test_the_best_trial_is_chosen_and_its_values_stand_in_the_sections(finished):
    bench, tuned = finished
    values = {trial.number: trial.sharpe_annual for trial in tuned.trials}
    assert tuned.best_trial == max(values, key=lambda number: values[number])
    assert tuned.best_sharpe_annual == values[tuned.best_trial]
    best = tuned.trials[tuned.best_trial].params
    assert (tuned.network, tuned.training, tuned.position) == bench.experiment.with_overrides(best)
    assert tuned.training.learning_rate == best["training.learning_rate"]
    assert (tuned.n_trials_started, tuned.n_pruned) == (4, 0)


def test_what_is_asked_for_stays_inside_the_space(finished):
    for trial in finished[1].trials:
        assert set(trial.params) == set(SPACE)
        assert 0.001 <= trial.params["training.learning_rate"] <= 0.02
        assert 0.0 <= trial.params["position.position_smooth"] <= 0.9


def test_a_finished_study_is_read_and_not_run_again(finished):
    bench, first = finished
    assert bench.run().content_sha256() == first.content_sha256()


def test_a_searched_smoothing_moves_the_objective(tmp_path):
    tuned = fresh(tmp_path, space={"position.position_smooth": {"choices": [0.0, 0.5]}}).run()
    by_value = {trial.params["position.position_smooth"]: trial.sharpe_annual for trial in tuned.trials}
    assert len(by_value) == 2
    assert len(set(by_value.values())) == 2


def test_trials_are_scored_net_of_costs(tmp_path):
    bench = fresh(tmp_path, n_trials=1)
    loss_without_costs = {"training.loss_mode": "bce"}
    values = []
    for cost_bps in (0.0, 30.0):
        bench.experiment = small(SETTINGS | loss_without_costs | {"tuning.n_trials": 1, "position.cost_bps": cost_bps})
        bench.study = replace(bench.study, name=f"cost {cost_bps}")
        values.append(bench.run().best_sharpe_annual)
    assert values[1] < values[0] - 1.0


def test_the_limit_of_the_control_file_stops_a_study_and_a_higher_one_lets_it_go_on(tmp_path):
    bench = fresh(tmp_path)
    bench.control(max_trials=2)
    first = bench.run()
    assert len(first.trials) == 2
    bench.control(max_trials=5)
    second = bench.run()
    assert second.trials[:2] == first.trials
    assert len(second.trials) == second.n_trials_started == 5
    assert len({str(trial.params) for trial in second.trials}) == 5, "a resumed study repeats its first trials"


class CutOffError(Exception):
    """Stands for a process that ends in the middle of a round."""


def cut_off_after(words: str) -> Callable[[str], None]:
    def report(line: str) -> None:
        if line.startswith(words):
            raise CutOffError(line)

    return report


def test_a_study_that_was_cut_off_keeps_its_finished_trials_and_retries_the_running_one_once(tmp_path):
    bench = fresh(tmp_path)
    with pytest.raises(CutOffError):
        bench.run(cut_off_after("trial 2:"))
    resumed = bench.run()
    assert [trial.state for trial in resumed.trials] == ["complete"] * 3 + ["fail"] + ["complete"]
    assert resumed.trials[4].params == resumed.trials[3].params
    assert resumed.n_trials_started == 5
    assert "trial 3 was cut off; its parameters are tried once more" in bench.lines
    uninterrupted = fresh(tmp_path / "other").run()
    assert resumed.trials[:3] == uninterrupted.trials[:3]
    again = uninterrupted.trials[3]
    assert (resumed.trials[4].params, resumed.trials[4].returns) == (again.params, again.returns)


def test_a_retried_trial_that_is_cut_off_again_is_given_up(tmp_path):
    bench = fresh(tmp_path, n_trials=2)
    with pytest.raises(CutOffError):
        bench.run(cut_off_after("trial 0:"))
    storage = optuna.storages.RDBStorage(f"sqlite:///{bench.study.database}")
    study = optuna.load_study(study_name=bench.study.name, storage=storage)
    tuning._sweep_cut_off_trials(study, bench.lines.append)
    retried = study.ask()
    for name in SPACE:
        retried.suggest_float(name, SPACE[name]["low"], SPACE[name]["high"], log=SPACE[name].get("log", False))
    assert retried.user_attrs == {"retried": 1}
    tuned = bench.run()
    assert [trial.state for trial in tuned.trials] == ["complete", "fail", "fail"]
    assert bench.lines.count("trial 2 was cut off; its parameters are given up") == 1


def test_after_every_round_all_trials_so_far_are_told_so_that_a_killed_search_is_remembered(tmp_path):
    bench = fresh(tmp_path, n_trials=4, parallel_trials=2)
    told: list[tuple[TrialRow, ...]] = []
    tuned = tune(bench.panel, bench.folds, bench.experiment, bench.study, report=print, on_round=told.append)
    assert [len(trials) for trials in told] == [2, 4]
    assert told[-1] == tuned.trials
    identities = {trial.identity for trial in tuned.trials}
    assert len(identities) == 4
    assert all(trial.sharpe == pytest.approx(sharpe_ratio(np.array(trial.returns))) for trial in tuned.trials)
    elsewhere = fresh(tmp_path / "deleted and begun anew", n_trials=4, parallel_trials=2)
    assert {trial.identity for trial in elsewhere.run().trials} == identities


def test_a_combination_that_is_not_valid_is_a_failed_trial_with_its_reason(tmp_path):
    bench = fresh(tmp_path, space={"network.heads": {"choices": [2, 3]}}, n_trials=6)
    tuned = bench.run()
    states = {(trial.params["network.heads"], trial.state) for trial in tuned.trials}
    assert states == {(2, "complete"), (3, "fail")}
    assert tuned.network.heads == 2
    assert tuned.n_trials_started == 6
    assert any("FAILED" in line and "heads 3 does not divide hidden 8" in line for line in bench.lines)
    failed = next(trial for trial in tuned.trials if trial.state == "fail")
    assert (failed.sharpe_annual, failed.returns) == (None, ())


def test_a_study_without_a_completed_trial_raises_with_the_errors(tmp_path):
    bench = fresh(tmp_path, space={"network.heads": {"choices": [3, 5]}}, n_trials=2)
    with pytest.raises(
        NoTrialCompletedError, match=r"no trial of 2 completed; errors: .*heads [35] does not divide hidden 8"
    ):
        bench.run()


def test_a_trial_below_the_median_of_the_finished_ones_is_pruned_and_keeps_what_it_scored(tmp_path):
    bench = fresh(
        tmp_path,
        n_trials=8,
        startup_trials=1,
        warmup_folds=1,
        parallel_trials=1,
        **{"folds.max_folds": 3, "folds.train": 60, "folds.test": 30, "folds.step": 30},
    )
    tuned = bench.run()
    pruned = [trial for trial in tuned.trials if trial.state == "pruned"]
    assert len(bench.folds) == 3
    assert len(pruned) == tuned.n_pruned > 0
    for trial in pruned:
        # one warm-up fold, so that the second is the first that may end it
        assert len(trial.fold_sharpes) == 2
        assert len(trial.returns) == 60
        assert trial.sharpe_annual is None
        earlier = [other for other in tuned.trials if other.state == "complete" and other.number < trial.number]
        medians = np.median([np.mean(other.fold_sharpes[:2]) for other in earlier])
        assert np.mean(trial.fold_sharpes) < medians
    assert tuned.n_trials_started == 8


def test_stop_before_the_first_trial_leaves_nothing_to_choose(tmp_path):
    bench = fresh(tmp_path)
    bench.control(stop=True)
    with pytest.raises(NoTrialCompletedError, match=r"no trial of 0 completed; errors: none"):
        bench.run()
    assert "control.json stops the study" in bench.lines


def test_stop_while_it_runs_ends_after_the_round(tmp_path):
    bench = fresh(tmp_path)

    def stop_at_once(line: str) -> None:
        bench.lines.append(line)
        bench.control(stop=True)

    tuned = bench.run(stop_at_once)
    assert [trial.state for trial in tuned.trials] == ["complete"] * 2


def test_a_deadline_that_has_passed_stops_a_study_and_one_to_come_does_not(tmp_path):
    bench = fresh(tmp_path, n_trials=1)
    bench.control(deadline=time.time() - 1)
    with pytest.raises(NoTrialCompletedError):
        bench.run()
    bench.control(deadline=time.time() + 3600)
    assert len(bench.run().trials) == 1


def test_a_paused_study_goes_on_when_the_file_says_so(tmp_path, monkeypatch):
    bench = fresh(tmp_path, n_trials=1)
    bench.control(pause=True)
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            bench.control(pause=False)

    monkeypatch.setattr(tuning.time, "sleep", nap)
    assert len(bench.run().trials) == 1
    assert len(naps) == 3
    assert [line for line in bench.lines if "paused" in line] == [
        f"paused by {bench.study.control}; set pause to false to go on"
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds list; expected an object"),
        ('{"max_trails": 3}', "max_trails = 3 is not understood; keys are"),
        ('{"max_trials": "3"}', "max_trials = '3'"),
        ('{"max_trials": 2.5}', r"max_trials = 2\.5"),
        ('{"max_trials": true}', "max_trials = True"),
        ('{"deadline": false}', "deadline = False"),
        ('{"stop": 1}', "stop = 1"),
        ('{"pause": "no"}', "pause = 'no'"),
    ],
)
def test_a_control_file_that_is_not_understood_is_refused_by_key_and_value(tmp_path, text, match):
    path = tmp_path / "control.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=match) as caught:
        read_control(path)
    assert str(path) in str(caught.value)


def test_a_study_whose_control_file_is_not_understood_runs_no_trial(tmp_path):
    bench = fresh(tmp_path)
    bench.control(halt=True)
    with pytest.raises(ValueError, match="halt = True is not understood"):
        bench.run()


def test_an_absent_control_file_sets_nothing_and_every_key_is_read(tmp_path):
    assert read_control(tmp_path / "absent.json") == {}
    settings = {"max_trials": 3, "deadline": 1.5, "pause": False, "stop": True}
    (tmp_path / "control.json").write_text(json.dumps(settings))
    assert read_control(tmp_path / "control.json") == settings
