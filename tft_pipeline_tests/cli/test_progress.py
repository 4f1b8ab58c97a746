"""Progress: a live line on a terminal, plain lines elsewhere, and never a character on standard output."""

import io
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from tft_pipeline.cli import progress
from tft_pipeline.cli.answers import be_quiet
from tft_pipeline.cli.progress import shown
from tft_pipeline.pipeline.progress import Stage, Trials


@pytest.fixture(autouse=True)
def _not_quiet() -> Iterator[None]:
    be_quiet(False)
    yield
    be_quiet(False)


def tell(as_json: bool, console: Console | None, journals: Path | None = None) -> None:
    with shown(as_json, console) as to:
        to.report("snapshot: done, 1.2 s [bold]")
        to.watch(Stage(asset="production_fold", of=3, journals=journals, began=0.0))
        to.watch(Stage(asset="production_fold", done=1, of=3, journals=journals, began=0.0))


def test_a_terminal_sees_what_runs_how_many_folds_and_epochs_are_done_and_the_time_that_passed(tmp_path: Path) -> None:
    (tmp_path / "production-f1-aaaa.jsonl").write_text('{"kind": "epoch"}\n' * 4)
    (tmp_path / "production-f2-bbbb.jsonl").write_text('{"kind": "epoch"}\n' * 2)
    screen = io.StringIO()
    tell(False, Console(file=screen, force_terminal=True, width=100), tmp_path)
    written = screen.getvalue()
    assert "snapshot: done, 1.2 s [bold]" in written  # square brackets are no markup
    assert "production_fold: 1 of 3 folds done" in written
    assert "epochs 4, 2" in written
    assert "0 s" in written
    assert written.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # the live line is gone at the end


@pytest.mark.parametrize("as_json", [False, True])
def test_without_a_terminal_or_for_machines_lines_are_plain_and_stand_on_standard_error(as_json: bool) -> None:
    app = typer.Typer()

    @app.command()
    def work() -> None:
        tell(as_json, Console(file=io.StringIO(), force_terminal=True) if as_json else None)
        typer.echo(json.dumps({"done": True}))

    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"done": True}
    assert result.stderr == "snapshot: done, 1.2 s [bold]\n"


def test_an_error_ends_the_live_line_and_is_not_swallowed() -> None:
    screen = io.StringIO()

    def fail() -> None:
        with shown(False, Console(file=screen, force_terminal=True, width=80)) as to:
            to.watch(Stage(asset="leakage_audit"))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert "leakage_audit" in screen.getvalue()
    assert "\x1b[?25h" in screen.getvalue()  # the cursor is back


def until(what: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it came true."""
    over = time.monotonic() + seconds
    while not what() and time.monotonic() < over:
        time.sleep(0.01)
    return what()


def test_what_is_short_says_nothing_and_what_is_long_says_that_it_lives(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with shown(True, doing="reading bars") as to:
        to.report("a line")
    assert capsys.readouterr().err.splitlines() == ["a line"]
    monkeypatch.setattr(progress, "SHORT_SECONDS", 0.1)
    monkeypatch.setattr(progress, "BEAT_SECONDS", 1.0)
    said: list[str] = []
    monkeypatch.setattr(progress, "progress", said.append)
    with shown(True, doing="reading bars") as to:
        assert until(lambda: len(said) == 2)
        to.report("a line")
        at = len(said)
    # early once, then as often as one beats, and not right after a line of the command's own
    assert [re.sub(r"\d+", "N", line) for line in said[:2]] == ["reading bars (N s so far)"] * 2
    assert said[at - 1 :] == ["a line"]


def test_a_sign_of_life_names_the_stage_that_was_told_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "production-f2-bbbb.jsonl").write_text('{"kind": "epoch", "epoch": 0, "validation_loss": 0.5}\n')
    monkeypatch.setattr(progress, "SHORT_SECONDS", 0.1)
    with shown(True) as to:
        to.watch(Stage(asset="production_fold", done=1, of=3, journals=tmp_path, began=0.0, most_epochs=12))
        time.sleep(1.0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("production_fold: 1 of 3 folds done, epochs 1 of at most 12, best validation loss 0.5000")
    assert line.endswith(" s so far)")


@pytest.mark.parametrize("on_a_terminal", [True, False])
def test_a_search_that_cannot_be_asked_costs_the_line_its_rest_and_nothing_else(
    on_a_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SHORT_SECONDS", 0.1)
    screen, asked = io.StringIO(), []

    def locked() -> Trials:
        asked.append(True)
        raise sqlite3.OperationalError("database is locked")

    with shown(False, Console(file=screen, force_terminal=True, width=100) if on_a_terminal else None) as to:
        to.watch(Stage(asset="tuned_hyperparameters", of=9, unit="trials", asks=locked))
        time.sleep(1.0)
        to.report("a line")
    assert asked
    said = screen.getvalue() if on_a_terminal else capsys.readouterr().err
    assert "tuned_hyperparameters" in said
    assert "a line" in said


def test_quiet_shows_neither_lines_nor_life_nor_a_live_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SHORT_SECONDS", 0.05)
    be_quiet(True)
    screen = io.StringIO()
    with shown(True, doing="reading bars") as to:
        time.sleep(0.2)
        to.report("a line")
    assert capsys.readouterr().err == ""
    tell(False, Console(file=screen, force_terminal=True))
    assert not screen.getvalue()
