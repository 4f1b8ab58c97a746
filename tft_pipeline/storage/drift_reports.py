"""Drift reports for people and other programs: `drift_YYYY-MM-DD.json`, the day of the newest recent bar.

One file a day: the same day judged again replaces it in one step. Not here: the records that the graph reads back, which are
versioned artifacts, and what is judged.
"""

from datetime import date, datetime
from pathlib import Path
from typing import Any

from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.domain.nights import day_of
from tft_pipeline.storage.atomic import canonical_json, replace_file
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
        "shapes": [dict(shape) for shape in record.shapes],
        "over_time": dict(record.over_time),
    }


def report_name(record: DriftRecord, *, otherwise: date, dated: bool) -> str:
    """File name: the UTC day of the newest recent bar, or `otherwise` where bars have no dates.

    Args:
        dated: see `domain.nights.day_of`.
    """
    last = record.recent.get("last")
    day = otherwise if last is None else day_of(datetime.fromisoformat(last), dated=dated)
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
    replace_file(path, lambda staged: staged.write_text(text, encoding="utf-8"))
    return path
