"""The timeline and the table of resources, from rows of usage."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tft_pipeline.domain.timeline import PHASES, current_usage, system_resources, timeline
from tft_pipeline.pipeline.driver import STEPS

START = datetime(2026, 3, 2, 5, 29, tzinfo=UTC)
MACHINE = {
    "ram_mib": 1000.0,
    "swap_mib": 0.0,
    "swap_used_mib": 0.0,
    "disk_mib": 4000.0,
    "disk_free_mib": 1000.0,
    "gpu_mib": None,
    "n_cores": 2,
}


def row(asset: str, first: float, last: float, **more: Any) -> dict[str, Any]:
    own = {
        "asset": asset,
        "partition": None,
        "run_id": "r",
        "ok": True,
        "started_at": (START + timedelta(seconds=first)).isoformat(),
        "ended_at": (START + timedelta(seconds=last)).isoformat(),
        "wall_s": last - first,
        "cpu_s": 0.5 * (last - first),
        "peak_rss_mib": 100.0,
        "peak_gpu_mib": None,
        "disk_mib": 3.0,
    }
    return own | more


def test_folds_beside_each_other_count_once_in_elapsed_time_and_each_in_work() -> None:
    rows = [
        row("exploration_plan", 0, 1),
        row("exploration_fold", 1, 11, partition="a", peak_rss_mib=300.0),
        row("exploration_fold", 2, 12, partition="b"),
    ]
    [phase] = timeline(rows)
    assert phase["phase"] == "Phase 2: exploration"
    assert (phase["n_steps"], phase["elapsed_s"], phase["work_s"], phase["cpu_s"]) == (3, 12.0, 21.0, 10.5)
    assert (phase["peak_rss_mib"], phase["peak_gpu_mib"], phase["disk_mib"]) == (300.0, None, 9.0)


def test_phases_stand_in_the_order_they_run_and_idle_ones_are_left_out() -> None:
    rows = [row("production_fold", 9, 10, partition="a"), row("snapshot", 0, 1), row("selected_features", 4, 5)]
    assert [phase["phase"] for phase in timeline(rows)] == ["Snapshot", "Phase 3: pruning", "Phase 5: production"]


def test_every_asset_up_to_the_card_belongs_to_one_phase() -> None:
    named = [asset for _, assets in PHASES for asset in assets]
    assert named == [step for step in STEPS if step not in ("model_card", "report", "release")]


def test_stamps_are_compared_as_times_and_not_as_text() -> None:
    early = row("features", 0, 1, started_at="2026-03-02T06:29:00+01:00", ended_at="2026-03-02T06:29:01+01:00")
    [phase] = timeline([row("features", 3, 4), early])
    assert phase["elapsed_s"] == 2.0
    assert phase["started_at"] == early["started_at"]


def test_only_the_newest_finished_computing_of_a_current_fold_counts() -> None:
    rows = [
        row("production_fold", 0, 1, partition="a", wall_s=1.0),
        row("production_fold", 0, 1, partition="a", wall_s=2.0),
        row("production_fold", 0, 1, partition="a", wall_s=3.0, ok=False),
        row("production_fold", 0, 1, partition="gone"),
        row("snapshot", 0, 1),
    ]
    kept = current_usage(rows, {"production_fold": ["a"]})
    assert [(one["asset"], one["partition"], one["wall_s"]) for one in kept] == [
        ("production_fold", "a", 2.0),
        ("snapshot", None, 1.0),
    ]


def test_failed_attempts_count_as_work_of_the_computing_that_succeeds() -> None:
    rows = [
        row("tuned_hyperparameters", 0, 1, wall_s=500.0, ok=False),
        row("tuned_hyperparameters", 1, 2),
        row("tuned_hyperparameters", 10, 3610, ok=False),
        row("tuned_hyperparameters", 4000, 4005),
    ]
    [phase] = timeline(current_usage(rows, {}))
    assert (phase["n_steps"], phase["n_failed"], phase["work_s"], phase["disk_mib"]) == (1, 1, 3605.0, 3.0)
    assert phase["elapsed_s"] == 3605.0, "the pause between the attempts is no work"


def test_resources_name_the_range_the_capacity_and_the_share() -> None:
    phases = timeline([row("snapshot", 0, 10, peak_rss_mib=250.0), row("features", 10, 30, cpu_s=30.0)])
    table = {line["resource"]: line for line in system_resources(phases, MACHINE)}
    ram = table["RAM, peak of a step"]
    assert (ram["used_low"], ram["used_high"], ram["capacity"], ram["share"]) == (100.0, 250.0, 1000.0, 0.25)
    cores = table["CPU"]
    assert (cores["used_low"], cores["used_high"], cores["share"]) == (0.5, 1.5, 0.75)
    assert table["Disk, files of the phases"]["used_high"] == 6.0
    assert table["GPU memory, peak of a step"] == {
        "resource": "GPU memory, peak of a step",
        "used_low": None,
        "used_high": None,
        "capacity": None,
        "unit": "MiB",
        "share": None,
    }


def test_a_machine_without_swap_has_no_share_of_it() -> None:
    [swap] = [line for line in system_resources([], MACHINE) if line["resource"] == "Swap"]
    assert (swap["used_high"], swap["share"]) == (0.0, None)


@pytest.mark.parametrize("phases", [[], timeline([row("snapshot", 0, 0)])])
def test_without_time_there_is_no_share_of_the_processor(phases: list[dict[str, Any]]) -> None:
    [cpu] = [line for line in system_resources(phases, MACHINE) if line["resource"] == "CPU"]
    assert cpu["used_high"] is None
