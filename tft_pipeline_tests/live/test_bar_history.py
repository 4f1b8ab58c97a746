"""Raw bars as they come give the rows of the stored feature frame; what cannot be computed is refused."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.bar_publications import publish_in_time
from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.features import build_features, catalogue, resolve_features
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.signature import Signature
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.refusals import (
    DuplicateBarError,
    MissingFeatureError,
    OtherFormulaError,
    StaleBarError,
    UnknownSymbolError,
    UnusableBarsError,
)
from tft_pipeline_tests.builders import ragged_bars
from tft_pipeline_tests.conftest import random_bars

SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
INDEX, ABROAD = "INDEX", "ABROAD"
LONGEST = 130
CROSS = {"abroad": ABROAD}


def _bars() -> pl.DataFrame:
    """Ragged bars of four symbols, an index, a market elsewhere at other hours, and a column of the user's own."""
    elsewhere = random_bars(420, (ABROAD,), seed=8).with_columns(pl.col("timestamp") - timedelta(hours=5))
    late = (pl.col("symbol") != "BBB") | (pl.col("timestamp") < datetime.fromisoformat("2021-03-01T00:00:00+00:00"))
    paused = pl.col("timestamp").is_between(
        datetime.fromisoformat("2020-10-01T00:00:00+00:00"), datetime.fromisoformat("2021-03-01T00:00:00+00:00")
    )
    bars = pl.concat(
        [
            ragged_bars(420).filter(late & ~((pl.col("symbol") == "CCC") & paused)),
            random_bars(420, (INDEX,), seed=5),
            elsewhere,
        ]
    )
    return bars.sort("symbol", "timestamp").with_columns(
        open=pl.col("close") * 0.999,
        high=pl.col("close") * 1.01,
        low=pl.col("close") * 0.99,
        volume=1e6 / pl.col("close"),
        mood=(pl.col("close") * 7.0).sin(),
    )


BARS = _bars()
STAMPS = BARS.filter(pl.col("symbol").is_in(SYMBOLS))["timestamp"].unique().sort()


def _signature(names: tuple[str, ...], changes: dict[str, Any] | None = None) -> Signature:
    versions = {feature.name: feature.version for feature in _chosen(names)}
    full = (*versions, "mood")
    fields: dict[str, Any] = {
        "experiment": "x",
        "features": full,
        "feature_versions": versions,
        "user_columns": ("mood",),
        "raw_columns": ("close", "high", "low", "open", "volume"),
        "max_lookback": max((feature.lookback for feature in _chosen(names)), default=1),
        "lookback": 16,
        "horizon": 1,
        "interval": "1d",
        "timezone": None,
        "calendar": {"kind": "observed", "step_s": 86400},
        "symbols": SYMBOLS,
        "untraded": (INDEX, ABROAD),
        "market_symbol": INDEX,
        "cross_markets": CROSS,
        "loss_mode": "sharpe",
        "outputs": ("forecast_position",),
        "forms": {},
        "left_out": {"onnx_window": "none", "onnx_stream": "none"},
        "form": "eager",
        "scaler": Scaler(names=full, mean=np.zeros(len(full)), std=np.ones(len(full)), n=np.ones(len(full))),
        "max_position": 1.0,
        "position_smooth": 0.0,
        "target_volatility": 0.15,
        "volatility_span": 20,
        "max_weight": 10.0,
        "bars_per_year": 252.0,
        "weights_sha256": "0" * 64,
        "production_start": "2020-01-01",
    }
    return Signature(**fields | (changes or {}))


def _chosen(names: tuple[str, ...]) -> tuple[Any, ...]:
    found = resolve_features(BARS.columns, groups=(), names=names, has_market=True, cross_markets=CROSS)
    return found.features


def _names(*, recursive: bool) -> tuple[str, ...]:
    on_offer = resolve_features(BARS.columns, groups=None, names=None, has_market=True, cross_markets=CROSS)
    return tuple(f.name for f in on_offer.features if f.recursive == recursive and f.lookback <= LONGEST)


def _stored(signature: Signature) -> pl.DataFrame:
    """The frame that a run would store."""
    names = list(signature.feature_versions)
    return build_features(
        BARS,
        resolve_features(BARS.columns, groups=(), names=names, has_market=True, cross_markets=CROSS),
        market_symbol=INDEX,
        cross_symbols=(ABROAD,),
        user_columns=("mood",),
        bars_per_year=252.0,
    )


def _until(at: datetime) -> pl.DataFrame:
    return BARS.filter(pl.col("timestamp") <= at)


def _between(after: datetime, at: datetime) -> pl.DataFrame:
    return BARS.filter((pl.col("timestamp") > after) & (pl.col("timestamp") <= at))


