"""Processes of `scripted_run.py` that a test starts, listens to and kills. Not here: tests."""

import os
import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("scripted_run.py")
PATIENCE_SECONDS = 120.0


class ScriptedRun:
    """One process that computes a partition."""

    def __init__(self, home: Path, partition: str, *how: str, env: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(home), partition, *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"DAGSTER_HOME": str(home / "dagster"), "TFT_HOME": str(home), **(env or {})},
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def says(self, word: str) -> str:
        """The rest of the next line that begins with a word."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            first, _, rest = line.strip().partition(" ")
            if first == word:
                return rest
        raise AssertionError(f"it never said {word}: {self._process.communicate()[1][-3000:]}")

    def dies(self) -> None:
        """SIGKILL, and wait until it is gone; its children may live on, with its output."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """However the test ended."""
        if self._process.poll() is None:
            self.dies()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
