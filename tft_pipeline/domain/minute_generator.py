"""Made-up minute bars of a market that never closes: what real minutes are like, from a seed. Not here: files, snapshots.

The bar of minute k opens k minutes after `start`. Its log return is r = s e, scale times shock:

    log s   = log s0 + season(minute of the day) + weekend + regime(day) + common AR(1) + own AR(1)
    e       = sqrt(1/2) f + sqrt(1/2) own,   f common to all symbols; both Student t with 4 degrees of freedom, variance 1
    volume  = lognormal around its own season, weekend and regime, larger where s and |e| are

Absolute returns are thus fat-tailed, clustered and correlated over symbols, and no past says which way the next one goes: e is
symmetric and independent over time. High and low are the exact extremes of a Brownian bridge from open to close with
variance s^2 a minute. Every random series has a stream of its own, made of the seed, the symbol and its purpose: further
symbols and further days change no bar that there was.

Sources: Cont (2001), Quantitative Finance 1, for what is imitated; the bridge's maximum is (x + sqrt(x^2 - 2 s^2 log U)) / 2.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
from scipy.signal import lfilter

from tft_pipeline.domain.bars import TIMESTAMP

MINUTES = 1440
SHOCK_FREEDOM = 4
BASE_SCALE = 0.0006
"""Standard deviation of a minute's return before season and clustering: about 45 % a year of 525,600 minutes."""
SEASON_LOW, SEASON_RANGE = 0.6, 1.2
"""Scale over its daily mean at noon UTC, and what midnight has more: a U over the hours."""
WEEKEND_SCALE, WEEKEND_VOLUME = 0.6, 0.4
BREAK_DAY = 60
"""Days after `start` at whose first minute the regime changes."""
BREAK_SCALE, BREAK_VOLUME = 1.7, 0.6
COMMON_AR, COMMON_SPREAD = 0.999, 0.35
OWN_AR, OWN_SPREAD = 0.98, 0.25
IDLE_SHARE = 0.01
"""Share of minutes without a trade at the daily mean of the season; quiet hours have more."""
LOST_SHARE = 0.0005
"""Share of single minutes that one symbol lacks."""
OUTAGE_SHARE, OUTAGE_MINUTES = 0.15, (2, 30)
"""Share of days on which one symbol lacks a run of minutes, and its shortest and longest."""
HALT_SHARE, HALT_MINUTES = 0.08, (5, 60)
"""The same, of runs that all symbols lack."""


def regime_change(start: date, break_day: int = BREAK_DAY) -> datetime:
    """The moment from which volatility is `BREAK_SCALE` times, and volume `BREAK_VOLUME` times, what it was; UTC."""
    return _midnight(start) + timedelta(days=break_day)


