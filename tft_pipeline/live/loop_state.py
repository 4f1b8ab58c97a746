"""What the live loop must not lose: written whole after every bar, read back at the start. Standard library only.

    loop_state.json              sealed record: figures, positions, counts, and the name of the decider's file
    loop_state-<sha256>.bin      what the decider needs to go on (predictor state); named after its content

The decider's file is written first, the record second, files that no record names are removed third: killed anywhere, the
record that is there names a file that is whole. Not here: what the figures mean (`loop`).
"""

import hashlib
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tft_pipeline.live.sealed_json import DamagedRecordError, read_sealed, write_sealed

STATE = "loop_state.json"


class LostStateError(RuntimeError):
    """A state that is there and cannot be gone on from."""


@dataclass(slots=True, kw_only=True)
class LoopState:
    """After a bar.

    Attributes:
        last_bar: newest bar decided on; None before the first.
        due: when the bar after it is expected; until: when its decision counts no more. All in the market's time.
        held: fraction of capital by symbol, as last published.
        closes: newest close by symbol, that returns are told from.
        equity, high_water_mark: 1.0 at the beginning.
        errors: True for each refused or failed bar of the last ones, oldest first.
        bars: bars decided on. refused, failed: counts by kind.
        model_id: who decided last.
        reset_seen: number of the reset that triggers began anew at. nights_after: newest drift report that was there then.
    """

    last_bar: datetime | None = None
    due: datetime | None = None
    until: datetime | None = None
    held: dict[str, float] = field(default_factory=dict)
    closes: dict[str, float] = field(default_factory=dict)
    equity: float = 1.0
    high_water_mark: float = 1.0
    errors: list[bool] = field(default_factory=list)
    bars: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    model_id: str | None = None
    reset_seen: int = 0
    nights_after: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        record = {name: getattr(self, name) for name in LoopState.__dataclass_fields__}
        return record | {name: None if record[name] is None else record[name].isoformat() for name in _TIMES}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "LoopState":
        """Inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: not a state.
        """
        given = {name: record[name] for name in cls.__dataclass_fields__}
        return cls(
            **given | {name: None if given[name] is None else datetime.fromisoformat(given[name]) for name in _TIMES}
        )


_TIMES = ("last_bar", "due", "until")


def save_state(folder: Path, state: LoopState, decider: bytes) -> None:
    """Write both, durably.

    Raises:
        OSError: not written; the state before stays.
    """
    name = f"loop_state-{hashlib.sha256(decider).hexdigest()}.bin"
    path = folder / name
    if not path.is_file() or path.stat().st_size != len(decider):
        staged = folder / f".{name}.staged"
        try:
            with staged.open("wb") as stream:
                stream.write(decider)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(staged, path)
        finally:
            staged.unlink(missing_ok=True)
    write_sealed(folder / STATE, state.to_dict() | {"decider": name})
    for other in folder.glob("*loop_state-*.bin*"):
        if other.name != name:
            other.unlink(missing_ok=True)


def load_state(folder: Path) -> tuple[LoopState, bytes] | None:
    """What was saved last; None where nothing ever was.

    Raises:
        LostStateError: it is damaged. Going on would take held positions for none.
    """
    try:
        record = read_sealed(folder / STATE)
        name = Path(record["decider"]).name
        decider = (folder / name).read_bytes()
        if name != f"loop_state-{hashlib.sha256(decider).hexdigest()}.bin":
            raise DamagedRecordError(f"{name} is not what its name was made of")
        return LoopState.from_dict(record), decider
    except FileNotFoundError as error:
        if not os.path.lexists(folder / STATE):
            return None
        raise _lost(folder, error) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _lost(folder, error) from error


def _lost(folder: Path, error: Exception) -> LostStateError:
    return LostStateError(
        f"the loop's state in {folder} cannot be read ({error}): positions and equity are not known; see what the broker "
        f"holds, then remove {STATE} to begin anew"
    )
