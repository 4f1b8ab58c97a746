"""The bundle that a run writes: whole, verified, no pickle in it, and the backtest's positions on every scored bar."""

import json
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.domain.features import resolve_features
from tft_pipeline.domain.findings import EnsembleWeights, ReleaseRecord
from tft_pipeline.domain.gate_row import FAIL, PASS, GateRow
from tft_pipeline.domain.release_gates import GATES
from tft_pipeline.domain.reports import FeatureCatalogue, FoldPlanReport
from tft_pipeline.live.onnx_predictor import OnnxPredictor
from tft_pipeline.pipeline.assets import release as release_asset
from tft_pipeline.pipeline.bundling import StagedBundle, fill_version, stage_bundle
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.gate_claims import CLAIMS
from tft_pipeline.pipeline.panels import fold_panel
from tft_pipeline.storage.artifacts import read_artifact, write_artifact
from tft_pipeline.storage.deployments import deployments, linked_release
from tft_pipeline.storage.release_bundle import ReleaseBundle, current_bundle, read_release_bundle
from tft_pipeline.storage.rollback import roll_back
from tft_pipeline.storage.snapshots import read_snapshot
from tft_pipeline_tests.conftest import Workbench, write_experiment
from tft_pipeline_tests.storage.test_release_bundle import no_pickles
from tft_pipeline_tests.stored import stored_fold, stored_report

FILES = {
    "weights.safetensors", "network.json", "fold.json", "lightgbm.txt", "predictions.parquet", "signature.json",
    "features.json", "window.onnx", "stream.onnx", "ensemble.json", "calibration.json", "gate.json", "model_card.json",
    "model_card.md", "model_card.html", "performance_targets.json",
}  # fmt: skip


def released(bench: Workbench) -> tuple[ReleaseRecord, ReleaseBundle]:
    record = stored_report(bench, ReleaseRecord, "release")
    return record, read_release_bundle(Path(record.path))


def staged(bench: Workbench, stage: Path, key: str) -> StagedBundle:
    """The bundle of any production fold, as the asset makes that of the newest."""
    plan = stored_report(bench, FoldPlanReport, "production_plan")
    return stage_bundle(
        stage,
        experiment=bench.graph.experiment,
        spec=plan.spec(key),
        stored=read_artifact(bench.layout.artifact("small", "production_fold", key)),
        fold=stored_fold(bench, key),
        catalogue=stored_report(bench, FeatureCatalogue, "feature_catalogue"),
        ensemble=stored_report(bench, EnsembleWeights, "ensemble_weights"),
        bars=read_snapshot(read_artifact(bench.layout.artifact("small", "snapshot"))).bars,
        symbols=("AAA", "BBB", "CCC", "DDD"),
        form="eager",
    )


def hold_against_backtest(bench: Workbench, bundle: ReleaseBundle, key: str) -> int:
    """Both forms on every scored bar and symbol of a fold; the number of positions compared."""
    plan, fold = stored_report(bench, FoldPlanReport, "production_plan"), stored_fold(bench, key)
    panel = fold_panel(bench.graph, plan.spec(key))
    place = {moment: t for t, moment in enumerate(panel.calendar)}
    window, stream = (OnnxPredictor.load(bundle, form) for form in ("onnx_window", "onnx_stream"))
    lookback, n = bundle.signature.lookback, 0
    for symbol, rows in fold.predictions.sort("timestamp").group_by("symbol", maintain_order=True):
        s, expected = panel.symbols.index(str(symbol[0])), {place[row["timestamp"]]: row for row in rows.to_dicts()}
        cache = stream.start()
        for t in range(min(expected) - lookback + 1, max(expected) + 1):
            seen = bool(panel.observed[s, t])
            bar, cache = stream.step(cache, panel.values[s, t] if seen else None, symbol=panel.symbols[s])
            if t not in expected:
                continue
            bars = slice(t - lookback + 1, t + 1)
            whole = window.window(panel.values[s, bars], panel.observed[s, bars], symbol=panel.symbols[s])
            assert bar is not None
            for said in (bar, whole):
                for name in ("raw_position", "mean", "scale", "probability"):
                    assert getattr(said, name) == pytest.approx(expected[t][name], abs=1e-5)
            n += 1
    assert n == fold.predictions.height
    return n


