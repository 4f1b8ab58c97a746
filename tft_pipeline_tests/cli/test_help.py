"""Help that teaches: every command has its place, examples that are commands, words for every option, and fits 80 columns."""

import os
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.cli.teaching import FIRST_WORDS, PANELS, SAID
from tft_pipeline.storage.layout import PROJECT_ROOT

ROOT_COMMAND: Any = typer.main.get_command(app)
NARROW = {"TERMINAL_WIDTH": "80", "COLUMNS": "80"}
"""What a terminal of 80 columns is to rich."""


def commands(group: Any = ROOT_COMMAND, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command by its words, those of groups too."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, (*before, name))
        else:
            found[" ".join((*before, name))] = command
    return found


COMMANDS = commands()


def parsed(line: str) -> Any:
    """The context of a command line, parsed and not run.

    Raises:
        Exception: the line cannot be parsed, or names a file that is not there.
    """
    words = shlex.split(line)
    assert words[0] == "tft"
    command, rest = ROOT_COMMAND, words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    return command.make_context(words[1], rest)


def page(*words: str) -> str:
    """What `--help` prints."""
    done = CliRunner().invoke(app, [*words, "--help"], env=NARROW)
    assert done.exit_code == 0
    return done.stdout


def test_the_version_is_asked_for_without_a_command() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"tft-pipeline {metadata.version('tft-pipeline')}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_are_commands_as_they_stand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    assert SAID[name]
    shown = " ".join(page(*name.split()).split())
    for line, what in SAID[name]:
        assert line.startswith(f"tft {name}")
        assert parsed(line).info_name == name.split()[0]
        assert what in shown
        assert line in shown
    for fact in ("Reads:", "Writes:"):
        assert fact in shown


def test_an_example_that_is_wrong_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    for wrong in ("tft run experiments/none.yaml", "tft run experiments/demo.yaml --no-such-option", "tft stats"):
        with pytest.raises(Exception, match=r"no such|No such|Missing|--bars-per-year|returns"):
            parsed(wrong)


def test_the_two_lines_to_type_first_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    lines = [line.strip().split("   ")[0] for line in FIRST_WORDS.splitlines() if line.startswith("  tft ")]
    assert lines == ["tft doctor", "tft run experiments/demo.yaml"]
    for line in lines:
        parsed(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_says_what_it_is_and_every_command_has_json_and_quiet(name: str) -> None:
    command = COMMANDS[name]
    context = command.make_context(name, [], resilient_parsing=True)
    parameters = command.get_params(context)
    for one in parameters:
        assert one.help, one.name
    names = {option for one in parameters for option in one.opts}
    assert {"--json", "--quiet", "-q", "--help"} <= names
    assert command.help.split("\n\n")[0].endswith((".", ":"))


def test_the_first_page_lists_every_command_in_the_order_of_the_work_and_the_exit_codes() -> None:
    text = page()
    places = [text.index(f" {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert "─ Commands ─" not in text  # a command without a place
    for name in {name.split()[0] for name in COMMANDS}:
        assert f"│ {name} " in text, name
    for code in ("0 ", "1 ", "2 ", "3 ", "130", "143", "129"):
        assert code in text[places[-1] :]
    # without a word it is the same page
    assert page().rstrip() == CliRunner().invoke(app, [], env=NARROW).output.rstrip()


@pytest.mark.parametrize("name", ["", *COMMANDS, "kill-switch"])
def test_pages_fit_80_columns_and_hold_no_markup(name: str) -> None:
    text = page(*name.split())
    assert max(map(len, text.splitlines())) <= 80
    assert "\\[" not in text


def test_help_has_no_colours_where_no_terminal_reads_it_or_where_they_are_not_wanted() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "GITHUB_ACTIONS")}
    command = [sys.executable, "-m", "tft_pipeline", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment | {"NO_COLOR": "1"})
    assert "\x1b" not in done.stdout + done.stderr


def test_a_misspelt_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    done = CliRunner().invoke(app, ["materialise", "x.yaml"], env=NARROW)
    assert done.exit_code == 2
    assert "Did you mean 'materialize'" in " ".join(done.stderr.split())


def test_completion_can_be_installed_and_knows_the_commands(tmp_path: Path) -> None:
    words = {"_TFT_COMPLETE": "complete_bash", "COMP_WORDS": "tft mat", "COMP_CWORD": "1"}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "tft")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | words | {"HOME": str(tmp_path)},
    )
    assert "materialize" in done.stdout
