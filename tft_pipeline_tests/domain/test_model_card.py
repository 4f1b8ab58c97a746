import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from tft_pipeline.domain.findings import DriftRecord, EnsembleWeights, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.manifest import snapshot_manifest
from tft_pipeline.domain.model_card import build_card
from tft_pipeline.domain.planning import production_folds
from tft_pipeline.domain.reports import (
    FeatureCatalogue,
    FeatureRow,
    FoldPlanReport,
    PrefilteredFeatures,
    SelectedFeatures,
    TrialRow,
    TunedHyperparameters,
)
from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline_tests.builders import FEATURES, planned, small, toy_panel
from tft_pipeline_tests.conftest import random_bars

GUIDE = {
    "version": "2",
    "model_name": "tft_prod",
    "created_at": "2025-10-15T12:00:00Z",
    "train": {
        "snapshot_id": "2025-10-15T12-00-00Z",
        "range": {"start": "2025-07-15", "end": "2025-10-15"},
        "rows": 130000,
        "class_balance": {"pos": 65000, "neg": 65000},
    },
    "metrics": {"accuracy": 0.65, "val_loss": 0.68},
    "latency_ms": {"mean": 12.5, "p50": 12.2, "p95": 15.8, "p99": 18.3},
    "architecture": {
        "seq_len": 64,
        "hidden_size": 128,
        "total_params": 285000,
        "features": ["close", "volume", "ret_1m", "sma_20_gap", "sma_50_gap"],
    },
    "inference": {"device": "cpu", "threads": 1, "warmup_n": 20},
}
TAKEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def card(
    *,
    reasons: tuple[str, ...] = (),
    p95: float | None = 12.0,
    drift: str = "stable",
    psi: tuple[float | None, ...] = (0.1, None, 0.3),
    network: dict[str, Any] | None = None,
    leak: str | None = None,
    research_last: str | None = None,
) -> dict[str, Any]:
    experiment = small({f"network.{key}": value for key, value in (network or {}).items()})
    bars = random_bars()
    panel = toy_panel(bars, experiment)
    plan = FoldPlanReport(
        phase="production",
        snapshot_id="s",
        purge=5,
        specs=planned(panel, experiment, production_folds(panel, experiment), production=True),
        research_last=research_last,
    )
    folds = {
        spec.key: {
            "best_epoch": k,
            "validation_loss": 0.5 + k,
            "n_train_labels": 400,
            "train_rows": 480,
            "n_parameters": 1234,
            "weights_sha256": "ab",
            "seconds": 2.0,
            "seed": 50 - k,
            "class_balance": {"pos": 280, "neg": 200},
        }
        for k, spec in enumerate(plan.specs)
    }
    return build_card(
        experiment=experiment,
        created_at=TAKEN,
        manifest=snapshot_manifest(bars, created_at=TAKEN, interval="1d", source={}, environment={}),
        catalogue=FeatureCatalogue(
            used=tuple(
                FeatureRow(name=name, group="g", formula="f", lookback=1, inputs=(), version="1") for name in FEATURES
            ),
            skipped={},
            user_columns=(),
            max_lookback=11,
        ),
        prefiltered=PrefilteredFeatures(kept=FEATURES[:2], dropped=(), first="a", last="b", n_rows=3),
        selected=SelectedFeatures(
            features=FEATURES[:1],
            rows=({"feature": "past_return", "kept": True}, {"feature": "mean_5", "kept": False}),
            groups=({"group": "past"},),
            thresholds={},
            nogueira=None,
            kendall_w=None,
        ),
        tuned=TunedHyperparameters(
            network=experiment.network,
            training=experiment.training,
            position=experiment.position,
            best_trial=3,
            best_sharpe_annual=1.25,
            study="small-1",
            n_trials_started=9,
            n_pruned=2,
            fold_keys=("f1",),
            trials=(TrialRow(number=3, state="complete", params={}, sharpe_annual=1.25, fold_sharpes=(), returns=()),),
            seconds=10.0,
        ),
        plan=plan,
        folds=folds,
        performance=OosPerformance(
            snapshot_id="s",
            verdict="NO-GO" if reasons else "GO",
            reasons=reasons,
            net={"sharpe_annual": 0.7},
            gross={"sharpe_annual": 0.9},
            baselines={"long_only": {"sharpe_annual": 0.5}},
            costs={"cost_bps": 5.0},
            folds=({"fold": "f1"},),
            research={"dsr": 0.96},
            looks=2,
            direction={"tft": {"accuracy": {"value": 0.52}}},
            track_record={"max_drawdown": 0.1},
            monthly=(),
            symbols=(),
            superiority={"superior": []},
            notes=("a note",),
            looks_seen=(),
        ),
        audit=LeakageAudit(
            rows=(
                {"guard": "held", "claim": "c", "tried": "t", "passed": True, "detail": ""},
                {
                    "guard": "tried",
                    "claim": "c",
                    "tried": "t",
                    "passed": None if leak is None else False,
                    "detail": leak,
                },
            ),
            passed=leak is None,
        ),
        latency=LatencyBenchmark(
            fold="f1",
            weights_sha256="ab",
            latency_ms={"mean": 10.0, "p50": 9.0, "p95": 12.0, "p99": 14.0, "p999": None, "p95_ci": [11.0, p95]},
            environment={"device": "cpu", "threads": 1, "cold_start_ms": 5.0, "load_ms": 4.0},
            warmup=2,
            n=20,
            max_p95_ms=40.0,
            within_limit=p95 is not None and p95 <= 40.0,
            form="onnx_window",
            open_loop={"p95": 13.0, "distribution": {"ms": [1.0], "share": [1.0]}},
        ),
        drift=DriftRecord(
            fold="f1",
            verdict=drift,
            n_reference=100,
            n_recent=10,
            rows=tuple({"psi": value} for value in psi),
            detail={},
        ),
        ensemble=EnsembleWeights(weights={"tft": 1.0}, available={"tft": True}, metrics={}, folds=(), calibration={}),
        resources={"timeline": [{"phase": "Snapshot"}], "system": [], "machine": {}},
        environment={"python": "3"},
    )


