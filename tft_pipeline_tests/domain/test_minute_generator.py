"""Each property that made-up minutes are said to have, measured."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import kurtosis

from tft_pipeline.domain import minute_generator as made
from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.intervals import missing_bars, refusal_of_interval
from tft_pipeline.domain.minute_generator import generate_minute_bars, regime_change

START = date(2025, 7, 14)  # a Monday
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
MINUTE = timedelta(minutes=1)
MIDNIGHT = datetime(2025, 7, 14, tzinfo=UTC)


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return generate_minute_bars(SYMBOLS, start=START, days=90, seed=7)


@pytest.fixture(scope="module")
def returns(bars: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """By symbol: timestamp, r of bars that follow the minute before, volume."""
    found = {}
    for (symbol,), part in bars.group_by("symbol", maintain_order=True):
        step = pl.col("timestamp").diff() == MINUTE
        found[str(symbol)] = part.select(
            "timestamp", "volume", r=pl.when(step).then(pl.col("close").log().diff())
        ).drop_nulls()
    return found


def hour_profile(frame: pl.DataFrame, value: pl.Expr) -> np.ndarray:
    opened = pl.col("timestamp").dt.offset_by("-1m")
    weekdays = frame.filter(opened.dt.weekday() < 6, opened.dt.date() < regime_change(START).date())
    return weekdays.group_by(opened.dt.hour().alias("hour")).agg(value=value).sort("hour")["value"].to_numpy()


def autocorrelation(values: np.ndarray, lag: int) -> float:
    return float(np.corrcoef(values[lag:], values[:-lag])[0, 1])


def agreement(frame: pl.DataFrame) -> tuple[float, int]:
    """How often a return has the sign of the last one that was not 0, and of how many."""
    signs = np.sign(frame["r"].to_numpy())
    signs = signs[signs != 0]
    return float((signs[1:] == signs[:-1]).mean()), len(signs) - 1


def test_bars_pass_every_check_of_bars_and_are_of_one_minute(bars):
    checked = normalise_bars(bars, timezone=None, symbols=SYMBOLS, start=None, end=None, min_bars=1000)
    assert checked.select(bars.columns).equals(bars)
    assert refusal_of_interval(bars, "1m") is None


def test_timestamps_are_closes_of_whole_utc_days(bars):
    stamps = bars["timestamp"]
    assert (stamps.min(), stamps.max()) == (MIDNIGHT + MINUTE, MIDNIGHT + timedelta(days=90))
    assert stamps.dt.second().max() == 0


def test_prices_are_consistent_and_each_bar_opens_where_the_one_before_closed(bars):
    low, high = bars["low"], bars["high"]
    for name in ("open", "close"):
        assert (low <= bars[name]).all()
        assert (bars[name] <= high).all()
    joined = bars.with_columns(
        before=pl.col("close").shift().over("symbol"), step=pl.col("timestamp").diff().over("symbol")
    )
    follows = joined.filter(pl.col("step") == MINUTE)
    assert (follows["open"] == follows["before"]).all()
    jumps = joined.filter(pl.col("step") > 5 * MINUTE)
    assert (jumps["open"] != jumps["before"]).mean() > 0.95  # the price went on while nobody wrote


def test_the_range_of_a_bar_is_that_of_a_bridge_between_its_open_and_its_close():
    # over a driftless path of variance s^2: E[(log high - log low)^2] = 4 log 2 s^2 (Parkinson 1980); here open to close has
    # fatter tails than the bridge, which the mean of squares bears
    found = generate_minute_bars(("A",), start=START, days=60, seed=1).filter(pl.col("volume") > 0)
    squares = found.select(
        range=(pl.col("high") / pl.col("low")).log() ** 2, r=(pl.col("close") / pl.col("open")).log() ** 2
    )
    assert squares["range"].mean() / squares["r"].mean() == pytest.approx(4.0 * np.log(2.0), rel=0.1)


def test_one_seed_is_one_market_and_another_seed_another(bars):
    again = generate_minute_bars(SYMBOLS, start=START, days=90, seed=7)
    assert again.equals(bars)
    other = generate_minute_bars(SYMBOLS, start=START, days=2, seed=8)
    assert not other["close"].head(100).equals(bars["close"].head(100))


def test_further_symbols_and_days_change_no_bar_that_there_was(bars):
    fewer = generate_minute_bars(("SOLUSDT", "BTCUSDT"), start=START, days=17, seed=7)
    kept = bars.filter(pl.col("symbol") != "ETHUSDT", pl.col("timestamp") <= MIDNIGHT + timedelta(days=17))
    assert fewer.equals(kept)


def test_returns_have_fat_tails_beyond_what_clusters_and_seasons_make(returns):
    for frame in returns.values():
        r = frame.filter(pl.col("r") != 0)["r"].to_numpy()
        assert kurtosis(r, fisher=False) > 8.0
        local = np.sqrt(np.convolve(r**2, np.ones(61) / 61, "same"))
        assert kurtosis((r / local)[100:-100], fisher=False) > 3.3  # 3 for a normal shock, less through the window


def test_absolute_returns_cluster_and_returns_themselves_are_not_correlated(returns):
    for frame in returns.values():
        r = frame["r"].to_numpy()
        size = np.abs(r)
        opened = (frame["timestamp"] - MINUTE).dt.hour().to_numpy()
        for hour in range(24):  # without the season
            size[opened == hour] /= size[opened == hour].mean()
        assert autocorrelation(size, 1) > 0.15
        assert autocorrelation(size, 60) > 0.05
        # under clusters the error of a lag-1 correlation is wider than 1/sqrt(n)
        assert abs(autocorrelation(np.sign(r), 1)) < 4.0 / np.sqrt(len(r))


def test_symbols_move_together_through_a_common_factor(returns):
    for one, other in (("BTCUSDT", "ETHUSDT"), ("ETHUSDT", "SOLUSDT"), ("BTCUSDT", "SOLUSDT")):
        both = returns[one].join(returns[other], on="timestamp")
        a, b = both["r"].to_numpy(), both["r_right"].to_numpy()
        assert 0.35 < np.corrcoef(np.sign(a), np.sign(b))[0, 1] * np.pi / 2 < 0.65
        assert np.corrcoef(np.abs(a), np.abs(b))[0, 1] > 0.3


def test_volatility_and_volume_are_u_shaped_over_the_hours(returns):
    u = made.SEASON_LOW + made.SEASON_RANGE * (2.0 * (np.arange(24) + 0.5) / 24 - 1.0) ** 2
    for frame in returns.values():
        spread = hour_profile(frame.filter(pl.col("r") != 0), pl.col("r").abs().median())
        volume = hour_profile(frame, pl.col("volume").median())
        assert np.corrcoef(spread, u)[0, 1] > 0.8
        assert np.corrcoef(volume, u)[0, 1] > 0.8
        for profile in (spread, volume):
            assert profile[[0, 1, 22, 23]].mean() > 1.6 * profile[10:14].mean()


def test_weekends_are_quiet(returns):
    for frame in returns.values():
        opened = pl.col("timestamp").dt.offset_by("-1m")
        before = frame.filter(opened < regime_change(START))
        weekend, week = (before.filter((opened.dt.weekday() > 5) == is_weekend) for is_weekend in (True, False))
        size = pl.col("r").abs().median()
        assert weekend.select(size).item() / week.select(size).item() == pytest.approx(made.WEEKEND_SCALE, rel=0.3)
        assert weekend["volume"].median() / week["volume"].median() == pytest.approx(made.WEEKEND_VOLUME, rel=0.35)


def test_the_regime_changes_at_the_stated_moment():
    symbols = [f"S{k}" for k in range(8)]
    whole = {"start": START, "days": 20, "seed": 3}
    calm = generate_minute_bars(symbols, **whole, break_day=20)
    broken = generate_minute_bars(symbols, **whole, break_day=10)
    at = regime_change(START, 10)
    assert at == MIDNIGHT + timedelta(days=10)
    assert broken.filter(pl.col("timestamp") <= at).equals(calm.filter(pl.col("timestamp") <= at))
    size = pl.col("close").log().diff().over("symbol").abs()
    late, late_calm = (
        frame.with_columns(r=size).filter(pl.col("timestamp") > at + MINUTE, pl.col("volume") > 0)
        for frame in (broken, calm)
    )
    assert late["r"].sum() / late_calm["r"].sum() == pytest.approx(made.BREAK_SCALE, rel=1e-6)
    assert late["volume"].sum() / late_calm["volume"].sum() == pytest.approx(made.BREAK_VOLUME, rel=1e-9)


def test_a_default_market_changes_after_sixty_days_and_a_shorter_one_does_not(bars):
    assert regime_change(START) == MIDNIGHT + timedelta(days=60)
    short = generate_minute_bars(SYMBOLS, start=START, days=60, seed=7)
    assert short.equals(generate_minute_bars(SYMBOLS, start=START, days=60, seed=7, break_day=1000))
    late = pl.col("timestamp") > regime_change(START)
    size = pl.col("close").log().diff().over("symbol").abs()
    spread = bars.select(size.filter(late).median() / size.filter(~late).median()).item()
    assert 1.3 < spread < 2.2


def test_minutes_without_a_trade_repeat_the_price_and_are_about_as_many_as_stated(bars):
    idle = bars.filter(pl.col("volume") == 0)
    for name in ("open", "high", "low"):
        assert (idle[name] == idle["close"]).all()
    moved = bars.filter(pl.col("volume") > 0)
    assert (moved["high"] > moved["low"]).all()
    assert 0.005 < idle.height / bars.height < 0.03
    quiet = idle.filter(pl.col("timestamp").dt.hour().is_between(10, 13)).height
    busy = idle.filter(pl.col("timestamp").dt.hour().is_in([0, 1, 22, 23])).height
    assert quiet > 1.5 * busy


def test_minutes_lack_for_one_symbol_and_for_all(bars):
    everything = {stamp for stamp in bars["timestamp"].unique()}
    grid = {MIDNIGHT + k * MINUTE for k in range(1, 90 * 1440 + 1)}
    for_all = grid - everything
    gaps = missing_bars(bars, MINUTE)
    days = len({(stamp - MINUTE).date() for stamp in for_all})
    assert 1 <= days <= 20
    assert 5 <= len(for_all) <= days * made.HALT_MINUTES[1]
    for symbol in SYMBOLS:
        own = gaps[symbol]["missing"] - len(for_all)
        # single minutes and outages: about 65 and 216 of 129,600
        assert 100 < own < 600
        assert gaps[symbol]["longest"][0]["bars"] >= made.HALT_MINUTES[0]
    lacking = [grid - set(bars.filter(pl.col("symbol") == symbol)["timestamp"]) - for_all for symbol in SYMBOLS]
    assert len(lacking[0] & lacking[1]) < 0.1 * len(lacking[0])


@pytest.mark.parametrize("edge", [0.0, 0.05, 0.3])
def test_the_last_sign_is_right_as_often_as_the_edge_says(edge):
    found = generate_minute_bars(("A", "B"), start=START, days=20, seed=11, edge=edge)
    for (_,), part in found.group_by("symbol"):
        # gaps hide what the sign before was
        r = part.select(r=pl.when(pl.col("timestamp").diff() == MINUTE).then(pl.col("close").log().diff())).drop_nulls()
        share, n = agreement(r)
        assert share == pytest.approx(0.5 + edge, abs=4.0 * 0.5 / np.sqrt(n) + 0.002)


def test_an_edge_leaves_sizes_and_the_common_factor_and_gives_no_drift():
    plain, planted = (generate_minute_bars(("A", "B"), start=START, days=20, seed=5, edge=edge) for edge in (0.0, 0.1))
    size = pl.col("close").log().diff().over("symbol").abs()
    follows = pl.col("timestamp").diff().over("symbol") == MINUTE
    sizes = [frame.select(size.filter(follows))["close"].to_numpy() for frame in (plain, planted)]
    assert np.allclose(sizes[0], sizes[1], rtol=1e-6, atol=1e-12)
    assert planted["volume"].equals(plain["volume"])
    wide = planted.with_columns(r=pl.col("close").log().diff().over("symbol")).pivot(
        "symbol", index="timestamp", values="r"
    )
    signs = wide.drop_nulls().select(pl.col("A", "B").sign()).to_numpy()
    assert np.corrcoef(signs.T)[0, 1] > 0.25
    assert abs(signs.mean()) < 0.02


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"symbols": ()}, "name at least one"),
        ({"symbols": ("A", "A")}, "each once"),
        ({"days": 0}, "days 0"),
        ({"seed": -1}, "seed -1"),
        ({"break_day": -1}, "break_day -1"),
        ({"edge": 0.5}, r"edge 0\.5 is outside \[0, 0\.5\)"),
        ({"edge": -0.1}, r"edge -0\.1"),
        ({"edge": float("nan")}, "edge nan"),
    ],
)
def test_what_cannot_be_made_is_refused(changes, words):
    given = {"symbols": ("A",), "start": START, "days": 1, "seed": 0} | changes
    with pytest.raises(ValueError, match=words):
        generate_minute_bars(given.pop("symbols"), **given)
