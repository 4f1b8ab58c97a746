"""What running a graph costs beside training it: seconds a fold, of a whole graph of folds that learn next to nothing.

    load       a fresh process loads `tft_pipeline.definitions` with the shipped experiments
    graph      `tft run` on an experiment of many production folds whose training is almost nothing
    one_shot   of its folds: wall time of the fold's run less its training, in warm worker processes
    fresh      the same of a fold as a run of its own: `tft materialize` in a fresh process, start to exit
    workers    production folds an hour with 1 and 2 worker processes (`TFT_WORKERS`), folds that train for some seconds

Training is what a fold stores as `seconds`: fit, predictions, baselines. Seconds are on the clock: run it on a machine that
does nothing else; CPU seconds, of the process and all its children, stand beside them. No peer is compared. `--store` writes
overhead.json and the table of docs/scaling.md.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from run_all import machine
from table import inserted

FOLDER = Path(__file__).resolve().parent
RESULTS, PAGE = FOLDER / "overhead.json", FOLDER.parent / "docs" / "scaling.md"
PARTS = ("load", "graph", "fresh", "workers")
AIMS = {"load": 4.0, "one_shot": 3.0, "fresh": 15.0, "graph": 300.0}
MODEL_FOLDS, MODEL_TRAINING_S, MODEL_WORKERS = 80, 600.0, (1, 2, 4, 8, 16, 40, 80)
"""Of the modelled table: folds worth spreading."""
NAME = "overhead"
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
N_RESEARCH, TEST_BARS, TRAIN, VALIDATION = 280, 4, 60, 16
RESEARCH = {"train": 100, "validation": 30, "test": 40, "step": 40, "window": "sliding", "max_folds": 1}


def experiment_file(folder: Path, *, folds: int, epochs: int, test: int = TEST_BARS, train: int = TRAIN) -> Path:
    """Made-up daily bars and an experiment with that many production folds on them."""
    folder.mkdir(parents=True, exist_ok=True)
    n_bars = N_RESEARCH + folds * test + 2
    days = np.busday_offset("2010-01-04", np.arange(n_bars), roll="forward").astype("datetime64[D]")
    stamps = [datetime.fromisoformat(str(day)).replace(tzinfo=UTC) for day in days]
    frames = []
    for k, symbol in enumerate(SYMBOLS):
        steps = np.random.default_rng([1, k]).normal(0.0003, 0.01, n_bars)
        frames.append(pl.DataFrame({"timestamp": stamps, "symbol": symbol, "close": 100.0 * np.exp(np.cumsum(steps))}))
    pl.concat(frames).write_parquet(folder / "bars.parquet")
    content = {
        "name": NAME,
        "seed": 1,
        "data": {"source": "bars.parquet", "interval": "1d", "bars_per_year": 252, "min_bars": 100},
        "features": {
            "groups": [],
            "names": ["ret_1", "ret_5", "z_21", "sma_20_gap", "mom_rsi_14", "cal_weekday_sin"],
        },
        "target": {"volatility_span": 20},
        "periods": {"production_start": date.fromisoformat(str(days[N_RESEARCH])), "purge": 5},
        "network": {"hidden": 4, "heads": 2, "variable_hidden": 4},
        "training": {"lookback": 8, "warmup_bars": 2, "batch_blocks": 4, "patience": epochs},
        "exploration": {"folds": RESEARCH, "epochs": 1, "seeds": 3, "shadow_features": 3},
        "pruning": {"min_features": 3},
        "tuning": {
            "folds": RESEARCH,
            "epochs": 1,
            "n_trials": 1,
            "pruner": "none",
            "space": {"training.learning_rate": {"low": 0.001, "high": 0.01, "log": True}},
        },
        "production": {
            "folds": {"train": train, "validation": VALIDATION, "test": test, "step": test, "window": "sliding"},
            "epochs": epochs,
        },
        "evaluation": {"momentum_lookback": 20},
        "gates": {"challenger": "off"},
        "ensemble": {"lightgbm_rounds": 5, "lightgbm_leaves": 4},
        "drift": {"recent_bars": 10},
        "latency": {"warmup": 2, "n": 20, "forms": [], "rate_per_s": 200, "cold_start": False},
    }
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def environment(home: Path, workers: int = 1) -> dict[str, str]:
    """Of a process that works in a home, with one numeric thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    return os.environ | threads | {"TFT_HOME": str(home), "TFT_WORKERS": str(workers)}


