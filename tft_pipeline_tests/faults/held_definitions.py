"""The project's definitions, in which a fold in training waits for the file `go` in TFT_HOME, and leaves `waits-PID` there.

A code server that loads this module runs folds that last as long as a test wants.
"""

import os
import time
from pathlib import Path
from typing import Any

from tft_pipeline.definitions import defs as defs
from tft_pipeline.pipeline.tracking import FoldJournal

LONGEST_SECONDS = 600.0


def wait_for_leave() -> None:
    """Until there is leave; a test that died does not leave a process behind."""
    home = Path(os.environ["TFT_HOME"])
    (home / f"waits-{os.getpid()}").touch()
    until = time.monotonic() + LONGEST_SECONDS
    while not (home / "go").exists() and time.monotonic() < until:
        time.sleep(0.05)


def hold() -> None:
    """Put the wait behind the first epoch."""
    write = FoldJournal.epoch

    def epoch(journal: FoldJournal, row: dict[str, Any]) -> None:
        write(journal, row)
        if row["epoch"] == 1:
            wait_for_leave()

    FoldJournal.epoch = epoch  # type: ignore[method-assign]


hold()
