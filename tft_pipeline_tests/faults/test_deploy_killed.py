"""kill -9, EIO and a full disk at every system call of a deployment that changes something on the disk, by strace.

A process writes a version, deploys it, deploys another by an override, and goes back. It runs once under `strace` to count its
system calls between two marks; then once for each that changes a file or a folder, killed as it enters that very call. Who is
killed at another call leaves what the next changing one finds: such a call needs no run of its own. After each kill the link
leads to one of the versions that were live in turn, whole; the log is readable and says the same; the next deployment settles
everything.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tft_pipeline.storage import atomic
from tft_pipeline.storage.artifacts import read_version
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.deployment_log import DONE, INTENT, LOG_FILE
from tft_pipeline.storage.deployments import deployments, linked_release, live_since
from tft_pipeline.storage.releases import deploy_problems, release_ids, write_version
from tft_pipeline_tests.faults.scripted_deployer import BEGINS, ENDS, STEPS
from tft_pipeline_tests.released import files_of

SCRIPT = Path(__file__).with_name("scripted_deployer.py")
ROOT = Path(__file__).resolve().parents[2]
STRACE = shutil.which("strace")
CHANGES = ("rename", "renameat", "renameat2", "symlink", "symlinkat", "link", "linkat")
"""Calls that move names: where a deployment would tear."""
WRITES = ("write", "sendfile", "copy_file_range", "mkdir", "mkdirat", "symlink", "symlinkat")
"""Calls that a full disk refuses."""
FULL, BROKEN = "ENOSPC", "EIO"
ON_DISK = {*CHANGES, *WRITES, "fsync", "chmod", "unlink", "unlinkat", "rmdir", "ftruncate", "utimensat"}
"""Calls that change what is on the disk, or make it last; and `openat` where it makes or empties a file."""
NOT_ON_DISK = {
    *("read", "newfstatat", "fstat", "stat", "statx", "lseek", "close", "ioctl", "getdents64", "readlink", "access"),
    *("openat", "fcntl", "flock", "getrandom", "brk", "mmap", "munmap", "mremap", "madvise", "rt_sigaction", "getcwd"),
}
"""Calls that change nothing there. A lock goes with its process, at whichever call that dies."""
NO_RANDOM_ADDRESSES = 0x0040000
"""The number of calls for memory depends on where the system places the heap, which is asked not to vary."""
AT_ONCE = 2
"""Processes that are killed side by side."""


def start(models: Path, *strace: str) -> "subprocess.CompletedProcess[str]":
    """The script under strace: no site packages, no bytecode written, a fixed hash seed, so that its calls repeat."""
    assert STRACE is not None
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "USER": "tester"}
    command = [STRACE, "-f", "-qq", *strace, sys.executable, "-S", "-s", str(SCRIPT), str(models)]
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: ctypes.CDLL(None).personality(NO_RANDOM_ADDRESSES),
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases; r2 is live."""
    models = tmp_path_factory.mktemp("template") / "models"
    for name, text in (("r1", "one"), ("r2", "two")):
        write_version(models, release_id=name, fill=files_of(name, text))
        deploy_release(models, name, reason="", automatic=True)
    return models