def _expected(stored: pl.DataFrame, signature: Signature, at: datetime) -> dict[str, np.ndarray]:
    """Rows of the frame at a bar, of symbols with enough bars behind them."""
    counted = stored.with_columns(n=pl.int_range(1, pl.len() + 1).over("symbol"))
    here = counted.filter((pl.col("timestamp") == at) & (pl.col("n") >= signature.max_lookback))
    rows = here.select(pl.col(signature.features).fill_null(float("nan"))).to_numpy().astype(np.float32)
    return dict(zip(here["symbol"], rows, strict=True))


@pytest.mark.parametrize("recursive", [False, True])
def test_bar_by_bar_the_rows_are_those_of_the_stored_frame_to_the_bit(recursive: bool) -> None:
    """Every feature of the catalogue that these bars allow; a symbol that came back after 100 bars among them."""
    signature = _signature(_names(recursive=recursive))
    assert len(signature.features) > 50
    stored, begin = _stored(signature), 300
    history = BarHistory(signature, _until(STAMPS[begin]))
    seen = set()
    for k in range(begin + 1, begin + 13):
        history.append(_between(STAMPS[k - 1], STAMPS[k]))
        bar, expected = history.features_at(STAMPS[k]), _expected(stored, signature, STAMPS[k])
        assert bar.features == signature.features
        assert set(bar.values) == set(expected)
        seen |= set(expected)
        for symbol, row in expected.items():
            np.testing.assert_array_equal(bar.values[symbol], row, err_msg=f"{symbol} at {STAMPS[k]}")
    assert seen == set(SYMBOLS)


def test_what_comes_from_the_middle_of_history_and_what_is_recent_are_the_same_rows() -> None:
    signature = _signature(("ret_5", "sma_20_gap", "mom_rsi_14", "z_21"))
    stored, history = _stored(signature), BarHistory(signature, BARS)
    recent = history.recent(30, before=STAMPS[390])
    assert [bar.timestamp for bar in recent] == STAMPS[360:390].to_list()
    for bar in (*recent, history.features_at(STAMPS[45]), history.features_at(STAMPS[-1])):
        expected = _expected(stored, signature, bar.timestamp)
        assert set(bar.values) == set(expected)
        for symbol, row in expected.items():
            np.testing.assert_array_equal(bar.values[symbol], row)
    assert history.recent(0) == []
    assert len(history.recent(10_000)) == len(STAMPS)
    assert history.last == STAMPS[-1]


def test_a_symbol_is_observed_from_its_own_bar_number_max_lookback_on() -> None:
    signature = _signature(("ret_1", "sma_20_gap"), {"max_lookback": 50})
    history = BarHistory(signature, BARS)
    for k, observed in ((48, False), (49, True), (88, True), (89, True)):
        values = history.features_at(STAMPS[k]).values
        assert ("DDD" in values) == observed
        assert ("AAA" in values) == (k >= 40 + 49)


def test_kept_bars_are_as_good_where_nothing_is_recursive_and_count_what_is_gone() -> None:
    signature = _signature(("sma_20_gap", "z_21", "xs_ret_5", "beta_63"))
    assert not any(feature.recursive for feature in _chosen(tuple(signature.feature_versions)))
    whole = BarHistory(signature, _until(STAMPS[120]))
    short = BarHistory(signature, _until(STAMPS[120]), keep_bars=signature.max_lookback + 16)
    for k in range(121, 330, 1):
        new = _between(STAMPS[k - 1], STAMPS[k])
        whole.append(new)
        short.append(new)
        if k % 11 == 0:
            one, other = (each.features_at(STAMPS[k]).values for each in (whole, short))
            assert set(one) == set(other)
            for symbol, row in one.items():
                np.testing.assert_array_equal(row, other[symbol])
    assert len(short._bars) < 0.7 * len(whole._bars)
    with pytest.raises(UnusableBarsError, match="keep_bars 60 < max_lookback"):
        BarHistory(signature, BARS, keep_bars=60)


def test_volatility_is_that_of_the_targets() -> None:
    signature, at = _signature(("ret_1",)), STAMPS[333]
    targets = build_targets(BARS, horizon=3, volatility_span=20, bars_per_year=252.0, untraded=(INDEX, ABROAD))
    expected = dict(
        targets.filter(pl.col("timestamp") == at).drop_nulls("volatility").select("symbol", "volatility").iter_rows()
    )
    history = BarHistory(signature, _until(STAMPS[332]))
    assert history.volatility_at(at) == {}
    history.append(_between(STAMPS[332], at))
    assert history.volatility_at(at) == expected
    assert set(expected) < set(SYMBOLS)


