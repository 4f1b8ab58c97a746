"""Accuracy of the production folds beside what it must reach, against loops over rows."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from statsmodels.stats.proportion import proportion_confint

from tft_pipeline.domain.bar_trials import effective_trials
from tft_pipeline.domain.sections import PositionSection
from tft_pipeline.pipeline.assets.blend import direction_statistics
from tft_pipeline.storage.fold_bundles import FoldBundle
from tft_pipeline_tests.conftest import business_days

POSITION = PositionSection(cost_bps=5.0, slippage_bps=1.0, symbol_cost_bps={"B": 20.0, "absent": 90.0})
HORIZON, YEAR = 3, 252.0
SYMBOLS = ("A", "B", "C")


def bundle(first: int, n_bars: int, seed: int, **columns: Any) -> FoldBundle:
    """n_bars of three symbols; symbol B and the last bar lack some labels."""
    rng, stamps = np.random.default_rng(seed), business_days(first + n_bars)[first:]
    rows = n_bars * len(SYMBOLS)
    frame = pl.DataFrame(
        {
            "timestamp": [stamp for _ in SYMBOLS for stamp in stamps],
            "symbol": [symbol for symbol in SYMBOLS for _ in stamps],
            "label": rng.normal(0.0, 1.0, rows),
            "volatility": rng.uniform(0.1, 0.4, rows),
            "probability": rng.uniform(0.2, 0.8, rows),
            "lightgbm_probability": rng.uniform(0.2, 0.8, rows),
        }
    ).with_columns(
        label=pl.when(
            (pl.col("timestamp") == stamps[-1]) | ((pl.col("symbol") == "B") & (pl.col("timestamp") < stamps[9]))
        )
        .then(float("nan"))
        .otherwise(pl.col("label"))
    )
    return FoldBundle(
        key=str(first),
        spec_sha256="",
        fitted=None,  # type: ignore[arg-type]
        class_balance={},
        boosting="",
        predictions=frame.with_columns(**columns),
        seconds=0.0,
    )


def statistics(folds: list[FoldBundle], position: PositionSection = POSITION) -> dict[str, Any]:
    return direction_statistics(
        {fold.key: fold for fold in folds}, position=position, horizon=HORIZON, bars_per_year=YEAR
    )


def test_break_even_and_the_interval_on_bars_are_those_of_a_loop_over_rows() -> None:
    folds = [bundle(0, 40, 1), bundle(40, 30, 2)]
    found = statistics(folds)
    fees, moves, bars, hits = [], [], set(), []
    for fold in folds:
        for row in fold.predictions.iter_rows(named=True):
            if math.isnan(row["label"]):
                continue
            fees.append((20.0 if row["symbol"] == "B" else 5.0) + 1.0)
            moves.append(abs(row["label"] * row["volatility"] * math.sqrt(HORIZON / YEAR)))  # the return itself
            bars.add(row["timestamp"])
            hits.append((row["probability"] >= 0.5) == (row["label"] > 0.0))
    tft = found["tft"]
    assert tft["n_bars"] == len(bars) == 68
    assert tft["accuracy"] == pytest.approx(np.mean(hits))
    assert tft["break_even_accuracy"] == pytest.approx(0.5 + 2.0 * np.mean(fees) / 1e4 / (2.0 * np.mean(moves)))
    low, high = tft["accuracy_ci_bars"]
    assert low < tft["accuracy_ci"][0] < tft["accuracy"] < tft["accuracy_ci"][1] < high
    trials = 68 / HORIZON  # fewer than 30 spans of a label: the worst overlap is assumed
    assert tft["trials"] == pytest.approx(trials)
    assert (low, high) == pytest.approx(
        proportion_confint(trials * tft["accuracy"], trials, alpha=0.05, method="wilson"), abs=1e-9
    )
    assert found["lgbm"]["break_even_accuracy"] == tft["break_even_accuracy"]


def test_trials_are_counted_from_runs_where_there_are_bars_enough() -> None:
    fold = bundle(0, 400, 6)
    rows = fold.predictions.filter(pl.col("label").is_finite())
    right = ((rows["probability"] >= 0.5) == (rows["label"] > 0.0)).to_numpy()
    bar = rows["timestamp"].rank("dense").to_numpy() - 1
    assert statistics([fold])["tft"]["trials"] == effective_trials(right, bar, horizon=HORIZON) > 300
    persistent = bundle(
        0,
        400,
        6,
        label=pl.lit(1.0),
        probability=pl.when(pl.col("timestamp").dt.month() % 2 == 1).then(0.9).otherwise(0.1),
    )
    assert (
        70 < statistics([persistent])["tft"]["trials"] < 100
    )  # months right, months wrong: 400 over 1 + 2 + 2, edges aside


def test_at_break_even_equal_bets_earn_their_round_trip() -> None:
    fold = bundle(0, 4000, 3)
    rows = fold.predictions.filter(pl.col("label").is_finite())
    share = statistics([fold])["tft"]["break_even_accuracy"]
    moves = (rows["label"].abs() * rows["volatility"]).to_numpy() * math.sqrt(HORIZON / YEAR)
    right = np.random.default_rng(0).uniform(size=moves.size) < share
    fee = 2e-4 * POSITION.trading_bps(rows["symbol"].to_list()).mean()
    gain = np.where(right, moves, -moves) - fee
    assert abs(gain.mean()) < 4.0 * gain.std() / math.sqrt(moves.size)


def test_rows_of_one_bar_count_once_however_many_symbols_there_are() -> None:
    fold = bundle(0, 50, 4)
    thrice = pl.concat([fold.predictions.with_columns(symbol=pl.col("symbol") + str(k)) for k in range(3)])
    other = bundle(0, 50, 4)
    other = FoldBundle(**{**vars(other), "predictions": thrice})
    free = PositionSection()
    one, more = statistics([fold], free)["tft"], statistics([other], free)["tft"]
    assert more["n"] == 3 * one["n"]
    assert more["accuracy_ci_bars"] == pytest.approx(one["accuracy_ci_bars"])
    assert more["accuracy_ci"][0] > one["accuracy_ci"][0]
    assert more["break_even_accuracy"] == pytest.approx(one["break_even_accuracy"])


def test_prices_that_never_moved_have_no_break_even() -> None:
    assert statistics([bundle(0, 20, 5, label=pl.lit(0.0))])["tft"]["break_even_accuracy"] is None
