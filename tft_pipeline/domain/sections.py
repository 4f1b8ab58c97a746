"""Sections of an experiment file that say what data, folds, network and book are: keys, limits, defaults.

Not here: the sections of single phases (`phases`), how sections fit together (`experiment`).

An asset receives only the sections it works from, so that a changed key marks exactly its readers out of date.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tft_pipeline.domain.folds import FoldPlan

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Costs = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class Section(BaseModel):
    """One block of the experiment file: immutable, unknown keys refused, types not coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def fingerprint(self) -> str:
        """First 12 hex digits of the SHA-256 of this section's canonical JSON."""
        return digest(self.model_dump(mode="json"))


class FeaturesSection(Section):
    """Which features are built."""

    groups: Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
        default=None, description="catalogue groups by prefix; all by default, none with []"
    )
    names: Names | None = Field(default=None, description="single catalogue features, added to the groups")
    user_columns: bool = Field(default=True, description="pass the source's own feature columns through")

    @model_validator(mode="after")
    def _something_is_built(self) -> Self:
        if self.groups == () and not self.names and not self.user_columns:
            raise ValueError("no groups, no names and no user_columns: there is no feature to learn from; name some")
        return self


class TargetSection(Section):
    """What is predicted and how risk is scaled."""

    horizon: PositiveInt = Field(default=1, description="bars a label looks ahead")
    volatility_span: Annotated[int, Field(ge=2)] = Field(default=60, description="span of the ex-ante EWM std, bars")
    target_volatility: PositiveFloat = Field(default=0.15, description="annual volatility a full position is scaled to")


class PeriodsSection(Section):
    """The split between the research period (phases 1-4) and the production period (phase 5)."""

    production_start: date = Field(description="first date scored as production")
    purge: PositiveInt = Field(default=5, description="bars between train, validation and test, and before production")
    overlap: Literal["forbidden", "allowed"] = Field(
        default="forbidden",
        description="allowed: features and hyper-parameters are chosen on production bars too, to see what that does; the "
        "result is contaminated and can never be GO",
    )


class FoldsSection(Section):
    """Lengths of a walk-forward in bars; the purge is `periods.purge`."""

    train: PositiveInt = Field(description="bars of training (the fewest, where the window expands)")
    validation: PositiveInt = Field(description="bars for early stopping, after the training bars of all symbols")
    test: PositiveInt = Field(description="bars scored out of sample")
    step: PositiveInt = Field(description="bars from one fold's test to the next")
    window: Literal["expanding", "sliding"] = Field(default="expanding", description="what happens to the train start")
    max_folds: PositiveInt | None = Field(default=None, description="keep only the latest so many folds")

    def plan(self, *, purge: int, horizon: int) -> FoldPlan:
        """The fold plan these lengths make with the experiment's purge and horizon."""
        return FoldPlan(
            train=self.train,
            validation=self.validation,
            test=self.test,
            step=self.step,
            window=self.window,
            purge=purge,
            horizon=horizon,
        )


class PrefilterSection(Section):
    """Phase 1: what makes a feature degenerate."""

    max_missing: Share = Field(default=0.5, description="largest share of missing values")
    max_correlation: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.97, description="|r| above which the later of two features is dropped"
    )


class NetworkSection(Section):
    """The network that is trained: its family, its size, its optional inputs."""

    family: Literal["tft", "lstm", "pytorch_forecasting"] = Field(
        default="tft",
        description="tft: decoder-only, a forecast at every bar; lstm: LSTM layers and a head; pytorch_forecasting: its "
        "TemporalFusionTransformer as a reference, many times slower. Exploration always reads a tft",
    )
    hidden: PositiveInt = Field(default=48, description="H, width of the network")
    heads: PositiveInt = Field(default=4, description="attention heads; must divide hidden; an lstm has none")
    lstm_layers: PositiveInt = Field(default=1, description="stacked LSTM layers; dropout stands between them")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.1, description="dropout rate")
    variable_hidden: PositiveInt = Field(default=8, description="width of a variable's own embedding; an lstm has none")
    static_symbol: bool = Field(default=False, description="give the symbol as a static input of the tft")
    n_context: Annotated[int, Field(ge=0, le=512)] = Field(
        default=0, description="past sequences the tft reads beside each window, of the 512 a fold keeps; 0: none"
    )
    context_bars: Annotated[int, Field(ge=2)] = Field(default=21, description="bars of a context sequence")
    context_choice: Literal["random", "time_equivalent", "change_point"] = Field(
        default="random", description="how context sequences are chosen among the resolved past"
    )

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"heads {self.heads} does not divide hidden {self.hidden}: choose a divisor of hidden")
        return self

    @model_validator(mode="after")
    def _only_a_tft_reads_more_than_its_bars(self) -> Self:
        for key, value in (("static_symbol", self.static_symbol), ("n_context", self.n_context)):
            if value and self.family != "tft":
                raise ValueError(
                    f"{key} is {value} and family is {self.family}, which has no such input: it would be left out unnoticed; "
                    f"drop {key} or set family to tft"
                )
        return self


