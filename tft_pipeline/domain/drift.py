"""Has what the model sees changed? PSI and Jensen-Shannon per feature, judged by size and against the reference's
own wandering.

A bar is one time step with a value for each of S symbols. The null distribution comes from windows of the recent
length slid through the reference, so autocorrelation and few bars widen it. Not here: which bars are reference and
recent, and what follows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from tft_pipeline.domain.divergence import bin_codes, jensen_shannon, psi, quantile_edges, smoothed_proportions

__all__ = [
    "DriftReport",
    "FeatureDrift",
    "bin_codes",
    "drift_report",
    "jensen_shannon",
    "psi",
    "quantile_edges",
    "smoothed_proportions",
]

Verdict = Literal["stable", "investigate", "retrain", "insufficient_data"]
Values = Mapping[str, np.ndarray] | pl.DataFrame

PSI_INVESTIGATE = 0.1
"""PSI from which a significant change is worth a look."""

VALUES_PER_BIN = 5
"""Fewest values of the recent window a bin, on average, for a PSI to be scored."""

WINDOWS_OVERLAP = 2
"""Null windows start every 1/2 of their length: more overlap adds windows, hardly information."""


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """One row a feature.

    Attributes:
        psi: Population stability index of recent against reference, smoothed.
        psi_p_value: Of this feature alone, (1 + windows at least as far) / (1 + windows); None without a null.
        psi_p_value_family: Of this feature among all: windows whose largest PSI / null median reaches this one's.
        psi_null_median: Median PSI of the null windows.
        js_divergence_bits: Jensen-Shannon divergence, base 2, in [0, 1].
        js_distance: Its square root, what scipy's `jensenshannon(base=2)` returns.
        missing_reference: Share of missing values.
        missing_recent: Share of missing values.
        verdict: By size and family-wise significance.
        reason: The verdict in words; a large but insignificant change says so.
    """

    feature: str
    psi: float
    psi_p_value: float | None
    psi_p_value_family: float | None
    psi_null_median: float | None
    js_divergence_bits: float
    js_distance: float
    missing_reference: float
    missing_recent: float
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """All features and the verdict over them, the most serious one.

    Attributes:
        n_reference: Bars.
        n_recent: Bars.
        window: Bars of a null window; equal to n_recent.
        n_null_windows: W.
        family_p_value: Of the largest PSI / null median over all features; None without a null.
    """

    verdict: Verdict
    reason: str
    features: tuple[FeatureDrift, ...]
    n_reference: int
    n_recent: int
    window: int
    n_null_windows: int
    family_p_value: float | None
    psi_threshold: float
    js_threshold: float
    alpha: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the features as a list of rows."""
        return asdict(self) | {"features": [asdict(row) for row in self.features]}


