import json

import numpy as np
import pytest
from arch.bootstrap import SPA, StepM

from tft_pipeline.domain.superiority import MAX_BARS, superiority


def panel(n: int, seed: int, means: dict[str, float]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A model and baselines that share half of their variance; means in units of the standard deviation."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0.0, 1.0, n)

    def series(mean: float, scale: float) -> np.ndarray:
        return scale * (mean + np.sqrt(0.5) * (shared + rng.normal(0.0, 1.0, n)))

    model = series(means["model"], 0.01)
    return model, {
        name: series(mean, 0.002 * (k + 1)) for k, (name, mean) in enumerate(means.items()) if name != "model"
    }


def compare(model: np.ndarray, baselines: dict[str, np.ndarray], seed: int = 1, n_resamples: int = 400) -> dict:
    return superiority(model, baselines, bars_per_year=252.0, alpha=0.05, seed=seed, n_resamples=n_resamples)


def test_equal_strategies_are_called_superior_about_as_often_as_the_level_says():
    found = [
        compare(*panel(250, seed, dict.fromkeys(("model", "a", "b", "c"), 0.05)), n_resamples=200)
        for seed in range(120)
    ]
    # 120 panels at 5 %: 6 expected, standard deviation 2.4
    assert 1 <= sum(row["rejected"] for row in found) <= 14
    assert 1 <= sum(bool(row["superior"]) for row in found) <= 14


def test_a_clearly_better_baseline_is_named_and_the_others_are_not():
    found = compare(*panel(1000, 3, {"model": 0.0, "good": 0.25, "same": 0.0, "worse": -0.2}))
    assert found["superior"] == ["good"]
    assert found["rejected"]
    assert found["spa_p_consistent"] < 0.01
    assert "better than the model after risk: good" in found["sentence"]
    assert (
        found["baselines"]["good"]["difference_annual"] > 2.0 > 0.0 > found["baselines"]["worse"]["difference_annual"]
    )


def test_a_model_that_is_clearly_better_has_no_superior_baseline():
    found = compare(*panel(1000, 4, {"model": 0.3, "a": 0.0, "b": 0.05}))
    assert found["superior"] == []
    assert not found["rejected"]
    assert found["spa_p_upper"] > 0.9
    assert "does not show that the model is better" in found["sentence"]


def test_more_risk_is_no_advantage():
    model, baselines = panel(600, 5, {"model": 0.05, "a": 0.08, "b": 0.0})
    first = compare(model, baselines)
    second = compare(model * 3.0, {name: series * 7.0 for name, series in baselines.items()})
    assert first["spa_p_consistent"] == second["spa_p_consistent"]
    assert first["sharpe_annual"] == pytest.approx(second["sharpe_annual"])


def test_p_values_and_names_are_those_of_arch_on_the_studentised_differences():
    model, baselines = panel(700, 6, {"model": 0.0, "a": 0.3, "b": 0.2, "c": -0.3})
    found = compare(model, baselines, seed=11)
    differences = np.column_stack([s / s.std(ddof=1) - model / model.std(ddof=1) for s in baselines.values()])
    lag = max(int(4 * 7.0 ** (2 / 9)), int(np.ceil(2 * found["block_length"])))
    centred = differences - differences.mean(axis=0)
    spread = (centred**2).mean(axis=0)
    for k in range(1, lag + 1):
        spread = spread + 2 * (1 - k / (lag + 1)) * (centred[k:] * centred[:-k]).sum(axis=0) / 700
    losses = -differences / np.sqrt(spread)
    arguments = {"block_size": found["block_length"], "reps": 400, "seed": 11}
    peer = SPA(np.zeros(700), losses, **arguments)
    peer.compute()
    beyond = [peer.pvalues[name] * 400 for name in ("lower", "consistent", "upper")]  # of 400 resamples
    expected = [pytest.approx((1 + k) / 401) for k in beyond]
    assert [found[f"spa_p_{name}"] for name in ("lower", "consistent", "upper")] == expected
    steps = StepM(np.zeros(700), losses, size=0.05, **arguments)
    steps.compute()
    assert found["superior"] == [sorted(baselines)[k] for k in steps.superior_models] == ["a", "b"]


def test_the_last_baseline_can_be_found_superior_in_the_second_step():
    """Where the StepM of arch fails: it goes on to test an empty set."""
    model, baselines = panel(900, 5, {"model": 0.0, "a": 0.5, "b": 0.075})
    found = compare(model, baselines)
    assert found["superior"] == ["a", "b"]
    gains = np.column_stack([s / s.std(ddof=1) - model / model.std(ddof=1) for s in baselines.values()])
    one_step = SPA(np.zeros(900), -gains / gains.std(axis=0), block_size=found["block_length"], reps=400, seed=1)
    one_step.compute()
    assert list(one_step.better_models(0.05)) == [0]


def test_equal_seeds_give_equal_records_that_json_can_hold():
    model, baselines = panel(300, 9, {"model": 0.0, "a": 0.1})
    first, again, other = compare(model, baselines, 1), compare(model, baselines, 1), compare(model, baselines, 2)
    assert first == again == json.loads(json.dumps(first, allow_nan=False))
    assert first["spa_p_consistent"] != other["spa_p_consistent"]


def test_a_long_series_is_added_up_and_finds_the_same():
    model, baselines = panel(3 * MAX_BARS + 7, 10, {"model": 0.0, "a": 0.03, "b": 0.0})
    found = compare(model, baselines, n_resamples=100)
    assert (found["n"], found["n_summed"]) == (3 * MAX_BARS + 7, MAX_BARS)
    assert found["superior"] == ["a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baselines": {}}, "no baseline"),
        ({"baselines": {"a": np.arange(10.0)}}, r"baseline a has shape \(10,\)"),
        ({"baselines": {"a": np.ones(50)}}, "zero variance"),
        ({"baselines": {"a": np.arange(50.0) * 2.0}}, "baseline a is the model but for its scale"),
        ({"baselines": {"a": np.where(np.arange(50) == 3, np.nan, 1.0)}}, "not finite"),
        ({"model": np.arange(10.0), "baselines": {"a": np.ones(10)}}, "zero variance"),
        ({"model": np.arange(10.0), "baselines": {"a": np.arange(10.0) ** 2}}, "10 bars < 20"),
        ({"alpha": 0.5}, "alpha 0.5"),
        ({"alpha": 0.0}, "alpha 0.0"),
        ({"n_resamples": 50}, "n_resamples 50"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    arguments = {
        "model": np.arange(50.0),
        "baselines": {"a": np.sin(np.arange(50.0))},
        "alpha": 0.05,
        "n_resamples": 100,
    } | change
    with pytest.raises(ValueError, match=message):
        superiority(arguments.pop("model"), arguments.pop("baselines"), bars_per_year=252.0, seed=0, **arguments)
