"""One drift record: inputs feature by feature and together, outputs and errors of a fold's model, recent bars against older.

Inputs are compared with the fold's training bars, as the model sees them (scaled with that fold's scaler); its outputs with
those on its test bars, which it did not learn from; its errors with those of all folds, each on its own test bars.

Here: the parts and the verdict over them. Not here: which bars (`pipeline.drift_bars`), what models said
(`pipeline.drift_said`), the statistics (`domain.drift`, `model.two_sample`), assets, files.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.drift import DriftReport, drift_report
from tft_pipeline.domain.drift_records import SHOWN
from tft_pipeline.domain.drift_windows import histogram, psi_over_time, windows_over
from tft_pipeline.domain.features.raw import LEVELS
from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel, rows_a_block
from tft_pipeline.domain.phases import DriftSection
from tft_pipeline.domain.verdict import json_ready
from tft_pipeline.pipeline.drift_bars import Compared
from tft_pipeline.pipeline.drift_said import outputs_drift
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256

MOST_SHOWN = 9
"""Features with pictures: those with the largest PSI."""
SIGNIFICANT = ("investigate", "retrain")


def evaluate_drift(
    panel: Panel, bundle: FoldBundle, scored: pl.DataFrame, settings: DriftSection, bars: Compared, *, snapshot_id: str
) -> DriftRecord:
    """Compare the recent bars with those the newest fold's model was trained and tested on.

    The verdict. Only the features ask for a retrain (large, and significant over all of them). The other three, each at level
    alpha, ask to investigate at most: what they find may be chance of one in twenty each night, and a retrain on the same
    features would not mend it. Features without enough data are the verdict `insufficient_data`, whatever the others say; a
    part other than the features that has too few bars is named in the reasons and decides nothing.

    Args:
        panel: with the features of the bundle's scaler, in its order.
        bundle: the newest fold.
        scored: out-of-sample predictions of all folds, timestamp, symbol, raw_position and probability.
    """
    scaler = bundle.fitted.scaler
    reference, recent = _inputs(panel, bundle, bars.train), _inputs(panel, bundle, bars.recent)
    observed = tuple(panel.observed[:, span.start : span.stop] for span in (bars.train, bars.recent))
    predictions, performance = outputs_drift(panel, bundle, scored, bars, settings)
    record = inputs_record(
        scaler.names,
        reference,
        recent,
        settings,
        stamps=[panel.calendar[bar].isoformat() for span in (bars.train, bars.recent) for bar in range(*span)],
        observed=(observed[0], observed[1]),
        levels=LEVELS,
        outputs={"predictions": predictions, "performance": performance},
    )
    about = {"fold": bundle.key, "weights_sha256": weights_sha256(bundle.fitted), "snapshot_id": snapshot_id}
    return record.model_copy(update=about)


def inputs_record(
    names: Sequence[str],
    reference: np.ndarray,
    recent: np.ndarray,
    settings: DriftSection,
    *,
    stamps: Sequence[str] | None,
    observed: tuple[np.ndarray, np.ndarray] | None = None,
    levels: Collection[str] = (),
    outputs: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> DriftRecord:
    """The record of two stretches of bars, of no model.

    Args:
        reference, recent: (S, N, V) and (S, n, V), NaN where missing.
        stamps: of the reference bars, then of the recent ones; None where bars have no dates.
        observed: (S, N) and (S, n), which symbols have which bars; the others count nowhere. By default each one with a value,
            of a single symbol every bar.
        levels: names whose rows are shown and judged nowhere: prices and volumes as they came, which wander. Where there is
            no other feature they are judged.
        outputs: the parts `predictions` and `performance`, where there is a model.
    Raises:
        ValueError: see `drift.drift_report`.
    """
    first, second = observed or (_with_a_value(reference), _with_a_value(recent))
    seen = first.T, second.T
    wanders = [name in levels for name in names]
    wanders = [False] * len(names) if all(wanders) else wanders
    apart = [[v for v in range(len(names)) if wanders[v] is own] for own in (False, True)]
    judging, shown_only = ([names[v] for v in places] for places in apart)
    kept = levelled = reference, recent
    if any(wanders):  # else a copy of all values would be made
        kept, levelled = ((reference[:, :, places], recent[:, :, places]) for places in apart)
    features = _features(judging, *kept, seen, settings)
    detail = features.to_dict()
    rows = detail.pop("features")
    if shown_only:
        rows += [_unjudged(row) for row in _features(shown_only, *levelled, seen, settings).to_dict()["features"]]
    del detail["verdict"]
    detail |= {"n_bins": settings.n_bins, "min_null_windows": settings.min_null_windows}
    parts = {"multivariate": _multivariate(judging, *kept, settings), **outputs}
    verdict, reasons = judged(features.verdict, features.reason, parts)
    shown = sorted(rows, key=lambda row: -(row["psi"] or 0.0))[:MOST_SHOWN]
    chosen = {str(row["feature"]): list(names).index(row["feature"]) for row in shown}
    n_reference, n_recent = reference.shape[1], recent.shape[1]
    return DriftRecord(
        fold="",
        verdict=verdict,
        n_reference=n_reference,
        n_recent=n_recent,
        rows=tuple(rows),
        detail=detail,
        reasons=reasons,
        reference=_range(stamps, 0, n_reference),
        recent=_range(stamps, n_reference, n_recent),
        multivariate=parts["multivariate"],
        predictions=parts.get("predictions"),
        performance=parts.get("performance"),
        shapes=_shapes(chosen, reference, recent),
        over_time=_over_time(chosen, reference, recent, seen, stamps, settings.n_bins),
    )


def judged(verdict: str, reason: str, parts: Mapping[str, Mapping[str, Any]]) -> tuple[str, tuple[str, ...]]:
    """The verdict over the features and three other parts, and a sentence for each."""
    asks = {"retrain": "ask for a retrain", "investigate": "ask to investigate", "stable": "ask for nothing"}
    reasons = [f"features {asks.get(verdict, 'cannot be judged')}: {reason}"]
    for name, part in parts.items():
        said = part["verdict"]
        alone = " (retrain by its own rule; alone it counts as investigate)" if said == "retrain" else ""
        plural = name == "predictions"
        if said in SIGNIFICANT:
            asked = f"ask{'' if plural else 's'} to investigate{alone}"
        elif said == "stable":
            asked = f"ask{'' if plural else 's'} for nothing"
        else:
            asked = "cannot be judged"
        reasons.append(f"{name} {asked}: {part['reason']}")
        if said in SIGNIFICANT and verdict == "stable":
            verdict = "investigate"
    return verdict, tuple(reasons)


def _inputs(panel: Panel, bundle: FoldBundle, span: Span) -> np.ndarray:
    """(S, n, V) float32: what the model is given, NaN where a symbol is not observed or a value is missing."""
    scaler = bundle.fitted.scaler
    seen = np.empty((len(panel.symbols), span.stop - span.start, len(scaler.names)), dtype=np.float32)
    step = rows_a_block(len(scaler.names))
    for s in range(len(panel.symbols)):
        for first in range(span.start, span.stop, step):
            rows = slice(first, min(first + step, span.stop))
            scaled = scaler.transform(panel.values[s, rows])
            scaled[~panel.observed[s, rows]] = np.nan
            seen[s, rows.start - span.start : rows.stop - span.start] = scaled
    return seen


def _with_a_value(values: np.ndarray) -> np.ndarray:
    """(S, n): which symbols have a value of any feature at each bar; a single symbol is at all bars, its own."""
    seen = np.full(values.shape[:2], len(values) == 1)
    for v in range(values.shape[2]):  # a feature at a time: a mask of all values would be as long as they are
        if seen.all():
            break
        seen |= ~np.isnan(values[:, :, v])
    return seen


def _features(
    names: Sequence[str],
    reference: np.ndarray,
    recent: np.ndarray,
    seen: tuple[np.ndarray, np.ndarray],
    settings: DriftSection,
) -> DriftReport:
    from tft_pipeline.model.feature_threads import feature_threads

    with feature_threads() as each:
        return drift_report(
            {name: reference[:, :, v].T for v, name in enumerate(names)},
            {name: recent[:, :, v].T for v, name in enumerate(names)},
            n_bins=settings.n_bins,
            psi_threshold=settings.psi_threshold,
            js_threshold=settings.js_threshold,
            alpha=settings.alpha,
            min_null_windows=settings.min_null_windows,
            observed=seen,
            each=each,
        )


def _multivariate(
    names: Sequence[str], reference: np.ndarray, recent: np.ndarray, settings: DriftSection
) -> dict[str, Any]:
    from tft_pipeline.model.two_sample import multivariate_drift

    found = multivariate_drift(
        reference.swapaxes(0, 1),
        recent.swapaxes(0, 1),
        names=names,
        alpha=settings.alpha,
        min_null_windows=settings.min_null_windows,
    )
    return dict(json_ready(found.to_dict()))


def _unjudged(row: dict[str, Any]) -> dict[str, Any]:
    """A raw level's row: its sizes, and neither significance nor verdict, for its windows are not alike."""
    unknown = dict.fromkeys(("psi_p_value", "psi_p_value_family", "ks_p_value"))
    return row | unknown | {"verdict": SHOWN, "reason": "a raw level, which wanders: shown, and judged nowhere"}


