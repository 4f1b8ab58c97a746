"""A released bundle, frozen, as a freqtrade strategy. Not here: orders (`freqtrade_strategy`), the model (`predictor`)."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.adapters.freqtrade_strategy import FreqtradeTerms, strategy_of_signals
from tft_pipeline.live.replayed_signals import signals_of_bars
from tft_pipeline.live.strategy import Allowed, TFTStrategy

if TYPE_CHECKING:
    from freqtrade.strategy import IStrategy

SETTLED = 1e-6
"""What is left of a smoothed value's start when candles begin to count."""


def release_strategy(
    folder: Path | str,
    pairs: Mapping[str, str],
    *,
    can_short: bool = True,
    least_change: float = 0.005,
    allowed: Allowed | None = None,
) -> "type[IStrategy]":
    """The base class of a strategy that runs one bundle; verified, read and loaded once, here.

        class TftRelease(release_strategy("models/versions/<id>", {"BTC/USDT:USDT": "BTCUSDT"})):
            pass

    Name a version, not `current`: a strategy that changes its model while it runs is not the one that was tested.

    Args:
        folder: of the release.
        pairs: freqtrade pair -> symbol of the release, for every symbol that its features read.
        can_short: hold fractions below 0; needs futures.
        least_change: see `FreqtradeTerms`.
        allowed: the kill switch's answer, `KillSwitch(folder).allowed`.
    Raises:
        MissingLibraryError: freqtrade is not installed.
        IntegrityError: a file is not as it was written.
        ValueError: a symbol without a pair, a release that reads more than candles hold, or whose days are dates.
    """
    from tft_pipeline.live.predictor import Predictor
    from tft_pipeline.storage.release_bundle import read_release_bundle

    bundle = read_release_bundle(Path(folder))
    signature = bundle.signature
    _refuse_what_candles_lack(signature, pairs)
    predictor = Predictor.load(bundle)
    terms = FreqtradeTerms(
        timeframe=signature.interval,
        pairs=dict(pairs),
        startup_candles=startup_candles(signature),
        can_short=can_short,
        least_change=least_change,
    )
    strategy = TFTStrategy.of(signature, allowed=allowed)
    return strategy_of_signals(lambda bars: signals_of_bars(predictor, bars), strategy, terms)


def startup_candles(signature: Signature) -> int:
    """Candles before the first that counts: the lookbacks are there, smoothing and volatility have forgotten their start.

        max(max_lookback + lookback - 1 + bars_k, bars_v)
        bars_k = ln 1e-6 / ln k        of the smoothed position, k = position_smooth
        bars_v = ln 1e-6 / ln(1 - 2 / (span + 1))        of the EWM volatility

    each rounded up. Features that read all bars since the first (`Signature.recursive_features`) are made from these candles
    alone: an average is close by then to what it is with all of history, a running maximum, age or sum since the first
    bar is another value, however many candles there are.
    """
    smooth = signature.position_smooth
    held = math.ceil(math.log(SETTLED) / math.log(smooth)) if smooth > 0.0 else 0
    volatility = math.ceil(math.log(SETTLED) / math.log(1.0 - 2.0 / (signature.volatility_span + 1.0)))
    return max(signature.max_lookback + signature.lookback - 1 + held, volatility)


def _refuse_what_candles_lack(signature: Signature, pairs: Mapping[str, str]) -> None:
    if signature.dated:
        raise ValueError(
            "the release's daily bars are stamped with their dates, and candles are handed on with their closes: each would "
            "count a day late; train one on bars that are stamped with their closes"
        )
    read = {*signature.symbols, *signature.untraded, *signature.cross_markets.values()}
    read |= {signature.market_symbol} if signature.market_symbol else set()
    without = sorted(read - set(pairs.values()))
    if without:
        raise ValueError(f"no pair for {without}: the release reads their bars; name a pair for each symbol")
    foreign = sorted(set(signature.raw_columns) - {"open", "high", "low", "close", "volume"}) + list(
        signature.user_columns
    )
    if foreign:
        raise ValueError(
            f"the release reads {foreign}, which candles do not hold: train one without them, or give `strategy_of_signals` "
            "signals of your own"
        )
