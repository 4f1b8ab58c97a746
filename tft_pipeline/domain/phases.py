"""Sections of an experiment file that belong to one phase each: keys, limits, defaults.

Not here: what data, folds, network and book are (`sections`), how sections fit together (`experiment`).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tft_pipeline.domain.search import Knob
from tft_pipeline.domain.sections import FoldsSection, PositiveFloat, PositiveInt, Section, Share


class ExplorationSection(Section):
    """Phase 2: short fits on all features, to read Variable Selection Network weights."""

    folds: FoldsSection = Field(description="walk-forward inside the research period")
    epochs: PositiveInt = Field(description="most epochs of a fit; early stopping may keep fewer")
    seeds: Annotated[int, Field(ge=3)] = Field(default=3, description="fits a fold; weights are their mean")
    shadow_features: Annotated[int, Field(ge=2)] = Field(
        default=20,
        description="copies moved in time by blocks, trained along; q / (1 - q) hold pruning.shadow_quantile q, 19 for 0.95",
    )
    permutations: Annotated[int, Field(ge=0)] = Field(
        default=1,
        description="block permutations a feature on the validation bars of each fold's first seed: the importance that "
        "weights are held against; 0: none",
    )


class PruningSection(Section):
    """Phase 3: which features stay."""

    threshold: Literal["shadow"] | PositiveFloat = Field(default="shadow", description="weight a fold must exceed")
    shadow_quantile: Share = Field(
        default=0.95,
        description="probability that a useless feature, drawn as the shadows are, stays below the threshold; the largest "
        "shadow where they are too few",
    )
    min_stability: Share = Field(default=0.25, description="share of folds in which a feature must pass")
    max_features: PositiveInt = Field(default=73, description="most features that stay, by weight")
    min_features: PositiveInt = Field(
        default=5,
        description="filled up by weight when fewer pass, no more than phase 1 leaves; those count as kept, and their reason "
        "says so",
    )

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> Self:
        if self.min_features > self.max_features:
            raise ValueError(
                f"min_features {self.min_features} > max_features {self.max_features}: no number of features is both; lower "
                "min_features or raise max_features"
            )
        return self


class TuningSection(Section):
    """Phase 4: Optuna over mini walk-forward folds inside the research period."""

    folds: FoldsSection = Field(description="walk-forward inside the research period that each trial is scored on")
    epochs: PositiveInt = Field(description="most epochs of a fit; early stopping may keep fewer")
    n_trials: PositiveInt = Field(description="trials after which the search ends; there is no time limit")
    parallel_trials: PositiveInt = Field(
        default=2, description="trials asked for together; part of the result, not of the machine"
    )
    startup_trials: PositiveInt = Field(
        default=5,
        description="trials drawn at random before the sampler learns, and completed before the median prunes",
    )
    pruner: Literal["median", "wilcoxon", "hyperband", "none"] = Field(
        default="median",
        description="median: running mean over folds against that of finished trials; wilcoxon: fold by fold against the best "
        "trial; hyperband: few epochs first, more for the better ones; none: every trial is scored on all folds",
    )
    warmup_folds: PositiveInt = Field(default=2, description="folds of a trial before median or wilcoxon may prune it")
    wilcoxon_p: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        default=0.1, description="p-value of the signed-rank test below which wilcoxon prunes"
    )
    min_epochs: PositiveInt = Field(default=1, description="smallest budget of hyperband, below tuning.epochs")
    reduction_factor: Annotated[int, Field(ge=2)] = Field(
        default=3, description="hyperband: one budget to the next, and how few trials reach it"
    )
    space: Annotated[dict[str, Knob], Field(min_length=1)] = Field(
        description="dotted key of network, training or position"
    )

    @model_validator(mode="after")
    def _every_limit_belongs_to_the_pruner(self) -> Self:
        users = {
            "warmup_folds": ("median", "wilcoxon"),
            "wilcoxon_p": ("wilcoxon",),
            "min_epochs": ("hyperband",),
            "reduction_factor": ("hyperband",),
        }
        for key, pruners in users.items():
            if self.pruner not in pruners and self._stated(key):
                raise ValueError(
                    f"{key} is {getattr(self, key)} and pruner is {self.pruner}: the key changes nothing there; drop it or set "
                    f"pruner to {' or '.join(pruners)}"
                )
        if self.pruner == "hyperband" and self.min_epochs >= self.epochs:
            raise ValueError(
                f"min_epochs {self.min_epochs} >= epochs {self.epochs}: hyperband has one budget only and prunes nothing; "
                "lower min_epochs or raise epochs"
            )
        if self.pruner == "hyperband" and len(self.budgets) < 3:
            raise ValueError(
                f"reduction_factor {self.reduction_factor} leaves the budgets {list(self.budgets)} of min_epochs "
                f"{self.min_epochs} to epochs {self.epochs}: hyperband needs three, else it is a single cut; lower "
                "reduction_factor or min_epochs, or raise epochs"
            )
        if self.pruner == "median" and self._stated("startup_trials") and self.startup_trials >= self.n_trials:
            raise ValueError(
                f"startup_trials {self.startup_trials} >= n_trials {self.n_trials}: the median waits for more trials than "
                "there are and prunes nothing; lower startup_trials or set pruner to none"
            )
        if self.folds.max_folds is not None:
            self.refuse_too_few_folds(self.folds.max_folds)
        return self

    def _stated(self, key: str) -> bool:
        """Whether a key differs from its default; a section that is read back from a record states every key."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)

    def why_idle(self, n_folds: int) -> str:
        """Why the median could stop no trial on so many folds; empty where it could, or another pruner is set."""
        if self.pruner != "median":
            return ""
        if self.warmup_folds >= n_folds - 1:
            return (
                f"warmup_folds {self.warmup_folds} of {n_folds} folds leave the median none before the last to prune at"
            )
        if self.startup_trials >= self.n_trials:
            return f"the median waits for {self.startup_trials} completed trials and n_trials is {self.n_trials}"
        return ""

    def refuse_too_few_folds(self, n_folds: int) -> None:
        """A signed-rank test of n folds that are all worse has p = 2^-n: on few folds it never falls below the limit.

        Raises:
            ValueError: the pruner is wilcoxon and could never prune before the last fold, or it is median and `warmup_folds`
                was changed to a number that leaves it no fold.
        """
        if self._stated("warmup_folds") and self.pruner == "median" and self.warmup_folds >= n_folds - 1:
            raise ValueError(
                f"{self.why_idle(n_folds)}: the key changes nothing; lower warmup_folds, allow more folds or set pruner to none"
            )
        if self.pruner != "wilcoxon":
            return
        least = 4
        while 0.5 ** (least - 1) >= self.wilcoxon_p or least - 2 < self.warmup_folds:
            least += 1
        if n_folds < least:
            raise ValueError(
                f"pruner is wilcoxon with {n_folds} folds: at wilcoxon_p {self.wilcoxon_p:g} and warmup_folds "
                f"{self.warmup_folds} it can stop no trial before its last fold on fewer than {least}; allow more folds, raise "
                "wilcoxon_p, lower warmup_folds or take the median"
            )

    @property
    def budgets(self) -> tuple[int, ...]:
        """Epochs of each pass over the folds: `epochs` alone, or hyperband's from `min_epochs` up to it."""
        if self.pruner != "hyperband":
            return (self.epochs,)
        found, budget = [], self.min_epochs
        while budget < self.epochs:
            found.append(budget)
            budget *= self.reduction_factor
        return (*found, self.epochs)


