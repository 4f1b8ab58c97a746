"""The UI's way: a fold and its downstream launched through the webserver's GraphQL, run by a real daemon."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline_tests.conftest import DOWNSTREAM, Workbench
from tft_pipeline_tests.pipeline.test_partial_rerun import block

pytestmark = pytest.mark.slow

FOLD = "f2021-03-12"
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on InvalidSubsetError { message }
    ... on PipelineNotFoundError { message }
  }
}
"""
RUN = "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
LOCATIONS = """
query { repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }
"""


@contextlib.contextmanager
def process(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process group of our own, ended with the block."""
    with log.open("wb") as stream:
        started = subprocess.Popen(arguments, stdout=stream, stderr=stream, start_new_session=True)
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGTERM)
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


def until(found: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Poll until something is found."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(1.0)
    raise AssertionError(f"no {what} within {seconds} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_ui_repairs_a_failed_fold_and_runs_exactly_it_and_its_downstream(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TFT_EXPERIMENTS", str(finished.file))
    with finished.instance():
        pass  # links dagster.yaml into the home
    before = finished.materialisations()
    folds = finished.layout.artifact("small", "production_fold")
    hashes = {str(path): sha256_file(path) for path in folds.rglob("*") if path.is_file() and FOLD not in str(path)}
    port = free_port()
    binaries = Path(sys.executable).parent
    module = ["-m", "tft_pipeline.definitions"]
    web = [str(binaries / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port), *module]
    daemon = [str(binaries / "dagster-daemon"), "run", *module]
    url = f"http://127.0.0.1:{port}/graphql"

    def ask(query: str, variables: dict[str, Any] | None = None) -> dict[str, Any] | None:
        try:
            answer = requests.post(url, json={"query": query, "variables": variables or {}}, timeout=60)
        except requests.ConnectionError:
            return None
        return answer.json()["data"] if answer.ok else None

    with process(web, tmp_path / "web.log"), process(daemon, tmp_path / "daemon.log"):
        data = until(lambda: ask(LOCATIONS), seconds=120, what="webserver")
        (node,) = data["repositoriesOrError"]["nodes"]
        params = {
            "selector": {
                "pipelineName": "__ASSET_JOB",
                "repositoryName": node["name"],
                "repositoryLocationName": node["location"]["name"],
                "assetSelection": [{"path": ["small", name]} for name in ("production_fold", *DOWNSTREAM)],
            },
            "mode": "default",
            "executionMetadata": {
                "tags": [
                    {"key": "dagster/partition", "value": FOLD},
                    {"key": "dagster/max_retries", "value": "0"},  # the daemon's own retry would repair it too
                ]
            },
        }

        def launch() -> str:
            """Launch, wait, and return how the run ended."""
            launched = ask(LAUNCH, {"params": params})
            assert launched is not None
            assert launched["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess", launched
            run_id = launched["launchPipelineExecution"]["run"]["runId"]

            def ended() -> str | None:
                answer = ask(RUN, {"id": run_id})
                status = answer and answer["runOrError"]["status"]
                return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

            return str(until(ended, seconds=300, what="end of the run"))

        obstacle = block(finished, FOLD)
        assert launch() == "FAILURE"
        assert finished.materialisations() == before
        obstacle.unlink()
        assert launch() == "SUCCESS", (tmp_path / "daemon.log").read_text()[-3000:]
    after = finished.materialisations()
    grown = {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}
    assert grown == {("production_fold", FOLD): 1, **{(name, None): 1 for name in DOWNSTREAM}}
    assert hashes == {
        str(path): sha256_file(path) for path in folds.rglob("*") if path.is_file() and FOLD not in str(path)
    }
