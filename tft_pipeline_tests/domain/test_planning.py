from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import (
    SliceChangedError,
    panel_sha256,
    production_folds,
    research_folds,
    slice_for,
    split_periods,
)
from tft_pipeline.domain.trend_rules import MACD_BARS
from tft_pipeline_tests.builders import FEATURES, planned, ragged_bars, small, toy_panel
from tft_pipeline_tests.conftest import business_days, random_bars

STAMPS = business_days(420)
START = STAMPS.index(next(stamp for stamp in STAMPS if stamp.date() >= date(2021, 1, 15)))


def panels_equal(first: Panel, second: Panel) -> bool:
    names = ("values", "observed", "next_return", "volatility", "label", "close")
    same = (first.calendar, first.symbols, first.features) == (second.calendar, second.symbols, second.features)
    return same and all(
        np.array_equal(getattr(first, name), getattr(second, name), equal_nan=name != "observed") for name in names
    )


def disturbed(bars: pl.DataFrame, from_bar: int) -> pl.DataFrame:
    """Every close from a bar on replaced by noise."""
    rng = np.random.default_rng(9)
    close = np.where(bars["timestamp"] >= STAMPS[from_bar], rng.uniform(1.0, 9.0, bars.height), bars["close"])
    return bars.with_columns(close=pl.Series(close))


@pytest.mark.parametrize("horizon", [1, 3, 5])
@pytest.mark.parametrize("make", [random_bars, ragged_bars])
@pytest.mark.parametrize("section", ["exploration", "tuning"])
def test_nothing_of_the_production_period_reaches_a_research_slice(horizon, make, section):
    experiment = small({"target.horizon": horizon})
    bars = make()

    def slices(frame: pl.DataFrame) -> list[Panel]:
        panel = toy_panel(frame, experiment)
        folds = research_folds(panel, experiment, getattr(experiment, section).folds)
        return [slice_for(panel, spec) for spec in planned(panel, experiment, folds)]

    before, after = slices(bars), slices(disturbed(bars, START))
    assert len(before) == 2
    assert all(panels_equal(*pair) for pair in zip(before, after, strict=True))
    last_label = STAMPS.index(before[-1].calendar[-1]) + horizon
    assert last_label < START
    assert panels_equal(before[-1], slices(disturbed(bars, last_label + 1))[-1])
    assert not panels_equal(before[-1], slices(disturbed(bars, last_label))[-1])


@pytest.mark.parametrize("horizon", [1, 5])
def test_research_ends_a_purge_before_production_labels_included(horizon):
    experiment = small({"target.horizon": horizon})
    panel = toy_panel(random_bars(), experiment)
    periods = split_periods(panel, experiment)
    assert periods.production_start == START
    assert periods.research_stop == START - 5
    for section in (experiment.exploration, experiment.tuning):
        for fold in research_folds(panel, experiment, section.folds):
            assert fold.test.stop - 1 + horizon < START


def test_with_overlap_allowed_research_reaches_the_last_bar_with_a_label():
    experiment = small({"periods.overlap": "allowed", "exploration.folds.test": 1, "exploration.folds.step": 1})
    panel = toy_panel(random_bars(), experiment)
    assert research_folds(panel, experiment, experiment.exploration.folds)[-1].test.stop == panel.n_bars - 1
    assert production_folds(panel, experiment) == production_folds(panel, small())


def test_research_takes_the_last_bars_it_may():
    experiment = small({"exploration.folds.test": 1, "exploration.folds.step": 1})
    panel = toy_panel(random_bars(), experiment)
    last = research_folds(panel, experiment, experiment.exploration.folds)[-1]
    assert last.test.stop == START - 5


def test_production_folds_tile_the_period_from_its_first_bar():
    experiment = small()
    panel = toy_panel(random_bars(), experiment)
    folds = production_folds(panel, experiment)
    scored = [t for fold in folds for t in range(*fold.test)]
    assert scored == list(range(START, START + 40 * len(folds)))
    assert 420 - 1 - scored[-1] < 41
    assert [fold.key for fold in folds] == [f"f{STAMPS[t]:%Y-%m-%d}" for t in range(START, scored[-1], 40)]


def test_the_first_bar_is_the_first_with_a_complete_outcome():
    panel = toy_panel(ragged_bars(), small())
    first = split_periods(panel, small()).first
    assert panel.scored[:, first].any()
    assert not panel.scored[:, :first].any()