class ProductionSection(Section):
    """Phase 5: the walk forward that is reported."""

    folds: FoldsSection = Field(
        description="walk-forward from periods.production_start on; test equals step, and max_folds is not set"
    )
    epochs: PositiveInt = Field(description="most epochs of a fit; early stopping may keep fewer")


class ResearchPathsSection(Section):
    """Combinatorial purged cross-validation of the chosen settings inside the research period."""

    groups: Annotated[int, Field(ge=3, le=20)] = Field(default=6, description="blocks the research bars are cut into")
    test_groups: PositiveInt = Field(default=2, description="blocks left out of each fit")
    validation: PositiveInt = Field(description="bars for early stopping, the last of a fit's own")
    embargo: Annotated[int, Field(ge=0)] = Field(default=5, description="bars after a left-out block that are not used")
    epochs: PositiveInt = Field(description="most epochs of a fit; early stopping may keep fewer")

    @model_validator(mode="after")
    def _something_is_left_in(self) -> Self:
        if self.test_groups >= self.groups:
            raise ValueError(f"test_groups {self.test_groups} >= groups {self.groups}: nothing is left to train on")
        return self


class EvaluationSection(Section):
    """Out-of-sample performance and its verdict."""

    momentum_lookback: PositiveInt = Field(default=252, description="bars of the time-series momentum baseline")
    min_psr: Annotated[float, Field(ge=0.95, lt=1.0)] = Field(
        default=0.95, description="probabilistic Sharpe ratio that GO needs; may be stricter, never looser"
    )
    min_dsr: Annotated[float, Field(ge=0.95, lt=1.0)] = Field(
        default=0.95, description="deflated Sharpe ratio of the chosen trial that GO needs"
    )
    max_probability_of_loss: Annotated[float, Field(ge=0.0, le=0.25)] = Field(
        default=0.25, description="CSCV probability of loss that GO tolerates"
    )
    max_degradation: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        default=0.5, description="share of the best trial's Sharpe that CSCV may find lost out of sample"
    )
    alpha: Annotated[float, Field(ge=0.05, lt=0.5)] = Field(
        default=0.05, description="level at which a baseline counts as superior (SPA, StepM)"
    )
    min_accuracy: Annotated[float, Field(ge=0.5, lt=1.0)] = Field(
        default=0.60,
        description="out-of-sample accuracy that the table of performance targets asks for; it informs and vetoes nothing",
    )


