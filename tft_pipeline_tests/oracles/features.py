"""Slow readings of every feature: one value at a time, plain loops over lists, no code shared with the package.

`ORACLES[name](panel, symbol, row)` is the value of a feature on one bar of one symbol, or None for null.
"""

from tft_pipeline_tests.oracles.feature_bars import Oracle
from tft_pipeline_tests.oracles.feature_breadth import BREADTH_ORACLES
from tft_pipeline_tests.oracles.feature_calendar import CALENDAR_ORACLES
from tft_pipeline_tests.oracles.feature_index import INDEX_ORACLES
from tft_pipeline_tests.oracles.feature_lines import LINE_ORACLES
from tft_pipeline_tests.oracles.feature_minutes import MINUTE_FEATURE_ORACLES
from tft_pipeline_tests.oracles.feature_momentum import MOMENTUM_ORACLES
from tft_pipeline_tests.oracles.feature_ohlcv import OHLCV_ORACLES
from tft_pipeline_tests.oracles.feature_prices import PRICE_ORACLES
from tft_pipeline_tests.oracles.feature_ranks import RANK_ORACLES
from tft_pipeline_tests.oracles.feature_sections import RELATIVE_ORACLES
from tft_pipeline_tests.oracles.feature_volatility import VOLATILITY_ORACLES

ORACLES: dict[str, Oracle] = PRICE_ORACLES | MOMENTUM_ORACLES | VOLATILITY_ORACLES | LINE_ORACLES | CALENDAR_ORACLES
ORACLES |= INDEX_ORACLES | RELATIVE_ORACLES | BREADTH_ORACLES | RANK_ORACLES
ORACLES |= OHLCV_ORACLES
ORACLES |= MINUTE_FEATURE_ORACLES
