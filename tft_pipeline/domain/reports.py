"""What assets hand each other besides frames and checkpoints: frozen, typed records that are stored as JSON.

`volatile` fields (times, durations, latencies) are kept and shown but do not count as content, so that a re-run that
finds the same things counts as unchanged.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from tft_pipeline.domain.content import json_sha256
from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline.domain.sharpe import sharpe_ratio


class Report(BaseModel):
    """One record."""

    # a NaN in a free field would otherwise be stored as null without a word; as a constant it has no canonical JSON
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")
    volatile: ClassVar[frozenset[str]] = frozenset()

    def content_sha256(self) -> str:
        """Hash of everything but the volatile fields.

        Raises:
            ValueError: a non-finite number in a free field; it must be null with a reason.
        """
        return json_sha256(self.model_dump(mode="json", exclude=set(self.volatile)))


class FeatureRow(Report):
    """One built feature.

    Attributes:
        units: what the numbers mean.
        lag: bars after its own bar before the value is used; 0: known at the close of its bar.
    """

    name: str
    group: str
    formula: str
    lookback: int
    inputs: tuple[str, ...]
    version: str
    units: str = ""
    lag: int = 0


class FeatureCatalogue(Report):
    """Which features are built, which are left out and why."""

    used: tuple[FeatureRow, ...]
    skipped: dict[str, str]
    user_columns: tuple[str, ...]
    max_lookback: int

    @property
    def names(self) -> tuple[str, ...]:
        """Built features, then the user's own."""
        return (*(row.name for row in self.used), *self.user_columns)


class PrefilteredFeatures(Report):
    """Phase 1: what was kept, and each drop with its reason.

    Attributes:
        rank_unchecked: kept features that were too often missing to be tried as a combination of others.
    """

    kept: tuple[str, ...]
    dropped: tuple[dict[str, Any], ...]
    first: str
    last: str
    n_rows: int
    rank_unchecked: tuple[str, ...] = ()


class FoldSpec(Report):
    """Everything one fold is made of; equal specs give equal models.

    Attributes:
        key: partition key.
        spans: train, validation, test as (start, stop) within the fold's own slice of the panel.
        first, last: timestamps of the slice's first and last bar.
        dates: for people: first and last timestamp and bar count of each part.
        features: inputs, in order.
        shadow_features: how many time-permuted copies train along.
        min_history: bars of a symbol before it is observed.
        data_sha256: content of the slice.
        seeds: one fit each.
        boosting: rounds and leaves of LightGBM, in production.
        momentum_lookback: bars of the momentum baseline, in production.
        sentiment: column of the source that is blended, and content of its values at the test bars, in production.
    """

    key: str
    spans: dict[str, tuple[int, int]]
    first: str
    last: str
    dates: dict[str, Any]
    features: tuple[str, ...]
    shadow_features: int
    min_history: int
    data_sha256: str
    network: NetworkSection
    training: TrainingSection
    position: PositionSection
    target_volatility: float
    horizon: int
    bars_per_year: float
    epochs: int
    seeds: tuple[int, ...]
    boosting: tuple[int, int] | None
    momentum_lookback: int | None
    sentiment: tuple[str, str] | None = None

    @property
    def fold(self) -> Fold:
        """The fold, counted from the slice's first bar."""
        spans = {name: Span(*span) for name, span in self.spans.items()}
        return Fold(key=self.key, train=spans["train"], validation=spans["validation"], test=spans["test"])


class FoldPlanReport(Report):
    """The folds of one phase, oldest first.

    Attributes:
        research_last: last bar on which the features or settings of these folds were chosen; None before anything is.
        n_unscored_bars: newest bars with a label that no fold scores yet, too few for a whole test part.
    """

    volatile: ClassVar[frozenset[str]] = frozenset({"snapshot_id", "n_unscored_bars"})

    phase: str
    snapshot_id: str
    purge: int
    specs: tuple[FoldSpec, ...]
    research_last: str | None = None
    n_unscored_bars: int = 0

    @property
    def contaminated(self) -> bool:
        """Whether features or settings were chosen on bars that are scored: by what was recorded, not by the configuration."""
        first = self.specs[0].dates["test"]["first"]
        return self.research_last is not None and datetime.fromisoformat(self.research_last) >= datetime.fromisoformat(
            first
        )

    def spec(self, key: str) -> FoldSpec:
        """The spec of a fold.

        Raises:
            KeyError: the plan has no such fold.
        """
        for spec in self.specs:
            if spec.key == key:
                return spec
        raise KeyError(f"fold {key} is not in the {self.phase} plan ({[spec.key for spec in self.specs]})")


