"""Each kind of exit code, by a command that ends with it, and the page that documents them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tft_pipeline.pipeline.doctor import checks
from tft_pipeline.pipeline.doctor_machine import FOR_TESTS, VARIABLES
from tft_pipeline.storage.layout import PROJECT_ROOT, Layout
from tft_pipeline_tests.cli.test_help import COMMANDS, page, parsed
from tft_pipeline_tests.cli.test_stopping import COMMAND

PAGE = (PROJECT_ROOT / "docs" / "cli.md").read_text()
RAN = {
    0: ["features", "-q"],
    1: ["snapshot", "--synthetic", "7", "--days", "1", "--symbols", "AAA"],
    2: ["plan", "absent.yaml"],
    3: ["kill-switch", "status", "--folder", "live"],
}
STOPPED = {129: signal.SIGHUP, 130: signal.SIGINT, 143: signal.SIGTERM}


def rows(title: str) -> list[list[str]]:
    """Cells of the tables below a heading of the page, without their heads."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return [row for row in cells if not re.fullmatch(r"-+", row[0]) and row[0] not in ("code", "command", "line")]


@pytest.mark.parametrize("code", RAN)
def test_a_command_ends_with_each_code_of_its_own(code: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / ("file" if code == 1 else "home")
    done = subprocess.run(
        [sys.executable, "-m", "tft_pipeline", *RAN[code]],
        cwd=tmp_path,
        env=os.environ | {"TFT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("code", STOPPED)
def test_a_signal_ends_a_command_with_its_code_and_says_how_to_go_on(code: int) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "under way\n"
    command.send_signal(STOPPED[code])
    _, said = command.communicate(timeout=60)
    assert command.returncode == code
    assert said.splitlines()[-1].endswith("go on with: tft run small.yaml --resume")


def test_the_page_and_the_first_page_of_help_name_every_exit_code_and_no_other() -> None:
    codes = {int(row[0]) for row in rows("Exit codes")}
    assert codes == set(RAN) | set(STOPPED)
    text = page().split("Exit codes:")[1]
    assert {int(found) for found in re.findall(r"\b(\d{1,3})\b", text.split("Results go")[0])} == codes


def test_the_page_names_every_command_in_the_order_of_help_with_an_example_that_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    listed = [row[0].strip("`") for row in rows("Commands")]
    first = page()
    in_help = sorted({name.split()[0] for name in COMMANDS}, key=lambda name: first.index(f"│ {name} "))
    assert listed == in_help
    for name, example in ((row[0].strip("`"), row[1].strip("`")) for row in rows("Commands")):
        assert parsed(example).info_name == name


def test_the_page_names_every_line_of_the_doctor(tmp_path: Path) -> None:
    named = {name.strip("` ") for row in rows("Is everything here") for name in row[0].split(",")}
    assert named == {check.name.split(":")[0] for check in checks(Layout(tmp_path), None)}


def test_the_doctor_knows_every_variable_that_something_reads_and_no_other() -> None:
    folders = [PROJECT_ROOT / "tft_pipeline", PROJECT_ROOT / "deploy"]
    files = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".yaml", ".yml", ".toml"}
    ]
    text = "\n".join(path.read_text() for path in files if not path.name.startswith("doctor"))
    read = set(re.findall(r"\bTFT_[A-Z]+(?:_[A-Z]+)*\b", text)) - set(FOR_TESTS)
    assert set(VARIABLES) <= read
    assert read <= set(VARIABLES) | {"TFT_COMPLETE"}
    settings = (PROJECT_ROOT / "docs" / "settings.md").read_text()
    assert [name for name in VARIABLES if f"`{name}`" not in settings] == []
