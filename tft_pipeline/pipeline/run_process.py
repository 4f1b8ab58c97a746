"""Which process executes a run: tags on the run, and whether that process is still there.

A process number is used again sooner or later, so the tags also say when the process began: clock ticks since the boot, and
which boot, where the system tells (Linux), because the time of day can be set. Hosts are told apart by name: two machines that
share an instance must not have the same. Not here: what becomes of a run whose process is gone (`pipeline.reaping`).
"""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

HOST, PID, STARTED = "tft/host", "tft/pid", "tft/started"
OF_RUN = "tft/run"
"""The run these tags were made for: a run that is tried again inherits the tags of the one before."""
PARENT_TAGS = ("dagster/parent_run_id", "dagster/root_run_id")
NESTED = "tft/nested"
"""On a run that another run computes within itself: its own id. Dagster names the parent of another try by the same tags."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
HIDDEN = "hidden"
"""In place of when a process began, where we may not know."""
_STATE, _START_TICKS = 0, 19
"""Fields of /proc/PID/stat behind the name, which may hold blanks and brackets."""


def process_tags(run_id: str) -> dict[str, str]:
    """Tags for a run that this process executes."""
    pid = os.getpid()
    return {HOST: socket.gethostname(), PID: str(pid), STARTED: started(pid) or "", OF_RUN: run_id}


def nested_tags(run_id: str, parent_run_id: str) -> dict[str, str]:
    """Tags for a run that belongs to another, which ends with it."""
    return {NESTED: run_id, **dict.fromkeys(PARENT_TAGS, parent_run_id)}


def parent_of(run: dg.DagsterRun) -> str | None:
    """The run that a nested run is part of; None for every other run, also for one that is another try."""
    return run.tags[PARENT_TAGS[0]] if run.tags.get(NESTED) == run.run_id else None


def parent_has_ended(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Whether a run is nested in one that is finished, or that was deleted: nobody computes it any more, on any machine."""
    parent = parent_of(run)
    if parent is None:
        return False
    found = instance.get_run_by_id(parent)
    return found is None or found.is_finished


def process_is_gone(tags: Mapping[str, str]) -> bool:
    """Whether the process that the tags name, on this machine, has ended; one that nobody waited for has."""
    return started(int(tags[PID])) not in (tags[STARTED], HIDDEN)


def started(pid: int) -> str | None:
    """When a process began, as a text that differs from that of any later process with this number; None without one."""
    if not BOOT.exists():
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
        except psutil.NoSuchProcess:
            return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _unseen(pid)
    return None if fields[_STATE] in "ZX" else f"{fields[_START_TICKS]}@{BOOT.read_text().strip()}"


def _unseen(pid: int) -> str | None:
    """A process that /proc does not show may be another user's (`hidepid`)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return HIDDEN
    return HIDDEN  # it began between the two looks


class InThisProcess(InProcessExecutor):
    """Dagster's in-process executor; the run says in which process."""

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """All steps, one after the other."""
        plan_context.instance.add_run_tags(plan_context.run_id, process_tags(plan_context.run_id))
        yield from super().execute(plan_context, execution_plan)


@dg.executor(name="in_this_process")
def in_this_process(_context: dg.InitExecutorContext) -> InThisProcess:
    """Steps one after the other in the run's own process."""
    return InThisProcess(retries=RetryMode.ENABLED)
