"""`make dev` as a test starts and ends it: web server, daemon and code server on a free port of 127.0.0.1.

Not here: what is asked of it.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import requests

from tft_pipeline_tests.conftest import SERVERS
from tft_pipeline_tests.pipeline.test_webserver import LOCATIONS, free_port, until

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300.0
END_SECONDS = 60.0
ELSEWHERE = (*SERVERS, "DAGSTER_HOME", "MAKEFLAGS", "MAKELEVEL")
USER = "you"
"""Who the log of deployments says deployed: not the name of whoever runs the tests."""


@contextlib.contextmanager
def dev_server(experiment: Path, home: Path, log: Path) -> Iterator[str]:
    """Address of a UI with one experiment, its artifacts below `home`; nothing of it runs afterwards."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    environment |= {
        "TFT_HOME": str(home),
        "TFT_EXPERIMENTS": str(experiment),
        "LOGNAME": USER,
        "POLARS_MAX_THREADS": "1",
    }
    # the environment of this interpreter, taken as it is: `make` must not install anything while tests run
    command = ["make", "-o", f"{sys.prefix}/.installed", "dev", f"VENV={sys.prefix}", f"PORT={port}"]
    with log.open("wb") as stream:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            until(lambda: _has_loaded(address, started, log), seconds=START_SECONDS, what="code location")
            yield address
        finally:
            _end(psutil.Process(started.pid))
            started.wait(END_SECONDS)


def _has_loaded(address: str, started: subprocess.Popen[bytes], log: Path) -> bool:
    assert started.poll() is None, log.read_text()[-3000:]
    try:
        answer = requests.post(f"{address}/graphql", json={"query": LOCATIONS}, timeout=60)
    except requests.ConnectionError:
        return False
    return answer.ok and bool(answer.json()["data"]["repositoriesOrError"].get("nodes"))


def _end(parent: psutil.Process) -> None:
    """End a process and all that came of it, runs too; by force where asking does not help."""
    family = [*parent.children(recursive=True), parent]
    for kind in (psutil.Process.terminate, psutil.Process.kill):
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                kind(one)
        _, family = psutil.wait_procs(family, timeout=END_SECONDS)
