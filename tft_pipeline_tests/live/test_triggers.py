"""Triggers: worked values, and the property that a worse fact never gives a milder state."""

import json
import math
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.live.drift_nights import newest_night, read_nights
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING, STATES
from tft_pipeline.live.triggers import (
    MISSING,
    UNREADABLE,
    DrawdownLimit,
    DriftLimit,
    ErrorLimit,
    Facts,
    Limits,
    StaleDataLimit,
    judge,
    judge_drawdown,
    judge_drift,
    judge_error_rate,
    judge_stale_data,
)

NUMBERS = st.floats(0.01, 10.0)


def severity(state: str) -> int:
    return STATES.index(state)


@pytest.mark.parametrize(
    ("equity", "mark", "state"),
    [
        (1.0, 1.0, ACTIVE),
        (1.2, 1.0, ACTIVE),  # a mark that lags behind is the equity itself
        (0.951, 1.0, ACTIVE),
        (1.14, 1.2, REDUCING),  # 5 %
        (0.91, 1.0, REDUCING),
        (1.08, 1.2, HALTED),  # 10 %
        (0.0, 1.0, HALTED),
        (-0.5, 1.0, HALTED),
        (math.nan, 1.0, HALTED),
        (1.0, math.nan, HALTED),
        (math.inf, 1.0, HALTED),
        (0.0, 0.0, HALTED),
    ],
)
def test_drawdown_is_told_from_the_highest_equity_so_far(equity: float, mark: float, state: str) -> None:
    limit = DrawdownLimit(reduce_at=0.05 - 1e-12, halt_at=0.10 - 1e-12)
    assert judge_drawdown(limit, equity=equity, high_water_mark=mark).state == state


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (0.0, ACTIVE),
        (1.0, ACTIVE),
        (2.99, ACTIVE),
        (3.0, REDUCING),
        (14.9, REDUCING),
        (15.0, HALTED),
        (math.nan, HALTED),
    ],
)
def test_data_is_stale_after_so_many_intervals(age: float, state: str) -> None:
    assert judge_stale_data(StaleDataLimit(), bar_age=age).state == state


@pytest.mark.parametrize(
    ("nights", "state"),
    [
        ("", ACTIVE),
        ("retrain retrain", ACTIVE),
        ("retrain retrain retrain", REDUCING),
        ("retrain retrain retrain stable", ACTIVE),
        ("retrain stable retrain retrain", ACTIVE),
        ("retrain insufficient_data retrain retrain", REDUCING),
        ("retrain retrain retrain insufficient_data", REDUCING),
        ("insufficient_data insufficient_data insufficient_data", ACTIVE),
        ("retrain unreadable retrain", REDUCING),
        ("investigate investigate investigate", ACTIVE),
        ("retrain " * 40, REDUCING),
        ("missing", REDUCING),
        ("stable stable missing", REDUCING),
    ],
)
def test_drift_reduces_after_nights_in_a_row_and_never_halts(nights: str, state: str) -> None:
    assert judge_drift(DriftLimit(), nights=nights.split()).state == state


@pytest.mark.parametrize(
    ("failed", "state"), [(0, ACTIVE), (14, ACTIVE), (15, REDUCING), (29, REDUCING), (30, HALTED), (60, HALTED)]
)
def test_the_error_rate_is_a_share_of_the_bars_looked_back_on(failed: int, state: str) -> None:
    errors = [True] * failed
    assert judge_error_rate(ErrorLimit(), errors=errors).state == state
    assert judge_error_rate(ErrorLimit(), errors=[*errors, *[False] * 60]).state == ACTIVE
    assert judge_error_rate(ErrorLimit(), errors=[True] * 60 + [False] * (60 - failed) + errors).state == state


@given(mark=NUMBERS, equity=NUMBERS, lost=st.floats(0.0, 5.0), gained=st.floats(0.0, 5.0))
def test_less_equity_or_a_higher_mark_is_never_milder(mark: float, equity: float, lost: float, gained: float) -> None:
    limit = DrawdownLimit()
    here = severity(judge_drawdown(limit, equity=equity, high_water_mark=max(mark, equity)).state)
    assert severity(judge_drawdown(limit, equity=equity - lost, high_water_mark=max(mark, equity)).state) >= here
    assert severity(judge_drawdown(limit, equity=equity, high_water_mark=max(mark, equity) + gained).state) >= here


