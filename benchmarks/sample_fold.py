"""One fold of the embedded sample as scaled arrays: 20 US stocks, daily, a fixed set of catalogue features.

Axes: S symbols, N bars of the fold, V features. Not here: fitting.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tft_pipeline.domain.features import build_features, resolve_features
from tft_pipeline.domain.folds import Fold, FoldPlan, Span, plan_folds
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.targets import build_targets

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample" / "us_equities_daily.parquet"
MARKET, BARS_PER_YEAR, VOLATILITY_SPAN, HORIZON, PURGE = "SP500", 252.0, 60, 1, 5
FEATURES = (
    "ret_1", "ret_5", "ret_21", "ret_63", "ret_252", "macd_8_24", "macd_32_96", "sma_20_gap", "sma_200_gap", "mom_rsi_14",
    "vol_5", "vol_21", "vol_63", "vol_ratio_5_63", "vol_ratio_21_252", "vol_downside_63", "z_21", "dd_252", "mkt_ret_1",
    "mkt_vol_21", "mkt_drawdown_252", "beta_63", "xs_ret_21", "brd_dispersion",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FoldArrays:
    """Bars of one fold, from its first training bar to the bar behind its last validation bar.

    Attributes:
        values: (S, N, V) float32, scaled on the training bars, missing ones at the train mean, 0.
        label: (S, N) float32, next-bar return in units of expected risk.
        train, validation: spans of these N bars; every label in them is there.
    """

    values: np.ndarray
    label: np.ndarray
    train: Span
    validation: Span


def sample_panel() -> Panel:
    """All bars of the sample with `FEATURES`."""
    bars = pl.read_parquet(SAMPLE).sort("symbol", "timestamp")
    chosen = resolve_features(bars.columns, groups=(), names=FEATURES, has_market=True)
    features = build_features(bars, chosen, market_symbol=MARKET, bars_per_year=BARS_PER_YEAR)
    targets = build_targets(
        bars,
        horizon=HORIZON,
        volatility_span=VOLATILITY_SPAN,
        bars_per_year=BARS_PER_YEAR,
        untraded=(MARKET,),
    )
    return build_panel(features, targets, names=chosen.names, min_history=chosen.max_lookback)


def sample_folds(panel: Panel, *, train: int, validation: int, n_folds: int) -> tuple[Fold, ...]:
    """The latest folds of a sliding walk forward, a year of test each."""
    plan = FoldPlan(
        train=train, validation=validation, test=252, step=252, window="sliding", purge=PURGE, horizon=HORIZON
    )
    first = int(np.flatnonzero(panel.observed.all(axis=0))[0])
    stop = panel.n_bars - HORIZON
    return plan_folds(panel.calendar, plan, first_bar=first, stop_bar=stop, intraday=False, max_folds=n_folds)


def fold_arrays(panel: Panel, fold: Fold, *, n_symbols: int) -> FoldArrays:
    """Scale a fold on its training bars; the first `n_symbols` symbols.

    Raises:
        ValueError: a label of the fold is missing: the peer's data set has no place for that.
    """
    first = fold.train.start
    cut = panel.between(first, fold.validation.stop + 1)
    train = Span(0, fold.train.stop - first)
    validation = Span(fold.validation.start - first, fold.validation.stop - first)
    for span in (train, validation):
        if not cut.scored[:, span.start : span.stop].all():
            raise ValueError(f"fold {fold.key}: a label of bars {span} is missing; take a fold in which all are there")
    values, label = cut.values[:n_symbols], cut.label[:n_symbols]
    scaler = Scaler.fit(values[:, : train.stop], cut.features)
    values = np.nan_to_num(scaler.transform(values), nan=0.0)
    label = np.nan_to_num(label, nan=0.0).astype(np.float32)
    return FoldArrays(values=values, label=label, train=train, validation=validation)
