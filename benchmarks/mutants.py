"""The mutation score of `domain`: a random sample of mutants, each tried by the tests of `domain` that reach it, with mutmut.

    --sample N     how many mutants
    --seed K       which ones; one seed names the same ones as long as `domain` stays as it is
    --workers N    how many at once
    --folder PATH  work there and keep it, so that `mutmut show` and `mutmut browse` can be asked there afterwards

Writes what became of each into docs/quality.json, and docs/quality.md from that. It works on a copy, so the checkout stays as
it is. Not here: counting and the page (`quality`).
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import quality

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "tft_pipeline/domain"
COPIED = ("tft_pipeline", "tft_pipeline_tests", "experiments", "data/sample", "docs", "pyproject.toml")
FIRST = "tft_pipeline.domain.dates.x_refusal_of_dates__mutmut_1"
"""Named to mutmut so that it makes the mutants of all modules and finds which tests reach them; it has no command for that."""
NOT_COLLECTED = 255


def main() -> None:
    """Make the copy, choose, try, and write down."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--sample", type=int, default=300)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("--folder", type=Path)
    asked = ask.parse_args()
    with workplace(asked.folder) as place:
        copied_to(place)
        mutmut(place, asked.workers, [FIRST])
        names = sorted(exit_codes(place))
        chosen = sorted(random.Random(asked.seed).sample(names, min(asked.sample, len(names))))
        mutmut(place, asked.workers, chosen)
        if late := [name for name, outcome in outcomes(place, chosen).items() if outcome == "timeout"]:
            mutmut(place, 1, late)  # again, one at a time: a machine that was busy catches no mutant
        found = outcomes(place, chosen)
        changes = {name: change(place, name) for name in chosen if found[name] not in quality.CAUGHT}
    stored = quality.read()
    stored["mutants"] = {
        "date": date.today().isoformat(),
        "mutmut": version("mutmut"),
        "population": len(names),
        "seed": asked.seed,
        "outcomes": found,
        "changes": changes,
    }
    quality.write(stored)


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """The folder that was named, or one that goes afterwards."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="mutants-") as made:
        yield Path(made)


def copied_to(place: Path) -> None:
    """What the tests of `domain` need, as it is now; what the folder had of it goes."""
    for name in COPIED:
        source, target = ROOT / name, place / name
        if source.is_file():
            shutil.copy2(source, target)
            continue
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def mutmut(place: Path, workers: int, names: Iterable[str]) -> None:
    """Try the mutants of these names; settings are in pyproject.toml.

    Raises:
        SystemExit: it failed, mostly because a test fails without any mutant; mutmut said why.
    """
    words = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(workers), *names]
    done = subprocess.run(words, cwd=place)
    if done.returncode != 0:
        raise SystemExit(f"mutmut ended with {done.returncode}; nothing was written")


def exit_codes(place: Path) -> dict[str, int | None]:
    """Exit code of the tests for every mutant, None for one that was not tried; as mutmut keeps them beside each module."""
    kept = sorted((place / "mutants" / PACKAGE).rglob("*.meta"))
    return {name: code for path in kept for name, code in json.loads(path.read_text())["exit_code_by_key"].items()}


def outcomes(place: Path, chosen: Iterable[str]) -> dict[str, str]:
    """What became of each mutant, in mutmut's words.

    Raises:
        SystemExit: one was not tried; a score without it would be of other mutants than were drawn.
    """
    from mutmut.stats import status_by_exit_code

    codes = exit_codes(place)
    # mutmut calls it too slow where the mutant fails while the modules of the tests are imported
    found = {
        name: "killed" if codes[name] == NOT_COLLECTED else str(status_by_exit_code[codes[name]]) for name in chosen
    }
    untried = [name for name, outcome in found.items() if outcome in quality.UNTRIED]
    if untried:
        raise SystemExit(f"{len(untried)} mutants were not tried, such as {untried[0]}; nothing was written")
    return found


def change(place: Path, name: str) -> dict[str, Any]:
    """What one mutant changed: the lines before and after."""
    words = [str(Path(sys.executable).with_name("mutmut")), "show", name]
    said = subprocess.run(words, cwd=place, capture_output=True, text=True, check=True).stdout.splitlines()
    lines = [line for line in said if not line.startswith(("---", "+++", "#", "@@"))]
    return {
        "before": [line[1:].strip() for line in lines if line.startswith("-")],
        "after": [line[1:].strip() for line in lines if line.startswith("+")],
    }


if __name__ == "__main__":
    main()
