"""The site builds without a warning, loads nothing from the network, shows no Markdown, and can be searched."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tft_pipeline_tests.test_docs import PAGES, ROOT, named

CHROMIUM = shutil.which("chromium")
REQUIRED = bool(os.environ.get("TFT_REQUIRE_BROWSER"))
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}
"""Elements that make a browser load something, and what names it."""


class Elements(HTMLParser):
    """Every opening tag of a page with its attributes, and the text of its paragraphs, items and cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._inside: list[str] = []
        self._heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("pre", "script", "style", "code"):
            self._inside.append(tag)
        if tag in ("p", "li", "td"):
            self.texts.append("")
        self._heading = tag in ("h1", "h2", "h3", "h4", "h5", "h6")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self.texts and not self._inside and not self._heading:
            self.texts[-1] += data


def outside(page: str) -> list[str]:
    """What a page would load from elsewhere; a link to read is nothing that is loaded."""
    found = [values.get(LOADED[tag], "") for tag, values in Elements(page).tags if tag in LOADED]
    styles = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", page)
    found += [one for pair in styles for one in pair]
    return [one for one in found if re.match(r"(https?:)?//", one)]


def markdown_left(page: str) -> list[str]:
    """Pieces of text that were meant as a list, a table, a fence, a heading or a link."""
    raw = re.compile(r"(^|\n)\s*([*-] \S|\d{1,2}\. \S|\| .* \||```|#{2,4} \S)|\]\(\S+\)|\*\*\S")
    article = page.partition("<article")[2].partition("</article>")[0]
    return [text.strip()[:80] for text in Elements(article).texts if raw.search(text)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def built(site: Path) -> dict[str, str]:
    """Every page by its name."""
    return {str(path.relative_to(site)): path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}


def test_every_page_is_in_the_site(built: dict[str, str]) -> None:
    outer = {"README.md", "data/README.md", "data/sample/README.md", *(path.name for path in ROOT.glob("*.md"))}
    inner = {named(page)[5:-3] + ".html" for page in PAGES if named(page).startswith("docs/")}
    assert inner <= set(built)
    assert len([name for name in built if name.startswith("project/")]) == len(outer)


def test_nothing_is_loaded_from_elsewhere(built: dict[str, str], site: Path) -> None:
    assert {name: found for name, page in built.items() if (found := outside(page))} == {}
    styles = {path.name: found for path in site.rglob("*.css") if (found := outside(path.read_text(encoding="utf-8")))}
    assert styles == {}
    # the theme fetches Mermaid from elsewhere where a page has a block of that class
    classes = {
        word for page in built.values() for _, one in Elements(page).tags for word in one.get("class", "").split()
    }
    assert "mermaid" not in classes


def test_no_markdown_is_left(built: dict[str, str]) -> None:
    assert {name: found for name, page in built.items() if (found := markdown_left(page))} == {}


def test_pictures_are_there_and_say_what_they_show(built: dict[str, str], site: Path) -> None:
    bad = []
    for name, page in built.items():
        for tag, values in Elements(page).tags:
            if tag == "img" and not (values.get("alt") and (site / name).parent.joinpath(values["src"]).is_file()):
                bad.append((name, values.get("src")))
    assert bad == []
    drawn = built["project/readme.html"]
    assert 'class="flowchart"' in drawn
    assert "production_fold leads to leakage_audit" in drawn


def test_the_reference_is_made_of_docstrings(built: dict[str, str]) -> None:
    page = built["reference/api.html"]
    assert 'id="tft_pipeline.domain.sharpe.deflated_sharpe_ratio"' in page
    assert "moments no distribution has" in page


def test_the_checks_find_what_they_are_for() -> None:
    away = "https:" + "//cdn.example/x.js"
    assert outside(f'<script src="{away}"></script><a href="{away}">read</a><img src="x.png">') == [away]
    assert outside(
        '<link rel="stylesheet" href="//fonts.example/f.css"><style>@import "http://a.b/c.css";</style>'
    ) == [
        "//fonts.example/f.css",
        "http://a.b/c.css",
    ]
    said = "<p>text\n* one\n* two</p><p>a - b, 3. May</p><p>[a](b.md)</p><pre>* x</pre>"
    assert markdown_left(f"1. A<article>{said}</article>") == [
        "text\n* one\n* two",
        "[a](b.md)",
    ]


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The address of the site on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no chromium on the path: the site was not opened")
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_asks_nobody_else_finds_what_it_searches_and_scrolls_down_only(served: str, width: int) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for name in ("index", "project/readme", "method", "reference/experiment", "reference/api", "faq"):
            page.goto(f"{served}/{name}.html")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.keyboard.press("/")
        page.keyboard.type("deflated sharpe")
        page.wait_for_selector(".md-search-result__item")
        assert page.locator(".md-search-result__item").count() > 3
        browser.close()
    assert [url for url in asked if not url.startswith((served, "data:"))] == []
    assert said == []
