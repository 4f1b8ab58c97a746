"""What the nightly watch asks for: one request a day of new bars, one retrain a streak, and why."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.pipeline.drift_facts import planned_models
from tft_pipeline.pipeline.drift_watch import Memory, look
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.runs import QUIET, failure_of, materialise
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline.storage.locks import run_lock
from tft_pipeline_tests.conftest import N_BARS, Workbench, business_days, random_bars, write_experiment

NEWEST = "2021-08-10"
"""The day of the small experiment's last bar."""


class Watch:
    """Ticks of the sensor of a finished experiment; the cursor is carried on unless it is lost."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.definitions = bench.definitions
        self.cursor: str | None = None
        self.said = ""

    def tick(self) -> list[dg.RunRequest]:
        """One tick; its explanation is kept in `said`."""
        with self.bench.instance() as instance:
            sensor = self.definitions.get_repository_def().get_sensor_def("small_drift_sensor")
            # closed before the instance is: a context may open one of its own
            with dg.build_sensor_context(
                instance=instance, definitions=self.definitions, cursor=self.cursor
            ) as context:
                data = sensor.evaluate_tick(context)
        self.cursor = data.cursor
        self.said = data.skip_message or " ".join(json.loads(data.cursor or "{}")["said"])
        return list(data.run_requests or ())

    def nightly(self) -> list[dg.RunRequest]:
        """What the schedule asks for at 03:00."""
        with self.bench.instance() as instance:
            repository = self.definitions.get_repository_def()
            with dg.build_schedule_context(
                instance=instance,
                scheduled_execution_time=datetime(2026, 1, 1, 3, tzinfo=UTC),
                repository_def=repository,
            ) as context:
                data = repository.get_schedule_def("small_nightly_drift").evaluate_tick(context)
        self.said = data.skip_message or ""
        return list(data.run_requests or ())

    def days(self) -> list[str | None]:
        """Days asked for in one tick."""
        return [request.partition_key for request in self.tick()]

    def store(self, day: str, verdict: str = "stable", model: str | None = None) -> None:
        """As if the day had been evaluated."""
        newest = planned_models(self.bench.graph)
        assert newest is not None
        text = (self.bench.artifact("drift_report") / REPORT_FILE).read_text()
        changes = {"verdict": verdict, "weights_sha256": model or newest.model}
        record = DriftRecord.model_validate_json(text).model_copy(update=changes)

        def fill(folder: Path) -> None:
            (folder / REPORT_FILE).write_text(record.model_dump_json())

        write_artifact(self.bench.layout.artifact("small", "drift_night", day), fill)

    def launch(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> str:
        """As if the daemon had made a run of a request."""
        assert request.job_name is not None
        with self.bench.instance() as instance:
            job = self.definitions.resolve_job_def(request.job_name)
            run = instance.create_run_for_job(job, tags=dict(request.tags), status=status)
            return run.run_id

    def run(self, request: dg.RunRequest) -> str:
        """Run what was asked for, here; why it failed, empty where it did not."""
        assert request.job_name is not None
        with self.bench.instance() as instance:
            result = self.definitions.resolve_job_def(request.job_name).execute_in_process(
                instance=instance,
                partition_key=request.partition_key,
                tags=dict(request.tags),
                run_config={**request.run_config, **QUIET},
                raise_on_error=False,
            )
        return "" if result.success else failure_of(result, "nothing")[1]

    def bars(self, n: int) -> None:
        """The source has so many bars a symbol now."""
        random_bars(n).write_parquet(self.bench.folder / "bars.parquet")


def day_of(bar: int) -> str:
    """UTC date of a bar of the small experiment."""
    return business_days(bar + 1)[bar].date().isoformat()


@pytest.fixture
def watch(finished: Workbench) -> Watch:
    """A watch that has seen the newest day of a finished run."""
    found = Watch(finished)
    (request,) = found.tick()
    assert request.partition_key == NEWEST
    found.store(NEWEST)
    return found


def test_fresh_bars_are_one_request_a_day_and_the_same_tick_twice_is_none(finished: Workbench) -> None:
    watch = Watch(finished)
    (request,) = watch.tick()
    assert (request.job_name, request.partition_key) == ("small_judge_night", NEWEST)
    assert request.run_key == f"drift/{NEWEST}/1"
    assert request.tags["tft/drift_day"] == NEWEST
    assert watch.said.startswith(
        f"1 of 1 complete days since {NEWEST} wait (newest {NEWEST}); no later bar is there. Requested: {NEWEST}."
    )
    assert watch.tick() == []
    assert f"{NEWEST} was requested at" in watch.said
    watch.store(NEWEST)
    assert watch.tick() == []
    assert watch.said.startswith(f"0 of 1 complete days since {NEWEST} wait")
    watch.bars(N_BARS + 1)
    assert watch.days() == [day_of(N_BARS)]


def test_three_days_of_downtime_are_three_requests_oldest_first(watch: Watch) -> None:
    assert watch.tick() == []
    watch.bars(N_BARS + 3)
    assert watch.days() == [day_of(N_BARS + k) for k in range(3)]
    assert watch.tick() == []


def test_a_lost_cursor_asks_for_nothing_twice(watch: Watch) -> None:
    watch.bars(N_BARS + 2)
    first, second = watch.tick()
    watch.launch(first, dg.DagsterRunStatus.STARTED)
    watch.launch(second, dg.DagsterRunStatus.NOT_STARTED)
    for lost in (None, "", "not a cursor", '{"first": 3}'):
        watch.cursor = lost
        assert watch.tick() == []
        assert f"{day_of(N_BARS)} is under way in run" in watch.said
    assert watch.nightly() == [], "the schedule has no memory at all"
    watch.store(day_of(N_BARS))
    watch.cursor = None
    assert watch.tick() == []


def test_sensor_and_schedule_decide_alike(watch: Watch) -> None:
    watch.bars(N_BARS + 1)
    (by_schedule,) = watch.nightly()
    assert by_schedule.partition_key == day_of(N_BARS)
    watch.launch(by_schedule, dg.DagsterRunStatus.STARTING)
    assert watch.tick() == []


def test_a_failed_day_is_asked_for_again_later_and_the_failure_is_named(watch: Watch) -> None:
    watch.bars(N_BARS + 1)
    (request,) = watch.tick()
    run_id = watch.launch(request, dg.DagsterRunStatus.FAILURE)
    watch.cursor = None
    assert watch.tick() == []
    assert f"{day_of(N_BARS)} failed in run {run_id[:8]}; it is tried again after 30 minutes" in watch.said


def test_the_files_are_read_again_only_when_they_changed(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    from tft_pipeline.pipeline import drift_watch

    read: list[int] = []
    honest = drift_watch.days_with_bars

    def counting(graph: Any) -> Any:
        read.append(1)
        return honest(graph)

    monkeypatch.setattr(drift_watch, "days_with_bars", counting)
    watch.tick()
    watch.tick()
    assert read == []
    watch.bars(N_BARS + 1)
    watch.tick()
    watch.tick()
    assert read == [1]


def test_bars_of_symbols_that_are_not_traded_are_no_new_day(finished: Workbench) -> None:
    bars = random_bars(N_BARS)
    extra = random_bars(N_BARS + 2, symbols=("OTHER",))
    pl.concat([bars, extra]).write_parquet(finished.folder / "bars.parquet")
    write_experiment(finished.folder, {"data.symbols": ["AAA", "BBB", "CCC", "DDD"]})
    watch = Watch(finished)
    assert watch.days() == [NEWEST]


def test_a_source_that_cannot_be_read_is_said(watch: Watch) -> None:
    (watch.bench.folder / "bars.parquet").write_bytes(b"PAR1 no")
    assert watch.tick() == []
    assert "The source cannot be read" in watch.said


def test_without_a_model_nothing_is_judged(workbench: Callable[..., Workbench]) -> None:
    watch = Watch(workbench())
    assert watch.tick() == []
    assert "small has no production fold yet" in watch.said


def test_nights_wait_while_the_whole_graph_runs(watch: Watch) -> None:
    watch.bars(N_BARS + 1)
    with run_lock(watch.bench.layout.run_lock("small")):
        assert watch.tick() == []
        assert "`tft run` works on it (process" in watch.said
    assert watch.days() == [day_of(N_BARS)]


def test_nights_wait_for_each_job_that_has_the_experiment_to_itself(watch: Watch) -> None:
    watch.bars(N_BARS + 1)
    for task in ("run_everything", "rerun_failed_folds", "retrain"):
        run_id = watch.launch(dg.RunRequest(job_name=f"small_{task}"), dg.DagsterRunStatus.NOT_STARTED)
        assert watch.tick() == []
        assert watch.said.startswith(f"small_{task} is under way ({run_id[:8]})")
        with watch.bench.instance() as instance:
            instance.delete_run(run_id)
    assert watch.days() == [day_of(N_BARS)]


def test_so_many_significant_nights_ask_for_one_run_once_it_would_add_a_fold(watch: Watch) -> None:
    watch.store(NEWEST, "retrain")
    for k, verdict in enumerate(["insufficient_data", "retrain"]):
        watch.bars(N_BARS + k + 1)
        watch.store(day_of(N_BARS + k), verdict)
    assert watch.tick() == []
    assert f"2 of 3 nights in a row say retrain against fold {watch.bench.folds()[-1]}" in watch.said
    assert "1 without enough data do not count" in watch.said
    watch.bars(N_BARS + 3)
    watch.store(day_of(N_BARS + 2), "retrain")
    assert watch.tick() == []
    found = re.search(r"waits for (\d+) more bars", watch.said)
    assert found is not None
    n = N_BARS + 3 + int(found[1])
    watch.bars(n - 1)
    for k in range(N_BARS + 3, n):
        watch.store(day_of(k), "retrain")
    assert watch.tick() == []
    assert "waits for 1 more bars" in watch.said
    watch.bars(n)
    (request,) = watch.tick()
    assert request.job_name == "small_retrain"
    assert watch.tick() == []
    assert "A retrain was requested at" in watch.said
    watch.launch(request, dg.DagsterRunStatus.FAILURE)
    watch.cursor = json.dumps(json.loads(watch.cursor or "") | {"retrains": {}})
    assert watch.tick() == []
    assert "it is tried again after 30 minutes" in watch.said
    watch.bars(n + 1)
    (night,) = watch.tick()
    assert night.job_name == "small_judge_night", "a day that has no result is judged before anything is retrained"


@pytest.mark.fault("flipped_byte")
def test_a_damaged_night_is_said_and_judged_again(watch: Watch) -> None:
    watch.bars(N_BARS + 1)
    write_artifact(
        watch.bench.layout.artifact("small", "drift_night", day_of(N_BARS)),
        lambda folder: (folder / REPORT_FILE).write_text("{}"),
    )
    assert watch.days() == [day_of(N_BARS)]
    assert f"The stored result of {day_of(N_BARS)} is damaged" in watch.said


def test_a_fold_of_the_plan_without_a_model_lets_the_nights_wait(watch: Watch) -> None:
    newest = watch.bench.folds()[-1]
    (watch.bench.layout.artifact("small", "production_fold", newest) / "current").unlink()
    watch.bars(N_BARS + 1)
    assert watch.tick() == []
    assert f"Folds {newest} of the plan have no model of it" in watch.said


def test_a_day_that_a_person_judges_by_hand_is_not_asked_for(watch: Watch) -> None:
    watch.bars(N_BARS + 1)
    by_hand = dg.RunRequest(job_name="small_judge_night", tags={"dagster/partition": day_of(N_BARS)})
    watch.launch(by_hand, dg.DagsterRunStatus.STARTED)
    assert watch.tick() == []
    assert f"{day_of(N_BARS)} is under way in run" in watch.said


def test_a_cursor_with_naive_times_is_an_empty_memory(watch: Watch) -> None:
    held = json.loads(watch.cursor or "")
    held["asked"] = {NEWEST: "2021-08-11T03:00:00"}
    assert Memory.read(json.dumps(held)) == Memory(said=("the cursor was not readable",))


def test_nights_against_an_older_model_are_no_streak_of_the_newest(watch: Watch) -> None:
    for k in range(4):
        watch.bars(N_BARS + k + 1)
        watch.store(day_of(N_BARS + k), "retrain", model="0" * 64)
    assert watch.tick() == []
    assert "No streak" in watch.said


def test_the_cursor_is_read_back_as_it_was_written(watch: Watch) -> None:
    memory = Memory.read(watch.cursor)
    assert Memory.read(memory.cursor()) == memory
    with watch.bench.instance() as instance:
        found = look(watch.bench.graph, instance, memory, now=datetime(2021, 8, 10, 12, tzinfo=UTC))
    assert found.days == ()
    assert "No day is complete" in found.sentences[0]


def test_a_run_that_was_asked_for_refuses_to_do_a_day_again_and_a_persons_own_run_does_not(watch: Watch) -> None:
    job = watch.definitions.resolve_job_def("small_judge_night")
    nights = [watch.bench.graph.key("drift_night")]
    tags = {"tft/drift_of": "small", "tft/drift_day": NEWEST, "tft/drift_by": "sensor"}
    with watch.bench.instance() as instance:
        again = job.execute_in_process(
            instance=instance,
            partition_key=NEWEST,
            tags=tags,
            asset_selection=nights,
            run_config=QUIET,
            raise_on_error=False,
        )
        assert not again.success
        by_hand = materialise(watch.definitions, instance, nights, partition=NEWEST)
    assert by_hand.ok
    assert (watch.bench.layout.experiment("small") / "drift" / f"drift_{NEWEST}.json").is_file()


def test_a_night_is_judged_by_the_newest_fold_tested_from_then_and_its_file_outlives_a_whole_run(
    finished: Workbench,
) -> None:
    folds = finished.folds()
    early = datetime.fromisoformat(folds[-1].removeprefix("f")) - timedelta(days=3)
    assert early.weekday() < 5
    with finished.instance() as instance:
        for day in (str(early.date()), NEWEST):
            assert materialise(finished.definitions, instance, [finished.graph.key("drift_night")], partition=day).ok
        assert night_record(finished, str(early.date())).fold == folds[-2]
        assert night_record(finished, NEWEST).fold == folds[-1]
        report = finished.layout.experiment("small") / "drift" / f"drift_{NEWEST}.json"
        before = report.read_bytes()
        assert materialise(finished.definitions, instance, [finished.graph.key("drift_report")]).ok
    assert report.read_bytes() == before


@pytest.mark.slow
def test_nights_find_a_shift_ask_for_a_retrain_and_start_anew_after_it(finished: Workbench) -> None:
    """Real runs: prices that only rise arrive, three nights see it, and the retrain adds a fold."""
    write_experiment(finished.folder, {"drift.recent_bars": 12, "drift.n_bins": 5, "drift.retrain_nights": 2})
    watch = Watch(finished)
    bars = random_bars(N_BARS + 45)
    rising = (
        pl.col("close") * (0.03 * (pl.col("timestamp").rank("dense").cast(pl.Int64) - N_BARS).clip(lower_bound=0)).exp()
    )
    bars = bars.with_columns(close=rising.over("symbol"))

    def arrive(n: int) -> None:
        bars.filter(pl.col("timestamp") <= business_days(n)[-1]).write_parquet(finished.folder / "bars.parquet")

    assert watch.days() == [NEWEST]
    watch.store(NEWEST)
    arrive(N_BARS + 16)
    for k in range(13):
        watch.store(day_of(N_BARS + k))
    nights = watch.tick()
    days = [day_of(N_BARS + k) for k in (13, 14, 15)]
    assert [one.partition_key for one in nights] == days
    for request in nights:
        assert watch.run(request) == ""
    records = [night_record(finished, day) for day in days]
    assert [record.verdict for record in records] == ["retrain"] * 3
    assert [record.recent["last"][:10] for record in records] == days
    assert all((finished.layout.experiment("small") / "drift" / f"drift_{day}.json").is_file() for day in days)
    (retrain,) = watch.tick()
    assert retrain.job_name == "small_retrain"
    folds = finished.folds()
    arrive(N_BARS + 45)
    assert watch.run(retrain) == ""
    assert len(finished.folds()) == len(folds) + 1
    watch.tick()
    assert f"No streak of nights against fold {finished.folds()[-1]}" in watch.said
    watch.cursor = None
    assert not [one for one in watch.tick() if one.job_name == "small_retrain"]


def night_record(bench: Workbench, day: str) -> DriftRecord:
    """The stored record of a night."""
    return DriftRecord.model_validate_json((bench.artifact("drift_night", day) / REPORT_FILE).read_text())