LatencyForm = Literal["onnx_window", "onnx_stream", "compiled"]
"""Forms of a network that may be timed beside eager torch (`model.forms`)."""


class LatencySection(Section):
    """Inference latency of the released model, batch of one."""

    warmup: Annotated[int, Field(ge=0)] = Field(default=20, description="untimed decisions of each form first")
    n: Annotated[int, Field(ge=20)] = Field(
        default=200,
        description="timed decisions of each form; fewer than 72 do not bound a p95, and then the gate says no",
    )
    max_p95_ms: PositiveFloat = Field(
        default=40.0,
        description="GO needs the upper bound of the chosen form's p95 to be no higher; more than the default "
        "is told on gate and card",
    )
    forms: Annotated[tuple[LatencyForm, ...], Field(strict=False)] = Field(
        default=("onnx_window", "onnx_stream"),
        description="timed beside eager torch, the quickest is chosen; onnx_window: the exported network reads whole windows; "
        "onnx_stream: it reads a bar and a cache; compiled: torch.compile, which needs a C++ compiler and tens of seconds",
    )
    rate_per_s: PositiveFloat = Field(
        default=100.0, description="decisions asked for a second in the open loop, which takes n / rate_per_s seconds"
    )
    arrivals: Literal["poisson", "fixed"] = Field(
        default="poisson", description="when the open loop asks: at random or at equal distances"
    )
    cold_start: bool = Field(
        default=True, description="start a fresh process for each form and time it up to the first decision"
    )

    @model_validator(mode="after")
    def _each_form_is_named_once(self) -> Self:
        if len(set(self.forms)) < len(self.forms):
            raise ValueError(
                f"forms {list(self.forms)} names one twice: it would have two rows and be timed twice; drop one of them"
            )
        return self


class DriftSection(Section):
    """Has what the model sees, says or earns changed since it was trained."""

    recent_bars: PositiveInt = Field(
        default=21,
        description="newest bars that are compared; the training bars must hold (min_null_windows + 1) / 2 times as many, or "
        "nothing can be said",
    )
    n_bins: Annotated[int, Field(ge=2)] = Field(default=10, description="quantile bins of PSI and Jensen-Shannon")
    psi_threshold: PositiveFloat = Field(
        default=0.25,
        description="PSI from which a significant change is large; more than the default is told on gate and card",
    )
    js_threshold: PositiveFloat = Field(
        default=0.3,
        description="Jensen-Shannon distance from which a significant change is large; more than the default is told on gate "
        "and card",
    )
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.05,
        description="level at which a change is significant, over all features together; less than the default is told on "
        "gate and card",
    )
    min_null_windows: Annotated[int, Field(ge=19)] = Field(
        default=19, description="windows of the reference that show what is usual; with fewer nothing is said"
    )
    retrain_nights: Annotated[int, Field(ge=1, le=30)] = Field(
        default=3, description="nights in a row with verdict retrain against one model after which a run is requested"
    )
    fresh_within_hours: Annotated[int, Field(ge=1, le=8760)] | None = Field(
        default=None,
        description="the UI marks snapshot and drift_night as late when neither was computed for so long; set it where new "
        "bars come and automation is on, longer than a weekend for a market that closes. Left out: freshness is not judged",
    )

    @model_validator(mode="after")
    def _significance_can_be_reached(self) -> Self:
        least = 1.0 / (1 + self.min_null_windows)
        if self.alpha < least:
            raise ValueError(
                f"alpha {self.alpha:g} < 1 / (1 + min_null_windows {self.min_null_windows}) = {least:.3g}, the least p-value "
                "of so few windows: no change could be significant; raise min_null_windows or alpha"
            )
        return self


class EnsembleSection(Section):
    """Blend with LightGBM, and with a source of the user's own."""

    l2: Annotated[float, Field(ge=0.0, le=1e6)] = Field(default=0.01, description="pull towards equal weights")
    lightgbm_rounds: PositiveInt = Field(default=100, description="most trees; early stopping may keep fewer")
    lightgbm_leaves: Annotated[int, Field(ge=2)] = Field(default=15, description="most leaves of a tree")
    sentiment_column: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="a column of the source, or of a table, with somebody else's probability in [0, 1] of an upward move, "
        "known at the bar's close: the third source of the blend. It is then no feature; a fold in which a scored row lacks it "
        "goes without",
    )
