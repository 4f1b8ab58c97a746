"""A run of one small guarded asset in a process of its own, which computes until it is told to go on.

    python scripted_run.py HOME PARTITION [tft|worker] [child]

`tft` executes as `tft materialize` does, `worker` as the run worker of a launcher. With `child` the asset starts a spawned
process that outlives it. Lines: `computes PID`, `child PID`, and at the end the outcome as JSON. Not here: tests.
"""

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import cast

import dagster as dg
import polars as pl

from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.io_managers import io_managers
from tft_pipeline.pipeline.run_process import in_this_process
from tft_pipeline.pipeline.runs import QUIET, materialise, open_instance
from tft_pipeline.storage.layout import Layout

PARTITIONS = ("a", "b")
KEY = dg.AssetKey(["small", "thing"])


class SmallGraph:
    """What `guarded` needs of an experiment."""

    name = "small"

    def __init__(self, home: Path) -> None:
        self.layout = Layout(home)


def scripted_definitions(home: Path, *, child: bool = False) -> dg.Definitions:
    """`small/thing`, two partitions, stored as every frame is."""
    graph = cast(ExperimentGraph, SmallGraph(home))

    @dg.asset(key=KEY, partitions_def=dg.StaticPartitionsDefinition(PARTITIONS), io_manager_key="frames")
    @guarded(graph, "thing", slots=1)
    def thing(context: dg.AssetExecutionContext) -> dg.Output[pl.DataFrame]:
        """One row."""
        print("computes", os.getpid(), flush=True)
        if child:
            one = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
            one.start()
            print("child", one.pid, flush=True)
        said = sys.stdin.readline().strip()
        if said == "refused":
            raise ConnectionRefusedError("nobody listens")
        if said == "wrong":
            raise ValueError("bad bars")
        return dg.Output(pl.DataFrame({"by": [os.getpid()]}), data_version=dg.DataVersion("1"))

    return dg.Definitions(
        assets=[thing],
        jobs=[dg.define_asset_job("work", selection=[KEY])],
        resources=dict(io_managers(Layout(home))),
        executor=in_this_process,
    )


def worker_job() -> dg.JobDefinition:
    """The job of a run worker, which makes its definitions again."""
    return scripted_definitions(Path(os.environ["TFT_HOME"])).resolve_job_def("work")


def main() -> None:
    home, partition = Path(sys.argv[1]), sys.argv[2]
    os.environ["TFT_HOME"] = str(home)
    with open_instance(Layout(home)) as instance:
        if "worker" in sys.argv[3:]:
            job = dg.reconstructable(worker_job)
            done = dg.execute_job(job, instance, run_config=QUIET, tags={"dagster/partition": partition})
            print(json.dumps({"ok": done.success, "reason": ""}), flush=True)
            return
        outcome = materialise(
            scripted_definitions(home, child="child" in sys.argv[3:]), instance, [KEY], partition=partition
        )
    print(json.dumps({"ok": outcome.ok, "reason": outcome.reason}), flush=True)


if __name__ == "__main__":
    main()
