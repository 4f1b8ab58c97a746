"""Guards over what is computed from bars: inputs, volatility, outcomes, the book. Each runs what it is given again.

A guard never reads source code. It changes what must not matter, runs the function again and compares the bits; or changes
what must matter and sees that it does. The functions under trial are arguments: the pipeline's own, or a test's leaky ones.
Not here: guards over stored predictions and publications (`leakage_stored`), periods (`leakage_periods`), segments
(`leakage_segments`) and fits (`model.leakage`); the table of all (`pipeline.guards`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl

from tft_pipeline.domain.features import first_causality_violation
from tft_pipeline.domain.features.causality import perturbed_after

FromBars = Callable[[pl.DataFrame], pl.DataFrame]
RETURN, LABEL = "next_return", "label"
MOMENT = timedelta(microseconds=1)
EDGES = 4
ROUNDING = 1e-5
"""Relative; for a forward return read back out of its float32 label. Noise moves it by its own size."""


State = Literal["held", "leak", "not_used", "not_verifiable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a guard did and found.

    Attributes:
        tried: what was done, in numbers.
        state: "not_used" where the experiment has nothing of the kind, "not_verifiable" where it has and it could not be tried.
        detail: the first thing found wrong, or why nothing could be tried.
    """

    tried: str
    state: State
    detail: str

    @property
    def passed(self) -> bool | None:
        """None where nothing was tried."""
        return {"held": True, "leak": False}.get(self.state)


def judged(tried: str, wrong: Sequence[str], untried: Sequence[str] = ()) -> Finding:
    """A leak where something is wrong; else not verifiable where a part was not tried; else held. At most three are told."""
    told = wrong or untried
    state: State = "leak" if wrong else "not_verifiable" if untried else "held"
    return Finding(tried=tried, state=state, detail="; ".join(told[:3]))


def last_bars(bars: pl.DataFrame, n: int) -> pl.DataFrame:
    """The rows of the last n timestamps."""
    ticks = bars["timestamp"].unique().sort()
    return bars.filter(pl.col("timestamp") >= ticks[-min(n, len(ticks))])


def all_have_begun(bars: pl.DataFrame, symbols: Sequence[str]) -> datetime:
    """The first timestamp at which each of some symbols has had a bar; of no symbols, the first bar's.

    Bars up to an earlier one do not hold all markets that features are about, so that nothing can be built from them.

    Raises:
        ValueError: a symbol without bars.
    """
    firsts = bars.filter(pl.col("symbol").is_in(list(symbols))).group_by("symbol").agg(pl.col("timestamp").min())
    absent = sorted(set(symbols) - set(firsts["symbol"]))
    if absent:
        raise ValueError(f"{absent} have no bars: when they begin cannot be known; bring their bars")
    begun = bars["timestamp"].min() if firsts.is_empty() else firsts["timestamp"].max()
    assert isinstance(begun, datetime)
    return begun


