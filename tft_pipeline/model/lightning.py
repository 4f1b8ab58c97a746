"""One fold's training as a Lightning module: steps, validation, best weights. Not here: the trainer and its settings."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.sections import TrainingSection
from tft_pipeline.model.heads import Forecast
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.network import Tft
from tft_pipeline.model.windows import Outcomes, PanelTensors, block_bars, covering_starts

MONITOR = "validation_loss"


class TftModule(LightningModule):
    """Trains on batches of block starts, validates on all validation bars at once, keeps the best weights in memory.

    Args:
        tensors: bars train.start .. validation.stop-1.
        validation: panel bars that are validated on.
        on_epoch: called with each row of `history` as it appears.
    """

    def __init__(
        self,
        network: Tft,
        tensors: PanelTensors,
        validation: Span,
        *,
        training: TrainingSection,
        objective: Objective,
        on_epoch: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        super().__init__()
        self.network, self.tensors, self.validation = network, tensors, validation
        self.training_section, self.objective, self.on_epoch = training, objective, on_epoch
        self.history: list[dict[str, Any]] = []
        self.best_loss, self.best_epoch = float("inf"), -1
        self.best_state: dict[str, Tensor] = {}
        self._loss_sum, self._n_blocks, self._step = 0.0, 0, 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW in its fused form."""
        section = self.training_section
        return torch.optim.AdamW(
            self.network.parameters(), lr=section.learning_rate, weight_decay=section.weight_decay, fused=True
        )

    def on_fit_start(self) -> None:
        """Bring the fold's tensors to the network's device, once."""
        self.tensors = self.tensors.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's mean loss."""
        self._loss_sum, self._n_blocks, self._step = 0.0, 0, 0

    def training_step(self, starts: Tensor) -> Tensor:
        """starts (B,) -> loss of these blocks."""
        bars = block_bars(starts, self.training_section.lookback)  # (B, T)
        outcomes = self.tensors.outcomes.at(bars)  # (S, B, T)
        counted = (torch.arange(bars.shape[1], device=bars.device) >= self.training_section.warmup_bars).expand_as(bars)
        forecast, observed = self._forecast(bars)
        loss = self.objective.loss(forecast, observed, outcomes, counted)
        value = self._finite(loss, "training")
        self._loss_sum += value * len(starts)
        self._n_blocks += len(starts)
        self._step += 1
        return loss

    def validation_step(self, batch: int) -> None:
        """The one validation batch: all validation bars."""
        forecast, observed, outcomes = self.validation_forecast()
        loss = self.objective.loss(forecast, observed, outcomes, torch.ones_like(observed[0]))
        returns = self.objective.net_returns(forecast, observed, outcomes)
        self._close_epoch(self._finite(loss, "validation"), returns[outcomes.present.any(0)])
        self.log(MONITOR, loss, batch_size=1)

    def validation_forecast(self) -> tuple[Forecast, Tensor, Outcomes]:
        """Forecast, observed and outcomes (S, 1, N) of the validation bars: blocks put together in time as one block."""
        bars, picked = self.validation_blocks()  # (B, T), (B, T)
        forecast, _ = self._forecast(bars)
        joined = forecast.each(lambda part: part[:, picked].unsqueeze(1))  # (S, 1, N)
        every = bars[picked].unsqueeze(0)  # (1, N)
        return joined, self.tensors.observed[:, every], self.tensors.outcomes.at(every)

    def validation_blocks(self) -> tuple[Tensor, Tensor]:
        """Bars (B, T) of the blocks that cover the validation span, and which of them count."""
        section, index = self.training_section, self.tensors.index
        starts, picked = covering_starts(
            index(self.validation.start),
            index(self.validation.stop),
            lookback=section.lookback,
            warmup=section.warmup_bars,
        )
        return block_bars(starts, section.lookback).to(self.device), picked.to(self.device)

    def _forecast(self, bars: Tensor) -> tuple[Forecast, Tensor]:
        """bars (B, T) -> forecast (S, B, T) and observed (S, B, T)."""
        values, observed = self.tensors.values[:, bars], self.tensors.observed[:, bars]  # (S, B, T, V), (S, B, T)
        S, B, T, V = values.shape
        flat = self.network(values.view(S * B, T, V), observed.view(S * B, T))
        return flat.each(lambda part: part.view(S, B, T)), observed

    def _close_epoch(self, loss: float, returns: Tensor) -> None:
        spread = returns.std().item() if len(returns) > 1 else 0.0
        row = {
            "epoch": self.current_epoch,
            "train_loss": self._loss_sum / self._n_blocks,
            "validation_loss": loss,
            "validation_sharpe": returns.mean().item() / spread if spread > 0 else None,
        }
        self.history.append(row)
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.current_epoch
            self.best_state = {
                name: value.detach().to("cpu", copy=True).contiguous()
                for name, value in self.network.state_dict().items()
            }
        if self.on_epoch is not None:
            self.on_epoch(row)

    def _finite(self, loss: Tensor, which: str) -> float:
        value = loss.item()
        if value - value != 0.0:
            raise FloatingPointError(
                f"{which} loss is {value} at epoch {self.current_epoch}, step {self._step}: every weight would become NaN and "
                "the fold is worthless; lower training.learning_rate or training.gradient_clip, or look for extreme features"
            )
        return value
