"""Pictures of judgements: gates of a release, nights of drift. The verdict stands in words on every row. Not here: judging."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from tft_pipeline.domain.gate_row import FAIL, NOT_APPLICABLE, PASS
from tft_pipeline.pipeline.figures import BLUE, GREY, INK, LIMIT, PALE, VERMILION, few_labels, plain_label
from tft_pipeline.pipeline.plots import picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERDICTS = {
    PASS: ("pass", BLUE, "", "white"),
    FAIL: ("FAIL", VERMILION, "//", "black"),
    NOT_APPLICABLE: ("does not apply", PALE, "", "black"),
}
"""Of a gate: what its bar says, colour, hatch, colour of the words."""
NIGHTS = {"stable": "o", "investigate": "^", "retrain": "X", "insufficient_data": "."}
"""Mark of each verdict of a night."""
LONGEST_LINE = 88


def gates_picture(gates: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """One row a gate: its verdict, and value and limit in words beside it.

    Args:
        gates: rows of gate.json.
    """

    def draw(axes: "Axes") -> None:
        for place, row in enumerate(gates):
            word, colour, hatch, ink = VERDICTS[row["verdict"]]
            axes.barh(place, 1.0, color=colour, hatch=hatch, edgecolor="#ffffff", linewidth=0.0, height=0.76)
            box = {"facecolor": colour, "edgecolor": "none", "pad": 1.0} if hatch else None
            axes.text(0.5, place, word, va="center", ha="center", fontsize=7, color=ink, bbox=box)
            axes.text(1.05, place, plain_label(_held_against(row)), va="center", fontsize=7, color=INK)
        axes.set_yticks(range(len(gates)), [plain_label(str(row["name"])) for row in gates], fontsize=7)
        axes.set_xticks([])
        axes.set_xlim(0.0, 6.0)
        axes.set_ylim(len(gates) - 0.4, -0.6)
        axes.spines[:].set_visible(False)

    failed = sum(row["verdict"] == FAIL for row in gates)
    title = f"{len(gates)} gates, {failed} of them fail" if failed else f"{len(gates)} gates, none fails"
    return picture(draw, title=title, height=0.8 + 0.22 * len(gates))


def nights_picture(nights: Sequence[Mapping[str, Any]], *, limit: float) -> dg.MarkdownMetadataValue:
    """Largest PSI of each judged night, with its verdict as the mark.

    Args:
        nights: day, verdict, psi (None where there is none); sorted by day.
        limit: `drift.psi_threshold`.
    """

    def draw(axes: "Axes") -> None:
        known = [(k, row) for k, row in enumerate(nights) if row["psi"] is not None]
        axes.plot([k for k, _ in known], [row["psi"] for _, row in known], color=GREY, linewidth=0.8, zorder=1)
        for verdict, mark in NIGHTS.items():
            mine = [(k, row) for k, row in known if row["verdict"] == verdict]
            if mine:
                axes.plot(
                    [k for k, _ in mine],
                    [row["psi"] for _, row in mine],
                    mark,
                    color=INK if verdict == "insufficient_data" else VERMILION if verdict == "retrain" else BLUE,
                    markersize=6,
                    label=f"{verdict.replace('_', ' ')} ({len(mine)})",
                )
        axes.axhline(limit, color=LIMIT, linestyle="--", linewidth=1.0, label=f"limit {limit:g}")
        places, labels = few_labels([_day(row["day"]) for row in nights], 10)
        axes.set_xticks(places, labels, fontsize=7)
        axes.set_xlabel("night (UTC)", fontsize=8)
        axes.set_ylabel("largest PSI of a feature", fontsize=8)
        axes.set_ylim(bottom=0.0)
        axes.tick_params(axis="y", labelsize=7)
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return picture(draw, title=f"drift of the last {len(nights)} judged night(s)")


def _held_against(row: Mapping[str, Any]) -> str:
    value, threshold = (_short(row[name]) for name in ("value", "threshold"))
    if row["threshold"] is None:
        line = value if row["value"] is not None else str(row["why"])
    else:
        unit = f" {row['unit']}" if row["unit"] and row["value"] is not None else ""
        line = f"{value}{unit} (asked: {row['rule']} {threshold})"
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


def _short(value: Any) -> str:
    if value is None:
        return "no value"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)


def _day(day: date | str) -> str:
    return str(day)
