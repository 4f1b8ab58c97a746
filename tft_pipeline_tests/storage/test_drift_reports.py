"""The JSON that other programs read: one file a day, whole, without NaN, always with the same keys."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.storage.drift_reports import report_name, report_of, write_report

NOW = datetime(2024, 3, 9, 3, 0, tzinfo=UTC)
KEYS = {
    "schema_version", "created_at", "experiment", "snapshot_id", "fold", "weights_sha256", "reference", "recent",
    "thresholds", "verdict", "reasons", "family_p_value", "n_null_windows", "features", "multivariate", "predictions",
    "performance", "shapes", "over_time",
}  # fmt: skip


def record(**changes: object) -> DriftRecord:
    about = {"fold": "f", "verdict": "stable", "n_reference": 9, "n_recent": 2, "rows": ({"psi": 0.1},), "detail": {}}
    return DriftRecord.model_validate(about | changes)


def test_a_report_has_the_same_keys_whatever_was_compared() -> None:
    assert set(report_of(record(), experiment="small", created_at=NOW)) == KEYS
    bare = report_of(record(fold=""), experiment=None, created_at=NOW)
    assert set(bare) == KEYS
    assert (bare["fold"], bare["weights_sha256"], bare["snapshot_id"]) == (None, None, None)


def test_it_is_named_by_its_newest_recent_bar_and_by_today_where_bars_have_no_dates() -> None:
    dated = record(recent={"first": "2024-03-01T00:00:00+00:00", "last": "2024-03-08T15:59:00+00:00", "n_bars": 9})
    assert report_name(dated, otherwise=date(2030, 1, 1), dated=False) == "drift_2024-03-08.json"
    assert report_name(record(recent={"last": None}), otherwise=date(2030, 1, 1), dated=True) == "drift_2030-01-01.json"
    midnight = record(recent={"last": "2024-03-09T00:00:00+00:00"})
    assert report_name(midnight, otherwise=NOW.date(), dated=False) == "drift_2024-03-08.json"
    assert report_name(midnight, otherwise=NOW.date(), dated=True) == "drift_2024-03-09.json"


def test_the_same_day_again_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "drift_2024-03-08.json"
    for verdict in ("stable", "retrain"):
        write_report(path, report_of(record(verdict=verdict), experiment="small", created_at=NOW))
    assert json.loads(path.read_text())["verdict"] == "retrain"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_number_without_json_form_is_refused_and_the_file_before_it_stays(tmp_path: Path) -> None:
    path = tmp_path / "drift.json"
    write_report(path, report_of(record(), experiment="small", created_at=NOW))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(path, report_of(record(rows=({"psi": float("nan")},)), experiment="small", created_at=NOW))
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
