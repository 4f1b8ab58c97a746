"""MLflow's registry beside the log: it follows, it may be down, and what it missed it is told later."""

import socket
import threading
from pathlib import Path

import pytest

from tft_pipeline.pipeline import registry
from tft_pipeline.pipeline.registry import BUNDLE, CHALLENGER, CHAMPION, follow, registered_name, wanted_aliases
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.retention import prune
from tft_pipeline.storage.rollback import roll_back
from tft_pipeline_tests.released import CARDS, aged, candidate


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def layout(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """r1 is live."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    layout = Layout(tmp_path)
    layout.mlflow_database.parent.mkdir()
    layout.mlflow_database.write_bytes(database.read_bytes())
    candidate(layout.models("small"), "r1", "one")
    deploy_release(layout.models("small"), "r1", reason="", automatic=True)
    return layout


def aliases(layout: Layout) -> dict[str, str]:
    """Alias to release id, as MLflow has it."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{layout.mlflow_database}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    name = registered_name("small")
    found = client.get_registered_model(name).aliases
    return {alias: client.get_model_version(name, str(number)).tags["release_id"] for alias, number in found.items()}


def test_the_aliases_follow_candidate_deployment_override_and_rollback(layout):
    models = layout.models("small")
    assert follow(layout, "small") is None
    assert aliases(layout) == {CHAMPION: "r1"}
    candidate(models, "r2", "two")
    candidate(models, "r3", "three", failed=["sharpe_lower_bound"])
    assert follow(layout, "small") is None
    assert aliases(layout) == {CHAMPION: "r1", CHALLENGER: "r3"}
    deploy_release(models, "r3", reason="", override="needed", cards=CARDS)
    assert follow(layout, "small") is None
    assert aliases(layout) == {CHAMPION: "r3-override"}, "r2 is older than what is live"
    roll_back(models, "r1", reason="")
    assert follow(layout, "small") is None
    assert aliases(layout) == {CHAMPION: "r1", CHALLENGER: "r2"}
    aged(models)
    prune(models, keep=0)
    assert follow(layout, "small") is None
    assert aliases(layout) == {CHAMPION: "r1"}


def test_what_mlflow_missed_it_is_told_the_next_time_and_nothing_twice(layout):
    from mlflow import MlflowClient

    models = layout.models("small")
    for k in (2, 3):
        candidate(models, f"r{k}", str(k))
        deploy_release(models, f"r{k}", reason="", automatic=True)
    for _ in range(2):
        assert follow(layout, "small") is None
    assert aliases(layout) == {CHAMPION: "r3"}
    uri = f"sqlite:///{layout.mlflow_database}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    versions = client.search_model_versions(f"name = '{registered_name('small')}'")
    assert sorted(one.tags["release_id"] for one in versions) == ["r1", "r2", "r3"]
    newest = next(one for one in versions if one.tags["release_id"] == "r3")
    shown = {file.path for file in client.list_artifacts(newest.run_id, BUNDLE)}
    assert f"{BUNDLE}/weights.safetensors" in shown
    assert newest.source.endswith(f"/{BUNDLE}")


def test_a_dead_mlflow_is_words_and_no_failure_and_is_told_later(layout, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with monkeypatch.context() as patch:
        for name in registry.CLIENT_LIMITS:
            patch.setenv(name, "1")
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        assert "MlflowException" in str(follow(layout, "small"))
    assert follow(layout, "small") is None
    assert aliases(layout) == {CHAMPION: "r1"}


def test_an_mlflow_that_never_answers_is_given_up(layout, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in (("MLFLOW_HTTP_REQUEST_TIMEOUT", "1"), ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        said = []
        asking = threading.Thread(target=lambda: said.append(follow(layout, "small")), daemon=True)
        asking.start()
        asking.join(60)
    assert "MlflowException" in str(said[0])


def test_a_database_that_is_none_is_words(layout):
    layout.mlflow_database.write_bytes(b"not a database")
    assert follow(layout, "small") is not None


def test_a_damaged_version_is_named_and_left_out_and_stops_no_alias(layout):
    models = layout.models("small")
    for name, broken in (("r2", "manifest.json"), ("r4", "weights.safetensors")):
        candidate(models, name, name)
        path = models / "versions" / name / broken
        path.chmod(0o644)
        path.write_text("other")
    candidate(models, "r3", "three")
    for _ in range(2):
        said = str(follow(layout, "small"))
        assert "versions that cannot be verified: r2 (" in said
        assert "r4 (" in said
        assert "weights.safetensors: SHA-256" in said
        assert aliases(layout) == {CHAMPION: "r1", CHALLENGER: "r3"}
    deploy_release(models, "r3", reason="", automatic=True)
    assert "r2 (" in str(follow(layout, "small"))
    assert aliases(layout) == {CHAMPION: "r3"}


def test_while_another_process_tells_mlflow_this_one_does_not(layout, monkeypatch):
    monkeypatch.setattr(registry, "LOCK_SECONDS", 0.05)
    with registry._alone(layout.models("small") / "registry.lock"):
        assert "another process has been telling MLflow" in str(follow(layout, "small"))
    assert follow(layout, "small") is None


def test_without_versions_there_is_nothing_to_tell(tmp_path):
    assert follow(Layout(tmp_path), "small") is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_wanted_is_the_links_and_the_logs(layout):
    assert wanted_aliases(layout.models("small")) == {CHAMPION: "r1"}
    candidate(layout.models("small"), "r0", "older")
    assert wanted_aliases(layout.models("small")) == {CHAMPION: "r1"}
