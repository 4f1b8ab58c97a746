"""The nightly watch: gathers what is known of an experiment's days, lets `domain.nights` decide, and makes run requests of it.

The sensor and the schedule share all of this; only the sensor remembers (a JSON cursor) and asks for retrains. Memory is a
convenience: what was evaluated is read from the stored nights and from the runs, so that a lost cursor repeats nothing.
Not here: what a night evaluates (`pipeline.assets.drift`).
"""

import json
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import dagster as dg

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.nights import DayPlan, DayRequest, RetrainPlan, bars_awaited, plan_days, plan_retrain
from tft_pipeline.pipeline.drift_facts import (
    BY,
    DAY,
    MODEL,
    OF,
    PlannedModels,
    attempts_of,
    bars_after,
    busy,
    days_with_bars,
    first_asked,
    night_job_name,
    night_runs,
    planned_models,
    retrains_of,
    stored_nights,
)
from tft_pipeline.pipeline.graph import RETRAIN, ExperimentGraph
from tft_pipeline.pipeline.partitions import IN_FLIGHT
from tft_pipeline.storage.sources import source_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the sensor's cursor holds.

    Attributes:
        first: first day of the watch.
        files: names, sizes and times of the source's files when they were last read.
        calendar: days with bars, from `first` on, as read then.
        ahead: bars after a test bar, and which, as counted in these files.
        asked: day -> when it was last asked for.
        retrains: model -> when its retrain was last asked for.
        said: the explanation of the tick, for people who look at the cursor.
    """

    first: date | None = None
    files: str = ""
    calendar: tuple[date, ...] = ()
    ahead: tuple[datetime, int] | None = None
    asked: dict[date, datetime] = field(default_factory=dict)
    retrains: dict[str, datetime] = field(default_factory=dict)
    said: tuple[str, ...] = ()

    @classmethod
    def read(cls, cursor: str | None) -> "Memory":
        """From a cursor; an absent or foreign one is an empty memory."""
        if not cursor:
            return cls()
        try:
            held = json.loads(cursor)
            ahead = held["ahead"]
            return cls(
                first=None if held["first"] is None else date.fromisoformat(held["first"]),
                files=held["files"],
                calendar=tuple(date.fromisoformat(day) for day in held["calendar"]),
                ahead=None if ahead is None else (_aware(ahead[0]), int(ahead[1])),
                asked={date.fromisoformat(day): _aware(at) for day, at in held["asked"].items()},
                retrains={str(model): _aware(at) for model, at in held["retrains"].items()},
                said=tuple(held["said"]),
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            # another version's cursor, or one typed into the UI: stored nights and runs say what was done
            return cls(said=("the cursor was not readable",))

    def cursor(self) -> str:
        """For Dagster to keep."""
        return json.dumps(
            {
                "first": None if self.first is None else str(self.first),
                "files": self.files,
                "calendar": [str(day) for day in self.calendar],
                "ahead": None if self.ahead is None else [self.ahead[0].isoformat(), self.ahead[1]],
                "asked": {str(day): at.isoformat() for day, at in sorted(self.asked.items())},
                "retrains": {model: at.isoformat() for model, at in sorted(self.retrains.items())},
                "said": list(self.said),
            }
        )


def _aware(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return at


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What one look found: days to evaluate, whether to retrain and against which model, why, and what to remember."""

    days: tuple[DayRequest, ...]
    retrain: RetrainPlan | None
    model: str
    sentences: tuple[str, ...]
    memory: Memory


def look(graph: ExperimentGraph, instance: dg.DagsterInstance, memory: Memory, *, now: datetime) -> Tick:
    """Gather the facts and decide; reads files and the run list, changes nothing."""

    def nothing(why: str) -> Tick:
        return Tick(days=(), retrain=None, model="", sentences=(why,), memory=replace(memory, said=(why,)))

    models = planned_models(graph)
    if models is None:
        return nothing(
            f"{graph.name} has no production fold yet, so there is no model to judge; run `tft run {graph.file.path.name}`"
        )
    at_work = busy(graph, instance)
    if at_work:
        return nothing(f"{at_work}; the nights wait for it and are caught up afterwards")
    try:
        memory = _with_calendar(graph, memory)
        return _decided(graph, instance, memory, models, now)
    except (BarsError, OSError) as error:
        return nothing(f"The source cannot be read: {error}")


