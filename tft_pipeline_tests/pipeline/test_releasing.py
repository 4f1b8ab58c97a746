"""Going back from the command line and from the UI, and what `tft status` says, on finished runs."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import torch
from safetensors.torch import load_file, save
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import ReleaseRecord
from tft_pipeline.domain.performance_targets import METRICS
from tft_pipeline.model.forms import decision_facts
from tft_pipeline.model.released_form import export_forms
from tft_pipeline.pipeline.commands import materialise_asset, run_experiment
from tft_pipeline.pipeline.deploying import make_live
from tft_pipeline.pipeline.release_status import describe_status
from tft_pipeline.pipeline.releasing import roll_back, target_rows
from tft_pipeline.pipeline.runs import QUIET
from tft_pipeline.storage.artifacts import read_artifact, read_version, write_artifact
from tft_pipeline.storage.deployment_log import LOG_FILE
from tft_pipeline.storage.deployments import deployment_lock, deployments, linked_release
from tft_pipeline.storage.experiments import claim_name
from tft_pipeline.storage.fold_bundles import read_fold_bundle
from tft_pipeline.storage.releases import CARD_FILE, DECISION_FILE, FACTS_FILE, release_ids
from tft_pipeline_tests.conftest import Workbench, write_experiment
from tft_pipeline_tests.released import write_candidate, write_release
from tft_pipeline_tests.stored import stored_report


def tft(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of a command; `{}` where it answered with an error."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if isinstance(done.exception, ConfigurationError):  # what `main` turns into one line and exit code 2
        return 2, {"error": str(done.exception)}
    return done.exit_code, json.loads(done.stdout)


def models(bench: Workbench) -> Path:
    return bench.layout.models("small")


def release_again(bench: Workbench, release_id: str, fold: str | None = None) -> str:
    """Release a fold as the asset does, under another id: the newest one, or an older with other weights."""
    source = read_artifact(bench.layout.artifact("small", "production_fold", fold or bench.folds()[-1]))
    _, card = read_card(bench)
    write_release(models(bench), release_id=release_id, bundle=source, card=card | {"created_at": release_id})
    return release_id


def read_card(bench: Workbench) -> tuple[str, dict[str, Any]]:
    live = linked_release(models(bench))
    assert live is not None
    return live, json.loads((models(bench) / "versions" / live / CARD_FILE).read_text())


def deployed(bench: Workbench) -> str:
    """The candidate of the finished run, whose gates failed, made live by an override."""
    claim_name(bench.layout.experiment("small"), bench.file)
    done = make_live("small", bench.layout, override="a test needs a live model")
    assert done["failed"] == []
    return str(done["to"])


@pytest.fixture
def two(finished: Workbench) -> tuple[Workbench, str, str]:
    """A finished run, live by an override, and a second release of an older fold's model after it."""
    first = deployed(finished)
    return finished, first, release_again(finished, "r-second", finished.folds()[0])


def test_a_rollback_answers_from_to_verdict_and_path_and_the_model_was_asked_once(two) -> None:
    bench, first, second = two
    code, answer = tft("rollback", "previous", "tft", "--experiment", "small", "--reason", "drawdown")
    assert code == 0
    assert (answer["from"], answer["to"], answer["verdict"], answer["failed"]) == (second, first, "NO-GO", [])
    assert Path(answer["path"]) == models(bench) / "versions" / first
    assert -1.0 <= answer["smoke_prediction"] <= 1.0
    assert linked_release(models(bench)) == first
    assert deployments(models(bench))[-1].reason == "drawdown"
    assert tft("rollback", "r-second", "--experiment", str(bench.file))[1]["to"] == second


def test_a_rollback_stays_when_a_run_is_resumed_with_nothing_changed(two) -> None:
    bench, first, _ = two
    roll_back("small", first)
    log = (models(bench) / LOG_FILE).read_bytes()
    before = bench.materialisations()
    assert not bench.run(resume=True)["failed"]
    after = bench.materialisations()
    assert {name[0] for name in after if after[name] != before[name]} <= {"snapshot"}
    assert linked_release(models(bench)) == first
    assert (models(bench) / LOG_FILE).read_bytes() == log


