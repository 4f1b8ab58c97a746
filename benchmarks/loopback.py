"""Several "machines" on this one: PostgreSQL, Redis, an S3 server, Dagster's daemon and code server, and Celery workers.

Each machine has a folder of its own (`TFT_HOME`) and shares nothing with the others but the three servers, all on 127.0.0.1
with free ports. Everything is set up from the files in `deploy/`. Not here: what is measured or tested.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
PATIENCE = 120.0
"""Seconds within which something must have happened; machines differ."""
BUCKET = "tft"
ACCESS = {"AWS_ACCESS_KEY_ID": "loopback", "AWS_SECRET_ACCESS_KEY": "loopback", "AWS_DEFAULT_REGION": "us-east-1"}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


LAUNCH = """
mutation Launch($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""


class MissingError(RuntimeError):
    """A server that the machines need is not installed here."""


def postgresql_binaries() -> Path:
    """Folder of the newest PostgreSQL server.

    Raises:
        MissingError: there is none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise MissingError("PostgreSQL's server is not installed (/usr/lib/postgresql): apt-get install postgresql")
    return found[-1].parent


def redis_binary() -> str:
    """Redis' server.

    Raises:
        MissingError: there is none.
    """
    found = shutil.which("redis-server")
    if found is None:
        raise MissingError("Redis' server is not installed: apt-get install redis-server")
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wait_for(what: str, happened: Callable[[], Any], *, seconds: float = PATIENCE, pause: float = 0.2) -> Any:
    """The first answer that counts as true.

    Raises:
        TimeoutError: there was none in time.
    """
    until = time.monotonic() + seconds
    while not (answer := happened()):
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
    return answer


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Process:
    """A process with a session of its own, its output in a file."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log.open("ab") as stream:
            self.popen = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                cwd=self.log.parent,
            )

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group's."""
        assert self.popen is not None, f"{self.name} was never started"
        return self.popen.pid

    def said(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(errors="replace")

    def alive(self) -> bool:
        """Whether it runs; an error ends the waiting of those who wait for it."""
        assert self.popen is not None
        if self.popen.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.popen.returncode}:\n{self.said()[-3000:]}")
        return True

    def dies(self) -> None:
        """SIGKILL to it and to everything it started in its session, as when a machine is switched off."""
        self._signal(signal.SIGKILL)

    def stops(self) -> None:
        """SIGTERM to it alone; waits until it has ended."""
        assert self.popen is not None
        self.popen.terminate()
        self.popen.wait(PATIENCE)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        assert self.popen is not None
        self.popen.wait()


@dataclass
class Loopback:
    """The machines.

    Attributes:
        folder: homes and logs lie below it.
        experiment: the YAML file that all of them work on.
        slots: runs at once, `TFT_WORKER_SLOTS`.
        settings: changes of `deploy/dagster.yaml`, by section; a test does not wait for a minute's silence.
    """

    folder: Path
    experiment: Path
    slots: int = 2
    settings: Mapping[str, Any] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)

    @contextmanager
    def serving(self) -> Iterator["Loopback"]:
        """Start the three servers; whatever was started since is ended at the end.

        Raises:
            MissingError: a server is not installed.
        """
        binaries, redis = postgresql_binaries(), redis_binary()
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            database = stack.enter_context(_postgresql(binaries))
            stack.callback(self._end_all)
            broker, store = free_port(), free_port()
            self._begin(
                "redis",
                [redis, "--port", str(broker), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                dict(os.environ),
            )
            self._begin("s3", [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(store)], dict(os.environ))
            address = f"postgresql+psycopg2://tft@127.0.0.1:{database}"
            self.shared = {
                **ONE_THREAD,
                **ACCESS,
                "TFT_DAGSTER_STORAGE": f"{address}/dagster",
                "TFT_TUNING_STORAGE": f"{address}/optuna",
                "TFT_LOCKS": f"postgresql://tft@127.0.0.1:{database}/dagster",
                "TFT_BROKER": f"redis://127.0.0.1:{broker}/0",
                "TFT_STORE": f"s3://{BUCKET}/results",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store}",
                "TFT_WORKER_SLOTS": str(self.slots),
                "TFT_CODE_HOST": "127.0.0.1",
                "TFT_CODE_PORT": str(free_port()),
                "TFT_EXPERIMENTS": str(self.experiment),
                "TFT_WORKERS": "1",
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            }
            wait_for("Redis", lambda: self.processes["redis"].alive() and listens(broker))
            wait_for("the S3 server", lambda: self.processes["s3"].alive() and listens(store))
            _make_bucket(store)
            yield self

    def environment(self, machine: str) -> dict[str, str]:
        """What a process on a machine is given; its folders are made."""
        home = self.folder / machine
        dagster_home = home / "dagster"
        dagster_home.mkdir(parents=True, exist_ok=True)
        (dagster_home / "dagster.yaml").write_text(yaml.safe_dump(self._settings()))
        return {
            **os.environ,
            **self.shared,
            "TFT_HOME": str(home),
            "DAGSTER_HOME": str(dagster_home),
        }

    def start_control(self) -> None:
        """The code server and the daemon, each on a machine of its own."""
        port = self.shared["TFT_CODE_PORT"]
        place = ["-h", "127.0.0.1", "-p", port]
        module = ["-m", "tft_pipeline.definitions", "-d", str(ROOT)]
        self._start("code", [str(BIN / "dagster"), "code-server", "start", *place, *module])
        wait_for("the code server", lambda: self.processes["code"].alive() and listens(int(port)))
        self._start("daemon", [str(BIN / "dagster-daemon"), "run", "-w", str(DEPLOY / "workspace.yaml")])

    def start_worker(self, machine: str) -> Process:
        """A Celery worker on a machine of its own."""
        celery = [str(BIN / "celery"), "-A", "tft_pipeline.pipeline.celery_worker", "worker"]
        options = ["--concurrency", "1", "--loglevel", "INFO", "-n", f"{machine}@%h"]
        return self._start(machine, [*celery, *options])

    def workers_ready(self, *machines: str) -> None:
        """Wait until workers take runs."""
        for machine in machines:
            one = self.processes[machine]
            wait_for(f"worker {machine}", lambda one=one: one.alive() and " ready." in one.said())  # type: ignore[misc]

    def _start(self, machine: str, command: list[str]) -> Process:
        return self._begin(machine, command, self.environment(machine))

    def _begin(self, name: str, command: list[str], environment: dict[str, str]) -> Process:
        process = Process(name, command, environment, self.folder / f"{name}.log")
        self.processes[name] = process
        process.start()
        return process

    def _end_all(self) -> None:
        for process in reversed(self.processes.values()):
            process.dies()

    def _settings(self) -> dict[str, Any]:
        """`deploy/dagster.yaml` with the changes."""
        settings: dict[str, Any] = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
        _merge(settings, self.settings)
        return settings


