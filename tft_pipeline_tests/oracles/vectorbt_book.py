"""The same orders in vectorbt: shares bought and sold at the close of each bar from one purse, with fees it charges itself.

Axes: S symbols, N bars.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Account:
    """What vectorbt's simulation left.

    Attributes:
        value: (N,) cash and shares at the close of each bar, after its orders.
        fees: (S, N) fees charged by the orders of a bar.
        slipped: (S, N) what these orders lost between their price and the close.
    """

    value: np.ndarray
    fees: np.ndarray
    slipped: np.ndarray

    def earned(self) -> np.ndarray:
        """(N-1,) from before a bar's orders to before those of the next: what the orders of a bar cost and then earned."""
        before = self.value + (self.fees + self.slipped).sum(axis=0)
        return np.diff(before)


def traded(
    close: np.ndarray,
    size: np.ndarray,
    *,
    cash: float,
    fees: np.ndarray | float = 0.0,
    slippage: np.ndarray | float = 0.0,
    fixed_fees: np.ndarray | float = 0.0,
    percent: bool = False,
) -> Account:
    """Orders of a book.

    Args:
        close: (S, N) prices.
        size: (S, N) shares to buy, negative to sell; with `percent` the share of the account's value to hold.
        fees, slippage: of the amount traded, (S,) or one number.
        fixed_fees: (S, N) an order, or one number.
    """
    import vectorbt

    def filled(value: np.ndarray | float) -> np.ndarray:
        """(N, S), so that every call compiles to the same code."""
        column = np.asarray(value, dtype=np.float64)
        return np.ascontiguousarray(np.broadcast_to(column[:, None] if column.ndim == 1 else column, close.shape).T)

    account = vectorbt.Portfolio.from_orders(
        close.T.copy(),
        size=filled(size),
        size_type="targetpercent" if percent else "amount",
        fees=filled(fees),
        slippage=filled(slippage),
        fixed_fees=filled(fixed_fees),
        init_cash=cash,
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
        freq="1D",
    )
    paid, slipped = np.zeros(close.shape), np.zeros(close.shape)
    for order in account.orders.records_arr:
        place = order["col"], order["idx"]
        paid[place] += order["fees"]
        slipped[place] += order["size"] * abs(order["price"] - close[place])
    return Account(value=account.value().to_numpy(), fees=paid, slipped=slipped)
