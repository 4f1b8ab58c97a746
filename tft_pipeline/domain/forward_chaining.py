"""Score a blend on folds that neither its calibration nor its weights have seen, one fold after the other.

Not here: how weights are found (`ensemble`), what is recorded of them (`blending`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tft_pipeline.domain.calibration import Calibration, calibrate
from tft_pipeline.domain.classification import describe_probabilities, log_loss
from tft_pipeline.domain.ensemble import EnsembleFit, Probabilities, ensemble_weights, greedy_weights, present_columns
from tft_pipeline.domain.resolved import checked_bars, resolved_rows

IDENTITY = Calibration(1.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class FittedBlend:
    """Calibration and weights from some folds.

    Attributes:
        fit: The weights.
        calibrations: Of each source that is used, from all folds it is in; the identity where nothing is calibrated.
        probabilities: Calibrated, on the rows the weights come from; None for a source that is not used.
        y: Their labels.
        first: Index of the first fold these rows are of; they go on to the last one.
    """

    fit: EnsembleFit
    calibrations: dict[str, Calibration]
    probabilities: dict[str, np.ndarray | None]
    y: np.ndarray
    first: int


@dataclass(frozen=True, kw_only=True)
class ForwardChained:
    """A blend scored on folds that neither its calibration nor its weights have seen.

    Attributes:
        folds: One record a scored fold: fold, weights, log_loss_by_source (calibrated), and the keys of
            `describe_probabilities` for the blend.
        scored: Index of each scored fold.
        labels: (n_k,) of every scored fold.
        probabilities: Blend of every scored fold, (n_k,) each.
        by_source: Calibrated, (n_k,) each; None in a fold that did not use the source.
        pooled: `describe_probabilities` over all scored folds.
        pooled_by_source: The same for each calibrated source, over the folds it was used in.
        final: From all folds, to be used next.
        greedy: `greedy_weights` on the rows of `final`.
    """

    folds: list[dict[str, object]]
    scored: list[int]
    labels: list[np.ndarray]
    probabilities: list[np.ndarray]
    by_source: dict[str, list[np.ndarray | None]]
    pooled: dict[str, object]
    pooled_by_source: dict[str, dict[str, object]]
    final: FittedBlend
    greedy: dict[str, float] = field(default_factory=dict)


def fit_blend(
    folds: Sequence[Probabilities],
    labels: Sequence[np.ndarray],
    allowed: Sequence[str],
    *,
    l2: float = 0.0,
    calibrated: bool = True,
) -> FittedBlend:
    """Calibrate each allowed source on the folds that have it, then weigh on the unbroken run of latest folds that all share.

    Raises:
        ValueError, RuntimeError: see `calibrate` and `ensemble_weights`.
    """
    calibrations = dict.fromkeys(allowed, IDENTITY)
    if calibrated:
        for name in allowed:
            has = [i for i, fold in enumerate(folds) if fold.get(name) is not None]
            calibrations[name] = calibrate(
                np.concatenate([np.asarray(folds[i][name]) for i in has]), np.concatenate([labels[i] for i in has])
            )
    first = len(folds)
    while first > 0 and all(folds[first - 1].get(name) is not None for name in allowed):
        first -= 1
    shared: dict[str, np.ndarray | None] = dict.fromkeys(name for fold in folds for name in fold)
    for name in allowed:
        raw = np.concatenate([np.asarray(fold[name]) for fold in folds[first:]])
        shared[name] = calibrations[name].apply(raw) if calibrated else raw
    y = np.concatenate(list(labels[first:]))
    fit = ensemble_weights(shared, y, l2=l2)
    return FittedBlend(fit=fit, calibrations=calibrations, probabilities=shared, y=y, first=first)


def forward_chained(
    folds: Sequence[Probabilities],
    y: Sequence[np.ndarray],
    *,
    l2: float = 0.0,
    n_unresolved: int = 0,
    bars: Sequence[np.ndarray] | None = None,
    calibrated: bool = True,
) -> ForwardChained:
    """For each fold from the second on: calibrate and weigh on the folds before it, score on it.

    A source is used for a fold when both that fold and the one before it have it. Calibration uses every earlier
    fold of a source, the weights the latest unbroken run of folds that all used sources share.

    A label over h bars is known h bars after its own. At the first decision of fold k the labels of the last h - 1 bars
    before it are not, so their rows are left out of what fold k is calibrated and weighed on; they stay in what is
    scored, and in the final weights, which are used when all are known. An earlier fold that lies in those bars as a
    whole counts as absent, and a fold with no earlier label resolved is not scored.

    Args:
        folds: In time order; source -> (n_k,) raw out-of-fold probabilities, or None when absent.
        y: One (n_k,) row of 0 and 1 a fold.
        l2: Pull towards equal weights.
        n_unresolved: h - 1, bars before a fold whose labels its first decision cannot know.
        bars: (n_k,) bar index of each row on the calendar of all folds; needed for `n_unresolved` > 0.
        calibrated: Calibrate each source first; else probabilities are taken at their word.
    Raises:
        ValueError: fewer than 2 folds, folds that do not fit, no source that two neighbouring folds share,
            `n_unresolved` without bars, bars that are not in time order, or no fold with an earlier label resolved.
        RuntimeError: no convergence.
    """
    if len(folds) < 2 or len(folds) != len(y):
        raise ValueError(
            f"{len(folds)} folds and {len(y)} label rows: need at least 2 of each to score one after the other"
        )
    names = list(dict.fromkeys(name for fold in folds for name in fold))
    labels = [np.asarray(row) for row in y]
    for fold, row in zip(folds, labels, strict=True):
        present_columns(fold, row)
    calendar = checked_bars(bars, labels, n_unresolved)
    records: list[dict[str, object]] = []
    blends: list[np.ndarray] = []
    scored: list[int] = []
    by_source: dict[str, list[np.ndarray | None]] = {name: [] for name in names}
    for k in range(1, len(folds)):
        rows = resolved_rows(k, labels, calendar, n_unresolved)
        earlier = [_rows_of(fold, kept) for fold, kept in zip(folds[:k], rows, strict=True) if kept.any()]
        known = [row[kept] for row, kept in zip(labels[:k], rows, strict=True) if kept.any()]
        if not earlier:
            continue
        allowed = [n for n in names if folds[k].get(n) is not None and earlier[-1].get(n) is not None]
        if not allowed:
            raise ValueError(
                f"folds {k - 1} and {k} share no source: nothing fitted before fold {k} can be scored on it"
            )
        fitted = fit_blend(earlier, known, allowed, l2=l2, calibrated=calibrated)
        ready: dict[str, np.ndarray] = {}
        for name in allowed:
            raw = np.asarray(folds[k][name], dtype=np.float64)
            ready[name] = fitted.calibrations[name].apply(raw) if calibrated else raw
        blend = fitted.fit.blend(ready)
        record: dict[str, object] = {
            "fold": k,
            "weights": dict.fromkeys(names, 0.0) | fitted.fit.weights,
            "log_loss_by_source": {name: log_loss(labels[k], p) for name, p in ready.items()},
        }
        records.append(record | describe_probabilities(labels[k], blend))
        blends.append(blend)
        scored.append(k)
        for name in names:
            by_source[name].append(ready.get(name))
    if not scored:
        raise ValueError(
            f"no fold has an earlier row whose label is resolved {n_unresolved} bars before it: nothing can be scored; "
            "lengthen the folds or shorten the horizon"
        )
    last = [name for name in names if folds[-1].get(name) is not None]
    final = fit_blend(folds, labels, last, l2=l2, calibrated=calibrated)
    truths = [labels[k] for k in scored]
    return ForwardChained(
        folds=records,
        scored=scored,
        labels=truths,
        probabilities=blends,
        by_source=by_source,
        pooled=describe_probabilities(np.concatenate(truths), np.concatenate(blends)),
        pooled_by_source={
            name: _pooled(truths, parts) for name, parts in by_source.items() if any(part is not None for part in parts)
        },
        final=final,
        greedy=greedy_weights(final.probabilities, final.y),
    )


def _rows_of(fold: Probabilities, kept: np.ndarray) -> Probabilities:
    return {name: None if p is None else np.asarray(p)[kept] for name, p in fold.items()}


def _pooled(labels: list[np.ndarray], parts: list[np.ndarray | None]) -> dict[str, object]:
    used = [(row, part) for row, part in zip(labels, parts, strict=True) if part is not None]
    return describe_probabilities(np.concatenate([row for row, _ in used]), np.concatenate([p for _, p in used]))
