"""What a fresh process answers is what the model answers, from verified files, and its stages add up."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tft_pipeline.model.export import lstm_onnx
from tft_pipeline.model.forms import decide, decision_facts
from tft_pipeline.model.lstm import LstmNetwork
from tft_pipeline.storage import cold_start, first_decision
from tft_pipeline.storage.artifacts import IntegrityError, write_artifact
from tft_pipeline.storage.cold_start import ColdStartError, cold_starts
from tft_pipeline.storage.first_decision import FACTS_FILE, MODEL_FILE, answer_once
from tft_pipeline.storage.fold_bundles import FoldBundle, write_fold_bundle
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit


@pytest.fixture(scope="module")
def bundle() -> FoldBundle:
    network = NETWORK.model_copy(update={"family": "lstm"})
    return FoldBundle(
        key="f",
        spec_sha256="",
        fitted=small_fit(random_panel(), network=network, epochs=1),
        class_balance={"pos": 1, "neg": 1},
        boosting="",
        predictions=pl.DataFrame({"fold": ["f"]}),
        seconds=0.0,
    )


@pytest.fixture(scope="module")
def exported(bundle: FoldBundle) -> bytes:
    network = bundle.fitted.build()
    assert isinstance(network, LstmNetwork)
    return lstm_onnx(network, lookback=16)


@pytest.fixture
def expected(bundle: FoldBundle) -> float:
    means = np.tile(bundle.fitted.scaler.mean.astype(np.float32), (16, 1))
    with torch.inference_mode():
        return decide(bundle.fitted.build(), bundle.fitted, means)


def test_the_answer_from_files_is_that_of_the_model(
    bundle: FoldBundle, exported: bytes, expected: float, tmp_path: Path
) -> None:
    def fill(folder: Path) -> None:
        (folder / MODEL_FILE).write_bytes(exported)
        (folder / FACTS_FILE).write_text(json.dumps(decision_facts(bundle.fitted)))

    write_artifact(tmp_path / "eager", lambda folder: write_fold_bundle(bundle, folder))
    write_artifact(tmp_path / "onnx_window", fill)
    for form in ("eager", "onnx_window"):
        found = answer_once(form, tmp_path / form)
        assert found["position"] == pytest.approx(expected, abs=1e-6)
        assert all(found[name] >= 0.0 for name in ("import_ms", "load_ms", "first_decision_ms"))


def test_a_file_that_changed_is_not_run(bundle: FoldBundle, exported: bytes, tmp_path: Path) -> None:
    written = write_artifact(tmp_path / "w", lambda folder: (folder / MODEL_FILE).write_bytes(exported) and None)
    written.path(MODEL_FILE).write_bytes(exported[:-1] + b"\0")
    with pytest.raises(IntegrityError, match="SHA-256"):
        answer_once("onnx_window", tmp_path / "w")


def test_nothing_heavy_is_imported_before_the_clock_runs() -> None:
    names = set(vars(first_decision))
    assert not names & {"torch", "np", "onnxruntime"}


@pytest.mark.slow
def test_fresh_processes_are_timed_from_their_start_and_need_no_torch_for_an_exported_form(
    bundle: FoldBundle, exported: bytes
) -> None:
    told: list[str] = []
    found = cold_starts(bundle, {"onnx_window": exported}, decision_facts(bundle.fitted), told.append)
    assert told == ["timing a fresh process of eager", "timing a fresh process of onnx_window"]
    assert list(found) == ["eager", "onnx_window"]
    for row in found.values():
        stages = [row[name] for name in ("start_ms", "import_ms", "load_ms", "first_decision_ms")]
        assert min(stages) > 0.0
        assert sum(stages) == pytest.approx(row["total_ms"])
    assert found["onnx_window"]["memory_mb"] < 0.5 * found["eager"]["memory_mb"]


@pytest.mark.slow
def test_a_process_that_fails_and_one_that_decides_otherwise_are_named(bundle: FoldBundle) -> None:
    facts = decision_facts(bundle.fitted)
    with pytest.raises(RuntimeError, match="a fresh process for the form onnx_window ended with 1"):
        cold_starts(bundle, {"onnx_window": b"no network"}, facts)
    other = small_fit(random_panel(seed=3), network=bundle.fitted.network, epochs=1, seed=8).build()
    assert isinstance(other, LstmNetwork)
    with pytest.raises(RuntimeError, match="decide otherwise"):
        cold_starts(bundle, {"onnx_window": lstm_onnx(other, lookback=16)}, facts)


@pytest.mark.parametrize("second", [float("nan"), float("inf"), 0.2])
def test_positions_that_are_no_numbers_or_differ_are_refused(bundle: FoldBundle, monkeypatch, second: float) -> None:
    answers = iter([0.1, second])
    monkeypatch.setattr(cold_start, "_fresh_process", lambda form, folder: {"position": next(answers)})
    with pytest.raises(ColdStartError, match="decide otherwise"):
        cold_starts(bundle, {"onnx_window": b"made up"}, {})


def test_a_process_that_does_not_end_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cold_start, "LONGEST_S", 0.001)
    with pytest.raises(ColdStartError, match=r"form eager did not decide within 0\.001 s"):
        cold_start._fresh_process("eager", tmp_path)
