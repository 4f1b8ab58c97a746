"""A drift report over many features, its null distribution included, against numpy and scipy, a feature at a time.

    python benchmarks/drift.py                   ratio at a tenth of the rows, ours alone at all of them, on all cores
    python benchmarks/drift.py --size            how often a report without drift is significant, on autoregressive series,
                                                 and on panels of ten symbols, half of whose variance is common
    python benchmarks/drift.py --power           how often a shift of one marginal standard deviation is found, with and without
                                                 rare flags among the features

Both sides compute the same per feature: PSI over ten quantile bins, the Kolmogorov-Smirnov statistic, the Wasserstein distance,
and PSI and Kolmogorov-Smirnov of every null window against the other bars. Theirs: `np.histogram` between `np.quantile` edges,
`scipy.stats.ks_2samp` and `wasserstein_distance`. Ours looks the statistic of the null windows up at 500 quantiles; the rest
must agree, or nothing is timed. `ours`, `theirs` and `ratio` are CPU seconds of one thread; `details.alone` is ours at the full
size, on the clock, on as many threads as there are cores. The features are independent normal float32 values.
"""

import one_thread  # noqa: F401

# isort: split
import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from comparison import Comparison, arguments, of_timings, show
from pairing import alternate
from scipy.signal import lfilter
from scipy.stats import ks_2samp, wasserstein_distance

from tft_pipeline.domain.divergence import psi, smoothed_proportions
from tft_pipeline.domain.drift import DriftReport, drift_report
from tft_pipeline.domain.drift_null import turned_starts
from tft_pipeline.model.feature_threads import feature_threads
from tft_pipeline.model.processes import n_workers

BINS = 10
PHIS = (0.0, 0.5, 0.8, 0.95)
REFERENCES = (7, 10, 14, 20, 30, 60)
"""Lengths of the reference, in recent windows, at which the size is simulated."""
SIZE_WINDOW = 60
POWER_WINDOWS = {0.0: 60, 0.5: 120, 0.8: 250, 0.95: 1000}
"""Bars of the recent window by phi, at which power is simulated: the more persistent, the longer."""
POWER_REFERENCE = 20
PANEL_PHIS = (0.9, 0.95, 0.98)
PANEL_SYMBOLS, PANEL_WINDOW, PANEL_REFERENCE = 10, 21, 48
FLAG_SHARES = (0.10, 0.04, 0.20)
"""Share of windows in which a rare flag is on for a third of the window."""
WARM_UP = 200

Sides = dict[str, np.ndarray]


def features_of(names: range, rows: int, seed: int) -> Sides:
    """Standard normal float32 values."""
    random = np.random.default_rng(seed)
    return {f"x{v}": random.standard_normal(rows, dtype=np.float32) for v in names}


def peer_report(reference: Sides, recent: Sides) -> dict[str, tuple[float, float, float, list[float], list[float]]]:
    """PSI, KS, Wasserstein in reference deviations, and PSI and KS of the null windows of each feature."""
    found = {}
    for name, before in reference.items():
        after = recent[name]
        pool = np.concatenate([before, after])
        inner = np.quantile(before, np.arange(1, BINS) / BINS, method="inverted_cdf")
        edges = np.concatenate([[-np.inf], inner, [np.inf]])

        def shares(values: np.ndarray, edges: np.ndarray = edges) -> np.ndarray:
            return smoothed_proportions(np.histogram(values, edges)[0])

        sizes, gaps = [], []
        for start in turned_starts(len(before), len(after))[0]:
            turned = np.roll(pool, -start)
            inside, rest = turned[: len(after)], turned[len(after) :]
            sizes.append(float(psi(shares(rest), shares(inside))))
            gaps.append(float(ks_2samp(inside, rest, method="asymp").statistic))
        apart = float(wasserstein_distance(before, after)) / float(before.std(dtype=np.float64))
        gap = float(ks_2samp(before, after, method="asymp").statistic)
        found[name] = (float(psi(shares(before), shares(after))), gap, apart, sizes, gaps)
    return found


def refuse_difference(reference: Sides, recent: Sides) -> None:
    """Raises ValueError unless both sides give the same figures for these features."""
    theirs = peer_report(reference, recent)
    for row in drift_report(reference, recent, n_bins=BINS, min_null_windows=1).features:
        size, gap, apart, sizes, _ = theirs[row.feature]
        ours = np.array([row.psi, row.ks, row.wasserstein, row.psi_null_median], dtype=np.float64)
        if not np.allclose(ours, [size, gap, apart, np.median(sizes)], rtol=1e-5, atol=1e-9):
            raise ValueError(
                f"{row.feature}: ours {ours}, theirs {[size, gap, apart, np.median(sizes)]}: they do not do the same work"
            )


def threaded(reference: Sides, recent: Sides) -> DriftReport:
    """Ours on as many threads as there are cores."""
    with feature_threads() as each:
        return drift_report(reference, recent, n_bins=BINS, each=each)


