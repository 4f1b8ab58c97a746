"""Names of symbols that differ in case or blanks only: two markets here, and most often one outside."""

import polars as pl

from tft_pipeline.domain.plausibility import Finding


def alike(bars: pl.DataFrame) -> tuple[Finding, ...]:
    """Names that would be one if case and blanks at their ends did not count.

    Args:
        bars: symbol; in any order.
    """
    counts = bars.group_by(pl.col("symbol").cast(pl.String)).len().drop_nulls()
    counts = counts.with_columns(one=pl.col("symbol").str.strip_chars().str.to_uppercase()).sort("one", "symbol")
    found = []
    for (name,), part in counts.group_by("one", maintain_order=True):
        if part.height > 1:
            told = " and ".join(f"{row['symbol']!r} ({row['len']} rows)" for row in part.iter_rows(named=True))
            found.append(
                Finding(
                    "case",
                    str(name),
                    None,
                    int(part["len"].sum()),
                    f"{told} differ in case or blanks only and are {part.height} symbols here, each with part of the history: "
                    f"write one name, such as {name!r}, if they are one market",
                )
            )
    return tuple(found)
