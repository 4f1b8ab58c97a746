"""The loop's equity, told again from the book it published and the closes it was given. Pure.

    E_t / E_{t-1} = 1 + sum_i w_i (c_i,t / c_i,t-1 - 1),   w as it stands in targets.json before bar t

Told only where it is sure what was held from one bar decided on to the next: the book is of the bar before and not flat, both
bars have the same symbols, and the switch was ACTIVE from one to the other. Elsewhere (a halt, targets that ran out or were
cut, a symbol that was missing) equity is the loop's own word.
"""

import math
from collections.abc import Mapping

from tft_pipeline.live.kill_switch import Reading
from tft_pipeline.live.switch_states import ACTIVE
from tft_pipeline.live.targets import Targets

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
        self._switch: tuple[str, int] | None = None

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
        last, closes_then, switch_then = self._bar, self._closes, self._switch
        self._bar, self._closes, self._switch = bar, closes, (after.state, after.sequence)
        if book is None or book.flat or book.bar != last or set(closes) != set(closes_then):
            return
        if before.state != ACTIVE or not switch_then == (before.state, before.sequence) == self._switch:
            return
        held = {symbol: weight for symbol, weight in book.weights.items() if weight}
        if not set(held) <= set(closes):
            return
        change = sum(weight * (closes[symbol] / closes_then[symbol] - 1.0) for symbol, weight in held.items())
        expected = equity[0] * (1.0 + change)
        self.told += 1
        if not math.isclose(equity[1], expected, rel_tol=TOLERANCE) and not self.wrong:
            self.wrong = f"equity {equity[1]!r} after bar {bar}, and book and closes make it {expected!r}"
