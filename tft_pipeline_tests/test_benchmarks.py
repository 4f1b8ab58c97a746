"""The benchmarks run, compare what they say they compare, and the table of docs/speed.md is that of the stored results.

Not here: how fast anything is. Sizes are tiny and no time is asserted.
"""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tft_pipeline.model.processes import THREAD_VARIABLES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
PAGE = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
KEYS = {"name", "peer", "ours", "theirs", "ratio", "shapes"}
IN_ONE_PROCESS = {
    "train_step.py --mode random": "--variables 3 --batch 2 --lookback 8 --hidden 8 --rounds 1",
    "train_step.py --mode inference": "--variables 3 --batch 2 --lookback 8 --hidden 8 --rounds 1",
    "train_step.py --mode block": "--variables 3 --batch 2 --lookback 8 --hidden 8 --rounds 1",
    "rolling_inference.py": "--variables 3 --bars 70 --rounds 1",
    "scaling.py --axis variables": "--sizes 2 3 --rounds 1",
    "scaling.py --axis rows": "--sizes 64 66 --rounds 1",
    "latency.py --form window": "--variables 3 --calls 1",
    "latency.py --form streaming": "--variables 3 --calls 1",
    "latency.py --form lstm": "--calls 1",
    "predictor.py --form onnx_stream": "--variables 3 --hidden 8 --calls 1",
    "features.py": "--rows 20000 --peer-rows 10000 --symbols 2 --rounds 1 --workers 1",
    "drift.py": "--features 3 --rows 20000 --recent-rows 2000 --rounds 1",
    "windows.py": "--rows 2000 --peer-rows 2000 --features 3 --symbols 4 --rounds 1",
    "time_to_loss.py": "--train 130 --validation 8 --symbols 2 --seeds 0 --their-epochs 1 --our-epochs 2",
}
RUN_THEM = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
"""

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a module of the folder; the thread limits some of them set are taken back."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def run(*words: str) -> list[dict[str, Any]]:
    """The JSON objects that Python prints when it is called so in the folder."""
    done = subprocess.run([sys.executable, *words], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def complete(result: dict[str, Any]) -> bool:
    """Every key is there, and the ratio is that of the two figures where both are."""
    if result.keys() < KEYS or not result["shapes"]:
        return False
    if result["ours"] is None or len(result["shapes"].get("seeds", ())) > 1:
        return True  # a median of ratios is not the ratio of medians
    return bool(np.isclose(result["ratio"], result["theirs"] / result["ours"]))


@pytest.mark.slow
def test_each_script_prints_one_object_with_a_name_a_peer_both_figures_and_the_shapes() -> None:
    commands = [[*script.split(), *sizes.split(), "--json"] for script, sizes in IN_ONE_PROCESS.items()]
    results = run("-c", RUN_THEM, json.dumps(commands))
    assert len(results) == len(commands)
    assert [r["name"] for r in results if not complete(r)] == []


@pytest.mark.slow
def test_memory_is_measured_in_a_process_a_side() -> None:
    (result,) = run("memory.py", "--variables", "3", "--batch", "8", "--json")
    assert complete(result)


@pytest.mark.slow
def test_two_folds_at_once_and_one_after_the_other() -> None:
    (result,) = run("folds.py", "--train", "130", "--epochs", "1", "--rounds", "1", "--json")
    assert complete(result)


def test_an_absent_peer_ends_with_code_3_its_name_and_the_remedy(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        load("peers").require("a_library_nobody_wrote")
    assert ended.value.code == 3
    assert "a_library_nobody_wrote is not installed" in (said := capsys.readouterr().err)
    assert ".[peers]" in said


class Clocks:
    """Clocks that stand still unless a contestant moves them."""

    def __init__(self) -> None:
        self.cpu, self.wall, self.calls = 0.0, 0.0, list[str]()

    def contestant(self, name: str, *, cpu: list[float], wall: float) -> Callable[[], None]:
        """Takes the next of `cpu` seconds at each call, over and over, and `wall` on the clock."""

        def call() -> None:
            self.cpu += cpu[self.calls.count(name) % len(cpu)]
            self.wall += wall
            self.calls.append(name)

        return call


@pytest.fixture
def clocks(load: Load, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks in place of `pairing`'s."""
    clocks = Clocks()
    fake = SimpleNamespace(process_time=lambda: clocks.cpu, perf_counter=lambda: clocks.wall)
    monkeypatch.setattr(load("pairing"), "time", fake)
    return clocks


