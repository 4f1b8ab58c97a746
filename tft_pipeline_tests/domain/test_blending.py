"""The record of a blend: what it is measured on, and that it says so."""

import json

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest
from sklearn import metrics

from tft_pipeline.domain.bar_bootstrap import BarBlocks, auc_interval, mean_interval
from tft_pipeline.domain.bar_trials import effective_trials
from tft_pipeline.domain.blending import BlendPart, blend_record
from tft_pipeline.domain.classification import wilson_interval
from tft_pipeline.domain.ensemble_draws import row_losses
from tft_pipeline.domain.forward_chaining import forward_chained


def parts_of(n_parts: int = 4, n_bars: int = 60, seed: int = 0, **absent: int) -> list[BlendPart]:
    """Two rows a bar; `absent` names the first part that a source is in."""
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(n_parts):
        signal = rng.normal(0.0, 1.0, 2 * n_bars)
        y = (rng.uniform(size=signal.size) < expit(signal)).astype(int)
        seen: dict[str, np.ndarray | None] = {
            name: expit(2.0 * (signal + rng.normal(0.0, spread, y.size)))
            for name, spread in (("lgbm", 0.8), ("tft", 1.2), ("sentiment", 1.5))
        }
        for name, first in absent.items():
            if k < first:
                seen[name] = None
        bars = 1000 + k * n_bars + np.repeat(np.arange(n_bars), 2)  # the calendar need not begin at 0
        parts.append(BlendPart(key=f"f{k}", probabilities=seen, y=y, bars=bars, missing={"sentiment": 3 * k}))
    return parts


def test_metrics_are_those_of_the_folds_that_were_scored_forward():
    parts = parts_of()
    record = blend_record(parts, l2=0.01, horizon=1, seed=0)
    chained = forward_chained([p.probabilities for p in parts], [p.y for p in parts], l2=0.01)
    y, blend = np.concatenate([p.y for p in parts[1:]]), np.concatenate(chained.probabilities)
    assert list(record.metrics)[:3] == ["accuracy", "f1", "auc_roc"]
    assert record.metrics["accuracy"] == pytest.approx(metrics.accuracy_score(y, blend >= 0.5))
    assert record.metrics["f1"] == pytest.approx(metrics.f1_score(y, blend >= 0.5))
    assert record.metrics["auc_roc"] == pytest.approx(metrics.roc_auc_score(y, blend))
    assert record.metrics["log_loss"] == pytest.approx(metrics.log_loss(y, blend))
    assert record.n == {
        "folds": 4, "rows": 480, "bars": 240, "fitted_rows": 480, "fitted_bars": 240, "scored_rows": 360, "scored_bars": 180,
    }  # fmt: skip
    assert record.measured_on.startswith("3 of 4 folds, from f1 on")
    assert [row["fold"] for row in record.folds] == ["f1", "f2", "f3"]
    assert all(sum(row["weights"].values()) == pytest.approx(1.0) for row in record.folds)
    assert record.missing == {"sentiment": 18}
    assert set(record.sources) == {"lgbm", "tft", "sentiment"}
    assert json.loads(json.dumps(record.model_dump(mode="json"), allow_nan=False))["weights"] == record.weights


def test_intervals_are_of_bars_and_not_of_rows():
    parts = parts_of(seed=1)
    record = blend_record(parts, l2=0.0, horizon=1, seed=5)
    chained = forward_chained([p.probabilities for p in parts], [p.y for p in parts])
    y, blend = np.concatenate([p.y for p in parts[1:]]), np.concatenate(chained.probabilities)
    bar = np.repeat(np.arange(180), 2)
    blocks = BarBlocks(n_bars=180, block_length=record.intervals["block_bars"]["metrics"], seed=5)
    assert record.intervals["log_loss"] == pytest.approx(mean_interval(row_losses(y, blend), bar, blocks))
    assert record.intervals["auc_roc"] == pytest.approx(auc_interval(y, blend, bar, blocks))
    low, high = record.intervals["accuracy"]
    outer = [binomtest(k, 180).proportion_ci(0.95, method="wilson") for k in (0, 180)]
    assert (
        outer[0].low
        <= low
        < record.metrics["accuracy_ci"][0]
        < record.metrics["accuracy_ci"][1]
        < high
        <= outer[1].high
    )
    assert list(record.intervals["weights"]) == ["lgbm", "tft", "sentiment"]
    for name, (low, high) in record.intervals["weights"].items():
        assert low <= record.weights[name] <= high
    assert record.intervals["reasons"] == {}


@pytest.mark.parametrize("n_sources", [2, 3])
@pytest.mark.parametrize("calibrated", [False, True])
def test_sources_that_say_the_same_make_no_difference_even_where_they_are_certain_and_wrong(n_sources, calibrated):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 400)
    p = np.where(y == 1, 0.7, 0.3)
    p[rng.uniform(size=400) < 0.2] = 0.5
    p[::40] = 1.0 - y[::40]  # 0 and 1
    parts = [
        BlendPart(key=str(k), probabilities={name: p[rows] for name in "abc"[:n_sources]}, y=y[rows], bars=rows)
        for k, rows in enumerate(np.array_split(np.arange(400), 5))
    ]
    record = blend_record(parts, l2=0.0, horizon=1, seed=0, calibrated=calibrated)
    assert record.comparison["log_loss_difference"] == 0.0
    assert record.comparison["verdict"] == "equal"
    assert record.metrics["log_loss"] == pytest.approx(record.sources["a"]["log_loss"], rel=1e-4)


