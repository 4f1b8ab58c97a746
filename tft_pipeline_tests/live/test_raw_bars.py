"""Columns of the user's own are read when they were public, however the bars arrive; strangers are told apart."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tft_pipeline.domain.bar_publications import publish_in_time
from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.live.raw_bars import Publications, own_symbols, refuse_strangers, taken_rows
from tft_pipeline.live.refusals import UnknownSymbolError, UnusableBarsError
from tft_pipeline_tests.conftest import random_bars
from tft_pipeline_tests.live_models import signature_of
from tft_pipeline_tests.oracles.model_panels import random_panel, small_fit

SIGNATURE = signature_of(small_fit(random_panel(), epochs=1), ("AAA", "BBB"))
AT_ONCE = timedelta(0)


def published_bars(seed: int) -> pl.DataFrame:
    """Thirty hourly bars of two symbols, values minutes to days late or early, some restated, some never known."""
    random = np.random.default_rng(seed)
    bars = random_bars(30, ("AAA", "BBB"), seed=seed).sort("timestamp", "symbol")
    first = bars["timestamp"].min()
    hours = pl.duration(hours=((pl.col("timestamp") - first).dt.total_days()))
    n = bars.height
    bars = bars.with_columns(
        timestamp=first + hours,
        available_at=first + hours + pl.Series([timedelta(minutes=int(m)) for m in random.integers(-90, 600, n)]),
        mood=pl.Series(random.normal(size=n)),
    ).with_columns(mood=pl.when(pl.Series(random.random(n) < 0.1)).then(None).otherwise("mood"))
    again = bars.filter(pl.Series(random.random(n) < 0.3)).with_columns(
        pl.col("available_at") + timedelta(hours=3, minutes=7), mood=pl.col("mood") * -2.0
    )
    return pl.concat([bars, again]).sort("timestamp", "symbol")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("begin", [1, 2, 11])
def test_moment_by_moment_the_columns_are_those_of_the_snapshot(seed: int, begin: int) -> None:
    rows = published_bars(seed)
    whole = normalise_bars(rows, timezone=None, symbols=None, start=None, end=None, min_bars=1)
    expected = publish_in_time(whole).drop("available_at")
    moments = rows.partition_by("timestamp", maintain_order=True)
    found, said = Publications.of(taken_rows(pl.concat(moments[:begin]), SIGNATURE, opened_before=AT_ONCE))
    waiting = 0
    for moment in moments[begin:]:
        new, said = said.then(taken_rows(moment, SIGNATURE, opened_before=AT_ONCE, later=True))
        found = pl.concat([found, new])
        assert said.rows is not None
        waiting = max(waiting, said.rows.height)
    assert_frame_equal(found.sort("symbol", "timestamp"), expected)
    assert found["mood"].n_unique() > 10
    assert waiting < rows.height


def test_a_moment_that_ends_at_midnight_is_no_date() -> None:
    rows = published_bars(0).filter(pl.col("timestamp") == pl.col("timestamp").min())
    assert rows["timestamp"].dt.time().to_list()[0].hour == 0
    at_close = rows.unique("symbol").with_columns(available_at=pl.col("timestamp"))
    assert taken_rows(at_close, SIGNATURE, opened_before=AT_ONCE, later=True).height == 2


def test_bars_that_change_how_they_say_what_was_public_are_refused() -> None:
    rows = published_bars(1)
    with_times = taken_rows(rows, SIGNATURE, opened_before=AT_ONCE)
    without = taken_rows(rows.drop("available_at").unique(["timestamp", "symbol"]), SIGNATURE, opened_before=AT_ONCE)
    for before, after in ((with_times, without), (without, with_times)):
        _, said = Publications.of(before)
        with pytest.raises(UnusableBarsError, match="would be guessed"):
            said.then(after)
    restated = rows.with_columns(close=pl.col("close") * pl.int_range(1, pl.len() + 1))
    with pytest.raises(UnusableBarsError, match="several publications that differ"):
        Publications.of(taken_rows(restated, SIGNATURE, opened_before=AT_ONCE))


def test_strangers_are_left_out_and_nothing_but_strangers_is_refused() -> None:
    bars = random_bars(5, ("AAA", "XXX", "YYY"))
    own, others = own_symbols(bars, SIGNATURE)
    assert (set(own["symbol"]), others) == ({"AAA"}, ["XXX", "YYY"])
    assert refuse_strangers(bars, SIGNATURE, "one") == ["XXX", "YYY"]
    with pytest.raises(UnknownSymbolError, match="not one of its symbols"):
        refuse_strangers(bars.filter(pl.col("symbol") != "AAA"), SIGNATURE, "one")
    with pytest.raises(UnknownSymbolError, match="leave these out"):
        taken_rows(bars, SIGNATURE, opened_before=AT_ONCE)
