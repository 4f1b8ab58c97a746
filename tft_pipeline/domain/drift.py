"""Has what the model sees changed? PSI, Jensen-Shannon, Kolmogorov-Smirnov and Wasserstein per feature, judged by size and
against the series' own wandering.

A bar is one time step with a value for each of S symbols. The null distribution comes from windows of the recent
length elsewhere in the bars, so autocorrelation and few bars widen it. Not here: which bars are reference and
recent, what follows, all features at once (`model.two_sample`), what the model makes of them (`drift_outputs`).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import log

import numpy as np
import polars as pl

from tft_pipeline.domain.divergence import bin_codes, jensen_shannon, psi, quantile_edges, smoothed_proportions
from tft_pipeline.domain.drift_null import FeatureSizes, inside_of, measure, turned_starts, windows_needed
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
    observed: tuple[np.ndarray, np.ndarray] | None = None,
    each: Each = map,
) -> DriftReport:
    """Compare the recent bars with the reference, feature by feature.

    Size: PSI over quantile bins of the reference plus one for missing values, shares smoothed; a bin neither side uses
    does not count. Significance: the bars are closed to a ring, and windows of n_recent of them, starting every third of their
    length, the recent bars among them, are each compared with all other bars (`drift_null.turned_starts`). The family-wise
    p-value is that of the largest (PSI - mean) / max(sd, 0.1) over features, mean and deviation those of a feature over all
    windows and the recent bars (single-step maximum test), so that 73 features do not raise false alarms 73 times as often.
    A p-value is the share of windows that are as far out, the recent one counted, and at least the share, without it, of those
    a whole number of windows before it (days among days).

    retrain: family p <= alpha and (PSI > psi_threshold or JS distance > js_threshold). investigate: family p <= alpha
    and PSI > 0.1. insufficient_data: fewer than `min_null_windows` null windows (by default a reference of fewer than
    6 windows), too few for a p-value of alpha, or fewer than 5 recent values a bin; it is not a pass. Otherwise stable.

    False alarms (family p <= 0.05) of AR(1) series with phi 0, 0.5, 0.8 and 0.95, 8 features, windows of 60 bars, references of
    7, 10, 14, 20, 30 and 60 windows: 1 to 6 % in each of the 24 cases, the least where the reference is short and phi high. Ten
    symbols that share half of their variance, windows of 21 bars, 48 of them: 5 % at phi 0.9 and 0.95, 11 % at 0.98: a
    window shorter than the bars remember, about 1 / (1 - phi) of them, raises more false alarms; take a longer one. A shift
    of one feature by one marginal standard deviation is found in 100 % of cases (phi 0 and windows of 60 bars; 0.5 and 120),
    99 % (0.8 and 250) and 97 % (0.95 and 1,000), references of 20 windows; beside three flags that are on in 4 to 20 % of
    windows in 93, 94, 90 and 88 %. Windows that are whole days, days in random order: up to 9.5 % with 20 days, for the
    second of 21 still counts. What made the difference: a ring (without it up to 10 % on such panels, and 8 % with 7
    windows), and a deviation that has the recent bars in it and is not that of ordinary windows alone: over the median the PSI
    of a rare flag hides everything else (3 % found). `benchmarks/drift.py --size` and `--power` repeat it.

    Args:
        reference: Feature -> (N,) or (N bars, S symbols), or a frame with one row a bar; time-ordered; NaN or null
            is missing. float32 stays float32.
        recent: The same features; the bars after the reference.
        js_threshold: On the distance, the stricter reading of the two.
        observed: Of both sides, (N, S) and (n, S): which symbols have which bars. The others (a symbol not listed yet) count
            nowhere; a missing value of an observed bar counts as missing. By default all are observed. Windows with fewer than
            half of the recent observed values, or fewer than 5 a bin, are left out of the null, and the reason says so.
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
    seen = _observed_values(before, after, observed)
    if seen[-1] == n_symbols * (n_reference + n_recent):
        observed = None  # nothing to hide: saves a copy of each feature

    n_values = int(seen[-1] - seen[n_reference])
    starts, whole = turned_starts(n_reference, n_recent)
    there = inside_of(seen, starts, (starts + n_recent - 1) % (n_reference + n_recent) + 1)
    full = there >= max(VALUES_PER_BIN * n_bins, n_values / 2)
    left_out = int(np.count_nonzero(~full)) if n_values >= VALUES_PER_BIN * n_bins else 0
    if left_out:
        starts, whole = starts[full], whole[full]
    needed = windows_needed(alpha, min_null_windows)
    shortage = _shortage(n_values, len(starts), left_out, n_bins=n_bins, needed=needed)
    rows: list[FeatureDrift] = []
    family: float | None = None
    if n_reference and n_recent:
        one = partial(_measure, before, after, observed, seen, starts, n_bins)
        sizes = dict(zip(before, each(one, before), strict=True))
        recents = np.array([size.psi for size in sizes.values()])
        null = np.array([size.null_psi for size in sizes.values()]).reshape(len(sizes), -1)
        standing = _standing(np.column_stack([null, recents]))
        null_best = standing[:, :-1].max(axis=0)
        family = _p_value(null_best, float(standing[:, -1].max()), whole) if not shortage else None
        for (name, size), far in zip(sizes.items(), standing[:, -1], strict=True):
            empty = size.missing_reference == 1.0 == size.missing_recent
            judged = not shortage and not empty
            p_alone = _p_value(size.null_psi, size.psi, whole) if judged else None
            p_family = _p_value(null_best, float(far), whole) if judged else None
            verdict, reason = _judge(size, p_alone, p_family, psi_threshold, js_threshold, alpha)
            known = ~np.isnan(size.null_ks)
            ks_judged = judged and size.ks is not None and np.count_nonzero(known) >= needed
            ks_p = _p_value(size.null_ks[known], size.ks_on_grid, whole[known]) if ks_judged else None
            rows.append(
                FeatureDrift(
                    feature=name,
                    psi=size.psi,
                    psi_p_value=p_alone,
                    psi_p_value_family=p_family,
                    psi_null_median=float(np.median(size.null_psi)) if judged else None,
                    js_divergence_bits=size.js_divergence_bits,
                    js_divergence_nats=size.js_divergence_bits * log(2.0),
                    js_distance=size.js_distance,
                    ks=size.ks,
                    ks_p_value=ks_p,
                    wasserstein=size.wasserstein,
                    missing_reference=size.missing_reference,
                    missing_recent=size.missing_recent,
                    verdict=verdict,
                    reason=reason if judged else shortage or "no value on either side",
                )
            )
    verdict = _overall(rows) if not shortage else "insufficient_data"
    return DriftReport(
        verdict=verdict,
        reason=shortage or _summary(rows) + _left_out(left_out),
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


def _observed_values(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], observed: tuple[np.ndarray, np.ndarray] | None
) -> np.ndarray:
    """(N + n + 1,) observed values of a feature before each bar, and in all."""
    sides = next(iter(before.values())), next(iter(after.values()))
    if observed is None:
        counts = np.full(sum(map(len, sides)), sides[0].shape[1], dtype=np.int64)
    else:
        shapes = [np.asarray(side).shape for side in observed]
        if shapes != [side.shape for side in sides]:
            raise ValueError(
                f"observed has shapes {shapes}, the features {[side.shape for side in sides]}: each value needs its own mark"
            )
        counts = np.concatenate([np.count_nonzero(side, axis=1) for side in observed])
    return np.concatenate([[0], counts.cumsum()])


