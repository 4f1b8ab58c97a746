"""Fitting one fold: determinism, leakage, early stopping, errors, and that it learns."""

import logging
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.portfolio import portfolio_returns
from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.model.inference import predict
from tft_pipeline.model.lightning import TftModule
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.windows import panel_tensors
from tft_pipeline_tests.oracles.model_panels import (
    BARS_PER_YEAR,
    POSITION,
    TRAINING,
    random_panel,
    small_fit,
    small_fold,
)


def _same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _with(panel: Panel, **arrays: np.ndarray) -> Panel:
    return replace(panel, **arrays)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel()


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(panel: Panel) -> None:
    one = small_fit(panel, seed=1)
    torch.rand(3)  # the caller's random state plays no part
    again, other = (small_fit(panel, seed=seed) for seed in (1, 2))
    assert _same_weights(one.state, again.state)
    assert one.history == again.history
    assert not _same_weights(one.state, other.state)


def test_nothing_at_or_after_the_end_of_validation_changes_a_bit(panel: Panel) -> None:
    """The one exception is the label of the last validation bars, which looks `horizon` bars further; here it is kept."""
    stop = small_fold().validation.stop
    random = np.random.default_rng(9)
    changed: dict[str, Any] = {}
    for name in ("values", "next_return", "volatility", "label", "close"):
        array = getattr(panel, name).copy()
        array[:, stop:] = random.standard_normal(array[:, stop:].shape)
        changed[name] = array
    assert _same_weights(small_fit(panel).state, small_fit(_with(panel, **changed)).state)


def test_validation_bars_stop_the_training_but_do_not_train(panel: Panel) -> None:
    values = panel.values.copy()
    values[:, 82:106] += 1.0
    one, other = (small_fit(p, epochs=1) for p in (panel, _with(panel, values=values)))
    assert _same_weights(one.state, other.state)
    assert one.history[0]["validation_loss"] != other.history[0]["validation_loss"]


def test_the_scaler_knows_observed_training_bars_only(panel: Panel) -> None:
    values = panel.values.copy()
    values[:, 80:] = 1e3
    values[~panel.observed] = 1e3
    train = panel.between(0, 80)
    expected = Scaler.fit(train.values[train.observed], panel.features)
    assert small_fit(_with(panel, values=values), epochs=1).scaler == expected


@pytest.mark.parametrize("value", [4.0, np.nan])
def test_a_feature_that_does_not_move_in_train_fails_no_fold_and_carries_nothing_in_it(
    panel: Panel, value: float
) -> None:
    values = panel.values.copy()
    values[:, :80, 1] = value
    fitted = small_fit(_with(panel, values=values), epochs=1)
    assert fitted.scaler.flat == ("f1",)
    other = values.copy()
    other[:, 80:, 1] *= -3.0
    again = small_fit(_with(panel, values=other), epochs=1)
    assert fitted.history == again.history
    assert fitted.missing == again.missing
    counts = (
        np.isnan(values[:, :80, 1]) & panel.observed[:, :80],
        np.isnan(values[:, 82:106, 1]) & panel.observed[:, 82:106],
    )
    assert fitted.missing.get("f1", 0) == sum(int(count.sum()) for count in counts)
    test = small_fold().test
    one, two = (predict(fitted, _with(panel, values=array), test) for array in (values, other))
    np.testing.assert_array_equal(one.raw_position, two.raw_position)


def test_the_best_epoch_is_kept_and_patience_ends_the_training(panel: Panel) -> None:
    training = TRAINING.model_copy(update={"patience": 2, "learning_rate": 0.05})
    fitted = small_fit(panel, training=training, epochs=40)
    losses = [row["validation_loss"] for row in fitted.history]
    assert len(losses) < 40
    assert fitted.best_epoch == int(np.argmin(losses))
    assert len(losses) == fitted.best_epoch + 3
    alone = small_fit(panel, training=training, epochs=fitted.best_epoch + 1)
    assert _same_weights(alone.state, fitted.state)


