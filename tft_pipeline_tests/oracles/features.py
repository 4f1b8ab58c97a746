"""Slow readings of every feature: one value at a time, plain loops over lists, no code shared with the package.

`ORACLES[name](panel, symbol, row)` is the value of a feature on one bar of one symbol, or None for null.
"""

import math
from collections.abc import Callable
from functools import partial

from tft_pipeline_tests.oracles.feature_bars import OraclePanel, Value
from tft_pipeline_tests.oracles.feature_ohlcv import (
    close_location,
    cycle,
    flow,
    garman_klass,
    illiquidity,
    intrabar,
    overnight,
    parkinson,
    raw,
    relative_range,
    turn_of_month,
    turnover,
    value_z,
    volume_z,
    yang_zhang,
)
from tft_pipeline_tests.oracles.feature_prices import (
    autocorrelation,
    downside,
    drawdown,
    drawdown_since_start,
    exponential,
    macd,
    price_zscore,
    realised,
    recovery,
    rsi,
    scaled_return,
    shape,
    simple_return,
    sma_gap,
    stochastic,
    streak,
    to_extreme,
    up_share,
    vol_of_vol,
    vol_ratio,
    vol_zscore,
)
from tft_pipeline_tests.oracles.feature_sections import (
    above_share,
    advance,
    beta,
    centred_rank,
    correlation,
    correlation_proxy,
    dispersion,
    log_change,
    relative_strength,
    residual,
)


def _own(formula: Callable, **given: object) -> Callable[[OraclePanel, str, int], Value]:
    return lambda panel, symbol, row: formula(panel, panel.symbols[symbol], row, **given)


def _index(formula: Callable, **given: object) -> Callable[[OraclePanel, str, int], Value]:
    def at(panel: OraclePanel, symbol: str, row: int) -> Value:
        there = panel.market.row_at(panel.symbols[symbol].times[row])
        return None if there is None else formula(panel, panel.market, there, **given)

    return at


ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **{f"ret_{k}": _own(scaled_return, k=k) for k in (1, 5, 21, 63, 126, 252)},
    "ret_1m": _own(simple_return),
    **{f"macd_{s}_{m}": _own(macd, short=s, long=m) for s, m in ((8, 24), (16, 48), (32, 96))},
    **{f"sma_{n}_gap": _own(sma_gap, n=n) for n in (5, 10, 20, 50, 100, 200)},
    "mom_rsi_14": _own(rsi),
    **{f"mom_stochastic_{n}": _own(stochastic, n=n) for n in (21, 63, 252)},
    "mom_high_252": _own(to_extreme, extreme=max),
    "mom_low_252": _own(to_extreme, extreme=min),
    "mom_up_share_21": _own(up_share),
    "mom_streak": _own(streak),
    **{f"vol_{n}": _own(realised, n=n) for n in (5, 10, 21, 63, 126, 252)},
    **{f"vol_ewm_{n}": _own(exponential, span=n) for n in (20, 60)},
    **{f"vol_ratio_{s}_{m}": _own(vol_ratio, short=s, long=m) for s, m in ((5, 63), (21, 252))},
    "vol_downside_63": _own(downside),
    "vol_of_vol_63": _own(vol_of_vol),
    "vol_skew_63": _own(shape, power=3),
    "vol_kurtosis_63": _own(shape, power=4),
    **{f"vol_autocorrelation_{n}": _own(autocorrelation, n=n) for n in (21, 63)},
    **{f"z_{n}": _own(price_zscore, n=n) for n in (10, 21, 63, 126, 252)},
    "z_vol_252": _own(vol_zscore),
    **{f"dd_{n}": _own(drawdown, n=n) for n in (63, 252)},
    "dd_since_start": _own(drawdown_since_start),
    "dd_recovery_252": _own(recovery),
    **{f"mkt_ret_{k}": _index(scaled_return, k=k) for k in (1, 5, 21, 63, 252)},
    **{f"mkt_vol_{n}": _index(realised, n=n) for n in (21, 63)},
    "mkt_drawdown_252": _index(drawdown, n=252),
    "mkt_sma_200_gap": _index(sma_gap, n=200),
    **{f"beta_{n}": _own(beta, n=n) for n in (63, 252)},
    **{f"beta_residual_{k}": _own(residual, k=k) for k in (5, 21, 63)},
    **{f"corr_{n}": _own(correlation, n=n) for n in (63, 252)},
    **{f"rs_{k}": _own(relative_strength, k=k) for k in (21, 63, 252)},
    **{f"brd_above_sma_{n}": partial(above_share, n=n) for n in (50, 200)},
    "brd_advance": advance,
    "brd_dispersion": dispersion,
    "brd_correlation_63": correlation_proxy,
    **{f"xs_ret_{k}": partial(centred_rank, of=partial(log_change, k=k)) for k in (5, 21, 63, 252)},
    "xs_vol_21": partial(centred_rank, of=partial(realised, n=21)),
    "xs_drawdown_252": partial(centred_rank, of=partial(drawdown, n=252)),
    **{
        f"cal_{of}_{wave.__name__}": _own(cycle, of=of, wave=wave)
        for of in ("weekday", "month", "minute")
        for wave in (math.sin, math.cos)
    },
    "cal_turn_of_month": _own(turn_of_month),
    **{f"vlm_z_{n}": _own(volume_z, n=n) for n in (21, 63)},
    "vlm_value_z_63": _own(value_z),
    "vlm_turnover_5_63": _own(turnover),
    "vlm_illiquidity_21": _own(illiquidity),
    "vlm_flow_21": _own(flow),
    "range_parkinson_21": _own(parkinson),
    "range_garman_klass_21": _own(garman_klass),
    "range_yang_zhang_21": _own(yang_zhang),
    "range_relative_21": _own(relative_range),
    "bar_intrabar": _own(intrabar),
    "bar_overnight": _own(overnight),
    "bar_close_location": _own(close_location),
    **{name: _own(raw, name=name) for name in ("close", "volume")},
}
