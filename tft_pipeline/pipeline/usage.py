"""What a step takes while it runs: time, processor, memory, GPU memory. Not here: the tables made of it (`domain.timeline`).

A step is the computing of one asset or fold; loading its inputs, waiting for a slot, storing its output and its checks are not
counted, and a row that says ok may still fail to be stored (computing it again then leaves a newer row).
Memory is sampled: the resident set of this process and of its children, so pages that processes share count in each. What
a step before it left behind in the same process counts too.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from tft_pipeline.domain.timeline import PHASES, current_usage, system_resources, timeline
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.storage.artifacts import CURRENT
from tft_pipeline.storage.usage import read_usage, record_usage

SAMPLE_SECONDS = 0.5
MIB = 2.0**20


@contextmanager
def metered(graph: ExperimentGraph, asset: str, partition: str | None) -> Iterator[None]:
    """Measure the block, the computing of an asset in a step: a row of the experiment's usage, also when it fails."""
    context = dg.AssetExecutionContext.get()
    meter = UsageMeter()
    ok = False
    try:
        yield
        ok = True
    finally:
        row = {"asset": asset, "partition": partition, "run_id": context.run.run_id, "ok": ok, **meter.stop()}
        record_usage(graph.layout.usage(graph.name), row)
        if ok:
            context.add_output_metadata({name: row[name] for name in ("wall_s", "cpu_s", "peak_rss_mib")})


class UsageMeter:
    """Measures from its making until `stop`."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._started = datetime.now(UTC)
        self._clock, self._cpu = time.monotonic(), _cpu_seconds()
        self._peak = 0
        self._reset_gpu()
        self._done = threading.Event()
        self._sample()
        self._thread = threading.Thread(target=self._watch, name="usage", daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """The measurements: started_at, ended_at, wall_s, cpu_s, peak_rss_mib, peak_gpu_mib."""
        self._done.set()
        self._thread.join()
        self._sample()
        return {
            "started_at": self._started.isoformat(timespec="milliseconds"),
            "ended_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "wall_s": round(time.monotonic() - self._clock, 3),
            "cpu_s": round(_cpu_seconds() - self._cpu, 3),
            "peak_rss_mib": round(self._peak / MIB, 1),
            "peak_gpu_mib": self._gpu_peak(),
        }

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        import psutil

        total = 0
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:  # a child that ended between the two calls
                continue
        self._peak = max(self._peak, total)

    def _reset_gpu(self) -> None:
        if (cuda := _cuda()) is not None:
            cuda.reset_peak_memory_stats()

    def _gpu_peak(self) -> float | None:
        """Largest memory torch held on the GPU; None where none is in use. Untried: no GPU was at hand."""
        cuda = _cuda()
        return None if cuda is None else round(cuda.max_memory_allocated() / MIB, 1)


def resource_tables(graph: ExperimentGraph, folds: dict[str, list[str]]) -> dict[str, Any]:
    """The two tables, of what this machine computed of what is current: `timeline`, `system`, and the capacities as `machine`.

    Other machines keep their own rows: a phase that has no row here is left out, and one that has folds of other machines says
    in its name how many were measured here.

    Args:
        folds: partitioned asset -> keys of its current folds.
    """
    rows = [
        dict(row) | {"disk_mib": _stored_mib(graph, row["asset"], row["partition"])}
        for row in current_usage(read_usage(graph.layout.usage(graph.name)), folds)
    ]
    phases = timeline(rows)
    for asset, keys in folds.items():
        measured = {row["partition"] for row in rows if row["asset"] == asset and row["ok"]}
        own = next((phase for phase in phases if asset in dict(PHASES)[phase["phase"]]), None)
        if own is not None and len(measured) < len(keys):
            own["phase"] += f" ({len(measured)} of {len(keys)} folds, which this machine computed)"
    machine = machine_record(graph.layout.home)
    return {"timeline": phases, "system": system_resources(phases, machine), "machine": machine}


def machine_record(home: Path) -> dict[str, Any]:
    """What this machine has: memory, swap, disk below `home`, GPU memory, cores; MiB."""
    import psutil

    memory, swap, disk = psutil.virtual_memory(), psutil.swap_memory(), shutil.disk_usage(home)
    cuda = _cuda()
    return {
        "ram_mib": round(memory.total / MIB, 1),
        "swap_mib": round(swap.total / MIB, 1),
        "swap_used_mib": round(swap.used / MIB, 1),
        "disk_mib": round(disk.total / MIB, 1),
        "disk_free_mib": round(disk.free / MIB, 1),
        "gpu_mib": None if cuda is None else round(cuda.get_device_properties(0).total_memory / MIB, 1),
        "n_cores": len(os.sched_getaffinity(0)),
    }


def _stored_mib(graph: ExperimentGraph, asset: str, partition: str | None) -> float:
    """Size of the current version; 0 where its value was never stored or was removed since. Nothing is verified."""
    current = graph.layout.artifact(graph.name, asset, partition) / CURRENT
    return sum(path.stat().st_size for path in current.resolve().rglob("*") if path.is_file()) / MIB


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _cuda() -> Any:
    """torch's CUDA module where this process already uses a GPU; torch is not imported for this."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
