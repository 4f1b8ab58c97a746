"""Where the live files of an experiment are, and what stands in them: the backend of `tft kill-switch`. Light, to be quick.

Not here: changing anything.
"""

import os
from pathlib import Path
from typing import Any

from tft_pipeline.live.heartbeat import LOOP, WATCHDOG, heartbeat_file, read_beat
from tft_pipeline.live.kill_switch import LATCH, MARKER, KillSwitch
from tft_pipeline.live.moment import SystemClock
from tft_pipeline.live.switch_history import HISTORY
from tft_pipeline.live.switch_states import ACTIVE
from tft_pipeline.live.target_book import BOOK, read_targets
from tft_pipeline.storage.layout import Layout

FOLDER = "live"
NEWEST = 5


def live_folder(layout: Layout, name: str) -> Path:
    """Kill switch, target book, heartbeats, state and log of the loop."""
    return layout.experiment(name) / FOLDER


def must_be_live(folder: Path) -> None:
    """Nobody trips a folder in which nothing trades, and goes home.

    Raises:
        FileNotFoundError: none of the files of a live folder is there.
    """
    names = [LATCH, HISTORY, BOOK, heartbeat_file(folder, LOOP).name]
    if any(os.path.lexists(folder / name) for name in names) or list(folder.glob(f"{MARKER}*")):
        return
    raise FileNotFoundError(
        f"{folder} is no live folder, it has none of {', '.join(names)}: nothing was tripped, and what trades elsewhere goes "
        "on; name its folder"
    )


def switch_status(folder: Path) -> dict[str, Any]:
    """State and why, the newest changes, the targets as they are read now, and who lives; JSON-ready, with a gate."""
    now = SystemClock().now()
    switch = KillSwitch(folder)
    reading, targets = switch.reading(), read_targets(folder, now, switch=switch)
    try:
        history = [
            f"{entry.at} {entry.state} by {entry.trigger} ({entry.who}): {entry.why}" for entry in switch.history()
        ]
    except (OSError, ValueError) as error:
        history = [f"cannot be read: {error}"]
    reasons = [] if reading.state == ACTIVE else [f"{reading.state} by {reading.trigger}: {reading.why}"]
    return {
        "folder": str(folder),
        **reading.to_dict(),
        "loop": _said(folder, LOOP),
        "watchdog": _said(folder, WATCHDOG),
        "book": f"sequence {targets.sequence}, bar {'none' if targets.bar is None else targets.bar}, "
        + (targets.why or f"until {targets.valid_until.isoformat()}"),
        "targets": targets.weights,
        "holds": [f"{symbol} {weight:+.6f}" for symbol, weight in targets.weights.items() if weight],
        "history": history[-NEWEST:],
        "gate": {"passed": reading.state == ACTIVE, "reasons": reasons},
    }


def _said(folder: Path, name: str) -> str:
    beat = read_beat(folder, name)
    if beat is None:
        return "never beat"
    age = beat.age(SystemClock().now())
    lives = beat.state if beat.process_lives() else "gone" if beat.state == "running" else beat.state
    return f"{lives}, process {beat.pid}, beat {age:.1f} s ago: {beat.note}"
