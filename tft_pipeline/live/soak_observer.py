"""What is looked at all through a soak: the book (`soak_book`), the loop's state, the samples of its processes."""

import json
import math
import time
from pathlib import Path
from typing import Any

from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.loop_state import LoopState, LostStateError, load_state
from tft_pipeline.live.moment import Clock
from tft_pipeline.live.refusals import KINDS
from tft_pipeline.live.soak_book import BookWatch, Sight
from tft_pipeline.live.target_book import read_targets, written_targets

EXPECTED_FAILURES = ("BurstError",)
MOST_BROKEN = 20
SAMPLES = "samples.jsonl"


class Observer:
    """Looks at one folder.

    Attributes:
        broken: what did not hold, in words. bars: decided on so far.
    """

    def __init__(self, folder: Path, switch: KillSwitch, clock: Clock, book: BookWatch) -> None:
        self._folder, self._switch, self._clock = folder, switch, clock
        self.book = book
        self.broken: list[str] = []
        self.bars = 0

    def look(self) -> None:
        """Once, at everything."""
        before = self._switch.reading()
        raw, read = written_targets(self._folder), read_targets(self._folder, self._clock.now())
        sight = Sight(at=time.monotonic(), before=before, after=self._switch.reading(), raw=raw, read=read)
        for what in self.book.see(sight):
            self.broke(what)
        self._look_at_state()

    def broke(self, what: str) -> None:
        """Something did not hold."""
        if len(self.broken) < MOST_BROKEN:
            self.broken.append(what)

    def holds(self) -> bool:
        """Whether something is held."""
        return not read_targets(self._folder, self._clock.now()).flat

    def state(self) -> LoopState | None:
        """The loop's, as saved."""
        for _ in range(20):  # a writer may be between its two files
            try:
                found = load_state(self._folder)
                return found[0] if found else None
            except LostStateError as error:
                lost = error
                time.sleep(0.01)
        self.broke(f"lost state: {lost}")
        return None

    def samples(self) -> list[dict[str, Any]]:
        """Of all processes; what the loops found wrong with their equity is told."""
        path = self._folder / SAMPLES
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        for wrong in sorted({sample["equity_wrong"] for sample in found if sample.get("equity_wrong")}):
            self.broke(wrong)
        return found

    def _look_at_state(self) -> None:
        state = self.state()
        if state is None:
            return
        if state.bars < self.bars:
            self.broke(f"the state went from {self.bars} bars back to {state.bars}")
        self.bars = state.bars
        if not (math.isfinite(state.equity) and state.equity > 0.0 and state.high_water_mark >= state.equity):
            self.broke(f"equity {state.equity}, high-water mark {state.high_water_mark}")
        unknown = set(state.refused) - {kind.kind for kind in KINDS}
        unexpected = set(state.failed) - set(EXPECTED_FAILURES)
        if unknown or unexpected:
            self.broke(f"refusals of no known kind {sorted(unknown)}, failures nobody injected {sorted(unexpected)}")
