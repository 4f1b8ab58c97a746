"""The report in a real browser: every chart is drawn, no script fails, nothing is asked of any network.

The browser runs behind a proxy of ours that writes down whoever calls and answers nobody.
"""

import re
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tft_pipeline.pipeline.report.build import build_report
from tft_pipeline_tests.browser.chromium import FLAGS, MARKS, of_pages, present, recording_proxy
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.report_page import CHARTS
from tft_pipeline_tests.report_records import made_records

pytestmark = MARKS

PRINTING = ("--headless=new", "--enable-logging=stderr", "--window-size=1280,900", "--virtual-time-budget=20000")
HOSTILE = "<script>alert(1)</script><b>x</b>"
WIDTH = 400


@dataclass
class Opened:
    """What came of opening a page: the document after its scripts ran, what the console said, who called the proxy."""

    document: str
    console: list[str]
    requests: list[str]

    @property
    def drawn(self) -> int:
        """Charts that the page says it has drawn."""
        found = re.search(r'data-drawn="(\d+)"', self.document)
        return int(found.group(1)) if found else 0


class Shapes(HTMLParser):
    """Traces and labels drawn inside each chart, by its id."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.traces: dict[str, int] = {}
        self.svgs: dict[str, int] = {}
        self.words: dict[str, str] = {}
        self.bold = 0
        self._chart = ""
        self._text = 0
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        classes = (attributes.get("class") or "").split()
        if tag == "div" and "chart" in classes:
            self._chart = str(attributes["id"])
            self.traces[self._chart] = self.svgs[self._chart] = 0
            self.words[self._chart] = ""
        if tag == "p" and "note" in classes:
            self._chart = ""
        if not self._chart:
            return
        if tag == "svg" and "main-svg" in classes:
            self.svgs[self._chart] += 1
        # a line, a mark or bar, a heat map; axes and grids have other classes
        self.traces[self._chart] += tag == "image" or bool({"js-line", "point"} & set(classes))
        self.bold += "font-weight: bold" in (attributes.get("style") or "") and tag == "tspan"
        self._text += tag == "text"

    def handle_endtag(self, tag: str) -> None:
        self._text -= tag == "text"

    def handle_data(self, data: str) -> None:
        if self._chart and self._text > 0:
            self.words[self._chart] += data


def opened(page: Path, profile: Path) -> Opened:
    """Open a file in Chromium and let its scripts finish."""
    with recording_proxy() as (port, calls):
        # <-loopback>: without it the browser would pass its own machine by the proxy
        proxy = (f"--proxy-server=http://127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>")
        command = [present(), *FLAGS, *PRINTING, *proxy, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Opened(done.stdout, console, of_pages(calls))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    features = [f"a_1{HOSTILE}", "b_2", "c_3&lt;i&gt;", "2020-01-02", "e_5", "f_6"]
    records = made_records(features=features, symbols=["AAA", HOSTILE, "1"])
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(build_report(records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def seen(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return opened(page, tmp_path_factory.mktemp("profile"))


def test_no_script_fails_and_nothing_is_asked_of_a_network(seen: Opened) -> None:
    assert seen.console == []
    assert seen.requests == []


def test_every_chart_is_drawn_with_its_traces(seen: Opened) -> None:
    shapes = Shapes(seen.document)
    assert seen.drawn == len(shapes.svgs) == len(CHARTS)
    assert all(count >= 2 for count in shapes.svgs.values()), shapes.svgs  # the drawing and its labels
    assert all(count >= 1 for count in shapes.traces.values()), shapes.traces
    assert "could not be drawn" not in seen.document.partition("<script")[0]


def test_the_stored_report_of_a_finished_run_is_drawn_whole(finished: Workbench, tmp_path: Path) -> None:
    seen = opened(finished.artifact("report") / "report.html", tmp_path / "profile")
    shapes = Shapes(seen.document)
    assert seen.console == []
    assert seen.requests == []
    assert seen.drawn == len(shapes.svgs) == 20
    assert all(count >= 2 for count in shapes.svgs.values()), shapes.svgs
    assert "could not be drawn" not in seen.document.partition("<script")[0]
    assert re.search(r"<h1>small: out of sample</h1>", seen.document)


def test_names_in_labels_of_charts_are_shown_letter_by_letter(seen: Opened) -> None:
    shapes = Shapes(seen.document)
    assert f"a_1{HOSTILE}"[:20] in shapes.words["chart-weights"]
    assert "c_3&lt;i&gt;" in shapes.words["chart-weights"]
    assert "2020-01-02" in shapes.words["chart-weights"]
    assert HOSTILE[:20] in shapes.words["chart-symbols"]
    assert shapes.bold == 0


def test_the_page_is_as_wide_as_a_phone(page: Path, tmp_path: Path) -> None:
    """In a frame of 400 pixels nothing reaches beyond it but what scrolls in its own box."""
    probe = tmp_path / "phone.html"
    inner = page.read_text(encoding="utf-8")
    # a second script of the page may not run, so the frame's document is measured from outside: same file, same origin
    (tmp_path / "inner.html").write_text(inner, encoding="utf-8")
    probe.write_text(
        f'<!doctype html><iframe id="f" src="inner.html" style="width:{WIDTH}px;height:900px;border:0"></iframe><script>'
        "onmessage = 0; f.onload = () => setTimeout(() => { const d = f.contentDocument;"
        'document.body.dataset.width = d ? d.documentElement.scrollWidth : "unreadable";'
        'const wide = d ? [...d.querySelectorAll("svg.main-svg")].map(s => s.getBoundingClientRect().right) : [0];'
        "document.body.dataset.right = Math.max(...wide); }, 3000);</script>"
    )
    command = [
        present(),
        *FLAGS,
        *PRINTING,
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=300, check=False
    )
    found = dict(re.findall(r'data-(width|right)="([\d.]+)"', done.stdout))
    assert float(found["width"]) <= WIDTH, done.stderr[-2000:]
    assert 200 < float(found["right"]) <= WIDTH


def test_a_page_with_a_failing_script_and_a_picture_from_a_network_is_caught(tmp_path: Path) -> None:
    control = tmp_path / "control.html"
    control.write_text(
        '<!doctype html><body><img src="http://pictures.example/a.png"><script>nothing.there();</script></body>'
    )
    seen = opened(control, tmp_path / "profile")
    assert any("nothing is not defined" in line for line in seen.console)
    assert any("pictures.example/a.png" in call for call in seen.requests)


def test_a_script_that_slipped_into_the_page_is_stopped_by_its_policy(page: Path, tmp_path: Path) -> None:
    bad = tmp_path / "slipped.html"
    slipped = (
        '<script>document.documentElement.dataset.slipped = "yes"</script><img src="http://pictures.example/b.png">'
    )
    bad.write_text(page.read_text(encoding="utf-8").replace("<h1>", f"{slipped}<h1>", 1), encoding="utf-8")
    seen = opened(bad, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in seen.console)
    assert 'data-slipped="yes"' not in seen.document
    assert seen.requests == []
    assert seen.drawn == len(CHARTS)
