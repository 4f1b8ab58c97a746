"""A local journal of each fold and report, mirrored to MLflow as well as it goes.

Training writes JSON lines to a file and nothing else, so a slow or dead MLflow costs it nothing. After the fit the journal
is copied to MLflow; when that fails the file stays in place and the next fold or report of the experiment copies it too.
"""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from tft_pipeline.domain.credentials import without_credentials
from tft_pipeline.domain.reports import FoldSpec
from tft_pipeline.storage.atomic import append_line
from tft_pipeline.storage.layout import Layout

URI_VARIABLE = "MLFLOW_TRACKING_URI"
MOST_METRICS = 1000
"""In one request to MLflow."""
CLIENT_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class FoldJournal:
    """The journal of one fold of a phase: a line an epoch, a last line with the result."""

    def __init__(self, layout: Layout, experiment: str, phase: str, spec: FoldSpec, *, run_id: str) -> None:
        self._layout = layout
        self._experiment = experiment
        self._phase = phase
        self._spec = spec
        self._run_id = run_id
        self.path = layout.tracking(experiment) / f"{phase}-{spec.key}-{run_id[:8]}.jsonl"

    def epoch(self, row: dict[str, Any]) -> None:
        """Append one epoch."""
        append_line(self.path, {"kind": "epoch", "at_ms": int(time.time() * 1000), **row})

    def finish(self, metrics: dict[str, float], tags: dict[str, str]) -> str | None:
        """Append the result and mirror every journal that waits; returns why MLflow did not take it, or None."""
        spec = self._spec
        append_line(
            self.path,
            {
                "kind": "fold",
                "at_ms": int(time.time() * 1000),
                "name": f"{self._phase} {spec.key}",
                "tags": {
                    "phase": self._phase,
                    "fold": spec.key,
                    "dagster_run": self._run_id,
                    "spec_sha256": spec.content_sha256(),
                    **tags,
                },
                "params": {
                    **{f"network.{k}": v for k, v in spec.network.model_dump().items()},
                    **{f"training.{k}": v for k, v in spec.training.model_dump().items()},
                    **{f"position.{k}": v for k, v in spec.position.model_dump().items()},
                    "n_features": len(spec.features),
                    "seeds": ", ".join(str(seed) for seed in spec.seeds),
                },
                "metrics": metrics,
            },
        )
        return mirror_waiting(self._layout, self._experiment)


def attach_file(
    layout: Layout,
    experiment: str,
    path: Path,
    *,
    name: str,
    run_id: str,
    metrics: dict[str, float],
    tags: dict[str, str],
) -> str | None:
    """Attach a stored file to a run of its own in MLflow, by way of a journal like that of a fold.

    Args:
        path: a file of a stored version, which is never changed; the journal names it and MLflow copies it.
        name: of the run in MLflow.
        run_id: of the Dagster run.
    Returns:
        Why MLflow did not take it, or None; the journal then waits for the next fold or report.
    Raises:
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file: there is nothing to attach; store it first")
    journal = layout.tracking(experiment) / f"file-{path.stem}-{run_id[:8]}.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    append_line(
        journal,
        {
            "kind": "file",
            "at_ms": int(time.time() * 1000),
            "name": name,
            "file": str(path.relative_to(layout.home)),
            "tags": {"phase": "report", "dagster_run": run_id, **tags},
            "params": {},
            "metrics": metrics,
        },
    )
    return mirror_waiting(layout, experiment)


def mirror_waiting(layout: Layout, experiment: str) -> str | None:
    """Copy finished journals to MLflow, oldest first; the first failure stops and leaves the rest waiting.

    Returns:
        The reason of a failure, None when nothing waits any more.
    """
    folder = layout.tracking(experiment)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in sorted(folder.glob("*.jsonl")):
            try:
                rows = [json.loads(line) for line in path.read_text().splitlines()]
            except ValueError:
                path.rename(path.with_suffix(".torn"))  # a write that was cut off; the fold itself is stored elsewhere
                continue
            if not rows or rows[-1].get("kind") not in ("fold", "file"):
                continue
            if rows[-1]["kind"] == "file" and not (layout.home / rows[-1]["file"]).is_file():
                path.rename(path.with_suffix(".gone"))  # its version was removed while it waited
                continue
            try:
                _mirror(layout, experiment, rows)
            except Exception as error:  # MLflow raises anything from its stores; the journal keeps the data
                return without_credentials(f"{type(error).__name__}: {error}")
            path.rename(path.with_suffix(".mirrored"))
    return None


def _mirror(layout: Layout, experiment: str, rows: list[dict[str, Any]]) -> None:
    for name, value in CLIENT_LIMITS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    uri = os.environ.get(URI_VARIABLE)
    if uri is None:
        layout.mlflow_database.parent.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{layout.mlflow_database}"
    with (layout.home / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # first use migrates the database; two processes at once would break it
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        identifier = (
            found.experiment_id
            if found is not None
            else client.create_experiment(experiment, artifact_location=layout.mlflow_artifacts.as_uri())
        )
    result = rows[-1]
    run = client.create_run(identifier, start_time=rows[0]["at_ms"], run_name=result["name"])
    metrics = [
        Metric(name, float(value), row["at_ms"], int(row["epoch"]))
        for row in rows[:-1]
        for name, value in row.items()
        if name not in ("kind", "at_ms", "epoch") and value is not None
    ]
    metrics += [Metric(name, float(value), result["at_ms"], 0) for name, value in result["metrics"].items()]
    params = [Param(name, str(value)) for name, value in result["params"].items()]
    tags = [RunTag(name, str(value)) for name, value in result["tags"].items()]
    client.log_batch(run.info.run_id, metrics=metrics[:MOST_METRICS], params=params, tags=tags)
    for first in range(MOST_METRICS, len(metrics), MOST_METRICS):
        client.log_batch(run.info.run_id, metrics=metrics[first : first + MOST_METRICS])
    if result["kind"] == "file":
        client.log_artifact(run.info.run_id, str(layout.home / result["file"]))
    client.set_terminated(run.info.run_id, "FINISHED", end_time=result["at_ms"])
