"""The live loop of a soak, in a process of its own: `python -m tft_pipeline.live.soak_child SETTINGS.json`.

Not here: what is done to it (`soak`).
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.live.loop import LiveLoop, stop_on_signals
from tft_pipeline.live.loop_contract import Decider, Settings
from tft_pipeline.live.soak_equity import EquityCheck
from tft_pipeline.live.soak_market import CLOCK, Bursting, SoakDecider, SoakSource, SteppedClock, leaking
from tft_pipeline.live.soak_observer import SAMPLES
from tft_pipeline.live.soak_processes import append_sample, held_by
from tft_pipeline.live.soak_verdict import LOOP
from tft_pipeline.live.target_book import written_targets
from tft_pipeline.live.triggers import DrawdownLimit, ErrorLimit, Limits, StaleDataLimit

SAMPLE_BARS = 40
OUTAGE_INTERVALS = 40.0
"""Stale from here on: bars come so fast that a slow disk is a few intervals."""


class Sampled(LiveLoop):
    """A loop that says, every so many bars, how long they took, what the process holds, and whether its equity is right."""

    def sampling(self, path: Path, each_bar: Any) -> None:
        """Args: each_bar: called once a bar."""
        self._samples, self._each_bar = path, each_bar
        self._equity = EquityCheck()
        self._parent = os.getppid()
        self._taken: list[float] = []
        self._bars = 0

    def take(self, bars: Any) -> None:
        """One bar, timed."""
        book, before = written_targets(self._folder), self.switch.reading()
        equity, decided = self.state.equity, self.state.bars
        began = time.perf_counter()
        super().take(bars)
        self._taken.append((time.perf_counter() - began) * 1e3)
        if self.state.bars > decided and self.state.last_bar is not None:
            self._equity.decided(
                bar=self.state.last_bar.isoformat(),
                closes=dict(zip(bars["symbol"].to_list(), bars["close"].to_list(), strict=True)),
                book=book,
                before=before,
                after=self.switch.reading(),
                equity=(equity, self.state.equity),
            )
        self._bars += 1
        self._each_bar()
        if os.getppid() != self._parent:  # nobody is left to end this one
            self.stop()
        if len(self._taken) < SAMPLE_BARS:
            return
        sample = {
            "process": LOOP,
            "bars": self._bars,
            "latency_ms": float(np.median(self._taken)),
            "equity_told": self._equity.told,
            "equity_wrong": self._equity.wrong,
        }
        self._taken = []
        append_sample(self._samples, sample | held_by(os.getpid()))


def main() -> None:
    """Run until told to stop."""
    given = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(given["folder"])
    recorded = pl.read_parquet(given["recorded"]) if given["recorded"] else None
    symbols = tuple(given["symbols"])
    source = SoakSource(
        folder, symbols=symbols, seed=given["seed"], rate=given["rate"], bad_share=given["bad_share"], recorded=recorded
    )
    decider: Decider
    if given["models"]:
        from tft_pipeline.live.current import CurrentPredictor
        from tft_pipeline.live.model_decider import ModelDecider

        decider = ModelDecider(CurrentPredictor(Path(given["models"])), source.history)
    else:
        decider = SoakDecider(folder, symbols)
    settings = Settings(
        step_s=60.0,
        validity_s=given["validity_s"],
        idle_s=0.2,
        watchdog_deadline_s=given["watchdog_deadline_s"],
        limits=Limits(
            # what days that begin anew do to prices is not what is tested
            drawdown=DrawdownLimit(reduce_at=0.9, halt_at=0.95),
            stale_data=StaleDataLimit(
                reduce_after=given["rate"] * OUTAGE_INTERVALS / 10, halt_after=given["rate"] * OUTAGE_INTERVALS
            ),
            error_rate=ErrorLimit(bars=60, reduce_share=0.6, halt_share=0.8),
        ),
    )
    loop = Sampled(folder, source, Bursting(decider, folder), settings, clock=SteppedClock(folder / CLOCK))
    loop.sampling(folder / SAMPLES, leaking(given["leak"], folder))
    stop_on_signals(loop)
    loop.run()


if __name__ == "__main__":
    main()
