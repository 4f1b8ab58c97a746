"""What is known of an experiment's days: which have bars, which are evaluated, which runs there are. Reads, decides nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
from pydantic import ValidationError

from tft_pipeline.domain.bars import BarsError, utc_column
from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.domain.nights import Attempt, Night, day_of
from tft_pipeline.domain.reports import FoldPlanReport, FoldSpec
from tft_pipeline.pipeline.graph import WHOLE_RUNS, ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.partitions import IN_FLIGHT
from tft_pipeline.storage.artifacts import (
    CURRENT,
    ArtifactMissingError,
    IntegrityError,
    place_in_store,
    read_artifact,
)
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.locks import run_holder
from tft_pipeline.storage.sources import scan_source

NIGHT = "drift_night"
"""The asset, one partition a day."""
OF, DAY, BY, MODEL = "tft/drift_of", "tft/drift_day", "tft/drift_by", "tft/drift_retrain"
"""Tags of runs: experiment, day, who asked; on a retrain the model it replaces, and its DAY is the last night of the streak."""
PARTITION = "dagster/partition"
NIGHTS_READ = 60
"""Newest nights that a streak is looked for in, twice the longest that `drift.retrain_nights` may ask for."""


def night_job_name(graph: ExperimentGraph) -> str:
    """The job that freezes the bars, rebuilds features and evaluates a day."""
    return graph.job("judge_night")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModels:
    """The models that days are judged by.

    Attributes:
        fold, model: newest fold that has a model, and the hash of its weights.
        tests: first test day of each fold of the plan, sorted.
        last_test: last test bar of the newest fold of the plan.
        unfinished: folds of the plan without a model of its spec; until they have one no night can be judged.
    """

    fold: str
    model: str
    tests: tuple[date, ...]
    last_test: datetime
    unfinished: tuple[str, ...]


def planned_models(graph: ExperimentGraph) -> PlannedModels | None:
    """What is planned and trained; None before there is a model. Every fold of the plan is verified, and fetched where another
    machine made it.

    Raises:
        StoreError: the store does not answer.
    """
    try:
        text = read_artifact(graph.layout.artifact(graph.name, "production_plan")).path(REPORT_FILE).read_text()
        plan = FoldPlanReport.model_validate_json(text)
    except (ArtifactMissingError, IntegrityError, ValidationError):
        return None
    newest: tuple[str, str] | None = None
    unfinished = []
    for spec in reversed(plan.specs):
        root = graph.layout.artifact(graph.name, "production_fold", spec.key)
        made_of = ""
        try:
            fold = read_artifact(root)
            if newest is None:
                newest = spec.key, fold.files["weights.safetensors"]
            made_of = json.loads(fold.path("fold.json").read_text())["spec_sha256"]
        except (ArtifactMissingError, IntegrityError, ValueError, LookupError):
            pass  # the fold is named among the unfinished
        if made_of != spec.content_sha256():
            unfinished.append(spec.key)
    if newest is None:
        return None
    return PlannedModels(
        fold=newest[0],
        model=newest[1],
        tests=tuple(first_test_day(graph, spec) for spec in plan.specs),
        last_test=datetime.fromisoformat(plan.specs[-1].dates["test"]["last"]),
        unfinished=tuple(reversed(unfinished)),
    )


def bars_are_dated(graph: ExperimentGraph) -> bool:
    """Whether a bar at midnight is of the date it names (`domain.nights.day_of`)."""
    return graph.experiment.data.interval == "1d" and graph.experiment.data.stamp == "close"


def first_test_day(graph: ExperimentGraph, spec: FoldSpec) -> date:
    """UTC day of a fold's first test bar."""
    return day_of(datetime.fromisoformat(spec.dates["test"]["first"]), dated=bars_are_dated(graph))


def stored_nights(graph: ExperimentGraph) -> tuple[list[Night], list[date]]:
    """The newest evaluated days, from the stored records, and those whose record is damaged: they are evaluated again.

    Raises:
        StoreError: the store does not answer.
    """
    days = judged_days(graph.layout, graph.name)
    nights, damaged = [], []
    for day in days:
        if day in days[-NIGHTS_READ:]:
            try:
                record = night_record(graph.layout, graph.name, day)
            except (ArtifactMissingError, IntegrityError, ValidationError):
                damaged.append(day)
                continue
            nights.append(Night(day=day, verdict=record.verdict, model=record.weights_sha256, fold=record.fold))
        else:  # too old for a streak: that it is there is enough
            nights.append(Night(day=day, verdict="not read", model="", fold=""))
    return nights, damaged


def judged_days(layout: Layout, name: str, *, in_store: bool = True) -> list[date]:
    """Days that have a stored record, sorted: in the store where there is one, whichever machine judged them.

    Args:
        in_store: False looks on this machine alone.
    Raises:
        StoreError: the store does not answer.
    """
    root = layout.artifact(name, NIGHT)
    place = place_in_store(root) if in_store else None
    if place is not None:
        from tft_pipeline.storage.stored_versions import POINTER

        judged = {key.split("/")[-2] for key in place.store.names(place.key) if key.endswith(f"/{POINTER}")}
    else:
        judged = {path.name for path in root.iterdir() if (path / CURRENT).is_symlink()} if root.is_dir() else set()
    return sorted(date.fromisoformat(day) for day in judged)