def test_contestants_alternate_and_the_first_changes_every_round(load: Load, clocks: Clocks) -> None:
    pair = {name: clocks.contestant(name, cpu=[1.0], wall=1.0) for name in "ab"}
    timings = load("pairing").alternate(pair, rounds=3, warmup=1)
    assert "".join(clocks.calls) == "ab" + "ab" + "ba" + "ab"
    assert len(timings["a"].cpu) == len(timings["b"].wall) == 3


def test_a_contestant_is_charged_its_own_seconds_and_no_warm_up(load: Load, clocks: Clocks) -> None:
    pair = {
        "a": clocks.contestant("a", cpu=[50.0, 1.0, 2.0, 9.0], wall=4.0),
        "b": clocks.contestant("b", cpu=[3.0], wall=7.0),
    }
    timings = load("pairing").alternate(pair, rounds=3, warmup=1)
    assert timings["a"].cpu == (1.0, 2.0, 9.0)
    assert (timings["a"].cpu_median, timings["a"].wall_median) == (2.0, 4.0)
    assert timings["b"].cpu_median == 3.0
    assert timings["b"].wall_quantile(0.95) == 7.0


def test_a_turn_may_hold_several_calls_and_each_is_timed(load: Load, clocks: Clocks) -> None:
    pair = {name: clocks.contestant(name, cpu=[1.0], wall=1.0) for name in "ab"}
    timings = load("pairing").alternate(pair, rounds=2, warmup=0, calls_a_turn=2)
    assert "".join(clocks.calls) == "aabb" + "bbaa"
    assert timings["a"].cpu == (1.0,) * 4


def test_the_budget_ends_the_rounds_but_not_before_the_least(load: Load, clocks: Clocks) -> None:
    pair = {"a": clocks.contestant("a", cpu=[1.0], wall=10.0)}
    alternate = load("pairing").alternate
    assert len(alternate(pair, rounds=9, budget_s=5.0)["a"].wall) == 3
    assert len(alternate(pair, rounds=9, budget_s=45.0)["a"].wall) == 5
    assert len(alternate(pair, rounds=2, budget_s=5.0)["a"].wall) == 2


def test_no_contestant_or_no_round_is_refused(load: Load) -> None:
    alternate = load("pairing").alternate
    with pytest.raises(ValueError, match="0 contestants"):
        alternate({}, rounds=1)
    with pytest.raises(ValueError, match="0 rounds"):
        alternate({"a": int}, rounds=0)


def test_outputs_that_differ_are_not_timed(load: Load) -> None:
    ours, theirs = torch.ones(3, 2), torch.ones(3, 2)
    refuse = load("ours").refuse_difference
    refuse(ours, theirs)
    theirs[1, 1] += 1e-3
    with pytest.raises(ValueError, match="do not do the same work"):
        refuse(ours, theirs)
    with pytest.raises(ValueError, match="do not do the same work"):
        refuse(ours * float("nan"), ours)


@pytest.mark.parametrize("train", [True, False])
def test_their_loader_gives_every_window_with_the_label_of_its_last_bar(load: Load, train: bool) -> None:
    S, N, T = 3, 9, 4
    values = np.arange(S * N * 2, dtype=np.float32).reshape(S, N, 2)
    labels = 1000.0 + np.arange(S * N, dtype=np.float32).reshape(S, N)
    loader = load("panel_loader").forecasting_loader(values, labels, lookback=T, batch=5, train=train)
    seen = {
        (float(window[0, 0]), float(label))
        for x, (y, _) in loader
        for window, label in zip(x["encoder_cont"], y[:, 0], strict=True)
        if window.shape == (T, 2)
    }
    wanted = {(float(values[s, first, 0]), float(labels[s, first + T - 1])) for s in range(S) for first in range(N - T)}
    # training leaves out a last batch that is not full: 15 windows are three full ones
    assert seen == wanted


def test_the_fitted_exponent_is_that_of_a_power_law(load: Load) -> None:
    sizes = [3, 10, 70]
    assert load("scaling").exponent(sizes, [0.2 * size**1.7 for size in sizes]) == pytest.approx(1.7)


