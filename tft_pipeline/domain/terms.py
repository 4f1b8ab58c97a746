"""On what terms a book is held: the cap on a weight, and what trading and holding cost. One object for arrays and tensors.

Axes: S symbols. Not here: the book itself (`portfolio`, in tensors `model.losses`), the keys of an experiment (`sections`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tft_pipeline.domain.sections import PositionSection

BPS = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class BookTerms:
    """Cap and costs of weights w, fractions of capital.

        w <- clip(w, -max_weight, max_weight)
        cost a bar      = trading_bps * 1e-4 * |w_t - w_{t-1}|
        financing a bar = borrow_per_bar * max(-w, 0) + funding_per_bar * w

    Attributes:
        trading_bps: fee and slippage, basis points of the weight traded; one number, or (S,) one a symbol.
        max_weight: largest |w|; infinite for none.
        borrow_per_bar: share of the short weight that a bar of holding it costs.
        funding_per_bar: share of the weight that a bar of holding it costs; shorts receive it. Negative where longs do.
    Raises:
        ValueError: costs that are negative or not finite, a cap that is not positive.
    """

    trading_bps: float | np.ndarray
    max_weight: float = math.inf
    borrow_per_bar: float = 0.0
    funding_per_bar: float = 0.0

    def __post_init__(self) -> None:
        cost = np.asarray(self.trading_bps, dtype=np.float64)
        if cost.ndim > 1 or not (np.isfinite(cost) & (cost >= 0.0)).all():
            raise ValueError(
                f"trading_bps {self.trading_bps!r}: expected one number or one a symbol, finite and not negative; "
                "a cost below 0 would pay for trading"
            )
        if not self.max_weight > 0.0:
            raise ValueError(f"max_weight {self.max_weight} is not positive: every weight would be 0")
        if not 0.0 <= self.borrow_per_bar < math.inf:
            raise ValueError(f"borrow_per_bar {self.borrow_per_bar}: expected a finite share, not negative")
        if not math.isfinite(self.funding_per_bar):
            raise ValueError(f"funding_per_bar {self.funding_per_bar}: expected a finite share")

    @classmethod
    def of(cls, position: PositionSection, symbols: Sequence[str], *, bars_per_year: float) -> "BookTerms":
        """The terms of an experiment for these symbols, in their order; rates a year fall on its bars in equal parts."""
        if not 0.0 < bars_per_year < math.inf:
            raise ValueError(
                f"bars_per_year {bars_per_year}: a rate a year cannot be spread over them; expected a count"
            )
        return cls(
            trading_bps=position.trading_bps(symbols),
            max_weight=position.max_weight,
            borrow_per_bar=position.borrow_bps * BPS / bars_per_year,
            funding_per_bar=position.funding_bps * BPS / bars_per_year,
        )

    @property
    def financed(self) -> bool:
        """Holding costs or pays something."""
        return self.borrow_per_bar != 0.0 or self.funding_per_bar != 0.0

    def trading_shares(self, n_symbols: int) -> np.ndarray:
        """(S,) cost of one unit of weight traded, a share of capital.

        Raises:
            ValueError: terms of other symbols.
        """
        cost = np.asarray(self.trading_bps, dtype=np.float64)
        if cost.shape not in ((), (n_symbols,)):
            raise ValueError(
                f"trading_bps holds {cost.size} symbols and the book {n_symbols}: costs would fall on other symbols; "
                "make the terms of the symbols that are held"
            )
        return np.broadcast_to(cost * BPS, (n_symbols,))

    def dearer(self, times: float) -> "BookTerms":
        """Fee and slippage so many times as high; financing and cap as they are."""
        return replace(self, trading_bps=times * np.asarray(self.trading_bps, dtype=np.float64))
