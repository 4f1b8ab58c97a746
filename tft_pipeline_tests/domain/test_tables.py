"""Exogenous tables: what is joined when, what counts as missing, and what is refused."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tft_pipeline.domain.bars import BarsError, user_columns
from tft_pipeline.domain.features.groups import GROUPS
from tft_pipeline.domain.leakage_stored import publications_are_not_used_early
from tft_pipeline.domain.tables import join_table, normalise_table, refusal_of_table_prefix, rows_by_symbol

START = datetime(2024, 1, 1, 21, tzinfo=UTC)
STAMP = pl.Datetime("us", "UTC")


def at(day: float) -> datetime:
    return START + timedelta(days=day)


def bars(n: int = 12, symbols: tuple[str, ...] = ("AAA", "BBB")) -> pl.DataFrame:
    stamps = pl.Series([at(day) for day in range(n)], dtype=STAMP)
    return pl.concat([pl.DataFrame({"timestamp": stamps, "symbol": symbol, "close": 1.0}) for symbol in symbols])


def rows(*values: tuple[float, float, float | None], **columns: Any) -> pl.DataFrame:
    """Rows of (day it speaks of, day of publication, level)."""
    return pl.DataFrame(
        {
            "timestamp": pl.Series([at(value[0]) for value in values], dtype=STAMP),
            "available_at": pl.Series([at(value[1]) for value in values], dtype=STAMP),
            "level": pl.Series([value[2] for value in values], dtype=pl.Float64),
            **columns,
        }
    )


DAILY = rows(*((day, day + 0.5, 10.0 + day) for day in range(12)))


def joined(table: pl.DataFrame, *, prefix: str = "vix", max_age_days: float | None = None) -> pl.DataFrame:
    normal = normalise_table(table, prefix=prefix, timezone=None)
    return join_table(bars(), normal, prefix=prefix, max_age_days=max_age_days).bars


def levels(frame: pl.DataFrame, symbol: str = "AAA") -> list[float | None]:
    return frame.filter(pl.col("symbol") == symbol)["vix_level"].to_list()


def test_a_column_gets_the_prefix_as_its_group_and_the_value_that_was_public() -> None:
    found = joined(DAILY)
    assert found.columns == ["timestamp", "symbol", "close", "vix_level"]
    assert user_columns(found.columns) == ("vix_level",)
    assert found.select("timestamp", "symbol", "close").equals(bars())
    for symbol in ("AAA", "BBB"):
        assert levels(found, symbol) == [None, *(10.0 + day for day in range(11))]


def test_a_restatement_is_used_from_its_publication_on_and_a_late_value_never_displaces_a_newer_one() -> None:
    restated = pl.concat([DAILY, rows((4, 5.0, 77.0), (4, 6.2, 88.0), (2, 7.3, 99.0))])
    expected = levels(joined(DAILY))
    expected[5] = 77.0
    assert levels(joined(restated)) == expected


def test_by_symbol_each_symbol_has_its_own_value() -> None:
    own = pl.concat(
        [DAILY.with_columns(symbol=pl.lit("AAA")), DAILY.with_columns(pl.col("level") * 2, symbol=pl.lit("BBB"))]
    )
    found = joined(own)
    assert levels(found, "BBB")[1:] == [2.0 * value for value in levels(found, "AAA")[1:] if value is not None]
    one = joined(own.filter(pl.col("symbol") == "BBB"))
    assert levels(one, "AAA") == [None] * 12
    assert levels(one, "BBB") == levels(found, "BBB")


def test_names_types_and_order_of_columns_are_kept() -> None:
    table = DAILY.with_columns(client_opt_put_net_z21=pl.int_range(pl.len()), open=pl.col("level") > 15.0)
    normal = normalise_table(table.sample(fraction=1.0, shuffle=True, seed=4), prefix="pvol", timezone=None)
    found = join_table(bars(), normal, prefix="pvol", max_age_days=None)
    assert found.columns == ("pvol_level", "pvol_client_opt_put_net_z21", "pvol_open")
    assert {found.bars.schema[name] for name in found.columns} == {pl.Float64}
    assert found.bars.equals(
        join_table(bars(), normalise_table(table, prefix="pvol", timezone=None), prefix="pvol", max_age_days=None).bars
    )


def test_a_value_older_than_max_age_days_counts_as_missing() -> None:
    sparse = rows((0, 0.0, 1.0), (5, 5.5, 2.0))
    assert levels(joined(sparse, max_age_days=2.5)) == [1.0, 1.0, 1.0, None, None, None, 2.0, 2.0, 2.0, *[None] * 3]
    assert levels(joined(sparse, max_age_days=3.0))[3] == 1.0
    assert levels(joined(sparse, max_age_days=100.0)) == [*[1.0] * 6, *[2.0] * 6]


def test_the_age_of_a_value_counts_from_its_publication_and_not_from_what_it_speaks_of() -> None:
    late = rows((0, 6.0, 1.0), (1, 7.0, 2.0))
    assert levels(joined(late, max_age_days=1.5)) == [*[None] * 6, 1.0, 2.0, 2.0, None, None, None]


def test_a_table_that_ends_early_is_refused_unless_an_age_is_given() -> None:
    short = DAILY.head(6)
    with pytest.raises(
        BarsError, match=r"table 'vix' ends early.*2024-01-07.*last bar closes 2024-01-12.*max_age_days"
    ):
        joined(short)
    assert levels(joined(DAILY.head(7)))[-1] == 16.0
    on_the_limit = rows(*((day, day, 10.0 + day) for day in range(7)))
    assert levels(joined(on_the_limit))[-1] == 16.0, "five spacings of silence are not too many"
    assert levels(joined(short, max_age_days=2.0)) == [*levels(joined(DAILY))[:6], 15.0, 15.0, *[None] * 4]


def test_a_symbol_whose_rows_end_early_is_named() -> None:
    both = pl.concat([DAILY.with_columns(symbol=pl.lit("AAA")), DAILY.head(5).with_columns(symbol=pl.lit("BBB"))])
    with pytest.raises(BarsError, match=r"ends early for BBB and 0 other symbols"):
        joined(both)


def test_a_single_publication_has_no_rhythm_and_needs_an_age_if_bars_follow_it() -> None:
    with pytest.raises(BarsError, match=r"ends early.*published once, so how long it counts is unknown.*max_age_days"):
        joined(rows((0, 2.0, 3.0)))
    assert levels(joined(rows((0, 2.0, 3.0)), max_age_days=100.0)) == [None, None, *[3.0] * 10]
    assert levels(joined(rows((11, 11.0, 3.0)))) == [*[None] * 11, 3.0], "no bar follows"
    own = pl.concat([DAILY.with_columns(symbol=pl.lit("AAA")), DAILY.head(1).with_columns(symbol=pl.lit("BBB"))])
    with pytest.raises(BarsError, match=r"ends early for BBB and 0 other symbols.*published once"):
        joined(own)


def test_restatements_do_not_make_a_table_seem_to_speak_more_often() -> None:
    twice_a_day = [rows(*((day, day + hours / 24, 10.0 + day) for day in range(11))) for hours in (0, 1, 2)]
    assert levels(joined(pl.concat(twice_a_day)))[-1] == 20.0, "one day is no silence for a daily table"
    with pytest.raises(BarsError, match=r"usually speaks every 1 day"):
        joined(pl.concat(frame.head(6) for frame in twice_a_day))


def test_a_symbol_of_the_bars_of_which_a_table_does_not_speak_is_told() -> None:
    own = normalise_table(DAILY.with_columns(symbol=pl.lit("BBB")), prefix="vix", timezone=None)
    assert join_table(bars(), own, prefix="vix", max_age_days=None).about["symbols_without_rows"] == ["AAA"]


def test_a_column_that_is_empty_throughout_is_missing_values_whatever_its_type() -> None:
    for dtype in (pl.String, pl.Null, pl.Float64):
        found = joined(DAILY.with_columns(nothing=pl.lit(None, dtype=dtype)))
        assert found["vix_nothing"].null_count() == found.height
        assert found.schema["vix_nothing"] == pl.Float64


def dated(*days: tuple[int, int]) -> pl.DataFrame:
    """Rows of (day of January it speaks of, day of January it was published), both dates."""
    stamps = ([date(2024, 1, day) for day in column] for column in zip(*days, strict=True))
    return pl.DataFrame(
        [pl.Series(name, days) for name, days in zip(("timestamp", "available_at"), stamps, strict=True)]
    )


SAME_DAY = dated(*((day, day) for day in range(2, 6)))
WORKING_DAYS = dated((4, 5), (5, 8), (8, 9))
END_OF_DAY = dated((4, 5), (5, 6), (8, 9))
WRITINGS = {
    "of pandas": lambda frame, zone: frame.with_columns(
        pl.col("timestamp", "available_at").cast(pl.Datetime("us")).dt.replace_time_zone(zone)
    ),
    "without a zone": lambda frame, zone: frame.with_columns(
        pl.col("timestamp", "available_at").cast(pl.Datetime("us"))
    ),
    "text": lambda frame, zone: frame.with_columns(
        pl.col("timestamp", "available_at")
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone(zone)
        .dt.strftime("%Y-%m-%dT%H:%M:%S%:z")
    ),
}


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("writing", list(WRITINGS))
def test_dates_that_were_written_as_midnights_are_refused_unless_they_end_their_own_day(
    writing: str, zone: str
) -> None:
    for frame in (SAME_DAY, WORKING_DAYS):
        table = WRITINGS[writing](frame, zone).with_columns(level=1.0)
        with pytest.raises(
            BarsError,
            match=rf"table 'vix': available_at is 00:00 {zone} in all . rows .*up to a day too early.*23:59:59",
        ):
            normalise_table(table, prefix="vix", timezone=zone)
    table = WRITINGS[writing](END_OF_DAY, zone).with_columns(level=1.0)
    assert normalise_table(table, prefix="vix", timezone=zone).height == 3


def test_one_time_of_day_among_midnights_shows_that_the_column_has_times() -> None:
    stamps = [datetime(2024, 1, day, hour, tzinfo=UTC) for day, hour in ((2, 0), (3, 8), (4, 0))]
    table = pl.DataFrame({"timestamp": stamps, "available_at": stamps, "level": 1.0})
    assert normalise_table(table, prefix="vix", timezone=None).height == 3


def test_the_record_names_what_was_used() -> None:
    table = pl.concat([DAILY, rows((50, 60.0, 1.0))])
    normal = normalise_table(table, prefix="vix", timezone=None)
    about = join_table(bars(), normal, prefix="vix", max_age_days=None).about
    assert about == {
        "prefix": "vix",
        "by_symbol": False,
        "rows": 13,
        "symbols_without_rows": [],
        "columns": ["vix_level"],
        "first_available_at": at(0.5).isoformat(),
        "last_available_at": at(10.5).isoformat(),
        "bars_without_value": {"vix_level": 2},
    }


def test_the_guard_finds_every_joined_value_in_the_rows_and_one_used_early() -> None:
    late = rows(*((day, day + 1.5, 10.0 + day) for day in range(12)))
    normal = normalise_table(late, prefix="vix", timezone=None)
    published = rows_by_symbol(normal, ["AAA", "BBB"])
    held = join_table(bars(), normal, prefix="vix", max_age_days=None).bars
    assert publications_are_not_used_early(held, published, ["vix_level"]).state == "held"
    early = held.with_columns(pl.col("vix_level").shift(-1).over("symbol"))
    found = publications_are_not_used_early(early, published, ["vix_level"])
    assert found.state == "leak"
    assert "vix_level of AAA at 2024-01-02" in found.detail
    own = normalise_table(late.with_columns(symbol=pl.lit("AAA")), prefix="vix", timezone=None)
    assert rows_by_symbol(own, ["AAA", "BBB"]).equals(own)


WRONG: dict[str, tuple[pl.DataFrame, str]] = {
    "no publication": (
        DAILY.drop("available_at"),
        r"no column available_at: without the time of publication.*too good",
    ),
    "no time": (DAILY.drop("timestamp"), r"no column timestamp"),
    "no rows": (DAILY.clear(), r"no rows; put the rows there or drop the table"),
    "no value": (DAILY.drop("level"), r"none of which is a value to join"),
    "naive publication": (
        DAILY.with_columns(pl.col("available_at").dt.replace_time_zone(None)),
        r"table 'vix': available_at has no time zone.*data\.timezone",
    ),
    "naive time": (
        DAILY.with_columns(pl.col("timestamp").dt.replace_time_zone(None)),
        r"table 'vix': timestamp has no time zone",
    ),
    "dates": (DAILY.with_columns(pl.col("available_at").dt.date()), r"dates without a time of day.*23:59"),
    "dates as text": (
        DAILY.with_columns(pl.col("available_at").dt.date().cast(pl.String)),
        r"dates without a time of day \(first 2024-01-02\)",
    ),
    "twice": (
        pl.concat([DAILY, DAILY.slice(3, 1)]),
        r"1 duplicate \(timestamp, available_at\) keys \(first 2024-01-04",
    ),
    "twice for a symbol": (
        pl.concat([DAILY, DAILY.slice(3, 1)]).with_columns(symbol=pl.lit("AAA")),
        r"1 duplicate \(timestamp, symbol, available_at\) keys",
    ),
    "text": (DAILY.with_columns(mood=pl.lit("good")), r"column 'mood' has type String \(first value 'good'\)"),
    "odd name": (DAILY.rename({"level": "the level"}), r"column 'the level' is not letters, digits and underscores"),
    "null publication": (
        DAILY.with_columns(available_at=pl.when(pl.col("level") != 12.0).then(pl.col("available_at"))),
        r"available_at is null in 1 of 12 rows",
    ),
    "null symbol": (DAILY.with_columns(symbol=pl.lit(None, dtype=pl.String)), r"symbol is null in 12 of 12 rows"),
    "other symbols": (
        DAILY.with_columns(symbol=pl.lit("ZZZ")),
        r"speaks of \['ZZZ'\] and the bars of \['AAA', 'BBB'\]: not one value",
    ),
    "published after all bars": (rows((0, 30.0, 1.0)), r"published from 2024-01-31.*and no bar between 2024-01-01"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_table_that_cannot_be_used_is_refused_with_one_clear_error(case: str) -> None:
    table, message = WRONG[case]
    with pytest.raises(BarsError) as caught:
        joined(table)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "table 'vix'" in str(caught.value)


def test_a_column_that_the_bars_have_already_is_refused() -> None:
    normal = normalise_table(DAILY, prefix="vix", timezone=None)
    with pytest.raises(
        BarsError, match=r"the bars have columns \['vix_level'\] already, and a group must have one source"
    ):
        join_table(bars().with_columns(vix_level=1.0), normal, prefix="vix", max_age_days=None)
    with pytest.raises(BarsError, match=r"\['vix_slope'\] already, and a group must have one source"):
        join_table(bars().with_columns(vix_slope=1.0, vixen=2.0), normal, prefix="vix", max_age_days=None)


def test_a_time_zone_places_naive_times() -> None:
    times = pl.col("timestamp", "available_at")
    naive = DAILY.with_columns(times.dt.convert_time_zone("America/New_York").dt.replace_time_zone(None))
    normal = normalise_table(naive, prefix="vix", timezone="America/New_York")
    assert normal.equals(normalise_table(DAILY, prefix="vix", timezone=None))


@pytest.mark.parametrize("prefix", [*GROUPS, "close", "symbol", "minute", "shadow"])
def test_a_prefix_of_the_catalogue_or_of_the_raw_columns_is_not_free(prefix: str) -> None:
    assert "choose another word" in refusal_of_table_prefix(prefix)


@pytest.mark.parametrize("prefix", ["", "Vix", "vix_cboe", "9vix", "vix "])
def test_a_prefix_that_is_no_plain_word_is_refused(prefix: str) -> None:
    assert "rename it" in refusal_of_table_prefix(prefix)
    assert refusal_of_table_prefix("vix") == refusal_of_table_prefix("pvol2") == ""
