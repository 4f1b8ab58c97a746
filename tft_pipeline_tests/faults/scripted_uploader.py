"""Writes a version into the store and kills itself at a request; a fork each, so that libraries are imported once.

Lines on standard input: root, content, request (counted from 0), before or after. One line back: how the writer ended.
Not here: a test.
"""

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import s3fs

from tft_pipeline.storage.artifacts import write_artifact


def write(root: Path, content: str, at: int, when: str) -> None:
    """As `write_artifact`; dies with SIGKILL before the request is sent, or after it was answered."""
    original, count = s3fs.S3FileSystem._call_s3, itertools.count()

    async def call(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        number = next(count)
        if number == at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return await original(self, method, *args, **kwargs)
        finally:  # also where the answer is that there is no such object
            if number == at and when == "after":
                os.kill(os.getpid(), signal.SIGKILL)

    s3fs.S3FileSystem._call_s3 = call

    def fill(folder: Path) -> None:
        for part in range(3):
            (folder / f"part{part}").write_text(content * 100)

    write_artifact(root, fill)


for line in sys.stdin:
    root, content, at, when = line.split()
    child = os.fork()
    if child == 0:
        write(Path(root), content, int(at), when)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else f"done {os.WEXITSTATUS(status)}", flush=True)
