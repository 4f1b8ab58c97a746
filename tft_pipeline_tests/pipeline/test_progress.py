"""What a running graph is at, read from the journals that folds write."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tft_pipeline.pipeline.driver import Driver
from tft_pipeline.pipeline.progress import Course, Stage, Trials, counting, naming, stage_of
from tft_pipeline_tests.conftest import Workbench


def journal(folder: Path, name: str, kinds: list[str]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({"kind": kind}) + "\n" for kind in kinds))
    return path


def test_epochs_are_those_of_folds_in_training_and_of_this_phase(tmp_path: Path) -> None:
    began = time.time() - 60.0
    journal(tmp_path, "production-f1-aaaa.jsonl", ["epoch"] * 3)
    journal(tmp_path, "production-f2-bbbb.jsonl", ["epoch"] * 5)
    journal(tmp_path, "production-f0-cccc.jsonl", ["epoch", "fold"])  # done, and MLflow has not taken it
    journal(tmp_path, "production-f0-dddd.mirrored", ["epoch"] * 7)
    journal(tmp_path, "exploration-f1-eeee.jsonl", ["epoch"])
    killed = journal(tmp_path, "production-f1-ffff.jsonl", ["epoch"] * 9)
    os.utime(killed, (began - 10.0, began - 10.0))
    stage = Stage(asset="production_fold", done=1, of=3, journals=tmp_path, began=began)
    assert stage.epochs() == (3, 5)


def test_a_line_that_is_half_written_is_read_the_next_time(tmp_path: Path) -> None:
    path = journal(tmp_path, "production-f1-aaaa.jsonl", ["epoch"])
    stage = Stage(asset="production_fold", of=1, journals=tmp_path, began=0.0)
    with path.open("a") as stream:
        stream.write('{"kind": "ep')
    assert stage.epochs() == ()
    path.write_text(path.read_text() + 'och"}\n')
    assert stage.epochs() == (2,)


def test_an_asset_without_folds_has_no_epochs_and_neither_has_a_folder_that_is_not_there(tmp_path: Path) -> None:
    journal(tmp_path, "production-f1-aaaa.jsonl", ["epoch"])
    assert Stage(asset="production_plan", journals=tmp_path).epochs() == ()
    assert Stage(asset="production_fold", of=2, journals=tmp_path / "none").epochs() == ()


def test_the_driver_says_what_it_computes_before_it_does_and_after_each_fold(finished: Workbench) -> None:
    """A finished run of which two folds are lost, taken up again."""
    lost = finished.folds()[:2]
    for key in lost:
        shutil.rmtree(finished.layout.artifact("small", "production_fold", key))
    stages: list[Stage] = []
    with finished.instance() as instance:
        Driver(
            graph=finished.graph,
            definitions=finished.definitions,
            instance=instance,
            report=finished.lines.append,
            resume=True,
            until="production_fold",
            watch=stages.append,
        ).run()
    told = [(stage.asset, stage.done, stage.of) for stage in stages if stage.of]
    assert told == [("production_fold", done, 2) for done in range(3)]
    assert all(stage.journals == finished.layout.tracking("small") for stage in stages)
    assert [stage.asset for stage in stages if not stage.of] == ["snapshot"]  # only reading tells whether it changed


def epoch_lines(folder: Path, name: str, rows: list[dict[str, float]]) -> None:
    (folder / name).write_text("".join(json.dumps({"kind": "epoch", **row}) + "\n" for row in rows))


def test_a_resumed_fold_counts_the_epochs_before_and_several_seeds_count_together(tmp_path: Path) -> None:
    epoch_lines(tmp_path, "production-f1-aaaa.jsonl", [{"epoch": 7, "validation_loss": 0.25}])
    seeds = [{"epoch": 0, "validation_loss_0": 0.5}, {"epoch": 1, "validation_loss_0": 0.4}]
    epoch_lines(tmp_path, "exploration-f1-bbbb.jsonl", [*seeds, {"epoch": 0, "validation_loss_1": 0.45}])
    (fold,) = Stage(asset="production_fold", of=1, journals=tmp_path, began=0.0).in_training()
    assert (fold.epochs, fold.best_loss) == (8, 0.25)
    (fold,) = Stage(asset="exploration_fold", of=1, journals=tmp_path, began=0.0).in_training()
    assert (fold.epochs, fold.best_loss) == (3, 0.4)


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_that_is_left_follows_from_the_folds_that_are_done_and_is_not_told_before() -> None:
    clock, stage = Clock(), Stage(asset="production_fold", of=5, workers=2)
    course = Course(clock)
    course.see(stage)
    clock.now = 100.0
    assert course.words() == "production_fold: 0 of 5 folds done"
    for done in (1, 2):
        course.see(Stage(asset="production_fold", done=done, of=5, workers=2, began=stage.began))
    # two of 100 s done by two workers: two more side by side, then one
    assert course.words() == "production_fold: 2 of 5 folds done, about 3 min left"
    clock.now = 150.0
    assert course.words().endswith("about 2 min left")  # 150 s
    for done in (3, 4, 5):
        course.see(Stage(asset="production_fold", done=done, of=5, workers=2, began=stage.began))
    assert course.words() == "production_fold: 5 of 5 folds done"


def test_a_fold_that_takes_longer_than_those_before_is_not_promised_for_a_time() -> None:
    clock, stage = Clock(), Stage(asset="production_fold", of=2)
    course = Course(clock)
    course.see(stage)
    clock.now = 10.0
    course.see(Stage(asset="production_fold", done=1, of=2, began=stage.began))
    clock.now = 40.0
    assert course.words().endswith("later than the folds before")


def test_pieces_are_counted_in_one_course_and_what_has_none_is_named() -> None:
    clock = Clock()
    course = Course(clock)
    one_more = counting(course.see, "removing", 4, "versions")
    assert course.words() == "removing: 0 of 4 versions done"
    for clock.now in (60.0, 120.0):
        one_more()
    assert course.words() == "removing: 2 of 4 versions done, about 2 min left"
    naming(course.see)("timing eager")
    assert (course.words(), course.seconds) == ("timing eager", 0.0)
    counting(None, "removing", 4, "versions")()
    naming(None)("timing eager")


def test_a_search_is_asked_how_far_it_is_and_trials_of_an_earlier_run_are_no_basis() -> None:
    clock, told = Clock(), [Trials(0, None)]
    course = Course(clock)
    course.see(Stage(asset="tuned_hyperparameters", of=10, unit="trials", workers=2, asks=lambda: told[-1]))
    clock.now = 60.0
    told.append(Trials(6, 0.614))  # four of them are older than this run
    course.look()
    assert course.words() == "tuned_hyperparameters: 6 of 10 trials done, best net Sharpe 0.61 a year"
    clock.now = 120.0
    told.append(Trials(8, 0.7))
    course.look()
    assert course.words().endswith("8 of 10 trials done, best net Sharpe 0.70 a year, about 60 s left")


def test_an_answer_that_comes_after_the_next_stage_was_told_does_not_bring_the_old_one_back() -> None:
    course, following = Course(Clock()), Stage(asset="production_fold", of=3)

    def slow() -> Trials:
        course.see(following)  # the driver goes on while the database is asked
        return Trials(10, 0.7)

    course.see(Stage(asset="tuned_hyperparameters", of=10, unit="trials", asks=slow))
    course.look()
    assert course.stage is following


def test_a_step_without_folds_says_how_long_it_took_the_last_time() -> None:
    clock = Clock()
    course = Course(clock)
    course.see(Stage(asset="leakage_audit", last_time=95.0))
    assert course.words() == "leakage_audit, about 2 min left, as last time"
    clock.now = 100.0
    assert course.words() == "leakage_audit, last time 95 s"


def test_a_stage_knows_its_epochs_its_last_time_and_the_trials_that_its_study_observed(finished: Workbench) -> None:
    with finished.instance() as instance:
        fold = stage_of(finished.graph, instance, "production_fold", of=3, workers=2)
        assert (fold.most_epochs, fold.of, fold.workers, fold.last_time) == (2, 3, 2, None)
        assert stage_of(finished.graph, instance, "exploration_fold", of=1).most_epochs == 3
        step = stage_of(finished.graph, instance, "features")
        assert step.last_time is not None
        assert 0.0 < step.last_time < 60.0
        search = stage_of(finished.graph, instance, "tuned_hyperparameters")
        assert (search.of, search.unit) == (3, "trials")
        assert search.asks is not None
        assert search.asks() is None  # what was observed is of the run before
        of_that_run = stage_of(finished.graph, instance, "tuned_hyperparameters")
        observed = instance.fetch_observations(finished.graph.key("tuned_hyperparameters"), limit=1).records[0]
        assert observed.timestamp < of_that_run.began


def test_the_trials_of_a_search_under_way_are_those_of_its_last_round(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, finished.instance() as instance:
        patch.setattr("tft_pipeline.pipeline.progress.time.time", lambda: 0.0)
        asks = stage_of(finished.graph, instance, "tuned_hyperparameters").asks
        assert asks is not None
        found = asks()
    record = json.loads((finished.artifact("tuned_hyperparameters") / "report.json").read_text())
    assert found is not None
    assert found.done == len(record["trials"])
    assert found.best == record["best_sharpe_annual"]
