"""Pictures of what a walk forward earned: capital and drawdown, folds beside long only, Sharpe ratios with intervals.

Drawn after the look at the production period is written down. Not here: the statistics.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import polars as pl

from tft_pipeline.domain.backtest import BASELINES
from tft_pipeline.domain.track_record import drawdowns
from tft_pipeline.pipeline.figures import (
    BLUE,
    GREY,
    INK,
    LINES,
    ORANGE,
    PALE,
    few_labels,
    figure_picture,
    plain,
    plain_label,
    short_label,
    thinned,
)
from tft_pipeline.pipeline.plots import picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_FOLD_LABELS = 16
SERIES = {"model": "net", **{name: f"{name}_net" for name in BASELINES}}
"""Name in a picture, and column of the portfolio."""


def equity_picture(portfolio: pl.DataFrame, *, said: str = "") -> dg.MarkdownMetadataValue:
    """Capital of model and baselines from 1 on, net of costs, and the drawdown of the model below; folds begin at thin lines.

    Args:
        said: stands before the title.
    """
    stamps = portfolio["timestamp"]
    shown = thinned(portfolio.height)
    begins = portfolio.group_by("fold", maintain_order=True).agg(pl.col("timestamp").first())["timestamp"].to_list()

    def draw(figure: "Figure") -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for (name, column), (colour, dashes) in zip(SERIES.items(), LINES, strict=True):
            capital = capital_of(portfolio[column].to_numpy())
            top.plot(
                stamps.gather(shown).to_list(),
                capital[shown],
                color=colour,
                linestyle=dashes,
                linewidth=1.8 if name == "model" else 1.0,
                label=f"{plain_label(name)} {capital[-1]:.2f}",
            )
        for begin in begins:
            top.axvline(begin, color=PALE, linewidth=0.5, zorder=0)
        top.axhline(1.0, color=GREY, linewidth=0.8)
        top.set_ylabel("capital, 1 at the start", fontsize=8)
        top.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        # the deepest point since the last one drawn, which the last bar of a stretch need not be
        below = np.minimum.reduceat(
            -100.0 * drawdowns(portfolio["net"].to_numpy()), [0, *(end + 1 for end in shown[:-1])]
        )
        bottom.fill_between(stamps.gather(shown).to_list(), below, color=BLUE, linewidth=0.0)
        bottom.set_ylabel("drawdown of\nthe model, %", fontsize=8)
        bottom.set_xlabel("date (UTC)", fontsize=8)
        for axes in (top, bottom):
            plain(axes)

    period = f"{stamps[0].date()} to {stamps[-1].date()}, {len(begins)} fold(s)"
    title = f"{said}capital out of sample, net of costs, {period}"
    return figure_picture(draw, title=title, height=4.6)


def fold_rows(portfolio: pl.DataFrame) -> list[dict[str, Any]]:
    """What model and long only earned in each fold, compounded, and the model's worst drawdown inside it; one row a fold."""
    rows = []
    for (key,), part in portfolio.group_by("fold", maintain_order=True):
        net = part["net"].to_numpy()
        rows.append(
            {
                "fold": str(key),
                "bars": part.height,
                "model_percent": 100.0 * float(capital_of(net)[-1] - 1.0),
                "long_only_percent": 100.0 * float(capital_of(part["long_only_net"].to_numpy())[-1] - 1.0),
                "max_drawdown_percent": 100.0 * float(drawdowns(net).max()),
                "mean_turnover": float(part["turnover"].mean() or 0.0),  # type: ignore[arg-type]
            }
        )
    return rows


def folds_picture(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Net return of each fold, model beside long only."""

    def draw(axes: "Axes") -> None:
        places = np.arange(len(rows))
        sides = ((-0.2, "model", "model (left)", INK, ""), (0.2, "long_only", "long only (right)", ORANGE, "//"))
        for offset, key, name, colour, hatch in sides:
            axes.bar(
                places + offset,
                [row[f"{key}_percent"] for row in rows],
                width=0.4,
                color=colour,
                hatch=hatch if len(rows) <= MOST_FOLD_LABELS else "",
                edgecolor="#ffffff",
                linewidth=0.0,
                label=name,
            )
        axes.axhline(0.0, color=GREY, linewidth=0.8)
        at, names = few_labels([str(row["fold"]) for row in rows], MOST_FOLD_LABELS)
        axes.set_xticks(at, names, fontsize=7, rotation=30, ha="right")
        axes.tick_params(axis="y", labelsize=7)
        axes.set_ylabel("net return of the fold, %", fontsize=8)
        axes.legend(fontsize=8)

    return picture(draw, title=f"net return out of sample, fold by fold ({len(rows)}), model beside long only")


def ratio_picture(
    rows: Sequence[Mapping[str, Any]], *, title: str, label: str, line: float = 0.0
) -> dg.MarkdownMetadataValue:
    """Points with their intervals, one row a name; those without a value are named and say so.

    Args:
        rows: name, value, low, high; None what is not known.
    """

    def draw(axes: "Axes") -> None:
        for place, row in enumerate(rows):
            if row["value"] is None:
                axes.text(0.01, place, "undefined", va="center", fontsize=7, transform=axes.get_yaxis_transform())
                continue
            if row["low"] is not None and row["high"] is not None:
                axes.hlines(place, row["low"], row["high"], color=BLUE, linewidth=1.6)
            axes.plot([row["value"]], [place], "o", color=INK, markersize=5)
        axes.axvline(line, color=GREY, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [short_label(str(row["name"])) for row in rows], fontsize=7)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_xlabel(label, fontsize=8)

    return picture(draw, title=title, height=1.1 + 0.22 * max(len(rows), 4))


def validation_picture(folds: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Net Sharpe ratio a year of each fold, on the validation bars that chose its epoch and out of sample.

    Args:
        folds: rows of `inflation.inflation_row`.
    """

    def draw(axes: "Axes") -> None:
        for key, name, colour, mark in (
            ("validation_sharpe_annual", "validation, best epoch", ORANGE, "s"),
            ("oos_sharpe_annual", "out of sample", INK, "o"),
        ):
            known = [(k, row[key]) for k, row in enumerate(folds) if row[key] is not None]
            axes.plot(
                [k for k, _ in known], [value for _, value in known], mark, color=colour, markersize=5, label=name
            )
        axes.axhline(0.0, color=GREY, linewidth=0.8)
        at, names = few_labels([str(row["fold"]) for row in folds], MOST_FOLD_LABELS)
        axes.set_xticks(at, names, fontsize=7, rotation=30, ha="right")
        axes.tick_params(axis="y", labelsize=7)
        axes.set_ylabel("net Sharpe a year", fontsize=8)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return picture(
        draw, title="net Sharpe a year by fold: on the validation bars, which chose the epoch, and out of sample"
    )


def capital_of(net: np.ndarray) -> np.ndarray:
    """(n,) returns -> (n,) capital after each bar, 1 before the first; nothing comes back from ruin."""
    return np.asarray(np.cumprod(np.maximum(1.0 + net, 0.0)))
