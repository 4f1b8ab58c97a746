"""Made-up records of a finished run, for tests of the report: as many folds, bars, features and symbols as asked for.

Statistics come from the formulas of the domain; nothing is trained. Not here: tests.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.backtest import BASELINES
from tft_pipeline.domain.blending import BlendPart, blend_record
from tft_pipeline.domain.classification import describe_probabilities, reliability_rows
from tft_pipeline.domain.findings import (
    DriftRecord,
    EnsembleWeights,
    LatencyBenchmark,
    LeakageAudit,
    ModelCard,
    OosPerformance,
    ReleaseRecord,
)
from tft_pipeline.domain.inflation import inflation_row, inflation_summary
from tft_pipeline.domain.latency import distribution, latency_figures
from tft_pipeline.domain.performance_targets import deploy_target, performance_targets
from tft_pipeline.domain.reports import (
    ExplorationFold,
    FoldPlanReport,
    FoldSpec,
    SelectedFeatures,
    TrialRow,
    TunedHyperparameters,
)
from tft_pipeline.domain.selection import select_features
from tft_pipeline.domain.sharpe import describe_returns
from tft_pipeline.domain.track_record import monthly_returns, track_record
from tft_pipeline.domain.verdict import annual_sharpe_or_none, deflated_by_looks, json_ready
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline_tests.builders import small
from tft_pipeline_tests.conftest import business_days

YEAR = 252.0
SNAPSHOT = "2024-05-06T07-08-09Z-0123456789ab"
GUARDS: tuple[tuple[str, bool | None], ...] = (
    ("future bars replaced", True),
    ("labels shuffled", False),
    ("user columns", None),
)


RESOURCES: dict[str, Any] = {
    "timeline": [
        {
            "phase": "Phase 2: exploration",
            "n_steps": 4,
            "n_failed": 0,
            "started_at": "2026-02-10T06:19:00.125+00:00",
            "ended_at": "2026-02-10T12:19:00.125+00:00",
            "elapsed_s": 21600.0,
            "work_s": 40000.0,
            "cpu_s": 39000.0,
            "peak_rss_mib": 1234.5,
            "peak_gpu_mib": None,
            "disk_mib": 0.25,
        }
    ],
    "system": [
        {"resource": "RAM, peak of a step", "used_low": 900.0, "used_high": 1234.5, "capacity": 24576.0, "unit": "MiB",
         "share": 0.05},
        {"resource": "CPU", "used_low": 1.81, "used_high": 1.81, "capacity": 2, "unit": "cores", "share": 0.905},
        {"resource": "GPU memory, peak of a step", "used_low": None, "used_high": None, "capacity": None, "unit": "MiB",
         "share": None},
    ],
    "machine": {"ram_mib": 24576.0, "n_cores": 2},
}  # fmt: skip


def made_records(
    *,
    n_bars: int = 160,
    n_folds: int = 2,
    features: Sequence[str] = ("ret_1", "ret_5", "z_21", "mom_rsi_14", "sma_20_gap", "cal_weekday_sin"),
    symbols: Sequence[str] = ("AAA", "BBB", "CCC"),
    n_trials: int = 5,
    seed: int = 0,
) -> ReportRecords:
    """Records that fit together; every optional one is None."""
    rng = np.random.default_rng(seed)
    experiment = small({"description": "Made up; not for trading."})
    stamps = business_days(n_bars + 600, "2005-01-03")
    scored = np.array_split(np.arange(600, 600 + n_bars), n_folds)
    specs = tuple(_spec(stamps, bars, tuple(features), experiment) for bars in scored)
    plan = FoldPlanReport(phase="production", snapshot_id=SNAPSHOT, purge=5, specs=specs)
    portfolio = _portfolio(rng, stamps[600:], [spec.key for spec in specs for _ in range(1)], scored)
    exploration, selected = _weights(rng, features)
    tuned = _tuned(rng, specs[0], n_trials)
    performance = _performance(portfolio, specs, symbols, tuned, rng)
    reasons = [*performance.reasons, "leakage audit: labels shuffled failed, Sharpe 0.9 of 0.2 allowed"]
    manifest = {
        "snapshot_id": SNAPSHOT,
        "content_sha256": "c" * 64,
        "identity_sha256": "d" * 64,
        "created_at": "2024-05-06T07:08:09+00:00",
        "event_range": {"start": stamps[0].isoformat(), "end": stamps[-1].isoformat()},
        "symbols": list(symbols),
        "rows": len(stamps) * len(symbols),
        "interval": "1d",
        "source": {"name": "bars.parquet", "sha256": "e" * 64},
    }
    card = {
        "verdict": "NO-GO",
        "reasons": reasons,
        "created_at": "2024-05-06T08:00:00+00:00",
        "train": {
            "folds": [{"id": spec.key, "sha256": f"{k:064x}"} for k, spec in enumerate(specs)],
            "resources": RESOURCES,
            "env": {"python": "3.11.9", "packages": {"torch": "2.13.0"}},
            "code": {"commit": "a" * 40},
        },
    }
    audit = LeakageAudit(rows=tuple(_guard(*guard) for guard in GUARDS), passed=False)
    latency, drift = _latency(specs[-1].key), _drift(rng, specs[-1].key, features)
    targets = performance_targets(
        evaluation=experiment.evaluation,
        drift_limits=experiment.drift,
        performance=performance,
        audit=audit,
        latency=latency,
        drift=drift,
    )
    return ReportRecords(
        experiment=experiment,
        manifest=manifest,
        plan=plan,
        exploration=exploration,
        selected=selected,
        tuned=tuned,
        portfolio=portfolio,
        performance=performance,
        audit=audit,
        latency=latency,
        drift=drift,
        ensemble=_ensemble([spec.key for spec in specs], seed),
        card=ModelCard(content="made", card=card),
        release=ReleaseRecord(
            release_id="2024-05-06T08-00-00Z-01234567",
            created_at="2024-05-06T08:00:00+00:00",
            verdict="NO-GO",
            fold=specs[-1].key,
            path="",
            card_path="",
            files={},
            content="made",
            targets=(*targets, deploy_target([], release="2024-05-06T08-00-00Z-01234567")),
        ),
    )


def _ensemble(keys: Sequence[str], seed: int) -> EnsembleWeights:
    """Two sources that know a little, 40 bars of two symbols a fold; no sentiment."""
    rng, parts = np.random.default_rng(seed), []
    for k, key in enumerate(keys):
        signal = rng.normal(0.0, 1.0, 80)
        views = {name: 1.0 / (1.0 + np.exp(-(signal + rng.normal(0.0, 1.0, 80)))) for name in ("lgbm", "tft")}
        parts.append(
            BlendPart(
                key=key,
                probabilities={**views, "sentiment": None},
                y=(signal + rng.normal(0.0, 1.0, 80) > 0.0).astype(int),
                bars=40 * k + np.repeat(np.arange(40), 2),
                missing={"sentiment": 80},
            )
        )
    return blend_record(parts, l2=0.01, horizon=1, seed=seed)


def _spec(stamps: list[datetime], bars: np.ndarray, features: tuple[str, ...], experiment: Any) -> FoldSpec:
    first = int(bars[0])
    spans = {
        "train": (first - 400, first - 70),
        "validation": (first - 65, first - 5),
        "test": (first, first + len(bars)),
    }
    return FoldSpec(
        key=f"f{stamps[first]:%Y-%m-%d}",
        spans=spans,
        first=stamps[first - 400].isoformat(),
        last=stamps[spans["test"][1] - 1].isoformat(),
        dates={
            part: {"first": stamps[a].isoformat(), "last": stamps[b - 1].isoformat(), "n_bars": b - a}
            for part, (a, b) in spans.items()
        },
        features=features,
        shadow_features=0,
        min_history=20,
        data_sha256="f" * 64,
        network=experiment.network,
        training=experiment.training,
        position=experiment.position,
        target_volatility=0.15,
        horizon=1,
        bars_per_year=YEAR,
        epochs=30,
        seeds=(11,),
        boosting=(10, 4),
        momentum_lookback=60,
    )


def _portfolio(
    rng: np.random.Generator, stamps: list[datetime], keys: list[str], scored: list[np.ndarray]
) -> pl.DataFrame:
    n = len(stamps)
    shared = rng.standard_t(5, n) * 0.006
    gross = 0.0006 + 0.5 * shared + rng.standard_t(5, n) * 0.004
    turnover = np.abs(rng.normal(0.2, 0.05, n))
    columns: dict[str, Any] = {
        "timestamp": pl.Series(stamps, dtype=pl.Datetime("us", "UTC")),
        "fold": [key for key, bars in zip(keys, scored, strict=True) for _ in bars],
        "gross": gross,
        "cost": 5e-4 * turnover,
        "financing": np.zeros(n),
        "net": gross - 5e-4 * turnover,
        "turnover": turnover,
        "gross_exposure": np.abs(rng.normal(0.8, 0.1, n)),
        "net_exposure": rng.normal(0.1, 0.2, n),
        "n_symbols": np.full(n, 3),
        "net_at_2x_cost": gross - 1e-3 * turnover,
        "net_one_bar_late": np.roll(gross, 1) - 5e-4 * turnover,
    }
    for k, name in enumerate(BASELINES):
        own = 0.0001 * (3 - k) + (0.7 if k == 0 else 0.2) * shared + rng.normal(0.0, 0.003, n)
        columns |= {f"{name}_gross": own + 1e-4, f"{name}_net": own}
    return pl.DataFrame(columns)


def _weights(rng: np.random.Generator, features: Sequence[str]) -> tuple[dict[str, ExplorationFold], SelectedFeatures]:
    folds = {}
    level = np.sort(rng.exponential(1.0, len(features)))[::-1]
    for year in range(1996, 2002):
        raw = level * rng.lognormal(0.0, 0.35, len(features))
        shadow = rng.exponential(0.35, 4)
        total = raw.sum() + shadow.sum()
        key = f"f{year}-01-02"
        folds[key] = ExplorationFold(
            key=key,
            spec_sha256="0" * 64,
            weights={name: float(w / total) for name, w in zip(features, raw, strict=True)},
            shadow_weights={f"shadow_{k}": float(w / total) for k, w in enumerate(shadow)},
            weights_by_seed=(),
            best_epochs=(2, 1, 3),
            validation_losses=(0.1, 0.2, 0.15),
            test_sharpes_annual=(0.3, None, -0.2),
            missing={},
            seconds=1.0,
        )
    chosen = select_features(
        np.array([list(fold.weights.values()) for fold in folds.values()]),
        np.array([list(fold.shadow_weights.values()) for fold in folds.values()]),
        list(features),
        max_features=73,
        min_features=3,
    ).to_dict()
    return folds, SelectedFeatures(
        features=chosen["kept"],
        rows=chosen["rows"],
        groups=chosen["groups"],
        thresholds=dict(zip(folds, chosen["thresholds"], strict=True)),
        nogueira=chosen["nogueira"],
        kendall_w=chosen["kendall_w"],
    )


def _tuned(rng: np.random.Generator, spec: FoldSpec, n_trials: int) -> TunedHyperparameters:
    trials = []
    for number in range(n_trials):
        pruned = number % 3 == 2
        folds = tuple(rng.normal(0.3, 0.4, 1 if pruned else 3).tolist())
        trials.append(
            TrialRow(
                number=number,
                state="pruned" if pruned else "complete",
                params={"training.learning_rate": float(rng.uniform(0.001, 0.01)), "network.dropout": 0.1},
                sharpe_annual=float(np.mean(folds)),
                fold_sharpes=folds,
                returns=(),
            )
        )
    best = max((t for t in trials if t.state == "complete"), key=lambda t: t.sharpe_annual or 0.0)
    return TunedHyperparameters(
        network=spec.network,
        training=spec.training,
        position=spec.position,
        best_trial=best.number,
        best_sharpe_annual=float(best.sharpe_annual or 0.0),
        study="small-0123",
        n_trials_started=n_trials,
        n_pruned=sum(t.state == "pruned" for t in trials),
        fold_keys=("f2000-01-03", "f2001-01-02", "f2002-01-02"),
        trials=tuple(trials),
        seconds=12.0,
    )


def _performance(
    portfolio: pl.DataFrame,
    specs: tuple[FoldSpec, ...],
    symbols: Sequence[str],
    tuned: TunedHyperparameters,
    rng: np.random.Generator,
) -> OosPerformance:
    def describe(column: str) -> dict[str, Any]:
        n = portfolio.height
        return describe_returns(
            portfolio[column].to_numpy(), bars_per_year=YEAR, n_trials=2, trial_variance=1.0 / n, seed=1
        )

    net, gross = describe("net"), describe("gross")
    baselines: dict[str, dict[str, Any]] = {}
    for name in BASELINES:
        own = describe(f"{name}_net")
        gap = net["sharpe_annual"] - own["sharpe_annual"]
        baselines[name] = own | {
            "track_record": track_record(portfolio[f"{name}_net"].to_numpy(), bars_per_year=YEAR),
            "model_minus_this": {"difference_annual": gap, "low_annual": gap - 0.6, "high_annual": gap + 0.6},
        }
    folds = []
    for spec in specs:
        own = portfolio.filter(pl.col("fold") == spec.key)["net"].to_numpy()
        row = inflation_row(
            fold=spec.key,
            n_validation_bars=60,
            epochs=30,
            validation_sharpe_annual=float(rng.normal(3.6, 1.5)),
            n_oos_bars=own.size,
            oos_sharpe_annual=annual_sharpe_or_none(own, YEAR),
            bars_per_year=YEAR,
        )
        folds.append({"best_epoch": 7} | row)
    superior = {
        "n": portfolio.height,
        "alpha": 0.05,
        "baselines": {name: {"sharpe_annual": baselines[name]["sharpe_annual"]} for name in BASELINES},
        "spa_p_lower": 0.4,
        "spa_p_consistent": 0.44,
        "spa_p_upper": 0.51,
        "rejected": False,
        "superior": [],
        "sentence": "no baseline is superior to the model (p 0.44)",
    }
    research = {
        "n_trials_started": tuned.n_trials_started,
        "n_other_trials": 0,
        "n_completed": 4,
        "n_left_out": 1,
        "n_trials_effective": 2.7,
        "n_bars": 750,
        "sharpe_annual": tuned.best_sharpe_annual,
        "dsr": 0.61,
        "expected_max_sharpe_annual": 0.42,
        "pbo": 0.31,
        "probability_of_loss": 0.12,
        "degradation": 0.35,
        "degradation_slope": -0.2,
        "inflation": inflation_summary(folds),
        "validation_gap": {"validation": 2.0, "out_of_sample": 0.5, "gap": 1.5},
    }
    psr = deflated_by_looks(net, 2)
    late = describe("net_one_bar_late")["sharpe_annual"]
    costs = {
        "cost_bps": 5.0,
        "slippage_bps": 0.0,
        "symbol_cost_bps": {},
        "break_even_bps": 11.3,
        "mean_turnover": 0.2,
        "mean_gross_exposure": 0.8,
        "mean_net_exposure": 0.1,
        "financing_annual": 0.0,
        "sharpe_annual_at_0x": gross["sharpe_annual"],
        "sharpe_annual_at_1x": net["sharpe_annual"],
        "sharpe_annual_at_2x": describe("net_at_2x_cost")["sharpe_annual"],
        "sharpe_annual_one_bar_late": late,
    }
    by_symbol = [
        {
            "symbol": name,
            "n_bars": portfolio.height,
            "contribution": float(rng.normal(0.05, 0.1)),
            "sharpe_annual": float(rng.normal(0.2, 0.3)),
            "mean_turnover": 0.2,
            "mean_abs_weight": 0.7,
            "hit_rate": 0.51,
        }
        for name in symbols
    ]
    reasons = (
        f"production: PSR {psr:.3f} after 2 look(s) at the period is below 0.95",
        "research: deflated Sharpe ratio 0.610 of the chosen trial is below 0.95 (5 trials started)",
    )
    looks = [
        {"experiment": name, "at": str(at), "first": "2007-05-01", "last": "2008-01-04", "n_folds": len(specs)}
        for name, at in (("demo", "2024-04-01T10:00:00+00:00"), ("small", "2024-05-06T07:30:00+00:00"))
    ]
    ups, told = (rng.uniform(size=900) < 0.52).astype(int), rng.uniform(0.3, 0.7, 900)
    accuracy = describe_probabilities(ups, told) | {"reliability": reliability_rows(ups, told)}
    accuracy |= {"n_bars": 300, "accuracy_ci_bars": (0.44, 0.57), "break_even_accuracy": 0.567}
    return OosPerformance(
        snapshot_id=SNAPSHOT,
        verdict="NO-GO",
        reasons=reasons,
        net=json_ready({**net, "psr_after_looks": psr}),
        gross=json_ready(gross),
        baselines=json_ready(baselines),
        costs=json_ready(costs),
        folds=tuple(json_ready(row) for row in folds),
        research=json_ready(research),
        looks=2,
        direction=json_ready({"tft": accuracy, "lgbm": accuracy, "class_balance": {"pos": 460, "neg": 440}}),
        track_record=json_ready(track_record(portfolio["net"].to_numpy(), bars_per_year=YEAR)),
        monthly=tuple(json_ready(row) for row in monthly_returns(portfolio["timestamp"], portfolio["net"].to_numpy())),
        symbols=tuple(json_ready(row) for row in by_symbol),
        superiority=json_ready(superior),
        notes=("ridge, trained on the same folds and features, has the higher net Sharpe ratio",),
        looks_seen=tuple(looks),
    )


def _guard(name: str, passed: bool | None) -> dict[str, Any]:
    return {
        "guard": name,
        "claim": "no position up to a bar depends on later bars",
        "tried": "all values after 3 dates replaced by noise",
        "passed": passed,
        "detail": "0 of 1,200 positions changed",
    }


def _latency(fold: str) -> LatencyBenchmark:
    took = np.random.default_rng(7).gamma(30.0, 0.1, 200)
    fresh = {"total_ms": 420.0, "start_ms": 60.0, "import_ms": 340.0, "load_ms": 18.0, "first_decision_ms": 2.0}
    rows = tuple(
        {
            "form": form,
            "chosen": form == "onnx_window",
            "difference": 1e-7,
            **latency_figures(factor * took),
            "export_s": None,
            "load_ms": 8.0,
            "first_decision_ms": 5.0,
            "cold_start": fresh | {"memory_mb": 90.0},
            "distribution": distribution(factor * took),
        }
        for form, factor in (("eager", 4.0), ("onnx_window", 1.0))
    )
    loop = {"form": "onnx_window", "rate_per_s": 100.0, "arrivals": "poisson", "n": 200, **latency_figures(1.5 * took)}
    return LatencyBenchmark(
        fold=fold,
        weights_sha256="1" * 64,
        latency_ms=latency_figures(took),
        environment={"device": "cpu", "threads": 1, "cold_start_ms": 420.0, "load_ms": 8.0, "first_decision_ms": 5.0},
        warmup=20,
        n=200,
        max_p95_ms=40.0,
        within_limit=True,
        form="onnx_window",
        forms=rows,
        left_out={"onnx_stream": "an lstm starts from zero states at the first bar of each window"},
        open_loop=loop
        | {"service_p95": 4.4, "busy_share": 0.3, "queued_share": 0.1, "distribution": distribution(1.5 * took)},
        machine={"cores": 2, "load_before": 0.4, "load_after": 0.5, "other_busy_share": 0.12},
    )


def _drift(rng: np.random.Generator, fold: str, features: Sequence[str]) -> DriftRecord:
    rows = tuple(
        {
            "feature": name,
            "psi": float(rng.exponential(0.15)),
            "verdict": "stable",
            "reason": "PSI small, not significant at 0.05",
        }
        for name in features
    )
    detail = {"reason": "0 retrain, 0 investigate; nothing significant", "family_p_value": 0.4}
    return DriftRecord(fold=fold, verdict="stable", n_reference=300, n_recent=21, rows=rows, detail=detail)


def minute_stamps(n: int) -> list[datetime]:
    """n minutes in a row, UTC."""
    return [datetime(2024, 1, 2, tzinfo=UTC) + timedelta(minutes=k) for k in range(n)]
