"""The oracles over volume, open, high and low of one symbol in one table."""

from collections.abc import Callable

from tft_pipeline_tests.oracles.feature_bars import OracleBars, OraclePanel, Value
from tft_pipeline_tests.oracles.feature_candles import CANDLE_ORACLES
from tft_pipeline_tests.oracles.feature_liquidity import LIQUIDITY_ORACLES
from tft_pipeline_tests.oracles.feature_oscillators import OSCILLATOR_ORACLES
from tft_pipeline_tests.oracles.feature_ranges import RANGE_ORACLES
from tft_pipeline_tests.oracles.feature_sections import own
from tft_pipeline_tests.oracles.feature_volume import VOLUME_ORACLES


def raw(_panel: OraclePanel, bars: OracleBars, row: int, name: str) -> Value:
    return getattr(bars, name)[row]


OHLCV_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **RANGE_ORACLES,
    **CANDLE_ORACLES,
    **VOLUME_ORACLES,
    **LIQUIDITY_ORACLES,
    **OSCILLATOR_ORACLES,
    **{name: own(raw, name=name) for name in ("close", "volume")},
}