def test_a_bar_that_comes_late_is_counted_from_then_on() -> None:
    signature, at = _signature(("ret_5", "sma_20_gap")), STAMPS[349]
    held_back = (pl.col("symbol") == "DDD") & (pl.col("timestamp") == STAMPS[348])
    history = BarHistory(signature, _until(STAMPS[348]).filter(~held_back))
    assert "DDD" not in history.features_at(STAMPS[348]).values
    history.append(BARS.filter(held_back))
    history.append(_between(STAMPS[348], at))
    expected = _expected(_stored(signature), signature, at)
    np.testing.assert_array_equal(history.features_at(at).values["DDD"], expected["DDD"])


def test_bars_that_are_not_newer_are_refused_and_nothing_is_added() -> None:
    signature = _signature(("ret_1",))
    history, before = BarHistory(signature, _until(STAMPS[300])), _until(STAMPS[300]).height
    for rows, error in (
        (_between(STAMPS[299], STAMPS[300]), DuplicateBarError),
        (_between(STAMPS[298], STAMPS[299]), StaleBarError),
        (_between(STAMPS[299], STAMPS[301]), DuplicateBarError),
    ):
        with pytest.raises(error, match="build the history anew"):
            history.append(rows)
        assert len(history._bars) == before
    with pytest.raises(StaleBarError, match="no traded symbol has a bar"):
        history.features_at(STAMPS[301])


def test_bars_that_the_pipeline_would_not_take_are_refused() -> None:
    signature = _signature(("ret_1",))
    history, new = BarHistory(signature, _until(STAMPS[300])), _between(STAMPS[300], STAMPS[301])
    broken = {
        "close is missing": (UnusableBarsError, new.with_columns(close=-pl.col("close"))),
        "no time zone": (UnusableBarsError, new.with_columns(pl.col("timestamp").dt.replace_time_zone(None))),
        "duplicate": (UnusableBarsError, pl.concat([new, new])),
        "contradict": (UnusableBarsError, new.with_columns(high=pl.col("low") / 2)),
        "EEE": (UnknownSymbolError, new.with_columns(symbol=pl.lit("EEE")).head(1)),
        "mood": (MissingFeatureError, new.drop("mood")),
    }
    for said, (error, rows) in broken.items():
        with pytest.raises(error, match=said):
            history.append(rows)
    history.append(new)
    assert history.last == STAMPS[301]


def test_a_model_that_these_bars_or_this_code_cannot_serve_is_refused() -> None:
    signature = _signature(("ret_1", "vlm_z_21"))
    with pytest.raises(MissingFeatureError, match="vlm_z_21"):
        BarHistory(signature, BARS.drop("volume"))
    with pytest.raises(MissingFeatureError, match="mood"):
        BarHistory(signature, BARS.drop("mood"))
    other = _signature(("ret_1",), {"feature_versions": {"ret_1": "0"}})
    with pytest.raises(OtherFormulaError, match="version 1 here, 0 then"):
        BarHistory(other, BARS)
    gone = _signature(("ret_1",))
    named = ("no_such_feature", "mood")
    renamed = {
        "feature_versions": {"no_such_feature": "1"},
        "features": named,
        "scaler": Scaler(names=named, mean=np.zeros(2), std=np.ones(2), n=np.ones(2)),
    }
    with pytest.raises(OtherFormulaError, match="another version of this code"):
        BarHistory(_signature(("ret_1",), renamed), BARS)
    with pytest.raises(UnusableBarsError, match="no bar of AAA"):
        _ = BarHistory(gone, BARS.filter(pl.col("symbol") == INDEX)).last


def test_the_same_bars_serve_another_model() -> None:
    one, two = _signature(("ret_1", "sma_20_gap")), _signature(("z_21", "beta_63"))
    history = BarHistory(one, _until(STAMPS[200]))
    history.append(_between(STAMPS[200], STAMPS[201]))
    found = history.of(two).features_at(STAMPS[201])
    expected = _expected(_stored(two), two, STAMPS[201])
    assert found.features == two.features
    for symbol, row in expected.items():
        np.testing.assert_array_equal(found.values[symbol], row)