def _shortage(n_values: int, n_windows: int, left_out: int, *, n_bins: int, needed: int) -> str:
    """Why nothing can be said; empty when something can."""
    if n_values < VALUES_PER_BIN * n_bins:
        return (
            f"{n_values} recent values are fewer than {VALUES_PER_BIN} for each of {n_bins} bins: PSI would be noise; "
            "take a longer recent window"
        )
    if n_windows < needed:
        return (
            f"the bars hold {n_windows} null windows of the recent length, {needed} are needed: "
            f"take a longer reference, a shorter recent window or a larger alpha{_left_out(left_out)}"
        )
    return ""


def _left_out(n_windows: int) -> str:
    few = "with fewer than half of the recent window's observed values, or too few for the bins, left out of the null"
    return f"; {n_windows} windows {few}" if n_windows else ""


def _measure(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    observed: tuple[np.ndarray, np.ndarray] | None,
    seen: np.ndarray,
    starts: np.ndarray,
    n_bins: int,
    name: str,
) -> FeatureSizes:
    sides = before[name], after[name]
    if observed is not None:
        sides = np.where(observed[0], sides[0], np.nan), np.where(observed[1], sides[1], np.nan)
    return measure(*sides, starts, n_bins=n_bins, observed=seen)


def _standing(sizes: np.ndarray) -> np.ndarray:
    """(PSI - mean) / max(sd, 0.1) of each feature over its windows and the recent bars, (F, W + 1) -> (F, W + 1).

    They make features comparable, and they hold the recent window as they hold each other, so that all stay alike without
    drift. The least deviation keeps a change too small to be looked at from standing out of none at all.
    """
    spread = np.maximum(sizes.std(axis=1, keepdims=True), PSI_INVESTIGATE)
    return np.asarray((sizes - sizes.mean(axis=1, keepdims=True)) / spread)


