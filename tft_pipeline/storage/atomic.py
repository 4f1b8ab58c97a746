"""Writes that are either complete or absent: stage in the same parent, fsync, one rename. Not here: what is written."""

import errno
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STAGE_PREFIX = ".stage-"
SWEEP_SECONDS = 60.0


def fsync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Make a folder and every file below it durable."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        else:
            fsync_folder(path)
    fsync_folder(folder)


@contextmanager
def stage_beside(parent: Path) -> Iterator[Path]:
    """Yield an empty folder inside `parent`, removed afterwards unless it was renamed away.

    The folder is locked while it is filled; what killed writers left behind is swept first, so `parent` must be ours:
    `replace_file` is for a place that a user names.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep_stages(parent)
    stage = parent / f"{STAGE_PREFIX}{uuid.uuid4().hex[:12]}"
    stage.mkdir()
    descriptor = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield stage
    finally:
        os.close(descriptor)
        shutil.rmtree(stage, ignore_errors=True)


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside its place and move it there in one step, in anybody's folder: nothing else in it is touched.

    Args:
        path: where it belongs; a file there is replaced, folders above it are made.
        write: fills the path that it is given.
    Raises:
        OSError: the place cannot be written, or holds a folder, a pipe or a device.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, and no file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.parent / f".tft-{uuid.uuid4().hex}"
    try:
        write(staged)
        descriptor = os.open(staged, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    fsync_folder(path.parent)


def same_file(path: Path, others: Iterable[Path]) -> Path | None:
    """The first of some files that writing to `path` would replace, however both are spelled; None where it is none of them."""
    for other in others:
        try:
            if path.samefile(other):
                return other
        except OSError:  # one of the two is not there, so that they are not one; who reads or writes it says so
            continue
    return None


def sweep_stages(parent: Path) -> None:
    """Remove stages and temporary links that no live writer holds; younger ones than `SWEEP_SECONDS` may not be locked yet."""
    for left in parent.glob(f"{STAGE_PREFIX}*"):
        try:
            if time.time() - left.lstat().st_mtime < SWEEP_SECONDS:
                continue
            if left.is_symlink():
                left.unlink()
                continue
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):  # its writer finished meanwhile
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:  # its writer lives
            pass
        finally:
            os.close(descriptor)


def replace_link(link: Path, target: str) -> None:
    """Point a relative symbolic link at `target` in one atomic step; readers see the old or the new one."""
    temporary = link.parent / f"{STAGE_PREFIX}{link.name}-{uuid.uuid4().hex[:12]}"
    os.symlink(target, temporary)
    try:
        os.replace(temporary, link)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(link.parent)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no NaN: equal values give equal bytes.

    Raises:
        ValueError: a non-finite number; it has no JSON form and must be null with a reason.
    """
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Append one JSON line durably and whole: lines of several writers do not interleave.

    Raises:
        OSError: the disk is full or broken. Of a line that a full disk takes a part of, nothing stays: the next one would
            be glued to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(value, sort_keys=True, allow_nan=False) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # what is cut off below is then nobody else's line
        before = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if before == 0:
        fsync_folder(path.parent)
