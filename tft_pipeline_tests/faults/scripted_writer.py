"""A process that stores something, for tests that kill it: `python scripted_writer.py artifact|snapshot FOLDER`."""

import os
import sys
from pathlib import Path

from tft_pipeline.storage import atomic
from tft_pipeline_tests.faults.traced import BEGINS, ENDS

PARTS = 3


def fill(folder: Path, text: str) -> None:
    """Files that all say the same: a mixture would show."""
    for part in range(PARTS):
        (folder / f"part{part}").write_text(text * 2000)


if __name__ == "__main__":
    atomic.SWEEP_SECONDS = 0.0
    kind, root = sys.argv[1], Path(sys.argv[2])
    if kind == "artifact":
        from tft_pipeline.storage.artifacts import write_artifact

        def work() -> None:
            """Write another version."""
            write_artifact(root, lambda folder: fill(folder, "new"))
    else:
        from tft_pipeline.storage.frozen import write_frozen
        from tft_pipeline.storage.layout import Layout
        from tft_pipeline_tests.faults.frozen_bars import bars

        layout, frame = Layout(root), bars(40)

        def work() -> None:
            """Freeze other bars."""
            write_frozen(layout, frame, interval="1d", source={"name": "bars.parquet"})

    print("begins", flush=True)
    os.path.exists(BEGINS)
    work()
    os.path.exists(ENDS)
    print("ends", flush=True)
