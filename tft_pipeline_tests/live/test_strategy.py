"""Targets are the backtest's own weights; only signals that count are used; the kill switch has the last word."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.portfolio import hold_book
from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.regime import Permission, Regime, RegimeContext, RegimeSettings
from tft_pipeline.domain.signal import Signal
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline.live.replayed_signals import signal_table, signals_in, signals_of_predictions
from tft_pipeline.live.strategy import (
    EXPIRED,
    NO_SIGNAL,
    NO_VOLATILITY,
    NOT_YET,
    OVERLAY,
    SWITCHED_OFF,
    TFTStrategy,
)
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING, allowed_in
from tft_pipeline_tests.signatures import made_signature

START, DAY = datetime(2026, 1, 5, 21, tzinfo=UTC), timedelta(days=1)
SYMBOLS = ("AAA", "BBB", "CCC")
TARGET, CAP, SMOOTH, LARGEST = 0.15, 0.4, 0.6, 0.7


def signal(symbol: str = "AAA", position: float = 0.5, **changes: Any) -> Signal:
    values = {
        "ts": START,
        "symbol": symbol,
        "target_position": position,
        "mu": None,
        "sigma": None,
        "probability": None,
        "model_id": "r1",
        "valid_from": START,
        "valid_until": START + DAY,
    }
    return Signal(**values | changes)


def strategy(**changes: Any) -> TFTStrategy:
    return TFTStrategy(**{"symbols": SYMBOLS, "target_volatility": TARGET, "max_weight": CAP} | changes)


def predictions(n_bars: int = 60, *, absent: float = 0.2, seed: int = 0) -> pl.DataFrame:
    """Rows with gaps and unknown volatilities; every row's next return is known."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "timestamp": [START + k * DAY for k in range(n_bars) for _ in SYMBOLS],
            "symbol": list(SYMBOLS) * n_bars,
            "raw_position": rng.uniform(-1, 1, 3 * n_bars),
            "volatility": rng.uniform(0.05, 0.5, 3 * n_bars),
            "next_return": rng.normal(0, 0.01, 3 * n_bars),
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    unknown = pl.Series(rng.random(frame.height) < absent / 2)
    frame = frame.with_columns(volatility=pl.when(unknown).then(None).otherwise(pl.col("volatility")))
    return frame.filter(pl.Series(rng.random(frame.height) >= absent))


def on_grid(frame: pl.DataFrame, column: str) -> np.ndarray:
    """(S, N), NaN where there is no row."""
    calendar = frame["timestamp"].unique().sort().to_list()
    out = np.full((len(SYMBOLS), len(calendar)), np.nan)
    for row in frame.iter_rows(named=True):
        if row[column] is not None:
            out[SYMBOLS.index(row["symbol"]), calendar.index(row["timestamp"])] = row[column]
    return out


def backtest_fractions(frame: pl.DataFrame) -> np.ndarray:
    """(S, N) weight times share of the backtest's own book."""
    held = hold_positions(on_grid(frame, "raw_position"), max_position=LARGEST, position_smooth=SMOOTH)
    volatility = on_grid(frame, "volatility")
    known = np.where(np.isfinite(volatility), 0.0, np.nan)
    book = hold_book(
        held, volatility, known, target_volatility=TARGET, terms=BookTerms(trading_bps=0.0, max_weight=CAP)
    )
    return book.weight * np.nan_to_num(book.share)