def _decided(
    graph: ExperimentGraph, instance: dg.DagsterInstance, memory: Memory, models: PlannedModels, now: datetime
) -> Tick:
    first = memory.first or first_asked(graph, instance)
    nights, damaged = stored_nights(graph)
    days = plan_days(
        now=now,
        calendar=memory.calendar,
        evaluated={night.day for night in nights},
        attempts=attempts_of(graph, instance, [day for day in memory.calendar if first is None or day >= first]),
        asked=memory.asked,
        first=first,
        tests=models.tests,
    )
    said = [f"The stored result of {day} is damaged: the day is judged again." for day in damaged]
    newest_night = max((night.day for night in nights), default=None)
    if models.unfinished:
        # days that no night can judge yet are no holes: they would keep the retrain away that makes the models
        judged = tuple(day for day in days.days if newest_night is not None and day <= newest_night)
        days = replace(days, requests=(), days=judged)
        said.append(
            f"Folds {', '.join(models.unfinished)} of the plan have no model of it: no night can be judged until "
            f"`tft run {graph.file.path.name} --resume` made them."
        )
    folds = graph.experiment.production.folds
    counted = [memory.ahead] if memory.ahead is not None and memory.ahead[0] == models.last_test else []

    def awaited() -> int:
        if models.unfinished:
            return 0
        if not counted:
            counted.append((models.last_test, bars_after(graph, models.last_test)))
        return bars_awaited(counted[0][1], step=folds.step, horizon=graph.experiment.target.horizon)

    retrain = plan_retrain(
        nights,
        now=now,
        days=days.days,
        model=models.model,
        fold=models.fold,
        need=graph.experiment.drift.retrain_nights,
        runs=retrains_of(graph, instance, models.model),
        asked=memory.retrains.get(models.model),
        under_way=len(days.requests) + days.under_way,
        awaited=awaited,
    )
    sentences = (*days.sentences, *said, retrain.sentence)
    memory = replace(memory, ahead=counted[0] if counted else None)
    return Tick(
        days=days.requests,
        retrain=retrain,
        model=models.model,
        sentences=sentences,
        memory=_remembering(memory, days, retrain, models.model, sentences, now),
    )


def day_requests(graph: ExperimentGraph, tick: Tick, *, by: str) -> list[dg.RunRequest]:
    """One run request a day."""
    return [
        dg.RunRequest(
            job_name=night_job_name(graph),
            run_key=one.run_key,
            partition_key=str(one.day),
            tags={OF: graph.name, DAY: str(one.day), BY: by},
        )
        for one in tick.days
    ]


def retrain_request(graph: ExperimentGraph, tick: Tick) -> list[dg.RunRequest]:
    """The run of everything that is out of date, if the nights ask for it."""
    if tick.retrain is None or not tick.retrain.wanted:
        return []
    return [
        dg.RunRequest(
            job_name=graph.job(RETRAIN),
            run_key=f"retrain/{tick.model[:16]}/{tick.retrain.attempt}",
            tags={OF: graph.name, MODEL: tick.model, DAY: str(tick.retrain.nights[-1]), BY: "sensor"},
        )
    ]


def refuse_a_second_run(graph: ExperimentGraph, context: dg.AssetExecutionContext) -> None:
    """Stop a run that sensor or schedule asked for when another one did the day, or does it now.

    Both look before they ask, yet may look in the same moment. A person's own run is never refused.

    Raises:
        dagster.Failure: the day is stored, or an older run of it is under way.
    """
    run = context.run
    if BY not in run.tags:
        return
    day = date.fromisoformat(context.partition_key)
    # runs before results: a run that ends between the two looks has stored its result by the second
    records = [record for _, record in night_runs(graph, context.instance, [day], IN_FLIGHT)]
    own = next((one.storage_id for one in records if one.dagster_run.run_id == run.run_id), None)
    older = [one for one in records if own is not None and one.storage_id < own]
    done = [night for night in stored_nights(graph)[0] if night.day == day]
    if done:
        raise dg.Failure(f"{day} was evaluated already ({done[0].verdict}); this run adds nothing", allow_retries=False)
    if older:
        raise dg.Failure(
            f"{day} is evaluated by run {older[0].dagster_run.run_id[:8]} already; this run adds nothing",
            allow_retries=False,
        )


def _with_calendar(graph: ExperimentGraph, memory: Memory) -> Memory:
    """The days with bars; read again only when a file of the source has another name, size or time."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in source_files(graph.file.source)]
    files = json.dumps(stats)
    if files == memory.files:
        return memory
    calendar = days_with_bars(graph)
    if memory.first is not None:
        calendar = tuple(day for day in calendar if day >= memory.first)
    return replace(memory, files=files, calendar=calendar, ahead=None)


def _remembering(
    memory: Memory, days: DayPlan, retrain: RetrainPlan, model: str, sentences: tuple[str, ...], now: datetime
) -> Memory:
    asked = {day: at for day, at in memory.asked.items() if (now - at).days < 1}
    asked |= {one.day: now for one in days.requests}
    retrains = {name: at for name, at in memory.retrains.items() if (now - at).days < 1}
    if retrain.wanted:
        retrains |= {model: now}
    calendar = memory.calendar if days.first is None else tuple(day for day in memory.calendar if day >= days.first)
    return replace(memory, first=days.first, calendar=calendar, asked=asked, retrains=retrains, said=sentences)