def generate_minute_bars(
    symbols: Sequence[str],
    *,
    start: date,
    days: int,
    seed: int,
    edge: float = 0.0,
    break_day: int = BREAK_DAY,
) -> pl.DataFrame:
    """Minute bars with seasons, fat tails, clusters, gaps, idle minutes and a change of regime.

    A minute without a trade has volume 0 and the close before it in all four prices. Missing minutes have no row, the price
    moves on in them, and the next bar opens where it went.

    Args:
        symbols: their names; each has its own price level, volatility and volume.
        start: first UTC day.
        days: whole days.
        seed: of all random streams.
        edge: planted predictability, in [0, 0.5): the sign of a return is that of the symbol's last traded minute with
            probability 1/2 + edge, so that whoever predicts just that is right as often. 0: no direction can be predicted.
        break_day: whole days until the regime changes, see `regime_change`; `days` or more leaves it out.
    Returns:
        timestamp (close of the bar, UTC), symbol, open, high, low, close, volume; sorted by symbol and timestamp.
    Raises:
        ValueError: no symbol, one named twice, no day, a negative seed or break_day, or an edge outside its range.
    """
    if not symbols or len(set(symbols)) != len(symbols):
        raise ValueError(f"symbols {list(symbols)}: name at least one, and each once, or rows would have equal keys")
    if days < 1 or seed < 0 or break_day < 0:
        raise ValueError(f"days {days}, seed {seed}, break_day {break_day}: days is 1 or more, the others not negative")
    if not 0.0 <= edge < 0.5:
        raise ValueError(f"edge {edge} is outside [0, 0.5): a return has the sign of the one before with 1/2 + edge")
    n = days * MINUTES
    minute = np.arange(n) % MINUTES
    weekend = np.isin((start.weekday() + np.arange(n) // MINUTES) % 7, (5, 6))
    broken = np.arange(n) >= break_day * MINUTES
    u_shape = (2.0 * (minute + 0.5) / MINUTES - 1.0) ** 2
    season = SEASON_LOW + SEASON_RANGE * u_shape
    calendar_scale = season * np.where(weekend, WEEKEND_SCALE, 1.0) * np.where(broken, BREAK_SCALE, 1.0)
    calendar_volume = season**1.5 * np.where(weekend, WEEKEND_VOLUME, 1.0) * np.where(broken, BREAK_VOLUME, 1.0)
    common = _autoregression(_stream(seed, "", "clusters"), n, COMMON_AR, COMMON_SPREAD)
    factor = _shocks(_stream(seed, "", "shocks"), n)
    halted = _runs(seed, "", "halts", days, HALT_SHARE, HALT_MINUTES)
    carried = _stream(seed, "", "edge").random(n) < 2.0 * edge
    stamps = pl.datetime_range(
        _midnight(start) + timedelta(minutes=1), _midnight(start) + timedelta(days=days), "1m", eager=True
    ).cast(TIMESTAMP)
    frames = []
    for symbol in sorted(symbols):
        level, volatility, turnover = _stream(seed, symbol, "levels").random(3)
        own = _autoregression(_stream(seed, symbol, "clusters"), n, OWN_AR, OWN_SPREAD)
        scale = BASE_SCALE * (0.8 + 0.6 * volatility) * calendar_scale * np.exp(common + own)
        shock = np.sqrt(0.5) * factor + np.sqrt(0.5) * _shocks(_stream(seed, symbol, "shocks"), n)
        idle = _stream(seed, symbol, "idle").random(n) < IDLE_SHARE / season
        change = np.where(idle, 0.0, scale * _with_carried_signs(shock, carried, idle))
        path = 4.5 * level * np.log(10.0) + np.concatenate([[0.0], np.cumsum(change)])
        opened, closed = path[:-1], path[1:]
        high, low = _extremes(change, scale, _stream(seed, symbol, "extremes").random((n, 2)))
        noise = _stream(seed, symbol, "volume").standard_normal(n)
        volume = calendar_volume * np.exp(common + own + 0.3 * np.abs(shock) + 0.6 * noise)
        lost = _stream(seed, symbol, "lost").random(n) < LOST_SHARE
        lost |= halted | _runs(seed, symbol, "outages", days, OUTAGE_SHARE, OUTAGE_MINUTES)
        prices = {
            "open": np.exp(opened),
            "high": np.exp(opened + np.where(idle, 0.0, high)),
            "low": np.exp(opened + np.where(idle, 0.0, low)),
            "close": np.exp(closed),
        }
        # the exponential may round a high below the close that it equals
        prices["high"] = np.maximum.reduce([prices["high"], prices["open"], prices["close"]])
        prices["low"] = np.minimum.reduce([prices["low"], prices["open"], prices["close"]])
        prices["volume"] = np.where(idle, 0.0, 10.0 ** (1.0 + 2.0 * turnover) * volume)
        frame = pl.DataFrame({"timestamp": stamps, **prices}).with_columns(symbol=pl.lit(symbol))
        frames.append(
            frame.filter(pl.Series(~lost)).select("timestamp", "symbol", "open", "high", "low", "close", "volume")
        )
    return pl.concat(frames)


def _stream(seed: int, symbol: str, purpose: str) -> np.random.Generator:
    """Random numbers of one symbol (empty: of the market) and one purpose; asking for more leaves the first as they are."""
    name = hashlib.sha256(f"{symbol}\0{purpose}".encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(name[:8], "little")])


def _shocks(rng: np.random.Generator, n: int) -> np.ndarray:
    """Student t, variance 1."""
    found: np.ndarray = rng.standard_t(SHOCK_FREEDOM, n) * np.sqrt((SHOCK_FREEDOM - 2.0) / SHOCK_FREEDOM)
    return found


def _autoregression(rng: np.random.Generator, n: int, weight: float, spread: float) -> np.ndarray:
    """Stationary Gaussian AR(1) with standard deviation `spread`, from its stationary law on."""
    steps = rng.standard_normal(n) * spread * np.sqrt(1.0 - weight**2)
    steps[0] /= np.sqrt(1.0 - weight**2)
    return np.asarray(lfilter([1.0], [1.0, -weight], steps))


def _with_carried_signs(shock: np.ndarray, carried: np.ndarray, idle: np.ndarray) -> np.ndarray:
    """Shocks of which the `carried` have the sign of the last traded minute, that of an idle one being unseen."""
    own = np.where(carried | idle, 0, np.arange(len(shock)))
    last = np.maximum.accumulate(own)
    found: np.ndarray = np.abs(shock) * np.sign(shock[last])
    return found


def _extremes(change: np.ndarray, scale: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximum and minimum over the minute of a Brownian bridge from 0 to `change`; uniform (n, 2) in [0, 1)."""
    spread = -2.0 * scale[:, None] ** 2 * np.log1p(-uniform)
    reach = np.sqrt(change[:, None] ** 2 + spread)
    return (change + reach[:, 0]) / 2.0, (change - reach[:, 1]) / 2.0


def _runs(seed: int, symbol: str, purpose: str, days: int, share: float, minutes: tuple[int, int]) -> np.ndarray:
    """Minutes within a run that a day has with probability `share`; runs end with their day."""
    happens = _stream(seed, symbol, f"{purpose} happen").random(days) < share
    first = (_stream(seed, symbol, f"{purpose} begin").random(days) * MINUTES).astype(int)
    shortest, longest = minutes
    length = shortest + (_stream(seed, symbol, f"{purpose} last").random(days) * (longest - shortest + 1)).astype(int)
    minute = np.arange(MINUTES)
    inside = (minute >= first[:, None]) & (minute < (first + length)[:, None]) & happens[:, None]
    found: np.ndarray = inside.reshape(-1)
    return found


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
