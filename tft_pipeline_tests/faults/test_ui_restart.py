"""Webserver and daemon are ended and started again while a fold trains; then another fold is terminated from the UI.

The code server is a process of its own, as in any installation that is to outlive its UI; it starts the runs.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml

from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.pipeline.test_webserver import LAUNCH, LOCATIONS, RUN, free_port, process, until

pytestmark = pytest.mark.slow

FOLD = "f2021-03-12"
PATIENCE_SECONDS = 240.0
TERMINATE = """
mutation Terminate($id: String!) {
  terminateRun(runId: $id) { __typename ... on PythonError { message } ... on TerminateRunFailure { message } }
}
"""


class Installation:
    """A code server for the whole test, and a webserver and a daemon that come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server_port, self.port = free_port(), free_port()
        server = {"host": "127.0.0.1", "port": self.server_port, "location_name": "tft_pipeline"}
        self.workspace = folder / "workspace.yaml"
        self.workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        self.binaries = Path(sys.executable).parent
        self.starts = 0

    def server(self) -> list[str]:
        """Command of the code server."""
        module = ["-m", "tft_pipeline_tests.faults.held_definitions"]
        return [str(self.binaries / "dagster"), "api", "grpc", "-h", "127.0.0.1", "-p", str(self.server_port), *module]

    def web(self) -> list[str]:
        """Command of the webserver."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-w", str(self.workspace)]
        return [str(self.binaries / "dagster-webserver"), *where]

    def daemon(self) -> list[str]:
        """Command of the daemon."""
        return [str(self.binaries / "dagster-daemon"), "run", "-w", str(self.workspace)]

    def log(self, name: str) -> Path:
        """A fresh log."""
        self.starts += 1
        return self.folder / f"{name}-{self.starts}.log"

    def ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Data of the UI's answer; None while there is none."""
        url = f"http://127.0.0.1:{self.port}/graphql"
        try:
            answer = requests.post(url, json={"query": query, "variables": variables or {}}, timeout=60)
        except requests.ConnectionError:
            return None
        return answer.json()["data"] if answer.ok else None

    def location(self) -> dict[str, Any] | None:
        """The code location, once webserver and code server are up."""
        data = self.ask(LOCATIONS)
        nodes = [] if data is None else data["repositoriesOrError"].get("nodes", [])
        return nodes[0] if nodes else None

    def status(self, run_id: str) -> str:
        """Of a run."""
        answer = self.ask(RUN, {"id": run_id})
        return "unknown" if answer is None else str(answer["runOrError"]["status"])

    def launch(self) -> str:
        """A run of the fold."""
        node = until(self.location, seconds=PATIENCE_SECONDS, what="code location")
        params = {
            "selector": {
                "pipelineName": "__ASSET_JOB",
                "repositoryName": node["name"],
                "repositoryLocationName": node["location"]["name"],
                "assetSelection": [{"path": ["small", "production_fold"]}],
            },
            "mode": "default",
            "executionMetadata": {
                "tags": [{"key": "dagster/partition", "value": FOLD}, {"key": "dagster/max_retries", "value": "0"}]
            },
        }
        launched = self.ask(LAUNCH, {"params": params})
        assert launched is not None
        assert launched["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess", launched
        return str(launched["launchPipelineExecution"]["run"]["runId"])


def ended(started: subprocess.Popen[bytes]) -> None:
    """End a process that this test started, by its id."""
    os.kill(started.pid, signal.SIGTERM)
    started.wait(60)


@pytest.mark.fault("ui_restart", "sigterm")
def test_a_run_outlives_the_ui_and_the_daemon_and_the_new_ones_can_terminate_a_run(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TFT_EXPERIMENTS", str(finished.file))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    with finished.instance():
        pass  # links dagster.yaml into the home
    before = finished.materialisations()
    home, site = finished.layout.home, Installation(tmp_path)

    def waiting(seen: set[int]) -> int | None:
        found = {int(path.name.split("-")[1]) for path in home.glob("waits-*")} - seen
        return found.pop() if found else None

    def has_ended(run_id: str) -> str | None:
        status = site.status(run_id)
        return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    with process(site.server(), tmp_path / "server.log"):
        with process(site.web(), site.log("web")) as web, process(site.daemon(), site.log("daemon")) as daemon:
            first = site.launch()
            pid = until(lambda: waiting(set()), seconds=PATIENCE_SECONDS, what="fold in training")
            ended(web)
            ended(daemon)
            worker = psutil.Process(pid)
            assert worker.is_running()
        with process(site.web(), site.log("web")), process(site.daemon(), site.log("daemon")):
            until(site.location, seconds=PATIENCE_SECONDS, what="code location")
            assert site.status(first) == "STARTED"
            assert worker.is_running()
            (home / "go").touch()
            status = until(lambda: has_ended(first), seconds=PATIENCE_SECONDS, what="end of the run")
            assert status == "SUCCESS", (tmp_path / "server.log").read_text()[-3000:]
            (home / "go").unlink()
            after = finished.materialisations()
            assert {name: n - before[name] for name, n in after.items() if n != before[name]} == {
                ("production_fold", FOLD): 1
            }

            second = site.launch()
            pid = until(lambda: waiting({pid}), seconds=PATIENCE_SECONDS, what="second fold in training")
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            versions = finished.versions()
            answer = site.ask(TERMINATE, {"id": second})
            assert answer is not None
            assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess", answer
            assert until(lambda: has_ended(second), seconds=PATIENCE_SECONDS, what="end of the run") == "CANCELED"
            psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
            assert not [one for one in family if one.is_running()]
    assert finished.versions() == versions
    assert finished.materialisations() == after
    assert not (finished.layout.models("small") / "versions" / "current").exists()
    (state,) = finished.layout.training_state("small", "production", FOLD).parent.glob(f"production-{FOLD}*")
    assert state.stat().st_size > 0
