import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics

from tft_pipeline.domain.calibration import calibrate
from tft_pipeline.domain.classification import log_loss
from tft_pipeline.domain.ensemble import ensemble_weights, greedy_weights

EXAMPLE = np.array([[0.9, 0.5], [0.5, 0.9], [0.1, 0.5], [0.5, 0.1]])
EXAMPLE_Y = np.array([1, 1, 0, 0])


def sources(seed: int, n: int = 300) -> tuple[dict[str, np.ndarray | None], np.ndarray]:
    """Two noisy views of one truth and one source that knows nothing."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(0, 1, n)
    y = (rng.uniform(0, 1, n) < expit(signal)).astype(int)
    views = {name: expit(signal + rng.normal(0, spread, n)) for name, spread in (("lgbm", 0.8), ("tft", 1.2))}
    return {**views, "noise": rng.uniform(0.05, 0.95, n)}, y


def test_the_worked_example_gives_equal_weights():
    found = ensemble_weights({"lgbm": EXAMPLE[:, 0], "tft": EXAMPLE[:, 1]}, EXAMPLE_Y)
    assert found.weights == pytest.approx({"lgbm": 0.5, "tft": 0.5}, abs=1e-6)
    assert greedy_weights({"lgbm": EXAMPLE[:, 0], "tft": EXAMPLE[:, 1]}, EXAMPLE_Y) == {"lgbm": 0.5, "tft": 0.5}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), l2=st.sampled_from([0.0, 0.01, 0.3]))
def test_no_point_of_a_fine_grid_is_better(seed, l2):
    found_sources, y = sources(seed, 150)
    found = ensemble_weights(found_sources, y, l2=l2)
    weights = np.array(list(found.weights.values()))
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0.0).all()
    table = np.stack(list(found_sources.values()), axis=1)

    def penalised(w: np.ndarray) -> float:
        return log_loss(y, table @ w) + l2 * float(((w - 1 / 3) ** 2).sum())

    steps = np.linspace(0, 1, 21)
    grid = [np.array([a, b, 1 - a - b]) for a in steps for b in steps if a + b <= 1 + 1e-12]
    assert penalised(weights) <= min(penalised(np.clip(w, 0, 1)) for w in grid) + 1e-9
    assert found.log_loss == pytest.approx(metrics.log_loss(y, table @ weights))


@pytest.mark.parametrize("seed", range(3))
def test_greedy_selection_comes_to_the_same_weights(seed):
    found_sources, y = sources(seed, 400)
    greedy = greedy_weights(found_sources, y, n_rounds=200)
    assert greedy == pytest.approx(ensemble_weights(found_sources, y).weights, abs=0.06)


def test_a_strong_pull_gives_equal_weights_and_without_one_calibrated_noise_gets_next_to_nothing():
    found_sources, y = sources(1, 2000)
    calibrated = {name: calibrate(p, y).apply(p) for name, p in found_sources.items()}
    equal = dict.fromkeys(found_sources, 1 / 3)
    for pull in (1e4, 1e6):
        assert ensemble_weights(calibrated, y, l2=pull).weights == pytest.approx(equal, abs=1e-3)
    assert ensemble_weights(calibrated, y).weights["noise"] < 0.05


def test_an_absent_source_keeps_its_key_with_no_weight():
    found_sources, y = sources(2)
    absent = {**found_sources, "sentiment": None}
    found = ensemble_weights(absent, y)
    assert list(found.weights) == ["lgbm", "tft", "noise", "sentiment"]
    assert found.weights["sentiment"] == 0.0
    assert found.available == {"lgbm": True, "tft": True, "noise": True, "sentiment": False}
    assert {name: w for name, w in found.weights.items() if w} == {
        name: w for name, w in ensemble_weights(found_sources, y).weights.items() if w
    }
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["weights"]["sentiment"] == 0.0
    assert greedy_weights(absent, y, n_rounds=5)["sentiment"] == 0.0


def test_one_source_gets_everything_and_the_blend_is_that_source():
    p = np.array([0.2, 0.7, 0.6])
    found = ensemble_weights({"tft": p, "lgbm": None}, np.array([0, 1, 1]))
    assert found.weights == {"tft": 1.0, "lgbm": 0.0}
    np.testing.assert_allclose(found.blend({"tft": p, "lgbm": None}), p)


def test_a_blend_without_a_source_that_carries_weight_is_refused():
    found_sources, y = sources(3)
    found = ensemble_weights(found_sources, y)
    with pytest.raises(ValueError, match="lgbm carry weight"):
        found.blend({**found_sources, "lgbm": None})


def test_rows_that_cannot_be_blended_are_refused():
    found_sources, y = sources(4)
    with pytest.raises(ValueError, match="nothing to blend"):
        ensemble_weights({"tft": None}, y)
    with pytest.raises(ValueError, match="join on"):
        ensemble_weights({"tft": found_sources["tft"][:5]}, y)
    with pytest.raises(ValueError, match="outside \\[0, 1\\] or NaN"):
        ensemble_weights({"tft": np.where(y == 1, np.nan, 0.5)}, y)
    with pytest.raises(ValueError, match="0 and 1"):
        ensemble_weights(found_sources, y + 1)
    for pull in (-1.0, float("nan"), float("inf"), 1e300):
        with pytest.raises(ValueError, match=r"l2 .* is outside 0 to 1e"):
            ensemble_weights(found_sources, y, l2=pull)
    with pytest.raises(ValueError, match="n_rounds"):
        greedy_weights(found_sources, y, n_rounds=0)
