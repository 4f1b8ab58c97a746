"""Runs whose process is gone are recorded as failed: a killed process cannot do it itself, and nobody else would.

Dagster's run monitoring asks launchers, and its default one does not know whether a run's process lives. Locks, slots and
children need no care here: the system frees the first two and ends the third. A machine judges its own processes; only what
is nested in a finished run is recorded as ended by any. Not here: another try (`dagster.yaml`).
"""

import socket

import dagster as dg

from tft_pipeline.pipeline.run_process import HOST, OF_RUN, PID, parent_has_ended, process_is_gone

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
SENSOR = "reap_dead_runs"
SENSOR_SECONDS = 60


def reap(instance: dg.DagsterInstance) -> list[str]:
    """Record every unfinished run of this machine whose process is gone as failed, and every one that is nested in a finished
    run; a line for each.

    Any other run of another machine is left alone, and so is one without tags that say which process executes it.
    """
    told = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        what = how_it_ended(run, instance)
        if what is None:
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished:  # it ended between the two looks
            continue
        message = (
            f"{what}: killed, out of memory, or the machine was restarted. What it had finished is kept, and nothing "
            "half-written became current. Go on with `tft run EXPERIMENT --resume`, or materialise the same again"
        )
        if now.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(now, message)
        else:
            instance.report_run_failed(now, message)
        told.append(f"run {run.run_id[:8]} ({_assets(run)}) was unfinished: {what}; recorded as ended")
    return told


def reaper() -> dg.SensorDefinition:
    """The sensor that does it every minute, for all experiments, on by default."""

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks every minute for runs of this machine whose process is gone, and for parts of ended runs, and "
        "records them as failed; it computes nothing. On by itself: without it a killed run would look as if it went on.",
    )
    def reap_dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        told = reap(context.instance)
        for line in told:
            context.log.warning(line)
        return dg.SkipReason("; ".join(told) or "every unfinished run of this machine has its process")

    return reap_dead_runs


def how_it_ended(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str | None:
    """How a run ended that nobody recorded as ended; None if it goes on as far as can be told from here."""
    if run.tags.get(OF_RUN) == run.run_id and run.tags[HOST] == socket.gethostname():
        gone = process_is_gone(run.tags)
        return f"process {run.tags[PID]} on {run.tags[HOST]}, which executed it, is gone" if gone else None
    return "the run it was part of has ended" if parent_has_ended(run, instance) else None


def _assets(run: dg.DagsterRun) -> str:
    names = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or run.job_name
    partition = run.tags.get("dagster/partition")
    return names if partition is None else f"{names} [{partition}]"
