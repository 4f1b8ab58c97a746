import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import research_folds
from tft_pipeline.domain.reports import TrialRow, TunedHyperparameters
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio
from tft_pipeline.model import tuning_fits
from tft_pipeline.model.tuning import NoTrialCompletedError, importances, tune
from tft_pipeline.model.tuning_fits import score_fold
from tft_pipeline.model.tuning_storage import Study
from tft_pipeline_tests.builders import small, toy_panel
from tft_pipeline_tests.conftest import random_bars

ROOT = Path(__file__).resolve().parents[2]
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
        self.study = Study(
            name=name,
            database=folder / "study.db",
            control=folder / "control.json",
            control_log=folder / "control_log.jsonl",
            poll_seconds=0.01,
        )
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


@pytest.mark.slow
def test_processes_find_what_one_thread_finds(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("TFT_WORKERS", "2")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    pools = []
    whole = tuning_fits.process_pool
    monkeypatch.setattr(tuning_fits, "process_pool", lambda *arguments: pools.append(arguments[0]) or whole(*arguments))
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


def test_a_combination_that_is_not_possible_is_pruned_with_its_reason_and_costs_no_fit(tmp_path):
    bench = fresh(tmp_path, space={"network.heads": {"choices": [2, 3]}}, n_trials=6)
    tuned = bench.run()
    states = {(trial.params["network.heads"], trial.state) for trial in tuned.trials}
    assert states == {(2, "complete"), (3, "pruned")}
    assert tuned.network.heads == 2
    assert tuned.n_trials_started == 6
    assert any("pruned before its first fit" in line for line in bench.lines)
    refused = next(trial for trial in tuned.trials if trial.state == "pruned")
    assert "impossible" in refused.note
    assert "heads 3 does not divide hidden 8" in refused.note
    assert (refused.sharpe_annual, refused.returns) == (None, ())


def test_parameters_that_break_the_fit_are_a_failed_trial_with_its_reason(tmp_path):
    tuned = fresh(tmp_path, space={"training.learning_rate": {"choices": [0.01, 1e30]}}, n_trials=4).run()
    states = {(trial.params["training.learning_rate"], trial.state) for trial in tuned.trials}
    assert states == {(0.01, "complete"), (1e30, "fail")}
    failed = next(trial for trial in tuned.trials if trial.state == "fail")
    assert "Error" in failed.note


def test_what_each_key_explains_is_recorded_and_sums_to_one(finished):
    shares = finished[1].importances
    assert set(shares) == set(SPACE)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert finished[1].importances_reason == ""


def test_a_key_that_decides_everything_explains_everything_and_one_trial_explains_nothing():
    section = small({"tuning.space": SPACE}).tuning
    rng = np.random.default_rng(0)
    rows = [
        TrialRow(
            number=k,
            state="complete",
            params={"training.learning_rate": float(10 ** rng.uniform(-3, -1.7)), "position.position_smooth": smooth},
            sharpe_annual=3.0 * smooth,
            fold_sharpes=(),
            returns=(),
        )
        for k, smooth in enumerate(rng.uniform(0.0, 0.9, 40))
    ]
    shares = importances(tuple(rows), section, seed=0)
    assert shares["position.position_smooth"] > 0.9
    assert shares == importances(tuple(rows), section, seed=0)
    with pytest.raises(ValueError, match=r"1 distinct Sharpe ratio\(s\) among completed trials"):
        importances(tuple(rows[:1]), section, seed=0)
    with pytest.raises(ValueError, match="2 completed trials for 2 searched keys"):
        importances(tuple(rows[:2]), section, seed=0)


def test_a_trial_that_is_put_back_before_its_first_fold_does_not_raise_the_number_of_trials(tmp_path):
    bench = fresh(tmp_path, n_trials=2, **{"folds.max_folds": 1})

    def stop(line: str) -> None:
        if line.startswith("trial 1 begins"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.run(stop)
    tuned = bench.run()
    assert [trial.state for trial in tuned.trials] == ["fail", "fail", "complete", "complete"]
    assert tuned.n_trials_started == 2


def test_the_whole_table_of_the_notes_can_be_searched(tmp_path):
    table = yaml.safe_load((ROOT / "experiments" / "daily.yaml").read_text())["tuning"]["space"]
    assert set(table) == {
        "network.hidden",
        "network.heads",
        "network.lstm_layers",
        "network.dropout",
        "network.n_context",
        "training.lookback",
        "training.learning_rate",
        "training.batch_blocks",
        "training.mle_weight",
        "training.loss_mode",
        "position.position_smooth",
    }
    assert all(
        hidden % heads == 0
        for hidden in table["network.hidden"]["choices"]
        for heads in table["network.heads"]["choices"]
    )
    smaller = {
        **table,
        "network.hidden": {"choices": [8, 16]},
        "network.heads": {"choices": [2, 4]},
        "network.n_context": {"choices": [0, 2]},
        "training.lookback": {"choices": [12, 16]},
    }
    tuned = fresh(tmp_path, space=smaller, n_trials=6, **{"folds.max_folds": 1}).run()
    assert [trial.state for trial in tuned.trials] == ["complete"] * 6
    for key in ("network.heads", "network.n_context", "training.loss_mode", "training.lookback"):
        assert len({trial.params[key] for trial in tuned.trials}) > 1


def test_hyperband_trains_again_with_more_epochs_and_keeps_the_fullest_budget(tmp_path):
    one_fold = {"n_trials": 1, "folds.max_folds": 1}
    bench = fresh(tmp_path, pruner="hyperband", epochs=4, reduction_factor=2, **one_fold)
    tuned = bench.run()
    plain, few = (score_fold(bench.panel, bench.folds[0], bench.experiment, tuned.trials[0].params, n) for n in (4, 1))
    assert list(tuned.trials[0].returns) == plain["returns"] != few["returns"]
    storage = optuna.storages.RDBStorage(f"sqlite:///{bench.study.database}")
    (trial,) = optuna.load_study(study_name=bench.study.name, storage=storage).get_trials()
    assert list(trial.intermediate_values) == [1, 2, 4]
    assert trial.intermediate_values[1] == pytest.approx(few["sharpe_annual"])
    assert trial.intermediate_values[4] == pytest.approx(plain["sharpe_annual"])


def test_a_study_without_a_completed_trial_raises_with_the_errors(tmp_path):
    bench = fresh(tmp_path, space={"network.heads": {"choices": [3, 5]}}, n_trials=2)
    with pytest.raises(
        NoTrialCompletedError, match=r"no trial of 2 completed; errors: .*heads [35] does not divide hidden 8"
    ):
        bench.run()


@pytest.mark.slow
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
