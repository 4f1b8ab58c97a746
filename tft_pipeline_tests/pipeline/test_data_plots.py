"""What snapshot, catalogue, features and targets show: gaps where they are, missing values, balance of the labels."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from matplotlib.dates import date2num
from scipy.stats import binomtest

from tft_pipeline.domain.manifest import quality
from tft_pipeline.domain.reports import FeatureCatalogue, FeatureRow
from tft_pipeline.pipeline import coverage_plots, feature_plots
from tft_pipeline.pipeline.coverage_plots import coverage, coverage_metadata, coverage_picture, source_rows
from tft_pipeline.pipeline.feature_plots import (
    balance_rows,
    catalogue_metadata,
    first_values,
    label_metadata,
    label_picture,
    missing_metadata,
    missing_picture,
)
from tft_pipeline.storage.frames import write_frames
from tft_pipeline_tests.builders import ragged_bars
from tft_pipeline_tests.drawings import axes_of, figure_of, legend_of, line_of, png_of, widths_of

START = datetime(2020, 1, 1, tzinfo=UTC)


def rows_of(value: Any) -> list[dict[str, Any]]:
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_coverage_is_the_share_of_the_common_calendar_in_each_stretch() -> None:
    bars = ragged_bars()
    symbols = sorted(bars["symbol"].unique())
    shares, firsts = coverage(bars, symbols)
    calendar = sorted(bars["timestamp"].unique())
    has = {symbol: set(bars.filter(pl.col("symbol") == symbol)["timestamp"]) for symbol in symbols}
    assert len(firsts) == 120
    for s, symbol in enumerate(symbols):
        for b in range(120):
            stretch = [stamp for k, stamp in enumerate(calendar) if k * 120 // len(calendar) == b]
            assert shares[s][b] == pytest.approx(np.mean([stamp in has[symbol] for stamp in stretch])), (symbol, b)
            assert firsts[b] == stretch[0]


def test_the_table_of_symbols_names_dates_and_gaps_fewest_bars_first_and_the_picture_draws_the_same() -> None:
    bars = ragged_bars()
    shown = coverage_metadata(bars, {"quality": quality(bars)})
    rows = rows_of(shown["symbols"])
    assert [row["bars"] for row in rows] == sorted(row["bars"] for row in rows)
    by_name = {row["symbol"]: row for row in rows}
    assert by_name["CCC"]["gaps"] == 9
    first = bars.filter(pl.col("symbol") == "AAA")["timestamp"].min()
    assert by_name["AAA"]["first"] == first.isoformat()  # type: ignore[union-attr]
    assert shown["gaps"] == sum(row["gaps"] for row in rows)
    symbols = [row["symbol"] for row in rows]
    axes = figure_of(coverage_plots, lambda: coverage_picture(bars, symbols))[0].axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), coverage(bars, symbols)[0])
    assert [text.get_text() for text in axes.get_yticklabels()] == symbols


def test_many_symbols_are_told_by_those_with_the_fewest_bars() -> None:
    frames = [
        pl.DataFrame({"timestamp": [START + timedelta(days=d) for d in range(k, 60)], "symbol": f"S{k:02d}"})
        for k in range(50)
    ]
    bars = pl.concat(frames).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")), close=1.0)
    shown = coverage_metadata(bars, {"quality": quality(bars)})
    assert len(rows_of(shown["symbols"])) == 50
    names = [row["symbol"] for row in rows_of(shown["symbols"])][:40]
    assert names[0] == "S49"
    _, title = figure_of(coverage_plots, lambda: coverage_picture(bars, names))
    assert "40 of 50 symbols, those with the fewest bars" in title
    assert len(png_of(shown["coverage"])) < 60_000


def test_a_source_that_was_not_given_has_no_row() -> None:
    assert source_rows([{"name": "bars.parquet", "rows": 3, "sha256": "a"}, None]) == [
        {"source": "bars.parquet", "rows": 3, "sha256": "a"}
    ]


def feature(name: str, lookback: int) -> FeatureRow:
    return FeatureRow(name=name, group="g", formula="x", lookback=lookback, inputs=("close",), version="1")


def test_the_catalogue_counts_what_was_built_and_left_out_by_group_with_the_reasons() -> None:
    record = FeatureCatalogue(
        used=(feature("ret_1", 1), feature("ret_21", 21), feature("vol_5", 5)),
        skipped={"vol_park": "needs high and low", "intra_skew": "needs minutes", "vol_gk": "needs high and low"},
        user_columns=("mood_$",),
        max_lookback=21,
    )
    shown = catalogue_metadata(record)
    groups = {row["group"]: row for row in rows_of(shown["groups"])}
    assert {name: (row["built"], row["left_out"], row["longest_lookback_bars"]) for name, row in groups.items()} == {
        "intra": (0, 1, 0),
        "mood": (1, 0, 0),
        "ret": (2, 0, 21),
        "vol": (1, 2, 5),
    }
    assert groups["vol"]["why_left_out"] == "needs high and low"
    assert [row["feature"] for row in rows_of(shown["left_out"])] == list(record.skipped)
    axes = axes_of(feature_plots, lambda: catalogue_metadata(record))
    assert widths_of(axes) == [0, 1, 2, 1, 1, 0, 0, 2]
    assert legend_of(axes) == ["built", "left out"]


def test_missing_values_are_counted_and_the_first_value_is_dated(tmp_path: Path) -> None:
    stamps = [START + timedelta(days=d) for d in range(10)]
    frames = [
        pl.DataFrame(
            {
                "timestamp": pl.Series(stamps, dtype=pl.Datetime("us", "UTC")),
                "symbol": symbol,
                "a": [None] * missing + [1.0] * (10 - missing),
                "b": [2.0] * 10,
                "c": pl.Series([None] * 10, dtype=pl.Float64),
            }
        )
        for symbol, missing in (("X", 4), ("Y", 6))
    ]
    stored = write_frames(tmp_path / "data.parquet", frames)
    assert first_values(stored.path, ("a", "b", "c")) == {"a": stamps[4], "b": stamps[0], "c": None}
    rows = rows_of(missing_metadata(stored, ("a", "b", "c"))["missing"])
    assert [(row["feature"], row["missing_percent"]) for row in rows] == [("c", 100.0), ("a", 50.0), ("b", 0.0)]
    assert [row["first_value"] for row in rows] == ["never", stamps[4].isoformat(), stamps[0].isoformat()]
    figure, title = figure_of(feature_plots, lambda: missing_picture(rows, 3))
    left, right = figure.axes
    assert widths_of(left) == [100.0, 50.0, 0.0]
    points = right.lines[0]
    assert points.get_ydata().tolist() == [1, 2]  # type: ignore[union-attr]
    days = np.asarray(points.get_xdata(orig=False), dtype=float)
    assert days.tolist() == [date2num(stamps[4]), date2num(stamps[0])]
    assert title == "missing values, all 3 features"


def targets_of(n_bars: int = 240) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    stamps = [START + timedelta(days=d) for d in range(n_bars)]
    return pl.concat(
        pl.DataFrame(
            {
                "timestamp": pl.Series(stamps, dtype=pl.Datetime("us", "UTC")),
                "symbol": symbol,
                "volatility": 0.2,
                "label": [*rng.normal(0.1, 3.0, n_bars - 1).tolist(), None],
                "label_end": pl.Series([*stamps[1:], None], dtype=pl.Datetime("us", "UTC")),
            }
        )
        for symbol in ("X", "Y", "Z")
    )


def test_the_balance_of_labels_is_a_share_of_each_stretch_with_an_interval_on_its_bars() -> None:
    labelled = targets_of().filter(pl.col("label").is_not_null())
    rows = balance_rows(labelled)
    calendar = sorted(labelled["timestamp"].unique())
    assert len(rows) == 24
    for k, row in enumerate(rows):
        stretch = [stamp for i, stamp in enumerate(calendar) if i * 24 // len(calendar) == k]
        ups = labelled.filter(pl.col("timestamp").is_in(stretch))["label"] > 0
        assert row["share"] == pytest.approx(ups.mean())
        assert stretch[0] <= row["middle"] <= stretch[-1]
    whole = next(row for row in rows if round(row["share"] * 10, 9) % 1 == 0)
    wilson = binomtest(round(whole["share"] * 10), 10).proportion_ci(method="wilson")
    assert (whole["low"], whole["high"]) == pytest.approx((wilson.low, wilson.high))
    figure, title = figure_of(feature_plots, lambda: label_picture(labelled, 3))
    left, right = figure.axes
    np.testing.assert_allclose(line_of(right, "above zero").get_ydata(), [100.0 * row["share"] for row in rows])
    assert sum(bar.get_height() for bar in left.patches) == labelled.height  # type: ignore[attr-defined]
    assert "units of expected risk" in left.get_xlabel()
    assert "labels over 3 bar(s)" in title


def test_labels_are_counted_by_symbol_and_what_has_none_is_told() -> None:
    shown = label_metadata(targets_of(), 1, date(2999, 1, 1))
    assert (shown["n_labels"], shown["n_rows_without_label"]) == (3 * 239, 3)
    assert [(row["symbol"], row["labels"]) for row in rows_of(shown["symbols"])] == [("X", 239), ("Y", 239), ("Z", 239)]
    assert len(png_of(shown["labels"])) < 60_000


def test_two_bars_are_enough_for_a_picture() -> None:
    assert label_metadata(targets_of(3), 1, date(2999, 1, 1))["n_labels"] == 6


def test_labels_that_hold_a_return_of_the_production_period_are_counted_and_not_shown() -> None:
    frame, start = targets_of(), (START + timedelta(days=100)).date()
    other = frame.with_columns(
        label=pl.when(pl.col("label_end").dt.date() < start).then("label").when(pl.col("label").is_not_null()).then(5.0)
    )
    shown, again = (label_metadata(one, 1, start) for one in (frame, other))
    assert (shown["n_labels"], shown["n_research_labels"]) == (3 * 239, 3 * 99)
    assert [row["labels"] for row in rows_of(shown["symbols"])] == [99, 99, 99]
    assert rows_of(shown["symbols"]) == rows_of(again["symbols"])
    assert (shown["share_up"], shown["labels"]) == (again["share_up"], again["labels"])
    assert "research period" in shown["labels"].value
    assert label_metadata(frame, 1, START.date())["n_research_labels"] == 0
