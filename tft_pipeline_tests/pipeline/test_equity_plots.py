"""Pictures of what was earned show the series of the portfolio and the figures of the records, at their places."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.dates import num2date

from tft_pipeline.pipeline import equity_plots
from tft_pipeline.pipeline.equity_plots import (
    equity_picture,
    fold_rows,
    folds_picture,
    ratio_picture,
    validation_picture,
)
from tft_pipeline.pipeline.figures import thinned
from tft_pipeline_tests.drawings import axes_of, figure_of, legend_of, line_of, png_of
from tft_pipeline_tests.report_records import made_records


def capital(returns: list[float]) -> list[float]:
    """A loop: what one unit of money becomes."""
    found, money = [], 1.0
    for r in returns:
        money *= max(1.0 + r, 0.0)
        found.append(money)
    return found


@pytest.mark.parametrize("n_folds", [1, 12])
def test_the_lines_are_the_compounded_returns_and_the_area_is_the_fall_from_the_peak(n_folds: int) -> None:
    portfolio = made_records(n_bars=240, n_folds=n_folds).portfolio
    figure, title = figure_of(equity_plots, lambda: equity_picture(portfolio, said="NO-GO: "))
    top, bottom = figure.axes
    for name, column in (("model", "net"), ("long_only", "long_only_net"), ("lightgbm", "lightgbm_net")):
        expected = capital(portfolio[column].to_list())
        line = line_of(top, f"{name} {expected[-1]:.2f}")
        np.testing.assert_allclose(line.get_ydata(), expected)
    money, peak, below = 1.0, 1.0, []
    for r in portfolio["net"]:
        money *= 1.0 + r
        peak = max(peak, money)
        below.append(100.0 * (money / peak - 1.0))
    area = bottom.collections[0].get_paths()[0].vertices[:, 1]
    assert area.min() == pytest.approx(min(below))
    begins = [line for line in top.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 0.5]
    assert len(begins) == n_folds
    first = num2date(np.asarray(begins[0].get_xdata(orig=False), dtype=float)[0]).date()
    assert first == portfolio["timestamp"][0].date()
    assert title.startswith("NO-GO: capital out of sample, net of costs")
    assert f"{portfolio['timestamp'][0].date()} to {portfolio['timestamp'][-1].date()}, {n_folds} fold(s)" in title


def test_the_lowest_point_of_a_long_series_is_drawn_though_its_stretch_ends_higher() -> None:
    stamps = pl.datetime_range(datetime(2001, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC), "1d", eager=True)
    n = 4501
    net = np.full(n, 1e-6)
    net[1000:1002] = -0.5, 0.9  # 1000 is the middle of a stretch of four: 1000 to 1003
    names = [name for name in made_records(n_bars=40, n_folds=1).portfolio.columns if name.endswith("_net")]
    frame = pl.DataFrame({"timestamp": stamps.head(n), "fold": "f", "net": net, **{name: net for name in names}})
    figure, _ = figure_of(equity_plots, lambda: equity_picture(frame))
    assert figure.axes[1].collections[0].get_paths()[0].vertices[:, 1].min() == pytest.approx(-50.0)


def test_a_fold_has_its_own_return_beside_long_only() -> None:
    frame = pl.DataFrame(
        {
            "timestamp": [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3)],
            "fold": ["a", "a", "b"],
            "net": [0.1, -0.1, 0.05],
            "long_only_net": [0.0, 0.02, -0.5],
            "turnover": [0.2, 0.4, 0.6],
        }
    )
    first, second = fold_rows(frame)
    assert first["model_percent"] == pytest.approx(-1.0)  # 1.1 * 0.9
    assert first["long_only_percent"] == pytest.approx(2.0)
    assert first["max_drawdown_percent"] == pytest.approx(10.0)
    assert (first["fold"], first["bars"], first["mean_turnover"]) == ("a", 2, pytest.approx(0.3))
    assert second["model_percent"] == pytest.approx(5.0)
    axes = axes_of(equity_plots, lambda: folds_picture([first, second]))
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx([-1.0, 5.0, 2.0, -50.0])
    assert axes.get_ylabel() == "net return of the fold, %"


def ratio(name: str, value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "low": low, "high": high}


def test_a_ratio_stands_in_its_interval_and_one_that_is_undefined_says_so() -> None:
    rows = [ratio("model", 1.0, -0.5, 2.5), ratio("$flat^", None), ratio("alone", 0.3)]
    axes = axes_of(equity_plots, lambda: ratio_picture(rows, title="t", label="Sharpe ratio a year"))
    (interval,) = axes.collections
    assert interval.get_segments()[0].tolist() == [[-0.5, 0.0], [2.5, 0.0]]  # type: ignore[attr-defined]
    points = [line.get_xydata().tolist()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == [[1.0, 0.0], [0.3, 2.0]]
    assert [text.get_text() for text in axes.texts] == ["undefined"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["model", r"\$flat^", "alone"]


def test_folds_without_a_ratio_have_no_point() -> None:
    folds = [
        {"fold": "f1", "validation_sharpe_annual": 2.0, "oos_sharpe_annual": -1.0},
        {"fold": "f2", "validation_sharpe_annual": None, "oos_sharpe_annual": 0.5},
    ]
    axes = axes_of(equity_plots, lambda: validation_picture(folds))
    assert line_of(axes, "validation, best epoch").get_xydata().tolist() == [[0.0, 2.0]]
    assert line_of(axes, "out of sample").get_xydata().tolist() == [[0.0, -1.0], [1.0, 0.5]]
    assert legend_of(axes) == ["validation, best epoch", "out of sample"]


@pytest.mark.parametrize(("n", "kept"), [(1, [0]), (3, [0, 1, 2]), (4500, None)])
def test_a_long_series_keeps_its_last_value(n: int, kept: list[int] | None) -> None:
    found = thinned(n)
    assert found[-1] == n - 1
    assert len(found) <= 1500
    assert kept is None or found == kept


def test_eighty_folds_of_many_bars_are_a_small_picture() -> None:
    frame = pl.concat([made_records().portfolio] * 20)
    stamps = pl.datetime_range(datetime(2001, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC), "1d", eager=True)
    frame = frame.with_columns(timestamp=stamps.head(frame.height), fold=pl.int_range(pl.len()) // 40)
    rows = fold_rows(frame)
    assert len(rows) == 80
    assert len(png_of(equity_picture(frame))) < 60_000
    assert len(png_of(folds_picture(rows))) < 60_000
    folds = [
        {"fold": row["fold"], "validation_sharpe_annual": 1.0, "oos_sharpe_annual": row["model_percent"]}
        for row in rows
    ]
    assert len(png_of(validation_picture(folds))) < 60_000
