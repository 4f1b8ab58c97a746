"""Verdicts of the whole pipeline on panels whose truth is known: how often it finds what is there, and sees what is not.

    python benchmarks/power.py                 20 panels of each kind, the table printed and written to docs/power.md
    python benchmarks/power.py --panels 3      fewer, printed only
    python benchmarks/power.py --rows FILE     each row is appended to a JSON-lines file as its panel ends

Each panel is a run of `tft run power.yaml` in a home of its own: every gate, every statistic, no shortcut. Nothing in
`power.yaml` is adapted to the verdicts. A panel whose run fails has no verdict: it is named, the page is not written, and the
exit code is 1. Not here: the panels (`power_panels`).
"""

import one_thread  # noqa: F401

# isort: split
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, get_args

from power_panels import NOISE_COLUMNS, ORACLE_SHARPE, PRODUCTION_BARS, RESEARCH_BARS, Kind, panel

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "power.md"
EXPERIMENT = HERE / "power.yaml"
PANELS = 20
EXPECTED = {"noise": ("NO-GO", 20), "planted": ("GO", 16)}
"""Verdict of a kind and how many of 20 panels must get it; written down before the first run."""
BEGIN, END = "<!-- power -->", "<!-- /power -->"


def judge(kind: Kind, seed: int, folder: Path) -> dict[str, Any]:
    """Run the pipeline on one panel; its verdict, figures and the rank of the signal's column.

    Raises:
        RuntimeError: the run failed; a failed run is no verdict.
    """
    place = folder / f"{kind}-{seed}"
    place.mkdir(parents=True)
    shutil.copyfile(EXPERIMENT, place / EXPERIMENT.name)
    panel(kind, seed).write_parquet(place / "bars.parquet")
    began = time.monotonic()
    done = subprocess.run(
        [Path(sys.executable).parent / "tft", "run", EXPERIMENT.name, "--json"],
        cwd=place,
        env={**os.environ, "TFT_HOME": str(place / "home"), "TFT_WORKERS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{kind} panel {seed}: {done.stderr[-2000:]}{done.stdout[-2000:]}")
    answer = json.loads(done.stdout)
    files = place / "home" / "experiments" / "power"
    selected = json.loads((files / "selected_features" / "current" / "report.json").read_text())
    performance = json.loads((files / "oos_performance" / "current" / "report.json").read_text())
    rank = next(row["rank"] for row in selected["rows"] if row["feature"] == "x_signal")
    return {
        "kind": kind,
        "seed": seed,
        "verdict": answer["verdict"],
        "sharpe_annual": answer["sharpe_annual"],
        "se_annual": answer["sharpe_se_annual"],
        "gross_annual": performance["gross"]["sharpe_annual"],
        "dsr": performance["research"]["dsr"],
        "psr": performance["net"]["psr_after_looks"],
        "ridge_annual": performance["baselines"]["ridge"]["sharpe_annual"],
        "signal_rank": rank,
        "reasons": answer["reasons"],
        "seconds": time.monotonic() - began,
    }


def judge_all(
    n_panels: int, jobs: int, folder: Path, rows_file: Path | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Every kind with seeds 0 .. n_panels-1, `jobs` at once; told on the error stream, and appended to a file, as they end.

    Returns:
        A row a panel that has a verdict; what went wrong on each of the others.
    """
    writing = Lock()

    def one(task: tuple[Kind, int]) -> dict[str, Any] | str:
        try:
            row = judge(*task, folder)
        except Exception as error:  # whatever it was, the other panels go on, and main exits with 1
            failure = f"{task[0]} {task[1]}: no verdict, {error!r}"
            print(failure, file=sys.stderr, flush=True)
            return failure
        with writing:
            if rows_file is not None:
                with rows_file.open("a") as stream:
                    stream.write(f"{json.dumps(row)}\n")
            print(
                f"{row['kind']} {row['seed']}: {row['verdict']}, {number(row['sharpe_annual'])}",
                file=sys.stderr,
                flush=True,
            )
        return row

    tasks: list[tuple[Kind, int]] = [(kind, seed) for seed in range(n_panels) for kind in get_args(Kind)]
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        done = list(pool.map(one, tasks))
    return [row for row in done if isinstance(row, dict)], [failure for failure in done if isinstance(failure, str)]


def number(value: float | None, digits: int = 2) -> str:
    """A figure of a row; "none" where it is undefined, as the ratio of a baseline that never held anything."""
    return "none" if value is None else f"{value:.{digits}f}"


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The summary and the table of all panels, as Markdown."""
    said = []
    for kind in get_args(Kind):
        own = [row for row in rows if row["kind"] == kind]
        verdict, of_twenty = EXPECTED[kind]
        hits = sum(row["verdict"] == verdict for row in own)
        ratios = [row["sharpe_annual"] for row in own if row["sharpe_annual"] is not None]
        said.append(
            f"* {kind}: {verdict} on {hits} of {len(own)} panels (expected: {of_twenty} of 20); mean net Sharpe ratio "
            f"{number(statistics.mean(ratios) if ratios else None)} a year"
        )
    said += [
        "",
        "| panel | verdict | net Sharpe +- SE | gross | DSR | PSR | ridge | rank of `x_signal` | first reason |",
    ]
    said.append("|---|---|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: (row["kind"], row["seed"])):
        reason = row["reasons"][0] if row["reasons"] else ""
        said.append(
            f"| {row['kind']} {row['seed']} | {row['verdict']} | {number(row['sharpe_annual'])} +- "
            f"{number(row['se_annual'])} | {number(row['gross_annual'])} | {number(row['dsr'], 3)} | {number(row['psr'], 3)} | "
            f"{number(row['ridge_annual'])} | {row['signal_rank']} | {reason} |"
        )
    return said


def write_page(text: list[str]) -> None:
    """Put the table between the markers of the page.

    Raises:
        ValueError: the page has no markers.
    """
    page = PAGE.read_text()
    if BEGIN not in page or END not in page:
        raise ValueError(f"{PAGE} has no {BEGIN} ... {END}: there is no place for the table")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text("\n".join([f"{before}{BEGIN}", *text, f"{END}{after}"]))


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and write the page after a complete run; 1 where a panel has no verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panels", type=int, default=PANELS, help="panels of each kind")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--rows", type=Path, help="JSON-lines file that each row is appended to as its panel ends")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows, failures = judge_all(options.panels, options.jobs, Path(folder), options.rows)
    text = lines(rows)
    print(json.dumps(rows) if options.json else "\n".join(text))
    if failures:
        print(
            f"{len(failures)} of {len(rows) + len(failures)} panels have no verdict: nothing is written",
            file=sys.stderr,
        )
        return 1
    if options.panels == PANELS:
        about = (
            f"{RESEARCH_BARS} research and {PRODUCTION_BARS} production bars of 10 symbols, {NOISE_COLUMNS} columns beside the "
            f"signal's; oracle Sharpe {ORACLE_SHARPE} gross. Median run "
            f"{statistics.median(row['seconds'] for row in rows):.0f} s, {options.jobs} at once."
        )
        write_page([about, "", *text])
    return 0


if __name__ == "__main__":
    sys.exit(main())
