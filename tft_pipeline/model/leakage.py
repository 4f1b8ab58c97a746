"""Guards over fits: what a scaler and weights know, and what they are validated on. Each fits again and compares the bits.

The panel's rows from some bar on are replaced by noise; what was learned before must not notice. Fits have one epoch, because
validation may choose among epochs but teach nothing, and read no context sequences, which have a guard of their own
(`leakage_context`). Not here: guards over bars and periods (`domain.leakage`), the table of all (`pipeline.guards`).

Axes: S symbols, N bars, V features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
import torch

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.leakage import Finding, judged
from tft_pipeline.domain.panel import Panel, rows_a_block
from tft_pipeline.domain.reports import FoldPlanReport, FoldSpec
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.fit import FittedFold

Fit = Callable[[Panel, Fold], FittedFold]
Loss = Callable[[Panel, Fold], float]

TRAIN_LOOKBACKS, VALIDATION_LOOKBACKS = 4, 2
"""Length of the small fold, in lookbacks of the model."""
VALIDATED_SYMBOLS = 4
SMALL = 1e-6
"""Difference of a mean from a stored one, in standard deviations, and of a standard deviation relative to it."""
CONSTANT = 1e-9
"""Deviation of a constant, relative to it."""


def scrambled(panel: Panel, first: int, *, known_after: int = 0) -> Panel:
    """Everything known from bar `first` on replaced by noise; what is missing stays missing.

    Args:
        known_after: bars after its own until a label is known: with h labels from bar first - h on are replaced, next returns
            from first - 1 on; with 0 the rows from `first` on, whatever they look ahead.
    """
    return replace(
        panel,
        values=_noisy(panel.values, first, None, seed=first),
        next_return=_noisy(panel.next_return, first - min(known_after, 1), None, seed=first),
        volatility=_noisy(panel.volatility, first, None, seed=first),
        label=_noisy(panel.label, first - known_after, None, seed=first),
        close=_noisy(panel.close, first, None, seed=first),
    )


def other_outcomes(panel: Panel, bars: Span, symbols: slice = slice(None)) -> Panel:
    """Next returns and labels of some bars and symbols replaced by noise; features, volatility and what is missing stay."""
    return replace(
        panel,
        next_return=_noisy(panel.next_return, *bars, seed=bars.start, symbols=symbols),
        label=_noisy(panel.label, *bars, seed=bars.start, symbols=symbols),
    )


def _noisy(array: np.ndarray, start: int, stop: int | None, *, seed: int, symbols: slice = slice(None)) -> np.ndarray:
    """A copy with other values in some bars and symbols; drawn a block at a time, so that it takes no more than the copy."""
    rng = np.random.default_rng(seed)
    out = array.copy()
    step = rows_a_block(array.shape[2] if array.ndim > 2 else 1)
    start, stop = max(start, 0), array.shape[1] if stop is None else stop
    for s in range(*symbols.indices(len(array))):
        for first in range(start, stop, step):
            part = out[s, first : min(first + step, stop)]
            there = part[np.isfinite(part)]
            spread = float(there.std()) if there.size else 0.0
            if spread == 0.0:
                spread = float(np.abs(there).max()) if there.any() else 1.0
            part *= np.exp(np.float32(0.5) * rng.standard_normal(part.shape, dtype=np.float32))
            part += np.float32(spread) * rng.random(
                part.shape, dtype=np.float32
            )  # zeros move, volatility stays above zero
    out.setflags(write=False)
    return out


def small_fold(panel: Panel, fold: Fold, *, lookback: int) -> tuple[Panel, Fold]:
    """The end of a fold, to fit in a moment: the same last train bar, purge and test, a few lookbacks to learn from."""
    purge = fold.validation.start - fold.train.stop
    n_train = min(fold.train.n_bars, TRAIN_LOOKBACKS * lookback)
    n_validation = min(fold.validation.n_bars, VALIDATION_LOOKBACKS * lookback)
    start = fold.train.stop - n_train
    cut = panel.between(start, fold.test.stop).listed()
    validation = Span(n_train + purge, n_train + purge + n_validation)
    test = fold.shifted(-start).test
    return cut, Fold(key=fold.key, train=Span(0, n_train), validation=validation, test=test)


@dataclass(frozen=True, kw_only=True)
class SmallFits:
    """One epoch on a small fold, and the same with every row after train replaced by noise.

    Attributes:
        other: where the replaced features move the scaler already, `blind` has only other outcomes after train.
    """

    panel: Panel
    fold: Fold
    plain: FittedFold
    other: FittedFold
    blind: FittedFold

    @property
    def replaced(self) -> str:
        """What was replaced for the weights."""
        features = "features, " if self.blind is self.other else ""
        return f"{features}labels, returns and volatility"


def small_fits(fit: Fit, panel: Panel, fold: Fold) -> SmallFits:
    """Fit a small fold as it is, and without a true row after its last train bar."""
    noisy = scrambled(panel, fold.train.stop)
    plain, other = fit(panel, fold), fit(noisy, fold)
    blind = other if plain.scaler == other.scaler else fit(replace(noisy, values=panel.values), fold)
    return SmallFits(panel=panel, fold=fold, plain=plain, other=other, blind=blind)


def scaler_knows_training_bars_only(
    fits: SmallFits,
    *,
    scalers: Mapping[str, Scaler],
    plan: FoldPlanReport,
    features: pl.LazyFrame,
) -> Finding:
    """Stored scalers are the mean and deviation of their train rows, and a refit does not notice later rows.

    Args:
        fits: refits.
        scalers: of the stored folds, by key.
        features: stored features of all symbols and bars; the moments are taken again from its rows.
    """
    wrong = []
    for spec in plan.specs:
        wrong += _moment_problems(spec, scalers[spec.key], features)
    plain, other = fits.plain.scaler, fits.other.scaler
    if plain != other:
        moved = [
            name for k, name in enumerate(plain.names) if plain.mean[k] != other.mean[k] or plain.std[k] != other.std[k]
        ]
        wrong.append(f"a refit scales {len(moved)} features otherwise ({moved[:3]}) when only rows after train change")
    return judged(
        f"mean and deviation of {len(plan.specs)} stored folds taken again from their train rows; 2 refits, rows from "
        f"{fits.panel.calendar[fits.fold.train.stop].isoformat()} on replaced",
        wrong,
    )


def weights_learn_from_training_dates_only(fits: SmallFits, loss: Loss, *, problems: list[str]) -> Finding:
    """One epoch gives the same weights when every row after train, of all symbols, is replaced; the validation loss of given
    weights moves with what each symbol earns on validation dates, and with nothing that is earned on others.

    Where the replaced features move the scaler already, which is another guard's finding, only outcomes are replaced.

    Args:
        loss: panel, fold -> validation loss of weights that the panel's outcomes do not move.
        problems: found in the stored plans, `leakage_periods.purge_problems`.
    """
    panel, fold, plain = fits.panel, fits.fold, fits.plain
    moved = [name for name, value in plain.state.items() if not torch.equal(value, fits.blind.state[name])]
    wrong = list(problems)
    if moved:
        wrong.append(
            f"{len(moved)} of {len(plain.state)} weight tensors differ after one epoch when only rows after the last train bar "
            f"change ({panel.calendar[fold.train.stop - 1].isoformat()})"
        )
    validated = np.flatnonzero(panel.between(*fold.validation).scored.any(axis=1))
    last = len(validated) - 1
    some = sorted({int(validated[last * k // (VALIDATED_SYMBOLS - 1)]) for k in range(VALIDATED_SYMBOLS)})
    found = loss(panel, fold)
    elsewhere = other_outcomes(panel, Span(0, fold.validation.start))
    if fold.validation.stop < panel.n_bars:
        elsewhere = other_outcomes(elsewhere, Span(fold.validation.stop, panel.n_bars))
    if loss(elsewhere, fold) != found:
        wrong.append("the validation loss moves with returns and labels of bars that are not validation's")
    deaf = [
        panel.symbols[s] for s in some if loss(other_outcomes(panel, fold.validation, slice(s, s + 1)), fold) == found
    ]
    if deaf:
        wrong.append(
            f"the validation loss does not move with returns and labels of {', '.join(deaf)} on validation dates"
        )
    return judged(
        f"2 fits of one epoch on {len(panel.symbols)} symbols, {fits.replaced} of all rows from "
        f"{panel.calendar[fold.train.stop].isoformat()} on replaced; validation losses of fixed weights with other outcomes "
        f"of {len(some)} symbols in validation, and of all outside; spans of the stored plans counted",
        wrong,
    )


def _moment_problems(spec: FoldSpec, scaler: Scaler, features: pl.LazyFrame) -> list[str]:
    """Stored mean and deviation against those of the train rows of symbols with enough history."""
    first, last = (datetime.fromisoformat(spec.dates["train"][name]) for name in ("first", "last"))
    history = pl.int_range(1, pl.len() + 1).over("symbol", order_by="timestamp")
    rows = features.select("timestamp", history.alias("|history"), *scaler.names)
    rows = rows.filter((pl.col("|history") >= spec.min_history) & pl.col("timestamp").is_between(first, last))
    values = pl.col(scaler.names).cast(pl.Float64).fill_nan(None)
    found = rows.select(
        values.mean().name.suffix("|mean"), values.std(ddof=0).name.suffix("|std"), values.count().name.suffix("|n")
    ).collect()
    wrong = []
    for k, name in enumerate(scaler.names):
        mean, std, n = (found[f"{name}|{part}"][0] for part in ("mean", "std", "n"))
        if n != scaler.n[k]:
            expected = False
        elif name in scaler.flat:
            expected = n == 0 or (std <= CONSTANT * abs(mean) and abs(mean - scaler.mean[k]) <= CONSTANT * abs(mean))
        else:
            unit = SMALL * scaler.std[k]
            expected = abs(mean - scaler.mean[k]) <= unit and abs(std - scaler.std[k]) <= unit
        if not expected:
            wrong.append(
                f"fold {spec.key} scales {name} by mean {scaler.mean[k]:.6g} and deviation {scaler.std[k]:.6g} of "
                f"{scaler.n[k]} values; its {n} train rows with a value have mean {mean} and deviation {std}"
            )
    return wrong[:1]
