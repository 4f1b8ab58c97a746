"""`tft snapshot`: bars from files, the generator and an exchange on loopback, frozen; and what it refuses."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.minute_generator import generate_minute_bars
from tft_pipeline.pipeline.bar_sources import SYNTHETIC_END
from tft_pipeline.pipeline.freezing import freeze_bars
from tft_pipeline.storage import artifacts
from tft_pipeline.storage.exchange import Patience
from tft_pipeline.storage.frozen import frozen_snapshot, known_snapshots
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.sources import read_source
from tft_pipeline_tests import exchange_server as faults
from tft_pipeline_tests.exchange_server import ExchangeServer, serving

MINUTE = timedelta(minutes=1)
START = datetime(2025, 3, 1, tzinfo=UTC)


def normalised(bars: pl.DataFrame) -> pl.DataFrame:
    return normalise_bars(bars, timezone=None, symbols=None, start=None, end=None, min_bars=1)


BARS = normalised(generate_minute_bars(("AAA", "BBB"), start=START.date(), days=3, seed=1))
QUARTERS = BARS.filter((pl.col("symbol") == "BBB") & (pl.col("timestamp").dt.minute() % 15 == 0)).with_columns(
    symbol=pl.lit("QUARTER")
)
OPENINGS = BARS.with_columns(pl.col("timestamp") - MINUTE)
RECORDED = Path(os.environ.get("TFT_RECORDED_MINUTES", "no such file"))
HASTE = Patience(attempts=3, first_wait_s=0.01, most_wait_s=0.01)
Freeze = Callable[..., dict[str, Any]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    return Layout(tmp_path / "home")


@pytest.fixture
def freeze(home: Layout) -> Freeze:
    """`freeze_bars` in a home of its own."""

    def run(**options: Any) -> dict[str, Any]:
        return freeze_bars(**({"days": 90, "report": lambda _: None} | options))

    return run


def written(folder: Path, bars: pl.DataFrame, name: str = "bars.parquet") -> Path:
    path = folder / name
    bars.write_parquet(path) if path.suffix == ".parquet" else bars.write_csv(path)
    return path


def test_a_file_is_frozen_and_its_answer_says_what_is_in_it(freeze, home, tmp_path):
    found = freeze(source=written(tmp_path, BARS), days=3)
    folder, snapshot = frozen_snapshot(found["snapshot_id"], home)
    assert snapshot.bars.equals(BARS)
    assert found["folder"] == str(folder)
    assert found["rows"] == BARS.height
    assert found["rows_per_symbol"] == {name: BARS.filter(symbol=name).height for name in ("AAA", "BBB")}
    assert (found["first"], found["last"]) == (BARS["timestamp"].min().isoformat(), BARS["timestamp"].max().isoformat())
    assert found["content_sha256"] == snapshot.manifest["content_sha256"]
    missing = 3 * 1440 - BARS.filter(symbol="AAA").height
    assert found["gaps"]["AAA"]["missing"] == missing
    assert found["symbols"][0].startswith(f"AAA: {3 * 1440 - missing} bars, {missing} missing, most in a row ")
    assert found["train"] == f"tft train --snapshot {found['snapshot_id']}"
    assert snapshot.manifest["source"]["stamp"] == "close"
    assert found["frozen"] == "new"
    assert found["failed"] == []


def test_equal_bars_are_one_snapshot_wherever_they_come_from(freeze, home, tmp_path):
    first = freeze(source=written(tmp_path, BARS))
    shuffled = BARS.sample(fraction=1.0, shuffle=True, seed=0).with_columns(
        pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    )
    for source, stamp in (
        (written(tmp_path, shuffled, "bars.csv"), "close"),
        (written(tmp_path, OPENINGS, "openings.parquet"), "open"),
    ):
        again = freeze(source=source, stamp=stamp)
        assert again["snapshot_id"] == first["snapshot_id"]
        assert again["frozen"] == "as before"
    assert known_snapshots(home) == [first["snapshot_id"]]


def test_the_last_days_up_to_the_newest_bar_are_kept(freeze, home, tmp_path):
    found = freeze(source=written(tmp_path, BARS), days=1)
    kept = frozen_snapshot(found["snapshot_id"], home)[1].bars
    assert kept.equals(BARS.filter(pl.col("timestamp") > START + timedelta(days=2)))
    earlier = freeze(source=written(tmp_path, BARS), days=1, end=datetime(2025, 3, 2, 12))
    kept = frozen_snapshot(earlier["snapshot_id"], home)[1].bars
    noon = START + timedelta(hours=36)
    assert kept.equals(BARS.filter((pl.col("timestamp") > noon - timedelta(days=1)) & (pl.col("timestamp") <= noon)))


def test_with_an_end_the_days_are_counted_from_it_and_bars_that_stop_before_are_said(freeze, home, tmp_path):
    source = written(tmp_path, BARS)
    found = freeze(source=source, days=2, end=datetime(2025, 3, 5, 12))
    kept = frozen_snapshot(found["snapshot_id"], home)[1].bars
    assert kept.equals(BARS.filter(pl.col("timestamp") > START + timedelta(days=2, hours=12)))
    assert "the bars stop at 2025-03-04T00:00:00+00:00, before --end 2025-03-05T12:00:00+00:00" in found["notes"]
    assert not any("before --end" in note for note in freeze(source=source, days=2, end=datetime(2025, 3, 4))["notes"])


def test_a_symbol_of_longer_bars_among_closes_is_said(freeze, tmp_path):
    found = freeze(source=written(tmp_path, pl.concat([BARS, QUARTERS])), days=3)
    (doubt,) = found["notes"]
    assert doubt.startswith("--interval is 1m, and bars of QUARTER stand 0:15:00 apart most often: ")


@pytest.mark.fault("disk_full")
def test_a_full_disk_freezes_nothing_and_says_so_in_a_line(freeze, home, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts, "fsync_tree", full)
    (reason,) = freeze(source=written(tmp_path, BARS))["failed"]
    assert reason.endswith("takes no snapshot (No space left on device): make room there; nothing was frozen")
    assert known_snapshots(home) == []


def test_fewer_days_than_asked_for_are_said(freeze, tmp_path):
    assert "the source holds 3.0 of the 90 days that were asked for" in freeze(source=written(tmp_path, BARS))["notes"]
    assert not freeze(source=written(tmp_path, BARS), days=3)["notes"]


def test_symbols_of_a_file_are_all_or_those_named(freeze, tmp_path):
    found = freeze(source=written(tmp_path, BARS), symbols=("BBB",))
    assert list(found["rows_per_symbol"]) == ["BBB"]


def test_stamps_that_look_like_openings_are_doubted(freeze, tmp_path):
    source = written(tmp_path, OPENINGS)
    (doubt,) = freeze(source=source, days=3)["notes"]
    assert doubt.startswith("timestamps go from 00:00 to 23:59 and were taken as closes")
    assert "--stamp open" in doubt
    assert freeze(source=source, days=3, stamp="open")["notes"] == []


def test_own_columns_are_frozen_with_the_bars(freeze, home, tmp_path):
    own = BARS.with_columns(mood=pl.col("close") / 2.0)
    found = freeze(source=written(tmp_path, own))
    assert frozen_snapshot(found["snapshot_id"], home)[1].bars.equals(own)


def test_an_output_holds_the_frozen_bars(freeze, tmp_path):
    output = tmp_path / "data" / "intraday" / "bars.parquet"
    found = freeze(source=written(tmp_path, OPENINGS), stamp="open", output=output)
    assert found["output"] == str(output)
    assert read_source(output.parent).equals(BARS)


def test_an_output_that_cannot_be_written_freezes_nothing(freeze, home, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(ConfigurationError, match=r"--output .*bars.parquet cannot be written: .*; nothing was frozen"):
        freeze(source=written(tmp_path, BARS), output=tmp_path / "taken" / "bars.parquet")
    assert known_snapshots(home) == []


@pytest.mark.skipif(not RECORDED.is_file(), reason="TFT_RECORDED_MINUTES names no file")
def test_recorded_minutes_are_frozen_by_their_openings(freeze, home):
    found = freeze(source=RECORDED, days=21, stamp="open")
    bars = frozen_snapshot(found["snapshot_id"], home)[1].bars
    assert (found["first"], found["last"]) == ("2023-03-01T00:01:00+00:00", "2023-03-22T00:00:00+00:00")
    assert bars.group_by("symbol").len()["len"].to_list() == [30_240] * 3
    assert found["notes"] == []
    assert "--stamp open" in freeze(source=RECORDED, days=21)["notes"][0]


FAULTY: dict[str, tuple[pl.DataFrame, dict[str, Any], str]] = {
    "no column": (BARS.drop("close"), {}, r"columns \['close'\] are missing"),
    "no rows": (BARS.head(0), {}, "and no rows"),
    "missing price": (BARS.with_columns(close=pl.when(pl.col("volume") > 0).then("close")), {}, "close is missing"),
    "NaN": (BARS.with_columns(close=pl.lit(float("nan"))), {}, "close is missing, non-finite"),
    "a key twice": (pl.concat([BARS, BARS.head(1)]), {}, "1 duplicate"),
    "another symbol": (BARS, {"symbols": ("AAA", "CCC")}, "--symbols CCC: not in bars.parquet, which has AAA, BBB"),
    "naive times": (BARS.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), {}, "or set --timezone"),
    "another interval": (BARS, {"interval": "5m"}, r"--interval is 5m .* 0:01:00 apart .* use --interval 1m"),
    "one bar": (BARS.head(1), {}, "no symbol has two bars"),
    "all later": (BARS, {"end": datetime(2020, 1, 1)}, "--end 2020-01-01.* the oldest bar closes after it"),
    "a symbol without a name": (
        BARS.with_columns(pl.col("symbol").replace("BBB", " ")),
        {},
        r"symbol is empty in \d+ of \d+ rows: .* name them",
    ),
    "a longer bar among openings": (
        pl.concat([OPENINGS.filter(symbol="AAA"), QUARTERS]),
        {"stamp": "open"},
        r"--interval is 1m, and bars of QUARTER stand 0:15:00 apart most often: .* before it closed",
    ),
    "stopped before the period": (
        BARS,
        {"days": 1, "end": datetime(2026, 1, 1)},
        r"AAA, BBB: no bar in the 1 days up to 2026-01-01T00:00:00\+00:00 \(the newest before closes at 2025-03-04T00:00",
    ),
    "a symbol that ended": (
        BARS.filter((pl.col("symbol") == "AAA") | (pl.col("timestamp") < START + timedelta(hours=9))),
        {"days": 1},
        "BBB: no bar in the 1 days up to",
    ),
    "publications": (
        BARS.with_columns(mood=1.0, available_at=pl.col("timestamp") + MINUTE),
        {},
        "available_at with the columns mood: .* data.source of an experiment",
    ),
}


@pytest.mark.fault("bad_bars")
@pytest.mark.parametrize("name", FAULTY)
def test_bars_that_cannot_be_used_are_refused_and_nothing_is_frozen(freeze, home, tmp_path, name):
    bars, options, words = FAULTY[name]
    with pytest.raises(ConfigurationError, match=words) as caught:
        freeze(source=written(tmp_path, bars), **options)
    assert "data.symbols" not in str(caught.value)
    assert known_snapshots(home) == []


def test_naive_times_are_placed_in_the_zone_that_is_named(freeze, home, tmp_path):
    local = BARS.with_columns(pl.col("timestamp").dt.convert_time_zone("Europe/Istanbul").dt.replace_time_zone(None))
    found = freeze(source=written(tmp_path, local), timezone="Europe/Istanbul")
    assert frozen_snapshot(found["snapshot_id"], home)[1].bars.equals(BARS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": Path("absent.parquet")}, "--source absent.parquet: no such file or folder"),
        ({"source": Path("x.csv"), "synthetic": 1}, "--source and --synthetic name two places"),
        ({"exchange": "binance", "synthetic": 1}, "--exchange and --synthetic name two places"),
        ({"synthetic": 1, "stamp": "open"}, "--stamp and --timezone speak of the timestamps in a file"),
        ({"synthetic": 1, "timezone": "UTC"}, "--stamp and --timezone speak of"),
        ({"synthetic": 1, "interval": "5m"}, "--interval is 5m and --synthetic makes bars of 1m only"),
        ({"synthetic": 1, "exchange_url": "http://h"}, "--exchange-url changes nothing with --synthetic"),
        ({"synthetic": 1, "symbols": ("A", "A")}, "--symbols A,A: name each once"),
        ({"synthetic": 1, "end": datetime(2025, 1, 1, 12)}, "made-up bars are whole UTC days"),
        ({"source": Path("x.csv"), "stamp": "open", "interval": "1d"}, "--stamp is open and interval is 1d"),
        ({"synthetic": 1, "days": 3400}, r"--days 3400 x 3 symbols > 10000"),
        ({"synthetic": 1, "output": Path("x.csv")}, r"--output x\.csv: name a file that ends in \.parquet"),
        (
            {"source": Path("x.parquet"), "output": Path("./x.parquet")},
            "--output x.parquet would change the bars of --source",
        ),
        (
            {"source": Path("x"), "output": Path("x/y.parquet")},
            "--output x/y.parquet would change the bars of --source",
        ),
        ({"source": Path("x.csv"), "timezone": "Mars/Base"}, "--timezone 'Mars/Base' is no time zone"),
        ({"synthetic": 1, "days": 5, "end": datetime(1, 1, 3)}, "--end 0001-01-03.* begins before the year 1"),
        ({"source": Path("x.csv"), "end": datetime(1, 1, 3)}, "--end 0001-01-03.* begins before the year 1"),
        (
            {"synthetic": 1, "days": 5, "end": datetime(1970, 1, 3)},
            "made-up bars from 1969-12-29 on: they begin in 1970",
        ),
        ({"synthetic": 1, "end": datetime(9999, 12, 31)}, "end before 2200"),
        ({"synthetic": 1, "days": 1, "symbols": ("",)}, "symbol is empty in"),
        ({"source": Path("x" * 5000)}, "--source x{80}: File name too long"),
        ({"synthetic": 1, "output": Path("x" * 5000 + ".parquet")}, "--output x{80}: File name too long"),
        ({"exchange": "binance", "exchange_url": "http://u:p@h"}, "--exchange-url names a user|--exchange needs ccxt"),
        ({"exchange": "no such"}, "--exchange 'no such'|--exchange needs ccxt"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(freeze, home, options, words):
    with pytest.raises(ConfigurationError, match=words):
        freeze(**options)
    assert not home.home.exists()


def test_one_seed_is_one_snapshot_on_any_day(freeze, home):
    found = freeze(synthetic=7, days=2, symbols=("AAA",))
    assert freeze(synthetic=7, days=2, symbols=("AAA",))["snapshot_id"] == found["snapshot_id"]
    assert freeze(synthetic=8, days=2, symbols=("AAA",))["snapshot_id"] != found["snapshot_id"]
    bars = frozen_snapshot(found["snapshot_id"], home)[1].bars
    made = generate_minute_bars(("AAA",), start=SYNTHETIC_END - timedelta(days=2), days=2, seed=7)
    assert bars.equals(normalised(made))
    assert found["source"] == "generator, seed 7"


def test_made_up_bars_that_were_written_to_a_file_are_the_same_snapshot(freeze, tmp_path):
    output = tmp_path / "made.parquet"
    made = freeze(synthetic=7, days=2, output=output)
    assert freeze(source=output)["snapshot_id"] == made["snapshot_id"]


def test_made_up_bars_say_when_their_regime_changes(freeze):
    notes = freeze(synthetic=7, days=70, symbols=("AAA",), end=datetime(2025, 10, 15))["notes"]
    assert notes == [
        "made up: no direction can be predicted",
        "made up: volatility and volume change at 2025-10-05 00:00 UTC",
    ]


def command(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["snapshot", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return {} if "--json" not in arguments else json.loads(done.stdout)


def test_the_command_answers_for_people_and_for_machines(home, tmp_path):
    source = str(written(tmp_path, BARS))
    found = command("--source", source, "--days", "2", "--symbols", " AAA , BBB ", "--end", "2025-03-03", "--json")
    assert found["last"] == "2025-03-03T00:00:00+00:00"
    assert found["gaps"]["AAA"]["longest"]
    done = CliRunner().invoke(app, ["snapshot", "--source", source, "--days", "2", "--end", "2025-03-03"])
    assert f"snapshot_id: {found['snapshot_id']}\n" in done.stdout
    assert "frozen: as before\n" in done.stdout
    assert "  - AAA: " in done.stdout


def test_a_list_of_no_symbols_is_refused(home):
    with pytest.raises(ConfigurationError, match=r"--symbols ' , ' names none"):
        command("--synthetic", "1", "--symbols", " , ")


def test_bars_of_an_exchange_are_frozen_with_what_did_not_come(freeze, home):
    pytest.importorskip("ccxt", reason="the extra [exchanges] is not installed")
    listed = {"BTCUSDT": "2025-01-01T00:00", "ETHUSDT": "2025-03-02T06:00"}
    server = ExchangeServer("2025-03-04T02:10:30", listed)
    server.absent = {faults.at_ms("2025-03-03T05:00")}
    server.faults.extend([faults.limited("0"), faults.broken])
    lines: list[str] = []
    options: dict[str, Any] = {"exchange": "binance", "symbols": tuple(listed), "days": 2, "patience": HASTE}
    with serving(server):
        found = freeze(**options, exchange_url=server.url, report=lines.append)
        assert len(lines) == 2
        port = server.url.rpartition(":")[2]
        asked = len(server.asked)
        again = freeze(**options, exchange_url=server.url)
        assert len(server.asked) == asked + 2  # today's
    assert again["snapshot_id"] == found["snapshot_id"]
    bars = frozen_snapshot(found["snapshot_id"], home)[1]
    assert bars.bars["timestamp"].max() == datetime(2025, 3, 4, 2, 10, tzinfo=UTC)
    assert found["symbols"] == [
        "BTCUSDT: 2879 bars, 1 missing, most in a row 1 from 2025-03-03T05:01:00+00:00",
        "ETHUSDT: 2649 bars, 1 missing, most in a row 1 from 2025-03-03T05:01:00+00:00",
    ]
    (late,) = found["notes"]
    assert late.startswith(
        "ETHUSDT: the first bar closes at 2025-03-02T06:01:00+00:00, asked for from 2025-03-02T02:10"
    )
    assert bars.manifest["source"]["gaps"]["BTCUSDT"]["missing"] == 1
    assert bars.manifest["source"]["own_address"] is False
    assert "127.0.0.1" not in json.dumps(bars.manifest)
    folder = home.downloads(f"binance@127.0.0.1%3A{port}", "1m")
    assert len(list((folder / "BTC%2FUSDT").glob("2025-03-03.*.parquet"))) == 1


def test_an_exchange_that_does_not_answer_is_a_failure_and_freezes_nothing(freeze, home):
    pytest.importorskip("ccxt", reason="the extra [exchanges] is not installed")
    server = ExchangeServer("2025-03-04T02:10:30", {"BTCUSDT": "2025-01-01T00:00"})
    server.faults.extend([faults.broken] * 3)
    with serving(server):
        found = freeze(exchange="binance", symbols=("BTCUSDT",), days=1, patience=HASTE, exchange_url=server.url)
    (reason,) = found["failed"]
    assert reason.startswith("binance did not give candles of BTC/USDT in 3 attempts")
    assert known_snapshots(home) == []


@pytest.mark.fault("kill_snapshot")
def test_a_command_that_was_killed_goes_on_where_it_was(home, tmp_path):
    pytest.importorskip("ccxt", reason="the extra [exchanges] is not installed")
    server = ExchangeServer("2025-03-04T00:10:00", {"BTCUSDT": "2025-01-01T00:00"})
    stuck = [False]

    def hang(handler: object, _: faults.Rows) -> None:
        stuck[0] = True
        time.sleep(20.0)

    server.faults.extend([None, None, None, hang])  # two pages a day: within the second day
    with serving(server):
        options = ["--exchange", "binance", "--symbols", "BTCUSDT", "--days", "3", "--end", "2025-03-04"]
        line = [sys.executable, "-m", "tft_pipeline", "snapshot", *options, "--exchange-url", server.url, "--json"]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not stuck[0] and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.communicate()
        (stored,) = (home.home / "downloads").rglob("*.parquet")
        assert stored.name.startswith("2025-03-01.")
        before = stored.stat().st_mtime_ns
        server.asked.clear()
        found = command(*options, "--exchange-url", server.url, "--json")
    assert found["rows"] == 3 * 1440
    assert sorted({since[:5] for _, since in server.asked}) == ["03-02", "03-03"]
    assert stored.stat().st_mtime_ns == before
