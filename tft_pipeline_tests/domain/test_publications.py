"""The as-of rule against a search over all rows, and what it must satisfy whatever the data."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.publications import AVAILABLE_AT, PUBLIC_SINCE, newest_published

START = datetime(2024, 1, 1, tzinfo=UTC)
STAMP = pl.Datetime("us", "UTC")
ROWS = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.integers(0, 16),
        st.sampled_from(("A", "B")),
        st.one_of(st.none(), st.integers(0, 99).map(float)),
    ),
    max_size=25,
    unique_by=lambda row: row[:3],
)


def at(day: int) -> datetime:
    return START + timedelta(days=day)


def table(rows: list[tuple[int, int, str, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "timestamp": pl.Series([at(row[0]) for row in rows], dtype=STAMP),
            "available_at": pl.Series([at(row[1]) for row in rows], dtype=STAMP),
            "symbol": pl.Series([row[2] for row in rows], dtype=pl.String),
            "value": pl.Series([row[3] for row in rows], dtype=pl.Float64),
        }
    )


def bars(n: int = 15) -> pl.DataFrame:
    stamps = pl.Series([at(day) for day in range(n)], dtype=STAMP)
    return pl.concat([pl.DataFrame({"timestamp": stamps, "symbol": symbol, "close": 1.0}) for symbol in ("A", "B")])


def searched(
    rows: list[tuple[int, int, str, float | None]], day: int, symbol: str | None
) -> tuple[float | None, int | None, int | None]:
    """Value, day it became usable and day of its publication, by a search over all rows."""
    known = [row for row in rows if max(row[0], row[1]) <= day and symbol in (None, row[2])]
    if not known:
        return None, None, None
    newest = max(known, key=lambda row: (row[0], row[1]))
    return newest[3], max(newest[0], newest[1]), newest[1]


@given(rows=ROWS)
def test_every_bar_has_the_newest_row_that_was_public(rows: list[tuple[int, int, str, float | None]]) -> None:
    found = newest_published(bars(), table(rows), ["value"])
    assert found.height == bars().height
    assert found["timestamp"].is_sorted()
    for row in found.iter_rows(named=True):
        value, since, published = searched(rows, (row["timestamp"] - START).days, row["symbol"])
        assert row["value"] == value
        assert row[PUBLIC_SINCE] == (None if since is None else at(since))
        assert row[AVAILABLE_AT] == (None if published is None else at(published))


@given(rows=ROWS)
def test_without_symbols_every_bar_of_a_time_has_the_same_newest_row(
    rows: list[tuple[int, int, str, float | None]],
) -> None:
    rows = list({(row[0], row[1]): row for row in rows}.values())
    found = newest_published(bars(), table(rows).drop("symbol"), ["value"], by=())
    for row in found.iter_rows(named=True):
        assert row["value"] == searched(rows, (row["timestamp"] - START).days, None)[0]


@given(rows=ROWS, cut=st.integers(0, 14))
def test_rows_published_later_change_no_earlier_bar(rows: list[tuple[int, int, str, float | None]], cut: int) -> None:
    upto = pl.col("timestamp") <= at(cut)
    whole = newest_published(bars(), table(rows), ["value"]).filter(upto)
    known = table(rows).filter(pl.col("available_at") <= at(cut))
    restated = table(rows).with_columns(
        value=pl.when(pl.col("available_at") <= at(cut)).then(pl.col("value")).otherwise(-1.0)
    )
    for changed in (known, restated):
        assert newest_published(bars(), changed, ["value"]).filter(upto).equals(whole)
    assert newest_published(bars().filter(upto), table(rows), ["value"]).equals(whole)