def test_a_new_candidate_is_no_way_back_and_waits_for_a_person(two) -> None:
    bench, first, second = two
    write_experiment(bench.folder, {"evaluation.min_accuracy": 0.5})  # another card, the same weights
    assert not run_experiment(bench.file, resume=True, until="release", report=str)["failed"]
    record = stored_report(bench, ReleaseRecord, "release")
    assert linked_release(models(bench)) == second
    assert not record.live
    assert "gate(s) say no" in record.note
    said = describe_status("small")
    assert record.release_id in said["newest"]
    assert any(record.release_id in row and "is not deployed" in row for row in target_rows(bench.graph))
    code, answer = tft("rollback", record.release_id, "--experiment", "small")
    assert code == 2
    assert "it is a candidate, see `tft deploy" in answer["error"]
    assert linked_release(models(bench)) == second
    override = ("--override", "its gates are too strict")
    code, answer = tft("deploy", record.release_id, "--experiment", "small", *override)
    assert (code, answer["to"], answer["from"]) == (0, f"{record.release_id}-override", second)
    assert tft("rollback", first, "--experiment", "small")[0] == 0


def test_what_cannot_be_rolled_back_to_is_refused_with_exit_code_2(two) -> None:
    bench, _, second = two
    log = (models(bench) / LOG_FILE).read_bytes()
    refused = {
        ("1999-01-01",): "nothing was live at the end of 1999-01-01",
        ("nonsense",): "'nonsense' names no release",
        ("r-second",): "live already",
        ("",): "'' names no release",
        ("2025-1",): "'2025-1' names no release",
        ("previous", "lgbm"): "the one kind of model is 'tft'",
    }
    for arguments, words in refused.items():
        code, answer = tft("rollback", *arguments, "--experiment", "small")
        assert code == 2
        assert words in answer["error"]
    assert linked_release(models(bench)) == second
    assert (models(bench) / LOG_FILE).read_bytes() == log


def test_an_experiment_that_was_never_run_has_no_release_to_go_back_to(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TFT_HOME", str(tmp_path))
    assert "nothing was run here" in tft("rollback", "previous", "--experiment", "nope")[1]["error"]


def test_a_damaged_release_is_not_rolled_back_to_and_its_file_is_named(two) -> None:
    bench, first, second = two
    path = models(bench) / "versions" / first / "network.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace("0", "1", 1))
    code, answer = tft("rollback", "previous", "--experiment", "small")
    assert code == 1
    assert "network.json: SHA-256 is" in answer["failed"][0]
    assert answer["live"] == second == linked_release(models(bench))


@pytest.mark.parametrize("broken", ["weights.safetensors", "network.json", CARD_FILE])
def test_a_release_whose_hashes_hold_and_whose_model_does_not_answer_is_not_live_again(two, broken, tmp_path) -> None:
    bench, first, second = two
    intact = read_version(models(bench) / "versions" / first)
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in intact.files:
        (bad / name).write_bytes(intact.path(name).read_bytes())
    if broken == "weights.safetensors":
        nan = {name: torch.full_like(value, torch.nan) for name, value in load_file(bad / broken).items()}
        (bad / broken).write_bytes(save(nan))
    else:
        (bad / broken).write_text("{")

    def fill(folder: Path) -> None:
        for path in bad.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())

    write_artifact(tmp_path / "made", fill, version="r-bad").folder.rename(models(bench) / "versions" / "r-bad")
    log = (models(bench) / LOG_FILE).read_bytes()
    answer = roll_back("small", "r-bad")
    assert "nothing was changed" in answer["failed"][0]
    assert linked_release(models(bench)) == second
    assert (models(bench) / LOG_FILE).read_bytes() == log


