"""`tft card`: which release, which form, where to; and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.card.showing import show_card
from tft_pipeline.storage.atomic import canonical_json, replace_link
from tft_pipeline.storage.deployments import CURRENT, VERSIONS
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.releases import write_version
from tft_pipeline_tests.made_cards import completed, overridden

OLD, NEW = "2024-05-06T08-00-00Z-01234567", "2024-05-07T08-00-00Z-89abcdef"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two releases of `small`, the older one live; the newer one was made by another version of the program."""
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    layout = Layout(tmp_path / "home")
    folder = layout.experiment("small")
    folder.mkdir(parents=True)
    (folder / "owner.txt").write_text(str(tmp_path / "small.yaml"))
    for release_id, card in ((OLD, completed()), (NEW, {"version": "2", "verdict": "GO"})):
        write_version(layout.models("small"), release_id=release_id, fill=_filled(card))
    replace_link(layout.models("small") / VERSIONS / CURRENT, OLD)
    return tmp_path


def _filled(card: dict[str, Any]) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / "weights.safetensors").write_text("w")
        (folder / "model_card.json").write_text(canonical_json(card))

    return fill


def asked(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["card", "--experiment", "small", *arguments])


def test_the_live_release_is_shown_as_markdown_unless_told_otherwise(home: Path) -> None:
    done = asked()
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("---\nlibrary_name: tft-pipeline\n")
    assert "# small_tft: GO, candidate" in done.stdout


def test_the_json_is_the_cards_own_and_the_answer_of_json_carries_it(home: Path) -> None:
    done = asked("--format", "json")
    assert json.loads(done.stdout) == json.loads(json.dumps(completed()))
    answer = json.loads(asked("--format", "html", "--json").stdout)
    assert (answer["release"], answer["status"], answer["failed"]) == (OLD, "candidate", [])
    assert answer["text"].startswith("<!doctype html>")


def test_an_output_is_written_and_named(home: Path) -> None:
    target = home / "new" / "card.html"
    done = asked("--format", "html", "--output", str(target))
    assert done.exit_code == 0
    assert f"output: {target}" in done.stdout
    assert "<!doctype" not in done.stdout
    assert target.read_text().startswith("<!doctype html>")


def test_a_card_of_another_version_of_the_program_fails_with_the_rule_and_the_remedy(home: Path) -> None:
    done = asked("--release", "newest")
    assert done.exit_code == 1
    assert NEW in done.stdout
    assert "is a required property" in done.stdout
    assert "release again" in done.stdout


def test_a_changed_card_is_refused_before_it_is_parsed(home: Path) -> None:
    path = Layout(home / "home").models("small") / VERSIONS / OLD / "model_card.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"GO"', '"NO"'))
    done = asked("--format", "json")
    assert done.exit_code == 1
    assert "SHA-256" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "pdf"), ["--format 'pdf' is unknown", "json, md, html"]),
        (("--release", "2020"), ["has no release '2020'", OLD, NEW]),
        (("--output", "{models}/card.md"), ["among the releases"]),
        (("--output", "{home}"), ["cannot be written"]),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(home: Path, arguments: tuple[str, ...], words: list[str]) -> None:
    done = asked(*(one.format(home=home, models=Layout(home / "home").models("small")) for one in arguments))
    assert isinstance(done.exception, ConfigurationError)
    assert all(word in str(done.exception) for word in words), done.exception


def test_nothing_live_names_the_newest_candidate_and_nothing_released_the_way_there(home: Path) -> None:
    layout = Layout(home / "home")
    (layout.models("small") / VERSIONS / CURRENT).unlink()
    with pytest.raises(ConfigurationError, match=f"nothing of small is live: take --release newest, which is {NEW}"):
        show_card("small", as_format="md", layout=layout)
    other = layout.experiment("other")
    other.mkdir()
    (other / "owner.txt").write_text("other.yaml")
    with pytest.raises(ConfigurationError, match="other has no release"):
        show_card("other", as_format="md", layout=layout)


def test_an_overridden_release_says_so(home: Path) -> None:
    layout, card = Layout(home / "home"), overridden()
    write_version(layout.models("small"), release_id=card["release_id"], fill=_filled(card))
    answer = show_card("small", release=card["release_id"], as_format="md", layout=layout)
    assert answer["status"] == "deployed by override"
