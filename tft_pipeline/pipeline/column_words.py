"""What the columns of stored tables are, for their pages in the UI. Not here: formulas of features (`domain.features`)."""

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from tft_pipeline.domain.bars import RESERVED_PREFIX, user_columns
from tft_pipeline.domain.order_flow import ORDER_FLOW
from tft_pipeline.domain.reports import FeatureCatalogue
from tft_pipeline.domain.sessions import SESSION

COLUMN_SCHEMA = "dagster/column_schema"
YOURS = "a column of your own, as it stands in the source"
KEYS = {"timestamp": "close of the bar, UTC", "symbol": "the market"}
BARS = {
    "open": "first price of the bar",
    "high": "highest price of the bar",
    "low": "lowest price of the bar",
    "close": "last price of the bar",
    "volume": "what was traded in the bar, in the units of the source",
    "available_at": "when the row's own feature columns were published, UTC; they count from then on",
}
TARGETS = {
    "next_return": "return to the next bar, P_+1 / P - 1",
    "volatility": "expected volatility known at the bar, annual",
    "label": "return over the horizon, in units of the risk expected at the bar",
    "label_end": "the last bar that the label has seen, UTC",
}
PREDICTIONS = {
    "fold": "the fold that predicted the bar",
    "raw_position": "the network's output, from -1 to 1",
    "mean": "predicted mean of the label; null where the loss trains none",
    "scale": "predicted scale of the label; null where the loss trains none",
    "probability": "predicted probability that the label is above zero; null where the loss trains none",
    "lightgbm_probability": "the same by LightGBM",
}
WORDS = KEYS | BARS | TARGETS | PREDICTIONS


def column_schema(schema: Mapping[str, pl.DataType], words: Mapping[str, str] = WORDS) -> dg.TableSchema:
    """Columns with their types, and descriptions where `words` has one."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name, str(dtype), description=words.get(name)) for name, dtype in schema.items()]
    )


def words_of_bars(columns: Sequence[str]) -> dict[str, str]:
    """Descriptions of a snapshot's columns, those of joined minutes and the user's own among them."""
    minutes = {
        name: (formula.__doc__ or "").partition("\n")[0] for name, (formula, _) in (SESSION | ORDER_FLOW).items()
    }
    return {
        **KEYS,
        **BARS,
        **{name: f"of the bar's minutes: {minutes[name]}" for name in columns if name.startswith(RESERVED_PREFIX)},
        **dict.fromkeys(user_columns(columns), YOURS),
    }


def words_of_features(catalogue: FeatureCatalogue) -> dict[str, str]:
    """Descriptions of the columns of the features: formula, units and lookback, as `tft features` lists them."""
    return {
        **KEYS,
        **{row.name: f"{row.formula} [{row.units}; {row.lookback} bars]" for row in catalogue.used},
        **dict.fromkeys(catalogue.user_columns, YOURS),
    }
