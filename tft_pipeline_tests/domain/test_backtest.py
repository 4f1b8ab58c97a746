from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.backtest import BASELINES, backtest, break_even_bps, symbol_table
from tft_pipeline.domain.sections import PositionSection
from tft_pipeline_tests.conftest import business_days
from tft_pipeline_tests.oracles.portfolio import Row, book, held_positions

N_BARS, N_SYMBOLS = 60, 3
STAMPS = business_days(N_BARS)
SYMBOLS = ("A", "B", "C")
TARGET = 0.15
COSTLY = PositionSection(
    max_position=0.8,
    position_smooth=0.6,
    max_weight=0.9,
    cost_bps=5.0,
    symbol_cost_bps={"B": 1.0, "Z": 80.0},
    slippage_bps=2.0,
    borrow_bps=400.0,
    funding_bps=-150.0,
)


def position(**values: Any) -> PositionSection:
    return PositionSection(**values)


def predictions(seed: int = 0, *, fold_length: int = 20, absent: float = 0.0, unknown: float = 0.0) -> pl.DataFrame:
    """One row a symbol and bar; some rows absent, some without a known next return."""
    rng = np.random.default_rng(seed)
    n = N_BARS * N_SYMBOLS
    frame = pl.DataFrame(
        {
            "timestamp": [stamp for stamp in STAMPS for _ in SYMBOLS],
            "symbol": list(SYMBOLS) * N_BARS,
            "fold": [f"f{t // fold_length}" for t in range(N_BARS) for _ in SYMBOLS],
            "raw_position": rng.uniform(-1, 1, n),
            "momentum_position": rng.choice([-1.0, 0.0, 1.0], n),
            "next_return": rng.normal(0.001, 0.01, n),
            "volatility": rng.uniform(0.1, 0.4, n),
            **{f"{name}_position": rng.uniform(-1, 1, n) for name in ("macd", "ridge", "lightgbm")},
        }
    )
    hidden = pl.Series(rng.random(n) < unknown)
    frame = frame.with_columns(next_return=pl.when(~hidden).then(pl.col("next_return")).otherwise(float("nan")))
    return frame.filter(pl.Series(rng.random(n) >= absent))


def backtested(frame: pl.DataFrame, knobs: PositionSection) -> pl.DataFrame:
    return backtest(frame, knobs, target_volatility=TARGET, bars_per_year=252.0)


def grid(frame: pl.DataFrame, column: str) -> np.ndarray:
    """(symbols, bars) over the bars that have a row."""
    calendar = sorted(set(frame["timestamp"]))
    out = np.full((N_SYMBOLS, len(calendar)), np.nan)
    for row in frame.iter_rows(named=True):
        out[SYMBOLS.index(row["symbol"]), calendar.index(row["timestamp"])] = row[column]
    return out


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gaps", [(0.0, 0.0), (0.3, 0.0), (0.2, 0.2)])
def test_the_series_equals_a_loop_over_symbols_and_bars(seed, gaps):
    frame = predictions(seed, absent=gaps[0], unknown=gaps[1])
    found = backtested(frame.sample(fraction=1.0, shuffle=True, seed=seed), COSTLY)

    volatility, next_return = grid(frame, "volatility"), grid(frame, "next_return")
    once, doubled = [7.0, 3.0, 7.0], [14.0, 6.0, 14.0]

    def smoothed(column: str) -> np.ndarray:
        return held_positions(grid(frame, column), 0.8, 0.6, [0.0] * 3)

    models = {
        "": (smoothed("raw_position"), once, 0),
        "twice": (smoothed("raw_position"), doubled, 0),
        "late": (smoothed("raw_position"), once, 1),
        "long_only": (np.isfinite(volatility).astype(float), once, 0),
        "momentum": (np.nan_to_num(grid(frame, "momentum_position")), once, 0),
        "macd": (np.nan_to_num(grid(frame, "macd_position")), once, 0),
        "ridge": (smoothed("ridge_position"), once, 0),
        "lightgbm": (smoothed("lightgbm_position"), once, 0),
    }
    rates = {"max_weight": 0.9, "borrow_bps": 400.0, "funding_bps": -150.0, "bars_per_year": 252.0}
    loops = {
        name: book(z, volatility, next_return, TARGET, cost, [0.0] * 3, delay, **rates)
        for name, (z, cost, delay) in models.items()
    }
    kept = [row.n_symbols > 0 for row in loops[""]]
    calendar = sorted(set(frame["timestamp"]))
    assert found["timestamp"].to_list() == [stamp for stamp, here in zip(calendar, kept, strict=True) if here]

    def column(name: str, field: str) -> np.ndarray:
        return np.array([getattr(row, field) for row, here in zip(loops[name], kept, strict=True) if here])

    for field in (*Row._fields, "net"):
        np.testing.assert_allclose(found[field], column("", field), atol=1e-13)
    np.testing.assert_allclose(found["net_at_2x_cost"], column("twice", "net"), atol=1e-14)
    np.testing.assert_allclose(found["net_one_bar_late"], column("late", "net"), atol=1e-14)
    for name in BASELINES:
        np.testing.assert_allclose(found[f"{name}_gross"], column(name, "gross"), atol=1e-14)
        np.testing.assert_allclose(found[f"{name}_net"], column(name, "net"), atol=1e-14)