def test_a_run_writes_every_file_of_a_bundle_and_no_pickle(finished: Workbench) -> None:
    record, bundle = released(finished)
    assert set(bundle.artifact.files) == FILES
    assert record.forms == {"onnx_window": "window.onnx", "onnx_stream": "stream.onnx"}
    no_pickles(bundle.artifact.folder)
    assert oct(bundle.artifact.folder.stat().st_mode)[-3:] == "555"
    assert {oct(path.stat().st_mode)[-3:] for path in bundle.artifact.folder.iterdir()} == {"444"}


def test_the_signature_holds_what_the_records_hold(finished: Workbench) -> None:
    _, bundle = released(finished)
    signature, fitted = bundle.signature, bundle.fitted()
    plan = stored_report(finished, FoldPlanReport, "production_plan")
    catalogue = {row.name: row for row in stored_report(finished, FeatureCatalogue, "feature_catalogue").used}
    spec, experiment = plan.specs[-1], finished.graph.experiment
    assert signature.features == spec.features == fitted.scaler.names
    assert signature.feature_versions == {name: catalogue[name].version for name in spec.features}
    assert [row["formula"] for row in bundle.document("features.json")] == [catalogue[n].formula for n in spec.features]
    assert (signature.lookback, signature.horizon, signature.interval) == (16, 1, "1d")
    assert signature.max_lookback == spec.min_history
    assert signature.symbols == ("AAA", "BBB", "CCC", "DDD")
    assert signature.scaler == fitted.scaler
    assert signature.volatility_span == experiment.target.volatility_span
    assert signature.production_start == "2021-01-15"
    assert signature.calendar["kind"] == "observed", "weekends are not bars"
    assert signature.calendar["step_s"] == 86400
    snapshot = read_snapshot(read_artifact(finished.layout.artifact("small", "snapshot")))
    assert signature.calendar["pauses"] == [{"weekday": 4, "time": None, "gap_s": 3 * 86_400}]
    assert signature.dated is (snapshot.bars["timestamp"].dt.time() == time(0)).all()
    assert (signature.stamp, signature.opened_before) == ("close", timedelta(0))
    assert signature.history_start == snapshot.manifest["event_range"]["start"]
    everything = resolve_features(("close",), groups=(), names=list(signature.feature_versions), has_market=False)
    recursive = {feature.name for feature in everything.features if feature.recursive}
    assert signature.recursive_features == tuple(name for name in signature.features if name in recursive)
    assert signature.point_in_time is False
    assert signature.raw_columns == ("close",)
    ensemble = stored_report(finished, EnsembleWeights, "ensemble_weights")
    assert bundle.document("ensemble.json")["weights"] == ensemble.weights
    assert bundle.document("calibration.json")["sources"] == ensemble.calibration


def test_the_gate_file_is_about_these_weights_and_every_gate_is_a_check(finished: Workbench) -> None:
    record, bundle = released(finished)
    gates = bundle.document("gate.json")
    assert (gates["release_id"], gates["weights_sha256"]) == (record.release_id, bundle.signature.weights_sha256)
    assert tuple(gates["gates"]) == record.gates or gates["gates"] == list(record.gates)
    own = next(row for row in gates["gates"] if row["name"] == "bundle_verified")
    assert "eager torch, onnx_window, onnx_stream were loaded" in own["why"]
    assert own["figures"]["difference_onnx_stream"] <= 1e-5
    gates_by_check = {check: gate for gate, (check, _) in CLAIMS.items()}
    with finished.instance() as instance:
        found = {}
        for key in finished.definitions.resolve_asset_graph().asset_check_keys:
            if key.asset_key.path[-1] != "release":
                continue
            event = instance.get_latest_asset_check_evaluation_record(key).event  # type: ignore[union-attr]
            assert event is not None
            found[gates_by_check[key.name]] = event.asset_check_evaluation.passed  # type: ignore[union-attr]
    assert set(found) == set(GATES)
    assert found == {row["name"]: row["verdict"] != FAIL for row in gates["gates"]}
    assert not all(found.values())


def test_both_forms_equal_the_backtest_on_every_scored_bar_of_the_released_fold(finished: Workbench) -> None:
    record, bundle = released(finished)
    assert hold_against_backtest(finished, bundle, record.fold) > 100


