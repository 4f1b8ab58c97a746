"""Fit one fold: scale on its training bars, train with early stopping, keep the best epoch. Not here: which folds, storage."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils import deterministic

from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline.model.lightning import MONITOR, TftModule
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.network import Tft, count_parameters
from tft_pipeline.model.windows import BlockBatches, panel_tensors, refuse_infinite


@dataclass(frozen=True, kw_only=True)
class FittedFold:
    """One fold's trained network with everything a prediction needs.

    Attributes:
        target_volatility: annual, of a full position.
        scaler: fitted on the observed training bars; its names are the features, in order. Those it calls flat (constant
            or missing in train) were zero throughout: the network learned nothing of them.
        state: best epoch's weights, on the CPU, contiguous.
        history: one row an epoch: epoch, train_loss, validation_loss, validation_sharpe (per bar, net; None if undefined).
        missing: values set to the train mean, by feature, among observed train and validation bars; only those above zero.
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

    def build(self) -> Tft:
        """The network with these weights, in evaluation mode."""
        network = Tft(len(self.scaler.names), self.network, self.training.loss_mode)
        network.load_state_dict(self.state)
        return network.eval()


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
) -> FittedFold:
    """Train on `fold.train`, stop early on `fold.validation`; the same seed gives the same weights bit for bit on a CPU.

    Args:
        panel: all bars; nothing at or after `fold.validation.stop` is read.
        on_epoch: called with each row of the history; an exception it raises ends the fit.
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
    train = panel.between(fold.train.start, fold.train.stop)
    refuse_infinite(train)
    if not train.observed.any():
        raise ValueError(f"fold {fold.key}: not one bar of the {train.n_bars} training bars is observed")
    scaler = Scaler.fit(train.values[train.observed], panel.features)
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
    with single_thread(), _private_random_state(), quiet_lightning(), _deterministic_algorithms():
        torch.manual_seed(seed)
        tft = Tft(len(panel.features), network, training.loss_mode)
        module = TftModule(
            tft,
            tensors,
            fold.validation,
            training=training,
            objective=Objective.of(training, position, bars_per_year),
            on_epoch=on_epoch,
        )
        batches = BlockBatches(
            torch.from_numpy(train.scored.any(0)),
            lookback=training.lookback,
            warmup=training.warmup_bars,
            batch_blocks=training.batch_blocks,
            seed=seed,
        )
        _trainer(training, epochs=epochs, cuda=cuda).fit(module, batches, range(1))
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
        n_parameters=count_parameters(tft),
        n_train_labels=n_train_labels,
        n_validation_labels=n_validation_labels,
        missing={name: int(n) for name, n in zip(panel.features, tensors.missing, strict=True) if n},
        seed=seed,
    )


@contextmanager
def single_thread() -> Iterator[None]:
    """One torch thread: results do not depend on the machine's cores, and processes do not compete for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _private_random_state() -> Iterator[None]:
    """Torch's random numbers of the caller stay where they are."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@contextmanager
def _deterministic_algorithms() -> Iterator[None]:
    """Deterministic algorithms, without the NaN torch then writes into every new tensor: none is read unwritten."""
    switches: Any = deterministic  # properties that the module's stub does not list
    before = torch.are_deterministic_algorithms_enabled(), switches.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    switches.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        switches.fill_uninitialized_memory = before[1]


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning's information lines off, its warnings on."""
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 asks torch for a leaf in a way that torch 2.13 renames; it concerns neither of its users.
            warnings.filterwarnings("ignore", message=r".*LeafSpec", category=FutureWarning)
            yield
    finally:
        logger.setLevel(before)


def _trainer(training: TrainingSection, *, epochs: int, cuda: bool) -> Trainer:
    return Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=1,
        precision=training.precision,
        max_epochs=epochs,
        gradient_clip_val=training.gradient_clip,
        callbacks=[EarlyStopping(MONITOR, patience=training.patience, mode="min")],
        num_sanity_val_steps=0,
        deterministic=True,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
