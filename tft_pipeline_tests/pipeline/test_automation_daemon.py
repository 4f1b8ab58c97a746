"""The automation sensor in the real daemon, beside a real code server: what it asks for, read from the event log.

Every case of the conditions is tried in a simulator (`test_automation`); this shows that the daemon does the same.
"""

import socket
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from tft_pipeline.pipeline.assets import production
from tft_pipeline.pipeline.partitions import IN_FLIGHT
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.pipeline.test_webserver import free_port, process, until
from tft_pipeline_tests.reruns import FOLD, aggregates, materialise_alone, ran_since

pytestmark = pytest.mark.slow

SENSOR = "small_automation"
IDLE_TICKS = 3
# the sensor that is shipped, asked every second instead of every 30; without the drift nights, which go by the calendar
HASTY = f"""
import dagster as dg

made = dg.AutomationConditionSensorDefinition


def hasty(*, minimum_interval_seconds, **stated):
    return made(minimum_interval_seconds=1, **stated)


dg.AutomationConditionSensorDefinition = hasty
from tft_pipeline import definitions

shipped = definitions.defs
defs = dg.Definitions(
    assets=shipped.assets,
    asset_checks=shipped.asset_checks,
    jobs=shipped.jobs,
    sensors=[sensor for sensor in shipped.sensors if sensor.name == "{SENSOR}"],
    resources=shipped.resources,
    executor=shipped.executor,
)
del shipped  # Dagster looks for one
"""


def ticks(instance: dg.DagsterInstance) -> list[InstigatorTick]:
    """Finished ticks of the automation sensor, newest first."""
    found = [state for state in instance.all_instigator_state() if state.instigator_name == SENSOR]
    if not found:
        return []
    (state,) = found
    every = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=500)
    assert not [tick.error for tick in every if tick.status == TickStatus.FAILURE]
    return [tick for tick in every if tick.status != TickStatus.STARTED]


def is_idle(instance: dg.DagsterInstance) -> bool:
    """Whether no run is under way and the last ticks asked for none."""
    return not instance.get_runs_count(dg.RunsFilter(statuses=IN_FLIGHT)) and not any(
        tick.run_ids for tick in ticks(instance)[:IDLE_TICKS]
    )


def listening(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def publish_another_spec(bench: Workbench, fold: str) -> None:
    """Plan again, with one epoch less for one fold: the only spec whose content is new."""
    planned = production.fold_specs

    def shorter(*read: Any, **stated: Any) -> Any:
        specs = planned(*read, **stated)
        return tuple(one.model_copy(update={"epochs": 1}) if one.key == fold else one for one in specs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(production, "fold_specs", shorter)
        assert not materialise_alone(bench, "production_plan")["failed"]


def test_the_daemon_runs_nothing_while_nothing_changed_and_then_exactly_the_changed_fold_and_its_downstream(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TFT_EXPERIMENTS", str(finished.file))
    monkeypatch.setenv("TFT_AUTOMATION", "on")
    (tmp_path / "hasty.py").write_text(HASTY)
    port, binaries = free_port(), Path(sys.executable).parent
    address = ["-h", "127.0.0.1", "-p", str(port)]
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {port}, location_name: tft}}}}]\n")
    server = [str(binaries / "dagster"), "api", "grpc", *address, "-f", str(tmp_path / "hasty.py")]
    daemon = [str(binaries / "dagster-daemon"), "run", "-w", str(workspace)]
    with finished.instance() as instance, process(server, tmp_path / "server.log"):
        until(lambda: listening(port), seconds=120, what="code server")
        before = finished.materialisations()
        with process(daemon, tmp_path / "daemon.log"):
            until(lambda: len(ticks(instance)) >= IDLE_TICKS, seconds=240, what="idle ticks")
            assert [tick.run_ids for tick in ticks(instance) if tick.run_ids] == []
            assert ran_since(finished, before) == set()

            publish_another_spec(finished, FOLD)
            wanted = {("production_plan", None), ("production_fold", FOLD)} | aggregates()
            until(lambda: ran_since(finished, before) >= wanted, seconds=480, what="end of what was outdated")
            until(lambda: is_idle(instance), seconds=120, what="idle ticks after it")
    after = finished.materialisations()
    assert {name: after[name] - before.get(name, 0) for name in ran_since(finished, before)} == dict.fromkeys(wanted, 1)
