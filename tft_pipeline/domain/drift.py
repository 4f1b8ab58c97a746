"""Has what the model sees changed? PSI, Jensen-Shannon, Kolmogorov-Smirnov and Wasserstein per feature, judged by size and
against the series' own wandering.

A bar is one time step with a value for each of S symbols. The null distribution comes from windows of the recent
length slid through the reference, so autocorrelation and few bars widen it. Not here: which bars are reference and
recent, what follows, all features at once (`model.two_sample`), what the model makes of them (`drift_outputs`).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import log

import numpy as np
import polars as pl

from tft_pipeline.domain.divergence import bin_codes, jensen_shannon, psi, quantile_edges, smoothed_proportions
from tft_pipeline.domain.drift_null import FeatureSizes, measure, null_starts, windows_needed
from tft_pipeline.domain.drift_records import DriftReport, FeatureDrift, Verdict

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

Values = Mapping[str, np.ndarray] | pl.DataFrame
Each = Callable[[Callable[[str], FeatureSizes], Iterable[str]], Iterable[FeatureSizes]]

PSI_INVESTIGATE = 0.1
"""PSI from which a significant change is worth a look."""

VALUES_PER_BIN = 5
"""Fewest values of the recent window a bin, on average, for a PSI to be scored."""


def drift_report(
    reference: Values,
    recent: Values,
    *,
    n_bins: int = 10,
    psi_threshold: float = 0.25,
    js_threshold: float = 0.3,
    alpha: float = 0.05,
    min_null_windows: int = 19,
    each: Each = map,
) -> DriftReport:
    """Compare the recent bars with the reference, feature by feature.

    Size: PSI over quantile bins of the reference plus one for missing values, shares smoothed; a bin neither side uses
    does not count. Significance: windows of n_recent bars, starting every third of their length, each compared with all other
    bars, give the null; the family-wise p-value is that of the largest ratio PSI / median over features, the median that of the
    windows and the recent bars together (single-step maximum test), so that 73 features do not raise false alarms 73 times as
    often.

    retrain: family p <= alpha and (PSI > psi_threshold or JS distance > js_threshold). investigate: family p <= alpha
    and PSI > 0.1. insufficient_data: fewer than `min_null_windows` null windows (by default a reference of fewer than
    7 windows), too few for a p-value of alpha, or fewer than 5 recent values a bin; it is not a pass. Otherwise stable.

    False alarms (family p <= 0.05) of AR(1) series with phi 0, 0.5, 0.8 and 0.95, 8 features, windows of 60 bars, references of
    7, 10, 14, 20, 30 and 60 windows: 3 to 7 % in each of the 24 cases. A p-value is a multiple of 1 / (1 + W), so that with 58
    windows the level is 2 / 59 and not 0.05. A shift of one feature by one marginal standard deviation is found in 99 % of
    cases (phi 0 and windows of 60 bars; 0.5 and 120), 97 % (0.8 and 250) and 95 % (0.95 and 1,000), references of 20 windows.
    What made the difference: thirds instead of halves (halves: up to 9 % with 10 windows and 25 features), a window compared
    with the recent bars too, and a median that has the recent bars in it. `benchmarks/drift.py --size` and `--power` repeat it.

    Args:
        reference: Feature -> (N,) or (N bars, S symbols), or a frame with one row a bar; time-ordered; NaN or null
            is missing. float32 stays float32.
        recent: The same features; the bars after the reference.
        js_threshold: On the distance, the stricter reading of the two.
        each: How features are spread: like `map`, in order. The result does not depend on it; `model.feature_threads` has one
            that uses the cores.
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

    starts = null_starts(n_reference, n_recent)
    needed = windows_needed(alpha, min_null_windows)
    shortage = _shortage(n_recent * n_symbols, len(starts), n_bins=n_bins, needed=needed)
    rows: list[FeatureDrift] = []
    family: float | None = None
    if n_reference and n_recent:
        one = partial(_measure, before, after, starts, n_bins)
        sizes = dict(zip(before, each(one, before), strict=True))
        observed = np.array([size.psi for size in sizes.values()])
        null = np.array([size.null_psi for size in sizes.values()]).reshape(len(sizes), -1)
        middle = np.median(np.column_stack([null, observed]), axis=1)
        ratio = _ratio(observed, middle)
        null_best = _ratio(null, middle[:, None]).max(axis=0)
        family = _p_value(null_best, float(ratio.max())) if not shortage else None
        for (name, size), far in zip(sizes.items(), ratio, strict=True):
            judged = not shortage
            p_family = _p_value(null_best, float(far)) if judged else None
            verdict, reason = _judge(size.psi, size.js_distance, p_family, psi_threshold, js_threshold, alpha)
            known = size.null_ks[~np.isnan(size.null_ks)]
            ks_judged = judged and size.ks is not None and known.size >= needed
            rows.append(
                FeatureDrift(
                    feature=name,
                    psi=size.psi,
                    psi_p_value=_p_value(size.null_psi, size.psi) if judged else None,
                    psi_p_value_family=p_family,
                    psi_null_median=float(np.median(size.null_psi)) if judged else None,
                    js_divergence_bits=size.js_divergence_bits,
                    js_divergence_nats=size.js_divergence_bits * log(2.0),
                    js_distance=size.js_distance,
                    ks=size.ks,
                    ks_p_value=_p_value(known, size.ks_on_grid) if ks_judged else None,
                    wasserstein=size.wasserstein,
                    missing_reference=size.missing_reference,
                    missing_recent=size.missing_recent,
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
    """Feature -> (N, S), floating; a view where the values are floats already."""
    if isinstance(values, pl.DataFrame):
        single = {name for name in values.columns if values.schema[name] == pl.Float32}
        columns = {name: values[name] if name in single else values[name].cast(pl.Float64) for name in values.columns}
        values = {name: column.to_numpy() for name, column in columns.items()}
    arrays = {name: np.asarray(array) for name, array in values.items()}
    floats = {name: a if a.dtype.kind == "f" else a.astype(np.float64) for name, a in arrays.items()}
    return {name: array[:, None] if array.ndim == 1 else array for name, array in floats.items()}


def _bars_and_symbols(arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
    shapes = {array.shape for array in arrays.values()}
    shape = next(iter(shapes))
    if len(shapes) != 1 or len(shape) != 2:
        raise ValueError(f"features have shapes {sorted(shapes)}: expected (bars,) or (bars, symbols), equal for all")
    return shape[0], shape[1]


def _shortage(n_values: int, n_windows: int, *, n_bins: int, needed: int) -> str:
    """Why nothing can be said; empty when something can."""
    if n_values < VALUES_PER_BIN * n_bins:
        return (
            f"{n_values} recent values are fewer than {VALUES_PER_BIN} for each of {n_bins} bins: PSI would be noise; "
            "take a longer recent window"
        )
    if n_windows < needed:
        return (
            f"the reference holds {n_windows} null windows of the recent length, {needed} are needed: "
            "take a longer reference, a shorter recent window or a larger alpha"
        )
    return ""


def _measure(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], starts: np.ndarray, n_bins: int, name: str
) -> FeatureSizes:
    return measure(before[name], after[name], starts, n_bins=n_bins)


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
