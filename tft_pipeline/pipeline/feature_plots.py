"""What the catalogue, the features and the targets show of themselves in the UI: groups, missing values, balance of labels.

Not here: the records and frames, what phases 1 to 3 chose (`selection_metadata`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from tft_pipeline.domain.classification import wilson_interval
from tft_pipeline.domain.reports import FeatureCatalogue
from tft_pipeline.pipeline.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LIMIT,
    ORANGE,
    PALE,
    figure_picture,
    plain,
    short_label,
)
from tft_pipeline.pipeline.outputs import table
from tft_pipeline.pipeline.plots import picture
from tft_pipeline.storage.frames import FrameFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SYMBOLS, DRAWN_FEATURES = 200, 30
"""Rows of the table of symbols, those with the fewest labels, and features in the picture of missing values, the worst."""
PERIODS = 24
"""Points of the balance of labels."""


def catalogue_metadata(record: FeatureCatalogue) -> dict[str, Any]:
    """Features by group, built and left out, each group's longest lookback, and every reason."""
    built: dict[str, list[int]] = {}
    for row in record.used:
        built.setdefault(_group(row.name), []).append(row.lookback)
    for name in record.user_columns:
        built.setdefault(_group(name), []).append(0)
    left_out: dict[str, list[str]] = {}
    for name, reason in record.skipped.items():
        left_out.setdefault(_group(name), []).append(reason)
    groups = [
        {
            "group": name,
            "built": len(built.get(name, ())),
            "left_out": len(left_out.get(name, ())),
            "longest_lookback_bars": max(built.get(name, [0])),
            "why_left_out": "; ".join(sorted(set(left_out.get(name, ()))))[:200],
        }
        for name in sorted({*built, *left_out})
    ]
    return {
        "n_features": len(record.names),
        "n_left_out": len(record.skipped),
        "max_lookback_bars": record.max_lookback,
        "groups": table(groups),
        "features": table([row.model_dump() for row in record.used]),
        "left_out": table([{"feature": name, "reason": reason} for name, reason in record.skipped.items()]),
        "picture": groups_picture(groups),
    }


