"""The benchmark of fresh processes runs, all contestants decide alike, and its verdict is its limits'. No time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.slow
def test_each_form_is_started_measured_and_judged() -> None:
    words = [sys.executable, "bundle.py", "--variables", "3", "--lookback", "9", "--starts", "1", "--no-peer", "--json"]
    done = subprocess.run(words, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert set(found["rows"]) == {"onnx_window", "onnx_stream", "eager"}
    for name, row in found["rows"].items():
        assert row["total_s"] >= row["import_s"] + row["load_s"] + row["first_s"] > 0.0
        kept = row["total_s"] <= found["limits"]["total_s"] and row["peak_mb"] <= found["limits"]["peak_mb"]
        assert found["kept"].get(name, kept) is kept
    assert found["difference"] <= 1e-5
    assert (done.returncode == 0) is all(found["kept"].values())
    exported, eager = found["rows"]["onnx_window"], found["rows"]["eager"]
    assert exported["peak_mb"] < 0.5 * eager["peak_mb"], "torch came along"