@given(age=st.floats(0.0, 30.0), more=st.floats(0.0, 30.0))
def test_an_older_bar_is_never_milder(age: float, more: float) -> None:
    limit = StaleDataLimit()
    assert severity(judge_stale_data(limit, bar_age=age + more).state) >= severity(
        judge_stale_data(limit, bar_age=age).state
    )


@given(st.lists(st.booleans(), max_size=80), st.data())
def test_one_error_more_is_never_milder(errors: list[bool], data: st.DataObject) -> None:
    limit = ErrorLimit(bars=20)
    worse = list(errors)
    if worse:
        worse[data.draw(st.integers(0, len(worse) - 1))] = True
    assert severity(judge_error_rate(limit, errors=worse).state) >= severity(
        judge_error_rate(limit, errors=errors).state
    )


@given(st.lists(st.sampled_from(["stable", "retrain", "insufficient_data", "investigate"]), max_size=8), st.data())
def test_a_night_that_turns_bad_is_never_milder(nights: list[str], data: st.DataObject) -> None:
    worse = list(nights)
    if worse:
        worse[data.draw(st.integers(0, len(worse) - 1))] = data.draw(st.sampled_from(["retrain", UNREADABLE]))
    limit = DriftLimit(nights=2)
    assert severity(judge_drift(limit, nights=worse).state) >= severity(judge_drift(limit, nights=nights).state)


def test_all_triggers_speak_and_the_strictest_comes_first() -> None:
    bad = Facts(equity=0.94, high_water_mark=1.0, bar_age=20.0, nights=("retrain",) * 3, errors=(True,) * 15)
    found = judge(Limits(), bad)
    assert [(finding.trigger, finding.state) for finding in found] == [
        ("stale_data", HALTED),
        ("drawdown", REDUCING),
        ("drift", REDUCING),
        ("error_rate", REDUCING),
    ]
    assert judge(Limits(), Facts(equity=1.0, high_water_mark=1.0, bar_age=0.5)) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: DrawdownLimit(reduce_at=0.2, halt_at=0.1),
        lambda: DrawdownLimit(reduce_at=0.0),
        lambda: DrawdownLimit(halt_at=1.0),
        lambda: StaleDataLimit(reduce_after=1.0),
        lambda: StaleDataLimit(halt_after=math.inf),
        lambda: DriftLimit(nights=0),
        lambda: ErrorLimit(bars=0),
        lambda: ErrorLimit(reduce_share=0.6),
    ],
)
def test_limits_that_cannot_be_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="need"):
        wrong()  # type: ignore[operator]


def test_nights_are_read_in_order_and_one_that_cannot_be_read_counts_as_bad(tmp_path: Path) -> None:
    for day, verdict, weights in (("03", "retrain", "a"), ("01", "stable", "a"), ("02", "retrain", "b")):
        (tmp_path / f"drift_2026-01-{day}.json").write_text(json.dumps({"verdict": verdict, "weights_sha256": weights}))
    (tmp_path / "drift_2026-01-04.json").write_text("{")
    (tmp_path / "drift_2026-01-05.html").write_text("a picture")
    assert read_nights(tmp_path) == ("stable", "retrain", "retrain", UNREADABLE)
    assert read_nights(tmp_path, weights_sha256="a") == ("stable", "retrain", UNREADABLE)
    assert read_nights(tmp_path, after="drift_2026-01-02.json") == ("retrain", UNREADABLE)
    assert newest_night(tmp_path) == "drift_2026-01-04.json"


def test_nights_that_nobody_judged_are_not_good_ones(tmp_path: Path) -> None:
    assert read_nights(tmp_path / "nowhere") == (MISSING,)
    assert read_nights(tmp_path) == (MISSING,)
    (tmp_path / "drift_2026-01-04.json").write_text(json.dumps({"verdict": "stable"}))
    assert read_nights(tmp_path) == ("stable",)
    assert read_nights(tmp_path, today=date(2026, 1, 11)) == ("stable",)
    assert read_nights(tmp_path, today=date(2026, 1, 12)) == ("stable", MISSING)
    # a reset forgets nights, not that there are none
    assert read_nights(tmp_path, today=date(2026, 1, 12), after="drift_2026-01-04.json") == (MISSING,)
    (tmp_path / "drift_some-of-it.json").write_text("{}")
    (tmp_path / "drift_2026-99-99.json").write_text("{}")
    assert read_nights(tmp_path, today=date(2026, 1, 5))[-1] == MISSING
