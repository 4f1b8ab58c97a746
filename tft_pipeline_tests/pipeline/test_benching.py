"""`tft bench` times the model that the run released, by the asset's own code, and refuses in words where there is none."""

import json
import shutil
from typing import Any

import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import LatencyBenchmark
from tft_pipeline.domain.phases import LatencySection
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.pipeline.benching import bench_model, benchmark_bundle, benchmark_in_words, newest_bundle
from tft_pipeline.pipeline.deploying import make_live
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.cold_start import ColdStartError
from tft_pipeline.storage.fold_bundles import weights_sha256
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.released import write_release
from tft_pipeline_tests.stored import stored_report

QUICK: dict[str, Any] = {"warmup": 1, "n": 20, "forms": (), "rate_per_s": 2000.0, "cold_start": False}


def test_the_command_times_the_model_that_the_asset_timed(finished: Workbench) -> None:
    told: list[str] = []
    found = bench_model(
        str(finished.file), warmup=2, n=80, rate_per_s=1000.0, watch=lambda stage: told.append(stage.asset)
    )
    assert told == [
        "opening eager",
        "timing 80 decisions one after the other: eager",
        "timing 80 decisions of eager, 1000 a second asked for",
    ]
    asset = stored_report(finished, LatencyBenchmark, "latency_benchmark")
    record = LatencyBenchmark.model_validate(found["record"])
    assert record.weights_sha256 == asset.weights_sha256
    assert record.fold == asset.fold == finished.folds()[-1]
    assert (record.n, record.warmup) == (80, 2)
    assert record.open_loop["rate_per_s"] == 1000.0
    assert record.environment["cold_start_ms"] is None
    assert "cold_start" in record.environment["cold_start_reason"]
    assert found["chosen"] == "eager"
    assert found["gate"]["passed"] is record.within_limit
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(asset.forms[0]) == set(record.forms[0])


def test_too_few_calls_do_not_pass_and_say_how_many_do(finished: Workbench) -> None:
    answer = CliRunner().invoke(app, ["bench", "--experiment", str(finished.file), "--n", "71", "--rate", "2000"])
    assert answer.exit_code == 3
    assert "71 timed calls are too few" in answer.stdout
    assert "it takes 72" in answer.stdout
    asset = stored_report(finished, LatencyBenchmark, "latency_benchmark")
    assert asset.n == 20
    assert not asset.within_limit


def test_the_gate_follows_the_limit_and_the_sentences_hold_every_form(finished: Workbench) -> None:
    bundle = newest_bundle(finished.graph)
    strict = LatencySection.model_validate(QUICK | {"n": 72, "max_p95_ms": 1e-6})
    record = benchmark_bundle(bundle, strict, seed=1)
    assert record.weights_sha256 == weights_sha256(bundle.fitted)
    assert not record.within_limit
    said = benchmark_in_words(record)
    assert said["gate"]["passed"] is False
    assert "is above 1e-06 ms" in said["gate"]["reasons"][0]
    assert said["closed_loop"][0].startswith("eager (chosen): p50 ")
    generous = record.model_copy(update={"max_p95_ms": 1e9})
    assert benchmark_in_words(generous)["gate"] == {"passed": True, "reasons": []}


def test_figures_and_the_form_that_won_are_no_content_but_the_verdict_is(finished: Workbench) -> None:
    record = stored_report(finished, LatencyBenchmark, "latency_benchmark")
    other = record.model_copy(
        update={
            "latency_ms": {},
            "environment": {},
            "form": "onnx_window",
            "forms": (),
            "left_out": {"compiled": "no compiler"},
            "open_loop": {},
            "machine": {},
        }
    )
    assert other.content_sha256() == record.content_sha256()
    for changed in ({"within_limit": True}, {"n": 21}, {"weights_sha256": "0"}):
        assert record.model_copy(update=changed).content_sha256() != record.content_sha256()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate_per_s": -1.0}, "rate_per_s -1.0"),
        ({"forms": ("onnx",)}, "'onnx'"),
        ({"n": 19}, "n 19"),
    ],
)
def test_an_option_beyond_its_limit_is_refused_by_name(
    finished: Workbench, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        bench_model(str(finished.file), **({"warmup": 0, "n": 20} | options))


def test_without_a_trained_model_the_refusal_says_what_to_run(workbench: Any) -> None:
    fresh = workbench()
    with pytest.raises(ConfigurationError, match="no production model was trained yet; run `tft run"):
        bench_model(str(fresh.file), warmup=0, n=20)


def test_a_lost_damaged_or_outdated_fold_is_refused(finished: Workbench) -> None:
    key = finished.folds()[-1]
    folder = finished.artifact("production_fold", key)
    weights = folder / "weights.safetensors"
    kept = weights.read_bytes()
    weights.chmod(0o644)
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(ConfigurationError, match="SHA-256"):
        newest_bundle(finished.graph)
    weights.write_bytes(kept)
    assert newest_bundle(finished.graph).key == key
    older = finished.layout.artifact("small", "production_fold", finished.folds()[-2])
    shutil.rmtree(folder.parent)
    shutil.copytree(older, folder.parent, symlinks=True)
    with pytest.raises(ConfigurationError, match="made from an older plan"):
        newest_bundle(finished.graph)
    shutil.rmtree(folder.parent)
    with pytest.raises(ConfigurationError, match="no production model"):
        newest_bundle(finished.graph)
    assert stored_report(finished, FoldPlanReport, "production_plan").specs[-1].key == key


def test_a_fresh_process_that_cannot_be_timed_is_one_line_and_exit_code_1(finished: Workbench, monkeypatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ColdStartError("a fresh process for the form eager did not decide within 300 s")

    monkeypatch.setattr("tft_pipeline.pipeline.benching.benchmark_bundle", fail)
    answer = CliRunner().invoke(app, ["bench", "--experiment", str(finished.file), "--n", "20"])
    assert answer.exit_code == 1
    assert "did not decide within 300 s" in answer.stdout
    assert isinstance(answer.exception, SystemExit)


def test_the_answer_says_whether_the_timed_model_is_live(finished: Workbench) -> None:
    def said() -> str:
        return str(bench_model(str(finished.file), warmup=0, n=20, forms=(), rate_per_s=2000.0)["live"])

    assert make_live("small", finished.layout, override="to be timed")["failed"] == []
    assert said().startswith("the timed model is live, release ")
    models = finished.layout.models("small")
    older = read_artifact(finished.layout.artifact("small", "production_fold", finished.folds()[0]))
    write_release(models, release_id="older", bundle=older, card={})
    assert said().startswith("ANOTHER model is live, release older")
    (models / "versions" / "current").unlink()
    assert said().startswith("nothing is released")