def test_a_seed_that_never_gets_there_counts_as_infinitely_slow(load: Load) -> None:
    module, epoch = load("time_to_loss"), load("contestants").Epoch

    def race(goal_s: float, ours: list[tuple[float, float]]) -> Any:
        epochs = tuple(epoch(loss=loss, wall_s=at, cpu_s=at) for loss, at in ours)
        theirs = (epoch(loss=2.0, wall_s=goal_s, cpu_s=goal_s), epoch(loss=2.5, wall_s=2 * goal_s, cpu_s=0.0))
        return module.Race(seed=0, theirs=theirs, ours=epochs)

    quick, slow, never = race(60.0, [(2.1, 1.0), (2.0, 2.0)]), race(60.0, [(1.0, 20.0)]), race(60.0, [(2.1, 3.0)])
    assert (quick.goal.wall_s, quick.arrival.wall_s, never.arrival) == (60.0, 2.0, None)
    said = module.summary([quick, slow, never], {})
    assert (said.ours, said.theirs, said.ratio) == (20.0, 60.0, 3.0)
    said = module.summary([quick, never, never], {})
    assert (said.ours, said.ratio) == (None, None)
    assert "1 of 3 seeds" in said.remarks[0]


def test_both_contestants_have_the_same_number_of_parameters_within_a_tenth(load: Load) -> None:
    both = load("contestants")
    n = len(load("sample_fold").FEATURES)
    ours, theirs = both.count_parameters(both.our_network(n, 0.1)), both.count_parameters(both.their_network(n, 0.1))
    assert abs(ours / theirs - 1.0) <= 0.1


def test_figures_are_written_with_three_digits_and_a_fitting_unit(load: Load) -> None:
    amount, times = load("comparison").amount, load("comparison").times
    assert [amount(value, "s of CPU") for value in (0.01234, 1.5, 12.34)] == [
        "12.3 ms of CPU",
        "1.50 s of CPU",
        "12.3 s of CPU",
    ]
    assert [amount(3820.4, "MiB"), amount(155.0, "MiB"), amount(None, "s")] == ["3,820 MiB", "155 MiB", "not reached"]
    assert [times(2.0), times(31.26), times(123.4), times(None)] == ["2.00x", "31.3x", "123x", "-"]


def test_every_script_has_a_row_and_every_row_a_script(load: Load) -> None:
    rows = load("rows").ROWS
    named = {command.script for row in rows for command in row.commands}
    scripts = {path.name for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert named == scripts - {
        "run_all.py",
        "power.py",
        "intraday.py",
        "bundle.py",
        "soak.py",
        "overhead.py",
        "machines.py",
        "mutants.py",
        "quality.py",
    }
    lines = [command.line for row in rows for command in row.commands]
    assert len(lines) == len(set(lines))


def test_the_table_shows_figures_targets_and_what_was_not_measured(load: Load) -> None:
    table, rows = load("table"), load("rows").ROWS
    rolling = next(row for row in rows if row.what.startswith("rolling"))
    first, second = (command.line for command in rolling.commands)
    result = {"peer": "pytorch_forecasting", "unit": "s of CPU", "ours": 0.1, "theirs": 4.0, "ratio": 40.0}
    machine = {"cpu": "C", "cores": 2, "system": "Linux", "python": "3.11", "versions": {"torch": "2", "darts": None}}
    block = table.render({"machine": machine, "results": {first: result, second: {"missing": "no peer"}}})
    assert "C, 2 cores, Linux, Python 3.11, torch 2, darts not installed." in block
    (line,) = (line for line in block.splitlines() if line.startswith("| rolling"))
    assert "| **40.0x** / not measured | 35x / 55x |" in line
    assert len([line for line in block.splitlines() if line.startswith("|")]) == len(rows) + 2
    page = f"a\n{table.OPENING}\nold\n{table.CLOSING}\nz\n"
    assert table.inserted(page, "new") == f"a\n{table.OPENING}\nnew\n{table.CLOSING}\nz\n"
    with pytest.raises(ValueError, match="has no place"):
        table.inserted("a page without markers", "new")


def test_the_table_of_the_page_on_speed_is_that_of_the_stored_results(load: Load) -> None:
    results, table = FOLDER / "results.json", load("table")
    block = table.render(json.loads(results.read_text())) if results.is_file() else "Not measured yet."
    assert table.inserted(PAGE, block) == PAGE
