"""TA-Lib as a second oracle of bars and oscillators, and where its conventions are not ours.

* It prints percentages; here they are shares: ADX, DI, Aroon, money flow, ultimate, %K are its values / 100.
* Williams' %R of it is %K - 1, between -1 and 0.
* Its DM starts as the sum of 13 values and not the mean of 14, so ADX and DI agree once that start is forgotten.
* It writes 0 for the CCI of a flat window and for a bar without movement, 50 for a flat money flow; here they are null.
* On-balance volume and the accumulation/distribution line run from the first bar there; here a window's change of them
  is divided by the window's volume.
* Where +DI and -DI are both 0 its ADX goes on with the old value; here that bar is null and does not count.
"""

from functools import cache

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.features import build_features, resolve_features
from tft_pipeline_tests.oracles.feature_panels import BARS_PER_YEAR, bars_of, stamps, walk

talib = pytest.importorskip("talib", reason="TA-Lib is not installed: pip install -e .[dev] brings it")

ROWS = 1200
FORGOTTEN = 400
"""Bars after which (13/14)^n of a start is below a Float32's last place."""


@cache
def bars() -> pl.DataFrame:
    rng = np.random.default_rng(11)
    return bars_of("S", stamps(ROWS), walk(rng, ROWS, 0.015), rng)


@cache
def features() -> pl.DataFrame:
    chosen = resolve_features(bars().columns, groups=("range", "bar", "vlm", "osc"), names=None, has_market=False)
    return build_features(bars(), chosen, market_symbol=None, bars_per_year=BARS_PER_YEAR)


def column(name: str) -> np.ndarray:
    return bars()[name].to_numpy()


def ours(name: str) -> np.ndarray:
    return features()[name].fill_null(np.nan).to_numpy()


def hlc() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return column("high"), column("low"), column("close")


def moves() -> np.ndarray:
    return np.diff(np.log(column("close")), prepend=np.nan)


def summed_per_volume(steps: np.ndarray, window: int) -> np.ndarray:
    """Sum of the steps / sum of the volume; steps that lack the first bar begin a bar later."""
    later = np.full(ROWS - len(steps), np.nan)
    return np.concatenate((later, talib.SUM(steps, window))) / talib.SUM(column("volume"), window)


def correlation(x: np.ndarray, y: np.ndarray, window: int) -> np.ndarray:
    """TA-Lib's running sums do not take the missing first return."""
    return np.concatenate(([np.nan], talib.CORREL(x[1:], y[1:], window)))


THEIRS = {
    "range_atr_14": lambda: talib.ATR(*hlc(), 14) / column("close"),
    "bar_body": lambda: talib.BOP(column("open"), *hlc()),
    "vlm_flow_21": lambda: summed_per_volume(np.diff(talib.OBV(column("close"), column("volume"))), 21),
    "vlm_accumulation_21": lambda: summed_per_volume(np.diff(talib.AD(*hlc(), column("volume")), prepend=0.0), 21),
    "vlm_trend_63": lambda: 63 * talib.LINEARREG_SLOPE(np.log1p(column("volume")), 63),
    "vlm_price_corr_63": lambda: correlation(moves(), np.log1p(column("volume")), 63),
    "vlm_move_corr_63": lambda: correlation(np.abs(moves()), np.log1p(column("volume")), 63),
    "osc_stochastic_14": lambda: talib.WILLR(*hlc(), 14) / 100 + 1,
    "osc_stochastic_63": lambda: talib.STOCHF(*hlc(), 63, 1, 0)[0] / 100,
    "osc_stochastic_14_3": lambda: talib.STOCHF(*hlc(), 14, 3, 0)[1] / 100,
    "osc_cci_14": lambda: talib.CCI(*hlc(), 14),
    "osc_cci_20": lambda: talib.CCI(*hlc(), 20),
    "osc_aroon_down_25": lambda: talib.AROON(*hlc()[:2], 25)[0] / 100,
    "osc_aroon_up_25": lambda: talib.AROON(*hlc()[:2], 25)[1] / 100,
    "osc_money_flow_14": lambda: talib.MFI(*hlc(), column("volume"), 14) / 100,
    "osc_ultimate": lambda: talib.ULTOSC(*hlc(), 7, 14, 28) / 100,
    "osc_plus_di_14": lambda: talib.PLUS_DI(*hlc(), 14) / 100,
    "osc_minus_di_14": lambda: talib.MINUS_DI(*hlc(), 14) / 100,
    "osc_adx_14": lambda: talib.ADX(*hlc(), 14) / 100,
}
OTHER_START = {"osc_plus_di_14", "osc_minus_di_14", "osc_adx_14"}


@pytest.mark.parametrize("name", THEIRS)
def test_feature_equals_what_ta_lib_says(name: str) -> None:
    own, theirs = ours(name), THEIRS[name]()
    assert np.flatnonzero(np.isfinite(own))[0] == np.flatnonzero(np.isfinite(theirs))[0]
    since = FORGOTTEN if name in OTHER_START else 0
    np.testing.assert_allclose(own[since:], theirs[since:], rtol=3e-6, atol=3e-7)


def test_the_bands_of_bollinger_are_ta_libs() -> None:
    upper, middle, lower = talib.BBANDS(column("close"), 20, 2.0, 2.0)
    place, width = ours("osc_bollinger_20"), ours("osc_bollinger_width_20")
    np.testing.assert_allclose(place, (column("close") - lower) / (upper - lower), rtol=3e-6, atol=3e-6)
    np.testing.assert_allclose(width, (upper - lower) / middle, rtol=3e-6)
