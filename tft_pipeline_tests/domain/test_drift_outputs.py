import json

import numpy as np
import pytest
from sklearn.metrics import log_loss

from tft_pipeline.domain.drift import drift_report
from tft_pipeline.domain.drift_outputs import log_losses, performance_drift, prediction_drift


def forecasts(seed: int, bars: int, symbols: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and directions; the better, the more skill."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(0, 1, (bars, symbols))
    p = 1 / (1 + np.exp(-skill * signal))
    return p, (rng.random(p.shape) < p).astype(float)


def test_the_last_bars_of_the_outputs_are_compared_with_all_before_them():
    rng = np.random.default_rng(0)
    outputs = {"probability": rng.random((1500, 2)), "position": rng.normal(0, 1, (1500, 2))}
    found = prediction_drift(outputs, n_recent=80)
    sides = [{k: v[part] for k, v in outputs.items()} for part in (slice(0, 1420), slice(1420, None))]
    assert found == drift_report(*sides)
    assert found.verdict == "stable"
    later = {name: np.column_stack([values, values[:, :1]]) for name, values in outputs.items()}
    for values in later.values():
        values[:1000, 2] = np.nan  # a symbol that came to the market late
    assert prediction_drift(later, n_recent=80).verdict == "stable"
    outputs["position"][1420:] += 2.0
    moved = prediction_drift(outputs, n_recent=80)
    assert [row.verdict for row in moved.features] == ["stable", "retrain"]


@pytest.mark.parametrize(("bars", "recent"), [(0, 5), (3, 5), (60, 50), (400, 100)])
def test_too_few_outputs_are_insufficient_and_never_a_pass(bars, recent):
    found = prediction_drift({"probability": np.linspace(0, 1, bars)}, n_recent=recent)
    assert found.verdict == "insufficient_data"
    assert found.reason


def test_the_loss_of_a_row_is_that_of_scikit_learn_and_missing_where_the_label_is():
    p, up = forecasts(1, 50, 3, 1.0)
    assert log_losses(p, up).mean() == pytest.approx(log_loss(up.ravel(), p.ravel()))
    up[3, 1] = np.nan
    p[4, 2] = np.nan
    found = log_losses(p, up)
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 1], [4, 2]]
    assert log_losses(np.array([0.0, 1.0]), np.array([1.0, 1.0])) == pytest.approx([34.54, 0.0], abs=0.01)


def test_what_is_no_probability_and_no_direction_is_refused():
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        log_losses(np.array([1.2]), np.array([1.0]))
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        log_losses(np.array([0.2]), np.array([-0.01]))
    with pytest.raises(ValueError, match="own label"):
        log_losses(np.array([0.2]), np.array([1.0, 0.0]))


def test_a_model_that_lost_its_skill_asks_for_retraining_and_a_weaker_one_for_a_look():
    p, up = forecasts(2, 2200, 4, 2.0)
    fine = performance_drift(log_losses(p, up), measure="log_loss", n_recent=100)
    assert fine.verdict == "stable"
    guesses = p.copy()
    guesses[2100:] = np.random.default_rng(3).permutation(p[2100:])
    lost = performance_drift(log_losses(guesses, up), measure="log_loss", n_recent=100)
    assert (lost.verdict, lost.p_value) == ("retrain", pytest.approx(1 / (1 + lost.n_null_windows)))
    assert "no better than a coin" in lost.reason
    weaker = p.copy()
    weaker[2100:] = 0.5 + 0.3 * (p[2100:] - 0.5)
    assert performance_drift(log_losses(weaker, up), measure="log_loss", n_recent=100).verdict == "investigate"


def test_only_worse_counts_and_a_return_is_worse_when_it_is_lower():
    rng = np.random.default_rng(4)
    x = rng.normal(0.001, 0.01, 2100)
    for shift, verdict in ((0.02, "stable"), (-0.02, "retrain")):
        moved = x.copy()
        moved[2000:] += shift
        found = performance_drift(moved, measure="portfolio_return", n_recent=100)
        assert found.verdict == verdict, found.reason
    assert found.null_worst > found.recent
    wealthy = x + 0.05
    wealthy[2000:] -= 0.02
    assert performance_drift(wealthy, measure="portfolio_return", n_recent=100).verdict == "investigate"


def test_every_figure_equals_a_loop_and_bars_without_a_value_are_left_out():
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1, (700, 3))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[[5, 300]] = np.nan
    x[-12:] = np.nan  # labels that are not resolved yet
    found = performance_drift(x, measure="log_loss", n_recent=41)
    known = [row[~np.isnan(row)].tolist() for row in x if not np.isnan(row).all()]

    def mean(bars: list[list[float]]) -> float:
        values = [value for bar in bars for value in bar]
        return sum(values) / len(values)

    before, recent = known[:-41], known[-41:]
    null = [mean(before[start : start + 41]) for start in range(len(before) - 41, -1, -20)]
    now = mean(recent)
    assert found.recent == pytest.approx(now)
    assert found.reference == pytest.approx(mean(before))
    assert found.null_worst == pytest.approx(max(null))
    assert found.p_value == pytest.approx((1 + sum(v >= now for v in null)) / (1 + len(null)))
    assert (found.n_recent, found.n_reference, found.n_null_windows) == (41, len(before), len(null))
    assert found.n_left_out == 700 - len(known) >= 14


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.empty(0), "0 known recent values"),
        (np.full(500, np.nan), "0 known recent values"),
        (np.arange(900.0), "null windows, 19 are needed"),
        (np.arange(40.0), "more out-of-sample bars"),
    ],
)
def test_too_few_known_bars_are_insufficient_with_a_reason_and_plain_json(values, said):
    found = performance_drift(values, measure="log_loss", n_recent=100)
    assert (found.verdict, found.p_value) == ("insufficient_data", None)
    assert said in found.reason
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_level_that_can_never_be_reached_and_no_window_are_refused():
    with pytest.raises(ValueError, match="n_recent 0"):
        performance_drift(np.zeros(9), measure="log_loss", n_recent=0)
    with pytest.raises(ValueError, match="n_recent 0"):
        prediction_drift({"p": np.zeros(9)}, n_recent=0)
    with pytest.raises(ValueError, match="alpha"):
        performance_drift(np.zeros(9), measure="log_loss", n_recent=1, alpha=0.0)
    with pytest.raises(ValueError, match="infinite"):
        performance_drift(np.array([0.0, np.inf]), measure="log_loss", n_recent=1)
