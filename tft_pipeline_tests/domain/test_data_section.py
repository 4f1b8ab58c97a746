"""Single sections of an experiment file, where a rule is too particular for the tests of the whole file."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from tft_pipeline.domain.data_section import DataSection, TableSection
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline_tests.builders import small


def data(**changes: Any) -> DataSection:
    given = {"source": "bars.parquet", "interval": "1d", "bars_per_year": 252.0, "market_symbol": "SPX"}
    return DataSection(**(given | changes))


def test_the_index_and_the_cross_markets_are_untraded() -> None:
    markets = {"crypto_btc": "BTC-USD", "oil": "CL"}
    assert data(cross_markets=markets).untraded == ("SPX", "BTC-USD", "CL")
    assert data(cross_markets=markets, market_symbol=None).untraded == ("BTC-USD", "CL")
    assert data().untraded == ("SPX",)
    assert data(market_symbol=None).untraded == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cross_markets": {"Oil": "CL"}}, ["cross_markets", "'Oil'", "lower-case", "rename it"]),
        ({"cross_markets": {"mkt_oil": "CL"}}, ["'mkt_oil'", "group 'mkt'", "another word"]),
        ({"cross_markets": {"vol": "VIX"}}, ["'vol'", "group 'vol'"]),
        ({"cross_markets": {"minute": "VIX"}}, ["'minute'", "another word"]),
        ({"cross_markets": {"shadow_btc": "BTC"}}, ["'shadow_btc'", "another word"]),
        ({"cross_markets": {"spx": "SPX"}}, ["spx is 'SPX'", "market_symbol", "drop it"]),
        ({"cross_markets": {"oil": "CL", "crude": "CL"}}, ["'CL' has two prefixes", "drop one"]),
        ({"cross_markets": {"oil": "CL"}, "symbols": ("AAA", "CL")}, ["oil is 'CL'", "data.symbols", "traded"]),
        ({"cross_markets": {"oil": 7}}, ["cross_markets.oil"]),
    ],
)
def test_a_cross_market_that_is_not_context_alone_is_refused(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        data(**changes)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_cross_market_changes_the_fingerprint_of_the_data() -> None:
    assert data().fingerprint() != data(cross_markets={"oil": "CL"}).fingerprint()
    assert data(cross_markets={"oil": "CL"}).fingerprint() != data(cross_markets={"oil": "BZ"}).fingerprint()


VIX = {"source": "vix.csv", "prefix": "vix"}


@pytest.mark.parametrize("interval", ["1m", "5m", "15m"])
def test_minutes_need_bars_that_hold_half_hours(interval: str) -> None:
    with pytest.raises(ValidationError, match=rf"minute_source is given and interval is {interval}: .* use 1h or 1d"):
        data(minute_source="minutes", interval=interval)
    assert data(minute_source="minutes", interval="1h").minute_source == "minutes"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tables": [VIX, VIX]}, ["tables: prefix 'vix' is used in data.tables too", "rename one"]),
        ({"tables": [VIX | {"prefix": "mkt"}]}, ["table prefix 'mkt' is a name of the catalogue"]),
        ({"tables": [VIX | {"prefix": "minute"}]}, ["table prefix 'minute' is a name of the catalogue"]),
        ({"tables": [VIX | {"prefix": "shadow"}]}, ["table prefix 'shadow' is a name of the catalogue"]),
        ({"tables": [VIX | {"max_age_days": 1e12}]}, ["tables.0.max_age_days", "less than or equal to 36500"]),
        ({"tables": [VIX | {"prefix": "vix_cboe"}]}, ["'vix_cboe'", "first underscore"]),
        (
            {"tables": [VIX | {"prefix": "crypto"}], "cross_markets": {"crypto_btc": "BTC-USD"}},
            ["prefix 'crypto' is used in data.cross_markets too"],
        ),
        ({"tables": [VIX | {"max_age_days": 0.0}]}, ["tables.0.max_age_days", "greater than 0"]),
        ({"tables": [{"prefix": "vix"}]}, ["tables.0.source"]),
        ({"tables": [VIX | {"lag": 1}]}, ["tables.0.lag"]),
        ({"tables": {"vix": "vix.csv"}}, ["tables"]),
    ],
)
def test_a_table_that_cannot_be_told_from_others_is_refused(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        data(**changes)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_minutes_and_every_key_of_a_table_change_the_fingerprint_of_the_data() -> None:
    variants = [
        data(),
        data(minute_source="minutes"),
        data(tables=[VIX]),
        data(tables=[VIX | {"source": "other.csv"}]),
        data(tables=[VIX | {"prefix": "fear"}]),
        data(tables=[VIX | {"max_age_days": 5.0}]),
    ]
    assert len({variant.fingerprint() for variant in variants}) == len(variants)
    assert TableSection(**VIX).max_age_days is None


@pytest.mark.parametrize(
    ("given", "group", "name"),
    [
        ({"data.cross_markets": {"crypto_btc": "BTC"}}, "crypto", "crypto_btc_ret_1"),
        ({"data.minute_source": "minutes"}, "micro", "intra_orb_width"),
    ],
)
def test_data_that_no_chosen_feature_reads_is_refused(given: dict[str, Any], group: str, name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"{next(iter(given))}.* leaves its features out.* {group} to features"
    ):
        small({**given, "features.groups": ["ret"], "features.names": None})
    for chosen in ({"groups": ["ret", group]}, {"names": ["ret_1", name]}, {"groups": None, "names": None}):
        small(given | {"features.groups": [], "features.names": None} | {f"features.{k}": v for k, v in chosen.items()})


@pytest.mark.parametrize("interval", ["1m", "5m", "15m", "1h"])
def test_openings_are_one_interval_before_their_closes(interval: str) -> None:
    given = {"interval": interval, "market_symbol": None}
    lengths = {
        "1m": timedelta(minutes=1),
        "5m": timedelta(minutes=5),
        "15m": timedelta(minutes=15),
        "1h": timedelta(hours=1),
    }
    assert data(**given, stamp="open").opened_before == lengths[interval]
    assert data(**given, stamp="close").opened_before == data(**given).opened_before == timedelta(0)
    assert data(**given, stamp="open").fingerprint() != data(**given).fingerprint()


def test_daily_bars_stamped_with_their_openings_are_refused_with_the_reason() -> None:
    with pytest.raises(
        ValidationError, match=r"stamp is open and interval is 1d: .* when its session ends.* stamp: close"
    ):
        data(interval="1d", stamp="open")
    with pytest.raises(ValidationError, match="stamp"):
        data(interval="1h", stamp="middle")


def test_minutes_stamped_with_their_openings_are_one_minute_before_their_closes() -> None:
    assert data(minute_source="minutes").minutes_opened_before == timedelta(0)
    opened = data(minute_source="minutes", minute_stamp="open")
    assert opened.minutes_opened_before == timedelta(minutes=1)
    assert opened.opened_before == timedelta(0)
    assert opened.fingerprint() != data(minute_source="minutes").fingerprint()


def test_a_stamp_of_minutes_that_are_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"minute_stamp is open and there is no minute_source: .* drop it"):
        data(minute_stamp="open")
    with pytest.raises(ValidationError, match="minute_stamp"):
        data(minute_source="minutes", minute_stamp="middle")