def _p_value(null: np.ndarray, observed: float, whole: np.ndarray) -> float:
    """(1 + windows as far out) / (1 + windows), at least the share of those a whole number of windows before the recent bars.

    The second holds where bars change from day to day and the window is a day: a window of parts of two days is less far out
    than either, so thirds of days would let three times as many days pass as they seem to.
    """
    as_far = null >= observed
    among_whole = np.count_nonzero(as_far & whole) / (1 + np.count_nonzero(whole))
    return max(float((1 + np.count_nonzero(as_far)) / (1 + null.size)), float(among_whole))


def _judge(
    size: FeatureSizes,
    p_alone: float | None,
    p_family: float | None,
    psi_threshold: float,
    js_threshold: float,
    alpha: float,
) -> tuple[Verdict, str]:
    if p_alone is None or p_family is None:
        return "insufficient_data", ""
    what = f"PSI {size.psi:.3f}, JS distance {size.js_distance:.3f}, family-wise p {p_family:.3f}"
    large = size.psi > psi_threshold or size.js_distance > js_threshold
    moderate = size.psi > PSI_INVESTIGATE
    if p_family > alpha:
        excess = "a large change, but " if large else "a moderate change, but " if moderate else ""
        unheard = (
            f"; no window of this feature is as far (p {p_alone:.3f} by itself), but among so many features one often is"
            if moderate and p_alone <= 1.0 / (1 + size.null_psi.size)
            else ""
        )
        return "stable", f"{what}: {excess}not significant at {alpha:g}{unheard}"
    if large:
        return "retrain", f"{what}: above PSI {psi_threshold:g} or JS {js_threshold:g}, and significant"
    if moderate:
        return "investigate", f"{what}: above PSI {PSI_INVESTIGATE:g}, and significant"
    return "stable", f"{what}: significant but small"


def _overall(rows: list[FeatureDrift]) -> Verdict:
    found = {row.verdict for row in rows}
    if found == {"insufficient_data"}:
        return "insufficient_data"
    return "retrain" if "retrain" in found else "investigate" if "investigate" in found else "stable"


def _summary(rows: list[FeatureDrift]) -> str:
    worst = max(rows, key=lambda row: row.psi)
    by_verdict = ", ".join(
        f"{sum(row.verdict == verdict for row in rows)} {verdict}" for verdict in ("retrain", "investigate", "stable")
    )
    return f"{by_verdict}; largest: {worst.feature}, {worst.reason}"
