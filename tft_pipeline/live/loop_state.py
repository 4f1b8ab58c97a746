"""What the live loop must not lose: written whole after every bar, read back at the start. Standard library only.

    loop_state.json              sealed record: figures, positions, counts, and the name of the decider's file
    loop_state-<sha256>.bin      what the decider needs to go on (predictor state); named after its content

The decider's file is written first, the record second, files that no record names are removed third: killed anywhere, the
record that is there names a file that is whole. Record and removal are the owner's of the target book alone: a loop that was
fenced off leaves the state of the one after it as it is. Not here: what the figures mean (`loop`, `equity`).
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tft_pipeline.live.sealed_json import DamagedRecordError, read_sealed, write_sealed

STATE = "loop_state.json"
READS = 20
"""A state that is read while it is written may be gone before it is read whole; more often than this in a row it is not."""


class LostStateError(RuntimeError):
    """A state that is there and cannot be gone on from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """When a bar was decided on: in the market's time, and by the machine's steady clock (see `Moment`)."""

    market: datetime
    boot_s: float
    boot_id: str


@dataclass(slots=True, kw_only=True)
class LoopState:
    """After a bar.

    Attributes:
        last_bar: newest bar decided on, by its close; None before the first.
        due: when the bar after it is expected, in the market's time.
        taken: when it was decided on; None where the market's clock is not ours.
        held: fraction of capital by symbol, as last published; until: when the decision behind it counts no more.
        closes: newest close by symbol, that returns are told from; unmarked: what was held of it since then.
        equity, high_water_mark: 1.0 at the beginning.
        errors: True for each refused or failed bar of the last ones, oldest first.
        bars: bars decided on. refused, failed: counts by kind.
        model_id: who decided last.
        reset_seen: number of the reset that triggers began anew at. nights_after: newest drift report that was there then.
        switch_sequence: newest entry of the kill switch that was seen (`switch_seen`).
        epoch, sequence: of the target book, its writer and its newest number.
        source: what a source that grows must know to go on.
    """

    last_bar: datetime | None = None
    due: datetime | None = None
    taken: Taken | None = field(default=None, compare=False)
    until: datetime | None = None
    held: dict[str, float] = field(default_factory=dict)
    closes: dict[str, float] = field(default_factory=dict)
    unmarked: dict[str, float] = field(default_factory=dict)
    equity: float = 1.0
    high_water_mark: float = 1.0
    errors: list[bool] = field(default_factory=list)
    bars: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    model_id: str | None = None
    reset_seen: int = 0
    nights_after: str = ""
    switch_sequence: int = 0
    epoch: int = field(default=0, compare=False)
    sequence: int = field(default=0, compare=False)
    source: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: _plain(getattr(self, name)) for name in LoopState.__dataclass_fields__}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "LoopState":
        """Inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: not a state.
        """
        given = {name: record[name] for name in cls.__dataclass_fields__}
        for name in ("last_bar", "due", "until"):
            given[name] = None if given[name] is None else datetime.fromisoformat(given[name])
        if given["taken"] is not None:
            taken = dict(given["taken"])
            given["taken"] = Taken(**taken | {"market": datetime.fromisoformat(taken["market"])})
        return cls(**given)


def _plain(value: Any) -> Any:
    if isinstance(value, Taken):
        return asdict(value) | {"market": value.market.isoformat()}
    return value.isoformat() if isinstance(value, datetime) else value


def save_state(
    folder: Path,
    state: LoopState,
    decider: bytes,
    *,
    owned: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Write both, durably.

    Args:
        owned: entered for the record and for what is removed; raises where they are another's to write.
    Raises:
        OSError, or what `owned` raises: not written; the state before stays.
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
    with owned():
        write_sealed(folder / STATE, state.to_dict() | {"decider": name})
        for other in folder.glob("*loop_state-*.bin*"):
            if other.name != name:
                other.unlink(missing_ok=True)


def load_state(folder: Path) -> tuple[LoopState, bytes] | None:
    """What was saved last; None where nothing ever was. Takes no lock: a writer may be at work.

    Raises:
        LostStateError: it is damaged. Going on would take held positions for none.
    """
    for _ in range(READS):
        if not os.path.lexists(folder / STATE):
            return None
        before = _stamp(folder)
        try:
            return _load(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            lost = error
        if _stamp(folder) == before:  # nobody wrote meanwhile: it is what it is
            break
    raise _lost(folder, lost) from lost


def _load(folder: Path) -> tuple[LoopState, bytes]:
    record = read_sealed(folder / STATE)
    name = Path(record["decider"]).name
    decider = (folder / name).read_bytes()
    if name != f"loop_state-{hashlib.sha256(decider).hexdigest()}.bin":
        raise DamagedRecordError(f"{name} is not what its name was made of")
    return LoopState.from_dict(record), decider


def _stamp(folder: Path) -> tuple[int, int]:
    """Another one after every write of the record."""
    found = (folder / STATE).lstat()
    return found.st_ino, found.st_mtime_ns


def _lost(folder: Path, error: Exception) -> LostStateError:
    return LostStateError(
        f"the loop's state in {folder} cannot be read ({error}): positions and equity are not known; see what the broker "
        f"holds, then remove {STATE} to begin anew"
    )