@pytest.fixture(scope="module")
def traces(template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The process until the work began, and the work; twice the same calls, or nothing could be counted up."""
    if STRACE is None:
        pytest.skip("strace is not installed: no system call can be met on purpose")
    probe = subprocess.run(
        [STRACE, "-o", os.devnull, sys.executable, "-c", ""], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"strace may not trace here: {probe.stderr.strip()[-200:]}")
    counted = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        trace = folder / "trace"
        done = start(shutil.copytree(template, folder / "models", symlinks=True), "-o", str(trace))
        assert done.returncode == 0, done.stderr
        text = trace.read_text()
        before, rest = text.split(BEGINS)[0], text.split(BEGINS)[1].split(ENDS)[0].split("\n", 1)[1]
        counted.append((_count(before), _count(rest)))
    assert counted[0] == counted[1], "the same work made other system calls"
    return before, rest


@pytest.fixture(scope="module")
def calls(traces: tuple[str, str]) -> dict[str, tuple[int, int]]:
    """System call to how often it came before the work began, and during it."""
    before, during = (_count(trace) for trace in traces)
    return {name: (before[name], n) for name, n in during.items()}


@pytest.fixture(scope="module")
def changing(traces: tuple[str, str]) -> list[tuple[str, int]]:
    """Every call of the work that changes something on the disk: its name, and which one of that name."""
    so_far, found = _count(traces[0]), []
    for line in traces[1].splitlines():
        for name in _count(line):
            so_far[name] += 1
            assert name in ON_DISK | NOT_ON_DISK, f"does {name} change something on the disk? say so above"
            if name in ON_DISK or (name == "openat" and re.search(r"O_CREAT|O_TRUNC", line)):
                found.append((name, so_far[name]))
    return found


def _count(trace: str) -> Counter[str]:
    """Calls by name; the last line may be the beginning of a mark."""
    names = (re.match(r"(?:\d+ +)?([a-z_0-9]+)\(", line) for line in trace.splitlines())
    return Counter(name[1] for name in names if name is not None)


def points(calls: dict[str, tuple[int, int]], wanted: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """Every call of the work: its name, and which one of that name since the process began."""
    for name, (before, during) in sorted(calls.items()):
        if not wanted or name in wanted:
            yield from ((name, before + k + 1) for k in range(during))


def disturbed(template: Path, models: Path, name: str, when: int, effect: str) -> "subprocess.CompletedProcess[str]":
    """The script on a fresh copy of the two releases, with one system call of it disturbed."""
    if models.exists():
        shutil.rmtree(models)
    shutil.copytree(template, models, symlinks=True)
    inject = f"inject={name}:{effect}:when={when}"
    return start(models, "-o", os.devnull, "-e", f"trace={name}", "-e", inject)


def check_what_is_left(models: Path) -> str:
    """Old or new and never torn, a log that says so, and a next deployment that settles everything; the live release."""
    live = linked_release(models)
    assert live in STEPS
    assert deploy_problems(models) == [], (
        "every file of what is live is what was written, and the fixed names lead there"
    )
    for name in release_ids(models):
        read_version(models / "versions" / name)
    log = (models / LOG_FILE).read_bytes()
    entries = deployments(models)
    newest = live_since(entries)
    assert newest is not None
    assert newest.target == live
    assert all(entry.state != INTENT for entry in entries)
    assert (models / LOG_FILE).read_bytes() == log, "looking writes nothing"
    write_version(models, release_id="r9", fill=files_of("r9", "nine"))
    made = deploy_release(models, "r9", reason="after the crash", automatic=True)
    assert made.deployment is not None
    assert (made.deployment.source, made.deployment.target, made.deployment.state) == (live, "r9", DONE)
    assert linked_release(models) == "r9"
    assert deploy_problems(models) == []
    assert (models / LOG_FILE).read_bytes().startswith(log[: log.rfind(b"\n") + 1]), "the log only grows"
    assert [entry.sequence for entry in deployments(models)] == list(range(1, len(deployments(models)) + 1))
    left = [path for path in models.rglob(f"{atomic.STAGE_PREFIX}*")]
    assert left == [], "stages and temporary links of the killed one are swept"
    return str(live)


def kill_at(tried: list[tuple[str, int]], template: Path, folder: Path) -> Counter[str]:
    """Kill the work at each point; how often which release was live afterwards."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = [pool.submit(_kill_at, tried[k::AT_ONCE], template, folder / f"part{k}") for k in range(AT_ONCE)]
        return sum((part.result() for part in parts), Counter())


def _kill_at(tried: list[tuple[str, int]], template: Path, folder: Path) -> Counter[str]:
    lived: Counter[str] = Counter()
    folder.mkdir()
    for name, when in tried:
        done = disturbed(template, folder / "models", name, when, "signal=SIGKILL")
        assert done.returncode in (-9, 137), (name, when, done.returncode, done.stderr)
        assert done.stdout == "begins\n", (name, when, "it was killed outside of its work")
        try:
            lived[check_what_is_left(folder / "models")] += 1
        except Exception as error:
            raise AssertionError(f"killed at {name} number {when}: {error}") from error
    return lived


@pytest.fixture(autouse=True)
def _sweep_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "SWEEP_SECONDS", 0.0)


@pytest.mark.fault("kill_deploy")
def test_killed_at_any_call_that_moves_a_name_the_old_or_the_new_release_is_live(calls, template, tmp_path):
    lived = kill_at(list(points(calls, CHANGES)), template, tmp_path)
    assert set(lived) == set(STEPS[:-1]), "no name is moved after the last release is live"


@pytest.mark.fault("kill_deploy")
@pytest.mark.slow
def test_killed_at_every_call_that_changes_the_disk_the_old_or_the_new_release_is_live(changing, template, tmp_path):
    lived = kill_at(changing, template, tmp_path)
    assert sum(lived.values()) == len(changing) > 100
    assert set(lived) == set(STEPS)
    print(f"{len(changing)} points, {dict(lived)}; {dict(Counter(name for name, _ in changing))}")


@pytest.mark.fault("disk_full", "eio")
@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("refused", "error", "words"),
    [(("fsync",), BROKEN, "Input/output error"), (WRITES, FULL, "No space left on device")],
)
def test_a_disk_that_refuses_at_any_point_is_a_clear_error_and_the_old_or_the_new_release_is_live(
    calls, template, tmp_path, refused, error, words, every
):
    lived: Counter[str] = Counter()
    tried = list(points(calls, refused))[::every]
    assert tried
    for name, when in tried:
        done = disturbed(template, tmp_path / "models", name, when, f"error={error}")
        if done.returncode == 0:
            assert name.startswith("mkdir"), "only a folder that is there already is not missed"
            assert linked_release(tmp_path / "models") == STEPS[-1]
        else:
            assert (done.returncode, done.stdout) == (1, "begins\n")
            assert words in done.stderr.splitlines()[-1], (name, when, done.stderr)
        try:
            lived[check_what_is_left(tmp_path / "models")] += 1
        except Exception as broken:
            raise AssertionError(f"{error} at {name} number {when}: {broken}") from broken
    print(f"{error}: {len(tried)} points, {dict(lived)}")
