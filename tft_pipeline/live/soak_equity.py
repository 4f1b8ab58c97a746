"""The loop's equity, told again from the book it published and the closes it was given. Pure.

    E_t / E_{t-1} = 1 + sum_i w_i (c_i,t / c_i,t-1 - 1),   w as it stands in targets.json before bar t

Told only where it is sure what was held from one bar decided on to the next: the book is of the bar before and not flat, and
the switch is the same before and after. Elsewhere (a halt, targets that ran out) equity is the loop's own word.
"""

import math
from collections.abc import Mapping

from tft_pipeline.live.kill_switch import Reading
from tft_pipeline.live.target_book import Targets

TOLERANCE = 1e-9


class EquityCheck:
    """One loop's, from its start.

    Attributes:
        told: bars whose change of equity was told again.
        wrong: the first that was not the loop's, in words; "" where none was.
    """

    def __init__(self) -> None:
        self.told, self.wrong = 0, ""
        self._bar: str | None = None
        self._closes: Mapping[str, float] = {}

    def decided(
        self,
        *,
        bar: str,
        closes: Mapping[str, float],
        book: Targets | None,
        before: Reading,
        after: Reading,
        equity: tuple[float, float],
    ) -> None:
        """A bar that was decided on.

        Args:
            bar: its timestamp, as the book has it. closes: by symbol.
            book: as it stood before the bar.
            before, after: the switch.
            equity: of the loop, before and after the bar.
        """
        last, closes_then = self._bar, self._closes
        self._bar, self._closes = bar, closes
        known = book is not None and book.bar == last and not book.flat
        if book is None or not known or (before.state, before.sequence) != (after.state, after.sequence):
            return
        held = {symbol: weight for symbol, weight in book.weights.items() if weight}
        if not set(held) <= set(closes) & set(closes_then):
            return
        change = sum(weight * (closes[symbol] / closes_then[symbol] - 1.0) for symbol, weight in held.items())
        expected = equity[0] * (1.0 + change)
        self.told += 1
        if not math.isclose(equity[1], expected, rel_tol=TOLERANCE) and not self.wrong:
            self.wrong = f"equity {equity[1]!r} after bar {bar}, and book and closes make it {expected!r}"