class ExplorationFold(Report):
    """Phase 2, one fold: Variable Selection Network weights, mean over seeds, validation bars and symbols.

    Attributes:
        shadow_weights: by the shadow's name; all seeds train with the same shadows.
        importance: rise of the first seed's validation loss with the feature permuted in blocks of bars; empty where
            `exploration.permutations` is 0.
        n_permutations: what `importance` is the mean of.
    """

    volatile: ClassVar[frozenset[str]] = frozenset({"seconds"})

    key: str
    spec_sha256: str
    weights: dict[str, float]
    shadow_weights: dict[str, float]
    weights_by_seed: tuple[dict[str, float], ...]
    best_epochs: tuple[int, ...]
    validation_losses: tuple[float, ...]
    test_sharpes_annual: tuple[float | None, ...]
    missing: dict[str, int]
    seconds: float
    importance: dict[str, float] = {}
    n_permutations: int = 0


class SelectedFeatures(Report):
    """Phase 3: the features that stay, the two tables, and how stable the choice is.

    Attributes:
        rows: one a feature, by weight: see `selection.FeatureRow`.
        groups: one a group: see `selection.GroupRow`.
        thresholds: by fold.
        summary: initial, after_prefilter, selected, filled_up, reduction, method.
        shadow_level: probability that a feature exchangeable with the shadows stays below a fold's threshold; None with a
            fixed one.
        agreement: of weights with permutation importance, see `agreement.Agreement`; `by_fold` by key.
        undefined: why a figure is None, by name.
        dropped: phase 1's drops, each with its partner and the feature that stands for it.
    """

    features: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    groups: tuple[dict[str, Any], ...]
    thresholds: dict[str, float]
    nogueira: dict[str, Any] | None
    kendall_w: float | None
    research_last: str | None = None
    summary: dict[str, Any] = {}
    shadow_level: float | None = None
    agreement: dict[str, Any] | None = None
    undefined: dict[str, str] = {}
    dropped: tuple[dict[str, Any], ...] = ()


class TrialRow(Report):
    """One Optuna trial that was started.

    Attributes:
        state: complete, pruned, fail, or running where another worker still scores it.
        sharpe_annual: mean over the folds; of completed trials only.
        fold_sharpes, returns: of the folds that were scored, in order; a pruned trial keeps those it had.
        note: why it was pruned or failed.
        replaces: trial whose parameters this one tries again.
        scored: whether any of its folds was scored, also where the outcome was dropped with the trial.
        study: name of its study, which tells trials without returns apart.
    """

    number: int
    state: str
    params: dict[str, Any]
    sharpe_annual: float | None
    fold_sharpes: tuple[float, ...]
    returns: tuple[float, ...]
    note: str = ""
    replaces: int | None = None
    scored: bool = False
    study: str = ""

    @property
    def identity(self) -> str:
        """What tells it from other trials: its returns; its start where it has none."""
        return json_sha256(list(self.returns))[:16] if len(self.returns) > 1 else self.start

    @property
    def start(self) -> str:
        """What tells it from other trials before it has returns: its study, its number and its parameters."""
        return json_sha256([self.study, self.number, self.params])[:16]

    @property
    def sharpe(self) -> float | None:
        """Sharpe ratio per bar of its returns; None where it has none, or they do not vary."""
        returns = np.array(self.returns)
        return sharpe_ratio(returns) if len(returns) > 1 and np.ptp(returns) > 0.0 else None


def trials_that_count(trials: Iterable[TrialRow]) -> tuple[TrialRow, ...]:
    """Trials at which somebody looked, or will: the number N that deflates the best one.

    Every trial that was started counts: completed, pruned, failed, given up, and those that others still run. Two kinds do not:
    one that another trial `replaces` and of which no fold was scored (stopped, or its worker ended, before anything was seen:
    its values count once, by the other trial), and one whose worker ended before any value was asked for. A trial of which a
    fold was scored counts although it is tried again: its score was seen.
    """
    rows = tuple(trials)
    replaced = {row.replaces for row in rows}
    return tuple(row for row in rows if row.params and (row.scored or row.returns or row.number not in replaced))


class TunedHyperparameters(Report):
    """Phase 4: the chosen sections and every trial that was started.

    Attributes:
        n_trials_started: those of `trials` that count, by the rule of `trials_that_count`.
        importances: share of the spread of the completed trials' Sharpe ratios that each searched key explains (fANOVA); empty
            with a reason where that is not known.
    """

    volatile: ClassVar[frozenset[str]] = frozenset({"seconds"})

    network: NetworkSection
    training: TrainingSection
    position: PositionSection
    best_trial: int
    best_sharpe_annual: float
    study: str
    n_trials_started: int
    n_pruned: int
    fold_keys: tuple[str, ...]
    trials: tuple[TrialRow, ...]
    seconds: float
    research_first: str | None = None
    research_last: str | None = None
    importances: dict[str, float] = {}
    importances_reason: str = ""
