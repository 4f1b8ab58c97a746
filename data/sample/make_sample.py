"""Make `us_equities_daily.parquet` from the datasets that the package skfolio ships; no network is used.

python data/sample/make_sample.py
"""

import hashlib
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import polars as pl
from skfolio.datasets import load_sp500_dataset, load_sp500_index

TARGET = Path(__file__).with_name("us_equities_daily.parquet")


def long_format(wide: pd.DataFrame) -> pl.DataFrame:
    """Dates x symbols to timestamp, symbol, close; a date becomes its midnight, UTC."""
    dates = pl.Series("timestamp", wide.index.to_numpy().astype("datetime64[us]")).dt.replace_time_zone("UTC")
    frames = [
        pl.DataFrame({"timestamp": dates, "symbol": [name] * len(dates), "close": wide[name].to_numpy()})
        for name in wide.columns
    ]
    return pl.concat(frames)


def main() -> None:
    """Write the file and print its checksum."""
    bars = pl.concat([long_format(load_sp500_dataset()), long_format(load_sp500_index())])
    bars.sort("symbol", "timestamp").write_parquet(TARGET, compression="zstd", compression_level=19)
    digest = hashlib.sha256(TARGET.read_bytes()).hexdigest()
    print(
        f"{TARGET.name}: {bars.height} rows, {TARGET.stat().st_size} bytes, sha256 {digest}, skfolio {version('skfolio')}"
    )


if __name__ == "__main__":
    main()
