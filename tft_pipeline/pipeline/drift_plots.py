"""Pictures of a drift record for the metadata of its assets: shapes on both sides, PSI over time, PSI by feature and window.

Not here: what they show (`domain.drift_windows`), the charts of the report's page.
"""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.pipeline.figures import LIMIT, LINES, ORANGE, plain_label
from tft_pipeline.pipeline.plots import PART_COLOURS, heat_picture, picture
from tft_pipeline.storage.atomic import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODERATE = 0.1
"""PSI from which the guide says to look."""
MOST_LINES, MOST_SHAPES = 5, 6
TICKS = 8

POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
"""Of the page of pictures: it runs and loads nothing."""


def drift_pictures(record: DriftRecord) -> dict[str, dg.MarkdownMetadataValue]:
    """The pictures there are: `shapes`, `psi_over_time`, `psi_by_window`; none for a record without windows."""
    found = {}
    if record.shapes:
        found["shapes"] = _shapes(record)
    if record.over_time.get("psi"):
        found["psi_over_time"] = _psi_over_time(record)
        windows = record.over_time
        found["psi_by_window"] = heat_picture(
            [[value or 0.0 for value in line] for line in windows["psi"].values()],
            list(windows["psi"]),
            [str(stamp)[:10] for stamp in windows["last"]],
            title=f"PSI by feature and window of {windows['window_bars']} bars; the last is the newest",
            label="PSI",
        )
    return found


def pictures_beside(report: Path) -> Path:
    """The page of pictures of a report: the same name with `.html`."""
    return report.with_suffix(".html")


def write_pictures(report: Path, record: DriftRecord) -> Path:
    """One page with the pictures of a record and its reasons beside its report.

    Raises:
        OSError: the folder cannot be written.
    """
    page = pictures_beside(report)
    title = html.escape(f"Drift: {record.verdict}")
    lines = "".join(f"<li>{html.escape(reason)}</li>" for reason in record.reasons)
    images = "".join(
        f'<p><img alt="{html.escape(name)}" src="{str(one.value).rpartition("](")[2].removesuffix(")")}"></p>'
        for name, one in drift_pictures(record).items()
    )
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    head = f'<meta charset="utf-8">{policy}<meta name="referrer" content="no-referrer"><title>{title}</title>'
    text = f"<!doctype html>{head}<h1>{title}</h1><ul>{lines}</ul>{images}\n"
    replace_file(page, lambda staged: staged.write_text(text, encoding="utf-8"))
    return page


def _shapes(record: DriftRecord) -> dg.MarkdownMetadataValue:
    """Histograms side by side on one pair of axes: each feature in its own column, both sides mirrored."""
    shown = record.shapes[:MOST_SHAPES]

    def draw(axes: "Axes") -> None:
        for column, shape in enumerate(shown):
            edges, n = shape["edges"], len(shape["reference"])
            top = max(*shape["reference"], *shape["recent"])
            heights = [(k + 0.5) / n for k in range(n)]
            for side, sign, colour in (
                ("reference", -1, PART_COLOURS["train"]),
                ("recent", 1, PART_COLOURS["validation"]),
            ):
                widths = [sign * 0.46 * share / top for share in shape[side]]
                axes.barh(
                    heights, widths, left=column, height=1.0 / n, color=colour, label=side if column == 0 else None
                )
            axes.text(column, -0.02, f"{edges[0]:.2g}", fontsize=6, ha="center", va="top")
            axes.text(column, 1.02, f"{edges[-1]:.2g}", fontsize=6, ha="center", va="bottom")
        axes.set_xticks(range(len(shown)), [plain_label(shape["feature"]) for shape in shown], fontsize=7)
        axes.tick_params(axis="x", pad=12)
        axes.set_xlim(-0.6, len(shown) - 0.4)
        axes.set_yticks([])
        axes.set_ylabel("value, low to high", fontsize=8)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return picture(draw, title="the most drifted features: training bars (left) and recent bars (right)", height=3.4)


def _psi_over_time(record: DriftRecord) -> dg.MarkdownMetadataValue:
    windows = record.over_time
    lines = dict(list(windows["psi"].items())[:MOST_LINES])
    n_before = sum(windows["of_reference"])
    limit = record.detail.get("psi_threshold")

    def draw(axes: "Axes") -> None:
        for (name, values), (colour, dashes) in zip(lines.items(), LINES, strict=False):
            axes.plot(
                range(len(values)),
                values,
                marker="o",
                markersize=3,
                linewidth=1.1,
                label=plain_label(name),
                color=colour,
                linestyle=dashes,
            )
        axes.axhline(MODERATE, color=ORANGE, linewidth=1.0, linestyle=":", label=f"moderate {MODERATE:g}")
        if limit is not None:
            axes.axhline(limit, color=LIMIT, linewidth=1.0, linestyle="--", label=f"large {limit:g}")
        axes.axvspan(n_before - 0.5, len(windows["last"]) - 0.5, color="#eeeeee", zorder=0)
        labels = _labels(windows["last"])
        places = [k for k, text in enumerate(labels) if text]
        axes.set_xticks(places, [labels[k] for k in places], fontsize=7)
        axes.set_ylabel("PSI", fontsize=8)
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    title = f"PSI of windows of {windows['window_bars']} bars against the training bars; grey: recent"
    return picture(draw, title=title, height=3.4)


def _labels(stamps: list[Any]) -> list[str]:
    """The date of every few windows and of the last; empty for the others, so that they stay readable."""
    step = max(1, -(-len(stamps) // TICKS))
    kept = set(range(len(stamps) - 1, -1, -step))
    return [str(stamp)[:10] if k in kept else "" for k, stamp in enumerate(stamps)]
