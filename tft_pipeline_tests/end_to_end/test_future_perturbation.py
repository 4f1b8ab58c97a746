"""The whole pipeline twice: with the bars as they are, and with every raw value after one bar of the production period noise.

Whatever was known at that bar is the same to the bit: features, choices, weights, predictions, positions, returns. The bar lies
in the middle of a fold's test dates, so that a prediction that reads on shows.
"""

from collections.abc import Callable
from datetime import datetime

import numpy as np
import polars as pl
import pytest
import torch

from tft_pipeline.domain.features.causality import perturbed_after
from tft_pipeline.domain.reports import (
    ExplorationFold,
    FeatureCatalogue,
    FoldPlanReport,
    FoldSpec,
    PrefilteredFeatures,
    Report,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.model import inference
from tft_pipeline.model.leakage import scrambled
from tft_pipeline.pipeline.io_managers import FRAME_FILE
from tft_pipeline.storage.fold_bundles import FoldBundle
from tft_pipeline_tests.conftest import SYMBOLS, Workbench, random_bars
from tft_pipeline_tests.planted import positions_of_the_next_bar
from tft_pipeline_tests.stored import stored_evidence, stored_fold, stored_report

NOISE_SEED = 20260103
MIDDLE = 20
KNOWN_LATER = ("next_return", "label")
"""Of a prediction's columns: what the decision is paid and judged by, one bar later."""
DECIDED = ("turnover", "gross_exposure", "net_exposure", "n_symbols")
"""Of a portfolio's columns: what follows from the positions held at a bar, before it is known what they earn."""


def frame(bench: Workbench, asset: str) -> pl.DataFrame:
    return pl.read_parquet(bench.artifact(asset) / FRAME_FILE)


def contents(bench: Workbench) -> dict[str, str]:
    """Content of every record of the research phases, by name."""
    kinds: dict[str, type[Report]] = {
        "feature_catalogue": FeatureCatalogue,
        "prefiltered_features": PrefilteredFeatures,
        "exploration_plan": FoldPlanReport,
        "selected_features": SelectedFeatures,
    }
    found = {asset: stored_report(bench, kind, asset).content_sha256() for asset, kind in kinds.items()}
    for key in bench.folds("exploration"):
        found[key] = stored_report(bench, ExplorationFold, "exploration_fold", key).content_sha256()
    tuned = stored_report(bench, TunedHyperparameters, "tuned_hyperparameters")
    return found | {"tuned_hyperparameters": tuned.content_sha256(), "trials": str(tuned.trials)}


def middle_of_test(bench: Workbench, spec: FoldSpec) -> datetime:
    """The last of the first `MIDDLE` test bars of a fold."""
    stamps = stored_fold(bench, spec.key).predictions["timestamp"].unique().sort()
    assert len(stamps) == 2 * MIDDLE
    return stamps[MIDDLE - 1]


def decided_by(fold: FoldBundle, cut: datetime) -> pl.DataFrame:
    """Predictions up to a bar, without what is known later."""
    return fold.predictions.filter(pl.col("timestamp") <= cut).drop(KNOWN_LATER)


def test_what_was_known_at_a_bar_is_the_same_to_the_bit_whatever_comes_after_it(
    finished: Workbench, workbench: Callable[..., Workbench]
) -> None:
    plan = stored_report(finished, FoldPlanReport, "production_plan")
    middle = plan.specs[1]
    cut = middle_of_test(finished, middle)
    other = workbench(bars=perturbed_after(random_bars(), cut, seed=NOISE_SEED))
    assert not other.run()["failed"]

    known, before = pl.col("timestamp") <= cut, pl.col("timestamp") < cut
    features = [frame(bench, "features") for bench in (finished, other)]
    assert features[0].filter(known).equals(features[1].filter(known))
    assert not features[0].equals(features[1])
    targets = [frame(bench, "targets") for bench in (finished, other)]
    ended = pl.col("label_end") <= cut
    assert targets[0].filter(ended).equals(targets[1].filter(ended))
    assert targets[0].filter(known)["volatility"].equals(targets[1].filter(known)["volatility"])
    assert targets[0].filter(ended).height > 0

    assert contents(finished) == contents(other)

    replanned = stored_report(other, FoldPlanReport, "production_plan")
    assert [spec.key for spec in plan.specs] == [spec.key for spec in replanned.specs]
    for spec in plan.specs[:2]:
        one, same = stored_fold(finished, spec.key), stored_fold(other, spec.key)
        assert one.fitted.scaler == same.fitted.scaler
        assert one.fitted.history == same.fitted.history
        assert set(one.fitted.state) == set(same.fitted.state)
        assert all(torch.equal(value, same.fitted.state[name]) for name, value in one.fitted.state.items())
        assert one.boosting == same.boosting
        assert decided_by(one, cut).equals(decided_by(same, cut))
        assert one.predictions.filter(before).equals(same.predictions.filter(before))
    assert decided_by(one, cut)["timestamp"].max() == cut
    assert decided_by(one, cut).height == MIDDLE * len(SYMBOLS)
    assert not one.predictions["raw_position"].equals(same.predictions["raw_position"])

    portfolios = [frame(bench, "oos_portfolio") for bench in (finished, other)]
    assert portfolios[0].filter(before).equals(portfolios[1].filter(before))
    held = [portfolio.filter(known).select("timestamp", *DECIDED) for portfolio in portfolios]
    assert held[0].equals(held[1])
    assert held[0].height == plan.specs[0].dates["test"]["n_bars"] + MIDDLE
    assert not portfolios[0].equals(portfolios[1])

    newest = [stored_fold(bench, plan.specs[-1].key) for bench in (finished, other)]
    assert newest[0].fitted.history != newest[1].fitted.history
    assert not newest[0].predictions["raw_position"].equals(newest[1].predictions["raw_position"])


def test_a_prediction_that_reads_one_bar_on_is_noticed(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same comparison of the same fold, with the position of bar t+1 given at bar t: it differs at the cut alone."""
    plan = stored_report(finished, FoldPlanReport, "production_plan")
    cut = middle_of_test(finished, plan.specs[1])
    panel = stored_evidence(finished).panel
    noisy = scrambled(panel, panel.calendar.index(cut) + 1)
    stamps = [stamp.isoformat() for stamp in panel.calendar]
    spec, fitted = plan.specs[1], stored_fold(finished, plan.specs[1].key).fitted
    first, stop = stamps.index(spec.first), stamps.index(spec.last) + 1

    def differing() -> list[int]:
        one, other = (
            inference.predict(fitted, some.between(first, stop), spec.fold.test).raw_position[:, :MIDDLE]
            for some in (panel, noisy)
        )
        return sorted(set(np.nonzero(one != other)[1].tolist()))

    assert differing() == []
    positions_of_the_next_bar(monkeypatch)
    assert differing() == [MIDDLE - 1]