def test_the_columns_are_the_ones_that_reports_read_and_add_up():
    found = backtested(predictions(), COSTLY)
    assert found.columns == [
        "timestamp",
        "fold",
        *("gross", "cost", "financing", "net", "turnover", "gross_exposure", "net_exposure", "n_symbols"),
        *("net_at_2x_cost", "net_one_bar_late"),
        *(f"{name}_{kind}" for name in BASELINES for kind in ("gross", "net")),
    ]
    np.testing.assert_allclose(found["net"], found["gross"] - found["cost"] - found["financing"], atol=1e-17)
    np.testing.assert_allclose(found["net_at_2x_cost"], found["net"] - found["cost"], atol=1e-16)
    assert (found["net_exposure"].abs() <= found["gross_exposure"] + 1e-15).all()


def test_knobs_of_the_model_hold_learned_peers_and_leave_rules_as_they_are():
    frame = predictions()
    knobs = position(max_position=0.3, position_smooth=0.9)
    plain, held = backtested(frame, position()), backtested(frame, knobs)
    for name in BASELINES:
        assert plain[f"{name}_gross"].equals(held[f"{name}_gross"]) == (name in ("long_only", "momentum", "macd"))
    same = frame.with_columns(ridge_position=pl.col("raw_position"), lightgbm_position=pl.col("raw_position"))
    peers = backtested(same, knobs)
    assert peers["ridge_net"].equals(peers["net"].rename("ridge_net"))
    assert peers["lightgbm_net"].equals(peers["net"].rename("lightgbm_net"))


def test_a_baseline_without_its_column_or_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"no column ridge_position.*materialise the production folds again"):
        backtested(predictions().drop("ridge_position"), position())
    for name in BASELINES[1:]:
        with pytest.raises(ValueError, match=r"outside \[-1, 1\]"):
            backtested(predictions().with_columns(pl.lit(1.2).alias(f"{name}_position")), position())


def test_a_baseline_that_says_nothing_at_a_bar_is_flat_there():
    silent = pl.when(pl.col("timestamp") < STAMPS[30]).then(None)
    frame = predictions()
    quiet = frame.with_columns(
        silent.otherwise(pl.col(f"{name}_position")).alias(f"{name}_position") for name in BASELINES[1:]
    )
    found = backtested(quiet, position())
    for name in BASELINES[1:]:
        assert (found[f"{name}_gross"][:30] == 0.0).all()
        assert (found[f"{name}_gross"][31:] != 0.0).mean() > 0.8


@pytest.mark.parametrize("smooth", [0.0, 0.9])
def test_where_folds_begin_changes_nothing(smooth):
    knobs = position(position_smooth=smooth)
    whole = backtested(predictions(fold_length=60), knobs)
    cut = backtested(predictions(fold_length=7), knobs)
    assert whole.drop("fold").equals(cut.drop("fold"))
    assert cut["fold"].to_list() == [f"f{t // 7}" for t in range(60)]


