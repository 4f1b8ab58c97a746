"""The guard over context sequences: what a window may read of the past was resolved before the window's first scored bar.

Not here: guards over fits (`leakage`), the pool itself (`context`, `context_pool`).

Axes: S symbols, B windows of a symbol, T bars of a window.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import torch

from tft_pipeline.domain.leakage import Finding, judged
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.reports import FoldPlanReport, FoldSpec
from tft_pipeline.model import fit as fitting
from tft_pipeline.model.batch import ContextSet
from tft_pipeline.model.context import POOL_SEQUENCES, time_keys
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.leakage import scrambled
from tft_pipeline.model.losses import Objective

CONTEXT_MOMENTS = 3


def context_labels_are_resolved(panel: Panel, plan: FoldPlanReport, fitted: Mapping[str, FittedFold]) -> Finding:
    """What a window may read of a context set is the same when every bar from its first scored one on is replaced.

    The pool is drawn again with the newest fold's settings and scaler. Windows are tried at bars at which a sequence of the
    pool is said to be resolved and at the bars after them; each may read all that the pool gives it. They are put together as
    forecasts do it (`WindowContext.of`) and as training does (`TftModule.windows_of`, where all their bars lie in the fold).

    Args:
        panel: the newest fold's slice.
        fitted: stored folds by key.
    """
    spec = plan.specs[-1]
    if not spec.network.n_context:
        return Finding(
            tried="nothing", state="not_used", detail="network.n_context is 0, no fold reads context sequences"
        )
    wrong = []
    for one in plan.specs:
        stored = fitted[one.key].context
        assert stored is not None
        if int(stored.resolved_at.max()) > int(time_keys([datetime.fromisoformat(one.dates["train"]["last"])])[0]):
            wrong.append(f"fold {one.key}: a stored context sequence is resolved behind its train bars")
    place = {moment: bar for bar, moment in enumerate(time_keys(panel.calendar).tolist())}
    whole = _context(panel, spec, fitted[spec.key])
    ends = [place[int(moment)] for moment in np.unique(whole.context.pool.resolved_at.numpy())]
    chosen = [ends[len(ends) * (k + 1) // (CONTEXT_MOMENTS + 1)] for k in range(CONTEXT_MOMENTS)]
    compared = dict.fromkeys(WAYS, 0)
    for bar in sorted({bar + after for bar in chosen for after in (0, 1)}):
        other = _context(scrambled(panel, bar, known_after=spec.horizon), spec, fitted[spec.key])
        for way, read in WAYS.items():
            expected, found = read(whole, bar), read(other, bar)
            if expected is None or found is None:
                continue
            compared[way] += int((expected.members >= 0).sum())
            if not _same_sequences(expected, found):
                wrong.append(
                    f"what windows of {way} that score from {panel.calendar[bar].isoformat()} on read of past sequences "
                    "changes with the bars from there on: a label was not resolved, or a sequence was chosen by what came later"
                )
    return judged(
        f"{sum(compared.values())} readings of sequences ({spec.network.context_choice}) in forecasts and in training, bars "
        "from the first scored one on replaced",
        wrong[:1],
        [f"no window of {way} reads a sequence there" for way, count in compared.items() if not count],
    )


@dataclass(frozen=True)
class Reader:
    """What windows of a panel are given of its pool: as forecasts ask, and as the training module does."""

    context: "fitting.WindowContext"
    module: "fitting.TftModule"

    def forecast(self, bar: int) -> ContextSet | None:
        """Of the windows that score `bar`."""
        return self.context.of(np.array([bar]))

    def training(self, bar: int) -> ContextSet | None:
        """Of the blocks that score from `bar` on; None where they reach out of the fold's bars."""
        section, tensors = self.module.training_section, self.module.tensors
        first = tensors.index(bar) - section.warmup_bars
        if first < 0 or first + section.lookback > tensors.values.shape[1]:
            return None
        return self.module.windows_of(first + torch.arange(section.lookback)[None]).context


WAYS: dict[str, Callable[[Reader, int], ContextSet | None]] = {
    "forecasts": Reader.forecast,
    "training": Reader.training,
}


def _context(panel: Panel, spec: FoldSpec, fitted: FittedFold) -> Reader:
    """The pool of a panel, drawn as `fit_fold` draws it, given to windows whole."""
    fold, network, training = spec.fold, spec.network, spec.training
    cut = panel.between(0, fold.validation.stop).listed()
    tensors = fitting.panel_tensors(
        cut, fitted.scaler, start=fold.train.start, stop=fold.validation.stop, target_volatility=spec.target_volatility
    )
    levels = fitting.symbol_levels(cut.symbols, fitted.symbols)
    pool = fitting.context_pool(
        tensors,
        fold.train,
        symbols=cut.symbols,
        levels=levels,
        calendar=cut.calendar,
        horizon=spec.horizon,
        n_context=network.n_context,
        context_bars=network.context_bars,
        choice=network.context_choice,
        seed=fitted.seed,
    )
    context = fitting.WindowContext(pool, cut.symbols, cut.calendar, POOL_SEQUENCES)
    module = fitting.TftModule(
        fitted.build(),
        tensors,
        fold.validation,
        calendar=cut.calendar,
        training=training,
        objective=Objective.of(training, spec.position, cut.symbols, spec.bars_per_year),
        levels=levels if network.static_symbol else None,
        context=context,
    )
    module.eval()
    return Reader(context, module)


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
