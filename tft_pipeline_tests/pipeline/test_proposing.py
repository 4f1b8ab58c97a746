"""`tft init`: every mistake of a real file gets its sentence; what it writes is an experiment that a run would plan."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.proposing import propose_experiment
from tft_pipeline.pipeline.rerun_plan import plan_run
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline_tests.conftest import random_bars

N = 900


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    return tmp_path


def bars(n: int = N, **columns: pl.Expr) -> pl.DataFrame:  # type: ignore[no-untyped-def]
    return random_bars(n).with_columns(**columns)


def csv(path: Path, frame: pl.DataFrame) -> Path:
    frame.write_csv(path)
    return path


def text(frame: pl.DataFrame, pattern: str) -> pl.DataFrame:
    return frame.with_columns(pl.col("timestamp").dt.strftime(pattern))


def wide(frame: pl.DataFrame) -> pl.DataFrame:
    return text(frame.pivot("symbol", index="timestamp", values="close"), "%Y-%m-%d").rename({"timestamp": "Date"})


SHOUTED = {"timestamp": "Date", "symbol": "Ticker", "close": "Close"}
REFUSED: dict[str, tuple[Callable[[], pl.DataFrame], tuple[str, ...]]] = {
    "dates as text without a zone": (lambda: text(bars(), "%Y-%m-%d"), ("timestamp has no time zone", "--timezone")),
    "day first": (lambda: text(bars(), "%d/%m/%Y"), ("written day first", "write year-month-day", "--convert")),
    "month first": (lambda: text(bars(), "%m/%d/%Y"), ("written month first",)),
    "slashes": (lambda: text(bars(), "%Y/%m/%d"), ("timestamp is written with '/' ('2020/01/01')", "--convert")),
    "two dates": (
        lambda: text(bars().filter(pl.col("timestamp").dt.day() < 12), "%d/%m/%Y"),
        ("which is two dates", "--dates day-first"),
    ),
    "milliseconds": (
        lambda: bars().with_columns(pl.col("timestamp").dt.epoch("ms")),
        ("milliseconds since 1970", "2020-01-01T00:00:00Z"),
    ),
    "seconds": (lambda: bars().with_columns(pl.col("timestamp").dt.epoch("s")), ("seconds since 1970",)),
    "other names": (lambda: bars().rename(SHOUTED), ("rename 'Date' to 'timestamp'", "'Ticker' to 'symbol'")),
    "wide": (lambda: wide(bars()), ("the table is wide, a column a symbol (AAA, BBB, CCC, DDD)", "one row a symbol")),
    "one market": (lambda: bars().filter(pl.col("symbol") == "AAA").drop("symbol"), ("add a column symbol",)),
    "thousands": (
        lambda: bars(close=pl.format("1,{}.5", (pl.col("close") + 100).cast(pl.Int64))),
        ("close is text with thousands separators",),
    ),
    "decimal commas": (
        lambda: bars(close=pl.format("{},5", pl.col("close").cast(pl.Int64))),
        ("close is text with decimal commas",),
    ),
    "words in prices": (lambda: bars(close=pl.lit("n.a.")), ("close is text (such as 'n.a.')",)),
    "no rows": (lambda: bars().clear(), ("no rows",)),
    "a key twice": (lambda: pl.concat([bars(), bars().head(1)]), ("1 duplicate (timestamp, symbol) keys", "AAA")),
    "blank closes": (
        lambda: bars(close=pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise("close")),
        ("close is missing, non-finite or not positive in 1",),
    ),
    "rates": (
        lambda: bars(close=pl.col("close") - pl.col("close").median()),
        ("as rates and spreads are", "or shift them"),
    ),
    "a ticker like a field": (
        lambda: wide(bars()).rename({"AAA": "C"}),
        ("fields of one table or markets of a wide one, such as 'BBB'",),
    ),
    "date and time apart": (
        lambda: bars().select(
            pl.col("timestamp").dt.strftime("%Y-%m-%d").alias("Date"), pl.lit("09:30").alias("Time"), "symbol", "close"
        ),
        ("Date and Time are two columns: join them",),
    ),
    "hours alone": (
        lambda: bars().select(
            pl.col("timestamp").dt.strftime("%Y-%m-%d").alias("Date"), pl.lit(9).alias("Time"), "symbol", "close"
        ),
        ("Date and Time are two columns: join them", "Time holds 9: hours or minutes? write 09:00"),
    ),
    "date and time run together": (
        lambda: bars(timestamp=pl.col("timestamp").dt.strftime("%Y%m%d%H%M").cast(pl.Int64)),
        ("timestamp holds date and time run together (202001010000): write 2020-01-01T00:00",),
    ),
    "negative volume": (lambda: bars(volume=pl.lit(-1.0)), ("volume is missing, non-finite or negative",)),
    "bars of a week": (
        lambda: bars().filter(pl.col("timestamp").dt.weekday() == 3),
        ("stand 7 days, 0:00:00 apart", "make bars of one of these lengths"),
    ),
    "too few": (lambda: bars(200), ("too few bars: 200", "are needed", "more bars")),
    "prices that do not move": (lambda: bars(close=pl.lit(5.0)), ("not one of 900 bars has a label",)),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_file_that_cannot_be_used_is_refused_with_what_to_do(case: str, folder: Path) -> None:
    make, words = REFUSED[case]
    csv(folder / "mine.csv", make())
    done = CliRunner().invoke(app, ["init", "mine.csv"])
    assert isinstance(done.exception, ConfigurationError)  # exit code 2
    assert [word for word in words if word not in str(done.exception)] == [], str(done.exception)
    assert not (folder / "experiments").exists()


def test_no_copy_is_offered_where_it_would_be_refused_for_the_same_reason(folder: Path) -> None:
    for case, (make, _) in REFUSED.items():
        if case in ("hours alone", "date and time run together", "a ticker like a field"):
            with pytest.raises(ConfigurationError) as told:
                propose_experiment(csv(folder / "mine.csv", make()))
            assert "--convert" not in str(told.value), case


def test_everything_that_is_wrong_with_columns_times_and_numbers_is_told_at_once(folder: Path) -> None:
    frame = text(bars(close=pl.format("1,{}.5", (pl.col("close") + 100).cast(pl.Int64))), "%d.%m.%Y").rename(SHOUTED)
    with pytest.raises(ConfigurationError) as told:
        propose_experiment(csv(folder / "mine.csv", frame))
    assert str(told.value).count("\n  - ") == 3
    assert "tft init mine.csv --convert mine.parquet --timezone UTC" in str(told.value)


def with_tick() -> pl.DataFrame:
    frame = bars()
    there = (pl.col("symbol") == "AAA") & (pl.col("timestamp") == frame["timestamp"][300])
    return frame.with_columns(close=pl.when(there).then(10 * pl.col("close")).otherwise("close"))


def halved() -> pl.DataFrame:
    frame = bars()
    before = (pl.col("symbol") == "AAA") & (pl.col("timestamp") < frame["timestamp"][400])
    return frame.with_columns(close=pl.when(before).then(pl.col("close") * 2).otherwise("close"))


SATURDAY = pl.DataFrame({"timestamp": [datetime(2021, 3, 6, tzinfo=UTC)], "symbol": ["AAA"], "close": [100.0]})
LOWER = pl.when((pl.col("symbol") == "BBB") & (pl.int_range(pl.len()) % 2 == 0)).then(pl.lit("bbb")).otherwise("symbol")
WARNED: dict[str, tuple[Callable[[], pl.DataFrame], str]] = {
    "a tick": (with_tick, "looks like a bad tick"),
    "a split": (halved, "AAA goes from"),
    "mixed case": (lambda: bars(symbol=LOWER), "differ in case or blanks only"),
    "a gap": (
        lambda: bars().filter((pl.col("symbol") != "CCC") | ~pl.int_range(pl.len()).is_between(2000, 2010)),
        "CCC lacks 11 of 900 bars that other symbols have",
    ),
    "a hole in all": (
        lambda: bars().filter(~pl.col("timestamp").dt.date().is_between(datetime(2021, 6, 1), datetime(2021, 6, 20))),
        "no symbol has a bar on 14 usual trading days from 2021-06-01 on: longer than a holiday",
    ),
    "a Saturday": (lambda: pl.concat([bars(), SATURDAY]), "(Sat 2021-03-06) only AAA has a bar"),
    "the future": (
        lambda: bars().with_columns(pl.col("timestamp") + timedelta(days=36_500)),
        "bars close after now",
    ),
    "own columns": (lambda: bars(row=pl.int_range(pl.len())), "columns row become features of your own"),
    "no volume": (bars, "no column open, high, low, volume"),
    "one symbol": (lambda: bars().filter(pl.col("symbol") == "AAA"), "1 symbol: a verdict rests on few"),
    "a short one": (
        lambda: bars().filter((pl.col("symbol") != "DDD") | (pl.col("timestamp") > datetime(2023, 4, 1, tzinfo=UTC))),
        "DDD left out by data.symbols: too few bars for one window",
    ),
    "unsorted": (lambda: bars().sample(fraction=1.0, shuffle=True, seed=1), ""),
}


@pytest.mark.parametrize("case", list(WARNED))
def test_what_looks_wrong_is_said_and_the_experiment_is_written_all_the_same(case: str, folder: Path) -> None:
    make, words = WARNED[case]
    make().write_parquet(folder / "mine.parquet")
    done = CliRunner().invoke(app, ["init", "mine.parquet", "--json"])
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert any(words in sentence for sentence in found["warnings"]), found["warnings"]
    assert read_experiment(folder / "experiments" / "mine.yaml").experiment.name == "mine"


def test_honest_bars_bring_no_finding(folder: Path) -> None:
    bars().write_parquet(folder / "mine.parquet")
    found = propose_experiment(folder / "mine.parquet")
    assert found["details"]["findings"] == []
    assert found["found"].startswith(
        "mine.parquet holds 3,600 rows of 1d bars, 4 symbols, 2020-01-01 to 2023-06-13 UTC; Monday to"
    )
    assert found["found"].endswith("260 bars a year")


@pytest.mark.parametrize("n", [250, 330, 420, 700, 1500, 4000])
@pytest.mark.parametrize("symbols", [("AAA",), ("AAA", "BBB", "CCC", "DDD", "SPX")])
def test_the_file_that_is_written_is_planned_by_a_run_for_any_number_of_bars(
    n: int, symbols: tuple[str, ...], folder: Path
) -> None:
    random_bars(n, symbols).write_parquet(folder / "mine.parquet")
    if n < 300:
        with pytest.raises(ConfigurationError, match="too few bars"):
            propose_experiment(folder / "mine.parquet")
        return
    found = propose_experiment(folder / "mine.parquet")
    file = read_experiment(Path(found["experiment_file"]))
    made = file.experiment
    assert made.periods.purge >= made.target.horizon
    assert (made.data.market_symbol == "SPX") == (len(symbols) == 5)
    for line in found["folds"]:
        assert int(line.split(": ")[1].split(" folds")[0]) >= 1
    plan = plan_run(file.path)
    assert plan.experiment == "mine"
    assert plan.sources is None, "the source is found from the file's own folder"


def test_the_number_of_bars_that_is_said_to_be_needed_is_enough_and_one_less_is_not(folder: Path) -> None:
    def tried(n: int) -> str:
        random_bars(n).write_parquet(folder / "mine.parquet")
        try:
            propose_experiment(folder / "mine.parquet", force=True)
        except ConfigurationError as error:
            return str(error)
        return ""

    needed = int(tried(200).split(" are needed")[0].split()[-1])
    assert tried(needed) == ""
    assert "bring 1 more bars" in tried(needed - 1)


def test_the_number_that_is_said_to_be_needed_is_enough_where_one_day_has_more_bars_than_others(folder: Path) -> None:
    def tried(days: int) -> str:
        first = datetime(2024, 1, 1, tzinfo=UTC)
        stamps = [first + timedelta(days=k, hours=9 + j) for k in range(days) for j in range(7)]
        stamps += [first + timedelta(days=9, hours=j) for j in (*range(1, 9), *range(16, 24))]
        returns = 0.01 * np.random.default_rng(2).normal(size=len(stamps))
        frame = pl.DataFrame({"timestamp": sorted(stamps), "symbol": "AAA", "close": np.exp(returns.cumsum())})
        frame.write_parquet(folder / "mine.parquet")
        try:
            propose_experiment(folder / "mine.parquet", force=True)
        except ConfigurationError as error:
            return str(error)
        return ""

    needed = int(tried(20).split(" are needed")[0].split()[-1])
    enough = -(-(needed - 16) // 7)
    assert tried(enough) == ""
    assert f"{needed} are needed" in tried(enough - 1)


def test_nothing_is_overwritten_without_force(folder: Path) -> None:
    bars().write_parquet(folder / "mine.parquet")
    first = propose_experiment(folder / "mine.parquet")
    path = Path(first["experiment_file"])
    path.write_text("mine: own\n")
    with pytest.raises(ConfigurationError, match=r"is there already.*--force"):
        propose_experiment(folder / "mine.parquet")
    assert path.read_text() == "mine: own\n"
    propose_experiment(folder / "mine.parquet", force=True)
    assert read_experiment(path).experiment.name == "mine"


def test_minutes_get_folds_of_days_and_a_doubt_about_their_stamps(folder: Path) -> None:
    chance = np.random.default_rng(2)
    stamps = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=5 * k) for k in range(288 * 40)]
    parts = [
        pl.DataFrame(
            {"timestamp": stamps, "symbol": name, "close": np.exp(0.001 * chance.normal(size=len(stamps)).cumsum())}
        )
        for name in ("BTC", "ETH")
    ]
    pl.concat(parts).write_parquet(folder / "coins.parquet")
    found = propose_experiment(folder / "coins.parquet")
    made = read_experiment(Path(found["experiment_file"])).experiment
    assert (made.data.interval, made.data.bars_per_year) == ("5m", 105_120)
    assert any("they go from 00:00 to 23:55, as openings do" in sentence for sentence in found["warnings"])
    again = propose_experiment(folder / "coins.parquet", stamp="open", force=True)
    assert read_experiment(Path(again["experiment_file"])).experiment.data.stamp == "open"
    assert not any("as openings do" in sentence for sentence in again["warnings"])


def test_names_of_symbols_that_yaml_reads_as_something_else_stay_names(folder: Path) -> None:
    frame = random_bars(N, ("NO", "ON", "1E5", "a: b", "#x", "late"))
    late = (pl.col("symbol") == "late") & (pl.col("timestamp") < datetime(2023, 4, 1, tzinfo=UTC))
    frame.filter(~late).write_parquet(folder / "mine.parquet")
    made = read_experiment(Path(propose_experiment(folder / "mine.parquet")["experiment_file"])).experiment
    assert made.data.symbols == ("#x", "1E5", "NO", "ON", "a: b")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--upper"], "--upper say how a copy is written: add --convert"),
        (["--dates", "day-first"], "add --convert"),
        (["--horizon", "0"], "at least one bar ahead"),
        (["--name", "Mine!"], "use up to 40 lower-case letters"),
        (["--output", "x.txt"], "ends in .yaml"),
        (["--stamp", "open"], "a daily bar closes when its session ends"),
        (["--timezone", "Mars"], "Mars"),
    ],
)
def test_options_that_cannot_be_are_refused(options: list[str], words: str, folder: Path) -> None:
    text(bars(), "%Y-%m-%d").write_csv(folder / "mine.csv")
    given = [*options] if "--timezone" in options else [*options, "--timezone", "UTC"]
    done = CliRunner().invoke(app, ["init", "mine.csv", *given])
    assert isinstance(done.exception, ConfigurationError), done.output
    assert words in str(done.exception)


def test_a_file_that_is_not_there_is_told_without_a_key_of_an_experiment(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file or folder; correct the path"):
        propose_experiment(folder / "absent.csv")


def test_no_copy_is_left_behind_where_the_proposal_fails(folder: Path) -> None:
    csv(folder / "mine.csv", text(bars(200), "%Y-%m-%d"))
    with pytest.raises(ConfigurationError, match="too few bars"):
        propose_experiment(folder / "mine.csv", convert=folder / "copy.parquet", timezone="UTC")
    assert not (folder / "copy.parquet").exists()


def test_dates_placed_in_a_zone_where_they_are_another_day_in_utc_are_told(folder: Path) -> None:
    csv(folder / "mine.csv", text(bars(), "%Y-%m-%d"))
    found = propose_experiment(folder / "mine.csv", timezone="Asia/Tokyo")
    assert any("dates placed in Asia/Tokyo are times of another day in UTC" in one for one in found["warnings"])
    copied = propose_experiment(folder / "mine.csv", timezone="Asia/Tokyo", convert=folder / "copy.parquet", force=True)
    assert "2020-01-01 to 2023-06-13 UTC; Monday to Friday" in copied["found"]
    assert not any("another day" in one for one in copied["warnings"])


def test_a_file_named_like_a_word_of_yaml_gives_an_experiment_of_that_name(folder: Path) -> None:
    bars().write_parquet(folder / "null.parquet")
    made = propose_experiment(folder / "null.parquet")
    assert read_experiment(Path(made["experiment_file"])).experiment.name == "null"
