"""What a fitted fold earns on bars it has not seen: predict, hold, pay costs. Not here: which bars those are."""

import numpy as np

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.portfolio import portfolio_returns
from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.inference import predict


def net_returns(fitted: FittedFold, panel: Panel, span: Span) -> np.ndarray:
    """(n,) portfolio returns net of costs over the bars of `span` that any symbol can be held on, from a flat book."""
    scored, position = panel.between(*span), fitted.position
    held = hold_positions(
        predict(fitted, panel, span).raw_position,
        max_position=position.max_position,
        position_smooth=position.position_smooth,
    )
    series = portfolio_returns(
        held,
        np.where(scored.observed, scored.volatility, np.nan),
        scored.next_return,
        target_volatility=fitted.target_volatility,
        terms=BookTerms.of(position, scored.symbols, bars_per_year=fitted.bars_per_year),
    )
    return series.net[series.n_symbols > 0]
