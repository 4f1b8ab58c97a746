"""The ledger of looks: every time a production period was scored, by any experiment on the same market.

Looking again is also selection. Two looks are the same when they found the same returns; looks at overlapping dates of
the same symbols and bar length count against each other.
"""

import fcntl
import json
from pathlib import Path
from typing import Any

from tft_pipeline.storage.atomic import append_line


def record_look(ledger: Path, look: dict[str, Any]) -> int:
    """Write a look down and count the distinct ones it competes with, itself included.

    Args:
        ledger: JSON lines file.
        look: market (hash of symbols and interval), first, last (ISO dates), content (hash of the returns), experiment,
            at (time).
    Raises:
        ValueError: the ledger holds a line that is not a look; it must not be edited.
    """
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _read(ledger)
        rivals = {
            row["content"]
            for row in known
            if row["market"] == look["market"] and row["first"] <= look["last"] and look["first"] <= row["last"]
        }
        if look["content"] not in rivals:
            append_line(ledger, look)
        return len(rivals | {look["content"]})


def _read(ledger: Path) -> list[dict[str, Any]]:
    if not ledger.exists():
        return []
    rows = []
    for number, line in enumerate(ledger.read_text().splitlines(), start=1):
        try:
            row = json.loads(line)
            missing = {"market", "first", "last", "content"} - set(row)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{ledger}:{number} is not a look ({error}); restore the ledger from a copy") from error
        if missing:
            raise ValueError(f"{ledger}:{number} lacks {sorted(missing)}; restore the ledger from a copy")
        rows.append(row)
    return rows