def release_of_old(bench: Workbench, release_id: str, spoil: bool = False) -> None:
    """A release from before signatures: its one form is decision.onnx, which its card's latency is of."""
    source = read_artifact(bench.layout.artifact("small", "production_fold", bench.folds()[-1]))
    fitted = read_fold_bundle(source).fitted
    facts = decision_facts(fitted) | {"form": "onnx_window"}
    if spoil:
        facts["scaler"]["mean"] = [value + 1.0 for value in facts["scaler"]["mean"]]
    form = export_forms(fitted, judged="onnx_window", seed=0).models["onnx_window"]
    made = {DECISION_FILE: form, FACTS_FILE: json.dumps(facts).encode()}
    _, card = read_card(bench)
    card["inference"] |= {"form": "onnx_window", "eager_p95_ci": [50.0, 61.23]}
    write_release(models(bench), release_id=release_id, bundle=source, card=card, files=made)


def test_a_rollback_asks_every_form_of_a_release(two) -> None:
    bench, first, _ = two
    _, answer = tft("rollback", first, "--experiment", "small")
    assert answer["asked"] == ["eager", "onnx_stream", "onnx_window"]
    carried = read_version(models(bench) / "versions" / first).files
    assert {"window.onnx", "stream.onnx", "signature.json"} <= set(carried)


def test_a_rollback_asks_the_form_of_an_older_release_and_status_names_it_beside_eager_torch(two) -> None:
    bench, _, _ = two
    release_of_old(bench, "r-form")
    release_again(bench, "r-last", bench.folds()[0])
    _, answer = tft("rollback", "r-form", "--experiment", "small")
    assert answer["asked"] == ["eager", "onnx_window"]
    said = describe_status("small")["latency"]
    assert said.startswith("onnx_window, p95 ")
    assert said.endswith("; eager torch: at most 61.2 ms")
    assert "does not carry" not in said


def test_a_form_that_says_something_else_than_the_weights_is_not_live_again(two) -> None:
    bench, _, _ = two
    release_of_old(bench, "r-form", spoil=True)
    release_again(bench, "r-last", bench.folds()[0])
    answer = roll_back("small", "r-form")
    assert "it is another network: nothing was changed" in answer["failed"][0]
    assert linked_release(models(bench)) == "r-last"


@pytest.mark.parametrize("key", ["scaler", "max_position", "position_smooth", "target_volatility", "lookback"])
def test_a_release_whose_signature_is_another_models_is_not_deployed(two, key) -> None:
    bench, first, second = two
    intact = read_version(models(bench) / "versions" / first)
    signature = json.loads(intact.path("signature.json").read_text())
    if key == "scaler":
        signature["scaler"]["mean"] = [value + 1.0 for value in signature["scaler"]["mean"]]
    else:
        signature[key] = {"max_position": 0.123, "position_smooth": 0.9, "target_volatility": 0.5, "lookback": 17}[key]
    source = read_artifact(bench.layout.artifact("small", "production_fold", bench.folds()[-1]))
    files = {name: intact.path(name).read_bytes() for name in ("window.onnx", "stream.onnx", "features.json")}
    files["signature.json"] = json.dumps(signature).encode()
    write_candidate(models(bench), release_id="s-bad", bundle=source, card={}, files=files)
    code, answer = tft("deploy", "s-bad", "--experiment", "small", "--reason", "try")
    assert code == 1
    assert f"{key} in signature.json: not the network's" in answer["failed"][0]
    assert "another model's: nothing was changed" in answer["failed"][0]
    assert answer["failed"][0].endswith(f"{second} is live as before")


def test_a_candidate_whose_gates_failed_is_refused_with_exit_code_3_and_the_gates(finished: Workbench) -> None:
    claim_name(finished.layout.experiment("small"), finished.file)
    record = stored_report(finished, ReleaseRecord, "release")
    code, answer = tft("deploy", "--experiment", "small", "--reason", "try")
    assert (code, answer["release"], answer["live"]) == (3, record.release_id, None)
    failed = [row["name"] for row in record.gates if row["verdict"] == "fail"]
    assert [reason.split(":")[0] for reason in answer["gate"]["reasons"]] == failed
    assert linked_release(models(finished)) is None
    assert deployments(models(finished)) == []
    code, said = tft("status", "--experiment", "small")
    assert (code, said["live"]) == (0, "nothing")
    assert "1 version(s) wait, see `tft deploy`" in said["missing"][0]