def _range(stamps: Sequence[str] | None, first: int, n_bars: int) -> dict[str, Any]:
    if stamps is None or not n_bars:
        return {"first": None, "last": None, "n_bars": n_bars}
    return {"first": stamps[first], "last": stamps[first + n_bars - 1], "n_bars": n_bars}


def _shapes(chosen: Mapping[str, int], reference: np.ndarray, recent: np.ndarray) -> tuple[dict[str, Any], ...]:
    found = []
    for name, v in chosen.items():
        shape = histogram(reference[:, :, v], recent[:, :, v])
        if shape is not None:
            found.append({"feature": name, **json_ready(shape)})
    return tuple(found)


def _over_time(
    chosen: Mapping[str, int],
    reference: np.ndarray,
    recent: np.ndarray,
    seen: tuple[np.ndarray, np.ndarray],
    stamps: Sequence[str] | None,
    n_bins: int,
) -> dict[str, Any]:
    """PSI of windows of the recent length; each is named by its last bar, by its number where bars have no dates."""
    n_reference, n_recent = reference.shape[1], recent.shape[1]
    if not n_reference or not n_recent:
        return {}
    windows = windows_over(n_reference, n_recent, length=n_recent)
    return {
        "window_bars": n_recent,
        "last": [f"bar {stop}" if stamps is None else stamps[stop - 1] for stop in windows.stops],
        "of_reference": windows.of_reference.tolist(),
        "psi": {
            name: json_ready(
                psi_over_time(reference[:, :, v].T, recent[:, :, v].T, windows, n_bins=n_bins, observed=seen)
            )
            for name, v in chosen.items()
        },
    }
