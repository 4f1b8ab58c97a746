"""Folds an hour of one and of two Celery workers, on this machine: PostgreSQL, Redis, an S3 server, code server and daemon.

    python benchmarks/machines.py                              the demonstration's production folds
    python benchmarks/machines.py --experiment FILE --workers 1 2 4
    python benchmarks/machines.py --write                      also into benchmarks/machines.json, which the documents quote

The stages before the folds run once; then the same folds are asked for again for each number of workers, each fold a run of its
own, and the time is that from the request to the last result. `warm` keeps a worker's process from fold to fold
(worker_max_tasks_per_child 0), `fresh` is a process for each, as in `deploy/dagster.yaml`. Prints one JSON object. On one
machine all workers share its cores, its disk and the three servers: more workers than cores cannot help.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from loopback import ROOT, Loopback, data_versions, launch, wait_for

PROMPT = {"run_coordinator": {"config": {"dequeue_interval_seconds": 1}}}
HOURS = 4 * 3600.0
STORED = ROOT / "benchmarks" / "machines.json"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiment", type=Path, default=ROOT / "experiments" / "demo.yaml")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--process", choices=("fresh", "warm"), nargs="+", default=["fresh"])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="machines-") as folder:
        machines = Loopback(Path(folder), given.experiment.resolve(), settings=PROMPT)
        with machines.serving():
            rows = measure(machines, given.workers, given.process)
    found = {
        "experiment": given.experiment.stem,
        "cores": len(os.sched_getaffinity(0)),
        "load_15_minutes_at_end": round(os.getloadavg()[2], 1),
        "rows": rows,
    }
    print(json.dumps(found, indent=1))
    if given.write:
        STORED.write_text(json.dumps(found, indent=1) + "\n")


def measure(machines: Loopback, workers: list[int], processes: list[str]) -> list[dict[str, Any]]:
    """One row for each number of workers and each kind of process."""
    import dagster as dg

    from tft_pipeline.pipeline.commands import run_experiment
    from tft_pipeline.pipeline.runs import open_instance
    from tft_pipeline.storage.experiments import read_experiment
    from tft_pipeline.storage.layout import Layout

    name = read_experiment(machines.experiment).experiment.name
    control = machines.environment("control")
    os.environ.update({**control, "TFT_WORKERS": str(len(os.sched_getaffinity(0)))})  # the stages before: all cores
    began = time.monotonic()
    answer = run_experiment(machines.experiment, resume=False, until="production_plan", report=_say)
    if answer["failed"]:
        raise RuntimeError(f"{answer['failed']}")
    _say(f"stages before the folds: {time.monotonic() - began:.0f} s")
    machines.start_control()
    rows = []
    with open_instance(Layout(Path(control["TFT_HOME"]))) as instance:
        folds = sorted(instance.get_dynamic_partitions(f"{name}_production_folds"))
        key = dg.AssetKey([name, "production_fold"])
        for process in processes:
            for n in workers:
                names = [f"{process}-{n}-{k}" for k in range(n)]
                machines.settings = {
                    **PROMPT,
                    "run_launcher": {
                        "config": {"config_source": {"worker_max_tasks_per_child": 1 if process == "fresh" else None}}
                    },
                }
                for one in names:
                    machines.start_worker(one)
                machines.workers_ready(*names)
                before, start = time.time(), time.monotonic()
                asked = launch(instance, name, "production_fold", folds)
                wait_for("all folds", lambda: _ended(instance, asked), seconds=HOURS, pause=0.5)  # noqa: B023
                seconds = time.monotonic() - start
                for one in names:
                    machines.processes[one].dies()
                rows.append(_row(instance, key, asked, process, n, seconds, before))
                _say(json.dumps(rows[-1]))
    return rows


def _ended(instance: Any, asked: dict[str | None, str]) -> bool:
    return all(instance.get_run_by_id(run).is_finished for run in asked.values())


def _row(
    instance: Any, key: Any, asked: dict[str | None, str], process: str, n: int, seconds: float, before: float
) -> dict[str, Any]:
    versions = data_versions(instance, key, [one for one in asked if one is not None], since=before)
    records = [instance.get_run_record_by_id(run) for run in asked.values()]
    runs = [one.end_time - one.start_time for one in records]
    steps = [instance.get_run_step_stats(run)[0] for run in asked.values()]
    inside = [one.end_time - one.start_time for one in steps]
    return {
        "workers": n,
        "process": process,
        "folds": len(asked),
        "computed": len(versions),
        "seconds": round(seconds, 1),
        "folds_per_hour": round(3600.0 * len(versions) / seconds, 1),
        "median_run_s": round(statistics.median(runs), 1),
        "median_step_s": round(statistics.median(inside), 1),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
