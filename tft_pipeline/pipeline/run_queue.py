"""The queue of runs, which counts only the runs that it launched.

Dagster's own counts every run that is under way. The nested runs of a whole run, and every run of `tft`, are none of its
business: they compute with slots as all do, and they would stop the queue for as long as they last. Not here: slots.
"""

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig

QUEUED = "tft/queued"
"""On every run that came through the queue."""


class QueueOfLaunchedRuns(QueuedRunCoordinator):
    """Dagster's queue; `max_concurrent_runs` is a limit of the runs that it launched."""

    def get_run_queue_config(self) -> RunQueueConfig:
        """What the daemon takes runs from the queue by."""
        found = super().get_run_queue_config()
        if found.max_concurrent_runs < 0:
            return found
        ours = {"key": QUEUED, "limit": found.max_concurrent_runs}
        return found._replace(max_concurrent_runs=-1, tag_concurrency_limits=[*found.tag_concurrency_limits, ours])

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Mark a run before it waits."""
        self._instance.add_run_tags(context.dagster_run.run_id, {QUEUED: "yes"})
        return super().submit_run(context)
