"""A frozen bundle in freqtrade: read once, fed with candles, and traded as its own signals say."""

from dataclasses import replace

import pandas as pd
import polars as pl
import pytest

from tft_pipeline.domain.intervals import BAR_LENGTHS
from tft_pipeline.live.adapters.freqtrade_release import release_strategy, startup_candles
from tft_pipeline.live.adapters.freqtrade_strategy import FreqtradeTerms, strategy_of_signals
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.replayed_signals import signals_of_bars
from tft_pipeline.live.strategy import TFTStrategy
from tft_pipeline.storage.release_bundle import read_release_bundle
from tft_pipeline_tests.live.adapters.offline_freqtrade import backtested, candles
from tft_pipeline_tests.live.candle_release import candle_release
from tft_pipeline_tests.signatures import made_signature

PAIRS = {"BTC/USDT:USDT": "BTC", "ETH/USDT:USDT": "ETH"}


def test_start_up_lets_smoothing_and_volatility_forget_their_start() -> None:
    signature = made_signature(max_lookback=21, lookback=16, position_smooth=0.5, volatility_span=20)
    assert startup_candles(signature) == 139  # 0.905^139 < 1e-6, more than 21 + 15 + 20
    assert (1.0 - 2.0 / 21.0) ** 139 <= 1e-6 < (1.0 - 2.0 / 21.0) ** 138
    assert startup_candles(replace(signature, max_lookback=500)) == 500 + 15 + 20
    assert startup_candles(replace(signature, max_lookback=500, position_smooth=0.0)) == 515


def test_symbols_without_a_pair_and_columns_no_candle_has_are_refused(tmp_path) -> None:
    folder = candle_release(tmp_path)
    with pytest.raises(ValueError, match=r"no pair for \['ETH'\]"):
        release_strategy(folder, {"BTC/USDT": "BTC"})
    from tft_pipeline.live.adapters.freqtrade_release import _refuse_what_candles_lack

    dates = {"kind": "observed", "step_s": 86_400, "dated": True}
    with pytest.raises(ValueError, match="stamped with their dates"):
        _refuse_what_candles_lack(made_signature(calendar=dates, symbols=("BTC", "ETH")), PAIRS)
    with pytest.raises(ValueError, match=r"reads \['mood', 'own'\], which candles do not hold"):
        _refuse_what_candles_lack(made_signature(raw_columns=("close", "mood"), symbols=("BTC", "ETH")), PAIRS)


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["1h", "1d"])
def test_a_bundle_trades_as_its_signals_say(monkeypatch, tmp_path, interval) -> None:
    """Each signal counts from the close of its candle, date + timeframe, for two candles: at 00:00 UTC too."""
    pytest.importorskip(
        "freqtrade", reason="freqtrade is not installed: pip install 'tft-pipeline[freqtrade]' in a venv of its own"
    )
    folder, length = candle_release(tmp_path / "models", interval), BAR_LENGTHS[interval]
    frames = {pair: candles(seed, timeframe=interval) for seed, pair in enumerate(PAIRS)}
    found, run = backtested(
        monkeypatch, tmp_path / "release", frames, release_strategy(folder, PAIRS), timeframe=interval
    )
    assert run.required_startup == startup_candles(read_release_bundle(folder).signature)

    predictor = Predictor.load(read_release_bundle(folder))
    bars = pl.concat(
        [
            pl.DataFrame(
                {
                    "timestamp": pl.Series([stamp.to_pydatetime() for stamp in frame["date"]]) + length,
                    "symbol": PAIRS[pair],
                    "close": frame["close"].to_numpy(),
                }
            )
            for pair, frame in frames.items()
        ]
    )
    table = signals_of_bars(predictor, bars).with_columns(valid_from="ts", valid_until=pl.col("ts") + 2 * length)
    terms = FreqtradeTerms(timeframe=interval, pairs=PAIRS, startup_candles=run.required_startup)
    by_hand = strategy_of_signals(lambda _: table, TFTStrategy.of(predictor.signature), terms)
    expected, _ = backtested(monkeypatch, tmp_path / "hand", frames, by_hand, timeframe=interval)
    columns = ["pair", "open_date", "close_date", "amount", "open_rate", "profit_abs", "is_short"]
    assert found["total_trades"] > 5
    pd.testing.assert_frame_equal(pd.DataFrame(found["trades"])[columns], pd.DataFrame(expected["trades"])[columns])
