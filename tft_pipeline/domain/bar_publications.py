"""What was known when: features of the bars' own rows by the time of their publication, and prices that are published in time.

Not here: the rule that tables share (`publications`), what a bar must be (`bars`).
"""

import polars as pl

from tft_pipeline.domain.bars import PRICES, BarsError, example_of, user_columns
from tft_pipeline.domain.publications import newest_published


def publish_in_time(bars: pl.DataFrame) -> pl.DataFrame:
    """Replace each user feature by the newest value that was public at the bar's close; point in time by `available_at`.

    `available_at` says when a row's feature columns were published (its prices are known at the close). At bar t a value
    counts if it belongs to bar t or an older one and `available_at` <= timestamp of t. One that is published later is
    used from the first bar that closes at its publication or after it. Of the values that count, the newest bar's is
    used: a late value of an older bar never displaces it. A restated value is a further row of the same bar with a later
    `available_at`; it is used from its publication on and changes no earlier bar. A value may be published before its
    bar closes. Without feature columns `available_at` speaks of the prices: each is public at its close or later, and
    before the next bar of the calendar; the last bar's decision is one ordinary bar later.

    Bars stamped with their date alone close at midnight, when the day begins: what is published during the day is then
    used from the next bar on. Stamp bars with the time of their close to use it on its own day.

    Returns:
        One row a bar, with the `available_at` of its first publication.
    Raises:
        BarsError: `available_at` is null; the rows of one bar differ in a price; without feature columns, a price was
            published before its bar closed or after its own decision.
    """
    if "available_at" not in bars.columns:
        return bars
    if bars["available_at"].null_count():
        raise BarsError("available_at is null in some rows: say when each row was published, or drop the column")
    features = user_columns(bars.columns)
    first = _first_publications(bars)
    if not features:
        _refuse_untimely_prices(first)
        return first
    joined = newest_published(first.drop(features), bars, features)
    return joined.select(bars.columns).sort("symbol", "timestamp")


def _refuse_untimely_prices(bars: pl.DataFrame) -> None:
    """Raise for a price known before its bar closed, or not before the next bar of the calendar."""
    early = bars.filter(pl.col("available_at") < pl.col("timestamp"))
    if early.height:
        raise BarsError(
            f"available_at is before its timestamp in {early.height} rows ({example_of(early)}): a price cannot be known "
            "before its bar closed; correct the column"
        )
    calendar = bars.select(pl.col("timestamp").unique().sort())
    one_bar_on = pl.col("timestamp").max() + pl.col("timestamp").diff().median()
    calendar = calendar.with_columns(decision=pl.col("timestamp").shift(-1).fill_null(one_bar_on))
    late = bars.join(calendar, on="timestamp", how="left").filter(pl.col("available_at") >= pl.col("decision"))
    if late.height:
        raise BarsError(
            f"{late.height} prices were published after the next bar ({example_of(late)}): a decision cannot use them; "
            "use a later timestamp for these bars"
        )


def _first_publications(bars: pl.DataFrame) -> pl.DataFrame:
    """The earliest row of each bar; the others may differ from it in features only."""
    keys = ["timestamp", "symbol"]
    priced = [name for name in (*PRICES, "volume") if name in bars.columns]
    differ = bars.group_by(keys).agg(pl.col(priced).n_unique()).filter(pl.any_horizontal(pl.col(priced) > 1)).sort(keys)
    if differ.height:
        raise BarsError(
            f"{differ.height} bars have several publications that differ in {priced} ({example_of(differ)}): which price was "
            "traded at cannot be known; state one price a bar and restate features only"
        )
    first = bars.sort("symbol", "timestamp", "available_at").unique(keys, keep="first", maintain_order=True)
    return first.select(bars.columns)
