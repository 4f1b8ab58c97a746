"""`honest_sharpe`: the formulas written once more by hand, the numbers of `tft stats`, and what is refused."""

import dataclasses
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline import ConfigurationError, HonestSharpe, honest_sharpe
from tft_pipeline.pipeline.statistics import describe_file
from tft_pipeline_tests.builders import noise

NORMAL = statistics.NormalDist()


def by_hand(x: list[float], bars_per_year: float, trials: int, variance: float) -> dict[str, float]:
    """The published formulas, one return at a time."""
    n, mean = len(x), math.fsum(x) / len(x)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in x) / (n - 1))
    m2, m3, m4 = (math.fsum((one - mean) ** power for one in x) / n for power in (2, 3, 4))
    skew, kurtosis, ratio = m3 / m2**1.5, m4 / m2**2, mean / deviation
    spread = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    gamma = 0.5772156649015329
    best = (1.0 - gamma) * NORMAL.inv_cdf(1.0 - 1.0 / trials) + gamma * NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    level = math.sqrt(variance) * best
    return {
        "sharpe": ratio,
        "sharpe_annual": ratio * math.sqrt(bars_per_year),
        "se": math.sqrt(spread / n),
        "psr": NORMAL.cdf(ratio * math.sqrt(n - 1) / math.sqrt(spread)),
        "dsr": NORMAL.cdf((ratio - level) * math.sqrt(n - 1) / math.sqrt(spread)),
        "min_trl": 1.0 + spread * (NORMAL.inv_cdf(0.95) / ratio) ** 2,
        "expected_max_sharpe": level,
        "min_btl_years": (best / (ratio * math.sqrt(bars_per_year))) ** 2,
    }


def test_the_numbers_are_those_of_the_published_formulas() -> None:
    x = (noise(700, 5, mean=0.0008) + 0.5 * noise(700, 6) ** 2).tolist()
    found = honest_sharpe(x, bars_per_year=252, trials=40, trial_variance=0.002)
    for name, expected in by_hand(x, 252, 40, 0.002).items():
        assert getattr(found, name) == pytest.approx(expected, rel=1e-9), name
    assert found.interval[0] < found.sharpe < found.interval[1]
    assert found.interval_annual == pytest.approx([end * math.sqrt(252) for end in found.interval])
    assert (found.n, found.trials, found.trial_variance, found.reasons) == (700, 40, 0.002, {})


def test_they_are_what_tft_stats_prints_for_the_same_file(tmp_path: Path) -> None:
    x = noise(300, 8, mean=-0.0005)
    np.savetxt(tmp_path / "r.csv", x)
    settings: dict[str, Any] = {"bars_per_year": 252.0, "trials": 7.0, "benchmark_sharpe": 0.01, "seed": 3}
    printed = describe_file(tmp_path / "r.csv", **settings)
    found = dataclasses.asdict(honest_sharpe(np.loadtxt(tmp_path / "r.csv"), **settings))
    assert list(found.pop("interval")) == printed["bootstrap_ci"]
    assert list(found.pop("interval_annual")) == printed["bootstrap_ci_annual"]
    reasons = found.pop("reasons")
    assert {f"{name}_reason": why for name, why in reasons.items()} == {
        name: why for name, why in printed.items() if name.endswith("_reason")
    }
    assert reasons.keys() >= {"min_trl", "min_btl_years"}
    assert found == {name: printed[name] for name in found}
    assert found["min_trl"] is None


def test_arrays_lists_and_columns_of_polars_are_one_series() -> None:
    x = noise(50, 1)
    found = [honest_sharpe(one, bars_per_year=252, trials=1) for one in (x, x.tolist(), pl.Series(x), tuple(x))]
    assert all(one == found[0] for one in found)
    assert isinstance(found[0], HonestSharpe)
    assert found[0].dsr == found[0].psr, "one trial is deflated by nothing"


def test_more_trials_leave_less_of_it() -> None:
    x = noise(500, 2, mean=0.001)
    left = [honest_sharpe(x, bars_per_year=252, trials=n).dsr for n in (1, 2, 10, 1000)]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]


@pytest.mark.parametrize(
    ("returns", "settings", "message"),
    [
        ([0.01] * 7, {}, "7 return.s. in the series; statistics need at least 8"),
        ([0.01, -0.01] * 5, {"bars_per_year": 0.5}, "bars_per_year 0.5: expected at least 1"),
        ([0.01, -0.01] * 5, {"trials": 0}, "trials 0: expected at least 1, the series itself is one"),
        ([0.01, -0.01] * 5, {"trial_variance": -1.0}, "trial_variance -1: expected a variance"),
        ([0.01, -0.01] * 5, {"benchmark_sharpe": math.nan}, "benchmark_sharpe nan: expected a finite"),
        ([0.01, math.nan] * 5, {}, "the series is empty or not finite in rows 1, 3, 5, 7, 9"),
        (pl.Series([0.01, None] * 5), {}, "not finite in rows 1, 3, 5, 7, 9"),
        ([100.0 + k for k in range(9)], {}, "look like prices"),
        ([0.1, -1.5] * 5, {}, "the series is -1.5 in rows 1, 3"),
        ([0.0] * 9, {}, "zero variance"),
        ([[0.01, -0.01]] * 9, {}, r"shape \(9, 2\): expected one series"),
        (["up"] * 9, {}, "returns are no numbers"),
        (np.ma.array([0.01, -0.01] * 5, mask=[False, True] * 5), {}, "not finite in rows 1, 3, 5, 7, 9"),
        ([0.01, -0.01] * 5, {"trials": "5"}, "trials is '5': expected a number"),
        ([0.01, -0.01] * 5, {"trials": None}, "trials is None: expected a number"),
        ([0.01, -0.01] * 5, {"bars_per_year": True}, "bars_per_year is True: expected a number"),
        ([0.01, -0.01] * 5, {"trial_variance": "x"}, "trial_variance is 'x': expected a number"),
        ([0.01, -0.01] * 5, {"seed": -1}, "seed -1 < 0: no random draw begins there"),
        ([0.01, -0.01] * 5, {"seed": 1.5}, "seed is 1.5: expected a whole number of at least 0"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_sentence(returns: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        honest_sharpe(returns, **{"bars_per_year": 252, "trials": 1} | settings)
    assert "\n" not in str(refused.value)
