"""What is known of an experiment's days: which have bars, which are evaluated, which runs there are. Reads, decides nothing."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg
import polars as pl

from tft_pipeline.domain.bars import BarsError, utc_column
from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.domain.nights import COUNTS, Asked, Attempt, Night
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.partitions import IN_FLIGHT
from tft_pipeline.storage.artifacts import CURRENT, ArtifactMissingError, IntegrityError, read_artifact
from tft_pipeline.storage.locks import run_holder
from tft_pipeline.storage.sources import scan_source

NIGHT = "drift_night"
"""The asset, one partition a day."""
OF, DAY, BY, MODEL = "tft/drift_of", "tft/drift_day", "tft/drift_by", "tft/drift_retrain"
"""Tags of runs: experiment, day, who asked; on a retrain the model it replaces, and its DAY is the last night of the streak."""
NIGHTS_READ = 60
"""Newest nights that a streak is looked for in, twice the longest that `drift.retrain_nights` may ask for."""


def night_job_name(graph: ExperimentGraph) -> str:
    """The job that freezes the bars, rebuilds features and evaluates a day."""
    return f"{graph.name}_drift_night"


def newest_model(graph: ExperimentGraph) -> tuple[str, str] | None:
    """Newest fold of the plan and the hash of its weights; None before there is one."""
    try:
        text = read_artifact(graph.layout.artifact(graph.name, "production_plan")).path(REPORT_FILE).read_text()
        fold = FoldPlanReport.model_validate_json(text).specs[-1].key
        bundle = read_artifact(graph.layout.artifact(graph.name, "production_fold", fold))
    except (ArtifactMissingError, IntegrityError):
        return None
    return fold, bundle.files["weights.safetensors"]


def stored_nights(graph: ExperimentGraph) -> list[Night]:
    """The newest evaluated days, from the stored records; a damaged record is not there, and its day is evaluated again."""
    root = graph.layout.artifact(graph.name, NIGHT)
    folders = sorted(path for path in root.iterdir() if (path / CURRENT).is_symlink()) if root.is_dir() else []
    nights = []
    for folder in folders:
        day = date.fromisoformat(folder.name)
        if folder in folders[-NIGHTS_READ:]:
            try:
                text = read_artifact(folder).path(REPORT_FILE).read_text()
            except (ArtifactMissingError, IntegrityError):
                continue
            record = DriftRecord.model_validate_json(text)
            nights.append(Night(day=day, verdict=record.verdict, model=record.weights_sha256, fold=record.fold))
        else:  # too old for a streak: that it is there is enough
            nights.append(Night(day=day, verdict=COUNTS, model="", fold=""))
    return nights


def busy(graph: ExperimentGraph, instance: dg.DagsterInstance) -> str:
    """Whether something computes the whole experiment: its features must not be replaced under it."""
    filters = dg.RunsFilter(job_name=f"{graph.name}_full_run", statuses=IN_FLIGHT)
    runs = instance.get_runs(filters=filters, limit=1)
    if runs:
        return f"A run of the whole graph is under way ({runs[0].run_id[:8]})"
    holder = run_holder(graph.layout.run_lock(graph.name))
    return f"`tft run` works on it (process {holder['pid']})" if holder and "pid" in holder else ""


def days_with_bars(graph: ExperimentGraph) -> tuple[date, ...]:
    """UTC days of the traded symbols' bars, sorted; only the time and symbol columns are read.

    Raises:
        BarsError: see `storage.sources.scan_source` and `domain.bars.utc_column`.
    """
    data = graph.experiment.data
    scan = scan_source(graph.file.source)
    traded = ~pl.col("symbol").cast(pl.String).is_in(list(data.untraded))
    if data.symbols is not None:
        traded &= pl.col("symbol").cast(pl.String).is_in(list(data.symbols))
    try:
        stamps = scan.filter(traded).select(pl.col("timestamp").unique()).collect()["timestamp"]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BarsError(f"{graph.file.source}: {error}") from error
    if stamps.is_empty():
        return ()
    times = utc_column(stamps, data.timezone) + data.opened_before
    local = times.dt.convert_time_zone(data.timezone or "UTC").dt.date()
    kept = pl.DataFrame({"day": times.dt.date(), "local": local})
    if data.start is not None:
        kept = kept.filter(pl.col("local") >= data.start)
    if data.end is not None:
        kept = kept.filter(pl.col("local") <= data.end)
    first = graph.experiment.periods.production_start
    return tuple(kept.filter(pl.col("day") >= first)["day"].unique().sort().to_list())


def first_asked(graph: ExperimentGraph, instance: dg.DagsterInstance) -> date | None:
    """The first day that was ever asked for, when the cursor does not know."""
    runs = instance.get_runs(filters=dg.RunsFilter(job_name=night_job_name(graph), tags={OF: graph.name}))
    days = [date.fromisoformat(run.tags[DAY]) for run in runs if DAY in run.tags]
    return min(days, default=None)


def attempts_of(graph: ExperimentGraph, instance: dg.DagsterInstance, days: Sequence[date]) -> list[Attempt]:
    """The runs that evaluate, or evaluated, some days."""
    if not days:
        return []
    filters = dg.RunsFilter(
        job_name=night_job_name(graph), tags={OF: graph.name, DAY: [str(day) for day in days[-NIGHTS_READ:]]}
    )
    found = []
    for record in instance.get_run_records(filters):
        run = record.dagster_run
        ended = record.end_time is not None or run.is_finished
        at = record.create_timestamp
        if record.end_time is not None:
            at = datetime.fromtimestamp(record.end_time, UTC)
        found.append(
            Attempt(
                day=date.fromisoformat(run.tags[DAY]),
                state="under way" if not ended else "done" if run.is_success else "failed",
                at=at if at.tzinfo is not None else at.replace(tzinfo=UTC),
                run_id=run.run_id,
            )
        )
    return found


def retrains_of(graph: ExperimentGraph, instance: dg.DagsterInstance, model: str) -> list[Asked]:
    """The retrains of a model that have, or had, a run."""
    filters = dg.RunsFilter(job_name=f"{graph.name}_full_run", tags={OF: graph.name, MODEL: model})
    runs = instance.get_runs(filters=filters)
    return [Asked(model=model, until=date.fromisoformat(run.tags[DAY])) for run in runs if DAY in run.tags]
