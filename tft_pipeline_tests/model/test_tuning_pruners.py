"""Each pruner stops a trial that is planted bad and spares one that is planted good; each of its limits moves that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from tft_pipeline.domain.reports import TrialRow
from tft_pipeline.model.tuning_pruners import Judge
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
        ({"pruner": "hyperband", "min_epochs": 1, "reduction_factor": 9}, N_FOLDS),
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
    _, rows = planted(tmp_path / "c", [GOOD, BAD], warmup_folds=5)
    assert states(rows) == ["complete", "complete"]


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
    bench, rows = planted(tmp_path, [GOOD, BAD], pruner="hyperband", min_epochs=1, reduction_factor=9)
    asked = [(fold, epochs) for _, fold, epochs in bench.fits.asked]
    folds = range(N_FOLDS)
    assert asked == [*((fold, 1) for fold in folds), *((fold, 9) for fold in folds), *((fold, 1) for fold in folds)]
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
