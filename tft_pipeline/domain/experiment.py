"""The whole configuration of one experiment: frozen, typed, validated, each section fingerprinted.

Here: the sections, their limits and what they mean. Not here: reading YAML (`storage.experiments`) and any use of a
value. An asset receives only the sections it works from, so that a changed key marks exactly its readers out of date.
"""

import hashlib
import json
import re
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from tft_pipeline.domain.folds import FoldPlan
from tft_pipeline.domain.search import Knob

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class ConfigurationError(ValueError):
    """An experiment file that cannot be run; the message names each key, its value and its limit."""


class Section(BaseModel):
    """One block of the experiment file: immutable, unknown keys refused, types not coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def fingerprint(self) -> str:
        """First 12 hex digits of the SHA-256 of this section's canonical JSON."""
        return _digest(self.model_dump(mode="json"))


class DataSection(Section):
    """Where the bars come from and what one bar is."""

    source: str = Field(description="Parquet or CSV file or a folder of them; relative to the experiment file")
    interval: Literal["1m", "5m", "15m", "1h", "1d"] = Field(description="length of one bar")
    bars_per_year: PositiveFloat = Field(description="bars a year, for annualising: 252 for US daily bars")
    market_symbol: str | None = Field(default=None, description="index used as context; never traded")
    symbols: Names | None = Field(default=None, description="restrict to these symbols; all by default")
    timezone: str | None = Field(
        default=None, description="time zone of naive timestamps; none are accepted without it"
    )
    start: date | None = Field(default=None, description="first date used")
    end: date | None = Field(default=None, description="last date used")
    min_bars: PositiveInt = Field(default=300, description="fewest bars a symbol must bring")


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
    """The decoder-only Temporal Fusion Transformer."""

    hidden: PositiveInt = Field(default=48, description="H, width of the network")
    heads: PositiveInt = Field(default=4, description="attention heads; must divide hidden")
    lstm_layers: PositiveInt = Field(default=1, description="stacked LSTM layers")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.1, description="dropout rate")
    variable_hidden: PositiveInt = Field(default=8, description="width of one variable's own embedding")

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"heads {self.heads} does not divide hidden {self.hidden}: choose a divisor of hidden")
        return self


class TrainingSection(Section):
    """How the network is fitted, the same in exploration, tuning and production."""

    lookback: Annotated[int, Field(ge=8)] = Field(default=63, description="bars in one window")
    warmup_bars: Annotated[int, Field(ge=0)] = Field(
        default=21, description="first bars of a window that are not scored"
    )
    learning_rate: PositiveFloat = Field(default=1e-3)
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(default=1e-2)
    batch_blocks: PositiveInt = Field(default=8, description="date blocks a batch; each holds all symbols of its bars")
    gradient_clip: PositiveFloat = Field(default=0.5, description="largest gradient norm")
    loss_mode: Literal["sharpe", "joint_mle", "bce"] = Field(default="joint_mle")
    mle_weight: Annotated[float, Field(ge=0.0)] = Field(
        default=0.2, description="weight of the likelihood in joint_mle"
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
    """From the network's output to a held position; one function in training, tuning, backtest and live."""

    max_position: Annotated[float, Field(gt=0.0, le=1.0)] = Field(default=1.0, description="largest |position|")
    position_smooth: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="weight of the last position"
    )
    cost_bps: Annotated[float, Field(ge=0.0)] = Field(default=5.0, description="cost of one unit of weight traded")


TUNABLE: dict[str, type[Section]] = {
    "network": NetworkSection,
    "training": TrainingSection,
    "position": PositionSection,
}
"""Sections whose keys the tuning space may search, by name."""


class ExplorationSection(Section):
    """Phase 2: short fits on all features, to read Variable Selection Network weights."""

    folds: FoldsSection
    epochs: PositiveInt
    seeds: Annotated[int, Field(ge=3)] = Field(default=3, description="fits a fold; weights are their mean")
    shadow_features: Annotated[int, Field(ge=2)] = Field(default=6, description="time-permuted copies trained along")