def test_the_kept_weights_have_the_validation_loss_of_the_history(panel: Panel) -> None:
    fitted = small_fit(panel, epochs=4)
    objective = Objective.of(TRAINING, POSITION, panel.symbols, BARS_PER_YEAR)
    tensors = panel_tensors(panel, fitted.scaler, start=0, stop=106, target_volatility=0.15)
    module = TftModule(
        fitted.build(), tensors, Span(82, 106), calendar=panel.calendar, training=TRAINING, objective=objective
    ).eval()
    with torch.no_grad():
        forecast, observed, outcomes = module.validation_forecast()
        loss = objective.loss(forecast, observed, outcomes, torch.ones(1, 24, dtype=torch.bool))
    assert loss.item() == fitted.history[fitted.best_epoch]["validation_loss"]


def test_the_built_network_is_ready_and_its_state_is_contiguous_on_the_cpu(panel: Panel) -> None:
    fitted = small_fit(panel)
    network = fitted.build()
    assert not network.training
    assert _same_weights(dict(network.state_dict()), fitted.state)
    assert all(value.is_contiguous() and value.device.type == "cpu" for value in fitted.state.values())
    assert fitted.n_parameters == sum(value.numel() for value in fitted.state.values())


def test_counts_say_what_was_learned_from(panel: Panel) -> None:
    fitted = small_fit(panel, epochs=1)
    assert fitted.n_train_labels == panel.scored[:, 5:80].sum()
    assert fitted.n_validation_labels == panel.scored[:, 82:106].sum()
    used = np.concatenate((panel.values[:, :80], panel.values[:, 82:106]), axis=1)
    seen = np.concatenate((panel.observed[:, :80], panel.observed[:, 82:106]), axis=1)
    counts = (np.isnan(used) & seen[..., None]).sum(axis=(0, 1))
    assert fitted.missing == {name: int(n) for name, n in zip(panel.features, counts, strict=True) if n}
    assert fitted.missing


def test_the_caller_hears_of_each_epoch_and_may_end_the_fit(panel: Panel) -> None:
    class EnoughError(Exception):
        pass

    rows: list[dict[str, Any]] = []

    def listen(row: dict[str, Any]) -> None:
        rows.append(row)
        if len(rows) == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        small_fit(panel, epochs=5, on_epoch=listen)
    assert [row["epoch"] for row in rows] == [0, 1]


def test_a_fit_leaves_the_process_as_it_was(panel: Panel) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), logging.getLogger("lightning.pytorch").level
    filling = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(False)
    small_fit(panel, epochs=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), logging.getLogger("lightning.pytorch").level) == before[1:]
    assert torch.utils.deterministic.fill_uninitialized_memory == filling
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "change",
    [
        {"lookback": 20},
        {"warmup_bars": 9},
        {"learning_rate": 1e-4},
        {"weight_decay": 0.5},
        {"batch_blocks": 2},
        {"gradient_clip": 1e-3},
        {"loss_mode": "sharpe"},
        {"loss_mode": "joint_quantile"},
        {"mle_weight": 0.9},
        {"accumulate_batches": 2},
    ],
)
def test_every_training_knob_changes_the_weights(panel: Panel, change: dict[str, Any]) -> None:
    weights = [
        small_fit(panel, epochs=1, training=TRAINING.model_copy(update=update)).state["lstm.weight_ih_l0"]
        for update in ({}, change)
    ]
    assert not torch.equal(*weights)


@pytest.mark.fault("bad_bars")
@pytest.mark.parametrize(("name", "span"), [("train", slice(0, 80)), ("validation", slice(82, 106))])
def test_a_part_without_scored_labels_is_refused(panel: Panel, name: str, span: slice) -> None:
    label = panel.label.copy()
    label[:, span] = np.nan
    with pytest.raises(ValueError, match=f"0 scored labels in {name}"):
        small_fit(_with(panel, label=label))


def test_labels_of_the_warmup_alone_are_not_enough(panel: Panel) -> None:
    label = panel.label.copy()
    label[:, 5:80] = np.nan
    with pytest.raises(ValueError, match="0 scored labels in train"):
        small_fit(_with(panel, label=label))