def drift_report(
    reference: Values,
    recent: Values,
    *,
    n_bins: int = 10,
    psi_threshold: float = 0.25,
    js_threshold: float = 0.3,
    alpha: float = 0.05,
    min_null_windows: int = 19,
) -> DriftReport:
    """Compare the recent bars with the reference, feature by feature.

    Size: PSI over quantile bins of the reference plus one for missing values, shares smoothed; a bin neither side uses
    does not count. Significance: windows of n_recent bars, starting every half window, each compared with the rest of
    the reference, give the null; the family-wise p-value is that of the largest ratio PSI / null median over features
    (single-step maximum test), so that 73 features do not raise false alarms 73 times as often.

    retrain: family p <= alpha and (PSI > psi_threshold or JS distance > js_threshold). investigate: family p <= alpha
    and PSI > 0.1. insufficient_data: fewer than `min_null_windows` null windows (by default a reference of fewer than
    10 windows) or fewer than 5 recent values a bin; it is not a pass. Otherwise stable.

    The p-value treats overlapping windows as exchangeable with the recent one: on autoregressive series without drift
    a nominal 5 % came out as 5 to 7 % for references of 13 to 30 windows.

    Args:
        reference: Feature -> (N,) or (N bars, S symbols), or a frame with one row a bar; time-ordered; NaN or null
            is missing.
        recent: The same features; the bars after the reference.
        js_threshold: On the distance, the stricter reading of the two.
    Raises:
        ValueError: features or shapes that differ, thresholds outside their range.
    Source: smoothing and permutation p-value after Phipson & Smyth (2010); maximum test after Westfall & Young (1993).
    """
    if not 0.0 < alpha < 1.0 or not psi_threshold > 0.0 or not js_threshold > 0.0 or min_null_windows < 1:
        raise ValueError(
            f"alpha {alpha}, psi_threshold {psi_threshold}, js_threshold {js_threshold}, "
            f"min_null_windows {min_null_windows}: alpha must lie in (0, 1), the others must be positive"
        )
    before, after = _by_bar(reference), _by_bar(recent)
    if not before or list(before) != list(after):
        different = sorted(set(before) ^ set(after))
        raise ValueError(
            f"reference and recent must hold the same features in the same order; only one side has {different}"
        )
    n_reference, n_symbols = _bars_and_symbols(before)
    n_recent, recent_symbols = _bars_and_symbols(after)
    if n_symbols != recent_symbols:
        raise ValueError(
            f"{n_symbols} symbols in the reference, {recent_symbols} in recent: a bar must mean the same in both"
        )

    starts = _null_starts(n_reference, n_recent)
    shortage = _shortage(n_recent * n_symbols, len(starts), n_bins=n_bins, min_null_windows=min_null_windows)
    rows: list[FeatureDrift] = []
    family: float | None = None
    if n_reference and n_recent:
        sizes = [_sizes(before[name], after[name], starts, n_bins) for name in before]
        observed = np.array([size[0] for size in sizes])
        null = np.array([size[3] for size in sizes]).reshape(len(sizes), -1)
        judged = not shortage
        median = np.median(null, axis=1) if judged else np.zeros(len(sizes))
        ratio = _ratio(observed, median)
        null_best = _ratio(null, median[:, None]).max(axis=0) if judged else np.empty(0)
        family = _p_value(null_best, float(ratio.max())) if judged else None
        for i, name in enumerate(before):
            p_family = _p_value(null_best, float(ratio[i])) if judged else None
            verdict, reason = _judge(sizes[i][0], sizes[i][2], p_family, psi_threshold, js_threshold, alpha)
            rows.append(
                FeatureDrift(
                    feature=name,
                    psi=sizes[i][0],
                    psi_p_value=_p_value(null[i], sizes[i][0]) if judged else None,
                    psi_p_value_family=p_family,
                    psi_null_median=float(median[i]) if judged else None,
                    js_divergence_bits=sizes[i][1],
                    js_distance=sizes[i][2],
                    missing_reference=float(np.isnan(before[name]).mean()),
                    missing_recent=float(np.isnan(after[name]).mean()),
                    verdict=verdict,
                    reason=reason if judged else shortage,
                )
            )
    verdict = _overall(rows) if not shortage else "insufficient_data"
    return DriftReport(
        verdict=verdict,
        reason=shortage or _summary(rows),
        features=tuple(rows),
        n_reference=n_reference,
        n_recent=n_recent,
        window=n_recent,
        n_null_windows=len(starts),
        family_p_value=family,
        psi_threshold=psi_threshold,
        js_threshold=js_threshold,
        alpha=alpha,
    )


def _by_bar(values: Values) -> dict[str, np.ndarray]:
    """Feature -> (N, S) float64."""
    if isinstance(values, pl.DataFrame):
        values = {name: values[name].cast(pl.Float64).to_numpy() for name in values.columns}
    arrays = {name: np.asarray(array, dtype=np.float64) for name, array in values.items()}
    return {name: array[:, None] if array.ndim == 1 else array for name, array in arrays.items()}


