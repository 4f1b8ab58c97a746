"""How a release says that bars follow each other: `Signature.calendar`.

    kind      "regular": every step is a multiple of step_s and no pause is usual; "observed": a bar is a timestamp at which
              some traded symbol has a row
    step_s    length of a bar, seconds
    words     the same for people
    zone      where times of day, weekdays and dates are read: where bars keep their time of day; UTC where absent
    dated     daily bars are stamped with their dates alone and over when that day ends; absent: with their closes
    pauses    bars that are usually followed by a longer step: [{weekday, time, gap_s}]. weekday 0 is Monday; time is HH:MM:SS,
              null for daily bars; gap_s is the usual step behind them, seconds on the clock of the zone. Absent: none

Only the standard library: live code reads it. Not here: finding it in bars (`bar_calendar`), what follows for a signal
(`live.signal_times`).
"""

import math
from collections.abc import Mapping
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

KINDS = ("observed", "regular")
DAY_S = 86_400


def check_calendar(calendar: Mapping[str, Any], interval: str) -> None:
    """Raise ValueError for the first thing of a calendar that cannot be."""
    step, kind = calendar.get("step_s"), calendar.get("kind")
    if kind not in KINDS or isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step < math.inf:
        raise ValueError(f"calendar is {dict(calendar)}: it needs a kind of {KINDS} and a positive step_s")
    dated = calendar.get("dated", False)
    if not isinstance(dated, bool) or (dated and interval != "1d"):
        raise ValueError(
            f"calendar.dated is {dated!r} with bars of {interval}: true or false, and true with daily bars only"
        )
    zone = calendar.get("zone", "UTC")
    try:
        ZoneInfo(zone)
    except (TypeError, ValueError, OSError, LookupError, AttributeError) as error:
        raise ValueError(f"calendar.zone is {zone!r}, no time zone") from error
    pauses = calendar.get("pauses", [])
    bad = pauses if not isinstance(pauses, list) else [each for each in pauses if not _is_pause(each, step, interval)]
    if bad or not isinstance(pauses, list) or (pauses and kind == "regular"):
        raise ValueError(
            f"calendar.pauses is {bad or 'for a regular calendar, which has none'}: a pause is a weekday 0..6, a time HH:MM:SS "
            f"(null for daily bars) and a finite gap_s above {step}"
        )


def _is_pause(pause: Any, step: float, interval: str) -> bool:
    if not isinstance(pause, Mapping) or set(pause) != {"weekday", "time", "gap_s"}:
        return False
    weekday, at, gap = pause["weekday"], pause["time"], pause["gap_s"]
    if isinstance(weekday, bool) or not isinstance(weekday, int) or not 0 <= weekday <= 6:
        return False
    if (
        isinstance(gap, bool)
        or not isinstance(gap, int | float)
        or not step < gap < math.inf
        or (at is None) != (interval == "1d")
    ):
        return False
    try:
        return at is None or time.fromisoformat(at).isoformat() == at
    except (TypeError, ValueError):
        return False
