"""Latency of one decision as the share of calls that took no longer, one line a form. Not here: the timing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from tft_pipeline.pipeline.figures import GREY, LIMIT, LINES, plain_label
from tft_pipeline.pipeline.plots import picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def latency_picture(
    forms: Sequence[Mapping[str, Any]], *, limit_ms: float, p95_ci: Sequence[float | None]
) -> dg.MarkdownMetadataValue:
    """Share of closed-loop calls that took no longer, by form; the limit of the p95, and the interval of the chosen form's p95.

    Args:
        forms: rows of a latency benchmark: form, chosen, p95 and distribution.
        p95_ci: of the chosen form, milliseconds; None for an end that too few calls bound.
    """

    def draw(axes: "Axes") -> None:
        for row, (colour, dashes) in zip(forms, LINES, strict=False):
            axes.step(
                row["distribution"]["ms"],
                [100.0 * share for share in row["distribution"]["share"]],
                where="post",
                color=colour,
                linestyle=dashes,
                linewidth=2.0 if row["chosen"] else 1.0,
                label=f"{plain_label(row['form'])}{', chosen' if row['chosen'] else ''}: p95 {row['p95']:.2f} ms",
            )
        axes.axhline(95.0, color=GREY, linewidth=0.8)
        axes.axvline(limit_ms, color=LIMIT, linestyle="--", linewidth=1.2, label=f"limit of the p95: {limit_ms:g} ms")
        low, high = p95_ci
        if low is not None:
            right = limit_ms * 10.0 if high is None else high
            said = f"its p95, 95 %: {low:.2f} ms to {'not bounded' if high is None else f'{high:.2f} ms'}"
            axes.hlines(95.0, low, right, color=LIMIT, linewidth=4.0, alpha=0.5, label=said)
        axes.set_xscale("log")
        axes.set_ylim(0.0, 101.0)
        axes.set_xlabel("milliseconds, log scale", fontsize=8)
        axes.set_ylabel("calls that took no longer, %", fontsize=8)
        axes.legend(fontsize=7, loc="lower right")

    chosen = next(row for row in forms if row["chosen"])
    title = f"latency of one decision, closed loop, {len(forms)} form(s); chosen: {chosen['form']}"
    return picture(draw, title=title, height=3.6)
