"""Bars in local time: the zone is asked for and told, an hour that clocks repeat is named, no command is a circle."""

import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.proposing import propose_experiment

ZONE = "America/New_York"
N = 24 * 330


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def local_hours(zone: str = ZONE, *, pattern: str = "%Y-%m-%d %H:%M:%S", time: str = "timestamp") -> pl.DataFrame:
    """Hours of a market that never closes, written in local time without a zone, as exports do; over one autumn."""
    hours = pl.Series([datetime(2019, 1, 1) + timedelta(hours=k) for k in range(N)]).dt.replace_time_zone("UTC")
    chance = np.random.default_rng(5)
    parts = [
        pl.DataFrame(
            {
                time: hours.dt.convert_time_zone(zone).dt.strftime(pattern),
                "symbol": [name] * N,
                "close": 100 * np.exp(0.001 * chance.normal(size=N).cumsum()),
            }
        )
        for name in ("AAA", "BBB")
    ]
    return pl.concat(parts)


def weekdays(frame: pl.DataFrame) -> pl.DataFrame:
    """Without the nights in which clocks change, which are Sundays."""
    return frame.filter(pl.col("timestamp").str.to_datetime().dt.weekday() < 6)


def refusal(*given: object, **options: object) -> str:
    with pytest.raises(ConfigurationError) as told:
        propose_experiment(*given, **options)  # type: ignore[arg-type]
    return str(told.value)


@pytest.mark.parametrize(
    ("pattern", "zone"), [("%d.%m.%Y %H:%M", "ZONE"), ("%d.%m.%Y 00:00", "UTC"), ("%d.%m.%Y", "UTC"), ("%F %T", "ZONE")]
)
def test_the_line_to_paste_asks_for_the_zone_of_bars_that_state_a_time_of_day(
    pattern: str, zone: str, folder: Path
) -> None:
    local_hours(pattern=pattern, time="DateTime").write_csv(folder / "fx.csv")
    told = refusal(Path("fx.csv"))
    assert f"`tft init fx.csv --convert fx.parquet --timezone {zone}`" in told
    assert ("such as America/New_York, and UTC only if the source says so" in told) == (zone == "ZONE")
    assert "UTC suits" not in told or zone == "UTC"


@pytest.mark.parametrize("convert", [None, Path("copy.parquet")])
def test_the_zone_that_was_assumed_is_warned_about_and_stands_in_the_experiment(
    convert: Path | None, folder: Path
) -> None:
    weekdays(local_hours()).write_csv(folder / "fx.csv")
    found = propose_experiment(Path("fx.csv"), timezone=ZONE, convert=convert)
    told = f"times without a zone were taken as {ZONE}, because --timezone says so (the first bar closes 2019-01-01 00:00 UTC)"
    assert told in found["warnings"][0]
    comments = " ".join(Path(found["experiment_file"]).read_text().replace("#", " ").split())
    assert f"Warning: {told}" in comments


def test_no_zone_is_assumed_of_times_that_state_one(folder: Path) -> None:
    weekdays(local_hours()).with_columns(pl.col("timestamp") + "+00:00").write_csv(folder / "fx.csv")
    found = propose_experiment(Path("fx.csv"), timezone="UTC")
    assert not any("times without a zone" in sentence for sentence in found["warnings"])


@pytest.mark.parametrize(("zone", "day", "hour"), [(ZONE, "2019-11-03", "01"), ("Europe/Berlin", "2019-10-27", "02")])
def test_an_hour_that_occurs_twice_is_refused_with_a_way_out_that_is_no_circle(
    zone: str, day: str, hour: str, folder: Path
) -> None:
    local_hours(zone).write_csv(folder / "dst.csv")
    told = f"the hour {hour}:00 of {day} occurs twice in {zone}, 4 rows in such hours: export the times in UTC or with offsets"
    for options in ({}, {"convert": Path("copy.parquet")}):
        message = refusal(Path("dst.csv"), timezone=zone, **options)
        assert told in message
        assert "tft init" not in message
    message = refusal(Path("dst.csv"), timezone="UTC")
    assert f"2 duplicate (timestamp, symbol) keys (first at {day}T{hour}:00:00+00:00 AAA, 2 rows)" in message
    assert "these look like local times of a zone with summer time: two different bars" in message
    assert "keep one row" not in message
    assert "these look like local times" in refusal(Path("dst.csv"), timezone="UTC", convert=Path("copy.parquet"))


def test_bars_that_are_twice_at_another_time_are_not_called_local_times(folder: Path) -> None:
    frame = weekdays(local_hours())
    pl.concat([frame, frame.head(1).with_columns(pl.col("close") + 1)]).write_csv(folder / "twice.csv")
    message = refusal(Path("twice.csv"), timezone="UTC")
    assert "keep one row a key" in message
    assert "local times" not in message


def levels(folder: Path, name: str) -> None:
    rows = [f"{datetime(2019, 1, 1) + timedelta(days=k):%F},{100 + k % 7},{50 + k % 5}" for k in range(900)]
    (folder / name).write_text("\n".join(["Price,Close,Close", "Ticker,AAA,BBB", "Date,,", *rows]) + "\n")


def test_several_header_lines_are_refused_with_a_command_that_works(folder: Path) -> None:
    levels(folder, "yf.csv")
    command = re.search(r"`tft init (\S+) --convert (\S+) --timezone (\S+)` write a copy", refusal(Path("yf.csv")))
    assert command is not None
    assert command.groups() == ("yf.csv", "yf.parquet", "UTC")
    propose_experiment(Path(command[1]), convert=Path(command[2]), timezone=command[3])
    assert Path("yf.parquet").is_file()


def test_every_file_of_a_folder_that_cannot_be_read_is_named_with_its_command(folder: Path) -> None:
    (folder / "mine").mkdir()
    levels(folder / "mine", "a.csv")
    (folder / "mine" / "b.csv").write_text("timestamp,symbol,close\n2020-01-01T00:00:00Z,A,1\n")
    levels(folder / "mine", "c.csv")
    told = refusal(Path("mine"))
    assert told.startswith("mine: 2 of 3 files cannot be read:")
    for name in ("a", "c"):
        assert f"`tft init mine/{name}.csv --convert mine/{name}.parquet --timezone UTC` write a copy" in told