def test_a_position_that_stays_the_same_across_a_fold_start_is_no_turnover():
    steady = predictions().with_columns(raw_position=pl.lit(0.5), volatility=pl.lit(0.3))
    found = backtested(steady, position(position_smooth=0.8))
    first_fold, starts = found["turnover"][:20], found["turnover"][20:].to_numpy()
    assert float(first_fold[0]) > 0.0
    assert starts.max() < 0.5 * 0.15 / 0.3 * 0.8**20
    flat = backtested(steady, position())
    assert flat["turnover"].to_list() == pytest.approx([0.25] + [0.0] * 59, abs=1e-15)


def test_the_smoothed_position_at_a_fold_start_continues_from_the_fold_before():
    frame = predictions()
    changed = frame.with_columns(
        raw_position=pl.when(pl.col("timestamp") == STAMPS[19]).then(-pl.col("raw_position")).otherwise("raw_position")
    )
    knobs = position(position_smooth=0.9)
    first, second = (backtested(f, knobs)["gross"] for f in (frame, changed))
    assert (first[:19] == second[:19]).all()
    assert (first[20:40] != second[20:40]).all()


def test_a_bar_that_two_folds_score_is_refused_with_its_symbol_and_time():
    twice = pl.concat([predictions(), predictions().slice(31, 1).with_columns(fold=pl.lit("other"))])
    with pytest.raises(ValueError, match=r"B at 2020-01-15 00:00:00\+00:00 is scored by several folds"):
        backtested(twice, position())


def test_later_bars_change_no_earlier_return():
    frame = predictions(absent=0.2)
    early = frame.filter(pl.col("timestamp") <= STAMPS[30])
    knobs = position(position_smooth=0.5)
    whole, part = (backtested(f, knobs) for f in (frame, early))
    assert whole.head(30).equals(part.head(30))


def test_costs_and_knobs_move_what_they_should():
    frame = predictions()
    free = backtested(frame, position(cost_bps=0.0))
    dear = backtested(frame, position(cost_bps=20.0))
    assert (free["net"] == free["gross"]).all()
    assert (dear["gross"] == free["gross"]).all()
    np.testing.assert_allclose(dear["cost"], free["turnover"] * 20e-4, atol=1e-15)
    smooth = backtested(frame, position(position_smooth=0.9))
    assert smooth["turnover"].mean() < 0.3 * free["turnover"].mean()  # type: ignore[operator]


def test_bars_at_which_nothing_can_be_held_are_left_out():
    frame = predictions()
    blind = pl.when(pl.col("timestamp").is_in(STAMPS[10:12])).then(float("nan")).otherwise(pl.col("next_return"))
    found = backtested(frame.with_columns(next_return=blind), position())
    assert found["timestamp"].to_list() == STAMPS[:10] + STAMPS[12:]
    assert found.select(pl.exclude("timestamp", "fold").is_finite().all()).row(0) == (True,) * 20


def test_at_the_break_even_cost_the_mean_net_return_is_zero():
    profitable = predictions().with_columns(raw_position=pl.col("next_return").sign() * 0.5)
    bps = break_even_bps(backtested(profitable, position()))
    assert bps is not None
    assert bps > 5.0
    found = backtested(profitable, position(cost_bps=bps))
    assert abs(float(found["net"].mean())) < 1e-12  # type: ignore[arg-type]


def test_there_is_no_break_even_cost_without_trades():
    still = predictions().with_columns(raw_position=pl.lit(0.0))
    assert break_even_bps(backtested(still, position())) is None


def test_a_null_next_return_is_unknown_and_not_zero():
    frame: Any = predictions(unknown=0.2)
    nulls = frame.with_columns(pl.col("next_return").fill_nan(None))
    assert backtested(nulls, position()).equals(backtested(frame, position()))


def test_the_break_even_cost_leaves_enough_for_financing():
    profitable = predictions().with_columns(raw_position=pl.col("next_return").sign() * 0.5)
    knobs = {"borrow_bps": 900.0, "funding_bps": 300.0}
    bps = break_even_bps(backtested(profitable, position(**knobs)))
    assert bps is not None
    assert bps < (break_even_bps(backtested(profitable, position())) or 0.0)
    found = backtested(profitable, position(cost_bps=bps - 1.0, slippage_bps=1.0, **knobs))
    assert abs(float(found["net"].mean())) < 1e-12  # type: ignore[arg-type]


def table(frame: pl.DataFrame, knobs: PositionSection) -> list[dict[str, Any]]:
    return symbol_table(frame, knobs, target_volatility=TARGET, bars_per_year=252.0)