@pytest.mark.parametrize("day", [date(2019, 1, 1), date(2020, 1, 1), date(2022, 1, 1)])
def test_a_production_start_outside_the_bars_is_refused(day):
    experiment = small({"periods.production_start": day})
    with pytest.raises(ValueError, match=rf"production_start {day} is not inside the bars \(2020-01-01 to"):
        split_periods(toy_panel(random_bars(), small()), experiment)


def test_a_panel_without_one_complete_bar_is_refused():
    experiment = small({"target.volatility_span": 500})
    with pytest.raises(ValueError, match="no bar of 420 has features, volatility and a label"):
        split_periods(toy_panel(random_bars(), experiment), experiment)


def test_symbols_that_never_share_a_timestamp_are_refused_rather_than_misaligned():
    bars = random_bars(symbols=("AAA", "BBB"))
    apart = pl.col("timestamp") + pl.duration(hours=pl.when(pl.col("symbol") == "BBB").then(5).otherwise(0))
    with pytest.raises(ValueError, match="consecutive timestamps of the common calendar"):
        split_periods(toy_panel(bars.with_columns(apart), small()), small())


@pytest.mark.parametrize("make", [random_bars, ragged_bars])
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("window", ["sliding", "expanding"])
def test_more_bars_leave_every_spec_and_every_slice_bit_for_bit_as_it_was(make, horizon, window):
    changes: dict[str, Any] = {"target.horizon": horizon}
    changes |= {f"{section}.folds.window": window for section in ("exploration", "production")}
    experiment = small(changes)
    ragged = make is ragged_bars
    # the ragged symbols stay as they are and go on: the one that ended comes back
    whole = make(460) if not ragged else ragged_bars(460).filter(
        (pl.col("symbol") != "BBB") | (pl.col("timestamp") < STAMPS[385]) | (pl.col("timestamp") >= STAMPS[418])
    )  # fmt: skip
    part = whole.filter(pl.col("timestamp") <= STAMPS[-1])
    old, new = toy_panel(part, experiment), toy_panel(whole, experiment)

    def every_spec(panel: Panel) -> list[Any]:
        research = planned(panel, experiment, research_folds(panel, experiment, experiment.exploration.folds))
        return [*research, *planned(panel, experiment, production_folds(panel, experiment), production=True)]

    before, after = every_spec(old), every_spec(new)
    assert len(after) > len(before) > 3
    by_key = {(spec.key, spec.boosting is None): spec for spec in after}
    for spec in before:
        grown = by_key[spec.key, spec.boosting is None]
        assert grown == spec
        assert grown.content_sha256() == spec.content_sha256()
        assert panels_equal(slice_for(new, grown), slice_for(old, spec))


@pytest.mark.parametrize("name", ["values", "observed", "next_return", "volatility", "label", "close"])
@pytest.mark.parametrize("part", ["history", "train", "test"])
def test_one_changed_value_inside_a_fold_changes_its_spec(name, part):
    experiment = small()
    panel = toy_panel(random_bars(900), experiment)
    fold = production_folds(panel, experiment)[-1]
    first = min(fold.train.start - 16, fold.test.start - MACD_BARS + 1)  # a lookback, or the slowest baseline's history
    bar = {"history": first, "train": fold.train.start, "test": fold.test.stop - 1}[part]

    def spec_with(at: int) -> Any:
        array = getattr(panel, name).copy()
        array[1, at] = False if name == "observed" else array[1, at] + 0.5
        return planned(replace(panel, **{name: array}), experiment, [fold], production=True)[0]

    (before,) = planned(panel, experiment, [fold], production=True)
    assert spec_with(bar).content_sha256() != before.content_sha256()
    assert spec_with(fold.test.stop) == before
    assert first > 0
    assert spec_with(first - 1) == before


def test_a_production_fold_reaches_back_until_each_scored_symbol_has_the_bars_its_slowest_baseline_needs():
    experiment = small()
    whole = random_bars(900).sort("symbol", "timestamp")
    order = pl.int_range(pl.len()).over("symbol")
    kept = (pl.col("symbol") != "BBB") | (order % 5 != 2)  # one symbol misses every fifth bar
    gone = (pl.col("symbol") != "CCC") | (order < 200)  # and one left long ago
    panel = toy_panel(whole.filter(kept & gone), experiment)
    fold = production_folds(panel, experiment)[-1]
    (spec,) = planned(panel, experiment, [fold], production=True)
    first = fold.test.start - spec.fold.test.start
    own = np.isfinite(panel.close[:, first : fold.test.start + 1]).sum(axis=1)
    by_name = dict(zip(panel.symbols, own, strict=True))
    assert min(by_name[name] for name in ("AAA", "BBB", "DDD")) == by_name["BBB"] == MACD_BARS
    assert by_name["CCC"] == 0


