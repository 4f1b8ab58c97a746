"""The gates of a finished small run: exactly which say no, and what storage and a failing disk add."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit, ModelCard, OosPerformance
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.domain.release_gates import GATES, PERFORMANCE, gate_document, verdict_of
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.verdict import GO
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.release_gates import release_gate_rows
from tft_pipeline.storage.fold_bundles import weights_sha256
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.stored import stored_fold, stored_report

NEAR = {"probability_of_loss", "degradation", "baselines"}
"""So near their limits in the small run that another processor's rounding may turn them."""


def inputs(bench: Workbench) -> dict[str, Any]:
    plan = stored_report(bench, FoldPlanReport, "production_plan")
    return {
        "plan": plan,
        "folds": {spec.key: stored_fold(bench, spec.key) for spec in plan.specs},
        "performance": stored_report(bench, OosPerformance, "oos_performance"),
        "audit": stored_report(bench, LeakageAudit, "leakage_audit"),
        "latency": stored_report(bench, LatencyBenchmark, "latency_benchmark"),
        "drift": stored_report(bench, DriftRecord, "drift_report"),
    }


def rows(bench: Workbench, **changes: Any) -> dict[str, GateRow]:
    return {row.name: row for row in release_gate_rows(bench.graph, **{**inputs(bench), **changes})}


def failed(found: dict[str, GateRow]) -> set[str]:
    return {name for name, row in found.items() if row.blocks}


def test_the_small_run_says_exactly_which_gates_fail_and_its_verdict_is_the_cards(finished: Workbench) -> None:
    found = rows(finished)
    assert tuple(found) == GATES
    performance = inputs(finished)["performance"]
    assert failed(found) - NEAR == {
        "probabilistic_sharpe_ratio",
        "deflated_sharpe_ratio",
        "verdict",
        "latency_p95",
        "drift",
        "sharpe_lower_bound",
    }
    words = " ".join(performance.reasons)
    said = {
        "probability_of_loss": "probability of loss",
        "degradation": "research: the best trial",
        "baselines": "the model does not",
    }
    assert {name for name in NEAR if found[name].blocks} == {name for name in NEAR if said[name] in words}
    assert [name for name, row in found.items() if row.verdict == "not_applicable"] == [
        "accuracy_lower_bound",
        "challenger",
    ]
    card = stored_report(finished, ModelCard, "model_card").card
    assert verdict_of([row.to_dict() for row in found.values()]) == card["verdict"] == "NO-GO"
    own = failed(found) & (set(PERFORMANCE) - {"verdict", "latency_p95", "drift"})
    assert (own == set()) is (performance.verdict == GO)
    assert found["sharpe_lower_bound"].value == performance.net["bootstrap_ci_annual"][0]
    assert "20 timed calls are too few" in found["latency_p95"].why
    for row in found.values():
        asset = row.source.split(".")[0].split("/")[0]
        assert asset == "models" or (finished.layout.experiment("small") / asset).is_dir()


def test_its_gate_file_is_finite_json_about_its_own_weights(finished: Workbench) -> None:
    given = inputs(finished)
    newest = given["plan"].specs[-1].key
    weights = weights_sha256(given["folds"][newest].fitted)
    document = gate_document(
        release_gate_rows(finished.graph, **given),
        release_id="r",
        weights_sha256=weights,
        fold=newest,
        created_at="2026-01-01T00:00:00+00:00",
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["passed"] is False


def test_a_stored_bundle_that_is_damaged_or_of_other_weights_and_a_form_that_differs_fail_their_gate(
    finished: Workbench,
) -> None:
    given = inputs(finished)
    newest = given["plan"].specs[-1].key
    assert rows(finished)["bundle_verified"].figures["files"] == 5
    differs = rows(finished, problems=["window.onnx differs by 0.1"])["bundle_verified"]
    assert (differs.verdict, differs.value, differs.why) == ("fail", 1, "window.onnx differs by 0.1")
    fold = given["folds"][newest]
    state = {name: value + 1.0 for name, value in fold.fitted.state.items()}
    other = given["folds"] | {newest: replace(fold, fitted=replace(fold.fitted, state=state))}
    row = rows(finished, folds=other)["bundle_verified"]
    assert row.value == 3
    assert f"the stored weights of {newest} are not those that were judged" in row.why
    assert "latency_benchmark is of the weights" in row.why
    assert "drift_report is of the weights" in row.why
    path = finished.artifact("production_fold", newest) / "lightgbm.txt"
    path.write_text(path.read_text() + " ")
    row = release_gate_rows(finished.graph, **given)[0]
    assert row.verdict == "fail"
    assert "lightgbm.txt: SHA-256 is" in row.why
    assert str(finished.layout.home) not in row.why


@pytest.mark.fault("unwritable_checkpoint")
def test_a_fold_whose_training_state_could_not_be_written_is_made_marked_and_holds_the_model_back(
    finished: Workbench,
) -> None:
    given = inputs(finished)
    key = given["plan"].specs[0].key
    states = finished.layout.training_state("small", "production", key).parent
    if states.exists():
        states.rmdir()
    states.write_text("a file where the folder should be")
    done = materialise_asset(finished.file, "production_fold", partition=key, downstream=False, report=lambda _: None)
    assert not done["failed"], done
    with finished.instance() as instance:
        (record,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(finished.graph.key("production_fold"), asset_partitions=[key]), limit=1
        ).records
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["checkpoint_status"].value == "failed"
    made = stored_fold(finished, key)
    assert weights_sha256(made.fitted) == weights_sha256(given["folds"][key].fitted)
    assert made.checkpoint_status == "failed"
    assert "training state after epoch 0 could not be written: " in made.checkpoint_reason
    assert str(finished.folder) not in made.checkpoint_reason
    journals = [Path(one).read_text() for one in finished.layout.tracking("small").glob(f"production-{key}-*")]
    assert any('"checkpoint_status":"failed"' in text.replace(" ", "") for text in journals)
    row = rows(finished)["checkpoints"]
    assert (row.verdict, row.value) == ("fail", 1)
    assert f"{key}: the training state after epoch 0" in row.why
    assert rows(finished, folds=given["folds"])["checkpoints"].verdict == "pass"


def test_folds_that_are_missing_are_refused_by_name(finished: Workbench) -> None:
    given = inputs(finished)
    newest = given["plan"].specs[-1].key
    with pytest.raises(dg.Failure, match=f"missing \\['{newest}'\\]"):
        rows(finished, folds={key: fold for key, fold in given["folds"].items() if key != newest})
