"""What a column of probabilities must be, and which of its values a fold gets."""

import math

import polars as pl
import pytest

from tft_pipeline.domain.sentiment import (
    PREDICTED,
    refuse_absent_sentiment,
    refuse_impossible_sentiment,
    sentiment_rows,
    sentiment_sha256,
)
from tft_pipeline_tests.conftest import business_days

STAMPS = business_days(6)


def bars(**columns: list[float | None]) -> pl.DataFrame:
    """Six bars of A, B and the index M."""
    frame = pl.DataFrame(
        {"timestamp": STAMPS * 3, "symbol": [s for s in "BAM" for _ in STAMPS], "close": [1.0] * 18, **columns},
        strict=False,
    )
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))


def test_a_column_must_be_the_users_own():
    refuse_absent_sentiment(["timestamp", "symbol", "close", "mood"], "mood")
    with pytest.raises(ValueError, match=r"ensemble.sentiment_column 'close' is no column .* \(there are mood\)"):
        refuse_absent_sentiment(["timestamp", "symbol", "close", "mood"], "close")
    with pytest.raises(ValueError, match=r"'mood' is no column .* none beside the bars"):
        refuse_absent_sentiment(["timestamp", "symbol", "close"], "mood")


def test_a_value_outside_the_unit_interval_is_named_with_its_bar_and_missing_ones_are_allowed():
    refuse_impossible_sentiment(bars(mood=[0.0, 1.0, None, math.nan, 0.5, 0.2] * 3), "mood", untraded=())
    wrong = bars(mood=[0.5] * 6 + [0.5, -0.5, 0.5, 0.5, 1.5, 0.5] + [0.5] * 6)
    with pytest.raises(ValueError, match=r"outside \[0, 1\] in 2 of 18 rows \(first at 2020-01-02.* A, value -0.5"):
        refuse_impossible_sentiment(wrong, "mood", untraded=())
    with pytest.raises(ValueError, match="outside"):
        refuse_impossible_sentiment(bars(mood=[math.inf] + [0.5] * 17), "mood", untraded=())


def test_the_index_is_not_asked_for_probabilities():
    refuse_impossible_sentiment(bars(mood=[0.5] * 12 + [99.0] * 6), "mood", untraded=("M",))
    with pytest.raises(ValueError, match="no value at any of 12 rows"):
        refuse_impossible_sentiment(bars(mood=[None] * 12 + [0.5] * 6), "mood", untraded=("M",))


def test_a_fold_gets_the_values_of_its_own_bars_by_time_and_symbol():
    frame = bars(mood=[k / 20 for k in range(17)] + [math.nan])
    rows = sentiment_rows(frame, "mood", first=STAMPS[1], last=STAMPS[2], untraded=("M",))
    assert rows.columns == ["timestamp", "symbol", PREDICTED]
    assert rows.rows() == [
        (stamp, symbol, (6 * "BA".index(symbol) + k) / 20) for k, stamp in enumerate(STAMPS[:3]) if k for symbol in "AB"
    ]
    last = sentiment_rows(frame, "mood", first=STAMPS[5], last=STAMPS[5], untraded=())
    assert last[PREDICTED].to_list() == [11 / 20, 5 / 20, None]
    lazy = sentiment_rows(frame.lazy(), "mood", first=STAMPS[1], last=STAMPS[2], untraded=("M",))
    assert sentiment_sha256(lazy) == sentiment_sha256(rows)


def test_only_values_of_a_folds_own_bars_change_its_content():
    frame = bars(mood=[0.5] * 18)

    def content(changed: int) -> str:
        values = [0.6 if k == changed else 0.5 for k in range(18)]
        rows = sentiment_rows(bars(mood=values), "mood", first=STAMPS[1], last=STAMPS[2], untraded=("M",))
        return sentiment_sha256(rows)

    plain = sentiment_sha256(sentiment_rows(frame, "mood", first=STAMPS[1], last=STAMPS[2], untraded=("M",)))
    assert [k for k in range(18) if content(k) != plain] == [1, 2, 7, 8]
