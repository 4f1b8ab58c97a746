"""Forms of times in strangers' files: told apart, read back as they were written, never guessed."""

import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tft_pipeline.domain.time_text import RUN_TOGETHER, UNITS, parsed_times, placed, time_form

MOMENTS = st.datetimes(datetime(1975, 1, 1), datetime(2099, 1, 1)).map(lambda at: at.replace(microsecond=0))
PATTERNS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%y", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S")


def column(values: list) -> pl.Series:  # type: ignore[type-arg]
    return pl.Series("Date", values)


@given(st.lists(MOMENTS, min_size=1, max_size=20), st.sampled_from(sorted(UNITS)), st.booleans())
def test_whole_numbers_are_told_by_their_unit_and_read_as_the_moment_they_name(
    moments: list[datetime], unit: str, as_text: bool
) -> None:
    stamps = [at.replace(tzinfo=UTC) for at in moments]
    numbers = [int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)) * UNITS[unit] for at in stamps]
    given_ = column([str(number) for number in numbers] if as_text else numbers)
    assume(not all(re.match(RUN_TOGETHER, str(number)) for number in numbers))
    form = time_form(given_)
    assert (form.form, form.unit) == ("epoch", unit)
    assert parsed_times(given_, form, None).to_list() == stamps


@given(st.lists(MOMENTS, min_size=1, max_size=30), st.sampled_from(PATTERNS))
def test_dates_with_marks_are_read_as_written_or_called_two_dates(moments: list[datetime], pattern: str) -> None:
    moments = [at.replace(year=2000 + at.year % 60) for at in moments]
    texts = [at.strftime(pattern) for at in moments]
    form = time_form(column(texts))
    day_first = pattern.startswith("%d")
    if any(at.day > 12 for at in moments):
        assert form.form == ("day_first" if day_first else "month_first")
        found = parsed_times(column(texts), form, None)
    else:
        assert form.form == "either"
        with pytest.raises(ValueError, match=r"which is two dates.*--dates day-first or --dates month-first"):
            parsed_times(column(texts), form, None)
        found = parsed_times(column(texts), form, "day-first" if day_first else "month-first")
    assert found.to_list() == [datetime.strptime(text, pattern) for text in texts]


def test_an_order_that_the_dates_contradict_is_refused() -> None:
    texts = column(["03/04/2023", "15/06/2023"])
    with pytest.raises(ValueError, match="shows that dates are written day-first"):
        parsed_times(texts, time_form(texts), "month-first")


@pytest.mark.parametrize(
    ("values", "form", "words"),
    [
        (["2023-01-02T00:00:00Z"], "aware", ""),
        (["2023-01-02 00:00:00+01:00"], "aware", ""),
        (["2023-01-02"], "naive", "no time zone ('2023-01-02')"),
        (
            ["2023-01-02T00:00:00Z", "2023-01-03T00:00:00"],
            "mixed",
            "'2023-01-03T00:00:00' has no offset and others have",
        ),
        (["13/04/2023", "05/16/2023"], "unreadable", "days and months are exchanged in some rows"),
        (["2023-01-02 00:00:00+00", "2023-01-02 00:00:00-05"], "aware", ""),
        (["2012/01/02", "2012/1/13"], "year_first", "written with '/' ('2012/01/02')"),
        (["2012.01.02 09:30"], "year_first", "written with '.'"),
        (["Jan 3, 2023"], "named_month", "not ISO 8601"),
        ([20230102], "compact", "write 2023-01-02"),
        (["20230102"], "compact", "write 2023-01-02"),
        ([2022010300, 2022010301], "unreadable", "run together (2022010300): write 2022-01-03T00:00"),
        (["202201030930"], "unreadable", "run together (202201030930): write 2022-01-03T09:30"),
        ([20220103093015], "unreadable", "run together (20220103093015): write 2022-01-03T09:30:15"),
        ([2022010300, 2022013300], "epoch", "seconds since 1970"),
        (["2023-01-02", "soon"], "unreadable", "'soon', which is no time"),
        ([12], "unreadable", "no time in any unit"),
        ([None], "unreadable", "has no value"),
    ],
)
def test_each_form_is_told_in_a_sentence(values: list, form: str, words: str) -> None:  # type: ignore[type-arg]
    found = time_form(pl.Series("Date", values, dtype=pl.String if values == [None] else None))
    assert found.form == form
    assert words in found.sentence
    if form in ("mixed", "unreadable"):
        with pytest.raises(ValueError, match="Date"):
            parsed_times(column([str(value) for value in values]), found, None)


def test_compact_and_named_dates_are_read() -> None:
    for values in ([20230102], ["20230102"], ["Jan 2, 2023"], ["2 Jan 2023"], ["02-Jan-2023"]):
        given_ = column(values)
        assert parsed_times(given_, time_form(given_), None).to_list() == [datetime(2023, 1, 2)]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2012/01/13", datetime(2012, 1, 13)),
        ("1326412800.0", datetime(2012, 1, 13, tzinfo=UTC)),
        ("2012.1.13", datetime(2012, 1, 13)),
        ("2012.01.13 09:30", datetime(2012, 1, 13, 9, 30)),
        ("2012/01/13 4:00:05 PM", datetime(2012, 1, 13, 16, 0, 5)),
        ("01/13/2012 4:00 PM", datetime(2012, 1, 13, 16)),
        ("13/01/2012 12:30:00 am", datetime(2012, 1, 13, 0, 30)),
        ("2012-01-13 09:30:00+00", datetime(2012, 1, 13, 9, 30, tzinfo=UTC)),
        ("2012-01-13 09:30:00-05", datetime(2012, 1, 13, 14, 30, tzinfo=UTC)),
    ],
)
def test_other_marks_halves_of_the_day_and_short_offsets_are_read(text: str, meant: datetime) -> None:
    assert parsed_times(column([text]), time_form(column([text])), None).to_list() == [meant]


def test_a_value_unlike_the_others_is_named_without_the_words_of_a_library() -> None:
    texts = column(["2023-01-02", "2023-02-30"])
    with pytest.raises(ValueError, match=r"naive times such as '2023-01-02' throughout: '2023-02-30' is none") as told:
        parsed_times(texts, time_form(texts), None)
    assert "strict" not in str(told.value)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (datetime(2023, 3, 12, 2, 30), "2023-03-12 02:30:00 .1 like it., which does not exist"),
        (datetime(2023, 11, 5, 1, 30), "the hour 01:00 of 2023-11-05 occurs twice"),
    ],
)
def test_times_that_clocks_skip_or_repeat_are_named(at: datetime, words: str) -> None:
    with pytest.raises(ValueError, match=words) as told:
        placed(column([datetime(2023, 1, 1), at]), "America/New_York")
    assert "expression" not in str(told.value)