def test_an_override_is_in_gate_file_card_renderings_and_log(finished: Workbench) -> None:
    first = deployed(finished)
    record = stored_report(finished, ReleaseRecord, "release")
    assert first == f"{record.release_id}-override"
    version = read_version(models(finished) / "versions" / first)
    gates = json.loads(version.path("gate.json").read_text())
    card = json.loads(version.path(CARD_FILE).read_text())
    reason = "a test needs a live model"
    assert gates["override"]["reason"] == card["override"]["reason"] == reason
    failed = {row["name"] for row in record.gates if row["verdict"] == "fail"}
    assert {row["name"] for row in card["gates"] if row["override"] == reason} == failed
    assert card["status"] == "deployed by override"
    assert card["release_id"] == first
    for rendering in ("model_card.md", "model_card.html"):
        assert reason in version.path(rendering).read_text()
    (done,) = deployments(models(finished))
    assert (done.gates, done.action, done.target) == (f"override: {reason}", "deploy", first)
    assert done.manifest_sha256 == json.loads((version.folder / "manifest.json").read_text())["manifest_sha256"]
    assert read_version(models(finished) / "versions" / record.release_id).files == record.files
    said = describe_status("small")
    assert said["newest"] == f"the newest release is live by an override, as {first}"
    assert f"gates override: {reason}" in said["deployments"][0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--reason", ""), "reason is empty: say why"),
        (("--override", "  "), "override is empty: say why"),
        (("--reason", "two\nlines"), "cannot be printed"),
        (("--reason", "x" * 1001), "1001 characters"),
        (("nonsense", "--reason", "x"), "'nonsense' names no release"),
        (("r-second", "--reason", "x"), "r-second is live already"),
        (("--reason", "x"), "name one"),
    ],
)
def test_what_cannot_be_deployed_is_refused_with_exit_code_2(two, arguments, words) -> None:
    bench, _, second = two
    log = (models(bench) / LOG_FILE).read_bytes()
    code, answer = tft("deploy", *arguments, "--experiment", "small")
    assert code == 2
    assert words in answer["error"]
    assert linked_release(models(bench)) == second
    assert (models(bench) / LOG_FILE).read_bytes() == log


def test_a_damaged_candidate_is_not_deployed_and_its_file_is_named(finished: Workbench) -> None:
    claim_name(finished.layout.experiment("small"), finished.file)
    (name,) = release_ids(models(finished))
    path = models(finished) / "versions" / name / "window.onnx"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, answer = tft("deploy", "--experiment", "small", "--override", "never mind")
    assert code == 1
    assert "window.onnx: SHA-256 is" in answer["failed"][0]
    assert answer["live"] is None


