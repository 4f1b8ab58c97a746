"""freqtrade's own backtest without a network: generated candles on disk, and markets put where the exchange's would be.

What is replaced is the one download of the markets, by ccxt's own `set_markets`; all else is freqtrade's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

N, START = 400, pd.Timestamp("2026-01-05", tz="UTC")
FIRST_DEALT = 40
"""Candles before it are start-up."""
NAME = "Released"
FILE = f"""
from {__name__} import BASES


class {NAME}(BASES["{NAME}"]):
    pass
"""
BASES: dict[str, type] = {}
"""What the strategy file of the running test derives from."""


def market(pair: str, *, futures: bool) -> dict[str, Any]:
    """As ccxt describes a market."""
    base = pair.split("/")[0]
    return {
        "id": f"{base}USDT",
        "symbol": pair,
        "base": base,
        "quote": "USDT",
        "settle": "USDT" if futures else None,
        "baseId": base,
        "quoteId": "USDT",
        "settleId": "USDT" if futures else None,
        "type": "swap" if futures else "spot",
        "spot": not futures,
        "margin": False,
        "swap": futures,
        "future": False,
        "option": False,
        "active": True,
        "contract": futures,
        "linear": futures or None,
        "inverse": False if futures else None,
        "taker": 0.0005,
        "maker": 0.0005,
        "contractSize": 1.0 if futures else None,
        "precision": {"amount": 1e-8, "price": 1e-8},
        "limits": {
            "amount": {"min": 1e-8, "max": None},
            "price": {"min": None, "max": None},
            "cost": {"min": None, "max": None},
            "leverage": {"min": 1, "max": 20},
        },
        "percentage": True,
        "tierBased": False,
        "info": {},
    }


def candles(seed: int, n: int = N, timeframe: str = "1h") -> pd.DataFrame:
    """Candles by their openings; an open is not the close before it."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, n)))
    opening = np.r_[100.0, close[:-1]] * np.exp(rng.normal(0.0, 0.001, n))
    return pd.DataFrame(
        {
            "date": pd.date_range(START, periods=n, freq=timeframe.replace("d", "D")).as_unit("ms"),
            "open": opening.round(6),
            "high": (np.maximum(opening, close) * 1.002).round(6),
            "low": (np.minimum(opening, close) * 0.998).round(6),
            "close": close.round(6),
            "volume": 1e6,
        }
    )


def backtested(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    frames: Mapping[str, pd.DataFrame],
    base: type,
    *,
    futures: bool = True,
    wallet: float = 10_000.0,
    fee: float = 0.0,
    timeframe: str = "1h",
) -> tuple[dict[str, Any], Any]:
    """Run a strategy file, whose class derives from `base`, over candles; its statistics, and freqtrade's `Backtesting`."""
    from freqtrade.data.history import get_datahandler
    from freqtrade.enums import CandleType, RunMode
    from freqtrade.exchange import Exchange
    from freqtrade.optimize.backtesting import Backtesting

    markets = [market(pair, futures=futures) for pair in frames]
    monkeypatch.setattr(
        Exchange, "_load_async_markets", lambda self, reload=False: self._api_async.set_markets(markets)
    )
    data = folder / "data"
    data.mkdir(parents=True)
    monkeypatch.setitem(BASES, NAME, base)
    (folder / "strategy_file.py").write_text(FILE)
    kind = CandleType.FUTURES if futures else CandleType.SPOT
    store = get_datahandler(data, "feather")
    for pair, frame in frames.items():
        store.ohlcv_store(pair, timeframe, frame, kind)
        if futures:
            store.ohlcv_store(pair, timeframe, frame, CandleType.MARK)
            funding = pd.DataFrame({"date": frame["date"], "funding_rate": 0.0})
            store.ohlcv_store(pair, timeframe, funding, CandleType.FUNDING_RATE)
    pricing = {"price_side": "other", "use_order_book": True, "order_book_top": 1}
    config = {
        "runmode": RunMode.BACKTEST,
        "dry_run": True,
        "dry_run_wallet": wallet,
        "stake_currency": "USDT",
        "stake_amount": "unlimited",
        "max_open_trades": len(frames),
        "tradable_balance_ratio": 1.0,
        "exchange": {"name": "binance", "key": "", "secret": "", "pair_whitelist": list(frames), "pair_blacklist": []},
        "pairlists": [{"method": "StaticPairList"}],
        "datadir": data,
        "user_data_dir": folder,
        "strategy": NAME,
        "strategy_path": str(folder),
        "dataformat_ohlcv": "feather",
        "dataformat_trades": "feather",
        "export": "none",
        "exportfilename": folder,
        "exportdirectory": folder,
        "entry_pricing": pricing,
        "exit_pricing": pricing,
        "fee": fee,
        "trading_mode": "futures" if futures else "spot",
        "margin_mode": "isolated" if futures else "",
        "candle_type_def": kind,
        "backtest_cache": "none",
    }
    run = Backtesting(config)
    try:
        run.start()
        return run.results["strategy"][NAME], run
    finally:
        Backtesting.cleanup()
        run.exchange.close()
