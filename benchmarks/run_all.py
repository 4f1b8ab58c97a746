"""Run every benchmark, one after the other, and write what they say: results.json, scaling.png, the table of docs/speed.md.

    --only WORD    only rows whose name holds the word; the others keep what results.json has of them
    --table        measure nothing, write the table of docs/speed.md anew from results.json

A peer that is not installed leaves its rows without figures and with the reason. A script that fails leaves the page as it
is: exit code 1. Not here: what is measured, and how; the rows are in `rows`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import scaling
import table
from peers import PEER_MISSING
from rows import ROWS, Command

FOLDER = Path(__file__).resolve().parent
RESULTS, PLOT = FOLDER / "results.json", FOLDER / "scaling.png"
PAGE = FOLDER.parent / "docs" / "speed.md"
PACKAGES = ("torch", "pytorch-forecasting", "neuralforecast", "darts", "onnxruntime", "lightning", "numpy", "pandas")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def run(command: Command) -> dict[str, Any]:
    """The command's JSON object; `{"missing": reason}` without its peer, `{"failed": code}` otherwise."""
    words = [sys.executable, str(FOLDER / command.script), *command.arguments, "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode == PEER_MISSING:
        return {"missing": done.stderr.strip().splitlines()[-1]}
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        return {"failed": done.returncode}
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(only: str | None, results: dict[str, dict[str, Any]]) -> None:
    """Run the rows' commands and put their results into `results`, by command line."""
    for row in ROWS:
        for command in row.commands if only is None or only in row.what else ():
            started = time.perf_counter()
            print(f"{command.line} ... ", end="", flush=True)
            result = results[command.line] = run(command)
            told = result.get("missing") or (f"failed with code {result['failed']}" if "failed" in result else None)
            print(f"{told or table.ratio_of(result)}  ({time.perf_counter() - started:.0f} s)", flush=True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORD")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    stored: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if given.table and not stored:
        parser.error("there is no results.json to make a table of; run without --table first")
    results = stored.get("results", {}) if given.only or given.table else {}
    if not given.table:
        measure(given.only, results)
        known = [command.line for row in ROWS for command in row.commands]
        stored = {"machine": machine(), "results": {line: results[line] for line in known if line in results}}
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        if failed := [line for line, result in stored["results"].items() if "failed" in result]:
            print(f"failed: {', '.join(failed)}; the table stays as it is", file=sys.stderr)
            return 1
        drawn = [result for result in stored["results"].values() if "exponent" in result.get("details", {})]
        if drawn:
            scaling.draw(drawn, PLOT)
    PAGE.write_text(table.inserted(PAGE.read_text(encoding="utf-8"), table.render(stored)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
