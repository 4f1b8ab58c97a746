"""Where bars come from: a recording at a speed, and a file that grows under the reader's eyes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.live.loop_contract import EndOfBarsError, Remembering
from tft_pipeline.live.refusals import RefusedBarError, UnusableBarsError
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


def appended(path: Path, text: str) -> None:
    with path.open("a") as stream:
        stream.write(text)


def drained(source: GrowingFile) -> list[int | str]:
    """Minutes that are handed on, and kinds of refusals between them."""
    found: list[int | str] = []
    while True:
        try:
            bars = source.next(0.0)
        except RefusedBarError as error:
            found.append(error.kind)
            continue
        if bars is None:
            return found
        found.append(round((bars["timestamp"][0] - FIRST).total_seconds() / 60))


def test_what_is_no_bar_late_or_twice_is_refused_by_itself_and_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + row(0))
    source = GrowingFile(path, settle_s=0.0)
    source.history(None)
    source.seek(None)
    bad = ["yesterday,A,1.0\n", "\xff,A,1.0\n", row(2, "B").replace("1.0", "dear"), row(2, "B")[:-1] + ",9\n"]
    appended(path, row(2) + "".join(bad) + row(2, "B") + row(2) + row(4) + row(3) + row(5))
    assert drained(source) == [2, *["unusable_bars"] * 4, "duplicate_bar", 4, "stale_bar", 5]
    assert source.history(at(5))["symbol"].to_list() == ["A", "A", "B", "A", "A"]
    path.write_text(HEADER)
    with pytest.raises(UnusableBarsError, match="never rewrite"):
        source.next(0.0)


def test_what_was_refused_as_late_or_of_the_future_stays_so_for_who_reads_the_file_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "bars.csv", HandClock()
    path.write_text(HEADER + row(0))
    source = GrowingFile(path, settle_s=0.0, clock=clock)
    source.history(None)
    source.seek(None)
    appended(path, row(1) + row(721) + row(721, "B") + row(722))
    assert drained(source) == [1, "future_bar", "future_bar"]
    appended(path, row(1, "B"))
    assert drained(source) == ["stale_bar"]
    appended(path, row(2))
    assert drained(source) == [2]
    kept = json.loads(json.dumps(source.kept()))
    appended(path, row(2, "B") + row(3))
    clock.pass_time(86400.0)
    again = GrowingFile(path, settle_s=0.0, clock=clock)
    again.restore(kept)
    past = again.history(at(2))
    again.seek(at(2))
    assert list(zip(past["timestamp"], past["symbol"], strict=True)) == [(at(k), "A") for k in (0, 1, 2)]
    assert again.waiting()
    assert drained(again) == [3]
    assert not again.waiting()
    assert again.history(at(3))["symbol"].to_list() == ["A"] * 4
    assert drained(source) == ["stale_bar", 3]


@pytest.mark.parametrize("kind", ["file", "recording"])
def test_bars_that_the_decider_refused_are_no_past_and_are_brought_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + "".join(row(k) for k in range(5)))

    def begun(kept: dict[str, Any], after: int) -> GrowingFile | ReplaySource:
        source = GrowingFile(path, settle_s=0.0) if kind == "file" else ReplaySource(recording(5))
        source.restore(json.loads(json.dumps(kept)))
        source.seek(at(after))
        return source

    source = begun({}, 0)
    taken = []
    for refused in (False, True, False, True):
        bars = source.next(0.0)
        assert bars is not None
        taken.append(bars)
        if refused:
            source.leave_out()
    again = begun(source.kept(), 3)
    for each in (source, again):
        assert each.history(at(4))["timestamp"].unique().sort().to_list() == [at(0), at(1), at(3)]
        assert isinstance(each, Remembering)
        assert not each.waiting()
    assert again.next(0.0) is None if kind == "file" else minutes(again) == []
    if kind == "file":
        appended(path, row(4, "B") + row(5))
        assert drained(again) == drained(source) == ["stale_bar", 5]  # type: ignore[arg-type]


def test_a_file_that_was_cut_while_nobody_read_it_is_past_up_to_the_newest_bar(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + row(1) + row(2) + row(3))
    source = GrowingFile(path, settle_s=0.0)
    source.seek(at(2))
    assert drained(source) == [3]
    path.write_text(HEADER + row(3) + row(4))
    again = GrowingFile(path, settle_s=0.0)
    again.restore(source.kept())
    assert again.history(at(3)).height == 1
    again.seek(at(3))
    assert drained(again) == [4]


@pytest.mark.parametrize("seed", range(8))
def test_bars_and_refusals_are_those_of_a_reader_that_goes_by_the_words(tmp_path: Path, seed: int) -> None:
    """An oracle: one line after the other, by the rules as they are written down; read in pieces and restarted at any bar."""
    random = np.random.default_rng(seed)
    lines, newest = [], 0
    for _ in range(60):
        draw = random.random()
        if draw < 0.1:
            lines.append("what,is,this\n")
            continue
        newest += int(draw > 0.6)
        minute = newest - int(random.integers(1, 3)) if draw < 0.2 else newest
        lines.append(row(minute, "ABC"[int(random.integers(3))]))
    kept: dict[int, list[str]] = {}
    for line in lines:
        stamp, symbol, _ = line.split(",")
        if stamp == "what":
            continue
        minute = round((datetime.fromisoformat(stamp) - FIRST).total_seconds() / 60)
        if minute >= max(kept, default=-10) and symbol not in kept.get(minute, ()):
            kept.setdefault(minute, []).append(symbol)
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + "".join(lines))
    source = GrowingFile(path, settle_s=0.0)
    source.seek(None)
    found: dict[int, list[str]] = {}
    while (bars := _next_good(source)) is not None:
        minute = round((bars["timestamp"][0] - FIRST).total_seconds() / 60)
        found[minute] = bars["symbol"].to_list()
        if random.random() < 0.3:
            again = GrowingFile(path, settle_s=0.0)
            again.restore(source.kept())
            past = again.history(at(minute))
            assert past.height == sum(len(symbols) for symbols in found.values())
            again.seek(at(minute))
            source = again
    assert found == kept


def _next_good(source: GrowingFile) -> pl.DataFrame | None:
    while True:
        try:
            return source.next(0.0)
        except RefusedBarError:
            continue


@pytest.mark.parametrize("opened_before", [timedelta(0), timedelta(minutes=1)])
def test_stamps_of_openings_lose_no_bar_at_a_restart(tmp_path: Path, opened_before: timedelta) -> None:
    """What the loop knows is closes."""
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + "".join(row(k) for k in range(6)))
    growing = GrowingFile(path, settle_s=0.0, opened_before=opened_before)
    growing.seek(at(3) + opened_before)
    assert drained(growing) == [4, 5]
    replayed = ReplaySource(recording(6), opened_before=opened_before)
    replayed.seek(at(3) + opened_before)
    assert replayed.market_time(HandClock().now()) == at(3) + opened_before
    assert minutes(replayed) == [4, 5]
    assert replayed.market_time(HandClock().now()) == at(5) + opened_before


def test_a_bar_may_have_several_publications(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("timestamp,symbol,close,rating,available_at\n")
    source = GrowingFile(path, settle_s=0.0)
    source.seek(None)
    lines = [f"{at(1).isoformat()},A,1.0,{rating},{at(day).isoformat()}\n" for rating, day in ((3, 1), (4, 2), (4, 2))]
    appended(path, "".join(lines))
    bars = source.next(0.0)
    assert bars is not None
    assert bars["rating"].to_list() == [3, 4]
    assert drained(source) == ["duplicate_bar"]


def test_a_file_without_the_columns_of_bars_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("time,symbol\n")
    with pytest.raises(UnusableBarsError, match="no column timestamp"):
        GrowingFile(path).history(None)