def test_openings_become_closes_and_minute_aggregates_are_columns_like_others() -> None:
    name = next(f.name for f in catalogue() if any(column.startswith("minute_") for column in f.inputs))
    (feature,) = (f for f in catalogue() if f.name == name)
    columns = {column: pl.col("close") * 1e-3 for column in feature.inputs if column.startswith("minute_")}
    bars = BARS.with_columns(**columns)
    full = (name, "mood")
    signature = _signature(
        ("ret_1",),
        {
            "features": full,
            "feature_versions": {name: feature.version},
            "max_lookback": feature.lookback,
            "scaler": Scaler(names=full, mean=np.zeros(2), std=np.ones(2), n=np.ones(2)),
        },
    )
    opened = bars.with_columns(pl.col("timestamp") - timedelta(hours=1))
    history = BarHistory(signature, opened, opened_before=timedelta(hours=1))
    assert history.last == STAMPS[-1]
    direct = BarHistory(signature, bars).features_at(STAMPS[300])
    for symbol, row in history.features_at(STAMPS[300]).values.items():
        np.testing.assert_array_equal(row, direct.values[symbol])
        assert np.isfinite(row).all()


def test_columns_count_from_the_bar_at_which_they_were_public() -> None:
    """Built at once, bar by bar and for another model: the rows of the frame that the snapshot's bars give."""
    late = BARS.with_columns(available_at=pl.col("timestamp") + timedelta(hours=33, minutes=30))
    again = late.filter(pl.col("symbol") == "AAA").with_columns(
        pl.col("available_at") + timedelta(days=5), mood=pl.col("mood") + 9.0
    )
    rows = pl.concat([late, again])
    signature = _signature(("sma_20_gap",))
    public = publish_in_time(normalise_bars(rows, timezone=None, symbols=None, start=None, end=None, min_bars=1)).drop(
        "available_at"
    )
    expected, whole = BarHistory(signature, public), BarHistory(signature, rows)
    grown = BarHistory(signature, rows.filter(pl.col("timestamp") <= STAMPS[300]))
    naive = BarHistory(signature, BARS)
    for k in range(301, 312):
        between = (pl.col("timestamp") > STAMPS[k - 1]) & (pl.col("timestamp") <= STAMPS[k])
        grown = grown.appended(rows.filter(between)).of(signature)
        want = expected.features_at(STAMPS[k]).values
        for history in (whole, grown):
            found = history.features_at(STAMPS[k]).values
            assert set(found) == set(want)
            for symbol, row in want.items():
                np.testing.assert_array_equal(found[symbol], row)
        assert (naive.features_at(STAMPS[k]).values["DDD"] != want["DDD"]).any()


def test_a_symbol_that_is_not_observed_yet_has_no_volatility() -> None:
    """The backtest shares the capital between the symbols it has features of."""
    signature = _signature(("ret_1",), {"max_lookback": 61})
    first = BARS.filter(pl.col("symbol") == "AAA")["timestamp"].sort()
    history = BarHistory(signature, BARS)
    for at, known in ((first[59], False), (first[60], True)):
        assert ("AAA" in history.volatility_at(at)) is known
        assert ("AAA" in history.features_at(at).values) is known
        assert set(history.volatility_at(at)) <= set(history.features_at(at).values)


def test_an_index_or_a_market_that_is_missing_is_refused_by_name() -> None:
    signature = _signature(("mkt_ret_1",))
    for name in (INDEX, ABROAD):
        history = BarHistory(signature, BARS.filter(pl.col("symbol") != name))
        with pytest.raises(UnusableBarsError, match=f"{name}.*bring its bars"):
            history.features_at(STAMPS[300])


def test_another_history_begins_at_the_marks_of_a_cut_one_and_goes_on_alike() -> None:
    signature = _signature(("ret_1", "sma_20_gap", "beta_63"))
    cut = BarHistory(signature, _until(STAMPS[300]), keep_bars=150)
    assert cut.forgot
    marked = BarHistory(signature, _until(STAMPS[300]), keep_bars=150, marks=cut.marks)
    assert marked.marks == cut.marks
    for k in range(301, 340):
        for history in (cut, marked):
            history.append(_between(STAMPS[k - 1], STAMPS[k]))
        one, other = (each.features_at(STAMPS[k]).values for each in (cut, marked))
        assert set(one) == set(other)
        for symbol, row in one.items():
            np.testing.assert_array_equal(row, other[symbol])
    assert marked.marks == cut.marks
    with pytest.raises(UnusableBarsError, match="keep_bars 150 < max_lookback 301"):
        cut.of(_signature(("ret_1",), {"max_lookback": 301}))


def test_what_is_appended_to_another_leaves_the_first_as_it_was() -> None:
    signature = _signature(("ret_1",))
    history = BarHistory(signature, _until(STAMPS[300]), keep_bars=150)
    before = history.marks, history.last, history.volatility_at(STAMPS[300])
    other = history.appended(_between(STAMPS[300], STAMPS[301]))
    assert other.last == STAMPS[301]
    assert (history.marks, history.last, history.volatility_at(STAMPS[300])) == before