def cpu_of_children() -> float:
    """CPU seconds of the children, and theirs, that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def told(arguments: list[str], home: Path, workers: int = 1) -> list[tuple[float, str]]:
    """Run `tft`; each line of progress with the seconds from the process's start, its exit last as an empty line.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    began = time.monotonic()
    lines = []
    process = subprocess.Popen(
        [sys.executable, "-m", "tft_pipeline", *arguments],
        env=environment(home, workers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        lines.append((time.monotonic() - began, line.rstrip("\n")))
    if process.wait() != 0:
        raise RuntimeError(f"tft {' '.join(arguments)} failed:\n" + "\n".join(line for _, line in lines[-20:]))
    return [*lines, (time.monotonic() - began, "")]


def trained_seconds(home: Path) -> dict[str, float]:
    """Production fold -> seconds of its training, from the newest bundle of each."""
    folds = (home / "experiments" / NAME / "production_fold").glob("*/current/fold.json")
    return {path.parent.parent.name: float(json.loads(path.read_text())["seconds"]) for path in folds}


def fold_lines(lines: list[tuple[float, str]]) -> dict[str, float]:
    """Production fold -> wall seconds of its run, from the lines of progress."""
    found = {}
    for _, line in lines:
        if line.startswith("production_fold [") and "done, " in line:
            key = line.split("[", 1)[1].split("]", 1)[0]
            found[key] = float(line.rsplit(",", 1)[1].removesuffix(" s"))
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Median and largest."""
    return {"median": round(statistics.median(values), 2), "max": round(max(values), 2), "n": len(values)}


def measure_load(folder: Path, repeats: int) -> dict[str, Any]:
    """Seconds of a fresh process that imports the definitions of the shipped experiments, interpreter included."""
    seconds, cpu = [], cpu_of_children()
    for _ in range(repeats):
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", "import tft_pipeline.definitions"], env=environment(folder / "home"), check=True
        )
        seconds.append(time.monotonic() - began)
    return spread(seconds) | {"cpu_s": round((cpu_of_children() - cpu) / repeats, 2)}


def measure_graph(folder: Path, folds: int, workers: int) -> dict[str, Any]:
    """The whole graph, and what its folds took beside their training."""
    file, home, cpu = experiment_file(folder, folds=folds, epochs=1), folder / "home", cpu_of_children()
    lines = told(["run", str(file)], home, workers)
    walls, trained = fold_lines(lines), trained_seconds(home)
    # each worker's first fold loads its libraries; the others show what a warm process takes
    slowest_first = sorted((walls[key] - trained[key] for key in walls), reverse=True)
    warm = slowest_first[workers:] or slowest_first
    stages, before = {}, 0.0
    for at, line in lines[:-1]:
        name = line.replace(":", " ").split(" ")[0]
        if ": done," in line:
            stages[name] = stages.get(name, 0.0) + at - before
        before = at
    return {
        "folds": len(walls),
        "workers": workers,
        "seconds": round(lines[-1][0], 1),
        "cpu_s": round(cpu_of_children() - cpu, 1),
        "training_s": round(sum(trained.values()), 1),
        "one_shot": spread(warm),
        "stages_s": {name: round(seconds, 1) for name, seconds in stages.items()},
    }


def measure_fresh(folder: Path, repeats: int) -> dict[str, Any]:
    """A fold as a run of its own in a fresh process, less its training; the graph's folds are there already."""
    file, home, seconds, cpu = folder / f"{NAME}.yaml", folder / "home", [], cpu_of_children()
    for key in sorted(trained_seconds(home))[-repeats:]:
        lines = told(["materialize", str(file), "production_fold", "--partition", key], home)
        seconds.append(lines[-1][0] - trained_seconds(home)[key])
    return spread(seconds) | {"cpu_s": round((cpu_of_children() - cpu) / len(seconds), 2)}


def measure_workers(folder: Path, folds: int, epochs: int, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Folds an hour of the stage `production_fold` by number of worker processes; each count works in its own copy."""
    file = experiment_file(folder, folds=folds, epochs=epochs, test=20, train=180)
    told(["run", str(file), "--until", "production_plan"], folder / "home", max(counts))
    found = []
    for workers in counts:
        home = folder / f"home{workers}"
        shutil.copytree(folder / "home", home, symlinks=True)
        lines = told(["run", str(file), "--resume", "--until", "production_fold"], home, workers)
        ends = [at for at, line in lines if line.startswith("production_fold [") and "done, " in line]
        first = next(
            k for k, (_, line) in enumerate(lines) if line.startswith("production_fold [") and "done, " in line
        )
        began = lines[first - 1][0]
        trained = trained_seconds(home)
        found.append(
            {
                "workers": workers,
                "folds": len(ends),
                "stage_s": round(ends[-1] - began, 1),
                "until_first_fold_s": round(ends[0] - began, 1),
                "training_s": round(sum(trained.values()), 1),
                "folds_an_hour": round(3600.0 * len(ends) / (ends[-1] - began), 1),
            }
        )
    return found


def table(stored: dict[str, Any]) -> str:
    """The block of docs/scaling.md."""
    on, graph, one = stored["machine"], stored["graph"], stored["graph"]["one_shot"]
    loaded, fresh = stored["load"], stored["fresh"]
    rows = [
        (
            "a fold in the one-shot run, wall time less training",
            f"{one['median']:.2f} s",
            f"{one['max']:.2f} s",
            "",
            "one_shot",
        ),
        ("a fold as a run of its own: `tft materialize`", *_three(fresh), "fresh"),
        ("loading `definitions` in a fresh process", *_three(loaded), "load"),
        (
            f"a whole graph with {graph['folds']} folds and {graph['workers']} workers, "
            f"{graph['training_s']:.0f} s of training in it",
            f"{graph['seconds']:.0f} s",
            "",
            f"{graph['cpu_s']:.0f} s",
            "graph",
        ),
    ]
    serial, start, each = model(stored)
    return "\n".join(
        [
            f"{on['cpu']}, {on['cores']} cores, Python {on['python']}.",
            "",
            "| what | median | largest | CPU | aim |",
            "|---|---|---|---|---|",
            *(f"| {' | '.join(row[:-1])} | {AIMS[row[-1]]:g} s |" for row in rows),
            "",
            "| workers | folds | stage | of it until the first fold | training, all folds | folds an hour |",
            "|---|---|---|---|---|---|",
            *(
                f"| {one['workers']} | {one['folds']} | {one['stage_s']:.0f} s | {one['until_first_fold_s']:.0f} s | "
                f"{one['training_s']:.0f} s | {one['folds_an_hour']:.0f} |"
                for one in stored["workers"]
            ),
            "",
            f"By the model below, not measured: {MODEL_FOLDS} folds that train for {MODEL_TRAINING_S / 60:.0f} minutes "
            f"each, with s = {serial:.0f} s, a = {start:.0f} s and o = {each:.1f} s from above.",
            "",
            "| workers | whole run | folds an hour | of the ideal |",
            "|---|---|---|---|",
            *(
                f"| {n} | {seconds / 3600:.1f} h | {3600 * MODEL_FOLDS / seconds:.0f} | {ideal:.0%} |"
                for n in MODEL_WORKERS
                for seconds in [serial + start + -(-MODEL_FOLDS // n) * (MODEL_TRAINING_S + each)]
                for ideal in [MODEL_FOLDS * MODEL_TRAINING_S / n / seconds]
            ),
        ]
    )


def model(stored: dict[str, Any]) -> tuple[float, float, float]:
    """Seconds of the serial part, until a worker has started, and of a fold's overhead."""
    graph = stored["graph"]
    first = stored["workers"][0]
    return (
        graph["seconds"] - graph["stages_s"]["production_fold"],
        max(0.0, first["until_first_fold_s"] - first["training_s"] / first["folds"]),
        graph["one_shot"]["median"],
    )


def _three(figures: dict[str, float]) -> tuple[str, str, str]:
    return f"{figures['median']:.1f} s", f"{figures['max']:.1f} s", f"{figures['cpu_s']:.1f} s"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=80, help="production folds of the graph")
    parser.add_argument(
        "--workers", type=int, default=2, help="worker processes of the graph, and the most of `workers`"
    )
    parser.add_argument("--worker-folds", type=int, default=8)
    parser.add_argument("--worker-epochs", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes of `load` and `fresh`")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="`fresh` needs `graph`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--store", action="store_true", help="write overhead.json and the table of docs/scaling.md")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table of what is stored")
    given = parser.parse_args()
    if "fresh" in given.only and "graph" not in given.only and not given.table:
        parser.error("--only fresh: it materialises folds that `graph` has trained; name both")
    stored: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not given.table:
        measured: dict[str, Any] = {"machine": machine()}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if "load" in given.only:
                measured["load"] = measure_load(folder, given.repeats)
            if "graph" in given.only:
                measured["graph"] = measure_graph(folder / "graph", given.folds, given.workers)
            if "fresh" in given.only:
                measured["fresh"] = measure_fresh(folder / "graph", given.repeats)
            if "workers" in given.only:
                counts = tuple(range(1, given.workers + 1))
                measured["workers"] = measure_workers(
                    folder / "workers", given.worker_folds, given.worker_epochs, counts
                )
        print(json.dumps(measured, indent=1) if given.json or set(given.only) != set(PARTS) else table(measured))
        stored |= measured
    if given.store and not given.table:
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    if given.store or given.table:
        PAGE.write_text(inserted(PAGE.read_text(encoding="utf-8"), table(stored)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
