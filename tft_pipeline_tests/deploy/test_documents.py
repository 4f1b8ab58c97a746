"""The documents of a deployment: valid by their schemas, and about things that exist. Nothing is started."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.workspace.load import location_origins_from_yaml_paths

from tft_pipeline.storage.layout import PROJECT_ROOT

DEPLOY = PROJECT_ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"].startswith("tft-pipeline:")}
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
RESOURCES = [(path.name, one) for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]
PODS = [(name, one) for name, one in RESOURCES if one["kind"] in ("Deployment", "StatefulSet")]
BIN = Path(sys.executable).parent
IMAGE_ROOT = "/opt/tft/"
SECRET = (
    "TFT_DAGSTER_STORAGE",
    "TFT_TUNING_STORAGE",
    "TFT_LOCKS",
    "TFT_BROKER",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)
ONE_THREAD = ("TFT_WORKERS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


def configuration(name: str) -> dict[str, str]:
    """Data of a ConfigMap."""
    found: dict[str, str] = next(
        one["data"] for _, one in RESOURCES if one["kind"] == "ConfigMap" and one["metadata"]["name"] == name
    )
    return found


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container of the manifests."""
    for name, one in PODS:
        yield from ((name, container) for container in one["spec"]["template"]["spec"]["containers"])


def commands() -> list[list[str]]:
    """Every command that runs in the image."""
    ours = [service["command"] for service in OURS.values()]
    ours += [container["args"] for _, container in containers() if container["image"].startswith("tft-pipeline:")]
    ours += [service["healthcheck"]["test"][1:] for service in OURS.values() if "healthcheck" in service]
    for _, container in containers():
        ours += [
            probe["exec"]["command"] for key, probe in container.items() if key.endswith("Probe") and "exec" in probe
        ]
    ours.append(json.loads(re.findall(r"^CMD (.*)$", (DEPLOY / "Dockerfile").read_text(), re.M)[0]))
    return ours


def test_compose_follows_its_schema() -> None:
    check = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_follows_kubernetes_schema_strictly(path: Path) -> None:
    for name, one in RESOURCES:
        if name == path.name:
            kubernetes_validate.validate(one, "1.31", strict=True)
            assert one["metadata"].get("namespace", "tft") == "tft"


def test_dagster_takes_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(DEPLOY / "dagster.yaml", tmp_path)
    settings, _ = dagster_instance_config(str(tmp_path))
    assert settings["run_retries"] == {"enabled": True, "max_retries": 3, "retry_on_asset_or_op_failure": False}
    monkeypatch.setenv("TFT_DAGSTER_STORAGE", "postgresql+psycopg2://tft@127.0.0.1:1/dagster")
    monkeypatch.setenv("TFT_BROKER", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("TFT_WORKER_SLOTS", "6")
    ref = InstanceRef.from_dir(str(tmp_path))
    launcher = ref.run_launcher
    assert type(launcher).__name__ == "WatchedCeleryRunLauncher"
    assert launcher.celery.conf.worker_max_tasks_per_child == 1  # type: ignore[union-attr]
    assert launcher.celery.conf.worker_disable_prefetch is True  # type: ignore[union-attr]
    queue = ref.run_coordinator.get_run_queue_config()  # type: ignore[union-attr]
    assert (queue.max_concurrent_runs, queue.tag_concurrency_limits) == (-1, [{"key": "tft/queued", "limit": 6}])


def test_the_workspace_names_the_code_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_CODE_HOST", "code")
    monkeypatch.setenv("TFT_CODE_PORT", "4000")
    (origin,) = location_origins_from_yaml_paths([str(DEPLOY / "workspace.yaml")])
    assert (origin.location_name, origin.host, origin.port) == ("tft_pipeline", "code", 4000)  # type: ignore[attr-defined]


def test_kubernetes_has_the_same_settings() -> None:
    assert configuration("tft-settings")["dagster.yaml"] == (DEPLOY / "dagster.yaml").read_text()


def test_there_are_as_many_slots_as_workers() -> None:
    worker = next(one for _, one in PODS if one["metadata"]["name"] == "tft-worker")
    assert configuration("tft-environment")["TFT_WORKER_SLOTS"] == str(worker["spec"]["replicas"])
    replicas = COMPOSE["services"]["worker"]["deploy"]["replicas"]
    assert replicas == OURS["daemon"]["environment"]["TFT_WORKER_SLOTS"]
    for command in commands():
        if command[0] == "celery":
            assert command[command.index("--concurrency") + 1] == "1"


def test_every_command_exists_and_every_module_can_be_found() -> None:
    assert len(commands()) > 10
    for words in commands():
        assert (BIN / words[0]).is_file(), words
        for flag, name in itertools.pairwise(words):
            if flag in ("-A", "-m"):
                assert (PROJECT_ROOT / f"{name.replace('.', '/')}.py").is_file(), words
            if flag == "-w":
                assert (PROJECT_ROOT / name.removeprefix(IMAGE_ROOT)).is_file(), words


def test_every_path_exists() -> None:
    docker = (DEPLOY / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (.*) \S+$", docker, re.M):
        for one in sources.split():
            assert (PROJECT_ROOT / one).exists(), one
    kept = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    for one in kept:
        assert (PROJECT_ROOT / one).exists(), one
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists(), volume
            elif target:
                assert source in COMPOSE["volumes"], volume
    assert os.access(DEPLOY / "entrypoint.sh", os.X_OK)
    assert subprocess.run(["sh", "-n", str(DEPLOY / "entrypoint.sh")], check=False).returncode == 0
    context = OURS["worker"]["build"]
    assert (DEPLOY / context["context"] / context["dockerfile"]).is_file()


def test_the_entrypoint_puts_the_settings_where_dagster_looks(tmp_path: Path) -> None:
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path / "home" / "dagster")}
    command = [str(DEPLOY / "entrypoint.sh"), "echo", "two words"]
    for _ in range(2):  # a container is restarted with its volume
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "two words\n"
    assert str((tmp_path / "home" / "dagster" / "dagster.yaml").readlink()) == f"{IMAGE_ROOT}deploy/dagster.yaml"


