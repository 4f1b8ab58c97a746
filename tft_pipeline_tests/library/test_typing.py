"""A stranger's script type-checks strictly against the wheel that is installed, and a wrong one does not."""

import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RIGHT = """
    from datetime import date
    from pathlib import Path

    import numpy as np
    import polars as pl

    from tft_pipeline import (
        BarsError, ConfigurationError, Decisions, Experiment, FoldPlan, HonestSharpe, ReleasedModel, WalkForward, __version__,
        honest_sharpe, load_bundle, new_experiment, plan_folds, read_experiment, walk_forward,
    )


    def judged(frame: pl.DataFrame) -> HonestSharpe:
        experiment: Experiment = new_experiment(
            interval="1d", bars_per_year=252, production_start=date(2015, 1, 2), train=100, validation=70, test=50, epochs=1,
            sections={"network": {"hidden": 8}},
        )
        found: WalkForward = walk_forward(frame, experiment, features=["ret_1"], report=print)
        net: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = found.net
        honest = honest_sharpe(net, bars_per_year=found.bars_per_year, trials=3)
        ratio: float = honest.sharpe_annual
        bars: float | None = honest.min_trl
        print(ratio, bars, __version__)
        return honest_sharpe([0.01, -0.01], bars_per_year=252, trials=1)


    def asked(frame: pl.DataFrame) -> pl.DataFrame:
        try:
            model: ReleasedModel = load_bundle(Path("models"), release="newest", form="torch")
            decisions: Decisions = model.predict(frame, n_bars=5, stamp="close")
        except (BarsError, ConfigurationError) as error:
            raise SystemExit(str(error)) from error
        return decisions.frame


    def planned(frame: pl.DataFrame) -> list[str]:
        file = read_experiment(Path("experiments/demo.yaml"))
        print(file.experiment.production.folds.test, file.source)
        plan = FoldPlan(train=10, validation=5, test=5, step=5, purge=1, horizon=1)
        calendar = frame["timestamp"].to_list()
        return [fold.key for fold in plan_folds(calendar, plan, first_bar=0, stop_bar=len(calendar), intraday=False)]
"""
WRONG = {
    "honest_sharpe([0.1], bars_per_year=252)": "trials",
    "honest_sharpe([0.1], bars_per_year='daily', trials=1)": "arg-type",
    "honest_sharpe([0.1], bars_per_year=252, trials=1).sharp": "attr-defined",
    "honest_sharpe([0.1], bars_per_year=252, trials=1).min_trl + 1": "operator",
    "load_bundle(7)": "arg-type",
    "load_bundle('demo', form='onnx')": "arg-type",
    "load_bundle('demo').predict([1.0])": "arg-type",
    "load_bundle('demo').predict(pl.DataFrame(), stamp='middle')": "arg-type",
    "walk_forward(pl.DataFrame(), {'network': {}})": "arg-type",
    "tft_pipeline.walk_backward": "attr-defined",
}


@pytest.mark.slow
def test_right_use_passes_strict_and_each_wrong_use_fails(tmp_path: Path) -> None:
    site = _installed(tmp_path)
    (tmp_path / "right.py").write_text(textwrap.dedent(RIGHT))
    head = (
        "import polars as pl\nimport tft_pipeline\nfrom tft_pipeline import honest_sharpe, load_bundle, walk_forward\n"
    )
    (tmp_path / "wrong.py").write_text(head + "\n".join(WRONG) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", "cache", "right.py", "wrong.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith(("right.py", "wrong.py"))]
    assert [line for line in said if line.startswith("right.py")] == [], done.stdout + done.stderr
    first = head.count("\n") + 1
    for number, (line, expected) in enumerate(WRONG.items(), start=first):
        here = [one for one in said if one.startswith(f"wrong.py:{number}: error")]
        assert any(expected in one for one in here), (line, here, done.stdout + done.stderr)


def _installed(folder: Path) -> Path:
    """The package as its wheel unpacks it."""
    source = folder / "source"
    shutil.copytree(ROOT / "tft_pipeline", source / "tft_pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)  # setuptools leaves a folder behind where it builds
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*build, "--wheel-dir", str(folder / "wheel"), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "wheel").glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        assert "tft_pipeline/py.typed" in archive.namelist()
        assert not [name for name in archive.namelist() if name.startswith(("tft_pipeline_tests", "examples"))]
        archive.extractall(site)
    return site