def launch(instance: Any, experiment: str, asset: str, partitions: Sequence[str | None]) -> dict[str | None, str]:
    """Ask Dagster for a run of an asset for each partition, as *Materialize* in the UI does; run ids by partition.

    The variables of a machine must be set in this process: its `workspace.yaml` is read.

    Raises:
        RuntimeError: Dagster refused.
    """
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_graphql.cli import execute_query

    found: dict[str | None, str] = {}
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(DEPLOY / "workspace.yaml")])) as workspace:
        for partition in partitions:
            selector = {
                "repositoryName": "__repository__",
                "repositoryLocationName": "tft_pipeline",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": [experiment, asset]}],
            }
            tags = [] if partition is None else [{"key": "dagster/partition", "value": partition}]
            asked = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
            answer = execute_query(workspace, LAUNCH, {"executionParams": asked})
            launched = (answer.get("data") or {}).get("launchPipelineExecution", {})
            if "run" not in launched:
                raise RuntimeError(f"{asset} {partition}: {json.dumps(answer)}")
            found[partition] = launched["run"]["runId"]
    return found


def data_versions(instance: Any, key: Any, partitions: Sequence[str], *, since: float) -> dict[str, str]:
    """Data version by partition of what was computed after a time (seconds since 1970)."""
    import dagster as dg

    found = {}
    for partition in partitions:
        asked = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition], after_timestamp=since)
        for record in instance.fetch_materializations(asked, limit=1).records:
            found[partition] = record.asset_materialization.tags["dagster/data_version"]
    return found


def _merge(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _make_bucket(port: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
    with urllib.request.urlopen(request, timeout=PATIENCE):
        pass


@contextmanager
def _postgresql(binaries: Path) -> Iterator[int]:
    """Port of a fresh server with the databases of `deploy/databases.sql`; root may not run one, so another user does."""
    names = [entry.pw_name for entry in pwd.getpwall()]
    user = None if os.getuid() else ("postgres" if "postgres" in names else "nobody")
    folder, port = Path(tempfile.mkdtemp(prefix="machines-postgresql-")), free_port()

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=folder, user=user, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")

    try:
        if user is not None:
            shutil.chown(folder, user)
        run(str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "tft", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
        control = (str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w")
        run(*control, "-o", options, "-l", str(folder / "log"), "start")
        try:
            shutil.copy(DEPLOY / "databases.sql", folder / "databases.sql")
            (folder / "databases.sql").chmod(0o644)
            tool = (str(binaries / "psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "tft", "-d", "postgres")
            run(*tool, "-v", "ON_ERROR_STOP=1", "-f", str(folder / "databases.sql"))
            yield port
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
