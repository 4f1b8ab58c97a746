"""What limits a result on some bars and cannot be seen in single ones: stamps, too few symbols, survivors, columns.

Not here: findings in single bars (`plausible_bars`).
"""

from datetime import datetime
from zoneinfo import ZoneInfo

import polars as pl

from tft_pipeline.domain.bars import user_columns
from tft_pipeline.domain.intervals import BAR_LENGTHS, symbols_of_another_interval
from tft_pipeline.domain.market_days import MarketDays
from tft_pipeline.domain.proposal import AboutBars, Proposal

FEW_SYMBOLS = 4
SURVIVORS, SURVIVED_YEARS = 5, 3.0
"""Symbols, and years of them, from which it is odd that not one ended."""


def doubts(bars: pl.DataFrame, days: MarketDays, about: AboutBars, proposal: Proposal) -> list[str]:
    """One sentence each.

    Args:
        bars: as `bars.normalise_bars` gives them.
    """
    said = []
    first, last = bars["timestamp"].min(), bars["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    if about.interval != "1d" and about.stamp == "close":
        ends = [at.hour == at.minute == 0 for at in (first, last + BAR_LENGTHS[about.interval])]
        told = f"they go from {first:%H:%M} to {last:%H:%M}, as openings do; " if all(ends) else ""
        said.append(
            f"timestamps are taken as closes, and whether they are cannot be seen in them: {told}exchanges write openings. "
            "If these are, each bar would be known one bar early: run again with --stamp open"
        )
    local = first.astimezone(ZoneInfo(about.timezone or "UTC"))
    if about.interval == "1d" and local.date() != first.date():
        said.append(
            f"dates placed in {about.timezone} are times of another day in UTC ({local:%Y-%m-%d} begins on "
            f"{first:%Y-%m-%d}), and folds and reports name days in UTC: for daily bars that carry a date alone take "
            "--timezone UTC"
        )
    strange = symbols_of_another_interval(bars, about.interval)
    if strange:
        said.append(
            f"the interval is {about.interval}, and {'; '.join(strange[:5])}: a horizon lasts longer there; leave these "
            "symbols out with data.symbols, or bring bars of one interval"
        )
    if proposal.left_out:
        said.append(
            f"{', '.join(proposal.left_out)} left out by data.symbols: too few bars for one window; leaving out what ended "
            "early flatters the rest (survivorship)"
        )
    n = len(about.traded)
    if n < FEW_SYMBOLS:
        said.append(
            f"{n} symbol{'s' * (n > 1)}: a verdict rests on few independent decisions; more markets would say more"
        )
    ended_at = bars.group_by("symbol").agg(pl.col("timestamp").max())["timestamp"]
    if n >= SURVIVORS and days.years > SURVIVED_YEARS and bool((ended_at == last).all()):
        said.append(
            f"all {len(ended_at)} symbols have bars to the last day, over {days.years:.0f} years: were those that ended left "
            "out? Then holding any of them looks better than it was (survivorship)"
        )
    absent = [name for name in ("open", "high", "low", "volume") if name not in about.columns]
    if absent:
        said.append(f"no column {', '.join(absent)}: features that need them are left out; nothing else is lost")
    own = user_columns(about.columns)
    if own:
        said.append(
            f"columns {', '.join(own)} become features of your own as they are: each value must be known when its bar "
            "closes; drop the others, such as row numbers and closes of tomorrow"
        )
    if days.years < 1.0 and about.interval == "1d":
        said.append(f"{days.years:.1f} years of daily bars show one state of the market")
    return said
