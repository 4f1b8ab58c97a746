"""One fold's training as a Lightning module: steps, validation, best weights. Not here: the trainer and its settings.

Axes: S symbols, B blocks, T bars of a block, N validation bars, V variables.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.sections import TrainingSection
from tft_pipeline.model.accumulation import pooled_forecast
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.checkpoint import TrainingState, optimiser_tensors, random_states, restore_optimiser
from tft_pipeline.model.context import WindowContext
from tft_pipeline.model.families import Network
from tft_pipeline.model.heads import Forecast
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.windows import Outcomes, PanelTensors, block_bars, covering_starts

MONITOR = "validation_loss"
HIDDEN_SYMBOL_SHARE = 0.05
"""Of the training windows: their symbol is given as level 0, so that a symbol never seen in training has a trained level."""


class TftModule(LightningModule):
    """Trains on the block starts of a step, validates on all validation bars at once, keeps the best weights in memory.

    Args:
        tensors: bars train.start .. validation.stop-1.
        validation: panel bars that are validated on.
        calendar: timestamps of all panel bars, to name a batch by.
        levels: (S,) long, symbols' levels of the static input; None where the network has none.
        context: what windows read beside their own bars; None where the network reads nothing.
        on_epoch: called with each row of `history` as it appears.
    """

    def __init__(
        self,
        network: Network,
        tensors: PanelTensors,
        validation: Span,
        *,
        calendar: Sequence[datetime],
        training: TrainingSection,
        objective: Objective,
        levels: Tensor | None = None,
        context: WindowContext | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.tensors, self.validation = network, tensors, validation
        self.calendar, self.levels, self.context = calendar, levels, context
        self.training_section, self.objective, self.on_epoch = training, objective, on_epoch
        self.history: list[dict[str, Any]] = []
        self.best_loss, self.best_epoch = float("inf"), -1
        self.best_state: dict[str, Tensor] = {}
        self._resumed: TrainingState | None = None
        self._start_epoch()

    @property
    def epoch(self) -> int:
        """The current epoch, counted over all processes that trained this fold."""
        return self.current_epoch + (0 if self._resumed is None else self._resumed.epochs)

    def resume(self, state: TrainingState) -> None:
        """Go on behind the state's last epoch; to be called before the fit, which restores the rest."""
        self.network.load_state_dict(state.network)
        self.history, self.best_state = list(state.history), state.best
        self.best_loss, self.best_epoch = state.best_loss, state.best_epoch
        self._resumed = state

    def training_state(self, batches: torch.Generator) -> TrainingState:
        """Where training stands; only between two epochs."""
        optimiser = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimiser, Optimizer)
        return TrainingState(
            network=dict(self.network.state_dict()),
            optimiser=optimiser_tensors(optimiser),
            best=self.best_state,
            random=random_states(batches),
            history=self.history,
            best_epoch=self.best_epoch,
        )

    def configure_optimizers(self) -> Optimizer:
        """AdamW in its fused form."""
        section = self.training_section
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=section.learning_rate, weight_decay=section.weight_decay, fused=True
        )
        if self._resumed is not None:
            restore_optimiser(optimiser, self._resumed.optimiser)
        return optimiser

    def on_fit_start(self) -> None:
        """Bring the fold's tensors to the network's device, once."""
        self.tensors = self.tensors.to(self.device)
        self.levels = None if self.levels is None else self.levels.to(self.device)
        self.context = None if self.context is None else self.context.to(self.device)

    def on_train_start(self) -> None:
        """Draw on from where a killed process stopped; the batches' generator is the loader's."""
        if self._resumed is not None:
            states = self._resumed.random
            torch.set_rng_state(states["torch"])
            torch.cuda.set_rng_state_all([states[f"cuda{device}"] for device in range(torch.cuda.device_count())])

    def on_train_epoch_start(self) -> None:
        """Start the epoch's means."""
        self._start_epoch()

    def training_step(self, batches: list[Tensor]) -> Tensor:
        """Block starts (B,) of each batch of the step -> loss of all their blocks together."""
        self._starts = starts = torch.cat(batches)
        bars = block_bars(starts, self.training_section.lookback)  # (B, T)
        counted = (torch.arange(bars.shape[1], device=bars.device) >= self.training_section.warmup_bars).expand_as(bars)
        forecast = self._forecast(starts) if len(batches) == 1 else pooled_forecast(self._forecast, batches)
        loss = self.objective.loss(forecast, self.tensors.observed[:, bars], self.tensors.outcomes.at(bars), counted)
        value = self._finite(loss, "training loss", self._named_batch)
        self._loss_sum += value * len(starts)
        self._n_blocks += len(starts)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients together, and keep what it was."""
        assert gradient_clip_val is not None
        assert gradient_clip_algorithm in (None, "norm")
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val, foreach=True)
        self._norm_sum += self._finite(norm, "gradient norm", self._named_batch)
        self._learning_rate = float(optimizer.param_groups[0]["lr"])
        self._step += 1

    def validation_step(self, batch: int) -> None:
        """The one validation batch: all validation bars."""
        forecast, observed, outcomes = self.validation_forecast()
        loss = self.objective.loss(forecast, observed, outcomes, torch.ones_like(observed[0]))
        returns = self.objective.net_returns(forecast, observed, outcomes)
        value = self._finite(loss, "validation loss", lambda: self._dated(self.validation))
        self._close_epoch(value, returns[outcomes.present.any(0)], _accuracy(forecast, outcomes))
        self.log(MONITOR, loss, batch_size=1)

    def validation_forecast(self) -> tuple[Forecast, Tensor, Outcomes]:
        """Forecast, observed and outcomes (S, 1, N) of the validation bars: blocks put together in time as one block."""
        starts, picked = self.validation_blocks()  # (B,), (B, T)
        forecast = self._forecast(starts)
        joined = forecast.each(lambda part: part[:, picked].unsqueeze(1))  # (S, 1, N)
        every = block_bars(starts, self.training_section.lookback)[picked].unsqueeze(0)  # (1, N)
        return joined, self.tensors.observed[:, every], self.tensors.outcomes.at(every)

    def validation_blocks(self) -> tuple[Tensor, Tensor]:
        """Starts (B,) of the blocks that cover the validation span, and which of their bars (B, T) count."""
        section, index = self.training_section, self.tensors.index
        starts, picked = covering_starts(
            index(self.validation.start),
            index(self.validation.stop),
            lookback=section.lookback,
            warmup=section.warmup_bars,
        )
        return starts.to(self.device), picked.to(self.device)

    def windows_of(self, bars: Tensor) -> WindowBatch:
        """bars (B, T) -> windows (S*B, T), symbol by symbol; all that a network is given is put together here."""
        values, observed = self.tensors.values[:, bars], self.tensors.observed[:, bars]  # (S, B, T, V), (S, B, T)
        context = None
        if self.context is not None:
            first_scored = bars[:, self.training_section.warmup_bars].cpu().numpy() + self.tensors.first_bar
            context = self.context.of(first_scored)
        return WindowBatch(
            values=values.flatten(0, 1),
            observed=observed.flatten(0, 1),
            symbol=self._symbols(len(bars)),
            context=context,
        )

    def _symbols(self, n_blocks: int) -> Tensor | None:
        """Levels (S*B,); in training some are hidden, drawn from torch's global random state."""
        if self.levels is None:
            return None
        levels = self.levels.repeat_interleave(n_blocks)
        if not self.training:
            return levels
        return levels.masked_fill(torch.rand(len(levels), device=levels.device) < HIDDEN_SYMBOL_SHARE, 0)

    def _forecast(self, starts: Tensor) -> Forecast:
        """starts (B,) -> Forecast of (S, B, T)."""
        windows = self.windows_of(block_bars(starts, self.training_section.lookback))
        shape = (len(self.tensors.values), len(starts))
        return self.network.forecast(windows).each(lambda part: part.unflatten(0, shape))

    def _start_epoch(self) -> None:
        self._loss_sum, self._norm_sum, self._n_blocks, self._step, self._learning_rate = 0.0, 0.0, 0, 0, 0.0

    def _close_epoch(self, loss: float, returns: Tensor, accuracy: float | None) -> None:
        spread = returns.std().item() if len(returns) > 1 else 0.0
        row = {
            "epoch": self.epoch,
            "train_loss": self._loss_sum / self._n_blocks,
            "validation_loss": loss,
            "validation_sharpe": returns.mean().item() / spread if spread > 0 else None,
            "validation_accuracy": accuracy,
            "learning_rate": self._learning_rate,
            "gradient_norm": self._norm_sum / self._step,
        }
        self.history.append(row)
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.epoch
            self.best_state = {
                name: value.detach().to("cpu", copy=True).contiguous()
                for name, value in self.network.state_dict().items()
            }
        if self.on_epoch is not None:
            self.on_epoch(row)

    def _finite(self, number: Tensor, name: str, where: Callable[[], str]) -> float:
        value = number.item()
        if value - value != 0.0:
            raise FloatingPointError(
                f"{name} is {value} at epoch {self.epoch}, step {self._step}, in {where()}: every weight would become NaN and "
                "the fold is worthless; lower training.learning_rate or training.gradient_clip, or look for extreme features "
                "or labels in these bars"
            )
        return value

    def _named_batch(self) -> str:
        """The blocks of the step at hand, by panel bars and timestamps."""
        first = [start + self.tensors.first_bar for start in sorted(self._starts.tolist())]
        return "; ".join(self._dated(Span(bar, bar + self.training_section.lookback)) for bar in first)

    def _dated(self, bars: Span) -> str:
        begin, end = (self.calendar[bar].isoformat(timespec="minutes") for bar in (bars.start, bars.stop - 1))
        return f"bars {bars.start}..{bars.stop - 1} ({begin} .. {end})"


def _accuracy(forecast: Forecast, outcomes: Outcomes) -> float | None:
    """Share of the labels present whose side of zero the probability, at least one half or not, names; None without one."""
    probability = forecast.probability()
    if probability is None:
        return None
    right = (probability >= 0.5) == (outcomes.label > 0)
    return right[outcomes.present].double().mean().item()