def telling_cuts(frame: pl.DataFrame, n: int, *, since: datetime | None = None) -> list[datetime]:
    """Cuts at which a look ahead would show: n spread evenly, the very first bar, and first values after missing ones.

    A value filled from later bars gives itself away only where it stands, right behind the bars where it is missing. Of those
    timestamps the ones that speak for most columns are taken, at most `EDGES`.

    Args:
        frame: timestamp, symbol and values, sorted by symbol and timestamp.
        since: no cut lies before it; "the very first bar" is the first from it on.
    Raises:
        ValueError: fewer than n + 2 timestamps.
    """
    if since is not None:
        frame = frame.filter(pl.col("timestamp") >= since)
    ticks = frame["timestamp"].unique().sort()
    if len(ticks) < n + 2:
        raise ValueError(
            f"{len(ticks)} bars {'' if since is None else f'since {since} '}are too few for {n} cuts with bars on both sides; "
            "bring more bars"
        )
    spread = [ticks[len(ticks) * (k + 1) // (n + 1)] for k in range(n)]
    columns = [name for name in frame.columns if name not in ("timestamp", "symbol")]
    missing = frame.select(
        "timestamp", "symbol", *(pl.col(name).is_null() | (pl.col(name).cast(pl.Float64).is_nan()) for name in columns)
    )
    back = missing.with_columns(
        (pl.col(name).shift(1).over("symbol", order_by="timestamp") & ~pl.col(name)).fill_null(False)
        for name in columns
    )
    by_bar = back.group_by("timestamp").agg(pl.col(name).any() for name in columns).sort("timestamp")
    speaks = by_bar.select(columns).to_numpy().astype(bool)
    speaks &= (by_bar["timestamp"] < ticks[-1]).to_numpy()[:, None]
    edges: list[datetime] = []
    for _ in range(EDGES):
        count = speaks.sum(axis=1)
        if not count.any():
            break
        best = int(count.argmax())
        edges.append(by_bar["timestamp"][best])
        speaks[:, speaks[best]] = False
    return sorted({ticks[0], *spread, *edges})


def inputs_do_not_see_later_bars(given: FromBars, bars: pl.DataFrame, cuts: Sequence[datetime]) -> Finding:
    """Every column of `given`, up to each cut, keeps its bits when the bars after the cut are removed or replaced by noise.

    A column without a value at the bars compared was not tried, and is named.
    """
    violation = first_causality_violation(given, bars, cuts)
    compared = given(bars).filter(pl.col("timestamp") <= max(cuts)).drop("timestamp", "symbol")
    empty = [name for name in compared.columns if not np.isfinite(_numbers(compared[name])).any()]
    return judged(
        f"{len(compared.columns)} columns at {len(cuts)} cuts, later bars removed and replaced by noise",
        [] if violation is None else [str(violation)],
        [f"{', '.join(empty[:5])} ({len(empty)} columns) have no value at the bars tried"] if empty else [],
    )


def leverage_problems(outcomes: pl.DataFrame, target_volatility: float) -> list[str]:
    """Rows in which the loss scales a position by anything but target volatility / volatility of the same bar.

    Args:
        outcomes: timestamp, symbol, volatility and leverage_in_loss; rows without both are not compared.
    """
    comparable = _both(outcomes["leverage_in_loss"], outcomes["volatility"])
    expected = pl.Series(target_volatility / _numbers(outcomes["volatility"]))
    other = comparable & ~_close(outcomes["leverage_in_loss"], expected)
    return _told(outcomes, other, "leverage_in_loss", "is not the target volatility over the volatility known there")


def outcomes_lie_after_the_decision(
    outcomes: FromBars, bars: pl.DataFrame, cuts: Sequence[datetime], *, horizon: int
) -> Finding:
    """The next return of bar t is a matter of bars t and t+1, the label of bars t and t+h and the volatility known at t.

    With the bars after a cut replaced by noise, outcomes that have ended by the cut stay and those that have not ended move;
    with the bars before a cut replaced, outcomes from the cut on stay. A label is compared where the volatility stayed,
    and as the forward return in it where that moved.

    Args:
        outcomes: bars -> timestamp, symbol, next_return, volatility, label, and any other column that starts with one of
            these names.
        horizon: h, bars of the calendar of all traded symbols.
    """
    before = outcomes(bars).sort("symbol", "timestamp")
    ticks = before["timestamp"].unique().sort()
    bar = ticks.search_sorted(before["timestamp"]).to_numpy()
    noisy = perturbed_after(bars, bars["timestamp"].sort()[0] - MOMENT, seed=1)
    wrong: list[str] = []
    compared = {name: 0 for name, _ in _outcome_columns(before, horizon)}
    for cut in cuts:
        last = int(ticks.search_sorted(cut, side="right")) - 1
        later = outcomes(perturbed_after(bars, cut)).sort("symbol", "timestamp")
        same_risk = _same(before["volatility"], later["volatility"])
        for name, ahead in _outcome_columns(before, horizon):
            comparable = _both(before[name], later[name]) & (same_risk | name.startswith(RETURN))
            moved = ~_same(before[name], later[name]) & comparable
            ended = bar + ahead <= last
            early = moved & ended
            still = ~moved & comparable & (bar <= last) & ~ended
            wrong += _told(before, early, name, f"moves with the bars after {cut}, though it had ended")
            wrong += _told(before, still, name, f"does not move with the bars after {cut}, which it is made of")
            compared[name] += int(comparable.sum())
        earlier = outcomes(
            bars.with_columns(
                pl.when(pl.col("timestamp") < cut).then(noisy[name]).otherwise(pl.col(name)).alias(name)
                for name, kind in bars.schema.items()
                if kind.is_float()
            )
        ).sort("symbol", "timestamp")
        for name, _ in _outcome_columns(before, horizon):
            comparable = _both(before[name], earlier[name]) & (bar >= last)
            if name.startswith(RETURN):
                moved = ~_same(before[name], earlier[name])
            else:
                moved = ~_close(before[name] * before["volatility"], earlier[name] * earlier["volatility"])
            wrong += _told(before, moved & comparable, name, f"moves with the bars before {cut}, where it starts")
            compared[name] += int(comparable.sum())
    return judged(
        f"{sum(compared.values())} outcomes at {len(cuts)} cuts, bars before and after the cut replaced by noise",
        wrong[:1],
        [f"{name} has no value at the bars tried" for name, count in compared.items() if not count],
    )


def positions_earn_the_next_bar(book: FromBars, predictions: pl.DataFrame, *, n_bars: int) -> Finding:
    """A position decided at bar t changes no row of the portfolio before t and the row of t; a return changes its own row only.

    Args:
        book: predictions -> timestamp and gross, one row a decision bar.
        predictions: timestamp, symbol, raw_position, next_return, volatility and what else the book reads.
        n_bars: decision bars to try, spread evenly.
    """
    earning = predictions.filter(
        pl.col("next_return").is_finite() & (pl.col("next_return") != 0.0) & pl.col("volatility").is_finite()
    )
    ticks = earning["timestamp"].unique().sort()
    chosen = [ticks[len(ticks) * (k + 1) // (n_bars + 1)] for k in range(n_bars)] if len(ticks) else []
    plain = book(predictions)
    wrong: list[str] = []
    raw = pl.col("raw_position")
    turned = pl.when(raw > 0.0).then(-1.0).when(raw.is_finite()).then(1.0).otherwise(raw)  # moves under any clip
    for stamp in chosen:
        here = pl.col("timestamp") == stamp
        for column, changed in (("raw_position", turned), ("next_return", pl.col("next_return") + 0.01)):
            found = book(predictions.with_columns(pl.when(here).then(changed).otherwise(pl.col(column)).alias(column)))
            moved = plain.filter(~pl.Series(_same(plain["gross"], found["gross"])))["timestamp"].to_list()
            if stamp not in moved:
                wrong.append(f"the return earned after {stamp} does not move with the {column} of that bar")
            if any(other < stamp for other in moved):
                wrong.append(f"the return earned after {moved[0]} moves with the {column} of {stamp}, a later bar")
            if column == "next_return" and any(other > stamp for other in moved):
                wrong.append(f"the return earned after {moved[-1]} moves with the {column} of {stamp}, an older bar")
    return judged(
        f"positions and returns of {len(chosen)} bars changed, one at a time",
        wrong[:1],
        [] if chosen else ["no scored bar earned anything: there is nothing to change"],
    )


def _outcome_columns(frame: pl.DataFrame, horizon: int) -> list[tuple[str, int]]:
    """Columns and how many bars they look ahead."""
    ahead = {RETURN: 1, LABEL: horizon}
    return [(name, bars) for name in frame.columns for start, bars in ahead.items() if name.startswith(start)]


def _numbers(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _both(a: pl.Series, b: pl.Series) -> np.ndarray:
    """(rows,) both have a value."""
    found: np.ndarray = np.isfinite(_numbers(a)) & np.isfinite(_numbers(b))
    return found


def _same(a: pl.Series, b: pl.Series) -> np.ndarray:
    """(rows,) equal, or missing in both."""
    left, right = _numbers(a), _numbers(b)
    found: np.ndarray = (left == right) | (np.isnan(left) & np.isnan(right))
    return found


def _close(a: pl.Series, b: pl.Series) -> np.ndarray:
    found: np.ndarray = np.isclose(_numbers(a), _numbers(b), rtol=ROUNDING, atol=1e-15, equal_nan=True)
    return found


def _told(frame: pl.DataFrame, rows: np.ndarray, name: str, what: str) -> list[str]:
    """A sentence about the first of the rows that are marked, if any."""
    marked = np.flatnonzero(rows)
    if not len(marked):
        return []
    first = min(marked, key=lambda row: (frame["timestamp"][int(row)], int(row)))
    return [f"{name} of {frame['symbol'][int(first)]} at {frame['timestamp'][int(first)]} {what}"]
