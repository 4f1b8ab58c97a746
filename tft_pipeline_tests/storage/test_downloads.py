"""Downloads from an exchange on loopback: days on disk, going on after a kill, gaps, the unfinished candle."""

import errno
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("ccxt", reason="the extra [exchanges] is not installed")

from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage import stored_days
from tft_pipeline.storage.downloads import GAPS_FILE, Download, Step, download_bars
from tft_pipeline.storage.exchange import DownloadFailedError, Patience, open_exchange
from tft_pipeline.storage.sources import read_source
from tft_pipeline.storage.stored_days import SCHEMA, StoredDayError, write_day
from tft_pipeline_tests import exchange_server as faults
from tft_pipeline_tests.exchange_server import MINUTE_MS, ExchangeServer, at_ms, candle, serving

HASTE = Patience(attempts=3, first_wait_s=0.01, most_wait_s=0.01)
MINUTE = timedelta(minutes=1)
MARKET = "BTC%2FUSDT"
"""Folder of the market with the id BTCUSDT."""
DAYS = ["2025-03-01", "2025-03-02", "2025-03-03"]


@pytest.fixture
def server() -> Iterator[ExchangeServer]:
    listed = {"BTCUSDT": "2025-01-01T00:00", "ETHUSDT": "2025-03-02T06:00"}
    with serving(ExchangeServer("2025-03-04T02:10:30", listed)) as running:
        yield running


def download(
    server: ExchangeServer,
    folder: Path,
    symbols: tuple[str, ...] = ("BTCUSDT",),
    days: int = 3,
    end: str | None = "2025-03-04T00:00",
    step: Callable[[Step], None] = lambda _: None,
) -> Download:
    opened = open_exchange("binance", url=server.url, interval="1m", patience=HASTE, report=lambda _: None)
    last = None if end is None else datetime.fromisoformat(end).replace(tzinfo=UTC)
    return download_bars(opened, symbols, interval="1m", days=days, end=last, folder=folder, step=step)