def groups_picture(groups: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Features built by group, and those left out behind them."""
    from matplotlib.ticker import MaxNLocator

    def draw(axes: "Axes") -> None:
        places = range(len(groups))
        built = [row["built"] for row in groups]
        axes.barh(places, built, color=BLUE, height=0.7, label="built")
        axes.barh(
            places,
            [row["left_out"] for row in groups],
            left=built,
            color=PALE,
            hatch="//",
            edgecolor="#ffffff",
            linewidth=0.0,
            height=0.7,
            label="left out",
        )
        axes.set_yticks(places, [short_label(str(row["group"])) for row in groups], fontsize=7)
        axes.invert_yaxis()
        axes.tick_params(axis="x", labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("features", fontsize=8)
        axes.legend(fontsize=8)

    total, out = (sum(row[key] for row in groups) for key in ("built", "left_out"))
    title = f"features by group: {total} built, {out} left out"
    return picture(draw, title=title, height=1.0 + 0.2 * max(len(groups), 4))


def missing_metadata(stored: FrameFile, names: Sequence[str]) -> dict[str, Any]:
    """Missing values and the first bar with one, by feature."""
    firsts = first_values(stored.path, names)
    rows = [
        {
            "feature": name,
            "missing_percent": 100.0 * stored.null_counts[name] / stored.height,
            "first_value": "never" if firsts[name] is None else str(firsts[name].isoformat()),  # type: ignore[union-attr]
        }
        for name in names
    ]
    rows.sort(key=lambda row: -float(str(row["missing_percent"])))
    return {"missing": table(rows), "picture": missing_picture(rows[:DRAWN_FEATURES], len(rows))}


def first_values(path: Path, names: Iterable[str]) -> dict[str, datetime | None]:
    """First timestamp at which any symbol has a value, by feature; one column is read at a time."""
    frame = pl.scan_parquet(path)
    return {
        name: frame.filter(pl.col(name).is_not_null()).select(pl.col("timestamp").min()).collect().item()
        for name in names
    }


def missing_picture(rows: Sequence[Mapping[str, Any]], n_features: int) -> dg.MarkdownMetadataValue:
    """Missing values in percent and first bar with one, side by side, the worst on top."""

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        places = range(len(rows))
        left.barh(places, [row["missing_percent"] for row in rows], color=BLUE, height=0.7)
        left.set_yticks(places, [short_label(str(row["feature"])) for row in rows])
        left.set_xlim(left=0.0)
        left.set_xlabel("rows without a value, %", fontsize=8)
        known = [
            (k, datetime.fromisoformat(row["first_value"]))
            for k, row in enumerate(rows)
            if row["first_value"] != "never"
        ]
        right.plot([first for _, first in known], [k for k, _ in known], "D", color=ORANGE, markersize=4)
        right.set_xlabel("first bar with a value (UTC)", fontsize=8)
        right.tick_params(axis="x", rotation=30)
        for axes in (left, right):
            plain(axes)
        left.set_ylim(len(rows) - 0.4, -0.6)

    shown = (
        f"all {n_features} features" if n_features == len(rows) else f"the worst {len(rows)} of {n_features} features"
    )
    return figure_picture(draw, title=f"missing values, {shown}", height=1.4 + 0.18 * max(len(rows), 5))


def label_metadata(targets: pl.DataFrame, horizon: int, production_start: date) -> dict[str, Any]:
    """How many bars have a label; of those that end before `production_start`: by symbol, their distribution, signs over time.

    Whoever looks at these goes on to choose features and settings, so that no return of the production period is in them.
    """
    labelled = targets.filter(pl.col("label").is_not_null())
    research = labelled.filter(pl.col("label_end").dt.date() < production_start)
    by_symbol = (
        research.group_by("symbol")
        .agg(
            labels=pl.len(),
            share_up=(pl.col("label") > 0).mean(),
            mean_volatility_annual=pl.col("volatility").mean(),
            first=pl.col("timestamp").min(),
            last=pl.col("timestamp").max(),
        )
        .sort("labels", "symbol")
        .head(MOST_SYMBOLS)
    )
    up = int((research["label"] > 0).sum())
    return {
        "n_labels": labelled.height,
        "n_rows_without_label": targets.height - labelled.height,
        "n_research_labels": research.height,
        "share_up": up / max(research.height, 1),
        "symbols": table(
            [row | {key: row[key].isoformat() for key in ("first", "last")} for row in by_symbol.to_dicts()]
        ),
        "labels": label_picture(research, horizon),
    }


def balance_rows(labelled: pl.DataFrame) -> list[dict[str, Any]]:
    """Share of labels above zero in up to `PERIODS` stretches of as many bars each: middle, share, low, high.

    The interval is Wilson's 95 % on the bars of the stretch, for the symbols of one bar move together.
    """
    calendar = labelled.select(pl.col("timestamp").unique().sort())
    n = min(PERIODS, calendar.height)
    placed = calendar.with_columns(period=pl.int_range(pl.len()) * n // max(calendar.height, 1))
    found = (
        labelled.select("timestamp", up=pl.col("label") > 0)
        .join(placed, on="timestamp")
        .group_by("period")
        .agg(
            share=pl.col("up").mean(),
            bars=pl.col("timestamp").n_unique(),
            middle=pl.col("timestamp").sort().gather(pl.len() // 2).first(),
        )
        .sort("period")
    )
    rows = []
    for row in found.iter_rows(named=True):
        low, high = wilson_interval(row["share"] * row["bars"], row["bars"])
        rows.append({"middle": row["middle"], "share": row["share"], "low": low, "high": high})
    return rows


def label_picture(labelled: pl.DataFrame, horizon: int) -> dg.MarkdownMetadataValue:
    """Histogram of the labels of the research period, cut at six, and their balance over time with one half dashed."""
    values = labelled["label"].clip(-6.0, 6.0).to_numpy()
    rows = balance_rows(labelled)

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, width_ratios=(2, 3))
        left.hist(values, bins=48, range=(-6.0, 6.0), color=BLUE)
        left.axvline(0.0, color=INK, linewidth=0.8)
        left.set_xlabel("label, units of expected risk (beyond 6 at 6)", fontsize=8)
        left.set_ylabel("labels", fontsize=8)
        middles = [row["middle"] for row in rows]
        right.fill_between(
            middles, [100.0 * row["low"] for row in rows], [100.0 * row["high"] for row in rows], color=PALE,
            label="95 %, on bars",
        )  # fmt: skip
        right.plot(
            middles, [100.0 * row["share"] for row in rows], color=GREEN, marker="o", markersize=3, label="above zero"
        )
        right.axhline(50.0, color=LIMIT, linestyle="--", linewidth=1.0, label="one half")
        right.set_ylabel("labels above zero, %", fontsize=8)
        right.tick_params(axis="x", rotation=30)
        right.legend(fontsize=7)
        right.grid(axis="y", color=GREY, alpha=0.2)
        for axes in (left, right):
            plain(axes)

    title = (
        f"labels over {horizon} bar(s), research period: distribution, and share above zero in {len(rows)} stretches"
    )
    return figure_picture(draw, title=title, height=3.2)


def _group(name: str) -> str:
    return name.split("_")[0]