@pytest.mark.parametrize("gaps", [(0.0, 0.0), (0.3, 0.0), (0.2, 0.3)])
def test_contributions_of_symbols_add_up_to_the_sum_of_the_net_series(gaps):
    frame = predictions(3, absent=gaps[0], unknown=gaps[1])
    rows = table(frame.sample(fraction=1.0, shuffle=True, seed=1), COSTLY)
    assert [row["symbol"] for row in rows] == list(SYMBOLS)
    net = backtested(frame, COSTLY)["net"].sum()
    assert sum(row["contribution"] for row in rows) == pytest.approx(net, abs=1e-14)


def test_a_row_of_the_table_is_a_loop_over_the_bars_of_that_symbol():
    frame = predictions(4, absent=0.2, unknown=0.1)
    volatility, next_return, raw = (grid(frame, name) for name in ("volatility", "next_return", "raw_position"))
    n_bars = volatility.shape[1]
    rows = table(frame, COSTLY)
    for s, (row, cost) in enumerate(zip(rows, (7.0, 3.0, 7.0), strict=True)):
        one = slice(s, s + 1)
        held = held_positions(raw[one], 0.8, 0.6, [0.0])
        rates = {"max_weight": 0.9, "borrow_bps": 400.0, "funding_bps": -150.0}
        alone = book(held, volatility[one], next_return[one], TARGET, [cost], [0.0], 0, **rates)
        present = [t for t in range(n_bars) if alone[t].n_symbols]
        net, traded = [alone[t].net for t in present], [alone[t].turnover for t in present]
        if present[-1] < n_bars - 1:  # alone its book ends there; the book of three goes on, and it pays for closing
            traded[-1] += alone[present[-1]].gross_exposure
            net[-1] -= cost / 10_000 * alone[present[-1]].gross_exposure
        share = [1.0 / np.isfinite((volatility * next_return)[:, t]).sum() for t in present]
        assert row["n_bars"] == len(present)
        assert row["contribution"] == pytest.approx(np.dot(net, share), abs=1e-15)
        assert row["sharpe_annual"] == pytest.approx(np.mean(net) / np.std(net, ddof=1) * 252**0.5, rel=1e-9)
        assert row["mean_turnover"] == pytest.approx(np.mean(traded), rel=1e-12)
        assert row["mean_abs_weight"] == pytest.approx(np.mean([alone[t].gross_exposure for t in present]), rel=1e-12)
        assert row["hit_rate"] == pytest.approx(np.mean([r > 0 for r in net if r != 0]), rel=1e-12)


def test_what_a_symbol_does_not_show_is_none():
    frame = predictions().with_columns(
        raw_position=pl.when(pl.col("symbol") == "B").then(0.0).otherwise("raw_position"),
        next_return=pl.when(pl.col("symbol") == "C").then(float("nan")).otherwise("next_return"),
    )
    _, flat, absent = table(frame, position())
    assert (flat["n_bars"], flat["contribution"], flat["sharpe_annual"], flat["hit_rate"]) == (60, 0.0, None, None)
    assert (flat["mean_turnover"], flat["mean_abs_weight"]) == (0.0, 0.0)
    assert absent == {"symbol": "C", "n_bars": 0, "contribution": 0.0} | dict.fromkeys(
        ("sharpe_annual", "mean_turnover", "mean_abs_weight", "hit_rate")
    )


def test_a_year_of_minutes_pays_a_year_of_financing():
    minutes = predictions().with_columns(timestamp=pl.col("timestamp").rank("dense").cast(pl.Int64))
    knobs = position(cost_bps=0.0, borrow_bps=500.0)
    daily, by_minute = (
        backtest(minutes, knobs, target_volatility=TARGET, bars_per_year=bars) for bars in (252.0, 252.0 * 390.0)
    )
    assert daily["financing"].sum() > 0.0
    np.testing.assert_allclose(by_minute["financing"] * 390.0, daily["financing"], rtol=1e-12)
    ratios = [
        [
            row["sharpe_annual"]
            for row in symbol_table(minutes, position(), target_volatility=TARGET, bars_per_year=bars)
        ]
        for bars in (252.0, 252.0 * 390.0)
    ]
    np.testing.assert_allclose(np.array(ratios[1]) / np.array(ratios[0]), 390.0**0.5)
