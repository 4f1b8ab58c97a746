"""Which bars are compared for drift: those a model learned from, those it was tested on, the recent ones. Not here: figures."""

from dataclasses import dataclass
from datetime import date

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.nights import day_of
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.reports import FoldSpec


class NothingToCompareError(ValueError):
    """No recent bars after the training bars, or no training bars."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Which bars are compared: the model's training bars and the recent ones, as (start, stop) of a panel."""

    train: Span
    test: Span
    recent: Span


def recent_bars(
    panel: Panel, spec: FoldSpec, n_recent: int, *, until: date | None = None, dated: bool = False
) -> Compared:
    """The last `n_recent` bars, as of the end of a UTC day, that the model was not trained on.

    Args:
        dated: see `domain.nights.day_of`.

    Raises:
        NothingToCompareError: no bar on that day, no training bar of the fold, or no bar after them.
    """
    stop = panel.n_bars
    if until is not None:
        stop = sum(day_of(stamp, dated=dated) <= until for stamp in panel.calendar)
        if not stop or day_of(panel.calendar[stop - 1], dated=dated) != until:
            newest = panel.calendar[stop - 1].isoformat() if stop else "none"
            raise NothingToCompareError(
                f"no bar of a traded symbol closed on {until} (UTC); the last one before its end: {newest}. The day has "
                "nothing of its own to evaluate"
            )
    return _compared(panel, spec, stop - n_recent, stop)


def recent_since(panel: Panel, spec: FoldSpec, start: int) -> Compared:
    """All bars from `start` to the newest, without those the model was trained on.

    Raises:
        NothingToCompareError: as `recent_bars`.
    """
    return _compared(panel, spec, start, panel.n_bars)


def _compared(panel: Panel, spec: FoldSpec, start: int, stop: int) -> Compared:
    places = {stamp.isoformat(): bar for bar, stamp in enumerate(panel.calendar)}
    spans = {}
    for part in ("train", "test"):
        first, last = spec.dates[part]["first"], spec.dates[part]["last"]
        if first in places and last in places:
            spans[part] = Span(places[first], places[last] + 1)
    if "train" not in spans:
        train = spec.dates["train"]
        raise NothingToCompareError(
            f"the training bars of fold {spec.key} ({train['first']} to {train['last']}) are not all in these bars "
            f"({panel.calendar[0].isoformat()} to {panel.calendar[-1].isoformat()}): there is nothing to compare with; take a "
            "snapshot that holds them, or train on this one"
        )
    learned = spans["train"].stop
    if stop <= learned:
        raise NothingToCompareError(
            f"the recent bars end at {panel.calendar[stop - 1].isoformat()}, the model of fold {spec.key} was trained up to "
            f"{spec.dates['train']['last']}: it would be compared with its own bars; take bars after them"
        )
    recent = Span(max(start, learned), stop)
    test = spans.get("test", Span(recent.start, recent.start))
    return Compared(train=spans["train"], test=test, recent=recent)
