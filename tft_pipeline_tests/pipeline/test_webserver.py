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

import dagster as dg
import pytest
import requests

from tft_pipeline.pipeline.rerun_plan import CURRENT, RUNS, plan_run
from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline_tests.conftest import DOWNSTREAM, Workbench
from tft_pipeline_tests.pipeline.test_partial_rerun import block
from tft_pipeline_tests.reruns import FOLD, LOOKED_AT, aggregates, another_fit, materialise_alone, ran_since

pytestmark = pytest.mark.slow

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


@pytest.mark.fault("failed_fold")
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
        names = {"repositoryName": node["name"], "repositoryLocationName": node["location"]["name"]}

        def launch(selector: dict[str, Any], config: dict[str, Any] | None = None, **tags: str) -> tuple[str, str]:
            """Launch, wait, and return the run and how it ended."""
            tags |= {"max_retries": "0"}  # the daemon's own retry would repair it too
            params = {
                "selector": {**names, **selector},
                "mode": "default",
                "runConfigData": config or {},
                "executionMetadata": {"tags": [{"key": f"dagster/{key}", "value": tags[key]} for key in tags]},
            }
            launched = ask(LAUNCH, {"params": params})
            assert launched is not None
            assert launched["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess", launched
            run_id = launched["launchPipelineExecution"]["run"]["runId"]

            def ended() -> str | None:
                answer = ask(RUN, {"id": run_id})
                status = answer and answer["runOrError"]["status"]
                return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

            return run_id, str(until(ended, seconds=600, what="end of the run"))

        def assets(*chosen: str) -> dict[str, Any]:
            return {"pipelineName": "__ASSET_JOB", "assetSelection": [{"path": ["small", name]} for name in chosen]}

        def resume() -> set[tuple[str, str | None]]:
            """The job of the UI with `resume`, and what it ran."""
            counts = finished.materialisations()
            config = {"ops": {"small_drive": {"config": {"resume": True}}}}
            _, status = launch({"pipelineName": "small_run_everything"}, config)
            assert status == "SUCCESS", (tmp_path / "daemon.log").read_text()[-3000:]
            return ran_since(finished, counts)

        obstacle = block(finished, FOLD)
        assert launch(assets("production_fold", *DOWNSTREAM), partition=FOLD)[1] == "FAILURE"
        run_id, status = launch(assets("oos_portfolio"))
        assert status == "FAILURE"
        assert f"folds ['{FOLD}'] have no result yet" in failure_of(finished, run_id)
        assert finished.materialisations() == before
        obstacle.unlink()

        assert launch(assets("production_fold", *DOWNSTREAM), partition=FOLD)[1] == "SUCCESS", (
            tmp_path / "daemon.log"
        ).read_text()[-3000:]
        after = finished.materialisations()
        grown = {name: after[name] - before.get(name, 0) for name in ran_since(finished, before)}
        assert grown == {("production_fold", FOLD): 1, **dict.fromkeys(aggregates(), 1)}
        assert hashes == {
            str(path): sha256_file(path) for path in folds.rglob("*") if path.is_file() and FOLD not in str(path)
        }

        assert resume() == {LOOKED_AT}, "the fold came out as before"
        with another_fit():
            materialise_alone(finished, "production_fold", FOLD)
        states = {step.asset: step.state for step in plan_run(finished.file).steps}
        ran = resume()
        assert ran == {LOOKED_AT} | aggregates()
        assert {name for name, state in states.items() if state == RUNS} <= {name for name, _ in ran}
        assert {name for name, state in states.items() if state != CURRENT} == {name for name, _ in ran}


def failure_of(bench: Workbench, run_id: str) -> str:
    """What the event log says of a failed run."""
    with bench.instance() as instance:
        return "\n".join(
            entry.dagster_event.step_failure_data.user_failure_data.description or ""
            for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
            if entry.dagster_event and entry.dagster_event.step_failure_data.user_failure_data
        )
