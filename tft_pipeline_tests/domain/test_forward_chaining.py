"""Each fold scored with what earlier folds taught, against fits made by hand."""

import numpy as np
import pytest
from sklearn import metrics

from tft_pipeline.domain.calibration import calibrate
from tft_pipeline.domain.classification import describe_probabilities
from tft_pipeline.domain.ensemble import ensemble_weights
from tft_pipeline.domain.forward_chaining import IDENTITY, forward_chained
from tft_pipeline_tests.domain.test_ensemble import sources


def folds_of(seed: int, n_folds: int = 5) -> tuple[list[dict[str, np.ndarray | None]], list[np.ndarray]]:
    parts = [sources(seed + k, 200) for k in range(n_folds)]
    return [part[0] for part in parts], [part[1] for part in parts]


def test_each_fold_is_scored_with_what_earlier_folds_taught():
    folds, y = folds_of(10)
    found = forward_chained(folds, y, l2=0.01)
    assert [record["fold"] for record in found.folds] == [1, 2, 3, 4]
    past = {name: np.concatenate([fold[name] for fold in folds[:3]]) for name in folds[0]}
    past_y = np.concatenate(y[:3])
    calibrations = {name: calibrate(p, past_y) for name, p in past.items()}
    fit = ensemble_weights({name: calibrations[name].apply(p) for name, p in past.items()}, past_y, l2=0.01)
    blend = fit.blend({name: calibrations[name].apply(folds[3][name]) for name in folds[3]})
    np.testing.assert_allclose(found.probabilities[2], blend)
    assert found.folds[2]["weights"] == fit.weights
    assert found.folds[2]["log_loss"] == pytest.approx(metrics.log_loss(y[3], blend))
    single = calibrations["tft"].apply(folds[3]["tft"])
    assert found.folds[2]["log_loss_by_source"]["tft"] == pytest.approx(metrics.log_loss(y[3], single))
    pooled = np.concatenate(found.probabilities)
    assert found.pooled == describe_probabilities(np.concatenate(y[1:]), pooled)
    assert found.pooled["log_loss"] < found.pooled_by_source["noise"]["log_loss"]
    assert {"n", "accuracy", "accuracy_ci", "base_rate", "f1", "auc_roc", "log_loss"} <= set(found.pooled)


def test_final_weights_come_from_all_folds():
    folds, y = folds_of(20)
    found = forward_chained(folds, y)
    past = {name: np.concatenate([fold[name] for fold in folds]) for name in folds[0]}
    every = np.concatenate(y)
    assert found.final.calibrations == {name: calibrate(p, every) for name, p in past.items()}
    calibrated = {name: found.final.calibrations[name].apply(p) for name, p in past.items()}
    assert found.final.fit == ensemble_weights(calibrated, every)
    assert found.final.first == 0
    np.testing.assert_array_equal(found.final.y, every)
    assert found.greedy == pytest.approx(found.final.fit.weights, abs=0.06)


def test_later_folds_and_later_labels_do_not_reach_earlier_scores():
    folds, y = folds_of(30)
    other, other_y = folds_of(99)
    first = forward_chained(folds, y)
    second = forward_chained([*folds[:3], *other[3:]], [*y[:3], *other_y[3:]])
    assert first.folds[:2] == second.folds[:2]
    np.testing.assert_array_equal(first.probabilities[1], second.probabilities[1])
    assert first.folds[2:] != second.folds[2:]


def test_a_source_that_comes_late_joins_after_its_first_fold_and_one_that_ends_leaves():
    folds, y = folds_of(40)
    for fold in folds[:2]:
        fold["tft"] = None
    folds[4]["noise"] = None
    found = forward_chained(folds, y)
    used = [{name for name, weight in record["weights"].items() if weight > 0} for record in found.folds]
    assert all("tft" not in names for names in used[:2])
    assert "tft" not in found.folds[1]["log_loss_by_source"]
    assert "tft" in found.folds[2]["log_loss_by_source"]
    assert list(found.final.fit.weights) == ["lgbm", "tft", "noise"]
    assert found.final.fit.available == {"lgbm": True, "tft": True, "noise": False}
    assert (found.final.first, found.final.fit.n) == (2, 600)  # the folds both remaining sources share
    assert [part is None for part in found.by_source["tft"]] == [True, True, False, False]
    assert found.pooled_by_source["tft"]["n"] == 400


def calendar_of(y: list[np.ndarray], n_symbols: int = 2) -> list[np.ndarray]:
    """Bar of each row: all symbols of a bar stand together, and the folds follow each other."""
    bars = np.arange(sum(row.size for row in y)) // n_symbols
    return np.split(bars, np.cumsum([row.size for row in y])[:-1])


