import json
import math

import numpy as np
import pytest

from tft_pipeline.domain.inflation import NO_VALIDATION, inflation_row, inflation_summary
from tft_pipeline.domain.sharpe import best_of_null_epochs

DAY = 252.0
NOTES = {
    "fold": "f0",
    "n_validation_bars": 21,
    "epochs": 80,
    "validation_sharpe_annual": 8.08,
    "n_oos_bars": 21,
    "oos_sharpe_annual": -0.64,
    "bars_per_year": DAY,
}


def test_the_first_fold_of_the_notes_is_called_noise():
    row = inflation_row(**NOTES)
    assert row["within_noise"] is True
    assert row["null_best_annual"] == pytest.approx(8.49, abs=0.005)
    assert row["finding"] == (
        "noise: the best of 80 epochs without skill on 21 bars would show 8.49 a year; 8.08 is not above it"
    )
    per_bar = 8.08 / math.sqrt(DAY)
    assert row["validation_se_annual"] == pytest.approx(math.sqrt((1 + per_bar**2 / 2) / 21 * DAY))
    assert row["oos_sharpe_annual"] == -0.64
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_the_chance_and_the_expected_best_are_those_of_simulated_epochs_without_skill():
    row = inflation_row(**NOTES | {"n_validation_bars": 250, "epochs": 20, "validation_sharpe_annual": 2.3})
    draws = np.random.default_rng(0).normal(0.0, 0.01, (2000, 20, 250))
    best = (draws.mean(axis=2) / draws.std(axis=2, ddof=1)).max(axis=1) * math.sqrt(DAY)
    assert row["null_probability"] == pytest.approx((best >= 2.3).mean(), abs=0.03)
    assert row["null_best_annual"] == pytest.approx(best.mean(), abs=0.06)
    assert row["within_noise"] is (bool(best.mean() >= 2.3))


def test_a_ratio_above_the_expected_best_is_said_to_be_with_the_chance_of_it():
    row = inflation_row(**NOTES | {"n_validation_bars": 250, "epochs": 20, "validation_sharpe_annual": 4.0})
    assert row["within_noise"] is False
    assert row["finding"].startswith("above what noise shows: the best of 20 epochs without skill on 250 bars")
    assert f"{row['null_probability']:.0%} of such fits" in row["finding"]
    one = inflation_row(**NOTES | {"epochs": 1, "validation_sharpe_annual": -0.1})
    assert one["null_best_annual"] == 0.0
    assert one["finding"] == "noise: one epoch without skill on 21 bars would show 0.00 a year; -0.10 is not above it"


def test_more_epochs_and_fewer_bars_make_the_same_ratio_less_believable():
    def null(epochs: int, n_bars: int) -> tuple[float, float]:
        row = inflation_row(**NOTES | {"epochs": epochs, "n_validation_bars": n_bars})
        return row["null_best_annual"], row["null_probability"]

    assert null(10, 63) < null(80, 63) < null(80, 21)
    assert null(10, 63)[0] == pytest.approx(best_of_null_epochs(10, 63) * math.sqrt(DAY))
    assert null(10, 63)[1] < null(80, 63)[1] < null(80, 21)[1]


def test_a_fold_without_a_validation_ratio_says_so_and_is_not_judged():
    row = inflation_row(**NOTES | {"validation_sharpe_annual": None})
    assert row["finding"] == NO_VALIDATION
    assert row["within_noise"] is row["validation_se_annual"] is row["null_probability"] is None
    found = inflation_summary([row])
    assert (found["n_with_validation"], found["n_within_noise"], found["mean_gap_annual"]) == (0, 0, None)
    assert found["sentence"] == "none of 1 fold(s) has a validation Sharpe ratio."


def test_the_summary_counts_and_averages_the_folds_that_have_both():
    pairs = [(8.08, -0.64), (2.0, 1.0), (20.0, 3.0), (5.0, None), (None, 1.0)]
    rows = [
        inflation_row(**NOTES | {"fold": f"f{k}", "validation_sharpe_annual": v, "oos_sharpe_annual": o})
        for k, (v, o) in enumerate(pairs)
    ]
    found = inflation_summary(rows)
    gaps = np.array([v - o for v, o in pairs[:3]])
    assert (found["n_folds"], found["n_with_validation"], found["n_within_noise"], found["n_both"]) == (5, 4, 3, 3)
    assert found["mean_gap_annual"] == pytest.approx(gaps.mean())
    assert found["gap_se_annual"] == pytest.approx(gaps.std(ddof=1) / math.sqrt(3))
    assert found["mean_validation_annual"] - found["mean_oos_annual"] == pytest.approx(gaps.mean())
    assert found["sentence"] == (
        "3 of 4 fold(s) show no more on validation than the best epoch without skill would; validation averages 10.03 a "
        f"year, out of sample 1.12: a gap of 8.91 +- {found['gap_se_annual']:.2f}."
    )
    alone = inflation_summary(rows[3:4])
    assert alone["sentence"].endswith("no fold has both ratios to compare.")
    assert inflation_summary(rows[:1])["gap_se_annual"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs 0 < 1"),
        ({"n_validation_bars": 1}, "n_bars 1 < 2"),
        ({"validation_sharpe_annual": math.nan}, "validation_sharpe_annual nan"),
        ({"oos_sharpe_annual": math.inf}, "oos_sharpe_annual inf"),
    ],
)
def test_folds_that_cannot_be_judged_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        inflation_row(**NOTES | change)