class PruningSection(Section):
    """Phase 3: which features stay."""

    threshold: Literal["shadow"] | PositiveFloat = Field(default="shadow", description="weight a fold must exceed")
    shadow_quantile: Share = Field(default=0.95, description="quantile of the shadow weights that is the threshold")
    min_stability: Share = Field(default=0.25, description="share of folds in which a feature must pass")
    max_features: PositiveInt = Field(default=73)
    min_features: PositiveInt = Field(default=5, description="filled up by weight when fewer pass")

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> Self:
        if self.min_features > self.max_features:
            raise ValueError(f"min_features {self.min_features} > max_features {self.max_features}")
        return self


class TuningSection(Section):
    """Phase 4: Optuna over mini walk-forward folds inside the research period."""

    folds: FoldsSection
    epochs: PositiveInt
    n_trials: PositiveInt
    parallel_trials: PositiveInt = Field(
        default=2, description="trials asked for together; part of the result, not of the machine"
    )
    startup_trials: PositiveInt = Field(default=5, description="trials before the median pruner may act")
    warmup_folds: PositiveInt = Field(default=2, description="folds of a trial before the median pruner may act")
    space: Annotated[dict[str, Knob], Field(min_length=1)] = Field(
        description="dotted key of network, training or position"
    )


class ProductionSection(Section):
    """Phase 5: the walk forward that is reported."""

    folds: FoldsSection
    epochs: PositiveInt


class EvaluationSection(Section):
    """Out-of-sample performance and its verdict."""

    momentum_lookback: PositiveInt = Field(default=252, description="bars of the time-series momentum baseline")
    min_psr: Share = Field(default=0.95, description="probabilistic Sharpe ratio that GO needs")
    min_dsr: Share = Field(default=0.95, description="deflated Sharpe ratio of the chosen trial that GO needs")
    max_probability_of_loss: Share = Field(default=0.25, description="CSCV probability of loss that GO tolerates")


class LatencySection(Section):
    """Inference latency of the released model, batch of one."""

    warmup: Annotated[int, Field(ge=0)] = 20
    n: Annotated[int, Field(ge=20)] = 200
    max_p95_ms: PositiveFloat = Field(default=40.0, description="p95 that GO tolerates")


class DriftSection(Section):
    """Population drift of what the model sees."""

    recent_bars: PositiveInt = Field(default=21)
    n_bins: Annotated[int, Field(ge=2)] = 10
    psi_threshold: PositiveFloat = 0.25
    js_threshold: PositiveFloat = 0.3
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05


class EnsembleSection(Section):
    """Blend with LightGBM."""

    l2: Annotated[float, Field(ge=0.0)] = Field(default=0.01, description="pull towards equal weights")
    lightgbm_rounds: PositiveInt = 100
    lightgbm_leaves: Annotated[int, Field(ge=2)] = 15