def test_labels_that_are_not_resolved_at_a_folds_first_decision_teach_it_nothing():
    folds, y = folds_of(50)
    bars = calendar_of(y)
    horizon = 21

    def chained(labels: list[np.ndarray], n_unresolved: int) -> list[np.ndarray]:
        return forward_chained(folds, labels, n_unresolved=n_unresolved, bars=bars).probabilities

    planted = [row.copy() for row in y]
    unresolved = bars[1] > bars[1].max() - (horizon - 1)
    assert unresolved.sum() == 40
    planted[1][unresolved] = np.asarray(folds[1]["noise"])[unresolved] > 0.5
    for found, honest in zip(chained(planted, horizon - 1)[:2], chained(y, horizon - 1)[:2], strict=True):
        np.testing.assert_array_equal(found, honest)
    assert not np.allclose(chained(planted, 0)[1], chained(y, 0)[1])
    assert not np.allclose(chained(planted, horizon - 1)[2], chained(y, horizon - 1)[2])  # known by then
    last_resolved = [row.copy() for row in y]
    one = np.flatnonzero(bars[1] == bars[1].max() - (horizon - 1))
    last_resolved[1][one] = 1 - last_resolved[1][one]
    assert not np.array_equal(chained(last_resolved, horizon - 1)[1], chained(y, horizon - 1)[1])


def test_leaving_unresolved_rows_out_is_the_fit_on_folds_cut_by_hand():
    folds, y = folds_of(60, n_folds=3)
    found = forward_chained(folds, y, l2=0.01, n_unresolved=4, bars=calendar_of(y))
    cut = [folds[0], {name: p[:-8] for name, p in folds[1].items()}, folds[2]]
    by_hand = forward_chained(cut, [y[0], y[1][:-8], y[2]], l2=0.01)
    np.testing.assert_array_equal(found.probabilities[1], by_hand.probabilities[1])
    assert found.folds[1]["weights"] == by_hand.folds[1]["weights"]
    assert [probability.size for probability in found.probabilities] == [200, 200]
    assert found.final.fit == forward_chained(folds, y, l2=0.01).final.fit


def test_a_gap_between_folds_resolves_labels_meanwhile():
    folds, y = folds_of(70, n_folds=3)
    near = calendar_of(y)
    apart = [bars + 20 * k for k, bars in enumerate(near)]
    plain, gapped = forward_chained(folds, y), forward_chained(folds, y, n_unresolved=20, bars=apart)
    assert plain.folds == gapped.folds
    assert plain.folds != forward_chained(folds, y, n_unresolved=20, bars=near).folds


def test_folds_shorter_than_the_horizon_are_left_out_whole_and_those_without_a_resolved_label_are_not_scored():
    folds, y = folds_of(80, n_folds=4)
    found = forward_chained(folds, y, n_unresolved=150, bars=calendar_of(y))
    assert [record["fold"] for record in found.folds] == [2, 3]
    assert found.pooled["n"] == 400
    by_hand = forward_chained([{name: p[:100] for name, p in folds[0].items()}, folds[2]], [y[0][:100], y[2]])
    np.testing.assert_array_equal(found.probabilities[0], by_hand.probabilities[0])
    with pytest.raises(ValueError, match="no fold has an earlier row whose label is resolved 400 bars"):
        forward_chained(folds, y, n_unresolved=400, bars=calendar_of(y))


def test_unresolved_rows_that_cannot_be_told_are_refused():
    folds, y = folds_of(90, n_folds=2)
    bars = calendar_of(y)
    with pytest.raises(ValueError, match="n_unresolved 4 without bars"):
        forward_chained(folds, y, n_unresolved=4)
    with pytest.raises(ValueError, match="n_unresolved -1 is negative"):
        forward_chained(folds, y, n_unresolved=-1, bars=bars)
    with pytest.raises(ValueError, match="one bar index a row"):
        forward_chained(folds, y, n_unresolved=4, bars=[bars[0], bars[1][:-1]])
    with pytest.raises(ValueError, match="bars of fold 1 begin at 0, not after those of fold 0, which end at 99"):
        forward_chained(folds, y, n_unresolved=4, bars=[bars[0], bars[0]])


def test_without_calibration_probabilities_are_taken_at_their_word():
    folds, y = folds_of(100, n_folds=3)
    found = forward_chained(folds, y, calibrated=False)
    past = {name: np.concatenate([fold[name] for fold in folds[:2]]) for name in folds[0]}
    fit = ensemble_weights(past, np.concatenate(y[:2]))
    np.testing.assert_array_equal(found.probabilities[1], fit.blend(folds[2]))
    assert set(found.final.calibrations.values()) == {IDENTITY}
    assert found.folds[1]["log_loss_by_source"]["tft"] == pytest.approx(metrics.log_loss(y[2], folds[2]["tft"]))


def test_folds_that_cannot_be_chained_are_refused():
    found_sources, y = sources(4)
    with pytest.raises(ValueError, match="at least 2"):
        forward_chained([found_sources], [y])
    lonely = [{"a": found_sources["tft"], "b": None}, {"a": None, "b": found_sources["tft"]}]
    with pytest.raises(ValueError, match="share no source"):
        forward_chained(lonely, [y, y])