def test_the_jobs_of_the_ui_deploy_look_and_remove(finished: Workbench) -> None:
    claim_name(finished.layout.experiment("small"), finished.file)
    (name,) = release_ids(models(finished))

    def execute(job: str, op: str, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
        run_config = {"ops": {f"small_{op}": {"config": config}}, **QUIET}
        found = finished.definitions.resolve_job_def(f"small_{job}")
        return found.execute_in_process(instance=instance, run_config=run_config, raise_on_error=False)

    with finished.instance() as instance:
        refused = execute("deploy", "make_live", {"reason": "from the UI"})
        assert "the gates say no" in str(refused.get_step_failure_events()[0].step_failure_data.user_failure_data)
        assert linked_release(models(finished)) is None
        assert execute("deploy", "make_live", {"release": name, "override": "from the UI"}).success
        assert linked_release(models(finished)) == f"{name}-override"
        assert execute("status", "look", {}).success
        assert execute("status", "look", {"at": "2001-01-01"}).success
        assert execute("prune", "remove", {"keep": 0}).success
        seen = instance.fetch_observations(finished.graph.key("release"), limit=9).records
    assert release_ids(models(finished)) == [name, f"{name}-override"]
    shown = [one.asset_observation.metadata for one in seen if one.asset_observation is not None]
    now = f"{name}-override"  # newest first: prune, what was live in 2001, status, deploy
    assert [metadata["live"].value for metadata in shown] == [now, "nothing", now, now]
    assert shown[-1]["gates"].value == "override: from the UI"


def test_a_damaged_log_is_set_aside_for_a_whole_id_and_the_answer_says_so(two) -> None:
    bench, first, second = two
    log = models(bench) / LOG_FILE
    log.write_bytes(log.read_bytes().replace(b"verdict", b"Verdict", 1))
    code, answer = tft("rollback", "previous", "--experiment", "small")
    assert code == 1
    assert "line 1" in answer["failed"][0]
    assert linked_release(models(bench)) == second
    assert tft("status", "--experiment", "small")[0] == 1
    code, answer = tft("rollback", first, "--experiment", "small")
    assert (code, answer["to"]) == (0, first)
    assert f"{LOG_FILE}.damaged-" in answer["note"]
    assert tft("status", "--experiment", "small")[0] == 0


def test_the_experiment_file_need_not_be_there_any_more(two) -> None:
    bench, first, _ = two
    bench.file.unlink()
    assert roll_back("small", "previous")["to"] == first
    assert describe_status("small")["live"] == first


def test_the_job_of_the_ui_does_what_the_command_does(two) -> None:
    bench, first, second = two
    job = bench.definitions.resolve_job_def("small_roll_back")
    config = {"ops": {"small_go_back": {"config": {"to": "previous", "reason": "from the UI"}}}, **QUIET}
    with bench.instance() as instance:
        assert job.execute_in_process(instance=instance, run_config=config).success
        again = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
        assert not again.success
        (seen,) = instance.fetch_observations(bench.graph.key("release"), limit=5).records
    assert linked_release(models(bench)) == first
    done = deployments(models(bench))[-1]
    assert (done.source, done.target, done.reason) == (second, first, "from the UI")
    observation = seen.asset_observation
    assert observation is not None
    assert observation.metadata["to"].value == first
    assert "nothing was live before" in str(again.get_step_failure_events()[0].step_failure_data.user_failure_data)


def test_status_says_what_is_live_since_when_and_how_it_stands(two) -> None:
    bench, first, second = two
    roll_back("small", first, reason="drawdown")
    code, said = tft("status", "--experiment", "small")
    assert code == 0
    _, card = read_card(bench)
    assert (said["live"], said["verdict"], said["reasons"]) == (first, card["verdict"], card["reasons"])
    assert "rollback by" in said["since"]
    assert "drawdown" in said["since"]
    assert said["fold"] == bench.folds()[-1]
    assert said["snapshot_id"] == card["train"]["snapshot_id"]
    assert card["train"]["range"]["start"] in said["data_range"]
    weights = read_artifact(bench.layout.artifact("small", "production_fold", bench.folds()[-1])).files
    assert said["weights"].endswith(weights["weights.safetensors"])
    assert f"{card['latency_ms']['p95']:.1f} ms" in said["latency"]
    assert said["drift"].startswith("insufficient data, drift_report: the last 10 bars up to ")
    assert "another model" not in said["drift"]
    assert said["newest"] == f"the newest release is live by an override, as {first}"
    assert [row.split(":")[0] for row in said["releases"]] == [first.removesuffix("-override"), first, second]
    assert [row.endswith(", live") for row in said["releases"]] == [False, True, False]
    assert len(said["deployments"]) == 3
    assert [row.split(":")[0] for row in said["performance_targets"]] == list(METRICS)
    assert said["missing"] == []
    details = said["details"]
    assert details["verified"] is True
    assert [row["state"] for row in details["deployments"]] == ["done"] * 3
    assert [row["metric"] for row in details["performance_targets"]] == list(METRICS)
    assert details["performance_targets"][-1]["passed"] is True


def test_status_of_a_damaged_live_release_exits_with_1_and_names_the_file(two) -> None:
    bench, _, second = two
    path = models(bench) / "versions" / second / "weights.safetensors"
    path.chmod(0o644)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    code, said = tft("status", "--experiment", "small")
    assert code == 1
    assert "weights.safetensors: SHA-256 is" in said["failed"][0]
    assert said["details"]["verified"] is False
    assert "weights" not in said
    assert said["details"]["performance_targets"][-1]["passed"] is False
    assert roll_back("small", "previous")["failed"] == [], "the way back does not need the live version"
    assert tft("status", "--experiment", "small")[0] == 0


def test_a_fixed_name_that_an_upgrade_brought_is_told_in_its_row_and_is_no_failure(two) -> None:
    bench, _, second = two
    (models(bench) / "best_tft.pt").unlink()
    code, said = tft("status", "--experiment", "small")
    assert (code, said["live"], said["failed"]) == (0, second, [])
    assert said["weights"].startswith("verified")
    assert said["details"]["verified"] is True
    assert "best_tft.pt is missing; the next deployment makes it" in said["performance_targets"][-1]
    (models(bench) / "best_tft.pt").symlink_to("versions/elsewhere/weights.safetensors")
    code, said = tft("status", "--experiment", "small")
    assert code == 1
    assert "not into the live version" in said["failed"][0]
    assert said["weights"].startswith("verified"), "what is live is read and shown all the same"


def test_status_says_what_is_missing_and_that_is_no_failure(workbench, tmp_path: Path) -> None:
    bench = workbench()
    code, said = tft("status", "--experiment", str(bench.file))
    assert (code, said["live"], said["failed"]) == (0, "nothing", [])
    assert [words.split(":")[0] for words in said["missing"]] == [
        "nothing was trained yet",
        "no model is live",
        "no drift report",
    ]
    assert all("not known" in row or row.startswith("symlink_deploy: FAIL") for row in said["performance_targets"])
    code, said = tft("status")
    assert code == 0
    assert "nothing was trained under the name tft_prod" in said["missing"][0]
    assert tft("status", "--experiment", "nope")[0] == 2


def test_status_says_when_the_last_drift_report_is_of_another_model_or_unreadable(two) -> None:
    bench, first, _ = two
    assert "of another model than the live one" in describe_status("small")["drift"], "an older fold's model is live"
    roll_back("small", first)
    path = bench.artifact("drift_report") / "report.json"
    path.write_text(path.read_text()[:100])
    said = describe_status("small")
    assert f"cannot be read ({path}: SHA-256" in said["drift"]
    assert said["missing"] == ["no drift report"]
    assert said["failed"] == []


def test_status_reads_and_writes_nothing(two) -> None:
    bench, _, _ = two
    before = {path: path.lstat().st_mtime_ns for path in models(bench).rglob("*")}
    describe_status("small")
    assert {path: path.lstat().st_mtime_ns for path in models(bench).rglob("*")} == before


def test_a_release_holds_its_targets_and_the_asset_shows_them(finished: Workbench) -> None:
    record = stored_report(finished, ReleaseRecord, "release")
    assert [row["metric"] for row in record.targets] == list(METRICS)
    assert not record.live
    stored = json.loads((Path(record.path) / "performance_targets.json").read_text())
    assert stored == list(record.targets[:-1])
    accuracy = record.targets[0]
    fitted = read_fold_bundle(read_artifact(finished.layout.artifact("small", "production_fold", record.fold))).fitted
    on_validation = fitted.history[fitted.best_epoch]["validation_accuracy"]
    assert f"it is {on_validation:.3f}; they chose" in accuracy["detail"]
    performance = json.loads((finished.artifact("oos_performance") / "report.json").read_text())
    assert accuracy["value"] == performance["direction"]["tft"]["accuracy"]
    with finished.instance() as instance:
        event = instance.fetch_materializations(finished.graph.key("release"), limit=1).records[0].asset_materialization
    assert event is not None
    shown = event.metadata["performance_targets"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert [row.data["metric"] for row in shown.records] == list(METRICS)
    said = target_rows(finished.graph)
    assert [row.split(":")[0] for row in said] == list(METRICS)


def test_targets_of_a_graph_without_a_release_are_not_known(workbench) -> None:
    (said,) = target_rows(workbench().graph)
    assert "nothing was released yet" in said


def test_a_release_that_finds_another_deploying_fails_in_words(finished: Workbench, monkeypatch) -> None:
    monkeypatch.setattr("tft_pipeline.storage.deployments.LOCK_SECONDS", 0.05)
    with deployment_lock(models(finished)):
        result = materialise_asset(finished.file, "release", partition=None, downstream=False, report=print)
    assert "another process is deploying" in result["failed"][0]["reason"]
