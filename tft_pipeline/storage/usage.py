"""The ledger of usage of one experiment: one line a computed asset or fold, appended when it ends, failed ones too."""

import json
from pathlib import Path
from typing import Any

from tft_pipeline.storage.atomic import append_line

KEYS = frozenset(
    {
        "asset",
        "partition",
        "run_id",
        "ok",
        "started_at",
        "ended_at",
        "wall_s",
        "cpu_s",
        "peak_rss_mib",
        "peak_gpu_mib",
    }
)


def record_usage(ledger: Path, row: dict[str, Any]) -> None:
    """Append one row.

    Raises:
        ValueError: its keys are not `KEYS`.
    """
    if set(row) != KEYS:
        raise ValueError(
            f"usage row has keys {sorted(row)}, expected {sorted(KEYS)}: it could not be read back; correct it"
        )
    # a crash may have cut the last write off: this row must not be glued to it
    if ledger.exists() and not ledger.read_bytes().endswith(b"\n"):
        with ledger.open("ab") as stream:
            stream.write(b"\n")
    append_line(ledger, row)


def read_usage(ledger: Path) -> tuple[dict[str, Any], ...]:
    """Every row in the order it was written; none where nothing was computed yet.

    A line that is not JSON is a write that a crash cut off; it is passed over, for its step was not stored either.

    Raises:
        ValueError: a line that is JSON and not a row: another program wrote it.
    """
    if not ledger.exists():
        return ()
    rows = []
    for number, line in enumerate(ledger.read_text().splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict) or set(row) != KEYS:
            raise ValueError(f"{ledger} line {number} is not a row of usage: move the file aside to go on")
        rows.append(row)
    return tuple(rows)