class TrainingSection(Section):
    """How the network is fitted, the same in exploration, tuning and production."""

    lookback: Annotated[int, Field(ge=8)] = Field(default=63, description="bars in one window")
    warmup_bars: Annotated[int, Field(ge=0)] = Field(
        default=21, description="first bars of a window that are not scored"
    )
    learning_rate: PositiveFloat = Field(default=1e-3, description="of AdamW")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(default=1e-2, description="of AdamW")
    batch_blocks: PositiveInt = Field(default=8, description="date blocks a batch; each holds all symbols of its bars")
    gradient_clip: PositiveFloat = Field(default=0.5, description="largest gradient norm")
    accumulate_batches: PositiveInt = Field(
        default=1, description="batches a gradient step; the Sharpe ratio is that of all their bars together"
    )
    loss_mode: Literal["sharpe", "joint_mle", "joint_quantile", "bce"] = Field(
        default="joint_mle",
        description="sharpe: minus the net Sharpe ratio of the batch; joint_mle: with a Gaussian likelihood, joint_quantile: "
        "with a pinball loss beside it; bce: cross-entropy of an upward move",
    )
    mle_weight: Annotated[float, Field(ge=0.0)] = Field(
        default=0.2, description="weight of the likelihood in joint_mle, of the pinball loss in joint_quantile"
    )
    patience: PositiveInt = Field(default=5, description="epochs without a better validation loss before stopping")
    precision: Literal["32", "bf16-mixed"] = Field(default="32", description="bf16-mixed needs a CUDA device")

    @model_validator(mode="after")
    def _something_is_scored(self) -> Self:
        if self.warmup_bars >= self.lookback:
            raise ValueError(
                f"warmup_bars {self.warmup_bars} >= lookback {self.lookback}: no bar of a window is scored"
            )
        return self


class PositionSection(Section):
    """From the network's output to a held position and what holding and trading it costs; one set of rules in training,
    tuning, backtest and live."""

    max_position: Annotated[float, Field(gt=0.0, le=1.0)] = Field(default=1.0, description="largest |position|")
    position_smooth: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="weight of the last position"
    )
    max_weight: PositiveFloat = Field(
        default=10.0, description="largest |weight| of a symbol, as a multiple of the capital: a cap on leverage"
    )
    cost_bps: Costs = Field(default=5.0, description="fee for one unit of weight traded")
    symbol_cost_bps: dict[str, Costs] = Field(default={}, description="fee of single symbols, instead of cost_bps")
    slippage_bps: Costs = Field(default=0.0, description="lost beside the fee for one unit of weight traded")
    borrow_bps: Costs = Field(default=0.0, description="a year, paid on short weight")
    funding_bps: Annotated[float, Field(allow_inf_nan=False)] = Field(
        default=0.0, description="a year, paid on long weight and received on short weight: perpetual futures"
    )

    def trading_bps(self, symbols: Sequence[str]) -> np.ndarray:
        """(S,) fee and slippage of each symbol, basis points of the weight traded.

        `symbol_cost_bps` may name symbols that are not among these: panels hold other symbols at other times.
        """
        return np.array([self.symbol_cost_bps.get(name, self.cost_bps) + self.slippage_bps for name in symbols])


TUNABLE: dict[str, type[Section]] = {
    "network": NetworkSection,
    "training": TrainingSection,
    "position": PositionSection,
}
"""Sections whose keys the tuning space may search, by name."""
FIXED = frozenset(
    {
        "position.max_weight",
        "position.cost_bps",
        "position.symbol_cost_bps",
        "position.slippage_bps",
        "position.borrow_bps",
        "position.funding_bps",
        "training.precision",
        "network.family",
    }
)
"""Keys of those sections that describe the world, the machine or the experiment itself: a search would choose the cheapest
costs."""


def tunable_keys() -> tuple[str, ...]:
    """Dotted keys the tuning space may search."""
    keys = (f"{section}.{name}" for section, model in TUNABLE.items() for name in model.model_fields)
    return tuple(sorted(key for key in keys if key not in FIXED))


def idle_keys(network: NetworkSection, training: TrainingSection, *, searched: frozenset[str]) -> dict[str, str]:
    """Keys that change nothing as the sections stand, each with the reason.

    Args:
        searched: dotted keys that the tuning space varies.
    """
    idle: dict[str, str] = {}
    if network.family == "lstm":
        idle |= dict.fromkeys(("network.heads", "network.variable_hidden"), "network.family is lstm, which has none")
        if network.lstm_layers == 1 and "network.lstm_layers" not in searched:
            idle["network.dropout"] = "a single LSTM layer has none"
    if training.loss_mode in ("sharpe", "bce") and "training.loss_mode" not in searched:
        idle["training.mle_weight"] = f"training.loss_mode is {training.loss_mode}"
    if not network.n_context and "network.n_context" not in searched:
        idle |= dict.fromkeys(("network.context_bars", "network.context_choice"), "network.n_context is 0")
    return idle


def digest(value: object) -> str:
    """First 12 hex digits of the SHA-256 of canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
