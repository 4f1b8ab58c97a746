"""Percentiles of timed calls: their intervals cover, what is not bounded says so, and the gate judges the upper end."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binom

from tft_pipeline.domain.latency import (
    QUANTILES,
    calls_to_bound,
    distribution,
    latency_figures,
    latency_reasons,
    quantile_interval,
)
from tft_pipeline.domain.phases import LatencySection


@pytest.mark.parametrize(("quantile", "n"), [(0.5, 200), (0.95, 200), (0.99, 800)])
def test_the_interval_of_a_quantile_covers_it_as_often_as_it_says(quantile: float, n: int) -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        lower, upper = quantile_interval(np.sort(random.random(n)), quantile)
        assert lower is not None
        assert upper is not None
        hits += lower <= quantile < upper
    assert 0.94 < hits / 2000 < 0.99


def test_an_end_that_no_order_statistic_bounds_is_none() -> None:
    lower, upper = quantile_interval(np.arange(20.0), 0.95)
    assert lower == 16.0
    assert upper is None


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_the_calls_that_bound_a_quantile_are_the_fewest_that_do(quantile: float) -> None:
    n = calls_to_bound(quantile)
    assert quantile_interval(np.arange(float(n)), quantile)[1] == n - 1
    assert quantile_interval(np.arange(n - 1.0), quantile)[1] is None
    assert binom.cdf(n - 1, n, quantile) >= 0.975 > binom.cdf(n - 2, n - 1, quantile)


def test_a_p95_takes_72_calls_and_a_p99_368() -> None:
    assert (calls_to_bound(0.95), calls_to_bound(0.99)) == (72, 368)


@given(st.lists(st.floats(0.001, 1e4), min_size=20, max_size=120))
def test_figures_are_ordered_lie_in_their_intervals_and_say_why_they_are_none(took: list[float]) -> None:
    found = latency_figures(np.array(took))
    ranked = [found[name] for name in QUANTILES]
    assert ranked == sorted(ranked)
    assert min(took) <= found["p50"]
    assert found["p99"] <= found["max"] == max(took)
    for name in QUANTILES:
        lower, upper = found[f"{name}_ci"]
        assert lower is None or lower <= found[name]
        assert upper is None or upper >= found[name]
    none = {key for key, value in found.items() if value is None or (isinstance(value, list) and None in value)}
    assert none == set(found["unbounded"])


def test_figures_are_those_of_a_loop_over_the_sorted_calls() -> None:
    took = np.random.default_rng(1).gamma(2.0, 1.0, 1000)
    found, ordered = latency_figures(took), sorted(took.tolist())
    for name, share in {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}.items():
        place = share * (len(ordered) - 1)
        low = int(place)
        by_hand = ordered[low] + (place - low) * (ordered[min(low + 1, 999)] - ordered[low])
        assert found[name] == pytest.approx(by_hand)
    assert found["mean"] == pytest.approx(sum(ordered) / 1000)
    assert found["unbounded"] == {}


def test_below_a_thousand_calls_there_is_no_p999_and_the_reason_says_so() -> None:
    assert latency_figures(np.ones(1000))["p999"] == 1.0
    few = latency_figures(np.ones(999))
    assert few["p999"] is None
    assert few["unbounded"]["p999"] == "needs 1,000 calls, there are 999"
    assert "368 do" in latency_figures(np.ones(200))["unbounded"]["p99_ci"]


@pytest.mark.parametrize("took", [[], [1.0] * 19, [1.0] * 20 + [np.nan], [1.0] * 20 + [np.inf]])
def test_too_few_calls_or_one_without_a_duration_have_no_figures(took: list[float]) -> None:
    with pytest.raises(ValueError, match="a p95 needs 20 and all of them"):
        latency_figures(np.array(took))


@pytest.mark.parametrize("n", [1, 2, 199, 5000])
def test_the_drawn_distribution_ends_with_the_longest_call_and_keeps_the_shares(n: int) -> None:
    took = np.random.default_rng(0).random(n)
    drawn = distribution(took)
    assert drawn["ms"][-1] == took.max()
    assert drawn["share"][-1] == 1.0
    assert len(drawn["ms"]) <= 200
    for ms, share in zip(drawn["ms"], drawn["share"], strict=True):
        assert share == pytest.approx(np.mean(took <= ms))


def test_the_gate_judges_the_upper_end_and_asks_for_calls_where_there_is_none() -> None:
    assert latency_reasons([1.0, 40.0], n=200, max_p95_ms=40.0) == []
    assert "40.1 ms of the p95 is above 40 ms" in latency_reasons([1.0, 40.1], n=200, max_p95_ms=40.0)[0]
    (few,) = latency_reasons([1.0, None], n=71, max_p95_ms=40.0)
    assert "71 timed calls are too few" in few
    assert "takes 72" in few


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"forms": ["onnx_window", "onnx_window"]}, "names one twice"),
        ({"forms": ["onnx"]}, "onnx_window"),
        ({"rate_per_s": 0.0}, "greater than 0"),
        ({"arrivals": "bursts"}, "poisson"),
        ({"warmup": -1}, "greater than or equal to 0"),
        ({"cold_start": "yes"}, "boolean"),
    ],
)
def test_a_latency_section_that_means_nothing_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LatencySection.model_validate(changes)
