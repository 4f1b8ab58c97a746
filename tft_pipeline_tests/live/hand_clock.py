"""A clock that a test sets, both hands of it. Not here: tests."""

from datetime import UTC, datetime, timedelta

from tft_pipeline.live.moment import Moment


class HandClock:
    """Time passes only by `pass_time`; `set_wall` is what people do to the clock on the wall."""

    def __init__(self) -> None:
        self._now = Moment(wall=datetime(2026, 1, 5, 12, tzinfo=UTC), boot_s=1000.0, boot_id="boot-1")

    def now(self) -> Moment:
        return self._now

    def pass_time(self, seconds: float) -> None:
        then = self._now
        self._now = Moment(
            wall=then.wall + timedelta(seconds=seconds), boot_s=then.boot_s + seconds, boot_id=then.boot_id
        )

    def set_wall(self, seconds: float) -> None:
        then = self._now
        self._now = Moment(wall=then.wall + timedelta(seconds=seconds), boot_s=then.boot_s, boot_id=then.boot_id)

    def boot(self) -> None:
        self._now = Moment(wall=self._now.wall, boot_s=1.0, boot_id="boot-2")
