"""The verdicts of the nightly drift reports, for the kill switch. Standard library only.

Not here: what they lead to (`triggers`).
"""

import json
from pathlib import Path

from tft_pipeline.live.triggers import UNREADABLE

MOST = 60
"""Newest nights that are read."""


def read_nights(folder: Path, *, weights_sha256: str | None = None) -> tuple[str, ...]:
    """Verdict of each report `drift_YYYY-MM-DD.json`, oldest first; one that cannot be read is `unreadable`.

    Args:
        weights_sha256: leave out nights that judged other weights; None takes all.
    """
    verdicts = []
    for path in sorted(folder.glob("drift_????-??-??.json"))[-MOST:]:
        try:
            report = json.loads(path.read_bytes())
            verdict, judged = str(report["verdict"]), report.get("weights_sha256")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            verdicts.append(UNREADABLE)
            continue
        if weights_sha256 is None or judged in (None, weights_sha256):
            verdicts.append(verdict)
    return tuple(verdicts)
