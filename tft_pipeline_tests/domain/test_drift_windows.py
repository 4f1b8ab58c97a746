"""PSI over time against the drift report's own figures, and histograms against numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.divergence import bin_codes, psi, quantile_edges, smoothed_proportions
from tft_pipeline.domain.drift import drift_report
from tft_pipeline.domain.drift_windows import MOST_WINDOWS, histogram, psi_over_time, windows_over


def values(seed: int = 0, *, n: int = 400, recent: int = 40, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    bars = random.normal(size=(n + recent, 3))
    bars[random.uniform(size=bars.shape) < 0.05] = np.nan
    bars[n:] += shift
    return bars[:n], bars[n:]


def test_the_last_window_has_the_psi_of_the_report_and_those_of_the_reference_lie_about_its_null_median() -> None:
    reference, recent = values(shift=1.0)
    found = psi_over_time(reference, recent, windows_over(400, 40, length=40), n_bins=10)
    (row,) = drift_report({"x": reference}, {"x": recent}).features
    assert found[-1] == pytest.approx(row.psi, rel=1e-12)
    assert row.psi_null_median is not None
    assert np.median(found[:-1]) == pytest.approx(row.psi_null_median, rel=0.3)
    assert found[-1] > 5 * found[:-1].max()


def test_unobserved_values_count_nowhere_as_in_the_report_and_an_empty_window_has_no_psi() -> None:
    reference, recent = values(seed=1, shift=0.5)
    seen = np.ones((440, 3), dtype=bool)
    seen[:150, 2] = seen[:40] = False
    masks = seen[:400], seen[400:]
    found = psi_over_time(reference, recent, windows_over(400, 40, length=40), n_bins=10, observed=masks)
    assert np.isnan(found).tolist() == [True] + 10 * [False]
    hidden = np.where(masks[0], reference, np.nan)
    (row,) = drift_report({"x": reference}, {"x": recent}, observed=masks).features
    again = psi_over_time(hidden, recent, windows_over(400, 40, length=40), n_bins=10, observed=masks)
    assert found[-1] != pytest.approx(row.psi, rel=1e-12)  # the bins come from values that are there
    assert again[-1] == pytest.approx(row.psi, rel=1e-12)


def test_each_window_is_what_a_loop_over_bars_counts() -> None:
    reference, recent = values(seed=3)
    windows = windows_over(400, 40, length=40)
    found = psi_over_time(reference, recent, windows, n_bins=6)
    edges = quantile_edges(reference, 6)
    every = np.concatenate([reference, recent])
    for stop, of_reference, value in zip(windows.stops, windows.of_reference, found, strict=True):
        inside = np.zeros(edges.size + 2)
        rest = np.zeros(edges.size + 2)
        for bar in range(len(every)):
            for code in bin_codes(every[bar], edges):
                if stop - 40 <= bar < stop:
                    inside[code] += 1
                if bar < 400 and not (of_reference and stop - 40 <= bar < stop):
                    rest[code] += 1
        expected = psi(smoothed_proportions(rest), smoothed_proportions(inside))
        assert value == pytest.approx(float(expected), rel=1e-12)


@given(n=st.integers(0, 3000), recent=st.integers(1, 300), length=st.integers(1, 300))
def test_windows_never_cross_the_border_and_always_hold_the_newest_of_each_side(
    n: int, recent: int, length: int
) -> None:
    if length > max(n, recent):
        with pytest.raises(ValueError, match="do not fit"):
            windows_over(n, recent, length=length)
        return
    windows = windows_over(n, recent, length=length)
    starts = windows.stops - length
    assert (np.diff(windows.stops) >= length).all()
    assert ((windows.stops <= n) | (starts >= n)).all()
    assert starts.min() >= 0
    assert windows.stops.size <= MOST_WINDOWS + 1
    if length <= n:
        assert n in windows.stops
    if length <= recent:
        assert windows.stops[-1] == n + recent


def test_a_histogram_holds_every_value_once() -> None:
    reference, recent = values(shift=2.0)
    found = histogram(reference, recent)
    assert found is not None
    edges = np.array(found["edges"])
    inner = np.clip(recent[np.isfinite(recent)], edges[0], edges[-1])
    assert found["recent"] == pytest.approx(np.histogram(inner, edges)[0] / inner.size)
    assert sum(found["reference"]) == pytest.approx(1.0)
    assert sum(found["recent"]) == pytest.approx(1.0)


def test_a_constant_has_a_histogram_and_a_side_without_values_has_none() -> None:
    found = histogram(np.full((9, 1), 2.0), np.full((3, 1), 2.0))
    assert found is not None
    assert max(found["reference"]) == 1.0
    assert histogram(np.full((9, 1), np.nan), np.zeros((3, 1))) is None
