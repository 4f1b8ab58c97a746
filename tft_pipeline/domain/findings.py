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
    """Latency of the released model; figures and the form that won are volatile, the model, settings and verdict are content.

    Attributes:
        latency_ms: closed loop of the chosen form, as `latency.latency_figures`.
        environment: device, threads, and of the chosen form load_ms and first_decision_ms in this process, cold_start_ms of a
            fresh one (None unless `latency.cold_start`).
        within_limit: `latency.latency_reasons` has nothing against the p95.
        form: the chosen one: of the forms timed that with the smallest upper bound of the p95.
        forms: one row a timed form: its name, whether it was chosen, difference to eager, figures, export_s, load_ms,
            first_decision_ms, cold_start (as `storage.cold_start`) and its distribution.
        left_out: forms asked for and not timed, with the reason.
        open_loop: rate_per_s, arrivals, figures of the chosen form from intended start to completion, and what queued.
        machine: cores, load average before and after, share of the cores that others kept busy.
    """

    volatile: ClassVar[frozenset[str]] = frozenset(
        {"latency_ms", "environment", "form", "forms", "left_out", "open_loop", "machine"}
    )

    fold: str
    weights_sha256: str
    latency_ms: dict[str, Any]
    environment: dict[str, Any]
    warmup: int
    n: int
    max_p95_ms: float
    within_limit: bool
    form: str = "eager"
    forms: tuple[dict[str, Any], ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict)
    open_loop: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)


class DriftRecord(Report):
    """Drift of recent bars against the newest fold's training bars.

    Attributes:
        verdict: over the four parts: stable, investigate, retrain, insufficient_data.
        rows: one row a feature, as `drift.FeatureDrift`.
        detail: of the features together: family-wise p-value, thresholds, number of null windows, the reason in words.
        reasons: one sentence a part, which says what it asks for.
        weights_sha256: of the model whose inputs, outputs and errors are compared.
        reference, recent: first and last timestamp and number of bars.
        multivariate, predictions, performance: the other three parts, each with its verdict and reason; None in a record
            made before there were any.
        shapes: histograms of the most drifted features on both sides.
        over_time: PSI of windows through reference and recent bars, for the most drifted features.
    """

    volatile: ClassVar[frozenset[str]] = frozenset({"snapshot_id"})

    fold: str
    verdict: str
    n_reference: int
    n_recent: int
    rows: tuple[dict[str, Any], ...]
    detail: dict[str, Any]
    reasons: tuple[str, ...] = ()
    weights_sha256: str = ""
    snapshot_id: str = ""
    reference: dict[str, Any] = Field(default_factory=dict)
    recent: dict[str, Any] = Field(default_factory=dict)
    multivariate: dict[str, Any] | None = None
    predictions: dict[str, Any] | None = None
    performance: dict[str, Any] | None = None
    shapes: tuple[dict[str, Any], ...] = ()
    over_time: dict[str, Any] = Field(default_factory=dict)


class EnsembleWeights(Report):
    """Convex blend of probabilities, scored forward; `ensemble.json` holds the same.

    Attributes:
        weights: one a source, sum 1; 0.0 for an absent one.
        metrics: of the blend on rows that neither its calibration nor its weights saw: accuracy, f1, auc_roc, then the other
            keys of `classification.describe_probabilities`; all None with a `reason` where no row is such.
        available: whether a source is in the newest fold, and so in the weights.
        measured_on: what the metrics were measured on, in words.
        n: rows and bars: of all folds, of those the weights come from (fitted), of those the metrics come from (scored).
        intervals: 95 %: weights by source, accuracy (Wilson, on `trials`: see `bar_trials`), log_loss and auc_roc (blocks of
            bars); confidence, n_draws, block_bars and what is None and why (`reasons`).
        sources: metrics of each calibrated source alone on the scored folds it was used in.
        comparison: the blend against the best single source: see `ensemble_draws.LossDifference`; sentence.
        folds: one row a scored fold: weights, metrics, log loss by source.
        calibration: slope and intercept by source, as the weights are meant for.
        calibrated: whether sources were calibrated at all.
        greedy_weights: Caruana's, the cross-check.
        metrics_on_fitted_rows: of the blend on the very rows its weights come from: flattering, not out of sample.
        missing: rows without a value, by source; a fold with such a row goes without the source.
    """

    weights: dict[str, float]
    metrics: dict[str, Any]
    available: dict[str, bool]
    measured_on: str = ""
    n: dict[str, int] = Field(default_factory=dict)
    intervals: dict[str, Any] = Field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    comparison: dict[str, Any] = Field(default_factory=dict)
    folds: tuple[dict[str, Any], ...]
    calibration: dict[str, Any]
    calibrated: bool = True
    greedy_weights: dict[str, float] = Field(default_factory=dict)
    metrics_on_fitted_rows: dict[str, Any] = Field(default_factory=dict)
    missing: dict[str, int] = Field(default_factory=dict)


class ModelCard(Report):
    """Model card v2: the guide's JSON is a subset of `card`."""

    volatile: ClassVar[frozenset[str]] = frozenset({"card"})

    content: str
    card: dict[str, Any]
    plan_sha256: str = ""


class ReleaseRecord(Report):
    """What was released, and how it stands against the gates and the performance targets.

    Attributes:
        live: it was made current; `note` says why not, or which rollback it ended.
        targets: rows of `performance_targets`, the deployment among them, as of the release.
        gates: rows of `release_gates`, as gate.json holds them.
        deployed: entry of the log of deployments that made it live; None for a candidate, and for one that is held.
        forms: file of each exported form that it carries. left_out: why it carries no such form.
    """

    volatile: ClassVar[frozenset[str]] = frozenset(
        {"path", "card_path", "created_at", "files", "live", "note", "targets", "gates", "deployed"}
    )

    release_id: str
    created_at: str
    verdict: str
    fold: str
    path: str
    card_path: str
    files: dict[str, str]
    content: str
    live: bool = True
    note: str = ""
    targets: tuple[dict[str, Any], ...] = ()
    gates: tuple[dict[str, Any], ...] = ()
    deployed: dict[str, Any] | None = None
    forms: dict[str, str] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