def test_the_interval_of_accuracy_rests_on_fewer_trials_where_labels_overlap():
    parts = parts_of(n_bars=120, seed=2)
    one, many = (blend_record(parts, l2=0.0, horizon=h, seed=0, calibrated=False) for h in (1, 5))
    chained = forward_chained(
        [p.probabilities for p in parts],
        [p.y for p in parts],
        n_unresolved=4,
        bars=[p.bars for p in parts],
        calibrated=False,
    )
    y, blend = np.concatenate(chained.labels), np.concatenate(chained.probabilities)
    right = (blend >= 0.5) == (y == 1)
    assert one.intervals["trials"] == 360.0
    assert many.intervals["trials"] == effective_trials(right, np.repeat(np.arange(360), 2), horizon=5)
    trials = many.intervals["trials"]
    assert many.intervals["accuracy"] == pytest.approx(wilson_interval(right.mean() * trials, trials))
    few = blend_record(parts, l2=0.0, horizon=20, seed=0)
    assert few.intervals["trials"] == 360 / 20
    assert np.ptp(few.intervals["accuracy"]) > 3.0 * np.ptp(one.intervals["accuracy"])


def test_labels_that_look_ahead_lengthen_the_blocks_and_keep_unresolved_rows_out():
    parts = parts_of(seed=2)
    record = blend_record(parts, l2=0.0, horizon=15, seed=0)
    assert min(record.intervals["block_bars"].values()) >= 15
    by_hand = forward_chained(
        [p.probabilities for p in parts], [p.y for p in parts], n_unresolved=14, bars=[p.bars for p in parts]
    )
    assert [row["log_loss"] for row in record.folds] == [row["log_loss"] for row in by_hand.folds]
    assert record.folds != blend_record(parts, l2=0.0, horizon=1, seed=0).folds


def test_an_absent_source_keeps_its_key_in_every_place():
    record = blend_record(parts_of(sentiment=9), l2=0.0, horizon=1, seed=0)
    assert record.weights["sentiment"] == 0.0
    assert record.available == {"lgbm": True, "tft": True, "sentiment": False}
    assert record.intervals["weights"]["sentiment"] is None
    assert all(row["weights"]["sentiment"] == 0.0 for row in record.folds)
    assert "sentiment" not in record.sources
    assert "sentiment" not in record.calibration


def test_a_source_that_comes_late_is_weighed_on_the_folds_it_is_in_and_is_no_rival_over_all():
    record = blend_record(parts_of(lgbm=2), l2=0.0, horizon=1, seed=0)
    assert record.available["lgbm"]
    assert (record.n["fitted_rows"], record.n["rows"]) == (240, 480)
    assert record.sources["lgbm"]["n"] == 120
    assert record.comparison["best_single"] in ("tft", "sentiment")
    assert record.metrics_on_fitted_rows["n"] == 240


def test_the_rival_is_the_source_with_the_lowest_loss_on_the_scored_rows():
    parts = parts_of(seed=3)
    record = blend_record(parts, l2=0.0, horizon=1, seed=0)
    best = min(record.sources, key=lambda name: record.sources[name]["log_loss"])
    assert record.comparison["best_single"] == best == "lgbm"
    gain = record.sources[best]["log_loss"] - record.metrics["log_loss"]
    assert record.comparison["log_loss_difference"] == pytest.approx(gain)
    assert best in record.comparison["sentence"]


def test_one_source_is_the_blend_and_is_not_compared_with_itself():
    record = blend_record(parts_of(lgbm=9, sentiment=9), l2=0.0, horizon=1, seed=0)
    assert record.weights == {"lgbm": 0.0, "tft": 1.0, "sentiment": 0.0}
    assert record.comparison["sentence"] == "There is one source, tft: the blend is that source."


def test_one_part_has_no_metrics_and_what_fits_its_own_rows_says_so():
    record = blend_record(parts_of(1), l2=0.0, horizon=1, seed=0)
    assert [record.metrics[key] for key in ("accuracy", "f1", "auc_roc")] == [None, None, None]
    assert "one fold only" in record.metrics["reason"]
    assert record.measured_on.startswith("nothing")
    assert record.intervals["accuracy"] is None
    assert record.intervals["weights"]["lgbm"] is not None
    assert record.metrics_on_fitted_rows["log_loss"] > 0.0
    assert record.comparison == {}


def test_few_bars_have_no_interval_and_say_how_many_are_needed():
    record = blend_record(parts_of(2, n_bars=10), l2=0.0, horizon=1, seed=0)
    assert record.metrics["log_loss"] > 0.0
    assert (record.intervals["weights"], record.intervals["log_loss"]) == (None, None)
    assert record.intervals["accuracy"] is not None
    assert "20 bars are too few" in record.intervals["reasons"]["weights"]
    assert "10 bars are too few" in record.intervals["reasons"]["auc_roc"]


def test_scored_rows_of_one_class_have_a_log_loss_and_no_area():
    first, second = parts_of(2, n_bars=40)
    second = BlendPart(key="f1", probabilities=second.probabilities, y=np.ones_like(second.y), bars=second.bars)
    record = blend_record([first, second], l2=0.0, horizon=1, seed=0)
    assert (record.metrics["auc_roc"], record.intervals["auc_roc"]) == (None, None)
    assert "one class" in record.intervals["reasons"]["auc_roc"]
    assert record.intervals["log_loss"] is not None


def test_the_same_seed_gives_the_same_record_and_another_one_other_intervals_only():
    parts = parts_of(seed=4)
    one, two = (blend_record(parts, l2=0.0, horizon=1, seed=seed) for seed in (1, 2))
    assert one == blend_record(parts, l2=0.0, horizon=1, seed=1)
    assert one.weights == two.weights
    assert one.intervals["weights"] != two.intervals["weights"]
