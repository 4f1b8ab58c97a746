"""The report's page as a browser would take it apart, and the sections it has. Not here: what they must hold."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

SECTIONS = [
    "Verdict",
    "Equity against baselines",
    "Folds",
    "Statistics with intervals",
    "Validation against out of sample",
    "VSN weights and stability",
    "Tuning and research paths",
    "Costs and symbols",
    "Leakage audit",
    "Latency",
    "Drift",
    "Ensemble and calibration",
    "Performance targets",
    "Looks at the production period",
    "Resources and timeline",
    "Configuration and hashes",
]
CHARTS = [
    "chart-equity",
    "chart-drawdown",
    "chart-monthly",
    "chart-folds",
    "chart-forest",
    "chart-inflation",
    "chart-weights",
    "chart-stability",
    "chart-weights-by-fold",
    "chart-trials",
    "chart-costs",
    "chart-symbols",
    "chart-latency",
    "chart-drift",
    "chart-ensemble-weights",
    "chart-reliability",
]
"""Of the made records, which have no research paths."""


@dataclass
class Parsed(HTMLParser):
    """What a browser would make of the page: elements in order with their attributes and own text."""

    page: str
    elements: list[tuple[str, dict[str, str | None], list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[int] = []
        self.feed(self.page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in ("meta", "link", "br", "img"):
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self.elements[self._open.pop()][0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for k in self._open:
            self.elements[k][2].append(data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        """Attributes and text of every element of a name."""
        return [(attributes, "".join(text)) for name, attributes, text in self.elements if name == tag]

    @property
    def charts(self) -> list[dict[str, Any]]:
        """The figures as data."""
        (found,) = [text for attributes, text in self.of("script") if attributes.get("id") == "charts"]
        return list(json.loads(found))

    @property
    def seen(self) -> str:
        """All text between elements but scripts and styles."""
        (main,) = self.of("main")
        return main[1]
