"""Records of what was found out: paths, audit, performance, latency, drift, blend, card, release.

Not here: the records that lead there, from features to trials (`reports`).
"""

from typing import Any, ClassVar

from pydantic import Field

from tft_pipeline.domain.reports import Report


class ResearchPaths(Report):
    """Combinatorial purged cross-validation of the chosen settings inside the research period.

    Attributes:
        splits: one row a fit: the groups left out, bars trained on, best epoch.
        paths: one row a path: its net Sharpe ratio a year, standard error, number of bars.
        spread: median, 5 % and 95 % quantile of the paths' Sharpe ratios, share below zero.
    """

    volatile: ClassVar[frozenset[str]] = frozenset({"seconds"})

    groups: tuple[dict[str, Any], ...]
    splits: tuple[dict[str, Any], ...]
    paths: tuple[dict[str, Any], ...]
    spread: dict[str, Any]
    seconds: float


class LeakageAudit(Report):
    """What was done to make the pipeline betray knowledge of the future, and whether it did; one row a guard.

    Attributes:
        rows: guard (name), claim (what must hold), tried (what was done, in numbers), state (held, leak, not_used,
            not_verifiable), passed (true, false, or null for the last two), detail (the finding, or why it cannot be verified).
        passed: no row is false.
        plan_sha256: content of the production plan whose folds were examined.
    """

    rows: tuple[dict[str, Any], ...]
    passed: bool
    plan_sha256: str = ""


class PurgeComparison(Report):
    """Production folds with and without purge, and with the choice of features and settings made on scored bars too.

    Attributes:
        variants: one row a variant: name, purge, n_bars, net Sharpe ratio a year, its standard error.
        differences: one row a variant but the first: paired difference of its net Sharpe ratio a year to the first one's, on
            their common bars, with a 95 % bootstrap interval.
        plan_sha256: content of the production plan whose folds were fitted again.
    """

    variants: tuple[dict[str, Any], ...]
    differences: tuple[dict[str, Any], ...]
    plan_sha256: str = ""


class OosPerformance(Report):
    """Out-of-sample performance of the production walk forward and the verdict on it.

    Attributes:
        track_record: of the net returns, as `track_record.track_record` gives it; baselines carry theirs beside the Sharpe
            ratio.
        monthly: one row a month: year, month, net return.
        symbols: one row a symbol, as `backtest.symbol_table` gives it.
        folds: one row a fold; validation and out-of-sample Sharpe ratio side by side, with what the best of as many epochs
            without skill would show, and the finding in words.
        superiority: tests of the baselines against the model.
        period: symbols, first and last of what is scored, as the ledgers name it.
        looks: distinct scorings of the period, this one included, and research trials that were scored on it; `looks_seen`
            names them.
        notes: findings that do not veto.
        plan_sha256: content of the production plan whose folds are judged.
    """

    volatile: ClassVar[frozenset[str]] = frozenset({"snapshot_id", "looks_seen"})

    snapshot_id: str
    verdict: str
    reasons: tuple[str, ...]
    net: dict[str, Any]
    gross: dict[str, Any]
    baselines: dict[str, dict[str, Any]]
    costs: dict[str, Any]
    folds: tuple[dict[str, Any], ...]
    research: dict[str, Any]
    looks: int
    direction: dict[str, Any]
    track_record: dict[str, Any]
    monthly: tuple[dict[str, Any], ...]
    symbols: tuple[dict[str, Any], ...]
    superiority: dict[str, Any]
    notes: tuple[str, ...]
    looks_seen: tuple[dict[str, Any], ...]
    period: dict[str, Any] = Field(default_factory=dict)
    plan_sha256: str = ""


class LatencyBenchmark(Report):
    """Latency of the released model; the figures are volatile, the model and settings are content."""

    volatile: ClassVar[frozenset[str]] = frozenset({"latency_ms", "environment"})

    fold: str
    weights_sha256: str
    latency_ms: dict[str, Any]
    environment: dict[str, Any]
    warmup: int
    n: int
    max_p95_ms: float
    within_limit: bool


class DriftRecord(Report):
    """Drift of recent bars against the newest fold's training bars."""

    fold: str
    verdict: str
    n_reference: int
    n_recent: int
    rows: tuple[dict[str, Any], ...]
    detail: dict[str, Any]


class EnsembleWeights(Report):
    """Convex blend of probabilities, scored forward."""

    weights: dict[str, float]
    available: dict[str, bool]
    metrics: dict[str, Any]
    folds: tuple[dict[str, Any], ...]
    calibration: dict[str, Any]


class ModelCard(Report):
    """Model card v2: the guide's JSON is a subset of `card`."""

    volatile: ClassVar[frozenset[str]] = frozenset({"card"})

    content: str
    card: dict[str, Any]
    plan_sha256: str = ""


class ReleaseRecord(Report):
    """What `current` points at."""

    volatile: ClassVar[frozenset[str]] = frozenset({"path", "card_path", "created_at", "release_id", "files"})

    release_id: str
    created_at: str
    verdict: str
    fold: str
    path: str
    card_path: str
    files: dict[str, str]
    content: str
