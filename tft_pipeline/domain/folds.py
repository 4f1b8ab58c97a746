"""Walk-forward folds over a calendar of bars: expanding or sliding, purged on label intervals.

Here: which bars a fold trains on, validates on and scores. Not here: combinatorial cross-validation, fitting, pictures.
Positions count rows of the sorted calendar; spans are half open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal, NamedTuple


class Span(NamedTuple):
    """Bars start .. stop-1."""

    start: int
    stop: int

    @property
    def n_bars(self) -> int:
        """Number of bars."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldPlan:
    """Lengths in bars; one bar is one row of the sorted calendar.

    Raises:
        ValueError: a length below one, `purge < horizon`, or `step < test` (a bar would be scored twice).
    """

    train: int
    validation: int
    test: int
    step: int
    purge: int
    horizon: int
    window: Literal["expanding", "sliding"] = "expanding"

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test", "step", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} < 1 bar: a fold needs at least one")
        if self.purge < self.horizon:
            raise ValueError(
                f"purge {self.purge} < horizon {self.horizon}: a training label would reach a scored bar; raise purge"
            )
        if self.step < self.test:
            raise ValueError(f"step {self.step} < test {self.test}: bars would be scored twice; raise step")

    @property
    def bars_before_test(self) -> int:
        """Bars a fold needs before its first scored bar: train, purge, validation, purge."""
        return self.train + self.validation + 2 * self.purge


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One step of a walk forward; `key` is made of the first scored bar, so more data never renames a fold."""

    key: str
    train: Span
    validation: Span
    test: Span

    def shifted(self, bars: int) -> "Fold":
        """The same fold counted from another first bar."""
        return Fold(
            key=self.key,
            train=Span(self.train.start + bars, self.train.stop + bars),
            validation=Span(self.validation.start + bars, self.validation.stop + bars),
            test=Span(self.test.start + bars, self.test.stop + bars),
        )

    def to_dict(self, calendar: Sequence[datetime]) -> dict[str, Any]:
        """Positions, first and last timestamp of each part; what the fold table shows."""
        row: dict[str, Any] = {"fold": self.key}
        for name, span in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            row[name] = {
                "start": span.start,
                "stop": span.stop,
                "first": calendar[span.start].isoformat(),
                "last": calendar[span.stop - 1].isoformat(),
                "n_bars": span.n_bars,
            }
        return row


def fold_key(first_scored: datetime, *, intraday: bool) -> str:
    """Partition key of a fold: `f2016-03-01`, with the time for intraday bars (`f2023-03-01T0600`)."""
    return f"f{first_scored:%Y-%m-%dT%H%M}" if intraday else f"f{first_scored:%Y-%m-%d}"


def plan_folds(
    calendar: Sequence[datetime],
    plan: FoldPlan,
    *,
    first_bar: int,
    stop_bar: int,
    first_test: int | None = None,
    intraday: bool,
    max_folds: int | None = None,
) -> tuple[Fold, ...]:
    """Walk forward from `first_bar`; every fold ends at or before `stop_bar`.

    With 10 bars, train 4, validation 1, test 2, step 2, purge 1, horizon 1: the first fold trains on 0-3, validates
    on 5, scores 7-8.

    Args:
        calendar: (N,) sorted timestamps.
        plan: lengths.
        first_bar: first bar with features.
        stop_bar: bars at or after it are neither trained on nor scored; labels of scored bars may reach
            `plan.horizon` bars further.
        first_test: first scored bar; by default the earliest one that leaves `plan.train` bars to train on.
        intraday: whether keys carry the time.
        max_folds: keep only the latest so many.
    Raises:
        ValueError: not one fold fits; the message says how many bars there are and how many are needed. Two folds start
            on one date of a calendar that is not intraday, or max_folds < 1.
    """
    if max_folds is not None and max_folds < 1:
        raise ValueError(f"max_folds {max_folds} < 1: no fold would be left; raise it or leave it out")
    earliest = first_bar + plan.bars_before_test
    start = earliest if first_test is None else first_test
    stop = min(stop_bar, len(calendar) - plan.horizon)
    if start < earliest or start + plan.test > stop:
        raise ValueError(
            f"too few bars for one fold: bars {first_bar}..{stop - 1} are usable ({max(stop - first_bar, 0)} bars) and "
            f"the first scored bar would be {start}; a fold needs {plan.bars_before_test} bars before its first scored "
            f"bar (train {plan.train} + validation {plan.validation} + 2 x purge {plan.purge}) and {plan.test} scored "
            "bars; bring more bars, move periods.production_start, or shorten train, validation or test"
        )
    folds = []
    for test_start in range(start, stop - plan.test + 1, plan.step):
        validation_stop = test_start - plan.purge
        validation_start = validation_stop - plan.validation
        train_stop = validation_start - plan.purge
        train_start = first_bar if plan.window == "expanding" else train_stop - plan.train
        folds.append(
            Fold(
                key=fold_key(calendar[test_start], intraday=intraday),
                train=Span(train_start, train_stop),
                validation=Span(validation_start, validation_stop),
                test=Span(test_start, test_start + plan.test),
            )
        )
    shared = [fold.key for fold, later in pairwise(folds) if fold.key == later.key]
    if shared:
        raise ValueError(
            f"two folds would both be named {shared[0]}: the calendar has several bars on that date, though data.interval "
            "is 1d; one would overwrite the other; give all symbols one timestamp a day, or state the true interval"
        )
    kept = folds if max_folds is None else folds[-max_folds:]
    return tuple(kept)
