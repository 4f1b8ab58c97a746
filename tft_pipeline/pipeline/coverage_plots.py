"""What the snapshot shows of itself in the UI: rows, dates and gaps by symbol, and where on the calendar there are bars.

Not here: the snapshot and its manifest (`domain.manifest`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from tft_pipeline.pipeline.figures import few_labels, short_label
from tft_pipeline.pipeline.outputs import table
from tft_pipeline.pipeline.plots import picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SYMBOLS, DRAWN_SYMBOLS = 200, 40
"""Rows of the table of symbols and of the picture: those with the fewest bars."""
BUCKETS = 120
"""Columns of the picture."""


def coverage_metadata(bars: pl.DataFrame, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Rows, dates and gaps by symbol, bad values by column, and where on the common calendar each symbol has bars."""
    quality = manifest["quality"]
    calendar = int(quality["calendar_bars"])
    spans = bars.group_by("symbol").agg(bars=pl.len(), first=pl.col("timestamp").min(), last=pl.col("timestamp").max())
    ordered = spans.sort("bars", "symbol").head(MOST_SYMBOLS)
    rows = [
        {
            "symbol": row["symbol"],
            "bars": row["bars"],
            "gaps": quality["gaps_per_symbol"][row["symbol"]],
            "first": row["first"].isoformat(),
            "last": row["last"].isoformat(),
            "share_of_calendar": row["bars"] / calendar,
        }
        for row in ordered.iter_rows(named=True)
    ]
    columns = [
        {"column": name, "missing": quality["nulls"][name], "not_finite": quality["non_finite"][name]}
        for name in quality["nulls"]
    ]
    return {
        "n_bars": bars.height,
        "n_symbols": spans.height,
        "calendar_bars": calendar,
        "gaps": sum(quality["gaps_per_symbol"].values()),
        "symbols": table(rows),
        **({"own_columns": table(columns)} if columns else {}),
        "coverage": coverage_picture(bars, ordered["symbol"].to_list()[:DRAWN_SYMBOLS]),
    }


def source_rows(sources: Sequence[Mapping[str, Any] | None]) -> list[dict[str, Any]]:
    """Files that a snapshot was made of: name, rows and hash."""
    return [
        {"source": row["name"], "rows": row.get("rows"), "sha256": row["sha256"]} for row in sources if row is not None
    ]


def coverage(bars: pl.DataFrame, symbols: Sequence[str]) -> tuple[list[list[float]], list[datetime]]:
    """Share of the common calendar's bars that each symbol has, by symbol and bucket; first bar of each bucket."""
    calendar = bars.select(pl.col("timestamp").unique().sort())
    n = min(BUCKETS, calendar.height)
    bucketed = calendar.with_columns(bucket=pl.int_range(pl.len()) * n // calendar.height)
    sizes = bucketed.group_by("bucket").agg(size=pl.len(), first=pl.col("timestamp").min()).sort("bucket")
    counts = (
        bars.select("timestamp", "symbol")
        .filter(pl.col("symbol").is_in(list(symbols)))
        .join(bucketed, on="timestamp")
        .group_by("symbol", "bucket")
        .agg(n=pl.len())
    )
    shares = [[0.0] * n for _ in symbols]
    place = {symbol: k for k, symbol in enumerate(symbols)}
    for row in counts.join(sizes, on="bucket").iter_rows(named=True):
        shares[place[row["symbol"]]][row["bucket"]] = row["n"] / row["size"]
    return shares, sizes["first"].to_list()


def coverage_picture(bars: pl.DataFrame, symbols: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Symbols against time, the darker the more of the calendar's bars there are."""
    shares, firsts = coverage(bars, symbols)

    def draw(axes: "Axes") -> None:
        image = axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
        axes.set_yticks(range(len(symbols)), [short_label(name, 16) for name in symbols], fontsize=7)
        places, labels = few_labels([str(first)[:10] for first in firsts], 8)
        axes.set_xticks(places, labels, fontsize=7)
        axes.set_xlabel("date (UTC)", fontsize=8)
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.03)
        bar.set_label("share of bars", fontsize=8)
        bar.ax.tick_params(labelsize=7)

    n = bars["symbol"].n_unique()
    said = f"all {n} symbols" if n == len(symbols) else f"{len(symbols)} of {n} symbols, those with the fewest bars"
    title = f"share of the common calendar's bars that a symbol has; {said}"
    return picture(draw, title=title, height=1.3 + 0.18 * max(len(symbols), 5))
