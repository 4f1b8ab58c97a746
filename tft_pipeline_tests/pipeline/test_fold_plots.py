"""The picture of a fold shows the losses that were journalled, the epoch that was kept and the weights, and no result."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from tft_pipeline.domain.reports import ExplorationFold, FoldSpec
from tft_pipeline.pipeline import fold_plots
from tft_pipeline.pipeline.fold_plots import exploration_picture, production_picture
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.drawings import figure_of, legend_of, line_of, png_of, widths_of
from tft_pipeline_tests.report_records import made_records
from tft_pipeline_tests.stored import stored_fold

NAMES = tuple(f"px_a_feature_with_a_long_name_{k}" if k % 3 else f"ret_{k}" for k in range(80))


def history(n: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "epoch": k,
            "train_loss": float(1.0 / (k + 1)),
            "validation_loss": float(0.5 + abs(k - n // 2) + 0.1 * rng.random()),
            "validation_sharpe": None if k == 1 else float(0.1 * rng.normal()),
        }
        for k in range(n)
    ]


@cache
def spec_of(n_features: int = 5) -> FoldSpec:
    return made_records(features=NAMES[:n_features]).plan.specs[0]


def weights(n: int) -> dict[str, float]:
    level = np.random.default_rng(3).exponential(1.0, n)
    return dict(zip(NAMES, (level / level.sum()).tolist(), strict=False))


def production(n_features: int, n_epochs: int, **changes: Any) -> Any:
    told = {"history": history(n_epochs), "best_epoch": n_epochs // 2, "vsn_weights": weights(n_features)} | changes
    raw = np.array([[0.5, -0.25, np.nan], [0.75, 0.1, -0.9]])
    return production_picture(
        told["history"], told["best_epoch"], told["vsn_weights"], raw, changes.get("spec", spec_of(n_features))
    )


def test_the_curves_are_the_losses_by_epoch_and_the_ring_is_at_the_epoch_that_was_kept() -> None:
    rows = history(6)
    figure, title = figure_of(fold_plots, lambda: production(5, 6, history=rows))
    losses = figure.axes[0]
    for name in ("train", "validation"):
        assert line_of(losses, name).get_xydata().tolist() == [[row["epoch"], row[f"{name}_loss"]] for row in rows]
    assert line_of(losses, "kept").get_xydata().tolist() == [[3, rows[3]["validation_loss"]]]
    assert losses.get_ylabel() == "loss (joint_mle)"
    assert losses.get_xlabel() == "epoch"
    spec = spec_of()
    assert spec.key in title
    assert all(str(spec.dates[part][end])[:10] in title for part in ("validation", "test") for end in ("first", "last"))


def test_the_weights_are_the_largest_first_beside_equal_ones() -> None:
    found = weights(80)
    figure, _ = figure_of(fold_plots, lambda: production(80, 6))
    axes = figure.axes[2]
    assert widths_of(axes) == sorted(found.values(), reverse=True)[:20]
    assert legend_of(axes) == ["equal weights 0.0125"]
    assert "20 of 80" in axes.get_xlabel()


def test_the_positions_are_counted_without_the_bars_that_were_not_observed() -> None:
    figure, _ = figure_of(fold_plots, lambda: production(5, 6))
    axes = figure.axes[1]
    (stairs,) = axes.patches
    counts, edges, _ = stairs.get_data()  # type: ignore[attr-defined]
    assert counts.sum() == 5
    assert (edges[0], edges[-1]) == (-1.0, 1.0)
    assert "60 % long" in axes.get_xlabel()


def test_a_family_that_selects_nothing_says_so() -> None:
    figure, _ = figure_of(fold_plots, lambda: production(5, 6, vsn_weights=dict.fromkeys(NAMES[:5], float("nan"))))
    (text,) = figure.axes[2].texts
    assert "no selection weights" in text.get_text()


@cache
def exploration_of(n_features: int) -> ExplorationFold:
    (fold, *_) = made_records(features=NAMES[:n_features]).exploration.values()
    return fold


def explored(n_features: int, importance: bool) -> ExplorationFold:
    fold = exploration_of(n_features)
    gains = {name: float(k) for k, name in enumerate(fold.weights)} if importance else {}
    return fold.model_copy(update={"importance": gains, "best_epochs": (0, 1, 2)})


def test_every_seed_has_its_curves_and_its_ring_and_importance_stands_in_the_order_of_the_weights() -> None:
    record, histories = explored(30, True), [history(3, seed) for seed in range(3)]
    figure, _ = figure_of(fold_plots, lambda: exploration_picture(record, histories, spec_of(30)))
    losses, bars, gains = figure.axes
    rings = [line for line in losses.lines if line.get_marker() == "o" and line.get_linestyle() == "None"]
    assert [line.get_xydata().tolist()[0] for line in rings] == [
        [best, told[best]["validation_loss"]] for best, told in zip((0, 1, 2), histories, strict=True)
    ]
    assert legend_of(losses) == ["train", "validation", "kept"]
    ordered = sorted(record.weights, key=lambda name: -record.weights[name])[:20]
    assert widths_of(bars) == [record.weights[name] for name in ordered]
    assert widths_of(gains) == [record.importance[name] for name in ordered]
    assert legend_of(bars) == [f"largest shadow feature {max(record.shadow_weights.values()):.3g}"]
    without, _ = figure_of(fold_plots, lambda: exploration_picture(explored(30, False), histories, spec_of(30)))
    assert len(without.axes) == 2


@pytest.mark.parametrize(("n_features", "n_epochs"), [(3, 1), (5, 2), (80, 120)])
def test_pictures_of_folds_are_small(n_features: int, n_epochs: int) -> None:
    assert len(png_of(production(n_features, n_epochs))) < 60_000
    record = explored(max(n_features, 5), True)
    histories = [history(max(n_epochs, 3), seed) for seed in range(3)]
    assert len(png_of(exploration_picture(record, histories, spec_of(max(n_features, 5))))) < 60_000


def test_a_fold_whose_validation_is_one_bar_is_drawn_without_a_line_of_luck() -> None:
    spec = spec_of()
    spec = spec.model_copy(update={"dates": {**spec.dates, "validation": {**spec.dates["validation"], "n_bars": 1}}})
    figure, _ = figure_of(fold_plots, lambda: production(5, 6, spec=spec))
    assert figure.axes[1].get_legend() is None


def test_a_finished_folds_picture_is_drawn_from_its_journal_and_not_from_what_it_earned(
    finished: Workbench,
) -> None:
    """Results of the production period are a look: see `ledgers`."""
    key = finished.folds()[0]
    bundle = stored_fold(finished, key)
    (journal,) = finished.layout.tracking("small").glob(f"production-{key}-*.mirrored")
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    told = [row["validation_loss"] for row in rows if row["kind"] == "epoch"]
    assert told == [row["validation_loss"] for row in bundle.fitted.history]
    with finished.instance() as instance:
        (record,) = [
            one.asset_materialization
            for one in instance.fetch_materializations(finished.graph.key("production_fold"), limit=10).records
            if one.asset_materialization is not None and one.asset_materialization.partition == key
        ]
    assert record is not None
    shown = {name for name in record.metadata if not name.startswith("dagster/")}
    for earned in ("net", "return", "oos", "equity", "accuracy", "sharpe"):
        assert not [name for name in shown if earned in name]
