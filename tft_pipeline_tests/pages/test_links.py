"""Links to elsewhere are whole addresses, pictures are there and say what they show. Links between pages: `test_docs`."""

import re
from pathlib import Path

import pytest

from tft_pipeline_tests.test_docs import PAGES, ROOT, TEXT, named, prose


def bad_addresses(text: str) -> list[str]:
    """Links to elsewhere that are no whole address: not https, no host, or with a part of the sentence. Nobody is asked."""
    links = re.findall(r"\]\(([a-z]+:[^)\s]*)\)", prose(text))
    return [link for link in links if not re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/[\w./~#?=&%+-]*[\w/])?", link)]


def mute_pictures(page: Path, text: str) -> list[str]:
    """Pictures that are not there, or do not say what they show."""
    found = re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", prose(text))
    return [path for said, path in found if len(said.split()) < 3 or not (page.parent / path).is_file()]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_to_elsewhere_are_whole_and_pictures_say_what_they_show(page: Path) -> None:
    assert bad_addresses(TEXT[page]) == []
    assert mute_pictures(page, TEXT[page]) == []


def test_the_checks_find_what_they_are_for() -> None:
    page = ROOT / "README.md"
    assert bad_addresses("[a](https://a.org/b#c) [b](http://a.org) [c](https://a.org/b.) [d](ftp://a.org)") == [
        "http://a.org",
        "https://a.org/b.",
        "ftp://a.org",
    ]
    assert mute_pictures(page, "![the graph of assets](LICENSE) ![](LICENSE) ![what is not there](no.png)") == [
        "LICENSE",
        "no.png",
    ]
