"""Numbers as text: every way of writing one is read back as that number, and what could be two is refused."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.number_text import number_form, parsed_numbers, without_points

PRICES = st.lists(st.integers(1, 10**9).map(lambda k: k / 100), min_size=2, max_size=20)


def written(value: float, style: str) -> str:
    text = f"{value:,.2f}"
    return text if style == "thousands" else text.translate(str.maketrans(",.", ".,"))


@given(PRICES, st.sampled_from(["thousands", "decimal_comma"]), st.sampled_from(["", "$", "€ "]))
def test_prices_with_separators_are_read_as_the_prices_they_are(prices: list[float], style: str, sign: str) -> None:
    column = pl.Series("close", [sign + written(value, style) for value in prices])
    form = number_form(column)
    assert form.style in (style, "plain")
    assert parsed_numbers(column, form).to_list() == pytest.approx(prices, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "style", "words"),
    [
        (["1,234.5", "7.0"], "thousands", "thousands separators (such as '1,234.5')"),
        (["1.234,5"], "decimal_comma", "decimal commas (such as '1.234,5')"),
        (["12,5", "13"], "decimal_comma", "write a decimal point"),
        (["1,234", "5,678"], "either", "which is two numbers"),
        (["12,5", "3.1"], "no_number", "such as '12,5'"),
        (["1,5", "1,234,567"], "no_number", "such as '1,5'"),
        (["0,123", "1,234,567"], "no_number", "such as '0,123'"),
        (["0,123", "1,234"], "decimal_comma", "such as '0,123'"),
        (["0.123.456"], "no_number", "such as '0.123.456'"),
        (["abc"], "no_number", "such as 'abc'"),
        (["n/a", "-"], "no_number", "2 of the values say nothing"),
        (["$3.5", "n/a"], "plain", "1 of the values say nothing"),
    ],
)
def test_each_style_is_told_in_a_sentence(values: list[str], style: str, words: str) -> None:
    column = pl.Series("close", values)
    form = number_form(column)
    assert form.style == style
    assert words in form.sentence("close")
    if style in ("either", "no_number"):
        with pytest.raises(ValueError, match="close is text"):
            parsed_numbers(column, form)


def test_words_for_nothing_become_nulls() -> None:
    column = pl.Series("close", ["1.5", "n/a", "", None, "-", "NaN"])
    assert parsed_numbers(column, number_form(column)).to_list() == [1.5, None, None, None, None, None]


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        (["454.780", "1.234.567", "12", None], ["454780", "1234567", "12", None]),
        (["€ 454.780"], ["454780"]),
        (["12.5", "1000.0"], ["12.5", "1000.0"]),
        (["454.780", "12.5"], None),
        (["454.780", "12345"], None),
        (["454.780", "0.123"], None),
    ],
)
def test_points_beside_decimal_commas_group_thousands_where_they_can_be_nothing_else(
    values: list[str | None], meant: list[str | None] | None
) -> None:
    found = without_points(pl.Series("volume", values))
    assert (None if found is None else found.to_list()) == meant