def test_a_stretch_without_labels_is_trained_around(panel: Panel) -> None:
    label = panel.label.copy()
    label[:, 20:60] = np.nan
    fitted = small_fit(_with(panel, label=label), training=TRAINING.model_copy(update={"batch_blocks": 1}))
    assert all(np.isfinite(row["train_loss"]) for row in fitted.history)


def test_a_training_span_shorter_than_a_window_is_refused(panel: Panel) -> None:
    fold = Fold(key="f", train=Span(60, 75), validation=Span(82, 106), test=Span(108, 138))
    with pytest.raises(ValueError, match="15 training bars < lookback 16"):
        small_fit(panel, fold=fold)


@pytest.mark.fault("bad_bars")
@pytest.mark.parametrize("bar", [40, 90])
def test_infinite_inputs_are_refused_by_name(panel: Panel, bar: int) -> None:
    values = panel.values.copy()
    values[2, bar, 1] = -np.inf
    with pytest.raises(ValueError, match=r"f1 \(1\)"):
        small_fit(_with(panel, values=values))


@pytest.mark.fault("nan_loss")
def test_a_diverging_loss_is_an_error(panel: Panel) -> None:
    label = panel.label.copy()
    label[2, 30:60] = 1e30
    with pytest.raises(FloatingPointError, match=r"training loss is .* at epoch 0, step \d+") as error:
        small_fit(_with(panel, label=label))
    named = [(int(a), int(b), begin) for a, b, begin in re.findall(r"bars (\d+)\.\.(\d+) \((\S+)", str(error.value))]
    assert named
    assert all(begin == panel.calendar[first].isoformat(timespec="minutes") for first, _, begin in named)
    assert any(first <= 59 and last >= 30 for first, last, _ in named)


@pytest.mark.fault("nan_loss")
def test_an_infinite_validation_loss_names_the_validation_bars(panel: Panel) -> None:
    label = panel.label.copy()
    label[2, 90] = 1e30
    with pytest.raises(
        FloatingPointError, match=r"validation loss is inf at epoch 0.* in bars 82\.\.105 \(2020-03-23T"
    ):
        small_fit(_with(panel, label=label))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_bf16_without_a_cuda_device_is_refused(panel: Panel) -> None:
    with pytest.raises(ValueError, match="needs a CUDA device"):
        small_fit(panel, training=TRAINING.model_copy(update={"precision": "bf16-mixed"}))


def test_a_planted_feature_is_found_and_earns_out_of_sample() -> None:
    """Feature 0 correlates 0.06 with the next return of ten symbols: a Sharpe ratio of 3 a year for who knows it."""
    planted = random_panel(n_symbols=10, n_bars=1500, n_features=11, seed=1, gaps=False, edge=0.06)
    known = _annual_sharpe(planted, np.clip(planted.values[..., 0] / 3, -1, 1), Span(1100, 1499))
    assert known > 2.0
    fold = Fold(key="f", train=Span(0, 900), validation=Span(905, 1095), test=Span(1100, 1499))
    fitted = fit_fold(
        planted,
        fold,
        network=NetworkSection(hidden=8, heads=2, variable_hidden=4, dropout=0.1),
        training=TrainingSection(lookback=32, warmup_bars=8, learning_rate=0.01, batch_blocks=4, patience=10),
        position=PositionSection(cost_bps=0.0),
        target_volatility=0.15,
        horizon=1,
        bars_per_year=BARS_PER_YEAR,
        epochs=12,
        seed=3,
    )
    predictions = predict(fitted, planted, fold.test)
    position = np.full(planted.observed.shape, np.nan)
    position[:, 1100:1499] = predictions.raw_position
    assert _annual_sharpe(planted, position, fold.test) > 1.0
    assert predictions.vsn_weights.argmax() == 0


def _annual_sharpe(panel: Panel, raw: np.ndarray, span: Span) -> float:
    held = hold_positions(raw, max_position=1.0, position_smooth=0.0)
    free = BookTerms(trading_bps=0.0)
    series = portfolio_returns(held, panel.volatility, panel.next_return, target_volatility=0.15, terms=free)
    net = series.between(*span).net
    return float(net.mean() / net.std(ddof=1) * np.sqrt(BARS_PER_YEAR))
