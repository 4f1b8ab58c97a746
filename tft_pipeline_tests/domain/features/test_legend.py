"""Formulas that a reader can follow: every letter and short name is explained, and `vr` says what is computed."""

import json
import re

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.features import build_features, catalogue, resolve_features
from tft_pipeline.domain.features.cross_market import cross_market_features
from tft_pipeline.domain.features.legend import LEGEND
from tft_pipeline.storage.layout import PROJECT_ROOT

FEATURES = (*catalogue(), *cross_market_features("coin", "BTC"))
NAMES = re.compile(rf"\b({'|'.join(sorted((feature.name for feature in FEATURES), key=len, reverse=True))})\b")
PLAIN = {"Friday", "Monday", "January", "UTC", "BTC"}
SHORT = {"ln", "r", "r_M", "sigma60", "dP", "dM", "ewm_mean", "ewm_std", "m2", "m3", "m4"}
LETTERS_OF_MINUTES = {"p", "o", "h", "l", "v", "e", "s", "m", "H30", "L30"}


def symbols(formula: str) -> set[str]:
    """Letters and names with a capital, and the short names of `SHORT`: M_t-1 is M, A14 is A, H30 stays."""
    tokens = set(re.findall(r"[A-Za-z]\w*", NAMES.sub(" ", formula)))
    letters = {re.sub(r"(?<![HL3])\d+$|_.*", "", token) for token in tokens if token[0].isupper()}
    return (letters | tokens & SHORT) - PLAIN


def legend(*, of_minutes: bool) -> set[str]:
    """Symbols in the keys of the legend; those of minutes count in their groups only."""
    keys = [key for key in LEGEND if of_minutes or not key.startswith("intra")]
    return {word for key in keys for word in re.findall(r"[A-Za-z]\w*", key)}


def test_every_symbol_of_a_formula_is_in_the_legend_or_explained_there() -> None:
    unexplained = {}
    for feature in FEATURES:
        known = legend(of_minutes=feature.group in ("intra", "micro"))
        known |= set(re.findall(r"([A-Za-z]\w*)[+-]? = ", feature.formula))
        unexplained[feature.name] = symbols(feature.formula) - known
    assert {name: found for name, found in unexplained.items() if found} == {}
    assert {"P", "M", "H", "A", "X", "sigma60", "H30"} <= set.union(*(symbols(one.formula) for one in FEATURES))
    assert legend(of_minutes=True) >= SHORT | LETTERS_OF_MINUTES


def test_the_legend_is_listed_and_printed() -> None:
    found = json.loads(CliRunner().invoke(app, ["features", "--json"]).stdout)
    assert found["legend"] == LEGEND
    printed = CliRunner().invoke(app, ["features"]).stdout
    assert all(f"  {symbol}: {meaning}" in printed for symbol, meaning in LEGEND.items())
    page = (PROJECT_ROOT / "docs" / "features.md").read_text()
    assert all(f"| `{symbol}` |" in page for symbol in LEGEND)


@pytest.mark.parametrize(("horizon", "bars"), [(2, 126), (21, 252)])
def test_the_listed_variance_ratio_is_the_one_that_is_computed(horizon: int, bars: int) -> None:
    name = f"vr_{horizon}_{bars}"
    (formula,) = (feature.formula for feature in FEATURES if feature.name == name)
    q, q_again, pairs, above, n, less = (
        float(value)
        for value in re.findall(r"[\d.]+", formula.partition(" - 1 over")[0].replace("^2", "").replace("(1 -", "("))
    )
    assert (q, q_again, pairs, above, n, less) == (horizon, horizon, bars - horizon + 1, horizon, bars, bars - 1)
    close = np.exp(np.cumsum(np.random.default_rng(1).normal(0.001, 0.01, bars + 1)))
    r = np.diff(np.log(close))
    x = np.array([r[k : k + horizon].sum() for k in range(bars - horizon + 1)])
    expected = (np.sum((x - q * r.mean()) ** 2) / (q * pairs * (1 - above / n))) / (
        np.sum((r - r.mean()) ** 2) / less
    ) - 1
    stamps = pl.datetime_range(
        pl.datetime(2024, 1, 1), pl.datetime(2025, 1, 1), "1d", time_unit="us", time_zone="UTC", eager=True
    )
    frame = pl.DataFrame({"timestamp": stamps.head(bars + 1), "symbol": "A", "close": close})
    chosen = resolve_features(frame.columns, groups=(), names=(name,), has_market=False)
    found = build_features(frame, chosen, market_symbol=None, bars_per_year=252.0)[name][-1]
    assert found == pytest.approx(expected, rel=1e-5)