def night_record(layout: Layout, name: str, day: date) -> DriftRecord:
    """What was judged of a day.

    Raises:
        ArtifactMissingError, IntegrityError, ValidationError: it was not, or its record is damaged.
        StoreError: the store does not answer.
    """
    stored = read_artifact(layout.artifact(name, NIGHT, str(day)))
    return DriftRecord.model_validate_json(stored.path(REPORT_FILE).read_text())


def busy(graph: ExperimentGraph, instance: dg.DagsterInstance) -> str:
    """Whether something computes the whole experiment: its features must not be replaced under it."""
    for task in WHOLE_RUNS:
        runs = instance.get_runs(filters=dg.RunsFilter(job_name=graph.job(task), statuses=IN_FLIGHT), limit=1)
        if runs:
            return f"{runs[0].job_name} is under way ({runs[0].run_id[:8]})"
    holder = run_holder(graph.layout.run_lock(graph.name))
    return f"`tft run` works on it (process {holder['pid']})" if holder and "pid" in holder else ""


def days_with_bars(graph: ExperimentGraph) -> tuple[date, ...]:
    """UTC days of the traded symbols' bars from the production period on, sorted.

    Raises:
        BarsError: see `closes_of`.
    """
    dated, first = bars_are_dated(graph), graph.experiment.periods.production_start
    closes = closes_of(graph)
    early = closes if dated else closes - timedelta(microseconds=1)  # as `domain.nights.day_of`, a column at once
    days = early.dt.date().unique().sort()
    return tuple(days.filter(days >= first).to_list())


def bars_after(graph: ExperimentGraph, close: datetime) -> int:
    """Bars of traded symbols after one.

    Raises:
        BarsError: see `closes_of`.
    """
    return int((closes_of(graph) > close).sum())


def closes_of(graph: ExperimentGraph) -> pl.Series:
    """UTC closes of the traded symbols' bars, each once; only the time and symbol columns are read.

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
        return pl.Series("timestamp", [], dtype=pl.Datetime("us", "UTC"))
    times = utc_column(stamps, data.timezone) + data.opened_before
    local = times.dt.convert_time_zone(data.timezone or "UTC").dt.date()
    kept = pl.DataFrame({"close": times, "local": local})
    if data.start is not None:
        kept = kept.filter(pl.col("local") >= data.start)
    if data.end is not None:
        kept = kept.filter(pl.col("local") <= data.end)
    return kept["close"]


def first_asked(graph: ExperimentGraph, instance: dg.DagsterInstance) -> date | None:
    """The first day that was ever asked for, when the cursor does not know."""
    runs = instance.get_runs(filters=dg.RunsFilter(tags={OF: graph.name}))
    days = [date.fromisoformat(run.tags[DAY]) for run in runs if DAY in run.tags and MODEL not in run.tags]
    return min(days, default=None)


def night_runs(
    graph: ExperimentGraph,
    instance: dg.DagsterInstance,
    days: Sequence[date],
    statuses: Sequence[dg.DagsterRunStatus] = (),
) -> list[tuple[date, dg.RunRecord]]:
    """The runs that evaluate, or evaluated, some days, whoever started them: the job, or any run of the asset."""
    if not days:
        return []
    filters = dg.RunsFilter(tags={PARTITION: [str(day) for day in days]}, statuses=list(statuses))
    return [
        (date.fromisoformat(record.dagster_run.tags[PARTITION]), record)
        for record in instance.get_run_records(filters)
        if record.dagster_run.job_name == night_job_name(graph)
        or record.dagster_run.tags.get(OF) == graph.name
        or graph.key(NIGHT) in (record.dagster_run.asset_selection or ())
    ]


def attempts_of(graph: ExperimentGraph, instance: dg.DagsterInstance, days: Sequence[date]) -> list[Attempt]:
    """The runs that evaluate, or evaluated, the newest of some days."""
    return [_attempt(day, record) for day, record in night_runs(graph, instance, days[-NIGHTS_READ:])]


def retrains_of(graph: ExperimentGraph, instance: dg.DagsterInstance, model: str) -> list[Attempt]:
    """The retrains of a model that the watch asked for and that have, or had, a run."""
    filters = dg.RunsFilter(tags={OF: graph.name, MODEL: model})
    return [
        _attempt(date.fromisoformat(record.dagster_run.tags[DAY]), record)
        for record in instance.get_run_records(filters)
        if DAY in record.dagster_run.tags
    ]


def _attempt(day: date, record: dg.RunRecord) -> Attempt:
    run, at = record.dagster_run, record.create_timestamp
    ended = record.end_time is not None or run.is_finished
    if record.end_time is not None:
        at = datetime.fromtimestamp(record.end_time, UTC)
    return Attempt(
        day=day,
        state="under way" if not ended else "done" if run.is_success else "failed",
        at=at if at.tzinfo is not None else at.replace(tzinfo=UTC),
        run_id=run.run_id,
    )
