"""docs/library.md: every block of Python runs in its order, the last one on the release of a finished run."""

import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tft_pipeline import ConfigurationError, WalkForward, honest_sharpe
from tft_pipeline_tests.conftest import Workbench

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")


def test_the_blocks_of_the_page_run_in_their_order(
    finished: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sample").symlink_to(ROOT / "data" / "sample")
    home = tmp_path / "home"
    shutil.copytree(finished.layout.experiment("small"), home / "experiments" / "demo", symlinks=True)
    monkeypatch.setenv("TFT_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"bars": pl.read_parquet(finished.folder / "bars.parquet")}
    blocks = re.findall(r"^```(?:python|py)\n(.*?)^```", PAGE, re.M | re.S)
    assert len(blocks) == 4
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"docs/library.md, block {number}", "exec"), names)
    found = names["found"]
    assert isinstance(found, WalkForward)
    assert found.folds["test_first"].dt.date().to_list()[0].isoformat() == "2020-01-02"
    assert honest_sharpe(found.net, bars_per_year=252, trials=1).verdict in capsys.readouterr().out
    assert names["decisions"].frame["timestamp"].n_unique() == 5
    assert names["fold"].test.stop <= len(names["calendar"])


def test_the_page_says_which_errors_are_value_errors() -> None:
    listed = re.findall(r"^\| `(\w+Error)` \|", PAGE, re.M)
    assert listed == ["ConfigurationError", "BarsError", "RefusedBarError", "IntegrityError"]
    import tft_pipeline

    assert [issubclass(getattr(tft_pipeline, name), ValueError) for name in listed] == [True, True, True, False]
    assert issubclass(ConfigurationError, ValueError)
