"""Who may write the target book, and what must outlast a power cut, in a file of its own. Standard library only.

Not here: the book (`target_book`).
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tft_pipeline.live.sealed_json import read_sealed, write_sealed
from tft_pipeline.live.switch_seen import SEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The one writer.

    Attributes:
        epoch: its number; token: what only it knows.
        reserved: no book has a higher sequence number.
        switch_sequence: newest entry of the kill switch that any writer saw, see `switch_seen`.
    """

    epoch: int = 0
    token: str = ""
    reserved: int = 0
    switch_sequence: int = 0


def read_owner(path: Path) -> Owner:
    """Nobody where it cannot be read: then nobody may write."""
    try:
        record: dict[str, Any] = read_sealed(path)
        return Owner(
            epoch=int(record["epoch"]),
            token=str(record["token"]),
            reserved=int(record["reserved"]),
            switch_sequence=int(record[SEEN]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Owner()


def write_owner(path: Path, owner: Owner) -> None:
    """Durably; whoever calls it holds the folder's lock.

    Raises:
        OSError: not written.
    """
    write_sealed(path, asdict(owner) | {"pid": os.getpid()})
