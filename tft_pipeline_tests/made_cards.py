"""Made-up model cards for tests: of a run, completed for a release, overridden. Nothing is trained. Not here: tests."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tft_pipeline.domain.card_completion import complete_card, override_card
from tft_pipeline.domain.card_train import MadeWith
from tft_pipeline.domain.classification import describe_probabilities, reliability_rows
from tft_pipeline.domain.direction_intervals import direction_intervals
from tft_pipeline.domain.findings import DriftRecord, EnsembleWeights, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.gate_names import CHALLENGER, GATES
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.domain.manifest import snapshot_manifest
from tft_pipeline.domain.model_card import build_card
from tft_pipeline.domain.planning import production_folds
from tft_pipeline.domain.release_gates import gate_document
from tft_pipeline.domain.reports import (
    FeatureCatalogue,
    FeatureRow,
    FoldPlanReport,
    PrefilteredFeatures,
    SelectedFeatures,
    TrialRow,
    TunedHyperparameters,
)
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.signature import Signature
from tft_pipeline_tests.builders import FEATURES, planned, small, toy_panel
from tft_pipeline_tests.conftest import random_bars

TAKEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
RELEASE_ID = "2024-05-06T08-00-00Z-01234567"
WEIGHTS = "ab" * 32
FILES = {"weights.safetensors": WEIGHTS} | dict.fromkeys(
    ("network.json", "fold.json", "lightgbm.txt", "predictions.parquet", "signature.json", "features.json", "ensemble.json",
     "calibration.json"),
    "1" * 64,
)  # fmt: skip
ASSET_OF = {
    "catalogue": "feature_catalogue",
    "prefiltered": "prefiltered_features",
    "selected": "selected_features",
    "tuned": "tuned_hyperparameters",
    "plan": "production_plan",
    "performance": "oos_performance",
    "audit": "leakage_audit",
    "latency": "latency_benchmark",
    "drift": "drift_report",
    "ensemble": "ensemble_weights",
}
"""Asset by argument of `build_card`."""


def card_inputs(
    *,
    reasons: tuple[str, ...] = (),
    p95: float | None = 12.0,
    drift: str = "stable",
    psi: tuple[float | None, ...] = (0.1, None, 0.3),
    network: Mapping[str, Any] | None = None,
    leak: str | None = None,
    research_last: str | None = "2019-01-01T00:00:00+00:00",
    experiment: Mapping[str, Any] | None = None,
    probabilities: bool = True,
    features: tuple[str, ...] = FEATURES,
) -> dict[str, Any]:
    """Arguments of `build_card`: a small experiment with as many folds as its bars give."""
    settings = small({f"network.{key}": value for key, value in (network or {}).items()} | dict(experiment or {}))
    bars = random_bars()
    panel = toy_panel(bars, settings)
    specs = planned(panel, settings, production_folds(panel, settings), production=True)
    renamed = tuple(spec.model_copy(update={"features": features}) for spec in specs)
    plan = FoldPlanReport(
        phase="production", snapshot_id="s", purge=5, specs=renamed, research_last=research_last, n_unscored_bars=3
    )
    direction, intervals = _direction() if probabilities else ({"class_balance": {"pos": 1, "neg": 2}}, None)
    records: dict[str, Any] = {
        "catalogue": FeatureCatalogue(
            used=tuple(
                FeatureRow(name=name, group="g", formula="f", lookback=1, inputs=(), version="1") for name in features
            ),
            skipped={},
            user_columns=(),
            max_lookback=11,
        ),
        "prefiltered": PrefilteredFeatures(kept=features[:2], dropped=(), first="a", last="b", n_rows=3),
        "selected": SelectedFeatures(
            features=features[:1],
            rows=(
                {"feature": features[0], "kept": True, "weight": 0.2, "stability": 0.75, "importance": None},
                {"feature": features[1], "kept": False, "weight": 0.1, "stability": 0.0, "importance": None},
            ),
            groups=({"group": "past", "initial": 3, "kept": 1, "weight": 0.2},),
            thresholds={},
            nogueira=None,
            kendall_w=0.4,
            undefined={"nogueira": "one fold only"},
        ),
        "tuned": TunedHyperparameters(
            network=settings.network,
            training=settings.training,
            position=settings.position,
            best_trial=3,
            best_sharpe_annual=1.25,
            study="small-1",
            n_trials_started=9,
            n_pruned=2,
            fold_keys=("f1",),
            trials=(TrialRow(number=3, state="complete", params={}, sharpe_annual=1.25, fold_sharpes=(), returns=()),),
            seconds=10.0,
        ),
        "plan": plan,
        "performance": _performance(plan, reasons, direction),
        "audit": LeakageAudit(
            rows=(
                {"guard": "held", "claim": "c", "tried": "t", "state": "held", "passed": True, "detail": ""},
                {
                    "guard": "tried",
                    "claim": "c",
                    "tried": "t",
                    "state": "not_verifiable" if leak is None else "leak",
                    "passed": None if leak is None else False,
                    "detail": leak or "the source brings the column ready-made",
                },
            ),
            passed=leak is None,
        ),
        "latency": _latency(p95),
        "drift": DriftRecord(
            fold="f1",
            verdict=drift,
            n_reference=100,
            n_recent=10,
            rows=tuple({"psi": value} for value in psi),
            detail={"psi_threshold": 0.25},
            reasons=("features ask for nothing",),
        ),
        "ensemble": EnsembleWeights(
            weights={"tft": 1.0, "lgbm": 0.0},
            available={"tft": True, "lgbm": False},
            metrics={"log_loss": 0.69},
            folds=(),
            calibration={"tft": {"slope": 1.1, "intercept": 0.01}},
        ),
    }
    facts = {spec.key: _facts(k, spec, probabilities) for k, spec in enumerate(plan.specs)}
    contents: dict[str, Any] = {ASSET_OF[name]: record.content_sha256() for name, record in records.items()}
    return records | {
        "experiment": settings,
        "created_at": TAKEN,
        "manifest": snapshot_manifest(bars, created_at=TAKEN, interval="1d", source={"name": "b"}, environment={}),
        "folds": facts,
        "made": MadeWith(
            environment={"python": "3", "packages": {}, "code_commit": None, "code_modified": None},
            dagster={"version": "1", "run_id": "r", "asset": "small/model_card", "code_version": "7-x"},
            mlflow={
                "version": "3",
                "experiment": "small",
                "server": "local database",
                "folds_mirrored": 1,
                "folds_waiting": 0,
            },
            resources={"timeline": [{"phase": "Snapshot", "peak_gpu_mib": None}], "system": [], "machine": {}},
        ),
        "schedule": {"name": "small_nightly_drift", "cron": "0 3 * * *", "timezone": "UTC"},
        "contents": {**contents, "snapshot": "5" * 64, "production_fold": dict.fromkeys(facts, "6" * 64)},
        "intervals": intervals,
    }


def made_card(**changes: Any) -> dict[str, Any]:
    """The card of a run; `changes` as `card_inputs` takes them."""
    return build_card(**card_inputs(**changes))


def made_gates(*, failed: tuple[str, ...] = (), compared: bool = True) -> dict[str, Any]:
    """gate.json of every gate, some of them failed."""
    figures = {"n_bars": 40, "champion": "older", "difference_annual": 0.5, "low_annual": -0.25, "high_annual": 1.25}
    challenger = GateRow(
        name="challenger",
        value=1.25 if compared else None,
        rule=">=",
        threshold=0.0 if compared else None,
        verdict="pass" if compared else "not_applicable",
        why="40 bars were compared" if compared else "nothing is live",
        source="models/versions/current",
        value_reason="" if compared else "nothing is live",
        figures={**figures, "p_value": 0.2, "champion_weights_sha256": "cd" * 32} if compared else {},
    )
    rows = [
        GateRow(
            name=name,
            value=0.9 if name in failed else 0.99,
            rule=">=",
            threshold=0.95,
            verdict="fail" if name in failed else "pass",
            why=f"{name} was judged",
            source="oos_performance.net",
        )
        for name in GATES
        if name != CHALLENGER
    ]
    return gate_document(
        [*rows, challenger], release_id=RELEASE_ID, weights_sha256=WEIGHTS, fold="f1", created_at=TAKEN.isoformat()
    )


def completed(
    card: dict[str, Any] | None = None, *, previous: dict[str, Any] | None = None, **gates: Any
) -> dict[str, Any]:
    """A card of a release; `gates` as `made_gates` takes them; of a card that says NO-GO the gate `verdict` fails."""
    card = made_card() if card is None else card
    failed = gates.pop("failed", ()) + (("verdict",) if card["verdict"] != "GO" else ())
    return complete_card(
        card,
        gates=made_gates(failed=failed, **gates),
        files=FILES,
        release_id=RELEASE_ID,
        signature=made_signature(),
        previous=previous,
    )


def overridden(card: dict[str, Any] | None = None) -> dict[str, Any]:
    """A card of a release that was made live although a gate failed."""
    gates = made_gates(failed=("checkpoints",))
    whole = {"reason": "a drill", "who": "me", "at": "2024-05-07T00:00:00+00:00", "failed": ["checkpoints"]}
    gates |= {"release_id": f"{RELEASE_ID}-override", "override": whole}
    return override_card(completed(card, failed=("checkpoints",)), gates)


def made_signature() -> dict[str, Any]:
    """A signature of the small experiment."""
    one = np.ones(len(FEATURES))
    scaler = Scaler(names=FEATURES, mean=one, std=one, n=np.full(len(FEATURES), 9))
    return Signature(
        experiment="small",
        features=FEATURES,
        feature_versions=dict.fromkeys(FEATURES, "1"),
        max_lookback=11,
        lookback=16,
        horizon=1,
        interval="1d",
        timezone=None,
        calendar={"kind": "observed", "step_s": 86400, "words": "a bar a day"},
        symbols=("AAA",),
        loss_mode="joint_mle",
        outputs=("mean", "scale"),
        forms={"onnx_window": "window.onnx"},
        left_out={"onnx_stream": "the network reads whole windows"},
        form="onnx_window",
        scaler=scaler,
        max_position=1.0,
        position_smooth=0.0,
        target_volatility=0.15,
        volatility_span=20,
        max_weight=10.0,
        bars_per_year=252.0,
        weights_sha256=WEIGHTS,
        production_start="2021-01-15",
    ).to_dict()


def _facts(k: int, spec: Any, probabilities: bool) -> dict[str, Any]:
    return {
        "best_epoch": k,
        "epochs": k + 2,
        "validation_loss": 0.5 + k,
        "validation_accuracy": 0.51 if probabilities else None,
        "n_train_labels": 400,
        "n_validation_labels": 100,
        "train_rows": 480,
        "n_parameters": 1234,
        "imputed_values": 2,
        "clip": 10.0,
        "flat": (),
        "outputs": ["position", "mean", "scale", "probability"] if probabilities else ["position"],
        "loss_mode": "joint_mle" if probabilities else "sharpe",
        "weights_sha256": WEIGHTS,
        "seconds": 2.0,
        "seed": 50 - k,
        "class_balance": {"pos": 280, "neg": 200},
        "checkpoint_status": "ok",
        "checkpoint_reason": "",
    }


def _direction() -> tuple[dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(3)
    probability, bar = rng.uniform(0.2, 0.8, 240), np.repeat(np.arange(60), 4)
    y = (rng.uniform(size=240) < probability).astype(int)
    found = describe_probabilities(y, probability)
    own = {
        **found,
        "accuracy_ci": list(found["accuracy_ci"]),
        "n_bars": 60,
        "trials": 60.0,
        "accuracy_ci_bars": [0.4, 0.7],
        "break_even_accuracy": 0.53,
        "reliability": [
            {**row, "interval": list(row["interval"])} for row in reliability_rows(y, probability, bars=bar)
        ],
    }
    return {"tft": own, "class_balance": {"pos": 1, "neg": 2}}, direction_intervals(
        y, probability, bar, horizon=1, seed=1
    )


def _performance(plan: FoldPlanReport, reasons: tuple[str, ...], direction: dict[str, Any]) -> OosPerformance:
    folds = tuple(
        {
            "fold": spec.key,
            "n_validation_bars": 30,
            "epochs": 2,
            "validation_sharpe_annual": 1.5,
            "validation_se_annual": 0.5,
            "null_best_annual": 1.7,
            "within_noise": True,
            "oos_sharpe_annual": 0.25 * (k - 1),
            "n_oos_bars": 40,
            "finding": "noise",
        }
        for k, spec in enumerate(plan.specs)
    )
    return OosPerformance(
        snapshot_id="s",
        verdict="NO-GO" if reasons else "GO",
        reasons=reasons,
        net={
            "sharpe": 0.7 / 252**0.5,
            "sharpe_annual": 0.7,
            "se_annual": 0.4,
            "n": 160,
            "psr": 0.9,
            "psr_after_looks": 0.8,
            "bootstrap_ci_annual": [-0.1, 1.5],
            "min_trl": None,
        },
        gross={"sharpe_annual": 0.9},
        baselines={
            "long_only": {"sharpe": 0.5 / 252**0.5, "sharpe_annual": 0.5, "se_annual": 0.3, "psr": 0.8, "n": 160}
        },
        costs={"cost_bps": 5.0, "slippage_bps": 0.0, "mean_turnover": 0.2, "break_even_bps": 11.0},
        folds=folds,
        research={
            "dsr": None,
            "dsr_reason": "two completed trials",
            "pbo": 0.25,
            "n_trials_started": 9,
            "probability_of_loss": 0.1,
            "inflation": {"mean_gap_annual": 1.25, "gap_se_annual": 0.5, "n_both": 3},
        },
        looks=2,
        direction=direction,
        track_record={"max_drawdown": 0.1, "ruin_bar": None},
        monthly=(),
        symbols=(),
        superiority={"superior": [], "spa_p_consistent": 0.8},
        notes=("a note",),
        looks_seen=(),
    )


def _latency(p95: float | None) -> LatencyBenchmark:
    return LatencyBenchmark(
        fold="f1",
        weights_sha256=WEIGHTS,
        latency_ms={
            "mean": 10.0,
            "p50": 9.0,
            "p95": 12.0,
            "p99": 14.0,
            "p999": None,
            "max": 15.0,
            "p50_ci": [8.0, 10.0],
            "p95_ci": [11.0, p95],
            "p99_ci": [13.0, None],
            "unbounded": {"p999": "needs 1,000 calls, there are 20", "p99_ci": "20 calls do not bound it"}
            | ({"p95_ci": "20 calls do not bound it"} if p95 is None else {}),
        },
        environment={"device": "cpu", "threads": 1, "cold_start_ms": 5.0, "load_ms": 4.0},
        warmup=2,
        n=20,
        max_p95_ms=40.0,
        within_limit=p95 is not None and p95 <= 40.0,
        form="onnx_window",
        open_loop={"p95": 13.0, "distribution": {"ms": [1.0], "share": [1.0]}},
        machine={"cores": 2, "load_before": 0.5, "load_after": 0.75, "other_busy_share": 0.25},
    )
