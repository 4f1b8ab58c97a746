"""Fit one fold: scale on its training bars, train with early stopping, keep the best epoch. Not here: which folds, storage."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline.model.accumulation import StepBatches
from tft_pipeline.model.checkpoint import inputs_sha256, read_state, write_state
from tft_pipeline.model.context import ContextPool, WindowContext
from tft_pipeline.model.context_pool import context_pool
from tft_pipeline.model.families import Network, build_network
from tft_pipeline.model.isolation import deterministic_algorithms, private_random_state, quiet_lightning, single_thread
from tft_pipeline.model.lightning import MONITOR, TftModule
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.network import count_parameters
from tft_pipeline.model.progress import EpochProgress
from tft_pipeline.model.windows import BlockBatches, panel_tensors, refuse_infinite

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FittedFold:
    """One fold's trained network with everything a prediction needs.

    Attributes:
        target_volatility: annual, of a full position.
        scaler: fitted on the observed training bars; its names are the features, in order. Those it calls flat (constant
            or missing in train) were zero throughout: the network learned nothing of them.
        state: best epoch's weights, on the CPU, contiguous.
        history: one row an epoch: epoch, train_loss, validation_loss, validation_sharpe (per bar, net; None if undefined),
            learning_rate, gradient_norm (mean over steps, before clipping).
        missing: values set to the train mean, by feature, among observed train and validation bars; only those above zero.
        symbols: those that have a level of their own, in its order, from 1; empty without a static input. Level 0 is for all
            others: it is trained on windows whose symbol was hidden.
        context: sequences of the training bars that windows learn from; None unless `network.n_context`.
    """

    network: NetworkSection
    training: TrainingSection
    position: PositionSection
    target_volatility: float
    horizon: int
    bars_per_year: float
    scaler: Scaler
    state: dict[str, Tensor]
    history: tuple[dict[str, Any], ...]
    best_epoch: int
    n_parameters: int
    n_train_labels: int
    n_validation_labels: int
    missing: dict[str, int]
    seed: int
    symbols: tuple[str, ...] = ()
    context: ContextPool | None = None

    def build(self) -> Network:
        """The network with these weights, in evaluation mode."""
        network = build_network(
            len(self.scaler.names),
            self.network,
            self.training.loss_mode,
            n_symbols=len(self.symbols),
            lookback=self.training.lookback,
        )
        network.load_state_dict(self.state)
        return network.eval()


def symbol_levels(symbols: tuple[str, ...], known: tuple[str, ...]) -> Tensor:
    """(S,) long: place among the known ones + 1, 0 for any other."""
    place = {name: level for level, name in enumerate(known, start=1)}
    return torch.tensor([place.get(name, 0) for name in symbols])


def fit_fold(
    panel: Panel,
    fold: Fold,
    *,
    network: NetworkSection,
    training: TrainingSection,
    position: PositionSection,
    target_volatility: float,
    horizon: int,
    bars_per_year: float,
    epochs: int,
    seed: int,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    checkpoint: Path | None = None,
    on_unwritten: Callable[[str], None] | None = None,
    progress: bool = False,
) -> FittedFold:
    """Train on `fold.train`, stop early on `fold.validation`; the same seed gives the same weights bit for bit on a CPU.

    Args:
        panel: all bars; nothing at or after `fold.validation.stop` is read.
        on_epoch: called with each row of the history, those of a killed fit that is gone on with first; an exception it
            raises ends the fit.
        checkpoint: file that holds the training state after every epoch, for a later call with the same inputs to go on from
            to the same bits, also when the fit is done: whoever has stored what came of it removes the file. One of other
            inputs, or a damaged one, is overwritten. Where it cannot be written training goes on, says so, and tries again
            after the next epoch.
        on_unwritten: called with one sentence each time that happens.
        progress: show epochs, losses and the time left on the error stream.
    Raises:
        ValueError: no label is scored in train or validation, no window fits, an infinite feature value, or bf16-mixed
            without a CUDA device.
        FloatingPointError: the loss became NaN or infinite.
    """
    cuda = torch.cuda.is_available()
    if training.precision != "32" and not cuda:
        raise ValueError(
            f"training.precision {training.precision!r} needs a CUDA device and none is there: on a CPU it is several times "
            "slower than 32; set training.precision to '32'"
        )
    panel = panel.between(0, fold.validation.stop).listed()  # who is listed later must not shape a batch
    train = panel.between(fold.train.start, fold.train.stop)
    refuse_infinite(train)
    if not train.observed.any():
        raise ValueError(f"fold {fold.key}: not one bar of the {train.n_bars} training bars is observed")
    scaler = Scaler.fit(train.values, panel.features, observed=train.observed)
    tensors = panel_tensors(
        panel, scaler, start=fold.train.start, stop=fold.validation.stop, target_volatility=target_volatility
    )
    n_train_labels = int(train.scored[:, training.warmup_bars :].sum())
    n_validation_labels = int(panel.between(*fold.validation).scored.sum())
    for name, n_labels in (("train", n_train_labels), ("validation", n_validation_labels)):
        if n_labels == 0:
            raise ValueError(
                f"fold {fold.key}: 0 scored labels in {name}: there is nothing to learn from or to stop on; a label needs an "
                f"observed bar, a volatility and {horizon} following bar(s); lengthen {name} or drop late symbols"
            )
    symbols = _trained_symbols(train) if network.static_symbol else ()
    levels = symbol_levels(panel.symbols, symbols)
    pool = None
    if network.n_context:
        pool = context_pool(
            tensors,
            fold.train,
            symbols=panel.symbols,
            levels=levels,
            calendar=panel.calendar,
            horizon=horizon,
            n_context=network.n_context,
            context_bars=network.context_bars,
            choice=network.context_choice,
            seed=seed,
        )
    with single_thread(), private_random_state(), quiet_lightning(), deterministic_algorithms(), ExitStack() as stack:
        torch.manual_seed(seed)
        net = build_network(
            len(panel.features), network, training.loss_mode, n_symbols=len(symbols), lookback=training.lookback
        )
        module = TftModule(
            net,
            tensors,
            fold.validation,
            calendar=panel.calendar,
            training=training,
            objective=Objective.of(training, position, panel.symbols, bars_per_year),
            levels=levels if network.static_symbol else None,
            context=None if pool is None else WindowContext(pool, panel.symbols, panel.calendar, network.n_context),
            on_epoch=on_epoch,
        )
        batches = BlockBatches(
            torch.from_numpy(train.scored.any(0)),
            lookback=training.lookback,
            warmup=training.warmup_bars,
            batch_blocks=training.batch_blocks,
            seed=seed,
        )
        stopping = EarlyStopping(MONITOR, patience=training.patience, mode="min")
        callbacks: list[Callback] = [stopping]
        if checkpoint is not None:
            settings = {
                "sections": [section.model_dump(mode="json") for section in (network, training, position)],
                "fold": [fold.key, *fold.train, *fold.validation],
                "scaler": scaler.to_dict(),
                "symbols": panel.symbols,
                "calendar": [moment.isoformat() for moment in panel.calendar[fold.train.start :]],
                "numbers": [target_volatility, horizon, bars_per_year, epochs, seed],
            }
            inputs = inputs_sha256(settings, tensors, dict(net.state_dict()))
            _go_on(module, stopping, batches, checkpoint, inputs)
            callbacks.append(_StateAfterEpoch(checkpoint, inputs, batches.generator, on_unwritten))
        done = len(module.history)
        if progress:
            callbacks.append(stack.enter_context(EpochProgress(fold.key, epochs=epochs, history=module.history)))
        if done < epochs and stopping.wait_count < training.patience:
            trainer = _trainer(training, epochs=epochs - done, cuda=cuda, callbacks=callbacks)
            trainer.fit(module, StepBatches(batches, training.accumulate_batches), range(1))
    return FittedFold(
        network=network,
        training=training,
        position=position,
        target_volatility=target_volatility,
        horizon=horizon,
        bars_per_year=bars_per_year,
        scaler=scaler,
        state=module.best_state,
        history=tuple(module.history),
        best_epoch=module.best_epoch,
        n_parameters=count_parameters(net),
        n_train_labels=n_train_labels,
        n_validation_labels=n_validation_labels,
        missing={name: int(n) for name, n in zip(panel.features, tensors.missing, strict=True) if n},
        seed=seed,
        symbols=symbols,
        context=pool,
    )


def _trained_symbols(train: Panel) -> tuple[str, ...]:
    """Symbols with a scored training label: the level of another would stay as it was drawn, and betray a later listing."""
    return tuple(train.symbols[s] for s in np.flatnonzero(train.scored.any(axis=1)))


def _go_on(module: TftModule, stopping: EarlyStopping, batches: BlockBatches, checkpoint: Path, inputs: str) -> None:
    """Bring everything to where a killed fit of the same inputs stood, if there was one."""
    state = read_state(checkpoint, inputs)
    if state is None:
        return
    log.info("%s: training goes on after epoch %d", checkpoint, state.epochs - 1)
    for row in state.history:
        if module.on_epoch is not None:
            module.on_epoch(row)
    module.resume(state)
    batches.generator.set_state(state.random["batches"])
    stopping.wait_count, stopping.best_score = state.epochs_without_gain, torch.tensor(state.best_loss)


class _StateAfterEpoch(Callback):
    """Writes the training state when an epoch is finished and judged."""

    def __init__(
        self, path: Path, inputs: str, batches: torch.Generator, on_unwritten: Callable[[str], None] | None
    ) -> None:
        self.path, self.inputs, self.batches, self.on_unwritten = path, inputs, batches, on_unwritten

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before this process is asked for another epoch's batches or random numbers.

        The state is worth the time of one fit; a fit that it ended would be worth less. The next epoch tries again.
        """
        assert isinstance(pl_module, TftModule)
        try:
            write_state(self.path, pl_module.training_state(self.batches), self.inputs)
        except OSError as error:
            epoch = pl_module.history[-1]["epoch"]
            _tell(
                f"the training state after epoch {epoch} could not be written: {error.strerror}",
                self.path,
                self.on_unwritten,
            )


def _tell(sentence: str, path: Path, on_unwritten: Callable[[str], None] | None) -> None:
    log.warning("%s: %s", path, sentence)
    if on_unwritten is not None:
        on_unwritten(sentence)


def _trainer(training: TrainingSection, *, epochs: int, cuda: bool, callbacks: list[Callback]) -> Trainer:
    return Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=1,
        precision=training.precision,
        max_epochs=epochs,
        gradient_clip_val=training.gradient_clip,
        callbacks=callbacks,
        num_sanity_val_steps=0,
        deterministic=True,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