def replayed(frame: pl.DataFrame) -> pl.DataFrame:
    return signals_of_predictions(
        frame, made_signature(max_position=LARGEST, position_smooth=SMOOTH, symbols=SYMBOLS), model_id="walk"
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_fed_with_the_backtests_positions_it_holds_the_backtests_weights_at_every_bar(seed: int, absent: float) -> None:
    frame = predictions(absent=absent, seed=seed)
    expected = backtest_fractions(frame)
    found = strategy().by_bar(replayed(frame.sample(fraction=1.0, shuffle=True, seed=seed)))
    assert found["timestamp"].to_list() == frame["timestamp"].unique().sort().to_list()
    np.testing.assert_allclose(found.select(SYMBOLS).to_numpy().T, expected, rtol=0, atol=1e-12)
    capped = np.abs(expected) * np.isfinite(on_grid(frame, "volatility")).sum(axis=0)
    assert capped.max() == pytest.approx(CAP)


def test_asked_bar_by_bar_it_answers_as_over_the_whole_path() -> None:
    frame = predictions(seed=5)
    table = replayed(frame)
    whole = strategy().by_bar(table)
    for row in whole.iter_rows(named=True):
        here = table.filter(pl.col("ts") == row["timestamp"])
        known = dict(here.select("symbol", "volatility").iter_rows())
        until = table.filter(pl.col("ts") <= row["timestamp"])
        found = strategy().targets(row["timestamp"], signals_in(until), known)
        assert found.fractions == pytest.approx({symbol: row[symbol] for symbol in SYMBOLS}, abs=1e-15)
        assert found.share == pytest.approx(1 / max(here["volatility"].count(), 1)) or not here["volatility"].count()


def test_a_weight_is_the_position_times_target_over_volatility_capped_and_shared() -> None:
    found = strategy().targets(
        START, [signal("AAA", 0.5), signal("BBB", -0.9)], {"AAA": 0.3, "BBB": 0.1, "CCC": None, "DDD": 0.2}
    )
    assert found.weights == pytest.approx({"AAA": 0.25, "BBB": -CAP, "CCC": 0.0})
    assert found.fractions == pytest.approx({"AAA": 0.125, "BBB": -CAP / 2, "CCC": 0.0})
    assert found.share == 0.5
    assert found.flat == {"CCC": NO_SIGNAL}
    assert (found.valid_until, found.model_ids) == (START + DAY, ("r1",))


def test_what_has_no_signal_that_counts_is_flat_and_says_why() -> None:
    early, late = START - 2 * DAY, START + DAY
    found = strategy(symbols=("AAA", "BBB", "CCC", "DDD")).targets(
        START,
        [
            signal("AAA", 0.5, ts=early, valid_from=early, valid_until=START),
            signal("BBB", 0.5, valid_from=late, valid_until=late + DAY),
            signal("CCC", 0.5),
            signal("ZZZ", 0.5),
        ],
        dict.fromkeys(("AAA", "BBB", "DDD"), 0.2),
    )
    assert set(found.fractions.values()) == {0.0}
    assert found.flat == {"AAA": EXPIRED, "BBB": NOT_YET, "CCC": NO_VOLATILITY, "DDD": NO_SIGNAL}
    assert found.share == 0.0, "a volatility counts as long as its signal does"
    nothing = strategy().targets(START, [], {})
    assert (nothing.share, nothing.valid_until, set(nothing.fractions.values())) == (0.0, None, {0.0})


def test_the_newest_signal_counts_and_an_older_one_never_speaks_again() -> None:
    older = signal("AAA", 0.9, valid_until=START + 9 * DAY)
    newer = signal("AAA", -0.3, ts=START + DAY, valid_from=START + DAY, valid_until=START + 2 * DAY)
    signs = [
        math.copysign(1, w) if (w := strategy().targets(now, [newer, older], {"AAA": 0.2}).fractions["AAA"]) else 0
        for now in (START, START + DAY, START + 2 * DAY)
    ]
    assert signs == [1, -1, 0]
    table = signal_table([newer, older], {(s.ts, "AAA"): 0.2 for s in (newer, older)})
    path = strategy().path([START, START + DAY, START + 2 * DAY], table)
    assert np.sign(path["AAA"].to_numpy()).tolist() == signs


def test_two_models_at_one_bar_are_refused() -> None:
    both = [signal("AAA", 0.5), signal("AAA", 0.4, model_id="r2")]
    with pytest.raises(ValueError, match="r1 and r2"):
        strategy().targets(START, both, {"AAA": 0.2})
    with pytest.raises(ValueError, match="two signals of one bar"):
        strategy().path([START], signal_table(both, {(START, "AAA"): 0.2}))
    assert strategy().targets(START, both[:1] * 2, {"AAA": 0.2}).fractions["AAA"] > 0.0


def test_minutes_use_a_daily_signal_only_after_its_close_and_never_earlier_that_day() -> None:
    table = replayed(predictions(4, absent=0.0))
    known = table.filter(pl.col("symbol") == "AAA")
    opening = START + DAY - timedelta(hours=6)
    minutes = [opening + timedelta(minutes=k) for k in range(24 * 60)]
    held = strategy().path(minutes, table)["AAA"].to_list()
    by_bar = strategy().by_bar(table)["AAA"].to_list()
    close = minutes.index(START + DAY)
    assert held[:close] == [by_bar[0]] * close
    assert held[close:] == [by_bar[1]] * (len(minutes) - close)
    assert known["valid_from"].to_list()[1] == START + DAY
    late = table.with_columns(pl.col("valid_from") + timedelta(minutes=30))
    assert strategy().path(minutes, late)["AAA"].to_list()[: close + 30] == [by_bar[0]] * (close + 30)


@given(st.integers(0, 39), st.floats(-1, 1), st.floats(0.01, 2))
@settings(max_examples=30)
def test_what_a_later_bar_says_changes_no_earlier_target(bar: int, position: float, volatility: float) -> None:
    table = replayed(predictions(40, absent=0.1))
    cut = START + bar * DAY
    later = pl.col("ts") >= cut
    changed = table.with_columns(
        target_position=pl.when(later).then(position).otherwise("target_position"),
        volatility=pl.when(later).then(volatility).otherwise("volatility"),
    )
    hours = [START + k * DAY / 4 for k in range(160)]
    before = pl.col("timestamp") < cut
    assert strategy().path(hours, table).filter(before).equals(strategy().path(hours, changed).filter(before))


@given(
    st.sampled_from([ACTIVE, REDUCING, HALTED]),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
)
def test_the_kill_switch_has_the_last_word(state: str, wanted: list[float], held: list[float]) -> None:
    signals = [signal(symbol, p) for symbol, p in zip(SYMBOLS, wanted, strict=True)]
    now = dict(zip(SYMBOLS, held, strict=True))
    volatility = dict.fromkeys(SYMBOLS, 0.2)
    free = strategy().targets(START, signals, volatility).fractions
    found = strategy(allowed=lambda w, h: allowed_in(state, w, h)).targets(START, signals, volatility, held=now)
    assert found.fractions == allowed_in(state, free, now)
    if state == HALTED:
        assert set(found.fractions.values()) == {0.0}
        assert {found.flat[symbol] for symbol in SYMBOLS if free[symbol] != 0.0} <= {SWITCHED_OFF}
    if state == REDUCING:
        assert all(abs(found.fractions[symbol]) <= abs(now[symbol]) for symbol in SYMBOLS)


def test_what_the_switch_does_not_name_is_flat() -> None:
    found = strategy(allowed=lambda w, h: {}).targets(START, [signal()], {"AAA": 0.2})
    assert found.fractions == dict.fromkeys(SYMBOLS, 0.0)
    assert found.flat["AAA"] == SWITCHED_OFF


def test_a_daily_regime_restrains_the_strategy_before_the_switch_is_asked() -> None:
    knobs = RegimeSettings(in_favour=Permission(scale=1.0), neutral=Permission(scale=0.5))
    asked: list[dict[str, float]] = []

    def seen(weights: Any, held: Any) -> Any:
        asked.append(dict(weights))
        return weights

    signals = [signal("AAA", 0.4), signal("BBB", 0.4), signal("CCC", -0.4)]
    volatility = dict.fromkeys(SYMBOLS, 0.2)
    free = strategy().targets(START, signals, volatility).fractions
    contexts = {
        "AAA": RegimeContext(regime=Regime.BULL, stale=False),
        "BBB": RegimeContext(regime=Regime.NEUTRAL, stale=False),
    }
    found = strategy(overlay=knobs, allowed=seen).targets(START, signals, volatility, contexts=contexts)
    assert found.fractions == {"AAA": free["AAA"], "BBB": free["BBB"] / 2, "CCC": 0.0}
    assert asked == [found.fractions]
    assert found.flat == {"CCC": OVERLAY}
    closed = strategy(overlay=knobs).targets(START, signals, volatility)
    assert set(closed.fractions.values()) == {0.0}
    with pytest.raises(ValueError, match="without an overlay"):
        strategy().targets(START, signals, volatility, contexts=contexts)


def test_what_a_regime_limits_is_the_weight_and_not_its_share_of_the_capital() -> None:
    names = tuple("ABCDEFGHIJ")
    knobs = RegimeSettings(
        in_favour=Permission(scale=1.0, limit=0.5),
        neutral=Permission(scale=0.5, limit=0.25),
    )
    ten = strategy(symbols=names, overlay=knobs, max_weight=10.0)
    contexts = {name: RegimeContext(regime=Regime.BULL, stale=False) for name in names}
    found = ten.targets(START, [signal(name, 1.0) for name in names], dict.fromkeys(names, 0.05), contexts=contexts)
    assert found.weights == pytest.approx(dict.fromkeys(names, 3.0))
    assert found.fractions == pytest.approx(dict.fromkeys(names, 0.5 / 10))


def test_path_and_targets_count_the_same_symbols_at_every_moment() -> None:
    """AAA speaks every day, BBB ends a day early: half a day later its volatility counts no more."""
    table = signal_table(
        [signal("AAA", 0.5, valid_until=START + 2 * DAY), signal("BBB", 0.5), signal("CCC", 0.0)],
        {(START, "AAA"): 0.2, (START, "BBB"): 0.3, (START, "CCC"): None or float("nan")},
    )
    known = dict(table.select("symbol", "volatility").iter_rows())
    for now, n in ((START, 2), (START + 1.5 * DAY, 1), (START + 2 * DAY, 0)):
        found = strategy().targets(now, signals_in(table), known)
        assert found.share == (1 / n if n else 0.0)
        path = strategy().path([now], table).row(0, named=True)
        assert found.fractions == {name: path[name] for name in SYMBOLS}


def test_the_strategy_of_a_signature_has_its_symbols_target_and_cap() -> None:
    signature = made_signature(symbols=("AAA", "BBB"), target_volatility=0.2, max_weight=3.0)
    made = TFTStrategy.of(signature)
    assert (made.symbols, made.target_volatility, made.max_weight) == (("AAA", "BBB"), 0.2, 3.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"symbols": ()}, "at least one"),
        ({"symbols": ("A", "A")}, "each once"),
        ({"target_volatility": 0.0}, "target_volatility"),
        ({"max_weight": -1.0}, "max_weight"),
    ],
)
def test_a_strategy_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        strategy(**change)


