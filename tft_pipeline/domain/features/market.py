"""Group `mkt`: the state of the market index, computed on its own bars and joined by timestamp."""

from functools import partial

from tft_pipeline.domain.features.drawdown import drawdown
from tft_pipeline.domain.features.feature import MARKET_CLOSE, Feature, OfMarket
from tft_pipeline.domain.features.returns import scaled_return, scaled_return_lookback
from tft_pipeline.domain.features.trend import sma_gap
from tft_pipeline.domain.features.volatility import realised

RETURN_HORIZONS = (1, 5, 21, 63, 252)
VOLATILITY_WINDOWS = (21, 63)
DRAWDOWN_WINDOW = 252
SMA_WINDOW = 200

MARKET = (
    *(
        Feature(
            name=f"mkt_ret_{bars}",
            formula=f"ln(M_t / M_t-{bars}) / (sigma60(M) * sqrt({bars}))",
            lookback=scaled_return_lookback(bars),
            inputs=(MARKET_CLOSE,),
            source=OfMarket(partial(scaled_return, bars=bars)),
            recursive=True,
        )
        for bars in RETURN_HORIZONS
    ),
    *(
        Feature(
            name=f"mkt_vol_{bars}",
            formula=f"std{bars}(log return of M) * sqrt(A)",
            lookback=bars + 1,
            inputs=(MARKET_CLOSE,),
            source=OfMarket(partial(realised, bars=bars)),
        )
        for bars in VOLATILITY_WINDOWS
    ),
    Feature(
        name=f"mkt_drawdown_{DRAWDOWN_WINDOW}",
        formula="M_t / max252(M) - 1",
        lookback=DRAWDOWN_WINDOW,
        inputs=(MARKET_CLOSE,),
        source=OfMarket(partial(drawdown, bars=DRAWDOWN_WINDOW)),
    ),
    Feature(
        name=f"mkt_sma_{SMA_WINDOW}_gap",
        formula="M_t / mean200(M) - 1",
        lookback=SMA_WINDOW,
        inputs=(MARKET_CLOSE,),
        source=OfMarket(partial(sma_gap, bars=SMA_WINDOW)),
    ),
)
