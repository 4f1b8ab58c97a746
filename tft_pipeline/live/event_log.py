"""What happened, one JSON line an event, in a file that does not grow without limit. Standard library only."""

import json
import math
import os
from pathlib import Path
from typing import Any

LARGEST = 20_000_000
"""Bytes after which a file is renamed to `.1`; the one that had that name goes."""


class EventLog:
    """Appends; a disk that is full costs lines, which are counted, and never the loop."""

    def __init__(self, path: Path, *, largest: int = LARGEST) -> None:
        self._path, self._largest = path, largest
        self.lost = 0

    def write(self, event: str, fields: dict[str, Any]) -> None:
        """One line: the event's name, then what is known of it."""
        line = json.dumps({"event": event} | _plain(fields), default=str, allow_nan=False) + "\n"
        try:
            if self._path.exists() and self._path.stat().st_size > self._largest:
                os.replace(self._path, self._path.with_name(f"{self._path.name}.1"))
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(line)
        except OSError:
            self.lost += 1


def _plain(value: Any) -> Any:
    """Numbers that JSON does not know become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
