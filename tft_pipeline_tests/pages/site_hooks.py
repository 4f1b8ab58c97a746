"""What MkDocs is told beside mkdocs.yml: pages outside docs/ belong to the site, links lead to pages, the flowchart is drawn.

GitHub shows the same files as they are; nothing in them is written for the site alone.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tft_pipeline_tests.pages.flowchart import svg

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    **{name: f"project/{name.lower()}" for name in sorted(path.name for path in ROOT.glob("*.md"))},
    "data/README.md": "project/data.md",
    "data/sample/README.md": "project/sample.md",
}
"""Pages outside docs/, and where they stand in the site."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
BLOCK = re.compile(r"(^[ ]*```.*?^[ ]*```$)", re.M | re.S)
CODE = re.compile(r"(^[ ]*```.*?^[ ]*```$|`[^`\n]+`)", re.M | re.S)
LIST = re.compile(r"^([^\s*|>#-].*)\n(?=[*-] \S)", re.M)
"""A list that follows its paragraph without a blank line: GitHub reads it as a list, Python's Markdown does not."""
FLOWCHART = re.compile(r"^```mermaid\n(.*?)^```$", re.M | re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/."""
    for name, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between files of the checkout become links between pages; one to a file that is no page becomes its path."""
    source = Path(str(page.file.abs_src_path)).resolve()
    pages = {Path(file.abs_src_path).resolve(): file.src_uri for file in files if file.abs_src_path}
    here = os.path.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, _, anchor = unquote(target).partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        found = (source.parent / path).resolve()
        if found in pages:
            uri = os.path.relpath(pages[found], here or ".")
            return f"{mark}[{text}]({uri}{'#' + anchor if anchor else ''})"
        if mark or not found.exists():
            return match[0]  # MkDocs says what is wrong
        inside = found.relative_to(ROOT)
        return f"`{inside}`" if text.strip("`") in (inside.name, str(inside)) else f"{text} (`{inside}`)"

    text = FLOWCHART.sub(lambda match: svg(match[1]) + "\n", markdown)
    text = "".join(part if k % 2 else LIST.sub(r"\1\n\n", part) for k, part in enumerate(BLOCK.split(text)))
    return "".join(part if k % 2 else LINK.sub(link, part) for k, part in enumerate(CODE.split(text)))
