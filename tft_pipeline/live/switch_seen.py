"""The highest number of the kill switch's entries that other files of the folder speak of. Standard library only.

Latch and history hang together, so a backup of both, put back, is as good as new. What the loop wrote elsewhere is newer then.
Not here: what follows (`kill_switch`).
"""

from pathlib import Path

from tft_pipeline.live.sealed_json import read_sealed

SEEN_IN = ("targets.epoch", "loop_state.json")
SEEN = "switch_sequence"


def seen_sequence(folder: Path) -> int:
    """The highest; 0 where none of the files is there, can be read, and names one."""
    return max(_named_in(folder / name) for name in SEEN_IN)


def _named_in(path: Path) -> int:
    try:
        return max(0, int(read_sealed(path)[SEEN]))
    except (OSError, ValueError, KeyError, TypeError):
        return 0
