"""Raw bars as the snapshot would have taken them: the one form, a model's own symbols, and columns no earlier than they were
public. Not here: features (`bar_history`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

import polars as pl

from tft_pipeline.domain.bar_publications import publish_in_time
from tft_pipeline.domain.bars import RESERVED_PREFIX, TIMESTAMP, BarsError, normalise_bars, user_columns, utc_column
from tft_pipeline.domain.publications import newest_published
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.refusals import UnknownSymbolError, UnusableBarsError

KEYS = ("timestamp", "symbol")
PUBLISHED = "available_at"


def own_symbols(bars: pl.DataFrame, signature: Signature) -> tuple[pl.DataFrame, list[str]]:
    """The rows of the symbols that a model trades or reads, and the names of the others, which it knows nothing of.

    Rows without a symbol stay: whoever reads them refuses them.
    """
    if "symbol" not in bars.columns:
        return bars, []
    names = bars["symbol"].cast(pl.String)
    own = [*signature.symbols, *signature.untraded]
    return bars.filter(names.is_in(own) | names.is_null()), sorted(set(names.drop_nulls()) - set(own))


def refuse_strangers(bars: pl.DataFrame, signature: Signature, model_id: str) -> list[str]:
    """The names that `own_symbols` leaves out.

    Raises:
        UnknownSymbolError: there are no others.
    """
    own, others = own_symbols(bars, signature)
    if others and own.is_empty():
        raise UnknownSymbolError(
            f"not one of its symbols ({', '.join(others[:5])}) is traded by {model_id}, which trades "
            f"{', '.join(signature.symbols[:5])}: there is nothing to decide on; bring bars of these"
        )
    return others


def taken_rows(
    bars: pl.DataFrame, signature: Signature, *, opened_before: timedelta, later: bool = False
) -> pl.DataFrame:
    """Rows in the one form, with `available_at` where they have it: one a bar and publication.

    Args:
        later: a moment's rows, behind others: few tell nothing of how times of publication are written as a whole.
    Raises:
        UnusableBarsError: rows that the pipeline would not have taken. UnknownSymbolError: of a symbol that is not the model's.
    """
    minutes = [name for name in bars.columns if name.startswith(RESERVED_PREFIX)]
    try:
        given = bars.drop(minutes)
        at_once = later and _public_at_once(given, signature.timezone, opened_before)
        found = normalise_bars(
            given.drop(PUBLISHED) if at_once else given,
            timezone=signature.timezone,
            symbols=None,
            start=None,
            end=None,
            min_bars=1,
            opened_before=opened_before,
        )
        if at_once:
            found = found.with_columns(pl.col("timestamp").alias(PUBLISHED))
        if minutes:  # aggregates of minutes, which the pipeline joins behind this check as well
            stamps = utc_column(bars["timestamp"], signature.timezone) + opened_before
            aggregates = bars.select(stamps, pl.col("symbol").cast(pl.String), *minutes)
            found = found.join(
                aggregates.unique(KEYS, keep="first", maintain_order=True), on=KEYS, how="left", maintain_order="left"
            )
    except BarsError as error:
        raise UnusableBarsError(str(error)) from error
    _, unknown = own_symbols(found, signature)
    if unknown:
        raise UnknownSymbolError(
            f"bars of {', '.join(unknown[:5])}: the model trades {len(signature.symbols)} symbols and reads "
            f"{', '.join(signature.untraded) or 'no market'} as context; features across symbols would change; leave "
            "these out, or train with them"
        )
    return found


@dataclass(frozen=True, eq=False)
class Publications:
    """What was published of the user's columns and still counts, or will: the row in force of each symbol and those to come.

    Attributes:
        rows: timestamp, symbol, available_at and the columns; None where bars come without `available_at`, or without columns
            of the user's: each value then is public at its own bar.
    """

    rows: pl.DataFrame | None = None

    @classmethod
    def of(cls, rows: pl.DataFrame) -> tuple[pl.DataFrame, Self]:
        """One row a bar of the very first rows, and what goes on.

        Raises:
            UnusableBarsError: what `domain.bar_publications.publish_in_time` refuses.
        """
        return cls(None)._read(rows, rows)

    def then(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Self]:
        """The same of newer bars, behind those before.

        Raises:
            UnusableBarsError: as `of`; rows with `available_at` behind rows without, or the other way round.
        """
        featured = PUBLISHED in rows.columns and bool(user_columns(rows.columns))
        if featured != (self.rows is not None):
            words = ("without", "with") if self.rows is not None else ("with", "without")
            raise UnusableBarsError(
                f"bars {words[0]} {PUBLISHED} behind others {words[1]} it: when their columns were public would be guessed; "
                "bring all of them in one way"
            )
        if self.rows is None:
            return self._read(rows, rows)
        return self._read(rows, pl.concat([self.rows, rows.select(self.rows.columns)]))

    def _read(self, rows: pl.DataFrame, said: pl.DataFrame) -> tuple[pl.DataFrame, Self]:
        own = list(user_columns(rows.columns))
        try:
            bars = publish_in_time(rows)
        except BarsError as error:
            raise UnusableBarsError(str(error)) from error
        if PUBLISHED not in rows.columns or not own:
            return bars.drop(PUBLISHED, strict=False), type(self)(None)
        if said is not rows:
            bars = newest_published(bars.drop(own), said, own).select(bars.columns).sort("symbol", "timestamp")
        newest = dict(bars.group_by("symbol").agg(pl.col("timestamp").max()).iter_rows())
        return bars.drop(PUBLISHED), type(self)(_counting(said.select(*KEYS, PUBLISHED, *own), newest))


def _counting(said: pl.DataFrame, newest: Mapping[str, datetime]) -> pl.DataFrame:
    """Publications that some later bar may read: of each symbol the one in force at its newest bar, and those after it."""
    usable = pl.max_horizontal("timestamp", PUBLISHED)
    last = pl.col("symbol").replace_strict(newest, default=None, return_dtype=TIMESTAMP)
    ordered = said.sort(usable, "timestamp", PUBLISHED)
    ordered = ordered.filter(pl.col("timestamp") >= pl.col("timestamp").cum_max().over("symbol"))
    to_come = (usable > last) | last.is_null()  # a symbol without a bar among these may have any in force
    in_force = ordered.filter(~to_come).unique("symbol", keep="last", maintain_order=True)
    return pl.concat([in_force, ordered.filter(to_come)])


def _public_at_once(bars: pl.DataFrame, timezone: str | None, opened_before: timedelta) -> bool:
    """Whether every row was published by its own close, one row a bar."""
    if PUBLISHED not in bars.columns or "timestamp" not in bars.columns or bars[PUBLISHED].null_count():
        return False
    closes = utc_column(bars["timestamp"], timezone) + opened_before
    return bool((utc_column(bars[PUBLISHED], timezone) <= closes).all()) and bool(bars.select(KEYS).is_unique().all())
