"""Where bars come from: a recording at a speed, and a file that grows under the reader's eyes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tft_pipeline.live.loop_contract import EndOfBarsError
from tft_pipeline.live.refusals import UnusableBarsError
from tft_pipeline.live.replay_source import GrowingFile, ReplaySource
from tft_pipeline_tests.live.hand_clock import HandClock

FIRST = datetime(2026, 1, 5, tzinfo=UTC)
HEADER = "timestamp,symbol,close\n"


def at(minute: int) -> datetime:
    return FIRST + timedelta(minutes=minute)


def row(minute: int, symbol: str = "A", close: float = 1.0) -> str:
    return f"{at(minute).isoformat()},{symbol},{close}\n"


def recording(n: int) -> pl.DataFrame:
    rows = [{"timestamp": at(k), "symbol": symbol, "close": float(k)} for k in range(n) for symbol in ("B", "A")]
    return pl.DataFrame(rows, schema_overrides={"timestamp": pl.Datetime("us", "UTC")})


def minutes(source: GrowingFile | ReplaySource) -> list[int]:
    found = []
    try:
        while (bars := source.next(0.0)) is not None:
            assert bars["timestamp"].n_unique() == 1
            found.append(round((bars["timestamp"][0] - FIRST).total_seconds() / 60))
    except EndOfBarsError:
        pass
    return found


def test_a_recording_is_played_a_moment_at_a_time_behind_its_past_and_from_where_one_was() -> None:
    source = ReplaySource(recording(6), start=at(1))
    assert source.history(None)["timestamp"].max() == at(1)
    source.seek(None)
    assert minutes(source) == [2, 3, 4, 5]
    source.seek(at(3))
    assert source.history(at(3)).height == 8
    assert minutes(source) == [4, 5]


def test_a_recording_runs_by_the_steady_clock_times_its_speed() -> None:
    clock = HandClock()
    source = ReplaySource(recording(4), speed=60.0, clock=clock)
    source.seek(None)
    assert source.next(0.0) is not None
    assert source.next(0.0) is None
    clock.set_wall(3600.0)
    assert source.next(0.0) is None
    clock.pass_time(1.0)
    assert source.market_time(clock.now()) == at(1)
    assert source.next(0.0) is not None
    assert source.next(0.0) is None


@pytest.mark.parametrize(("bars", "speed"), [(recording(0), None), (recording(2), 0.0), (recording(2), -1.0)])
def test_a_recording_needs_bars_and_a_speed(bars: pl.DataFrame, speed: float | None) -> None:
    with pytest.raises(ValueError, match="needs bars"):
        ReplaySource(bars, speed=speed)


def test_what_is_there_at_first_is_the_past_and_what_is_appended_is_handed_on_once(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + row(0) + row(1))
    source = GrowingFile(path, settle_s=0.0)
    assert source.history(None).height == 2
    source.seek(None)
    assert minutes(source) == []
    with path.open("a") as stream:
        stream.write(row(2) + row(2, "B") + row(3)[:-4])
        stream.flush()
        assert minutes(source) == [2]
        stream.write(row(3)[-4:])
    assert minutes(source) == [3]
    assert source.history(at(3)).height == 5
    again = GrowingFile(path, settle_s=0.0)
    again.seek(at(1))
    assert minutes(again) == [2, 3]


def test_the_rows_of_one_moment_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER)
    source = GrowingFile(path, settle_s=3600.0)
    assert source.history(None).is_empty()
    source.seek(None)
    for symbol in ("A", "B"):
        with path.open("a") as stream:
            stream.write(row(0, symbol))
        assert source.next(0.0) is None
    with path.open("a") as stream:
        stream.write(row(1))
    bars = source.next(0.0)
    assert bars is not None
    assert bars["symbol"].to_list() == ["A", "B"]


def test_late_rows_are_handed_on_for_the_decider_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + row(5) + row(3) + row(6))
    source = GrowingFile(path, settle_s=0.0)
    source.seek(None)
    assert minutes(source) == [5, 3, 6]


def test_rows_that_are_none_and_a_file_that_shrank_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + row(0))
    source = GrowingFile(path, settle_s=0.0)
    source.seek(None)
    with path.open("a") as stream:
        stream.write("yesterday,A,1.0\n")
    with pytest.raises(UnusableBarsError, match="no bars"):
        source.next(0.0)
    with path.open("a") as stream:
        stream.write(row(1))
    assert minutes(source)[-1] == 1
    path.write_text(HEADER)
    with pytest.raises(UnusableBarsError, match="never rewrite"):
        source.next(0.0)
