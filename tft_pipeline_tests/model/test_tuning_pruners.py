"""Each pruner stops a trial that is planted bad and spares one that is planted good; each of its limits moves that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from tft_pipeline.domain.reports import TrialRow
from tft_pipeline.model.tuning_pruners import BracketPruner, Judge, RunningMeanPruner
from tft_pipeline.model.tuning_storage import opened
from tft_pipeline_tests.builders import small
from tft_pipeline_tests.scripted_fits import ScriptedBench, memory_folder

QUALITY = "position.position_smooth"
N_FOLDS = 6
GOOD, BETTER, BAD = 0.6, 0.7, 0.1


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Studies of these tests lie in memory."""
    with memory_folder(tmp_path) as folder:
        yield folder


def sharpe(params: dict[str, Any], fold: int, epochs: int) -> float:
    """A trial's quality, which is its parameter, on folds that are better and worse for all; little of it shows early."""
    return 3.0 * float(params[QUALITY]) * (0.5 + 0.5 * epochs / 9) + (-1.0) ** fold + 0.01 * fold


def planted(folder: Path, qualities: list[float], **changes: Any) -> tuple[ScriptedBench, tuple[TrialRow, ...]]:
    """A study whose trials have these qualities, in this order."""
    settings = {
        "space": {QUALITY: {"low": 0.0, "high": 0.9}},
        "n_trials": len(qualities),
        "parallel_trials": 1,
        "startup_trials": 1,
        "epochs": 9,
        "folds.max_folds": N_FOLDS,
    }
    experiment = small({f"tuning.{key}": value for key, value in (settings | changes).items()})
    bench = ScriptedBench(folder, experiment, sharpe, n_folds=N_FOLDS)
    with opened(bench.study) as storage:
        study = optuna.create_study(study_name=bench.study.name, storage=storage, direction="maximize")
        for quality in qualities:
            study.enqueue_trial({QUALITY: quality})
    return bench, bench.run()


def states(rows: tuple[TrialRow, ...]) -> list[str]:
    return [row.state for row in rows]


@pytest.mark.parametrize(
    ("pruner", "n_scored"),
    [
        ({}, 3),
        ({"pruner": "wilcoxon"}, 4),
        ({"pruner": "hyperband"}, N_FOLDS),
    ],
    ids=["median", "wilcoxon", "hyperband"],
)
def test_a_bad_trial_is_pruned_with_what_it_scored_and_a_good_one_is_spared(tmp_path, pruner, n_scored):
    _, rows = planted(tmp_path, [GOOD, BAD, BETTER], **pruner)
    assert states(rows) == ["complete", "pruned", "complete"]
    assert len(rows[1].fold_sharpes) == n_scored
    assert len(rows[1].returns) == n_scored * 20
    assert rows[1].sharpe_annual is None
    assert rows[1].note.startswith("pruned after")


def test_the_median_waits_for_its_startup_trials_and_warm_up_folds(tmp_path):
    _, rows = planted(tmp_path / "a", [GOOD, BAD, BAD], startup_trials=2)
    assert states(rows)[:2] == ["complete", "complete"]
    _, rows = planted(tmp_path / "b", [GOOD, BAD], warmup_folds=4)
    assert len(rows[1].fold_sharpes) == 5


def test_without_a_pruner_every_trial_is_scored_on_all_folds(tmp_path):
    bench, rows = planted(tmp_path, [GOOD, BAD], pruner="none")
    assert states(rows) == ["complete", "complete"]
    assert len(bench.fits.asked) == 2 * N_FOLDS


def test_a_median_that_can_stop_nothing_says_so_when_the_search_begins(tmp_path):
    bench, _ = planted(tmp_path / "a", [GOOD], startup_trials=5)
    assert bench.lines[0].startswith(
        "no trial will be pruned: the median waits for 5 completed trials and n_trials is 1"
    )
    bench, _ = planted(tmp_path / "b", [GOOD], pruner="none")
    assert not any("no trial will be pruned" in line for line in bench.lines)