def test_a_spec_holds_everything_a_fold_is_made_of():
    experiment = small()
    panel = toy_panel(random_bars(), experiment)
    folds = production_folds(panel, experiment)
    (spec, *_) = planned(panel, experiment, folds, production=True)
    assert (spec.horizon, spec.epochs, spec.features, spec.momentum_lookback) == (1, 1, FEATURES, 60)
    assert spec.boosting == (10, 4)
    assert spec.dates["test"]["first"] == STAMPS[START].isoformat()
    cut = slice_for(panel, spec)
    for part in ("train", "validation", "test"):
        span = getattr(spec.fold, part)
        assert cut.calendar[span.start].isoformat() == spec.dates[part]["first"]
        assert cut.calendar[span.stop - 1].isoformat() == spec.dates[part]["last"]
    assert spec.fold.test.stop == cut.n_bars
    assert spec.fold.train.start == folds[0].train.start  # the slowest baseline reads from the first bar


def test_every_fold_has_its_own_seeds_and_they_do_not_depend_on_its_neighbours():
    experiment = small()
    panel = toy_panel(random_bars(), experiment)
    folds = research_folds(panel, experiment, experiment.exploration.folds)
    specs = planned(panel, experiment, folds)
    seeds = [seed for spec in specs for seed in spec.seeds]
    assert len(seeds) == len(set(seeds)) == 6
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert planned(panel, experiment, folds[1:])[0].seeds == specs[1].seeds
    assert planned(panel, small({"seed": 4}), folds)[0].seeds != specs[0].seeds


def test_a_fold_refuses_bars_that_are_not_those_of_its_plan():
    experiment = small()
    panel = toy_panel(random_bars(), experiment)
    spec = planned(panel, experiment, production_folds(panel, experiment), production=True)[0]
    values = panel.values.copy()
    values[0, START, 0] = np.nextafter(values[0, START, 0], np.float32(1.0))
    with pytest.raises(SliceChangedError, match=rf"fold {spec.key}: .*{spec.data_sha256[:12]}.*materialise"):
        slice_for(replace(panel, values=values), spec)
    with pytest.raises(SliceChangedError, match=rf"fold {spec.key}: its bars .* are not in the stored features"):
        slice_for(panel.between(0, START), spec)
    with pytest.raises(SliceChangedError, match=f"fold {spec.key}"):
        slice_for(panel.with_features(("mean_5", "past_return", "range_10")), spec)


def test_a_panels_content_covers_names_as_well_as_numbers():
    panel = toy_panel(random_bars(), small())
    variants = [
        panel,
        replace(panel, symbols=("AAA", "BBB", "CCC", "EEE")),
        replace(panel, features=("a", "b", "c")),
        replace(panel, calendar=(*panel.calendar[:-1], panel.calendar[-1].replace(hour=1))),
    ]
    assert len({panel_sha256(variant) for variant in variants}) == 4


def test_a_symbol_that_is_listed_after_a_fold_changes_neither_its_spec_nor_its_slice():
    experiment = small()
    bars = random_bars()
    newcomer = random_bars(420, ("AAB",), seed=8).filter(pl.col("timestamp") > STAMPS[330])
    old, new = toy_panel(bars, experiment), toy_panel(pl.concat([bars, newcomer]), experiment)
    before, after = (planned(p, experiment, production_folds(p, experiment), production=True) for p in (old, new))
    assert new.symbols == ("AAA", "AAB", "BBB", "CCC", "DDD")
    assert after[0] == before[0]
    assert panels_equal(slice_for(new, after[0]), slice_for(old, before[0]))
    assert slice_for(new, after[-1]).symbols == new.symbols
    assert after[-1] != before[-1]


def test_too_short_a_research_period_says_what_it_needs():
    experiment = small({"periods.production_start": date(2020, 8, 3)})
    panel = toy_panel(random_bars(), experiment)
    with pytest.raises(ValueError, match=r"a fold needs 160 bars before its first scored bar .*production_start"):
        research_folds(panel, experiment, experiment.tuning.folds)
    with pytest.raises(ValueError, match="too few bars"):
        production_folds(panel, experiment)
