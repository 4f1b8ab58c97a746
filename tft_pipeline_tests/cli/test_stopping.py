"""A command whose terminal is closed ends as one that was asked to stop."""

import os
import pty
import signal
import sys

import pytest

pytestmark = pytest.mark.fault("sigterm")

COMMAND = """
import time
import typer
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.stopping import stoppable

def run() -> None:
    with stoppable("tft run small.yaml --resume", {as_json}), shown({as_json}) as to:
        print("under way", flush=True)
        print("not written yet", end="")
        for _ in range(1200):
            time.sleep(0.1)
            to.report("a line of progress")

typer.run(run)
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_a_closed_terminal_ends_a_command_with_the_exit_code_of_the_signal(as_json: bool) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", COMMAND.format(as_json=as_json)])
    said = b""
    while b"under way" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
