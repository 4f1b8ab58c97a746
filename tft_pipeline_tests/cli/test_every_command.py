"""What holds for every command: a refusal is exit code 2 and one object with `--json`; `-q` shows what came out alone."""

import errno
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tft_pipeline.__main__ import main
from tft_pipeline.cli.answers import be_quiet
from tft_pipeline.cli.machine_faults import fault_of_the_machine
from tft_pipeline.storage.layout import PROJECT_ROOT
from tft_pipeline_tests.cli.test_help import COMMANDS
from tft_pipeline_tests.conftest import SERVERS

REFUSED = {
    "doctor": ["absent.yaml"],
    "init": ["absent.csv"],
    "run": ["absent.yaml"],
    "plan": ["absent.yaml"],
    "materialize": ["absent.yaml", "features"],
    "tune": ["absent.yaml"],
    "features": ["absent.yaml"],
    "stats": ["absent.csv", "--bars-per-year", "252"],
    "purge-comparison": ["absent.yaml"],
    "card": ["--experiment", "nobody"],
    "deploy": ["--experiment", "nobody"],
    "status": ["--experiment", "nobody"],
    "rollback": ["previous", "--experiment", "nobody"],
    "predict": ["--experiment", "nobody", "--bars", "absent.csv"],
    "live": ["--experiment", "nobody"],
    "watchdog": ["--experiment", "nobody"],
    "kill-switch status": ["--experiment", "nobody"],
    "kill-switch arm": ["--experiment", "nobody", "--why", "x"],
    "kill-switch trip": ["--experiment", "nobody", "--why", "x"],
    "kill-switch reduce": ["--experiment", "nobody", "--why", "x"],
    "kill-switch reset": ["--experiment", "nobody", "--why", "x"],
    "snapshot": ["--source", "absent.csv"],
    "train": ["--snapshot", "absent"],
    "bench": ["--experiment", "nobody"],
    "drift": ["--reference", "a.csv"],
    "ensemble": ["--y-true", "absent.csv"],
    "prune": ["--experiment", "nobody"],
    "push": ["--experiment", "nobody"],
    "pull": ["--experiment", "nobody"],
    "clean": ["--experiment", "nobody"],
}
"""Something that each command refuses."""


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, an empty home, and nothing of this machine's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    for name in SERVERS:
        monkeypatch.delenv(name, raising=False)
    yield
    be_quiet(False)


def typed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """The exit code of a command that is typed."""
    monkeypatch.setattr(sys, "argv", ["tft", *words])
    with pytest.raises(SystemExit) as leaving:
        main()
    return leaving.value.code


def test_there_is_a_refusal_for_every_command() -> None:
    assert set(REFUSED) == set(COMMANDS)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_one_sentence_exit_code_2_and_one_object_with_json_and_writes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert typed([*name.split(), *REFUSED[name], "--json", "-q"], monkeypatch) == 2
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["failed"] == [answer["error"]]
    assert "Traceback" not in err
    assert err.startswith(("error: ", "Usage: "))  # quiet: nothing before it
    assert not list(tmp_path.rglob("*"))


def test_quiet_before_a_command_is_quiet_behind_it_too_and_ends_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tft_pipeline.cli import progress
    from tft_pipeline.cli.answers import is_quiet

    monkeypatch.setattr(progress, "SHORT_SECONDS", 0.0)
    for words in (["-q", "features"], ["features", "-q"], ["features", "--quiet"]):
        assert typed(words, monkeypatch) == 0
        out, err = capsys.readouterr()
        assert "features" in out.splitlines()[-1]
        assert not err
        assert is_quiet()
    typed(["features"], monkeypatch)
    assert not is_quiet()
    capsys.readouterr()


def test_an_experiment_file_that_is_misspelt_names_the_nearest_and_a_folder_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "daily.yaml").write_text("name: daily\n")
    for words, said in (
        (["run", "experiments/dayly.yaml"], "did you mean experiments/daily.yaml?"),
        (["run", "daily"], "did you mean experiments/daily.yaml?"),
        (
            ["plan", "experiments"],
            "experiments is a folder, not an experiment file; name one, such as experiments/daily.yaml",
        ),
        (["status", "--experiment", "dailly.yaml"], "did you mean experiments/daily.yaml?"),
        (["run", "nothing-like-it.yaml"], "`tft init` writes one"),
    ):
        assert typed(words, monkeypatch) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("content", ["a: [", "\x00\x01", "- 1\n- 2\n", "", "name: x\nunknown: 1\n"])
def test_a_file_that_is_no_experiment_is_refused_without_a_traceback(
    content: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    assert typed(["run", "mine.yaml"], monkeypatch) == 2
    err = capsys.readouterr().err
    assert "error: " in err
    assert "Traceback" not in err


def test_a_home_that_is_no_folder_is_one_sentence_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "home").touch()
    assert typed(["tune", str(PROJECT_ROOT / "experiments" / "demo.yaml"), "--json"], monkeypatch) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["failed"] == [json.loads(out)["error"]]
    assert "TFT_HOME" in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/x"),
            "/data/x: Permission denied; give this user the right, or set TFT_HOME to another folder, or name another file",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "make room"),
        (sqlite3.DatabaseError("file is not a database"), "file is not a database"),
        (sqlite3.OperationalError("database is locked"), "database is locked"),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), None),
        (sqlite3.IntegrityError("UNIQUE constraint failed"), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (ValueError("a fault of this program"), None),
    ],
)
def test_faults_of_the_machine_are_told_from_those_of_the_program(error: Exception, said: str | None) -> None:
    wrapped = RuntimeError("while something was done")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        found = fault_of_the_machine(one)
        assert found is None if said is None else found is not None and said in found and "tft doctor" in found


def test_an_error_made_while_a_fault_of_the_machine_was_handled_is_the_programs() -> None:
    own = KeyError("a fault of this program")
    own.__context__ = PermissionError(errno.EACCES, "Permission denied", "/data/x")
    assert fault_of_the_machine(own) is None
    own.__cause__ = own.__context__
    assert fault_of_the_machine(own) is not None


def test_what_is_wrong_with_the_program_itself_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a fault of this program")

    monkeypatch.setattr("tft_pipeline.pipeline.feature_list.list_features", broken)
    monkeypatch.setattr(sys, "argv", ["tft", "features"])
    with pytest.raises(KeyError, match="a fault of this program"):
        main()
