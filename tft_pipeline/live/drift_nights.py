"""The verdicts of the nightly drift reports, for the kill switch. Standard library only.

Not here: what they lead to (`triggers`).
"""

import json
from datetime import date
from pathlib import Path

from tft_pipeline.live.triggers import MISSING, UNREADABLE

REPORTS = "drift_????-??-??.json"
MOST = 60
"""Newest nights that are read."""
OLDEST_DAYS = 7
"""A newest night older than this is none: a week holds every weekend and holiday."""


def newest_night(folder: Path) -> str:
    """File name of the newest report; "" where there is none."""
    return max((path.name for path in folder.glob(REPORTS)), default="")


def read_nights(
    folder: Path, *, weights_sha256: str | None = None, after: str = "", today: date | None = None
) -> tuple[str, ...]:
    """Verdict of each report `drift_YYYY-MM-DD.json`, oldest first; one that cannot be read is `unreadable`.

    The last one is `missing` where there is no report at all, or none of the last `OLDEST_DAYS` days: what is not known is not
    good. A reset does not change that (`after`), a new report does.

    Args:
        weights_sha256: leave out nights that judged other weights; None takes all.
        after: only reports newer than this one.
        today: in the market's time, to tell the newest night's age by; None does not ask for it.
    """
    verdicts = []
    for path in sorted(path for path in folder.glob(REPORTS) if path.name > after)[-MOST:]:
        try:
            report = json.loads(path.read_bytes())
            verdict, judged = str(report["verdict"]), report.get("weights_sha256")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            verdicts.append(UNREADABLE)
            continue
        if weights_sha256 is None or judged in (None, weights_sha256):
            verdicts.append(verdict)
    newest = newest_night(folder)
    if not newest or (today is not None and _days_old(newest, today) > OLDEST_DAYS):
        verdicts.append(MISSING)
    return tuple(verdicts)


def _days_old(name: str, today: date) -> float:
    """Of a report, by its name; infinite where the name holds no day."""
    try:
        return (today - date.fromisoformat(name.removeprefix("drift_").removesuffix(".json"))).days
    except ValueError:
        return float("inf")