def test_every_variable_is_read_by_the_code_or_by_the_documents_themselves() -> None:
    code = "".join(path.read_text() for path in (PROJECT_ROOT / "tft_pipeline").rglob("*.py"))
    code += (DEPLOY / "dagster.yaml").read_text() + (DEPLOY / "workspace.yaml").read_text()
    environment = OURS["worker"]["environment"]
    named = {*environment, *configuration("tft-environment"), *SECRET}
    assert {name for name in named if name.startswith("TFT_")} > {"TFT_STORE", "TFT_LOCKS", "TFT_BROKER"}
    for name in named:
        assert re.search(rf"\b{name}\b", code) or name.startswith("AWS_"), f"nothing reads {name}"
    wanted = set(
        re.findall(r"env: (\w+)", (DEPLOY / "dagster.yaml").read_text() + (DEPLOY / "workspace.yaml").read_text())
    )
    assert wanted <= set(environment)
    assert wanted <= {*configuration("tft-environment"), *SECRET}
    for name in SECRET:  # the manifest's comment is what somebody makes the Secret from
        assert name in (DEPLOY / "kubernetes" / "configuration.yaml").read_text()
        assert name not in configuration("tft-environment")


def test_numeric_libraries_use_one_thread_and_no_run_starts_processes() -> None:
    docker = (DEPLOY / "Dockerfile").read_text()
    for name in ONE_THREAD:
        assert re.search(rf"\b{name}=1\b", docker)
        assert configuration("tft-environment")[name] == "1"


def test_images_have_versions() -> None:
    images = [service["image"] for service in COMPOSE["services"].values()]
    images += [container["image"] for _, container in containers()]
    images += re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.M)
    for image in images:
        assert re.search(r":[\w.-]*\d", image), image
        assert not image.endswith(":latest")
    version = re.search(r'^version = "(.+)"', (PROJECT_ROOT / "pyproject.toml").read_text(), re.M)
    assert version is not None
    assert {image for image in images if image.startswith("tft-pipeline")} == {f"tft-pipeline:{version[1]}"}


def test_no_password_is_written_down() -> None:
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file():
            text = path.read_text()
            for password in re.findall(r"://[^\s/@]*:([^\s@]*)@", text):
                assert re.fullmatch(r"\$\{\w+:\?[^}]*\}|password", password), (path, password)
            for password in re.findall(r"^\s*\w*(?:PASSWORD|SECRET|ACCESS_KEY)\w*: *(.*)$", text, re.M):
                assert re.fullmatch(r"\$\{\w+:\?[^}]*\}", password), (path, password)
    assert all(one["kind"] != "Secret" for _, one in RESOURCES)
    assert ".env" in (DEPLOY / ".gitignore").read_text().splitlines()
    assert "deploy/.env" in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(published) == 2
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "redis", "minio"):
        assert COMPOSE["services"][name]["networks"] == ["inside"]
    for _, one in RESOURCES:
        if one["kind"] == "Service":
            assert one["spec"].get("type", "ClusterIP") == "ClusterIP"
    assert not any(one["kind"] == "Ingress" for _, one in RESOURCES)


def test_there_is_a_server_that_launches_nothing_and_one_daemon() -> None:
    assert "--read-only" in OURS["viewer"]["command"]
    assert "--read-only" not in OURS["webserver"]["command"]
    assert "deploy" in OURS["daemon"]
    assert "replicas" not in OURS["daemon"]["deploy"]
    daemon = next(one for _, one in PODS if one["metadata"]["name"] == "tft-daemon")
    assert daemon["spec"]["replicas"] == 1
    assert daemon["spec"]["strategy"] == {"type": "Recreate"}


def test_pods_have_limits_and_no_rights() -> None:
    for name, one in PODS:
        pod = one["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
    for name, container in containers():
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}, name
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
    for name, service in OURS.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
