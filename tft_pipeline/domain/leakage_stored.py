"""Guards over what is stored: predictions and the features that came with the source. What is stored is made or found again.

Not here: guards that only run computations again (`leakage`), the table of all (`pipeline.guards`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from tft_pipeline.domain.leakage import Finding, judged
from tft_pipeline.domain.reports import FoldPlanReport

KEYS = ("timestamp", "symbol")
PAID_BY = ("next_return", "volatility", "label")
"""Of a prediction's columns: what the decision is paid and judged by, and its risk; the rest is decided."""
ROUNDING = 1e-5
"""Of a decision in [-1, 1] or a label of size 1: other hardware or another library differs by less, a look ahead by more."""


def predictions_know_the_past_only(
    again: Callable[[datetime | None], pl.DataFrame], stored: pl.DataFrame, cuts: Sequence[datetime]
) -> Finding:
    """Stored decisions are made again to the bit; those up to each cut, too, when every later bar of the panel is noise.

    Args:
        again: a cut, or None for the panel as it is -> the predictions of the fold, columns and rows as stored.
        stored: timestamp, symbol, raw_position and further decisions, and `PAID_BY`.
        cuts: inside the bars predicted.
    """
    decided = [name for name in stored.columns if name not in ("fold", *KEYS, *PAID_BY)]
    stored, plain = stored.sort(KEYS), again(None).sort(KEYS)
    tried = (
        f"{len(decided)} columns of {stored.height} predictions made again, {len(cuts)} times with later bars replaced"
    )
    if not stored.select(KEYS).equals(plain.select(KEYS)):
        return judged(
            tried, [f"{stored.height} predictions are stored and {plain.height}, or of other bars, are made again"]
        )
    wrong: list[str] = []
    rounded: list[str] = []
    values = 0
    for name in decided:
        left, right = stored[name].to_numpy(), plain[name].to_numpy()
        values += int(np.isfinite(left).sum())
        if not np.array_equal(left, right, equal_nan=True):
            close = np.allclose(left, right, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)
            (rounded if close else wrong).append(
                f"the stored {name} {_first(stored, left, right)} when it is made again"
            )
    for cut in cuts:
        known, blind = (frame.filter(pl.col("timestamp") <= cut).sort(KEYS) for frame in (plain, again(cut)))
        if not known.select(KEYS).equals(blind.select(KEYS)):
            wrong.append(f"which bars up to {cut} are predicted at all changes when the bars after it are replaced")
            continue
        for name in decided:
            left, right = known[name].to_numpy(), blind[name].to_numpy()
            if not np.array_equal(left, right, equal_nan=True):
                wrong.append(f"{name} {_first(known, left, right)} when the bars after {cut} are replaced")
    untried = [] if values else ["not one decision is stored"]
    if rounded:
        untried.append(
            f"{rounded[0]}: by rounding alone, so other hardware or another library made it; materialise the fold again"
        )
    return judged(tried, wrong, untried)


def predictions_are_paid_by_the_stored_targets(
    predictions: Mapping[str, pl.DataFrame], plan: FoldPlanReport, targets: pl.DataFrame
) -> Finding:
    """Each fold's predictions are all bars of its test dates with enough history, each once, with the targets of that bar.

    Args:
        predictions: of every fold of the plan, by key.
        targets: timestamp, symbol and `PAID_BY` of all bars.
    """
    history = pl.int_range(1, pl.len() + 1).over("symbol", order_by="timestamp")
    numbered = targets.select(
        *KEYS, history.alias("|history"), *(pl.col(name).fill_null(float("nan")) for name in PAID_BY)
    )
    wrong: list[str] = []
    for spec in plan.specs:
        first, last = (datetime.fromisoformat(spec.dates["test"][name]) for name in ("first", "last"))
        due = numbered.filter(pl.col("timestamp").is_between(first, last) & (pl.col("|history") >= spec.min_history))
        due, found = due.sort(KEYS), predictions[spec.key].sort(KEYS)
        if not due.select(KEYS).equals(found.select(KEYS)):
            outside = found.join(due, on=KEYS, how="anti").height
            wrong.append(
                f"fold {spec.key} stores {found.height} predictions, {due.height} bars of its test dates are due, and "
                f"{outside} are none of these: some are missing, twice there or of other dates"
            )
            continue
        for name in PAID_BY:
            left, right = due[name].to_numpy(), found[name].to_numpy()
            if not np.array_equal(left, right, equal_nan=True):
                wrong.append(f"fold {spec.key}: {name} {_first(due, left, right)} in its predictions")
    n = sum(frame.height for frame in predictions.values())
    return judged(
        f"{', '.join(PAID_BY)} of {n} predictions of {len(plan.specs)} folds looked up in the targets of their bars",
        wrong,
        [] if n else ["no prediction is stored"],
    )


def publications_are_not_used_early(bars: pl.DataFrame, source: pl.DataFrame, columns: Sequence[str]) -> Finding:
    """A value at a bar of the snapshot stands in a row of the source that was public by that bar's close.

    A value that comes back (a grade, a count) counts as public from its first publication on: what is tried is that no value
    is used before it was known to anybody, not which of the known ones is used.

    Args:
        bars: the snapshot's.
        source: rows as the source has them, one a publication, with `available_at`.
        columns: the source's own feature columns.
    """
    usable = pl.max_horizontal("timestamp", "available_at")
    wrong, untried, compared = [], [], 0
    for name in columns:
        known = source.group_by("symbol", name).agg(usable.min().alias("|public"))
        used = bars.select(*KEYS, name).filter(pl.col(name).is_not_null() & pl.col(name).is_not_nan())
        found = used.join(known, on=["symbol", name], how="left").sort(KEYS)
        early = found.filter(pl.col("|public").is_null() | (pl.col("|public") > pl.col("timestamp")))
        compared += found.height
        if early.height:
            row = early.row(0, named=True)
            when = "nowhere in the source" if row["|public"] is None else f"published first at {row['|public']}"
            wrong.append(f"{name} of {row['symbol']} at {row['timestamp']} is {row[name]}, which was {when}")
        if not found.height:
            untried.append(f"{name} has no value")
    return judged(
        f"{compared} values of {len(columns)} columns looked up in the source with their dates", wrong, untried
    )


def _first(frame: pl.DataFrame, left: np.ndarray, right: np.ndarray) -> str:
    """Where two columns differ first, and by what."""
    row = int(np.flatnonzero((left != right) & ~(np.isnan(left) & np.isnan(right)))[0])
    return f"of {frame['symbol'][row]} at {frame['timestamp'][row]} is {left[row]:.6g}, and {right[row]:.6g}"
