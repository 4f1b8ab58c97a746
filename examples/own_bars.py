"""Writes metals.csv: made-up daily prices of six metals, with the mistakes that a real file has. For docs/tutorial.md.

    python examples/own_bars.py [metals.csv]

The prices are random walks that share a common move: nothing in them can be predicted. The mistakes: dates are text, day first;
columns have other names; closes carry thousands separators; COPPER changes to lower case half way; SILVER is split 2:1 without
an adjustment; one GOLD close is ten times what it was; three weeks of ZINC are missing; LEAD has a bar on a Saturday. Holidays
are missing for all of them, as they should be.
"""

import csv
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np

FIRST, LAST = date(2014, 1, 2), date(2025, 6, 30)
PRICES = {"GOLD": 3100.0, "SILVER": 18.0, "PLATINUM": 960.0, "COPPER": 9400.0, "ZINC": 2650.0, "LEAD": 2010.0}
"""Name and the close on the last day."""
HOLIDAYS = ((1, 1), (12, 25), (12, 26))
SPLIT, TICK = date(2019, 6, 10), date(2025, 4, 17)
LOST = (date(2017, 8, 7), date(2017, 8, 27))
SATURDAY = date(2021, 3, 6)
LOWER_FROM = date(2020, 1, 1)


def days() -> list[date]:
    """Mondays to Fridays without the holidays."""
    whole = [FIRST + timedelta(days=k) for k in range((LAST - FIRST).days + 1)]
    return [day for day in whole if day.weekday() < 5 and (day.month, day.day) not in HOLIDAYS]


def rows() -> list[list[str]]:
    """The lines of the file, mistakes included."""
    chance, calendar = np.random.default_rng(7), days()
    common = chance.standard_t(5, len(calendar))
    lines = []
    for name, last in PRICES.items():
        own = chance.standard_t(5, len(calendar))
        log = np.cumsum(0.0002 + 0.006 * common + 0.008 * own)
        closes = last * np.exp(log - log[-1])
        volumes = np.exp(chance.normal(11.0, 0.3, len(calendar)))
        for day, close, volume in zip(calendar, closes, volumes, strict=True):
            price, traded = float(close), float(volume)
            if name == "SILVER" and day < SPLIT:
                price, traded = 2 * price, traded / 2
            if name == "GOLD" and day == TICK:
                price = 31000.0
            if name == "ZINC" and LOST[0] <= day <= LOST[1]:
                continue
            shown = name.lower() if name == "COPPER" and day >= LOWER_FROM else name
            lines.append([f"{day:%d/%m/%Y}", shown, f"{price:,.2f}", f"{traded:.0f}"])
            if name == "LEAD" and day == SATURDAY - timedelta(days=1):
                lines.append([f"{SATURDAY:%d/%m/%Y}", shown, f"{price:,.2f}", "0"])
    return lines


def main() -> None:
    """Write the file."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "metals.csv")
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Date", "Ticker", "Close", "Volume"])
        writer.writerows(rows())
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
