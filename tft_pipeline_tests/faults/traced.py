"""A script under strace: its system calls counted, and one of them disturbed. Not here: scripts, and what they promise."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STRACE = shutil.which("strace")
BEGINS, ENDS = "/tft-work-begins", "/tft-work-ends"
"""Names that do not exist; a script looks at them before and after its work."""
MOVES = ("rename", "renameat", "renameat2", "symlink", "symlinkat", "link", "linkat", "fsync", "fdatasync")
"""Calls that move names and make bytes durable: between two of them nothing changes that a reader can see."""


def why_not() -> str | None:
    """Why no script can be traced here, if so."""
    if STRACE is None:
        return "strace is not installed: no system call can be met on purpose"
    probe = subprocess.run(
        [STRACE, "-o", os.devnull, sys.executable, "-c", ""], capture_output=True, text=True, check=False
    )
    return None if probe.returncode == 0 else f"strace may not trace here: {probe.stderr.strip()[-200:]}"


def run(script: Path, arguments: list[str], *strace: str) -> "subprocess.CompletedProcess[str]":
    """The script to its end."""
    assert STRACE is not None
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    single = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    return subprocess.run(
        [STRACE, "-f", "-qq", *strace, sys.executable, str(script), *arguments],
        env={**kept, **single, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def points(script: Path, arguments: list[str], trace: Path, names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Every call of the work: its name, and which one of that name since its process began."""
    done = run(script, arguments, "-o", str(trace), "-e", f"trace=%file,{','.join(names)}")
    assert done.returncode == 0, done.stderr
    before, rest = trace.read_text().split(BEGINS)
    during = _count(rest.split(ENDS)[0], names)
    return [(name, _count(before, names)[name] + k + 1) for name in sorted(during) for k in range(during[name])]


def disturbed(
    script: Path, arguments: list[str], point: tuple[str, int], effect: str
) -> "subprocess.CompletedProcess[str]":
    """The script with one call of it disturbed, such as by `signal=SIGKILL` or `error=EIO`."""
    name, when = point
    return run(script, arguments, "-o", os.devnull, "-e", f"trace={name}", "-e", f"inject={name}:{effect}:when={when}")


def _count(trace: str, names: tuple[str, ...]) -> Counter[str]:
    called = (re.match(r"(?:\d+ +)?([a-z_0-9]+)\(", line) for line in trace.splitlines())
    return Counter(name[1] for name in called if name is not None and name[1] in names)
