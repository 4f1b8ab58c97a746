"""The document: contents, sections, scripts and the Content-Security-Policy that lets nothing else run or load.

plotly stands in the page once. Figures are data (`application/json`), drawn by one short script. Scripts are allowed by
their SHA-256, so text that slips in as a script would not run. Not here: what is shown.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from tft_pipeline.pipeline.report.charts import Chart
from tft_pipeline.pipeline.report.markup import Html, html, join, paragraph, tag
from tft_pipeline.pipeline.report.style import STYLE

CHARTS_ID = "charts"
DRAW = """
(function () {
  "use strict";
  var root = document.documentElement;
  var charts = JSON.parse(document.getElementById("charts").textContent);
  var touch = window.matchMedia("(pointer: coarse)").matches;
  var config = { responsive: true, displayModeBar: false };

  function draw(chart) {
    var place = document.getElementById(chart.id);
    if (touch) { chart.layout.dragmode = false; }
    return Plotly.newPlot(place, chart.data, chart.layout, config).catch(function (error) {
      place.textContent = "This chart could not be drawn: " + error;
      throw error;
    });
  }

  Promise.all(charts.map(draw)).then(function () { root.dataset.drawn = String(charts.length); });

  function resize(width) {
    charts.forEach(function (chart) {
      Plotly.relayout(chart.id, width ? { autosize: false, width: width } : { autosize: true, width: null });
    });
  }
  window.addEventListener("beforeprint", function () { resize(680); });
  window.addEventListener("afterprint", function () { resize(null); });
})();
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section: the anchor of its link, its heading, what it found in one sentence, its parts."""

    anchor: str
    title: str
    finding: object
    parts: tuple[Html | Chart, ...]

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Its figures in their order."""
        return tuple(part for part in self.parts if isinstance(part, Chart))


@dataclass(frozen=True, slots=True, kw_only=True)
class HtmlPage:
    """A finished page and what identifies it.

    Attributes:
        text: the whole document.
        content: hash of what it shows, without times and latencies.
        subject: what it is about, in a few words; names its run in MLflow.
        figures: headline figures for MLflow.
        tags: hashes and the verdict, for MLflow.
    """

    text: str
    content: str
    subject: str
    figures: dict[str, float]
    tags: dict[str, str]

    def content_sha256(self) -> str:
        """Hash of what the page shows."""
        return self.content


def document(*, title: str, lead: Html, sections: Sequence[Section]) -> str:
    """The page as one string that loads nothing.

    Raises:
        ValueError: two sections or charts of one anchor.
    """
    charts = [chart for section in sections for chart in section.charts]
    anchors = [section.anchor for section in sections] + [chart.anchor for chart in charts]
    twice = sorted({anchor for anchor in anchors if anchors.count(anchor) > 1})
    if twice:
        raise ValueError(f"anchors {twice} stand twice in the page: links and charts would meet the wrong element")
    plotly = _plotly()
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            "style-src 'unsafe-inline'",
            f"script-src {script_source(plotly)} {script_source(DRAW)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    contents = tag(
        "nav",
        tag("ol", *(tag("li", tag("a", s.title, attributes={"href": f"#{s.anchor}"})) for s in sections)),
        attributes={"aria-label": "Contents"},
    )
    body = tag(
        "main",
        lead,
        contents,
        tag("noscript", paragraph("Charts need JavaScript; every table is readable without it.", kind="note")),
        *(_section(number, section) for number, section in enumerate(sections, start=1)),
    )
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{html(policy)}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="referrer" content="no-referrer">'),
            Html('<link rel="icon" href="data:,">'),
            tag("title", title),
            tag("style", Html(STYLE)),
        ]
    )
    scripts = [
        tag("script", Html(plotly)),
        tag("script", _data(charts), attributes={"type": "application/json", "id": CHARTS_ID}),
        tag("script", Html(DRAW)),
    ]
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}{join(scripts)}</body></html>\n'


def script_source(script: str) -> str:
    """How a Content-Security-Policy names an inline script: by the SHA-256 of its text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _section(number: int, section: Section) -> Html:
    parts = [part.place() if isinstance(part, Chart) else part for part in section.parts]
    return tag(
        "section",
        tag("h2", f"{number} {section.title}"),
        paragraph(section.finding, kind="finding"),
        *parts,
        attributes={"id": section.anchor},
    )


def _data(charts: Sequence[Chart]) -> Html:
    """Figures as JSON that no HTML parser can leave: `<`, `>` and `&` as escapes."""
    rows = [{"id": chart.anchor, **chart.figure} for chart in charts]
    text = json.dumps(rows, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(text)


def _plotly() -> str:
    """plotly's own script.

    Raises:
        RuntimeError: it holds a sequence that would end an inline script.
    """
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    for sequence in ("</script", "<!--"):
        if sequence in text.lower():
            raise RuntimeError(
                f"plotly.js holds {sequence!r}: inlined, it would end early; pin another version of plotly"
            )
    return text