def files(folder: Path) -> list[str]:
    """Names of all files, those of days without their checksum."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(re.sub(r"\.[0-9a-f]{64}\.parquet$", ".parquet", name) for name in names)


def day_file(folder: Path, day: str = DAYS[-1]) -> Path:
    (path,) = (folder / MARKET).glob(f"{day}.*.parquet")
    return path


def asked_days(server: ExchangeServer) -> list[str]:
    return sorted({since[:5] for _, since in server.asked})


def by_loop(first: str, last: str, absent: set[int] = frozenset()) -> pl.DataFrame:
    """The bars that close after `first` and until `last`, made one at a time."""
    rows = [candle(ms) for ms in range(at_ms(first), at_ms(last), MINUTE_MS) if ms not in absent]
    columns = {
        "timestamp": [datetime.fromtimestamp(row[0] / 1000, UTC) + MINUTE for row in rows],
        "symbol": ["BTCUSDT"] * len(rows),
    }
    numbers = {name: [float(row[k]) for row in rows] for k, name in enumerate(SCHEMA.names()[2:], start=1)}
    return pl.DataFrame(columns | numbers, schema=SCHEMA)


def test_openings_become_closes_and_nothing_else_changes(server, tmp_path):
    found = download(server, tmp_path)
    assert found.bars.equals(by_loop("2025-03-01T00:00", "2025-03-04T00:00"))
    assert normalise_bars(found.bars, timezone=None, symbols=None, start=None, end=None, min_bars=1).height == 3 * 1440
    assert found.gaps["BTCUSDT"]["missing"] == 0


def test_a_complete_day_is_one_file_and_is_never_asked_for_again(server, tmp_path):
    first = download(server, tmp_path)
    assert files(tmp_path) == [f"{MARKET}/{day}.parquet" for day in DAYS] + [f"{MARKET}/{GAPS_FILE}"]
    server.asked.clear()
    again = download(server, tmp_path)
    assert again.bars.equals(first.bars)
    assert server.asked == []


def test_the_folder_of_a_symbol_is_a_source_of_bars(server, tmp_path):
    download(server, tmp_path)
    assert read_source(tmp_path / MARKET).equals(by_loop("2025-03-01T00:00", "2025-03-04T00:00"))


def test_the_unfinished_candle_is_left_out_and_the_day_that_goes_on_is_not_stored(server, tmp_path):
    found = download(server, tmp_path, days=1, end=None)
    assert found.bars.equals(by_loop("2025-03-03T02:10", "2025-03-04T02:10"))
    assert files(tmp_path) == [f"{MARKET}/2025-03-03.parquet", f"{MARKET}/{GAPS_FILE}"]
    server.now = "2025-03-04T02:15:00"
    server.asked.clear()
    later = download(server, tmp_path, days=1, end=None)
    assert later.bars.equals(by_loop("2025-03-03T02:15", "2025-03-04T02:15"))
    assert asked_days(server) == ["03-04"]


@pytest.mark.parametrize(("now", "stored"), [("2025-03-04T00:04:59", 2), ("2025-03-04T00:05:00", 3)])
def test_a_day_is_stored_when_it_has_settled(server, tmp_path, now, stored):
    server.now = now
    download(server, tmp_path)
    assert len(files(tmp_path)) == stored + 1


def test_a_period_that_begins_within_a_day_stores_the_whole_day(server, tmp_path):
    found = download(server, tmp_path, days=1, end="2025-03-03T10:00")
    assert found.bars.equals(by_loop("2025-03-02T10:00", "2025-03-03T10:00"))
    assert read_source(tmp_path / MARKET).equals(by_loop("2025-03-02T00:00", "2025-03-04T00:00"))


def test_an_end_in_the_future_is_now(server, tmp_path):
    found = download(server, tmp_path, days=1, end="2030-01-01")
    assert found.bars["timestamp"].max() == datetime(2025, 3, 4, 2, 10, tzinfo=UTC)


class Killed(BaseException):
    """What a killed process looks like to the code that was running."""


@pytest.mark.fault("kill_snapshot")
@pytest.mark.parametrize("after", [1, 2])
def test_a_download_that_was_killed_goes_on_where_it_was(server, tmp_path, after):
    def kill(step: Step) -> None:
        if step.done == after:
            raise Killed

    with pytest.raises(Killed):
        download(server, tmp_path, step=kill)
    assert files(tmp_path) == [f"{MARKET}/{day}.parquet" for day in DAYS[:after]]
    server.asked.clear()
    steps: list[Step] = []
    found = download(server, tmp_path, step=steps.append)
    assert found.bars.equals(by_loop("2025-03-01T00:00", "2025-03-04T00:00"))
    assert asked_days(server) == [day[5:] for day in DAYS[after:]]
    assert [step.fetched for step in steps] == [*[0] * after, *range(1, 4 - after)]
    assert [step.done for step in steps] == [1, 2, 3]
    assert {step.all for step in steps} == {3}
    assert [step.day for step in steps] == [date.fromisoformat(day) for day in DAYS]


def test_a_download_that_failed_keeps_its_complete_days(server, tmp_path):
    server.faults.extend([None, None, *[faults.broken] * 3])
    with pytest.raises(DownloadFailedError, match="complete days are kept"):
        download(server, tmp_path)
    assert files(tmp_path) == [f"{MARKET}/{DAYS[0]}.parquet"]
    assert download(server, tmp_path).bars.height == 3 * 1440


@pytest.mark.parametrize(
    "fault", [faults.limited("0"), faults.broken, faults.dropped, faults.torn, faults.half, faults.nonsense]
)
def test_no_passing_failure_changes_a_bar(server, tmp_path, fault):
    server.faults.extend([fault, None, fault])
    assert download(server, tmp_path).bars.equals(by_loop("2025-03-01T00:00", "2025-03-04T00:00"))


@pytest.mark.parametrize("fault", [faults.shortened, faults.twice])
def test_a_short_page_and_a_repeated_row_lose_and_double_nothing(server, tmp_path, fault):
    server.faults.extend([fault] * 4)
    found = download(server, tmp_path)
    assert found.bars.equals(by_loop("2025-03-01T00:00", "2025-03-04T00:00"))


def test_each_page_begins_with_the_last_candle_of_the_one_before(server, tmp_path):
    download(server, tmp_path, days=1)
    assert server.asked == [("BTCUSDT", "03-03T00:00"), ("BTCUSDT", "03-03T16:39")]


def test_pages_that_contradict_each_other_are_refused(server, tmp_path):
    server.faults.extend([None, faults.contradicting])
    with pytest.raises(DownloadFailedError) as caught:
        download(server, tmp_path, days=1)
    assert "says two things of BTCUSDT at 2025-03-03 16:39:00+00:00" in str(caught.value)
    assert "99.0" in str(caught.value)
    assert files(tmp_path) == []


def test_gaps_are_counted_listed_and_never_filled(server, tmp_path):
    server.absent = {at_ms("2025-03-02T05:00") + k * MINUTE_MS for k in (0, 1, 2, 60)}
    found = download(server, tmp_path)
    assert found.bars.equals(by_loop("2025-03-01T00:00", "2025-03-04T00:00", server.absent))
    said = found.gaps["BTCUSDT"]
    assert said["missing"] == 4
    assert said["longest"] == [
        {"first": "2025-03-02T05:01:00+00:00", "bars": 3},
        {"first": "2025-03-02T06:01:00+00:00", "bars": 1},
    ]
    assert (said["asked_from"], said["asked_until"]) == ("2025-03-01T00:00:00+00:00", "2025-03-04T00:00:00+00:00")
    assert json.loads((tmp_path / MARKET / GAPS_FILE).read_text()) == said


def test_a_gap_longer_than_a_page_ends_no_day(server, tmp_path):
    server.absent = {at_ms("2025-03-03T01:00") + k * MINUTE_MS for k in range(1200)}
    found = download(server, tmp_path, days=1)
    assert found.bars.height == 1440 - 1200
    assert found.gaps["BTCUSDT"]["longest"] == [{"first": "2025-03-03T01:01:00+00:00", "bars": 1200}]


def test_bars_that_stop_before_the_end_are_a_gap(server, tmp_path):
    server.absent = {at_ms("2025-03-03T12:00") + k * MINUTE_MS for k in range(3000)}
    found = download(server, tmp_path)
    assert found.gaps["BTCUSDT"]["longest"] == [{"first": "2025-03-03T12:01:00+00:00", "bars": 720}]
    assert found.gaps["BTCUSDT"]["last"] == "2025-03-03T12:00:00+00:00"


def test_a_day_without_a_bar_is_asked_for_again(server, tmp_path):
    found = download(server, tmp_path, ("BTCUSDT", "ETHUSDT"))
    assert files(tmp_path / "ETH%2FUSDT") == ["2025-03-02.parquet", "2025-03-03.parquet", GAPS_FILE]
    assert found.gaps["ETHUSDT"]["first"] == "2025-03-02T06:01:00+00:00"
    assert found.gaps["ETHUSDT"]["asked_from"] == "2025-03-01T00:00:00+00:00"
    assert found.gaps["ETHUSDT"]["missing"] == 0
    assert found.bars["symbol"].unique().sort().to_list() == ["BTCUSDT", "ETHUSDT"]
    server.asked.clear()
    download(server, tmp_path, ("BTCUSDT", "ETHUSDT"))
    assert {symbol for symbol, _ in server.asked} == {"ETHUSDT"}
    assert asked_days(server) == ["03-01"]


def test_a_symbol_without_a_bar_in_the_period_is_refused(server, tmp_path):
    with pytest.raises(
        DownloadFailedError, match=r"no bar of ETHUSDT between 2025-02-27 00:00 and 2025-03-01 00:00 UTC"
    ):
        download(server, tmp_path, ("ETHUSDT",), days=2, end="2025-03-01")


def test_an_unknown_symbol_is_refused_before_anything_is_asked(server, tmp_path):
    with pytest.raises(ConfigurationError, match="near are BTCUSDT"):
        download(server, tmp_path, ("ETHUSDT", "BTCUSD"))
    assert server.asked == []
    assert files(tmp_path) == []


@pytest.mark.fault("flipped_byte")
def test_of_flipped_bits_of_a_stored_day_not_one_is_read(server, tmp_path):
    download(server, tmp_path, days=1)
    path = day_file(tmp_path)
    whole, stored = path.read_bytes(), by_loop("2025-03-03T00:00", "2025-03-04T00:00")
    draw = random.Random(1)
    silent = 0
    for _ in range(30):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with suppress(pl.exceptions.PolarsError):
            silent += not pl.read_parquet(path).equals(stored)
        with pytest.raises(
            StoredDayError, match=r"2025-03-03\.[0-9a-f]{64}\.parquet is damaged: .*; delete it, and the day"
        ):
            download(server, tmp_path, days=1)
    assert silent > 5, "the file format itself finds them"
    path.unlink()
    assert download(server, tmp_path, days=1).bars.equals(stored)


@pytest.mark.parametrize(
    ("bars", "words"),
    [
        (pl.DataFrame({"a": [1]}), r"has columns .*: delete it"),
        (by_loop("2025-03-02T00:00", "2025-03-03T00:00"), "holds other bars than those of BTCUSDT on 2025-03-03"),
        (by_loop("2025-03-03T00:00", "2025-03-04T00:01"), "holds other bars"),
        (by_loop("2025-03-03T00:00", "2025-03-04T00:00").reverse(), "holds other bars .* sorted"),
        (pl.concat([by_loop("2025-03-03T00:00", "2025-03-03T00:01")] * 2), "holds other bars"),
        (by_loop("2025-03-03T00:00", "2025-03-04T00:00").with_columns(symbol=pl.lit("ETHUSDT")), "holds other bars"),
    ],
)
def test_a_file_that_is_no_day_of_bars_is_refused_with_what_to_do(server, tmp_path, bars, words):
    write_day(tmp_path / MARKET, date(2025, 3, 3), bars)
    with pytest.raises(StoredDayError, match=words):
        download(server, tmp_path, days=1)
    assert server.asked == []


def test_two_files_of_a_day_and_one_without_a_checksum_are_refused(server, tmp_path):
    download(server, tmp_path, days=1)
    path = day_file(tmp_path)
    shutil.copy(path, path.with_name("2025-03-03.parquet"))
    with pytest.raises(StoredDayError, match=r"has 2 files of 2025-03-03, .*; delete them"):
        download(server, tmp_path, days=1)
    path.unlink()
    with pytest.raises(StoredDayError, match=r"2025-03-03\.parquet is damaged"):
        download(server, tmp_path, days=1)


@pytest.mark.fault("disk_full")
def test_a_full_disk_is_a_line_and_keeps_what_was_stored(server, tmp_path, monkeypatch):
    real = stored_days.fsync_tree
    calls = []

    def full(folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(folder)

    monkeypatch.setattr(stored_days, "fsync_tree", full)
    with pytest.raises(StoredDayError, match=rf"{MARKET} takes no file \(No space left on device\): make room"):
        download(server, tmp_path)
    assert files(tmp_path) == [f"{MARKET}/{DAYS[0]}.parquet"]
    server.asked.clear()
    assert download(server, tmp_path).bars.height == 3 * 1440
    assert asked_days(server) == [day[5:] for day in DAYS[1:]]


def empty(handler: object, _: faults.Rows) -> None:
    faults.send(handler, [])  # type: ignore[arg-type]


def holed(handler: object, rows: faults.Rows) -> None:
    faults.send(handler, rows[:100] + rows[200:])  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", [empty, holed])
@pytest.mark.parametrize("page", [0, 1])
def test_what_lacks_is_asked_for_twice_before_a_day_counts(server, tmp_path, fault, page):
    server.faults.extend([*[None] * page, fault])
    found = download(server, tmp_path, days=1)
    assert found.bars.equals(by_loop("2025-03-03T00:00", "2025-03-04T00:00"))
    assert found.gaps["BTCUSDT"]["missing"] == 0


def test_what_lacks_twice_is_told_as_a_gap(server, tmp_path):
    server.faults.extend([None, empty, None, empty])
    found = download(server, tmp_path, days=1)
    assert found.gaps["BTCUSDT"]["missing"] == 440
    assert found.gaps["BTCUSDT"]["longest"] == [{"first": "2025-03-03T16:41:00+00:00", "bars": 440}]


def test_a_bar_that_cannot_be_is_never_stored(server, tmp_path):
    def zero(handler: object, rows: faults.Rows) -> None:
        faults.send(handler, [[rows[0][0], *["0.0"] * 4, *rows[0][5:]], *rows[1:]])  # type: ignore[arg-type]

    server.faults.extend([None, None, zero])
    with pytest.raises(
        DownloadFailedError, match=r"bars of BTCUSDT on 2025-03-02 that cannot be, .* not positive in 1 .*again later"
    ):
        download(server, tmp_path)
    assert files(tmp_path) == [f"{MARKET}/{DAYS[0]}.parquet"]
    assert download(server, tmp_path).bars.equals(by_loop("2025-03-01T00:00", "2025-03-04T00:00"))


def test_what_lacks_at_the_beginning_is_missing_where_an_older_bar_shows_the_market(server, tmp_path):
    server.absent = {at_ms("2025-03-02T00:00") + k * MINUTE_MS for k in range(90)}
    unknown = download(server, tmp_path, days=2).gaps["BTCUSDT"]
    assert (unknown["missing"], unknown["listed_before"]) == (0, False)
    within = download(server, tmp_path / "other", days=1, end="2025-03-03T00:30").gaps["BTCUSDT"]
    assert (within["missing"], within["listed_before"]) == (0, False)
    server.absent = {at_ms("2025-03-02T00:30") + k * MINUTE_MS for k in range(60)}
    of_one_day = download(server, tmp_path / "third", days=1, end="2025-03-03T00:40").gaps["BTCUSDT"]
    assert (of_one_day["missing"], of_one_day["listed_before"]) == (50, True)
    server.absent = {at_ms("2025-03-02T00:00") + k * MINUTE_MS for k in range(90)}
    download(server, tmp_path, days=1, end="2025-03-02")  # the day before comes to lie on disk
    known = download(server, tmp_path, days=2).gaps["BTCUSDT"]
    assert (known["missing"], known["listed_before"]) == (90, True)
    assert known["longest"] == [{"first": "2025-03-02T00:01:00+00:00", "bars": 90}]


def test_a_market_has_one_name_and_one_folder_however_it_was_asked_for(server, tmp_path):
    first = download(server, tmp_path, days=1)
    server.asked.clear()
    found = download(server, tmp_path, ("BTC/USDT",), days=1)
    assert found.bars.equals(first.bars)
    assert found.bars["symbol"].unique().to_list() == ["BTCUSDT"]
    assert server.asked == []
    with pytest.raises(ConfigurationError, match="--symbols BTCUSDT and BTC/USDT are one market of binance"):
        download(server, tmp_path, ("BTCUSDT", "BTC/USDT"))
