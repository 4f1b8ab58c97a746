"""The verdicts of the nightly drift reports, for the kill switch. Standard library only.

Not here: what they lead to (`triggers`).
"""

import json
from pathlib import Path

from tft_pipeline.live.triggers import UNREADABLE

REPORTS = "drift_????-??-??.json"
MOST = 60
"""Newest nights that are read."""


def newest_night(folder: Path) -> str:
    """File name of the newest report; "" where there is none."""
    return max((path.name for path in folder.glob(REPORTS)), default="")


def read_nights(folder: Path, *, weights_sha256: str | None = None, after: str = "") -> tuple[str, ...]:
    """Verdict of each report `drift_YYYY-MM-DD.json`, oldest first; one that cannot be read is `unreadable`.

    Args:
        weights_sha256: leave out nights that judged other weights; None takes all.
        after: only reports newer than this one.
    """
    verdicts = []
    for path in sorted(path for path in folder.glob(REPORTS) if path.name > after)[-MOST:]:
        try:
            report = json.loads(path.read_bytes())
            verdict, judged = str(report["verdict"]), report.get("weights_sha256")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            verdicts.append(UNREADABLE)
            continue
        if weights_sha256 is None or judged in (None, weights_sha256):
            verdicts.append(verdict)
    return tuple(verdicts)
