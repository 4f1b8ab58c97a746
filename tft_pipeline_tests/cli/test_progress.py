"""Progress: a live line on a terminal, plain lines elsewhere, and never a character on standard output."""

import io
import json
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from tft_pipeline.cli.progress import in_words, shown
from tft_pipeline.pipeline.progress import Stage


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
    assert "0:00:00" in written
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


def test_an_asset_without_folds_is_named_alone() -> None:
    assert in_words(Stage(asset="leakage_audit")) == "leakage_audit"
    assert in_words(Stage(asset="exploration_fold", done=2, of=3)) == "exploration_fold: 2 of 3 folds done"