def _bars_and_symbols(arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
    shapes = {array.shape for array in arrays.values()}
    shape = next(iter(shapes))
    if len(shapes) != 1 or len(shape) != 2:
        raise ValueError(f"features have shapes {sorted(shapes)}: expected (bars,) or (bars, symbols), equal for all")
    return shape[0], shape[1]


def _null_starts(n_reference: int, window: int) -> np.ndarray:
    """First bars of the null windows; none when no window fits or is all of the reference."""
    if window < 1 or window >= n_reference:
        return np.empty(0, dtype=np.int64)
    return np.arange(0, n_reference - window + 1, max(1, window // WINDOWS_OVERLAP))


def _shortage(n_values: int, n_windows: int, *, n_bins: int, min_null_windows: int) -> str:
    """Why nothing can be said; empty when something can."""
    if n_values < VALUES_PER_BIN * n_bins:
        return (
            f"{n_values} recent values are fewer than {VALUES_PER_BIN} for each of {n_bins} bins: PSI would be noise; "
            "take a longer recent window"
        )
    if n_windows < min_null_windows:
        return (
            f"the reference holds {n_windows} null windows of the recent length, {min_null_windows} are needed: "
            "take a longer reference or a shorter recent window"
        )
    return ""


def _sizes(
    reference: np.ndarray, recent: np.ndarray, starts: np.ndarray, n_bins: int
) -> tuple[float, float, float, np.ndarray]:
    """PSI, JS divergence, JS distance, and (W,) PSI of the null windows. Each value is binned once, as an integer."""
    edges = quantile_edges(reference, n_bins)
    n_codes = edges.size + 2
    window, n_symbols = recent.shape
    codes = bin_codes(reference, edges)
    marks = np.union1d(np.concatenate([starts, starts + window]), [0, len(reference)]).astype(np.int64)
    segment = np.repeat(np.arange(marks.size - 1), np.diff(marks) * n_symbols)
    by_segment = np.bincount(segment * n_codes + codes.ravel(), minlength=(marks.size - 1) * n_codes)
    upto = np.concatenate([np.zeros((1, n_codes)), by_segment.reshape(-1, n_codes).cumsum(axis=0)])
    total = upto[-1]
    now = np.bincount(bin_codes(recent, edges).ravel(), minlength=n_codes)
    used = (total > 0) | (now > 0)
    p, q = smoothed_proportions(total[used]), smoothed_proportions(now[used])
    inside = (upto[np.searchsorted(marks, starts + window)] - upto[np.searchsorted(marks, starts)])[:, used]
    null = psi(smoothed_proportions(total[used] - inside), smoothed_proportions(inside))
    divergence, distance = jensen_shannon(p, q)
    return float(psi(p, q)), float(divergence), float(distance), null


def _ratio(value: np.ndarray, median: np.ndarray) -> np.ndarray:
    """value / median; 0/0 is 0 (a constant feature that stays constant), x/0 infinite."""
    positive = median > 0.0
    return np.where(positive, value / np.where(positive, median, 1.0), np.where(value > 0.0, np.inf, 0.0))


def _p_value(null: np.ndarray, observed: float) -> float:
    return float((1 + int((null >= observed).sum())) / (1 + null.size))


def _judge(
    size: float, distance: float, p_family: float | None, psi_threshold: float, js_threshold: float, alpha: float
) -> tuple[Verdict, str]:
    if p_family is None:
        return "insufficient_data", ""
    what = f"PSI {size:.3f}, JS distance {distance:.3f}, family-wise p {p_family:.3f}"
    large = size > psi_threshold or distance > js_threshold
    moderate = size > PSI_INVESTIGATE
    if p_family > alpha:
        excess = "a large change, but " if large else "a moderate change, but " if moderate else ""
        return "stable", f"{what}: {excess}not significant at {alpha:g}"
    if large:
        return "retrain", f"{what}: above PSI {psi_threshold:g} or JS {js_threshold:g}, and significant"
    if moderate:
        return "investigate", f"{what}: above PSI {PSI_INVESTIGATE:g}, and significant"
    return "stable", f"{what}: significant but small"


def _overall(rows: list[FeatureDrift]) -> Verdict:
    found = {row.verdict for row in rows}
    return "retrain" if "retrain" in found else "investigate" if "investigate" in found else "stable"


def _summary(rows: list[FeatureDrift]) -> str:
    worst = max(rows, key=lambda row: row.psi)
    by_verdict = ", ".join(
        f"{sum(row.verdict == verdict for row in rows)} {verdict}" for verdict in ("retrain", "investigate", "stable")
    )
    return f"{by_verdict}; largest: {worst.feature}, {worst.reason}"
