"""Lines for the prompt on every page run as they stand, in a home with a finished run, but for those that `NOT_RUN` names.

Slow: one small run of the whole graph, then a process a line. That commands and options exist is tested for all lines, quickly,
in `test_docs`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tft_pipeline_tests.conftest import SYMBOLS, business_days, random_bars, small_experiment
from tft_pipeline_tests.test_docs import PAGES, TEXT, blocks, named

BIN = Path(sys.executable).parent
FIRST_FOLD = "2016-01-06"
"""The fold that the README names; the made-up bars are dated so that it is the first one."""
BARS_BEFORE = 272
ELSEWHERE = {"docs/tutorial.md"}
"""Typed from its first line to its last by a test of its own (`test_tutorial`)."""
NOT_RUN: tuple[tuple[str, str], ...] = (
    (
        r"make |\.ci/run$",
        "installs, serves or takes hours; CI calls setup, lint, types and the tests; the walk in the browser `make dev`",
    ),
    (r"(docker|kubectl|echo|\(umask)\b", "needs a container engine or a cluster; tests of deploy read these documents"),
    (r"(pip|pip-compile|sed)\b", "installs from an index, or edits what that made"),
    (r"export ", "names a database or a store that only its reader has"),
    (r"dagster-webserver ", "a server; a test of security starts it"),
    (r"python benchmarks/", "minutes to a day; tests run each script on a small size"),
    (
        r"python -m (pytest|tft_pipeline_tests\.)|python data/sample/",
        "writes into the checkout what other tests compare with",
    ),
    (r"tft (watchdog|live) ", "goes on until it is told to end; tests of live start it"),
    (r"tft (pull|push|clean .*--alone)", "needs an object store; tests of storage bring one"),
    (r"tft snapshot (--exchange|--days 90 --symbols)", "asks an exchange"),
    (r"tft (train|tune|run .*--background)", "hours; end_to_end/test_intraday.py and tests of tuning"),
    (r"tft run experiments/(mine|daily)\.yaml", "an experiment that is not there, or takes hours"),
    (r"tft run experiments/demo\.yaml$", "the whole run is what the home was made by"),
    (
        r"tft (deploy|rollback|pull).* 202\d-|tft rollback 202\d-|tft deploy 202\d-",
        "names a release that only its reader has",
    ),
    (r"tft .*(--snapshot ID|proba [aF]\b|proba a\.csv)", "placeholders stand for names that another line printed"),
    (r"tft (bench|status)( --warmup 20 --n 200)?$", "speaks of tft_prod, which `tft train` makes"),
    (r"tft rollback previous", "there is no release before the first"),
)
"""Lines that are not run, by how they begin, each with the reason."""
CODES: tuple[tuple[str, set[int]], ...] = (
    (r"tft deploy .*--reason", {3}),  # a small run on noise passes no gate
    (r"tft kill-switch (status|trip)", {0, 3}),
    (r"tft drift ", {0, 3}),
    (r"tft materialize .*drift_report", {0}),
)
"""Exit codes that are right, where they are not 0."""


@dataclass(frozen=True)
class Block:
    """One block of a page, as lines."""

    page: str
    number: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def lines_of(block: str) -> tuple[str, ...]:
    """Lines to type, without remarks, and without the folder of the environment."""
    found = [re.sub(r"(^|\s{2,})#.*$", "", line).strip() for line in block.splitlines()]
    return tuple(re.sub(r"^\.venv/bin/", "", line) for line in found if line)


def reason(line: str) -> str:
    """Why a line is not run; empty where it is."""
    return next((why for pattern, why in NOT_RUN if re.match(pattern, line)), "")


BLOCKS = [
    Block(named(page), number, lines_of(text))
    for page in PAGES
    if named(page) not in ELSEWHERE
    for number, text in enumerate([one for language in ("sh", "bash") for one in blocks(TEXT[page], language)], start=1)
]
RUNNING = [block for block in BLOCKS if not all(map(reason, block.lines))]


def environment(folder: Path) -> dict[str, str]:
    """Of a process in a checkout whose home is `data`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TFT_", "DAGSTER_", "AWS_"))}
    own = {
        "TFT_HOME": str(folder / "data"),
        "TFT_EXPERIMENTS": str(folder / "experiments" / "demo.yaml"),
        "TFT_WORKERS": "1",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    return kept | own


def typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A line, in a folder."""
    words = shlex.split(line)
    return subprocess.run(words, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)


def files_of_a_reader(folder: Path) -> None:
    """What the pages take for granted: returns, two files of features, probabilities, minutes."""
    rng = np.random.default_rng(0)
    for name in ("returns.csv", "RETURNS.csv"):
        pl.DataFrame({"return": rng.normal(0.0004, 0.01, 600)}).write_csv(folder / name)
    days = business_days(400)
    frame = pl.DataFrame({"timestamp": days, "x": rng.normal(size=400)})
    frame.head(380).write_parquet(folder / "before.parquet")
    frame.tail(20).write_csv(folder / "after.csv")
    keys = {"symbol": ["AAA"] * 400, "timestamp": days}
    for name in ("lgbm_val_proba.csv", "tft_val_proba.csv"):
        pl.DataFrame({**keys, "proba": rng.uniform(0.3, 0.7, 400)}).write_csv(folder / name)
    pl.DataFrame({**keys, "y_true": rng.integers(0, 2, 400)}).write_csv(folder / "val_labels.csv")
    minutes = pl.datetime_range(
        pl.datetime(2024, 1, 1, time_zone="UTC"), pl.datetime(2024, 1, 22, time_zone="UTC"), "1m", eager=True
    )
    pl.DataFrame(
        {"timestamp": minutes, "symbol": "BTC", "close": np.exp(rng.normal(0, 1e-4, len(minutes)).cumsum())}
    ).write_parquet(folder / "minutes.parquet")


@dataclass(frozen=True)
class Checkouts:
    """Two copies of one checkout in which `tft run experiments/demo.yaml` is done; the experiment is a small one.

    Attributes:
        live: its model is live.
        waiting: its model waits to be deployed.
        made_in: folder that their files name.
    """

    live: Path
    waiting: Path
    made_in: Path


@pytest.fixture(scope="module")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> Checkouts:
    folder = tmp_path_factory.mktemp("checkout")
    waiting = tmp_path_factory.mktemp("waiting") / "checkout"
    first = np.busday_offset(FIRST_FOLD, -BARS_BEFORE)
    stamps = pl.DataFrame({"timestamp": business_days(420), "dated": business_days(420, str(first))})
    bars = random_bars().join(stamps, on="timestamp").drop("timestamp").rename({"dated": "timestamp"})
    small_experiment(
        folder,
        bars.sort("symbol", "timestamp"),
        {"name": "demo", "data.source": "../bars.parquet", "periods.production_start": FIRST_FOLD},
    )
    (folder / "experiments").mkdir()
    (folder / "small.yaml").rename(folder / "experiments" / "demo.yaml")
    files_of_a_reader(folder)
    for line in ("tft run experiments/demo.yaml", 'tft deploy --experiment demo --override "to have one that is live"'):
        done = typed(line, folder)
        assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
        if not waiting.exists():
            shutil.copytree(folder, waiting, symlinks=True)
    assert len(SYMBOLS) == 4
    return Checkouts(live=folder, waiting=waiting, made_in=folder)


@pytest.mark.slow
@pytest.mark.parametrize("block", RUNNING, ids=str)
def test_the_lines_of_a_block_run_one_after_the_other(block: Block, finished_demo: Checkouts, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    deploys = any(line.startswith("tft deploy") for line in block.lines)
    shutil.copytree(finished_demo.waiting if deploys else finished_demo.live, folder, symlinks=True)
    owner = folder / "data" / "experiments" / "demo" / "owner.txt"
    made_in = str(finished_demo.made_in)
    owner.write_text(owner.read_text(encoding="utf-8").replace(made_in, str(folder)), encoding="utf-8")
    for line in block.lines:
        if not reason(line):
            done = typed(line, folder)
            right = next((codes for pattern, codes in CODES if re.match(pattern, line)), {0})
            assert done.returncode in right, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            assert "Traceback" not in done.stderr


def test_every_reason_for_not_running_a_line_has_a_line() -> None:
    lines = {line for block in BLOCKS for line in block.lines}
    assert [pattern for pattern, _ in NOT_RUN if not any(re.match(pattern, line) for line in lines)] == []
    assert len(RUNNING) >= 8


def test_only_commands_of_the_project_and_known_tools_are_named() -> None:
    """A new kind of line is either run or listed."""
    programs = {shlex.split(line)[0] for block in RUNNING for line in block.lines if not reason(line)}
    assert programs <= {"tft"}
