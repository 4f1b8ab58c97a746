"""From when to when a decision counts, by how the model's bars follow each other. Not here: the signal, the clock."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tft_pipeline.domain.calendar_record import DAY_S
from tft_pipeline.domain.signature import Signature


def signal_times(timestamp: datetime, signature: Signature) -> tuple[datetime, datetime]:
    """The first moment at which a decision may be used, and the first at which it counts no more.

        from    the close of the bar: its timestamp; where the calendar's bars are dated, the end of the day that it names
        until   the close of the bar after the next, as it is due. So one bar may be late or fall out

    After a bar that the calendar names among its pauses the next is due when that usual pause is over, after any other one
    step later. So on days of trading Friday's signal counts until Tuesday's bar, and Thursday's until Monday's.
    """
    return _known(timestamp, signature), _known(_next(_next(timestamp, signature), signature), signature)


def next_due(timestamp: datetime, signature: Signature) -> datetime:
    """The moment at which the bar after this one should be known."""
    return _known(_next(timestamp, signature), signature)


def _known(timestamp: datetime, signature: Signature) -> datetime:
    """When the bar of a timestamp is over."""
    return _on_clock(timestamp, DAY_S, signature) if signature.dated else timestamp


def _next(timestamp: datetime, signature: Signature) -> datetime:
    """The timestamp that the next bar usually has."""
    calendar = signature.calendar
    local = timestamp.astimezone(_zone(signature))
    daily = signature.interval == "1d"
    for pause in calendar.get("pauses", ()):
        if pause["weekday"] == local.weekday() and (daily or time.fromisoformat(pause["time"]) == local.time()):
            return _on_clock(timestamp, pause["gap_s"], signature)
    if daily:
        return _on_clock(timestamp, calendar["step_s"], signature)
    return timestamp + timedelta(seconds=calendar["step_s"])


def _on_clock(timestamp: datetime, seconds: float, signature: Signature) -> datetime:
    """So many seconds later on the clock of the calendar's zone, where a day is a day also when clocks change."""
    zone = _zone(signature)
    local = timestamp.astimezone(zone).replace(tzinfo=None) + timedelta(seconds=seconds)
    return local.replace(tzinfo=zone).astimezone(UTC)


def _zone(signature: Signature) -> ZoneInfo:
    return ZoneInfo(signature.calendar.get("zone", "UTC"))