@pytest.mark.slow
def test_both_forms_equal_the_backtest_on_every_scored_bar_of_every_fold(finished: Workbench, tmp_path: Path) -> None:
    for key in finished.folds():
        made = staged(finished, tmp_path / key, key)
        assert made.problems == ()
        assert hold_against_backtest(finished, made.bundle, key) > 100


def passing(*_: object, **__: object) -> list[GateRow]:
    """Every gate says yes, whatever it is asked."""
    return [GateRow(name=name, value=1, threshold=1, verdict=PASS, why=f"why {name}", source="") for name in GATES]


def let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's model passes every gate, and its card says so."""
    complete = release_asset.complete_card
    monkeypatch.setattr(release_asset, "release_gate_rows", passing)
    monkeypatch.setattr(
        release_asset, "complete_card", lambda card, **rest: complete({**card, "verdict": "GO", "reasons": []}, **rest)
    )


def release_again(bench: Workbench) -> ReleaseRecord:
    answer = materialise_asset(bench.file, "release", partition=None, downstream=False, report=str)
    assert not answer["failed"], answer
    return stored_report(bench, ReleaseRecord, "release")


def test_a_release_goes_live_when_every_gate_passes_unless_a_person_is_to_do_it(
    finished: Workbench, monkeypatch
) -> None:
    models = finished.layout.models("small")
    let_pass(monkeypatch)
    made = release_again(finished)
    assert made.live
    assert made.deployed is not None
    assert made.deployed["gates"] == "passed"
    assert made.targets[-1]["passed"] is True
    assert current_bundle(models).model_id == linked_release(models) == made.release_id
    assert (models / "best_tft.safetensors").resolve() == Path(made.path) / "weights.safetensors"
    assert json.loads((models / "best_tft_model_card.json").read_text())["release_id"] == made.release_id
    assert [entry.target for entry in deployments(models)] == [made.release_id]
    write_experiment(finished.folder, {"gates.deploy": "manual"})
    waits = release_again(finished)
    assert (waits.live, linked_release(models)) == (False, made.release_id)
    assert "gates.deploy is manual" in waits.note
    assert waits.targets[-1]["detail"].startswith(f"{waits.release_id} is not deployed; live is {made.release_id}")


@pytest.mark.slow
def test_weights_that_somebody_went_back_from_stay_held(finished: Workbench, monkeypatch) -> None:
    models = finished.layout.models("small")
    let_pass(monkeypatch)
    first = release_again(finished)
    made = staged(finished, finished.folder / "stage", finished.folds()[0])
    from tft_pipeline.storage.deployments import deploy
    from tft_pipeline.storage.releases import write_version

    fill = fill_version(made, {"model_card.json": json.dumps({"verdict": "GO"}), "gate.json": "{}"})
    older = write_version(models, release_id="older", fill=fill).files
    weights, card = older["weights.safetensors"], older["model_card.json"]
    deploy(models, "older", action="release", reason="", verdict="GO", weights_sha256=weights, card_sha256=card)
    roll_back(models, first.release_id, reason="back")
    roll_back(models, "older", reason="drawdown")
    again = release_again(finished)
    assert (again.live, linked_release(models)) == (False, "older")
    assert "drawdown" in again.note
    assert again.targets[-1]["passed"] is None


@pytest.mark.slow
def test_a_form_that_says_something_else_is_a_problem_of_the_bundle(
    finished: Workbench, tmp_path: Path, monkeypatch
) -> None:
    from tft_pipeline.model import released_form

    ask = released_form.difference_to_torch
    calls: list[str] = []

    def drifts(fitted: Any, form: str, model: bytes, *, seed: int) -> float:
        calls.append(form)
        return ask(fitted, form, model, seed=seed) + (
            0.1 if len(calls) > 2 else 0.0
        )  # right when made, wrong when asked

    monkeypatch.setattr(released_form, "difference_to_torch", drifts)
    made = staged(finished, tmp_path / "stage", finished.folds()[-1])
    assert len(made.problems) == 1
    assert "the form onnx_stream differs from eager torch by up to 1.0e-01" in made.problems[0]


def test_a_file_may_not_be_written_twice_into_a_version(finished: Workbench, tmp_path: Path) -> None:
    _, bundle = released(finished)
    made = StagedBundle(bundle=bundle, problems=(), position=0.0, differences={})
    with pytest.raises(ValueError, match=r"window\.onnx is a file of the bundle already"):
        write_artifact(tmp_path / "version", fill_version(made, {"window.onnx": "other"}))
