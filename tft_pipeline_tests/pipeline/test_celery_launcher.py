"""What a run's worker is believed to do, and what a broker that is down says. Real workers: `deploy/test_machines.py`."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import WorkerStatus

pytest.importorskip("dagster_celery", reason="the extra `distributed` is not installed")

from tft_pipeline.pipeline import celery_launcher
from tft_pipeline.pipeline.celery_launcher import WatchedCeleryRunLauncher
from tft_pipeline.pipeline.run_process import nested_tags, process_tags

TASK = "11111111-2222-3333-4444-555555555555"
OTHER_TASK = "99999999-2222-3333-4444-555555555555"
RUN = SimpleNamespace(run_id="run", tags={"dagster-celery/task_id": TASK})
ON_ONE = {"pid": 7, "hostname": "celery@one"}


class Workers:
    """Celery's view of the workers: what each says that it executes; asked for by name or all."""

    def __init__(self, active: dict[str, list[str]]) -> None:
        self.active_tasks = active
        self.asked: list[list[str] | None] = []

    def inspect(self, destination: list[str] | None, timeout: float) -> Any:
        """`celery.app.control.inspect`: no answer is None."""
        self.asked.append(destination)
        named = (
            self.active_tasks
            if destination is None
            else {k: v for k, v in self.active_tasks.items() if k in destination}
        )
        answers = {worker: [{"id": task} for task in tasks] for worker, tasks in named.items()}
        return SimpleNamespace(active=lambda: answers or None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that the test sets."""
    now = SimpleNamespace(at=100.0)
    monkeypatch.setattr(celery_launcher, "time", SimpleNamespace(monotonic=lambda: now.at))

    def move(seconds: float) -> None:
        now.at += seconds

    return move


def launcher(state: str, about: Any, workers: Workers) -> WatchedCeleryRunLauncher:
    """A launcher whose result store holds one task."""
    made = WatchedCeleryRunLauncher("dagster", broker="memory://", backend="cache+memory://", silence_seconds=60)
    made.celery.backend.forget(TASK)  # the memory is that of the process
    made.celery.backend.store_result(TASK, about, state)
    made.celery.control = workers
    return made


def health(one: WatchedCeleryRunLauncher) -> WorkerStatus:
    """What run monitoring is told."""
    return one.check_run_worker_health(RUN).status  # type: ignore[arg-type]


def test_a_run_is_running_while_its_worker_says_that_it_executes_it(clock: Callable[[float], None]) -> None:
    workers = Workers({"celery@one": [TASK], "celery@two": []})
    one = launcher("STARTED", ON_ONE, workers)
    for _ in range(3):
        assert health(one) is WorkerStatus.RUNNING
        clock(1000.0)
    assert workers.asked == [["celery@one"]] * 3


@pytest.mark.parametrize("active", [{}, {"celery@one": [OTHER_TASK]}, {"celery@two": [TASK]}])
def test_a_run_is_lost_when_nobody_answered_for_it_for_long_enough(
    clock: Callable[[float], None], active: dict[str, list[str]]
) -> None:
    one = launcher("STARTED", ON_ONE, Workers(active))
    assert health(one) is WorkerStatus.RUNNING
    clock(59.0)
    assert health(one) is WorkerStatus.RUNNING
    clock(2.0)
    found = one.check_run_worker_health(RUN)  # type: ignore[arg-type]
    assert found.status is WorkerStatus.FAILED
    assert "celery@one did not answer for this run for 61 s" in (found.msg or "")


def test_silence_is_forgotten_when_the_worker_comes_back(clock: Callable[[float], None]) -> None:
    workers = Workers({})
    one = launcher("STARTED", ON_ONE, workers)
    assert health(one) is WorkerStatus.RUNNING
    clock(59.0)
    workers.active_tasks = {"celery@one": [TASK]}
    assert health(one) is WorkerStatus.RUNNING
    workers.active_tasks = {}
    clock(59.0)
    assert health(one) is WorkerStatus.RUNNING


def test_a_result_store_that_lost_its_memory_ends_no_run_that_a_worker_executes(clock: Callable[[float], None]) -> None:
    workers = Workers({"celery@one": [], "celery@two": [TASK]})
    one = launcher("PENDING", None, workers)
    assert health(one) is WorkerStatus.RUNNING
    clock(1000.0)
    assert health(one) is WorkerStatus.RUNNING
    assert workers.asked == [None, None]


@pytest.mark.parametrize(
    ("state", "status"), [("SUCCESS", WorkerStatus.SUCCESS), ("FAILURE", WorkerStatus.FAILED)], ids=["ended", "failed"]
)
def test_an_ended_task_is_what_the_result_store_says(state: str, status: WorkerStatus) -> None:
    workers = Workers({})
    one = launcher(state, 0 if state == "SUCCESS" else RuntimeError("worker lost"), workers)
    assert health(one) is status
    assert workers.asked == []


@pytest.mark.fault("stale_run")
@pytest.mark.parametrize(
    ("parent", "status"),
    [(None, "RUNNING"), ("STARTED", "RUNNING"), ("FAILURE", "FAILED"), ("CANCELED", "FAILED")],
    ids=["of tft", "its parent runs", "its parent failed", "its parent was stopped"],
)
def test_a_run_without_a_task_ends_with_the_run_it_is_part_of(parent: str | None, status: str) -> None:
    @dg.job
    def work() -> None:
        """Nothing."""

    with dg.DagsterInstance.ephemeral() as instance:
        one = launcher("STARTED", ON_ONE, Workers({}))
        one.register_instance(instance)
        run_id = "11111111-1111-1111-1111-111111111111"
        tags = process_tags(run_id)
        if parent is not None:
            above = instance.create_run_for_job(work, status=dg.DagsterRunStatus(parent))
            tags |= nested_tags(run_id, above.run_id)
        run = instance.create_run_for_job(work, run_id=run_id, tags=tags, status=dg.DagsterRunStatus.STARTED)
        assert one.check_run_worker_health(run).status.value == status
        assert one.get_run_worker_debug_info(run) is None
        assert not one.terminate(run_id)


def test_dagster_loads_it_with_its_option_from_a_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_BROKER", "memory://")
    entry = {
        "module": "tft_pipeline.pipeline.celery_launcher",
        "class": "WatchedCeleryRunLauncher",
        "config": {"broker": {"env": "THE_BROKER"}, "backend": "cache+memory://", "silence_seconds": 9},
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"run_launcher": entry, "telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        found = instance.run_launcher
        assert isinstance(found, WatchedCeleryRunLauncher)
        assert found.celery.conf.broker_url == "memory://"
        assert found._silence_seconds == 9
        assert "memory://" not in str(instance.get_ref().run_launcher_data.config_yaml).split("backend")[0]  # type: ignore[union-attr]


def test_a_worker_of_an_instance_that_uses_none_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"starts runs with DefaultRunLauncher.*put deploy/dagster\.yaml there"):
        import tft_pipeline.pipeline.celery_worker  # noqa: F401
