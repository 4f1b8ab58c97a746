"""Guards over fits: what a scaler, weights and a context set know. Each fits or draws again and compares the bits.

The panel's rows from some bar on are replaced by noise; what was learned before must not notice. Fits have one epoch, because
validation may choose among epochs but teach nothing. Not here: guards over bars and periods (`domain.leakage`), the table of
all (`pipeline.guards`).

Axes: S symbols, N bars, V features.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import torch

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.leakage import Finding
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.reports import FoldPlanReport, FoldSpec
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model import fit as fitting
from tft_pipeline.model.batch import ContextSet
from tft_pipeline.model.context import POOL_SEQUENCES, time_keys
from tft_pipeline.model.fit import FittedFold

Fit = Callable[[Panel, Fold], FittedFold]

TRAIN_LOOKBACKS, VALIDATION_LOOKBACKS = 4, 2
"""Length of the small fold, in lookbacks of the model."""
CONTEXT_MOMENTS = 3
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
    rng = np.random.default_rng(first)

    def noisy(array: np.ndarray, start: int) -> np.ndarray:
        out = array.copy()
        part = out[:, max(start, 0) :]
        spread = float(np.nanstd(part)) if np.isfinite(part).any() else 1.0
        part *= np.exp(0.5 * rng.standard_normal(part.shape)).astype(part.dtype)
        part += (spread or 1.0) * rng.random(part.shape).astype(part.dtype)  # zeros move, volatility stays above zero
        out.setflags(write=False)
        return out

    return replace(
        panel,
        values=noisy(panel.values, first),
        next_return=noisy(panel.next_return, first - min(known_after, 1)),
        volatility=noisy(panel.volatility, first),
        label=noisy(panel.label, first - known_after),
        close=noisy(panel.close, first),
    )


def small_fold(panel: Panel, fold: Fold, *, lookback: int, whole_train: bool) -> tuple[Panel, Fold]:
    """The end of a fold, to fit in a moment: the same last train bar, purge and test, a few lookbacks to learn from.

    Args:
        whole_train: keep all train bars, where a context set is drawn from them.
    """
    purge = fold.validation.start - fold.train.stop
    n_train = fold.train.n_bars if whole_train else min(fold.train.n_bars, TRAIN_LOOKBACKS * lookback)
    n_validation = min(fold.validation.n_bars, VALIDATION_LOOKBACKS * lookback)
    start = fold.train.stop - n_train
    cut = panel.between(start, fold.test.stop)
    validation = Span(n_train + purge, n_train + purge + n_validation)
    test = fold.shifted(-start).test
    return cut, Fold(key=fold.key, train=Span(0, n_train), validation=validation, test=test)


def scaler_knows_training_bars_only(
    fit: Fit,
    panel: Panel,
    fold: Fold,
    *,
    scalers: Mapping[str, Scaler],
    plan: FoldPlanReport,
    features: pl.LazyFrame,
) -> Finding:
    """Stored scalers are the mean and deviation of their train rows, and a refit does not notice later rows.

    Args:
        panel, fold: what to refit on.
        scalers: of the stored folds, by key.
        features: stored features of all symbols and bars; the moments are taken again from its rows.
    """
    wrong = []
    for spec in plan.specs:
        wrong += _moment_problems(spec, scalers[spec.key], features)
    plain, other = fit(panel, fold).scaler, fit(scrambled(panel, fold.train.stop), fold).scaler
    if plain != other:
        moved = [
            name for k, name in enumerate(plain.names) if plain.mean[k] != other.mean[k] or plain.std[k] != other.std[k]
        ]
        wrong.append(f"a refit scales {len(moved)} features otherwise ({moved[:3]}) when only rows after train change")
    return Finding(
        tried=f"mean and deviation of {len(plan.specs)} stored folds taken again from their train rows; 2 refits, rows from "
        f"{panel.calendar[fold.train.stop].isoformat()} on replaced",
        passed=not wrong,
        detail="; ".join(wrong[:3]),
    )


def weights_learn_from_training_dates_only(fit: Fit, panel: Panel, fold: Fold, *, problems: list[str]) -> Finding:
    """One epoch gives the same weights when every row after train, of all symbols, is replaced.

    Where the replaced features move the scaler already, which is another guard's finding, only outcomes are replaced.

    Args:
        problems: found in the stored plans, `leakage_periods.purge_problems`.
    """
    first = fold.train.stop
    noisy = scrambled(panel, first)
    plain, other = fit(panel, fold), fit(noisy, fold)
    what = "features, labels, returns and volatility"
    if plain.scaler != other.scaler:
        other, what = fit(replace(noisy, values=panel.values), fold), "labels, returns and volatility"
    moved = [name for name, value in plain.state.items() if not torch.equal(value, other.state[name])]
    wrong = list(problems)
    if moved:
        wrong.append(
            f"{len(moved)} of {len(plain.state)} weight tensors differ after one epoch when only rows after the last train bar "
            f"change ({panel.calendar[first - 1].isoformat()})"
        )
    return Finding(
        tried=f"2 fits of one epoch on {len(panel.symbols)} symbols, {what} of all rows from "
        f"{panel.calendar[first].isoformat()} on replaced; spans of the stored plans counted",
        passed=not wrong,
        detail="; ".join(wrong[:3]),
    )


def context_labels_are_resolved(panel: Panel, plan: FoldPlanReport, fitted: Mapping[str, FittedFold]) -> Finding:
    """What a window may read of a context set is the same when every bar from its first scored one on is replaced.

    The pool is drawn again with the newest fold's settings and scaler. Windows are tried at bars at which a sequence of the
    pool is said to be resolved and at the bars after them; each may read all that the pool gives it.

    Args:
        panel: the newest fold's slice.
        fitted: stored folds by key.
    """
    spec = plan.specs[-1]
    if not spec.network.n_context:
        return Finding(
            tried="nothing", passed=None, detail="not used: network.n_context is 0, no fold reads context sequences"
        )
    wrong = []
    for one in plan.specs:
        stored = fitted[one.key].context
        assert stored is not None
        if int(stored.resolved_at.max()) > int(time_keys([datetime.fromisoformat(one.dates["train"]["last"])])[0]):
            wrong.append(f"fold {one.key}: a stored context sequence is resolved behind its train bars")
    place = {moment: bar for bar, moment in enumerate(time_keys(panel.calendar).tolist())}
    whole = _context(panel, spec, fitted[spec.key])
    ends = [place[int(moment)] for moment in np.unique(whole.pool.resolved_at.numpy())]
    chosen = [ends[len(ends) * (k + 1) // (CONTEXT_MOMENTS + 1)] for k in range(CONTEXT_MOMENTS)]
    compared = 0
    for bar in sorted({bar + after for bar in chosen for after in (0, 1)}):
        other = _context(scrambled(panel, bar, known_after=spec.horizon), spec, fitted[spec.key])
        expected, found = whole.of(np.array([bar])), other.of(np.array([bar]))
        compared += int((expected.members >= 0).sum())
        if not _same_sequences(expected, found):
            wrong.append(
                f"what windows that score from {panel.calendar[bar].isoformat()} on read of past sequences changes with the "
                "bars from there on: a label was not resolved, or a sequence was chosen by what came later"
            )
    return Finding(
        tried=f"{compared} readings of sequences ({spec.network.context_choice}), bars from the first scored one on replaced",
        passed=not wrong if compared else None,
        detail=wrong[0] if wrong else "" if compared else "no window reads a sequence there",
    )


def _context(panel: Panel, spec: FoldSpec, fitted: FittedFold) -> "fitting.WindowContext":
    """The pool of a panel, drawn as `fit_fold` draws it, given to windows whole."""
    fold, network = spec.fold, spec.network
    cut = panel.between(0, fold.validation.stop).listed()
    tensors = fitting.panel_tensors(
        cut, fitted.scaler, start=fold.train.start, stop=fold.validation.stop, target_volatility=spec.target_volatility
    )
    pool = fitting.context_pool(
        tensors,
        fold.train,
        symbols=cut.symbols,
        levels=fitting.symbol_levels(cut.symbols, fitted.symbols),
        calendar=cut.calendar,
        horizon=spec.horizon,
        n_context=network.n_context,
        context_bars=network.context_bars,
        choice=network.context_choice,
        seed=fitted.seed,
    )
    return fitting.WindowContext(pool, cut.symbols, cut.calendar, POOL_SEQUENCES)


def _same_sequences(a: ContextSet, b: ContextSet) -> bool:
    """The same members, with the same contents, for every window."""
    if not torch.equal(a.members >= 0, b.members >= 0):
        return False
    read = a.members >= 0
    first, second = a.members[read], b.members[read]
    return all(
        torch.equal(getattr(a, name)[first], getattr(b, name)[second])
        for name in ("values", "next_return", "observed", "symbol")
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
