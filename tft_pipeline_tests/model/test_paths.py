"""Combinatorial purged cross-validation: what a fit may see, how blocks become paths, what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from tft_pipeline.domain.combinatorial import CombinatorialSplit, combinatorial_splits, n_paths
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.findings import ResearchPaths
from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import split_periods
from tft_pipeline.domain.reports import TunedHyperparameters
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.model.paths import fit_paths, masked, split_fold, spread_of
from tft_pipeline.model.scoring import net_returns
from tft_pipeline_tests.builders import small, toy_panel
from tft_pipeline_tests.conftest import random_bars

SECTION = {"groups": 4, "test_groups": 2, "validation": 20, "embargo": 3, "epochs": 1}
PURGE, LOOKBACK = 5, 16


def research(**changes: object) -> Experiment:
    return small({"research_paths": SECTION | changes})


def settings(experiment: Experiment) -> TunedHyperparameters:
    return TunedHyperparameters(
        network=experiment.network,
        training=experiment.training,
        position=experiment.position,
        best_trial=0,
        best_sharpe_annual=0.0,
        study="s",
        n_trials_started=1,
        n_pruned=0,
        fold_keys=(),
        trials=(),
        seconds=0.0,
    )


@pytest.fixture(scope="module")
def panel() -> Panel:
    return toy_panel(random_bars(), research())


@pytest.fixture(scope="module")
def found(panel: Panel) -> ResearchPaths:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFT_WORKERS", "1")
        return fit_paths(panel, research(), settings(research()), report=lambda _: None)


def test_every_split_is_fitted_and_every_path_scores_the_whole_research_period(
    found: ResearchPaths, panel: Panel
) -> None:
    periods = split_periods(panel, research())
    assert len(found.splits) == 6
    assert len(found.paths) == n_paths(4, 2) == 3
    n_bars = periods.research_stop - periods.first
    assert [row["n_bars"] for row in found.paths] == [n_bars] * 3
    assert sum(row["n_bars"] for row in found.groups) == n_bars
    assert found.groups[0]["first"] == panel.calendar[periods.first].isoformat()
    assert found.groups[-1]["last"] == panel.calendar[periods.research_stop - 1].isoformat()
    assert found.spread == spread_of([row["sharpe_annual"] for row in found.paths])
    assert len({row["sharpe_annual"] for row in found.paths}) == 3
    for row in found.paths:
        assert [found.splits[k]["left_out"].count(group) for group, k in enumerate(row["splits"])] == [1] * 4


def test_a_path_is_the_returns_of_its_fits_written_out(found: ResearchPaths, panel: Panel) -> None:
    experiment = research()
    periods = split_periods(panel, experiment)
    start = periods.first - LOOKBACK
    bars = panel.between(start, periods.research_stop)
    splits = combinatorial_splits(bars.n_bars - LOOKBACK, groups=4, test_groups=2, purge=PURGE, embargo=3)
    path, parts = found.paths[1], []
    for group, k in enumerate(path["splits"]):
        train = [Span(first + LOOKBACK, stop + LOOKBACK) for first, stop in splits[k].train]
        keep = np.zeros(bars.n_bars, dtype=bool)
        for first, stop in train:
            keep[first:stop] = True
        shown = replace(bars, observed=bars.observed & keep)  # labels stay: not observed alone must be enough
        moved = replace(splits[k], train=tuple(train))
        fitted = fit_fold(
            shown,
            split_fold(moved, validation=20, purge=PURGE, lookback=LOOKBACK),
            network=experiment.network,
            training=experiment.training,
            position=experiment.position,
            target_volatility=experiment.target.target_volatility,
            horizon=1,
            bars_per_year=252.0,
            epochs=1,
            seed=experiment.seed,
        )
        test = splits[k].test[splits[k].left_out.index(group)]
        parts.append(net_returns(fitted, bars, Span(test.start + LOOKBACK, test.stop + LOOKBACK)))
    series = np.concatenate(parts)
    assert path["n_bars"] == series.size
    assert path["sharpe_annual"] == pytest.approx(annualise(sharpe_ratio(series), 252.0), rel=1e-12)


@pytest.mark.slow
def test_processes_find_what_one_thread_finds(
    found: ResearchPaths, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFT_WORKERS", "2")
    other = fit_paths(panel, research(), settings(research()), report=lambda _: None)
    assert other.content_sha256() == found.content_sha256()


def test_production_bars_play_no_part(found: ResearchPaths, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_WORKERS", "1")
    start = split_periods(panel, research()).production_start
    changed = {}
    for name in ("values", "next_return", "volatility", "label"):
        array = getattr(panel, name).copy()
        array[:, start:] = 0.3
        changed[name] = array
    other = fit_paths(replace(panel, **changed), research(), settings(research()), report=lambda _: None)
    assert other.content_sha256() == found.content_sha256()


def test_nothing_of_what_is_left_out_or_purged_reaches_the_weights(panel: Panel) -> None:
    experiment = research()
    split = CombinatorialSplit(left_out=(1,), train=(Span(30, 80), Span(140, 220)), test=(Span(90, 130),), path_of=(0,))
    kept = np.zeros(panel.n_bars, dtype=bool)
    kept[30:80] = kept[140:220] = True
    changed = {}
    for k, name in enumerate(("values", "next_return", "volatility", "label")):
        array = getattr(panel, name).copy()
        array[:, ~kept] = np.random.default_rng(k).uniform(0.1, 0.2, array[:, ~kept].shape)
        changed[name] = array

    def weights(shown: Panel) -> list[np.ndarray]:
        fitted = fit_fold(
            masked(shown, split.train),
            split_fold(split, validation=20, purge=PURGE, lookback=LOOKBACK),
            network=experiment.network,
            training=experiment.training,
            position=experiment.position,
            target_volatility=0.15,
            horizon=1,
            bars_per_year=252.0,
            epochs=2,
            seed=1,
        )
        return [tensor.numpy() for tensor in fitted.state.values()]

    for one, other in zip(weights(panel), weights(replace(panel, **changed)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_masked_bars_are_as_if_no_symbol_had_been_there(panel: Panel) -> None:
    shown = masked(panel, (Span(20, 30), Span(50, 60)))
    inside = np.r_[20:30, 50:60]
    outside = np.setdiff1d(np.arange(panel.n_bars), inside)
    assert not shown.observed[:, outside].any()
    for name in ("next_return", "volatility", "label"):
        assert np.isnan(getattr(shown, name)[:, outside]).all()
        np.testing.assert_array_equal(getattr(shown, name)[:, inside], getattr(panel, name)[:, inside])
    np.testing.assert_array_equal(shown.observed[:, inside], panel.observed[:, inside])


def test_validation_is_the_end_of_the_last_block_and_training_ends_a_purge_before_it() -> None:
    split = CombinatorialSplit(left_out=(1,), train=(Span(3, 40), Span(60, 110)), test=(Span(45, 52),), path_of=(0,))
    fold = split_fold(split, validation=20, purge=4, lookback=26)
    assert (fold.train, fold.validation, fold.test) == (Span(3, 86), Span(90, 110), Span(45, 52))
    with pytest.raises(ValueError, match=r"groups \[1\], the last block to train on has 50 bars; it needs 51"):
        split_fold(split, validation=20, purge=4, lookback=27)


def test_blocks_too_short_to_validate_on_are_refused_before_anything_is_fitted(panel: Panel) -> None:
    lines: list[str] = []
    with pytest.raises(ValueError, match=r"leaving out groups \[.*\], the last block to train on has \d+ bars"):
        fit_paths(panel, research(groups=12), settings(research()), report=lines.append)
    with pytest.raises(ValueError, match="no section research_paths"):
        fit_paths(panel, small(), settings(small()), report=lines.append)
    assert lines == []


def test_the_spread_says_how_many_paths_lose() -> None:
    found = spread_of([-1.0, 0.0, 1.0, 2.0, 3.0])
    assert found == {
        "n_paths": 5,
        "median": 1.0,
        "mean": 1.0,
        "quantile_05": pytest.approx(-0.8),
        "quantile_95": pytest.approx(2.8),
        "share_below_zero": pytest.approx(0.2),
    }
