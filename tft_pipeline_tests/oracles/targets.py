"""Targets by loops over symbols and calendar bars, written from the formulas."""

import math
from datetime import datetime
from typing import NamedTuple


class Target(NamedTuple):
    """One symbol and bar; None where the future or the history is missing."""

    next_return: float | None
    volatility: float | None
    label: float | None
    label_end: datetime | None


def ewm_std(values: list[float], span: int) -> float:
    """Adjusted, bias corrected exponentially weighted standard deviation of all values, the last one weighing 1."""
    decay = 1.0 - 2.0 / (span + 1.0)
    weights = [decay ** (len(values) - 1 - k) for k in range(len(values))]
    mass = sum(weights)
    mean = sum(w * x for w, x in zip(weights, values, strict=True)) / mass
    biased = sum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True)) / mass
    return math.sqrt(biased * mass**2 / (mass**2 - sum(w * w for w in weights)))


def ewm_mean(values: list[float], span: int) -> float:
    """Exponentially weighted mean of all values, the last one weighing 1."""
    decay = 1.0 - 2.0 / (span + 1.0)
    weights = [decay ** (len(values) - 1 - k) for k in range(len(values))]
    return sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)


def targets(
    closes: dict[str, dict[datetime, float]], *, horizon: int, span: int, bars_per_year: float
) -> dict[tuple[datetime, str], Target]:
    """Targets of every (timestamp, symbol); a label looks at its symbol's price exactly `horizon` calendar bars later."""
    calendar = sorted({stamp for prices in closes.values() for stamp in prices})
    found = {}
    for symbol, prices in closes.items():
        past: list[float] = []
        so_far: list[float] = []
        last = None
        for t, stamp in enumerate(calendar):
            if stamp not in prices:
                continue
            if last is not None:
                past.append(prices[stamp] / last - 1.0)
            last = prices[stamp]
            volatility = None
            if len(past) >= span:
                deviation = ewm_std(past, span)
                if deviation**2 <= 1e-12 * (deviation**2 + ewm_mean(past, span) ** 2):
                    deviation = 0.0
                so_far.append(deviation * math.sqrt(bars_per_year))
                if so_far[-1] > 0.0 and so_far[-1] >= 1e-2 * sum(so_far) / len(so_far):
                    volatility = so_far[-1]

            def ahead(bars: int, t: int = t, prices: dict[datetime, float] = prices) -> float | None:
                if t + bars >= len(calendar) or calendar[t + bars] not in prices:
                    return None
                return prices[calendar[t + bars]] / prices[calendar[t]] - 1.0

            forward = ahead(horizon)
            risk = None if volatility is None else volatility * math.sqrt(horizon / bars_per_year)
            found[stamp, symbol] = Target(
                next_return=ahead(1),
                volatility=volatility,
                label=None if forward is None or not risk else forward / risk,
                label_end=None if forward is None else calendar[t + horizon],
            )
    return found
