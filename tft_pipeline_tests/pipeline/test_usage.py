"""What steps take, measured while they run, and where it is shown."""

import os
import time
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from tft_pipeline.domain.findings import ModelCard
from tft_pipeline.domain.timeline import PHASES
from tft_pipeline.pipeline.report.sections.resources import duration
from tft_pipeline.pipeline.usage import UsageMeter, machine_record
from tft_pipeline.storage.usage import read_usage
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.stored import stored_report

MIB = 2**20


def test_a_finished_run_has_a_row_for_every_asset_and_fold_of_its_phases(finished: Workbench) -> None:
    rows = read_usage(finished.layout.usage("small"))
    computed = {(row["asset"], row["partition"]) for row in rows}
    expected = {name for name in finished.materialisations() if name[0] in {a for _, names in PHASES for a in names}}
    assert computed == expected
    assert all(row["ok"] and row["wall_s"] > 0.0 and row["peak_rss_mib"] > 50.0 for row in rows)


def test_a_step_that_fails_leaves_a_row_too(workbench: Any) -> None:
    bench = workbench(changes={"exploration.folds.train": 5000})
    result = bench.run()
    assert [row["asset"] for row in result["failed"]] == ["small/prefiltered_features"], result
    last = read_usage(bench.layout.usage("small"))[-1]
    assert (last["asset"], last["ok"]) == ("prefiltered_features", False)


def test_the_card_and_the_metadata_show_what_was_measured(finished: Workbench) -> None:
    tables = stored_report(finished, ModelCard, "model_card").card["train"]["resources"]
    assert [row["phase"] for row in tables["timeline"]] == [phase for phase, _ in PHASES if phase != "Research paths"]
    folds = {row["phase"]: row["n_steps"] for row in tables["timeline"]}["Phase 5: production"]
    assert folds == 1 + len(finished.folds())
    assert {row["resource"] for row in tables["system"]} >= {"Swap", "CPU", "Disk, free"}
    with finished.instance() as instance:
        record = instance.get_latest_materialization_event(finished.graph.key("features"))
    assert record is not None
    assert record.asset_materialization is not None
    assert {"wall_s", "cpu_s", "peak_rss_mib"} <= set(record.asset_materialization.metadata)


def test_the_meter_sees_memory_and_work_of_this_process() -> None:
    meter = UsageMeter()
    block = np.ones(60 * MIB // 8)
    began = time.process_time()
    while time.process_time() - began < 0.2:
        block += 1.0
    held = meter.stop()
    assert held["cpu_s"] >= 0.15
    assert held["wall_s"] >= 0.15
    del block
    before = UsageMeter().stop()["peak_rss_mib"]
    assert held["peak_rss_mib"] > before + 40.0


def test_the_meter_sees_children() -> None:
    meter = UsageMeter()
    process = get_context("spawn").Process(target=_work)
    process.start()
    process.join()
    alone = UsageMeter().stop()
    found = meter.stop()
    assert found["cpu_s"] >= 0.3
    assert found["peak_rss_mib"] > alone["peak_rss_mib"] + 100.0


def _work() -> None:
    block = bytearray(os.urandom(1024)) * (120 * 1024)
    began = time.process_time()
    while time.process_time() - began < 1.5:
        block[0] = (block[0] + 1) % 256


def test_a_machine_has_memory_disk_and_cores(finished: Workbench) -> None:
    machine = machine_record(finished.layout.home)
    assert machine["ram_mib"] > 500.0
    assert 0.0 < machine["disk_free_mib"] <= machine["disk_mib"]
    assert machine["n_cores"] >= 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.96, "1 min 00 s"), (200.4, "3 min 20 s"), (7500.0, "2 h 05 min"), (3599.7, "1 h 00 min")],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text