def paths(value: Any, at: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {at}
    return set().union(*(paths(item, f"{at}/{key}") for key, item in value.items()), {at})


def test_every_key_of_the_guides_card_stands_at_its_place():
    assert paths(GUIDE) <= paths(card())


def test_the_kinds_of_the_guides_values_are_kept():
    found = card()
    assert found["version"] == "2"
    assert isinstance(found["train"]["rows"], int)
    assert found["train"]["rows"] == sum(found["train"]["class_balance"].values())
    assert isinstance(found["architecture"]["features"], list)
    assert found["architecture"]["seq_len"] == 16
    assert found["architecture"]["hidden_size"] == 4
    assert found["inference"]["warmup_n"] == 2
    datetime.fromisoformat(found["created_at"])


@pytest.mark.parametrize("family", get_args(NetworkSection.model_fields["family"].annotation))
def test_the_card_names_the_network_that_was_trained(family):
    architecture = card(network={"family": family})["architecture"]
    words = {"tft": "decoder-only", "lstm": "LSTM", "pytorch_forecasting": "pytorch-forecasting"}
    assert words[family] in architecture["class"]
    assert architecture["family"] == family
    assert (architecture["heads"] is None) == (family == "lstm")


def test_the_card_says_what_the_network_reads_besides_its_bars():
    architecture = card(network={"static_symbol": True, "n_context": 3})["architecture"]
    assert architecture["static_symbol"] is True
    assert architecture["n_context"] == 3


def test_the_card_is_finite_json():
    assert json.loads(json.dumps(card(), allow_nan=False)) == card()


def test_figures_of_the_model_are_those_of_the_newest_fold():
    found = card()
    n_folds = len(found["train"]["folds"])
    assert n_folds > 2
    assert found["metrics"]["val_loss"] == 0.5 + n_folds - 1
    assert found["train"]["range"]["start"] == found["train"]["folds"][-1]["train"]["first"]
    assert found["train"]["range"]["end"] == found["train"]["folds"][-1]["validation"]["last"]
    assert found["train"]["seeds"] == sorted(50 - k for k in range(n_folds))
    assert found["train"]["duration_s"] == 10.0 + 2.0 * n_folds


def test_where_the_hyper_parameters_and_features_come_from_is_told():
    found = card()["train"]
    assert found["hp_source"] | {"metric": ""} == {
        "study": "small-1",
        "trial": 3,
        "n_trials": 9,
        "n_pruned": 2,
        "metric": "",
        "value": 1.25,
    }
    chosen = found["feature_selection"]
    assert (chosen["initial"], chosen["after_prefilter"], chosen["selected"]) == (3, 2, 1)
    assert chosen["features"] == [{"feature": "past_return", "kept": True}]


def test_no_reason_is_go():
    found = card()
    assert found["verdict"] == "GO"
    assert found["reasons"] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reasons": ("production: PSR 0.5",)}, ["production: PSR 0.5"]),
        ({"p95": 40.5}, ["latency: the upper bound 40.5 ms of the p95 is above 40 ms"]),
        ({"p95": None}, ["latency: 20 timed calls are too few to bound the p95 from above: at 95% it takes 72"]),
        ({"drift": "retrain"}, ["drift: retrain over the last 10 bars"]),
        ({"drift": "insufficient_data"}, ["drift: insufficient_data"]),
    ],
)
def test_each_reason_alone_is_no_go_and_stands_on_the_card(changes, words):
    found = card(**changes)
    assert found["verdict"] == "NO-GO"
    assert len(found["reasons"]) == 1
    assert words[0] in found["reasons"][0]


def test_the_card_says_whether_it_is_contaminated_which_guards_held_and_what_to_note():
    found = card()
    assert found["contaminated"] is False
    first = found["train"]["folds"][0]["test"]["first"]
    assert card(research_last=first)["contaminated"] is True
    assert card(research_last="2019-01-01T00:00:00+00:00")["contaminated"] is False
    assert found["leakage_audit"] == {"passed": True, "guards": {"held": True, "tried": None}}
    assert found["notes"] == ["a note"]


def test_a_latency_at_its_limit_and_a_drift_to_investigate_do_not_stop_a_release():
    assert card(p95=40.0, drift="investigate")["verdict"] == "GO"


def test_the_largest_psi_leaves_out_features_without_one():
    assert card()["drift"]["psi_max"] == 0.3
    assert card(psi=(None,))["drift"]["psi_max"] is None


def test_the_index_is_no_symbol_of_the_model_and_no_machine_path_is_told():
    text = json.dumps(card())
    assert not re.search(r'"/[a-z]', text)
    assert str(Path.home()) not in text


def test_the_card_says_which_form_was_timed_and_leaves_the_drawing_of_its_open_loop_out():
    inference = card()["inference"]
    assert inference["form"] == "onnx_window"
    assert inference["open_loop"] == {"p95": 13.0}
