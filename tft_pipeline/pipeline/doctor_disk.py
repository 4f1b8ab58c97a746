"""Checks of `tft doctor`: the home, its disk, whether locks hold there, whether the clock went back.

What is tried is tried on a file without a name, which is gone when it is closed. Nothing stays behind.
"""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from tft_pipeline.pipeline.doctor_findings import OK, PROBLEM, WARNING, Finding
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.usage import read_usage

GIB = 1 << 30
ROOM_GIB = 2.0
"""Of free disk: the demonstration takes 0.1 GiB, an experiment on minute bars some more."""
LEAST_GIB = 0.2
OVER_A_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.s3fs")
MOUNTS = Path("/proc/self/mountinfo")
CLOCK_SECONDS = 120.0
FILES_LOOKED_AT = 100_000


def home(layout: Layout) -> list[Finding]:
    """Whether everything generated has a place."""
    place, there = nearest_folder(layout.home)
    if not place.is_dir():
        return [
            Finding(
                "home",
                PROBLEM,
                f"{layout.home} cannot be made: {place} is no folder",
                "set TFT_HOME to a folder, or to a path where one can be made",
            )
        ]
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return [
            Finding(
                "home",
                PROBLEM,
                f"nothing can be written in {place}: {error.strerror}",
                "give this user the right, make room, or set TFT_HOME to another folder",
            )
        ]
    said = f"{layout.home} can be written" if there else f"{layout.home} is not there yet; the first run makes it"
    kind = file_system(place, MOUNTS.read_text() if MOUNTS.is_file() else "")
    if kind.startswith(OVER_A_NETWORK):
        return [
            Finding(
                "home",
                WARNING,
                f"{said}, on a network file system ({kind}): SQLite may damage its files there, and locks may not hold",
                "a local disk as TFT_HOME; for several machines PostgreSQL and TFT_STORE (docs/machines.md)",
            )
        ]
    return [Finding("home", OK, said + (f" ({kind})" if kind else ""))]


def nearest_folder(path: Path) -> tuple[Path, bool]:
    """The path itself or the first thing above it that is there, and whether it is the path itself."""
    for one in (path, *path.parents):
        try:
            if one.exists():
                return one, one == path
        except PermissionError:  # a folder above it is closed
            continue
    return Path("/"), False


def file_system(path: Path, mounts: str) -> str:
    """Kind of file system that a folder lies on, such as ext4; empty where the system does not say.

    Args:
        mounts: text of /proc/self/mountinfo.
    """
    best = ("", "")
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, right.split()[0])
    return best[1]


def room(layout: Layout) -> list[Finding]:
    """Free disk, and what the results so far take."""
    place, there = nearest_folder(layout.home)
    disk = shutil.disk_usage(place)
    status = os.statvfs(place)
    if status.f_files and not status.f_favail:
        return [Finding("disk", PROBLEM, f"{place}: no file can be made any more (no inodes)", "remove small files")]
    return judge_room(disk.free / GIB, {} if not there else taken(layout))


def judge_room(free: float, experiments: dict[str, float]) -> list[Finding]:
    """Free GiB against what a run needs: as much as the largest experiment took, or a guess.

    Args:
        experiments: name -> GiB of its results.
    """
    largest = max(experiments, key=lambda name: experiments[name], default=None)
    need = ROOM_GIB if largest is None else max(LEAST_GIB, experiments[largest])
    sizes = ", ".join(f"{name} {size:.2f} GiB" for name, size in sorted(experiments.items()))
    said = f"{free:.1f} GiB free" + (f"; results so far: {sizes}" if sizes else "")
    if free < LEAST_GIB:
        return [Finding("disk", PROBLEM, said, "make room: `tft clean --dry-run` says what may go")]
    if free < need:
        return [Finding("disk", WARNING, f"{said}; a run may need {need:.1f} GiB", "make room before a long run")]
    return [Finding("disk", OK, said)]


def taken(layout: Layout) -> dict[str, float]:
    """GiB that each experiment's folder takes; of a folder with very many files, of the first ones."""
    folder = layout.home / "experiments"
    found: dict[str, float] = {}
    left = FILES_LOOKED_AT
    for one in sorted(folder.iterdir()) if folder.is_dir() else ():
        size = 0
        for root, _, files in os.walk(one):
            for name in files:
                if left:
                    left -= 1
                    size += os.lstat(os.path.join(root, name)).st_size
        found[one.name] = size / GIB
    return found


def locks(layout: Layout) -> list[Finding]:
    """Whether a lock that somebody holds keeps another one out, on the disk of the home."""
    place, _ = nearest_folder(layout.home)
    with tempfile.TemporaryFile(dir=place) as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # SQLite's kind
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        again = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDWR)
        try:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return [Finding("locks", OK, "a lock keeps a second writer out")]
        finally:
            os.close(again)
    return [
        Finding(
            "locks",
            PROBLEM,
            f"two writers get the same lock on {place}: two runs could overwrite each other's results",
            "a local disk as TFT_HOME",
        )
    ]


def clock(layout: Layout) -> list[Finding]:
    """Whether the clock stands before something that was already recorded."""
    ledgers = [layout.looks_ledger, layout.trials_ledger, *layout.home.glob("experiments/*/usage.jsonl")]
    return judge_clock(time.time(), [one.stat().st_mtime for one in ledgers if one.is_file()])


def judge_clock(now: float, recorded: list[float]) -> list[Finding]:
    """Unix seconds of now and of what was recorded."""
    ahead = max(recorded, default=now) - now
    if ahead > CLOCK_SECONDS:
        return [
            Finding(
                "clock",
                PROBLEM,
                f"the clock stands {ahead / 3600:.1f} h before the newest record: what came after what would be wrong",
                "set the clock (NTP), before anything is computed",
            )
        ]
    return [Finding("clock", OK, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))]


def last_run(layout: Layout, name: str) -> str:
    """How long the newest computing of every step and fold of an experiment took, together; empty where none is known."""
    rows = read_usage(layout.usage(name))
    newest = {(row["asset"], row["partition"]): row for row in rows if row["ok"]}
    if not newest:
        return ""
    minutes = sum(float(row["wall_s"]) for row in newest.values()) / 60.0
    peak = max(float(row["peak_rss_mib"]) for row in newest.values()) / 1024.0
    return f"its steps took {minutes:.1f} min of work the last time, and up to {peak:.1f} GiB"
