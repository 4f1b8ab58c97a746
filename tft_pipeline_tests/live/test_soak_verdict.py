"""The verdict of a soak: growth that is there is found, growth that is not is not, and every reason is told."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import theilslopes

from tft_pipeline.live.soak_verdict import FIGURES, LOOP, WARM_UP_BARS, WATCHDOG, lives_of, pooled_slope, verdict


def samples(
    *, growth: dict[str, float] | None = None, lives: int = 3, n: int = 60, seed: int = 0, every: int = 40
) -> list[dict[str, Any]]:
    """Samples of some processes, whose figures begin elsewhere each time and grow by so much per 1,000 bars."""
    random = np.random.default_rng(seed)
    level = {"rss_kb": 150_000.0, "handles": 9.0, "threads": 4.0, "latency_ms": 5.0}
    noise = {"rss_kb": 100.0, "handles": 0.0, "threads": 0.0, "latency_ms": 1.0}
    rows = []
    for pid, (process, k) in (
        (pid, (process, k)) for pid in range(lives) for process in (LOOP, WATCHDOG) for k in range(n)
    ):
        bars = every * (k + 1)
        row: dict[str, Any] = {"process": process, "pid": pid, "started": "1", "bars": bars}
        if process == LOOP:
            row["equity_told"] = bars
        for _, name in (figure for figure in FIGURES if figure[0] == process):
            said = name if process == LOOP else f"watchdog_{name}"
            grown = (growth or {}).get(said, 0.0) * bars / 1000.0
            early = 20_000.0 * (name == "rss_kb") * (bars <= WARM_UP_BARS)
            start = level[name] * (1.0 + 0.01 * pid * (name == "rss_kb"))
            row[name] = start + grown - early + noise[name] * abs(random.standard_normal())
        rows.append(row)
    return rows


def judged(rows: list[dict[str, Any]], broken: tuple[str, ...] = (), bars: int = 1000) -> dict[str, Any]:
    return verdict(samples=rows, broken=broken, faults={"restart": 2}, bars=bars)


def test_figures_that_stand_still_are_go_whatever_they_do_at_first_and_between_processes() -> None:
    found = judged(samples())
    assert found["reasons"] == []
    assert found["verdict"] == "GO"
    assert found["notes"] == []


def test_a_short_soak_says_what_it_cannot_rule_out() -> None:
    rows = samples(lives=1, n=18, seed=2)
    for row in (row for row in rows if "latency_ms" in row):
        row["latency_ms"] *= 1.0 + 0.8 * np.random.default_rng(row["bars"]).random()
    found = judged(rows)
    assert found["verdict"] == "GO"
    assert any("not ruled out" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("name", "growth"),
    [
        ("rss_kb", 700.0),
        ("handles", 5.0),
        ("threads", 3.0),
        ("latency_ms", 3.0),
        ("watchdog_rss_kb", 200_000.0),
        ("watchdog_handles", 5.0),
        ("watchdog_threads", 3.0),
    ],
)
def test_each_kind_of_growth_is_no_go(name: str, growth: float) -> None:
    found = judged(samples(growth={name: growth}))
    assert found["verdict"] == "NO-GO"
    (reason,) = found["reasons"]
    assert reason.startswith(f"{name} grows")
    assert found["growth"][name]["per_1000_bars"] == pytest.approx(growth, rel=0.35)


def test_growth_without_a_doubt_but_below_the_limit_is_go() -> None:
    assert judged(samples(growth={"rss_kb": 200.0, "handles": 0.3}))["verdict"] == "GO"


@pytest.mark.parametrize(
    ("name", "growth"),
    [("rss_kb", 350.0), ("latency_ms", 0.45), ("handles", 0.9), ("threads", 0.01), ("watchdog_rss_kb", 40.0)],
)
def test_what_is_little_a_bar_and_much_in_a_day_is_no_go(name: str, growth: float) -> None:
    """A day of 2 million bars, each slope below its limit per 1,000 bars."""
    found = judged(samples(growth={name: growth}, lives=1, n=500, every=4000))
    (reason,) = found["reasons"]
    assert reason.startswith(f"{name} grows")
    assert "a slow leak" in reason
    assert judged(samples(lives=1, n=500, every=4000))["reasons"] == []


def test_a_number_of_a_process_that_the_system_gives_again_is_another_life() -> None:
    once = samples(lives=1, growth={"rss_kb": 200.0})
    again = [row | {"started": "2"} for row in once]
    both = [*once, *again, *[{k: v for k, v in row.items() if k != "started"} for row in [*once, *once]]]
    assert len(lives_of(both, "rss_kb")) == 4
    found = judged(both)
    assert found["reasons"] == []
    assert found["growth"]["rss_kb"]["per_1000_bars"] == pytest.approx(200.0, rel=0.3)


def test_a_soak_that_never_told_the_equity_again_or_never_saw_its_watchdog_is_no_go() -> None:
    rows = [row | {"equity_told": 0} if "equity_told" in row else row for row in samples()]
    assert judged(rows)["reasons"] == ["the loop's equity was told again at no bar"]
    alone = [row for row in samples() if row["process"] == LOOP]
    assert all(reason.startswith("watchdog_") for reason in judged(alone)["reasons"])
    assert len(judged(alone)["reasons"]) == 3


def test_a_broken_promise_no_bars_and_too_few_samples_are_no_go() -> None:
    assert judged(samples(), broken=("lost state",))["reasons"] == ["lost state"]
    assert judged(samples(), bars=0)["verdict"] == "NO-GO"
    assert all("too short" in reason for reason in judged(samples(n=11))["reasons"])
    assert judged([])["verdict"] == "NO-GO"


def test_of_one_process_the_slope_is_that_of_theil_and_sen() -> None:
    random = np.random.default_rng(3)
    x = np.arange(40, dtype=float) * 25.0
    y = 0.02 * x + random.standard_t(2, 40)
    ours = pooled_slope([(x, y)])
    slope, _, low, high = theilslopes(y, x, alpha=0.99)
    assert ours.value == pytest.approx(1000.0 * slope, rel=1e-12)
    assert ours.low == pytest.approx(1000.0 * low, rel=0.02)
    assert ours.high == pytest.approx(1000.0 * high, rel=0.02)


def test_the_interval_covers_the_slope_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        lives = []
        for _life in range(3):
            x = np.arange(15, dtype=float)
            lives.append((x, 0.01 * x + random.normal(0, 5) + random.standard_normal(15)))
        found = pooled_slope(lives)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 10.0 <= found.high
    assert covered >= 190
