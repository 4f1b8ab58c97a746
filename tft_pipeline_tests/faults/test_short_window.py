"""A recent window that is short or empty: never a figure that looks like a pass, and an exit code that a script sees."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError

START = datetime(2024, 1, 1, tzinfo=UTC)


def written(path: Path, n: int, after: int = 0) -> str:
    """n minutes of one feature."""
    stamps = pl.Series([START + timedelta(minutes=after + k) for k in range(n)], dtype=pl.Datetime("us", "UTC"))
    values = np.random.default_rng(after).normal(size=n)
    pl.DataFrame({"timestamp": stamps, "ret": values}, schema_overrides={"ret": pl.Float64}).write_parquet(path)
    return str(path)


@pytest.mark.fault("short_window")
@pytest.mark.parametrize("n", [1, 2, 9])
def test_a_short_window_is_insufficient_data_and_the_command_does_not_end_with_0(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    reference, recent = written(tmp_path / "a.parquet", 1200), written(tmp_path / "b.parquet", n, after=1200)
    done = CliRunner().invoke(app, ["drift", "--reference", reference, "--recent", recent, "--json"])
    assert done.exit_code == 3, done.output
    assert json.loads(done.stdout)["verdict"] == "insufficient_data"


@pytest.mark.fault("short_window")
def test_an_empty_window_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    reference, recent = written(tmp_path / "a.parquet", 1200), written(tmp_path / "b.parquet", 0)
    done = CliRunner().invoke(app, ["drift", "--reference", reference, "--recent", recent, "--json"])
    assert done.exit_code != 0
    assert isinstance(done.exception, ConfigurationError)
    assert "--recent" in str(done.exception)
