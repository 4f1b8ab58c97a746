"""A command whose terminal is closed ends as one that was asked to stop."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.pipeline import training
from tft_pipeline.pipeline.interrupts import StoppedError

pytestmark = pytest.mark.fault("sigterm")

COMMAND = """
import multiprocessing
import signal
import time
import typer
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.stopping import stoppable

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored, where the tests run under nohup

def run() -> None:
    with stoppable("tft run small.yaml --resume", False), shown(False) as to:
        semaphore = multiprocessing.get_context("spawn").Semaphore()
        print("under way", flush=True)
        print("not written yet", end="")
        for _ in range(1200):
            time.sleep(0.1)
            to.report("a line of progress")

typer.run(run)
"""


def test_a_closed_terminal_ends_a_command_with_the_exit_code_of_the_signal() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", COMMAND])
    said = b""
    while b"under way" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP


def test_where_the_words_go_to_a_file_the_last_one_says_how_to_go_on() -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "under way\n"
    os.killpg(command.pid, signal.SIGHUP)  # as a shell does with its jobs
    _, said = command.communicate()
    assert command.returncode == 128 + signal.SIGHUP
    *lines, last = said.splitlines()
    assert set(lines) <= {"a line of progress"}
    assert last == "stopped by SIGHUP: what was finished is kept; go on with: tft run small.yaml --resume"


@pytest.mark.parametrize("written", [False, True])
def test_a_training_that_is_stopped_before_its_experiment_is_written_names_no_file_of_an_earlier_one(
    written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFT_HOME", str(tmp_path))
    made = tmp_path / "trained" / "tft_prod.yaml"
    made.parent.mkdir()
    made.write_text("of an earlier call")
    os.utime(made, (1.0, 1.0))

    def stopped(*_: object, **_named: object) -> None:
        if written:
            made.write_text("of this call")
        raise StoppedError(signal.SIGTERM)

    monkeypatch.setattr(training, "train_on_snapshot", stopped)
    said = CliRunner().invoke(app, ["train", "--snapshot", "any"])
    assert said.exit_code == 143
    assert (f"tft run {made} --resume" in said.stderr) is written
    assert ("the same tft train again" in said.stderr) is not written