def compare(
    features: int, rows: int, recent_rows: int, *, peer_features: int, peer_share: float, rounds: int
) -> Comparison:
    """Both in turn at a share of the rows, then ours alone at all of them."""
    small = max(2, int(recent_rows * peer_share))
    few = range(min(peer_features, features))
    reference, recent = features_of(few, max(8 * small, int(rows * peer_share)), 0), features_of(few, small, 1)
    one = {"x0": reference["x0"]}, {"x0": recent["x0"]}
    refuse_difference(*one)
    contestants: dict[str, Callable[[], object]] = {
        "theirs": partial(peer_report, reference, recent),
        "ours": partial(drift_report, reference, recent, n_bins=BINS),
    }
    timings = alternate(contestants, rounds=rounds, warmup=0)
    reference, recent = features_of(range(features), rows, 2), features_of(range(features), recent_rows, 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    report = threaded(reference, recent)
    alone = {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "threads": n_workers(),
        "peak_extra_bytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024,
        "null_windows": report.n_null_windows,
    }
    result = of_timings(
        "drift report with its null",
        "numpy and scipy",
        timings["ours"],
        timings["theirs"],
        shapes={
            "features": features,
            "reference_rows": rows,
            "recent_rows": recent_rows,
            "peer_features": len(few),
            "peer_rows": max(8 * small, int(rows * peer_share)),
        },
        remarks=(
            f"seconds and ratio of {len(few)} features of {int(rows * peer_share):,} against {small:,} rows, one thread",
            f"ours alone, {features} features of {rows:,} against {recent_rows:,} rows: {alone['wall_s']:.2f} s on the clock, "
            f"{alone['cpu_s']:.2f} s of CPU, {alone['threads']} threads, {alone['peak_extra_bytes'] / 2**20:.0f} MiB beyond "
            "the features",
        ),
    )
    result.details["alone"] = alone
    return result


def autoregressive(random: np.random.Generator, bars: int, features: int, phi: float) -> np.ndarray:
    """(bars, features) AR(1) series of unit variance."""
    noise = random.standard_normal((bars + WARM_UP, features))
    return np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=0)[WARM_UP:] * np.sqrt(1.0 - phi**2))


def rare_flag(random: np.random.Generator, bars: int, window: int, share: float) -> np.ndarray:
    """(bars, 1): 1 for a third of a window, in a share of the windows, else 0."""
    on, length = np.zeros((bars, 1)), window // 3
    for start in range(0, bars, window):
        if random.random() < share:
            first = start + random.integers(window - length + 1)
            on[first : first + length] = 1.0
    return on


def rejections(
    repeats: int,
    *,
    phi: float,
    window: int,
    references: int,
    features: int,
    shifted: int,
    seed: int,
    symbols: int = 1,
    flags: bool = False,
    alpha: float = 0.05,
) -> float:
    """Share of reports whose family-wise p-value is at most `alpha`; `shifted` features move by one standard deviation."""
    random = np.random.default_rng([seed, int(100 * phi), window, references])
    n_reference, found = references * window, 0
    bars = n_reference + window
    for _ in range(repeats):
        x = autoregressive(random, bars, features * symbols, phi).reshape(bars, features, symbols)
        if symbols > 1:
            x = np.sqrt(0.5) * (x + autoregressive(random, bars, features, phi)[:, :, None])
        x[n_reference:, :shifted] += 1.0
        columns = {f"x{v}": x[:, v] for v in range(features)}
        if flags:
            columns |= {f"flag{k}": rare_flag(random, bars, window, share) for k, share in enumerate(FLAG_SHARES)}
        sides = [{name: column[part] for name, column in columns.items()} for part in np.s_[:n_reference, n_reference:]]
        p = drift_report(*sides, n_bins=BINS, alpha=alpha).family_p_value
        if p is None:
            raise ValueError(f"{references} windows of {window} bars: no verdict, so no rate; simulate longer windows")
        found += p <= alpha
    return found / repeats


def simulate(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the simulated size or power."""
    places = (
        [
            *((phi, SIZE_WINDOW, K, 1, False) for K in REFERENCES for phi in PHIS),
            *((phi, PANEL_WINDOW, PANEL_REFERENCE, PANEL_SYMBOLS, False) for phi in PANEL_PHIS),
        ]
        if options.size
        else [(phi, POWER_WINDOWS[phi], POWER_REFERENCE, 1, flags) for flags in (False, True) for phi in PHIS]
    )
    rows = []
    for phi, window, references, symbols, flags in places:
        rate = rejections(
            options.repeats,
            phi=phi,
            window=window,
            references=references,
            features=options.series,
            shifted=0 if options.size else 1,
            seed=options.seed,
            symbols=symbols,
            flags=flags,
        )
        row = {
            "what": "size" if options.size else "power",
            "phi": phi,
            "window": window,
            "reference_windows": references,
            "null_windows": turned_starts(references * window, window)[0].size,
            "features": options.series,
            "symbols": symbols,
            "rare_flags": len(FLAG_SHARES) if flags else 0,
            "rate": rate,
            "standard_error": float(np.sqrt(rate * (1.0 - rate) / options.repeats)),
        }
        rows.append(row)
        print(
            json.dumps(row)
            if options.json
            else f"{row['what']} {100 * rate:5.1f} % (se {100 * row['standard_error']:.1f})  phi {phi:g}, window {window}, "
            f"reference {references} windows, {row['null_windows']} null windows, {options.series} features, {symbols} "
            f"symbols, {row['rare_flags']} rare flags",
            flush=True,
        )
    return rows


def main() -> None:
    """Measure, or simulate, and print."""
    parser = arguments(__doc__)
    parser.add_argument("--features", type=int, default=276)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the reference")
    parser.add_argument("--recent-rows", type=int, default=100_000)
    parser.add_argument("--peer-features", type=int, default=4, help="features that both sides are timed on")
    parser.add_argument("--peer-share", type=float, default=0.1, help="share of the rows that both sides are timed on")
    parser.add_argument("--rounds", type=int, default=3)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--size", action="store_true", help="simulate false alarms instead")
    what.add_argument("--power", action="store_true", help="simulate one-sigma shifts of one feature instead")
    parser.add_argument("--repeats", type=int, default=1000, help="simulated reports a row")
    parser.add_argument("--series", type=int, default=8, help="features of a simulated report")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.size or options.power:
        simulate(options)
        return
    result = compare(
        options.features,
        options.rows,
        options.recent_rows,
        peer_features=options.peer_features,
        peer_share=options.peer_share,
        rounds=options.rounds,
    )
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()