class Experiment(Section):
    """One experiment file."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7
    data: DataSection
    features: FeaturesSection = FeaturesSection()
    target: TargetSection = TargetSection()
    periods: PeriodsSection
    prefilter: PrefilterSection = PrefilterSection()
    network: NetworkSection = NetworkSection()
    training: TrainingSection = TrainingSection()
    position: PositionSection = PositionSection()
    exploration: ExplorationSection
    pruning: PruningSection = PruningSection()
    tuning: TuningSection
    production: ProductionSection
    evaluation: EvaluationSection = EvaluationSection()
    latency: LatencySection = LatencySection()
    drift: DriftSection = DriftSection()
    ensemble: EnsembleSection = EnsembleSection()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Self:
        purge, horizon = self.periods.purge, self.target.horizon
        if purge < horizon:
            raise ValueError(
                f"periods.purge {purge} < target.horizon {horizon}: a training label would reach a scored bar; "
                f"set periods.purge to at least {horizon}"
            )
        self._check_period()
        self._check_space()
        searched = self.tuning.space.get("training.lookback")
        longest = self.training.lookback if searched is None else max(int(value) for value in searched.limits())
        for name, folds, lookback in (
            ("exploration", self.exploration.folds, self.training.lookback),
            ("tuning", self.tuning.folds, longest),
            ("production", self.production.folds, longest),
        ):
            if folds.validation <= lookback:
                raise ValueError(
                    f"{name}.folds.validation {folds.validation} <= training.lookback {lookback}: "
                    "no whole window fits; lengthen validation or shorten lookback"
                )
        history = self.production.folds.plan(purge=purge, horizon=horizon).bars_before_test
        if self.evaluation.momentum_lookback > history:
            raise ValueError(
                f"evaluation.momentum_lookback {self.evaluation.momentum_lookback} > {history} bars of a production fold "
                "before its first scored bar: the momentum baseline would be flat there and easy to beat; shorten it or "
                "lengthen production.folds.train"
            )
        if self.production.folds.max_folds is not None:
            raise ValueError(
                "production.folds.max_folds is set: dropping production folds would hide scored bars; use a larger step"
            )
        if self.production.folds.test != self.production.folds.step:
            raise ValueError(
                f"production.folds.test {self.production.folds.test} != step {self.production.folds.step}: "
                "each production bar is scored once"
            )
        return self

    def _check_period(self) -> None:
        first, last, split = self.data.start, self.data.end, self.periods.production_start
        if first is not None and last is not None and first > last:
            raise ValueError(f"data.start {first} is after data.end {last}: no bar is left; exchange them")
        if (first is not None and split <= first) or (last is not None and split > last):
            raise ValueError(
                f"periods.production_start {split} is not inside data.start {first} to data.end {last}: one of the two "
                "periods would be empty; choose a date between them"
            )

    def _check_space(self) -> None:
        """Every value of the space alone is allowed; combinations that are not are failed trials."""
        for key, knob in self.tuning.space.items():
            section, _, name = key.partition(".")
            if section not in TUNABLE or name not in TUNABLE[section].model_fields:
                known = sorted(f"{s}.{n}" for s, model in TUNABLE.items() for n in model.model_fields)
                raise ValueError(f"tuning.space: {key!r} is not tunable; choose from {', '.join(known)}")
            adapter: TypeAdapter[Any] = TypeAdapter(TUNABLE[section].model_fields[name].rebuild_annotation())
            for value in knob.limits():
                try:
                    adapter.validate_python(value, strict=True)
                except ValidationError as error:
                    raise ValueError(
                        f"tuning.space.{key}: {value!r} is not allowed there ({error.errors()[0]['msg']}); such a trial "
                        "could only fail; correct the knob"
                    ) from None

    def with_overrides(self, overrides: dict[str, Any]) -> tuple[NetworkSection, TrainingSection, PositionSection]:
        """The three tunable sections with some keys replaced, validated again.

        Args:
            overrides: dotted keys such as `network.hidden` to values.
        Raises:
            ValueError: a key that is not a field of network, training or position, or a value outside its limits.
        """
        sections = {
            "network": self.network.model_dump(),
            "training": self.training.model_dump(),
            "position": self.position.model_dump(),
        }
        for key, value in overrides.items():
            section, _, name = key.partition(".")
            if section not in sections or name not in sections[section]:
                raise ValueError(f"{key!r} is not a field of {', '.join(sections)}: it cannot be overridden")
            sections[section][name] = value
        return (
            NetworkSection.model_validate(sections["network"]),
            TrainingSection.model_validate(sections["training"]),
            PositionSection.model_validate(sections["position"]),
        )

    def section_fingerprint(self, *names: str) -> str:
        """Fingerprint of some sections together, `seed` included: the configuration an asset depends on."""
        return _digest({"seed": self.seed, **{name: getattr(self, name).model_dump(mode="json") for name in names}})


def parse_experiment(raw: object, *, origin: str) -> Experiment:
    """Validate a decoded experiment file.

    Args:
        raw: mapping as decoded from YAML.
        origin: how messages name the file.
    Raises:
        ConfigurationError: unknown key, wrong type, value beyond a limit, or sections that do not fit together.
    """
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{origin}: expected a mapping of sections, found {type(raw).__name__}")
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        lines = [_problem(item) for item in error.errors(include_url=False)]
        raise ConfigurationError(
            f"{origin}: {len(lines)} problem(s)\n" + "\n".join(f"  {line}" for line in lines)
        ) from None


def _problem(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "(whole file)"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key (value {item['input']!r}); remove it or correct its spelling"
    if item["type"] == "missing":
        return f"{key}: required key is missing"
    message = re.sub(r"^Value error, ", "", item["msg"])
    shown = "" if isinstance(item["input"], dict | BaseModel) else f" (value {item['input']!r})"
    return f"{key}: {message}{shown}"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
