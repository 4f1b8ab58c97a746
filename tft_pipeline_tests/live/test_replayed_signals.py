"""A released bundle asked over bars answers as live code does bar by bar, and no later bar changes what it said."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.replayed_signals import SCHEMA, signal_table, signals_in, signals_of_bars
from tft_pipeline.live.strategy import TFTStrategy
from tft_pipeline.storage.release_bundle import read_release_bundle
from tft_pipeline_tests.live.candle_release import SYMBOLS, candle_release

START, HOUR, DAY, N = datetime(2026, 1, 5, tzinfo=UTC), timedelta(hours=1), timedelta(days=1), 110


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(read_release_bundle(candle_release(tmp_path_factory.mktemp("models"))), form="torch")


def bars() -> pl.DataFrame:
    """Two coins; one misses a few hours."""
    rng = np.random.default_rng(0)
    frames = [
        pl.DataFrame(
            {
                "timestamp": [START + k * HOUR for k in range(N)],
                "symbol": symbol,
                "close": 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, N))),
            },
            schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
        )
        for symbol in SYMBOLS
    ]
    missing = (pl.col("symbol") == "ETH") & pl.col("timestamp").is_between(START + 80 * HOUR, START + 82 * HOUR)
    return pl.concat(frames).filter(~missing)


@pytest.fixture(scope="module")
def table(predictor: Predictor) -> pl.DataFrame:
    return signals_of_bars(predictor, bars())


def test_it_says_what_live_code_says_bar_by_bar(predictor: Predictor, table: pl.DataFrame) -> None:
    first = bars().filter(pl.col("timestamp") <= START)
    history, state, said = BarHistory(predictor.signature, first), predictor.start(), []
    known = {}
    for k in range(N):
        now = START + k * HOUR
        if k:
            history.append(bars().filter(pl.col("timestamp") == now))
        signals, state = predictor.step(state, history.features_at(now))
        said += signals
        known |= {(now, symbol): s for symbol, s in history.volatility_at(now).items()}
    live = signal_table(said, known)
    assert table.schema == pl.Schema(SCHEMA)
    for column in ("ts", "symbol", "valid_from", "valid_until", "model_id"):
        assert table[column].to_list() == live[column].to_list()
    for column in ("target_position", "mu", "sigma", "volatility"):
        np.testing.assert_allclose(
            table[column].fill_null(-9.0).to_numpy(), live[column].fill_null(-9.0).to_numpy(), atol=1e-6
        )
    assert (table["target_position"] != 0.0).sum() > 90
    assert signals_in(table)[0].model_id == "hours"


def test_a_symbol_that_misses_a_bar_is_flat_there_and_counts_for_nobodys_share(table: pl.DataFrame) -> None:
    gap = START + 81 * HOUR
    here = table.filter(pl.col("ts") == gap)
    assert here.select("symbol", "target_position", "volatility").row(1) == ("ETH", 0.0, None)
    strategy = TFTStrategy(symbols=SYMBOLS, target_volatility=0.15)
    found = strategy.by_bar(table).filter(pl.col("timestamp") == gap)
    position, volatility = here.select("target_position", "volatility").row(0)
    assert found["BTC"][0] == pytest.approx(position * 0.15 / volatility)
    assert found["ETH"][0] == 0.0


def test_a_days_candle_counts_from_its_close_at_midnight(tmp_path: Path) -> None:
    """As an adapter asks: at date + timeframe, 00:00 UTC, the row of that very candle counts, not the one before."""
    daily = Predictor.load(read_release_bundle(candle_release(tmp_path, "1d")), form="torch")
    assert daily.signature.calendar["kind"] == "regular"
    opens = bars().with_columns((START + (pl.col("timestamp") - START) * 24).alias("timestamp"))
    found = signals_of_bars(daily, opens.with_columns(pl.col("timestamp") + DAY))
    strategy = TFTStrategy.of(daily.signature)
    closes = [at + DAY for at in opens["timestamp"].unique().sort().to_list()]
    spoken = [at for at in closes if at >= found["ts"].min()]
    assert strategy.path(spoken, found).equals(strategy.by_bar(found))
    assert (found["valid_from"] == found["ts"]).all()
    assert (found["valid_until"] == found["ts"] + 2 * DAY).all()


def late_bars(late: int) -> pl.DataFrame:
    """Another coin is listed `late` hours behind the first."""
    return bars().filter((pl.col("symbol") != "ETH") | (pl.col("timestamp") >= START + late * HOUR))


def test_a_late_symbol_counts_from_the_bar_at_which_it_has_features(predictor: Predictor) -> None:
    """Its volatility is known before: 6 returns, and its features need 62 bars."""
    early = replace(predictor, signature=replace(predictor.signature, volatility_span=6))
    late = 10
    table = signals_of_bars(early, late_bars(late))
    need = early.signature.max_lookback
    assert need > early.signature.volatility_span + 1
    eth = table.filter(pl.col("symbol") == "ETH")
    first = eth.filter(pl.col("volatility").is_not_null())["ts"][0]
    assert first == START + (late + need - 1) * HOUR
    before = table.filter((pl.col("ts") < first) & (pl.col("symbol") == "BTC")).tail(1).row(0, named=True)
    strategy = TFTStrategy.of(early.signature)
    found = strategy.by_bar(table).filter(pl.col("timestamp") == before["ts"])
    weight = before["target_position"] * strategy.target_volatility / before["volatility"]
    assert found["BTC"][0] == pytest.approx(weight), "the whole capital is its own"


def test_naive_bars_of_a_zone_and_bars_stamped_with_their_openings_say_the_same(
    predictor: Predictor, table: pl.DataFrame
) -> None:
    new_york = replace(predictor, signature=replace(predictor.signature, timezone="America/New_York"))
    local = pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.replace_time_zone(None)
    naive = signals_of_bars(new_york, bars().with_columns(local))
    opened = signals_of_bars(predictor, bars().with_columns(pl.col("timestamp") - HOUR), opened_before=HOUR)
    for found in (naive, opened):
        assert found.equals(table)
    assert table["volatility"].null_count() < table.height / 2


def test_bars_that_come_later_change_nothing_said_before(predictor: Predictor, table: pl.DataFrame) -> None:
    cut = START + 90 * HOUR
    wild = bars().with_columns(close=pl.when(pl.col("timestamp") > cut).then(pl.col("close") * 1.5).otherwise("close"))
    for changed in (wild, bars().filter(pl.col("timestamp") <= cut)):
        found = signals_of_bars(predictor, changed).filter(pl.col("ts") <= cut)
        assert found.equals(table.filter(pl.col("ts") <= cut))


def test_a_release_is_read_whole_before_it_speaks(tmp_path: Path) -> None:
    folder = candle_release(tmp_path)
    assert (folder / "signature.json").is_file()
    assert read_release_bundle(folder).signature.symbols == SYMBOLS
