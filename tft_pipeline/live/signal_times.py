"""From when to when a decision counts, by how the model's bars follow each other. Not here: the signal, the clock."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tft_pipeline.domain.signature import Signature

A_DAY = timedelta(hours=20)
"""Steps from here on are days of trading."""
FORGIVEN_BARS = 1
"""Bars that may fail to come before a decision counts no more: a holiday, a late feed."""
SATURDAY = 5


def signal_times(timestamp: datetime, signature: Signature) -> tuple[datetime, datetime]:
    """The first moment at which a decision may be used, and the first at which it counts no more.

        from    the close of the bar: its timestamp. A daily bar that is stamped with its date alone (00:00 in UTC or in the
                signature's time zone) closes when that day ends, one day later.
        until   when the bar after the next is due. So one bar may be late or fall out.

    The next bar of a regular calendar is due one step later. Days of trading (kind "observed") follow each other from Monday
    to Friday, so what Friday decides counts until Tuesday's bar is due; two holidays in a row end it early. Shorter
    bars of sessions, which pause over night, are due after the longest usual pause where the calendar states one as
    `longest_gap_s`, else one step later.
    """
    step = timedelta(seconds=signature.calendar["step_s"])
    daily = step >= A_DAY
    known = timedelta(days=1) if daily and _is_date(timestamp, signature.timezone) else timedelta(0)
    if signature.calendar["kind"] == "regular":
        return timestamp + known, timestamp + known + (1 + FORGIVEN_BARS) * step
    if daily:
        return timestamp + known, _weekdays_later(timestamp, 1 + FORGIVEN_BARS, signature.timezone) + known
    pause = timedelta(seconds=signature.calendar.get("longest_gap_s", step.total_seconds()))
    return timestamp + known, timestamp + pause + FORGIVEN_BARS * step


def _is_date(timestamp: datetime, zone: str | None) -> bool:
    """Whether a timestamp is a midnight, in UTC or where the bars' dates are read."""
    zones = {UTC, ZoneInfo(zone or "UTC")}
    return any(timestamp.astimezone(each).time() == time(0) for each in zones)


def _weekdays_later(timestamp: datetime, days: int, zone: str | None) -> datetime:
    """The same time of the local day, so many weekdays later."""
    place = ZoneInfo(zone or "UTC")
    local = timestamp.astimezone(place).replace(tzinfo=None)
    while days:
        local += timedelta(days=1)
        days -= local.weekday() < SATURDAY
    return local.replace(tzinfo=place).astimezone(UTC)