def test_the_running_mean_now_decides_and_not_the_best_one_so_far():
    """Against a loop, and against Optuna's MedianPruner, which a lucky first fold deceives."""
    rng = np.random.default_rng(0)
    study = optuna.create_study(direction="maximize", pruner=RunningMeanPruner(startup_trials=3, warmup_folds=1))
    theirs = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1)
    complete: list[list[float]] = []
    pruned = deceived = 0
    for _ in range(25):
        trial, folds = study.ask(), rng.normal(size=5)
        for k in range(len(folds)):
            means = [sum(folds[: j + 1]) / (j + 1) for j in range(k + 1)]
            trial.report(means[-1], k)
            middle = sorted(other[k] for other in complete)
            n = len(middle)
            wanted = k >= 1 and n >= 3 and means[-1] < (middle[(n - 1) // 2] + middle[n // 2]) / 2
            assert trial.should_prune() == wanted
            deceived += wanted and not theirs.prune(study, study.get_trials()[-1])
            if wanted:
                break
        pruned += wanted
        study.tell(trial, None if wanted else means[-1], state=TrialState.PRUNED if wanted else TrialState.COMPLETE)
        if not wanted:
            complete.append(means)
    assert 5 < pruned < 20
    assert deceived > 0


def test_brackets_have_the_sizes_of_the_paper_and_begin_at_their_own_budget():
    pruner = BracketPruner((1, 3, 9, 27, 81), reduction_factor=3)
    assert pruner.sizes == tuple(-(-5 * 3**s // (s + 1)) for s in (4, 3, 2, 1, 0)) == (81, 34, 15, 8, 5)
    three = BracketPruner((1, 3, 9), reduction_factor=3)
    assert [three.bracket(number) for number in range(18)] == [0] * 9 + [1] * 5 + [2] * 3 + [0]
    judge = Judge(small({"tuning.pruner": "hyperband", "tuning.epochs": 9}).tuning, N_FOLDS)
    assert [[epochs for epochs in (1, 3, 9) if judge.takes_part(number, epochs)] for number in (8, 13, 16)] == [
        [1, 3, 9],
        [3, 9],
        [9],
    ]


def test_the_best_of_a_bracket_go_on_and_what_was_cut_off_does_not_compete():
    """Against a loop over what each bracket has at each budget."""
    rng = np.random.default_rng(1)
    pruner = BracketPruner((1, 2, 4), reduction_factor=2)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    seen: dict[tuple[int, int], list[float]] = {}
    stopped = 0
    for number in range(45):
        trial, bracket, cut_off = study.ask(), pruner.bracket(number), number % 7 == 3
        state = TrialState.COMPLETE
        for epochs in (1, 2, 4)[bracket:]:
            value = 9.0 if cut_off else float(rng.normal())
            trial.report(value, epochs)
            competing = seen.setdefault((bracket, epochs), [])
            if cut_off:
                state = TrialState.FAIL
                break
            competing.append(value)
            best = sorted(competing, reverse=True)[: max(1, len(competing) // 2)]
            assert trial.should_prune() == (epochs != 4 and value not in best)
            if trial.should_prune():
                state, stopped = TrialState.PRUNED, stopped + 1
                break
        study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
    assert stopped > 5
    assert {bracket for bracket, _ in seen} == {0, 1, 2}


def test_a_trial_of_a_later_bracket_wastes_no_fit_on_budgets_at_which_it_cannot_be_pruned(tmp_path):
    bench, _ = planted(tmp_path, [GOOD] * 10, pruner="hyperband", **{"folds.max_folds": 2})
    last = [epochs for params, _, epochs in bench.fits.asked[-2 * N_FOLDS :]]
    assert last == [3] * N_FOLDS + [9] * N_FOLDS


def test_the_signed_rank_test_prunes_when_its_p_value_is_small_enough(tmp_path):
    _, rows = planted(tmp_path / "a", [GOOD, BAD], pruner="wilcoxon", wilcoxon_p=0.04)
    assert len(rows[1].fold_sharpes) == 5, "1/32 is the first p-value below 0.04"
    _, rows = planted(tmp_path / "b", [GOOD, BAD], pruner="wilcoxon", wilcoxon_p=0.4, warmup_folds=1)
    assert len(rows[1].fold_sharpes) == 2
    _, rows = planted(tmp_path / "c", [GOOD, BAD], pruner="wilcoxon", wilcoxon_p=0.4, warmup_folds=3)
    assert len(rows[1].fold_sharpes) == 4


def test_wilcoxon_is_told_each_folds_own_value_and_the_trial_has_their_mean(tmp_path):
    bench, rows = planted(tmp_path, [GOOD], pruner="wilcoxon")
    with opened(bench.study) as storage:
        (trial,) = optuna.load_study(study_name=bench.study.name, storage=storage).get_trials()
    assert tuple(trial.intermediate_values.values()) == rows[0].fold_sharpes
    assert tuple(trial.intermediate_values) == tuple(range(N_FOLDS))
    assert rows[0].sharpe_annual == pytest.approx(sum(rows[0].fold_sharpes) / N_FOLDS)


def test_hyperband_scores_all_folds_at_each_budget_and_keeps_the_last_one_it_finished(tmp_path):
    bench, rows = planted(tmp_path, [GOOD, BAD], pruner="hyperband")
    asked = [(fold, epochs) for _, fold, epochs in bench.fits.asked]
    folds = range(N_FOLDS)
    assert asked == [(fold, epochs) for epochs in (1, 3, 9, 1) for fold in folds]
    assert rows[0].fold_sharpes == tuple(sharpe({QUALITY: GOOD}, fold, 9) for fold in folds)
    assert rows[1].fold_sharpes == tuple(sharpe({QUALITY: BAD}, fold, 1) for fold in folds)
    assert rows[1].note == "pruned after 1 of 9 epochs"


@pytest.mark.parametrize(
    ("changes", "budgets"),
    [
        ({}, (9,)),
        ({"pruner": "hyperband"}, (1, 3, 9)),
        ({"pruner": "hyperband", "min_epochs": 2}, (2, 6, 9)),
        ({"pruner": "hyperband", "reduction_factor": 2}, (1, 2, 4, 8, 9)),
    ],
)
def test_budgets_grow_by_the_reduction_factor_from_the_smallest_up_to_all_epochs(changes, budgets):
    changes = {"epochs": 9} | changes
    section = small({f"tuning.{key}": value for key, value in changes.items()}).tuning
    assert Judge(section, N_FOLDS).budgets == budgets


def test_too_few_folds_in_the_data_are_refused_where_the_file_leaves_their_number_open():
    section = small({"tuning.pruner": "wilcoxon", "tuning.folds.max_folds": None}).tuning
    with pytest.raises(ValueError, match="wilcoxon with 4 folds"):
        Judge(section, 4)
    assert Judge(section, 5).budgets == (1,)
