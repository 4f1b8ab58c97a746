"""Drift reports for people and other programs: `drift_YYYY-MM-DD.json`, the date of the newest recent bar.

One file a day: the same day judged again replaces it in one step. Not here: the records that the graph reads back, which are
versioned artifacts, and what is judged.
"""

import os
from datetime import date, datetime
from pathlib import Path
from typing import Any

from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.storage.atomic import STAGE_PREFIX, canonical_json, fsync_folder
from tft_pipeline.storage.layout import Layout

SCHEMA_VERSION = 1
THRESHOLDS = ("psi_threshold", "js_threshold", "alpha", "n_bins", "min_null_windows")


def report_of(record: DriftRecord, *, experiment: str | None, created_at: datetime) -> dict[str, Any]:
    """The report of a record; its keys are the same for a fold of an experiment and for two files."""
    return {
        "schema_version": SCHEMA_VERSION,
        "created_at": created_at.isoformat(),
        "experiment": experiment,
        "snapshot_id": record.snapshot_id or None,
        "fold": record.fold or None,
        "weights_sha256": record.weights_sha256 or None,
        "reference": record.reference,
        "recent": record.recent,
        "thresholds": {name: record.detail.get(name) for name in THRESHOLDS},
        "verdict": record.verdict,
        "reasons": list(record.reasons),
        "family_p_value": record.detail.get("family_p_value"),
        "n_null_windows": record.detail.get("n_null_windows"),
        "features": [dict(row) for row in record.rows],
        "multivariate": record.multivariate,
        "predictions": record.predictions,
        "performance": record.performance,
    }


def report_name(record: DriftRecord, *, otherwise: date) -> str:
    """File name: the date of the newest recent bar, or `otherwise` where bars have no dates."""
    last = record.recent.get("last")
    day = otherwise if last is None else datetime.fromisoformat(last).date()
    return f"drift_{day.isoformat()}.json"


def drift_folder(layout: Layout, name: str) -> Path:
    """Where the reports of an experiment are."""
    return layout.experiment(name) / "drift"


def reports_folder(layout: Layout) -> Path:
    """Where the reports of `tft drift` go unless told otherwise."""
    return layout.home / "reports"


def write_report(path: Path, report: dict[str, Any]) -> Path:
    """Write or replace a report; readers see the old one or the new one.

    Raises:
        ValueError: a number that JSON does not know.
        OSError: the folder cannot be written.
    """
    text = canonical_json(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.parent / f"{STAGE_PREFIX}{path.name}-{os.getpid()}"
    try:
        with staged.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    fsync_folder(path.parent)
    return path