def test_inputs_that_would_mislead_are_refused_by_name() -> None:
    table = replayed(predictions(5, absent=0.0))
    with pytest.raises(ValueError, match="no time zone"):
        strategy().targets(START.replace(tzinfo=None), [], {})
    with pytest.raises(ValueError, match=r"volatility -0\.2 is not positive"):
        strategy().targets(START, [signal()], {"AAA": -0.2})
    with pytest.raises(ValueError, match=r"no \['volatility'\]"):
        strategy().path([START], table.drop("volatility"))
    with pytest.raises(ValueError, match="not sorted, or one comes twice"):
        strategy().path([START, START], table)
    early = pl.when(pl.col("ts") > START + 2 * DAY).then(pl.lit(START)).otherwise("valid_from")
    with pytest.raises(ValueError, match="usable before an older one"):
        strategy().path([START], table.with_columns(valid_from=early))
    with pytest.raises(ValueError, match="become valid at different moments"):
        strategy().by_bar(signal_table([signal("AAA"), signal("BBB", valid_from=START + DAY / 2)], {}))


def test_a_table_gives_back_its_signals() -> None:
    signals = [signal("BBB", 0.1, mu=0.3, sigma=2.0, probability=0.4), signal("AAA", -0.2)]
    table = signal_table(signals, {(START, "AAA"): 0.2, (START, "BBB"): float("nan")})
    assert signals_in(table) == [signals[1], signals[0]]
    assert table["volatility"].to_list() == [0.2, None]


def test_predictions_scored_twice_are_refused() -> None:
    frame = predictions(3, absent=0.0)
    with pytest.raises(ValueError, match=r"AAA at .* is scored twice"):
        replayed(pl.concat([frame, frame.head(1)]))


def test_a_weight_beyond_the_cap_and_one_of_the_other_side_are_mirror_images() -> None:
    up = strategy().targets(START, [signal("AAA", 0.3)], {"AAA": 0.2})
    down = strategy().targets(START, [replace(signal("AAA", 0.3), target_position=-0.3)], {"AAA": 0.2})
    assert up.fractions["AAA"] == -down.fractions["AAA"] > 0.0
