"""Runs as Celery tasks on many machines, and how a machine that died is noticed. Not here: the worker's app (`celery_worker`).

Dagster's own launcher believes what the result store says, and there a task whose machine was switched off is started for
ever. This one also asks the worker itself. What follows is Dagster's: run monitoring marks the run as failed, run retries
start it again on another worker.
"""

import time
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._serdes import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from tft_pipeline.pipeline.run_process import parent_has_ended

ANSWER_SECONDS = 5.0
"""How long one question waits for the workers."""
UNDER_WAY = ("PENDING", "STARTED", "RETRY")
"""States in which a task that no worker knows is lost; PENDING is also what a result store says that lost its memory."""


class WatchedCeleryRunLauncher(CeleryRunLauncher):
    """Starts runs as Celery tasks; a run whose worker does not know it any more has failed.

    Options besides those of `CeleryRunLauncher`:
        silence_seconds: how long nobody may answer for a run before it counts as lost. It covers a worker's way back after the
            broker was away.
    """

    def __init__(
        self,
        default_queue: str,
        broker: str | None = None,
        backend: str | None = None,
        include: list[str] | None = None,
        config_source: dict[str, Any] | None = None,
        silence_seconds: int = 60,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(default_queue, broker, backend, include, config_source, inst_data)
        self._silence_seconds = silence_seconds
        self._unanswered: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> Any:
        """The options in `dagster.yaml`."""
        inherited: Any = CeleryRunLauncher.config_type()
        return {
            **inherited,
            "silence_seconds": dg.Field(
                int, is_required=False, default_value=60, description="A run that no worker knows for so long is lost."
            ),
        }

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """What became of the task of a run that has started; called by Dagster's run monitoring.

        A run without a task is part of another one, and ends with it, or one of `tft`, which is for its own machine to judge.

        Raises:
            Exception: the broker or the result store does not answer; then nothing is known and the run stays as it is.
        """
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task is None:
            if parent_has_ended(run, self._instance):
                return CheckRunHealthResult(WorkerStatus.FAILED, "the run it is part of has ended")
            return CheckRunHealthResult(WorkerStatus.RUNNING, "no task of ours")
        told = self.celery.backend.get_task_meta(task)
        state, about = told["status"], told["result"]
        if state not in UNDER_WAY:
            self._unanswered.pop(task, None)
            return super().check_run_worker_health(run)
        worker = about.get("hostname") if isinstance(about, dict) else None
        if self._knows(task, worker):
            self._unanswered.pop(task, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        silent = time.monotonic() - self._unanswered.setdefault(task, time.monotonic())
        named = worker or "of any name"
        if silent < self._silence_seconds:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"worker {named} did not answer for {silent:.0f} s")
        del self._unanswered[task]
        return CheckRunHealthResult(
            WorkerStatus.FAILED,
            f"worker {named} did not answer for this run for {silent:.0f} s: its process or its machine is gone",
        )

    def terminate(self, run_id: str) -> bool:
        """Stop the task of a run; False for one without: the run that it is part of can be stopped, or its `tft`."""
        run = self._instance.get_run_by_id(run_id)
        return run is not None and DAGSTER_CELERY_TASK_ID_TAG in run.tags and super().terminate(run_id)

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """The task's state; nothing for a run without one."""
        if DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return None
        return super().get_run_worker_debug_info(run, include_container_logs)

    def _knows(self, task: str, worker: str | None) -> bool:
        """Whether the worker, or any where its name is unknown, says that it executes the task."""
        inspector = self.celery.control.inspect(None if worker is None else [worker], timeout=ANSWER_SECONDS)
        answers = inspector.active() or {}
        return any(request["id"] == task for requests in answers.values() for request in requests)
