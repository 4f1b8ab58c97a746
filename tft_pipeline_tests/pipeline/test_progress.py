"""What a running graph is at, read from the journals that folds write."""

import json
import os
import shutil
import time
from pathlib import Path

from tft_pipeline.pipeline.driver import Driver
from tft_pipeline.pipeline.progress import Stage
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
