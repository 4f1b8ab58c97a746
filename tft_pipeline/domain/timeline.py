"""When each phase of a run worked, and what it took: the tables of system resources and of the timeline.

A row of usage is one computed asset, or one fold of it. Not here: measuring (`pipeline.usage`), keeping rows (`storage.usage`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

PHASES = (
    ("Snapshot", ("snapshot",)),
    ("Features", ("feature_catalogue", "features", "targets")),
    ("Phase 1: prefilter", ("prefiltered_features",)),
    ("Phase 2: exploration", ("exploration_plan", "exploration_fold")),
    ("Phase 3: pruning", ("selected_features",)),
    ("Phase 4: tuning", ("tuned_hyperparameters",)),
    ("Research paths", ("research_paths",)),
    ("Phase 5: production", ("production_plan", "production_fold")),
    ("Audit and performance", ("leakage_audit", "oos_portfolio", "oos_performance")),
    ("Latency, drift, ensemble", ("latency_benchmark", "drift_report", "ensemble_weights")),
)
"""Phase -> its assets, in the order they run."""


def current_usage(
    rows: Sequence[Mapping[str, Any]], folds: Mapping[str, Collection[str]]
) -> tuple[Mapping[str, Any], ...]:
    """What made the things that are current: the newest finished row of each asset and fold, after its failed attempts.

    A tuning that fails after hours and is resumed for seconds took hours: attempts that failed since the computing before
    count too. One that was killed left no row.

    Args:
        rows: in the order they were written; keys asset, partition (None without folds), ok, and what `timeline` reads.
        folds: partitioned asset -> its current folds; rows of other folds belong to plans that are gone.
    """
    waiting: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    newest: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        asset, partition = row["asset"], row["partition"]
        if partition is None or partition in folds.get(asset, ()):
            attempts = waiting.setdefault((asset, partition), [])
            attempts.append(row)
            if row["ok"]:
                newest[(asset, partition)] = waiting.pop((asset, partition))
    return tuple(row for attempts in newest.values() for row in attempts)


def timeline(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a phase, in the order of `PHASES`; phases without rows are left out.

        elapsed = time in which at least one step worked   folds beside each other count once, waiting does not count
        work    = sum of the steps' own times              every fold counts

    Args:
        rows: as `current_usage` gives them: asset, ok, started_at, ended_at (ISO 8601, UTC), wall_s, cpu_s, peak_rss_mib,
            peak_gpu_mib (None without a GPU), disk_mib.
    Returns:
        phase, n_steps, n_failed (attempts), started_at, ended_at, elapsed_s, work_s, cpu_s (sums over steps and attempts),
        peak_rss_mib, peak_gpu_mib (of the largest step; steps beside each other add up), disk_mib (sum).
    """
    table = []
    for phase, assets in PHASES:
        own = [row for row in rows if row["asset"] in assets]
        if not own:
            continue
        started = min(own, key=lambda row: datetime.fromisoformat(row["started_at"]))["started_at"]
        ended = max(own, key=lambda row: datetime.fromisoformat(row["ended_at"]))["ended_at"]
        gpu = [float(row["peak_gpu_mib"]) for row in own if row["peak_gpu_mib"] is not None]
        table.append(
            {
                "phase": phase,
                "n_steps": sum(bool(row["ok"]) for row in own),
                "n_failed": sum(not row["ok"] for row in own),
                "started_at": started,
                "ended_at": ended,
                "elapsed_s": _covered_seconds(own),
                "work_s": sum(float(row["wall_s"]) for row in own),
                "cpu_s": sum(float(row["cpu_s"]) for row in own),
                "peak_rss_mib": max(float(row["peak_rss_mib"]) for row in own),
                "peak_gpu_mib": max(gpu) if gpu else None,
                "disk_mib": sum(float(row["disk_mib"]) for row in own if row["ok"]),
            }
        )
    return table


def _covered_seconds(rows: Sequence[Mapping[str, Any]]) -> float:
    """Length of the union of the rows' spans."""
    spans = sorted((datetime.fromisoformat(row["started_at"]), datetime.fromisoformat(row["ended_at"])) for row in rows)
    total, reached = 0.0, spans[0][0]
    for started, ended in spans:
        total += max((ended - max(started, reached)).total_seconds(), 0.0)
        reached = max(reached, ended)
    return total


def system_resources(phases: Sequence[Mapping[str, Any]], machine: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of resources: what was used, what there is, and the share.

    Args:
        phases: as `timeline` gives them.
        machine: ram_mib, swap_mib, swap_used_mib, disk_mib, disk_free_mib, gpu_mib (None without one), n_cores.
    Returns:
        resource, used_low, used_high, capacity, unit, share (used_high / capacity). None where there is nothing to measure.
    """
    ram = [float(row["peak_rss_mib"]) for row in phases]
    gpu = [float(row["peak_gpu_mib"]) for row in phases if row["peak_gpu_mib"] is not None]
    cores = [float(row["cpu_s"]) / float(row["elapsed_s"]) for row in phases if float(row["elapsed_s"]) > 0.0]
    made = sum(float(row["disk_mib"]) for row in phases)
    table = [
        _resource("RAM, peak of a step", ram, machine["ram_mib"], "MiB"),
        _resource("GPU memory, peak of a step", gpu, machine["gpu_mib"], "MiB"),
        _resource("Disk, files of the phases", [made] if phases else [], machine["disk_mib"], "MiB"),
        _resource("Disk, free", [machine["disk_free_mib"]], machine["disk_mib"], "MiB"),
        _resource("Swap", [machine["swap_used_mib"]], machine["swap_mib"], "MiB"),
        _resource("CPU", cores, machine["n_cores"], "cores"),
    ]
    return table


def _resource(name: str, used: Sequence[float], capacity: float | None, unit: str) -> dict[str, Any]:
    low, high = (min(used), max(used)) if used else (None, None)
    share = high / capacity if high is not None and capacity else None
    return {"resource": name, "used_low": low, "used_high": high, "capacity": capacity, "unit": unit, "share": share}
