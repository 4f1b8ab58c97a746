"""What the tests reach and what they catch: docs/quality.json in figures, and the tables of docs/quality.md made from them.

    python benchmarks/quality.py coverage.json [TESTS]   take the figures of coverage's JSON report, as `make coverage` does
    python benchmarks/quality.py                         only write the tables, such as after a judgement in quality.json

TESTS says in words which ones ran, if not all fast ones.

Not here: measuring coverage (coverage.py, settings in pyproject.toml), making and trying mutants (`mutants`).
"""

import json
import platform
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
STORED, PAGE = DOCS / "quality.json", DOCS / "quality.md"
OPENING, CLOSING = "<!-- measured -->", "<!-- /measured -->"
LAYERS = ("domain", "model", "storage")
LEAST_PERCENT = 90.0
COVERED_COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")
CAUGHT = ("killed", "timeout", "segfault")
"""The tests failed; they took more than fifteen times as long as without the mutant; the process died."""
UNTRIED = ("not checked", "skipped", "check was interrupted by user")
CONFIDENCE = 0.95

Stored = dict[str, Any]
Table = list[str]


def read(path: Path = STORED) -> Stored:
    """Everything that was measured; empty before anything was."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(stored: Stored) -> None:
    """Keep the figures, and make the page say the same."""
    STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(inserted(PAGE.read_text(encoding="utf-8"), render(stored)), encoding="utf-8")


def inserted(page: str, block: str) -> str:
    """The page with the block between its markers.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    if page.count(OPENING) != 1 or page.count(CLOSING) != 1 or page.index(OPENING) > page.index(CLOSING):
        raise ValueError(
            f"the page needs one {OPENING} and one {CLOSING} behind it: the tables have no place; add them"
        )
    before, rest = page.split(OPENING)
    return f"{before}{OPENING}\n\n{block}\n\n{CLOSING}{rest.split(CLOSING)[1]}"


def coverage_of(report: dict[str, Any], tests: str = "all fast tests") -> dict[str, Any]:
    """Counts of a layer, and the files below the limit, from coverage's JSON report.

    A file's percentage is of its lines and branches together, as coverage.py reports and limits it.
    """
    layers = {layer: dict.fromkeys(COVERED_COUNTS, 0) for layer in LAYERS}
    below = {}
    for name, one in report["files"].items():
        counts = layers[Path(name).parts[1]]
        for key in COVERED_COUNTS:
            counts[key] += one["summary"][key]
        if one["summary"]["percent_covered"] < LEAST_PERCENT:
            below[name] = round(one["summary"]["percent_covered"], 1)
    return {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "coverage": report["meta"]["version"],
        "tests": tests,
        "layers": layers,
        "below": below,
    }


def render(stored: Stored) -> str:
    """Both tables, or that one was not measured yet."""
    return "\n".join(
        [*_coverage(stored.get("coverage")), "", *_mutants(stored.get("mutants"), stored.get("judged", []))]
    )


def _coverage(one: dict[str, Any] | None) -> Table:
    lines = ["### Coverage", ""]
    if one is None:
        return [*lines, "Not measured yet."]
    lines += [
        f"{one['date']}, {one['tests']}, Python {one['python']}, coverage.py {one['coverage']}.",
        "",
        "| layer | lines | branches | both |",
        "|---|---|---|---|",
    ]
    every = {key: sum(counts[key] for counts in one["layers"].values()) for key in COVERED_COUNTS}
    for layer, counts in [*((f"`{layer}`", one["layers"][layer]) for layer in LAYERS), ("all three", every)]:
        run, known, taken, there = (counts[key] for key in COVERED_COUNTS)
        lines.append(
            f"| {layer} | {_share(run, known)} | {_share(taken, there)} | {_share(run + taken, known + there)} |"
        )
    below = ", ".join(f"`{name}` {percent} %" for name, percent in sorted(one["below"].items())) or "none"
    return [*lines, "", f"Files below {LEAST_PERCENT:g} %: {below}."]


def _mutants(one: dict[str, Any] | None, judged: list[dict[str, Any]]) -> Table:
    lines = ["### Mutation score of `domain`", ""]
    if one is None:
        return [*lines, "Not measured yet."]
    found: dict[str, str] = one["outcomes"]
    equivalent = {name: why for name in found if (why := _why_equivalent(name, one["changes"].get(name), judged))}
    lines += [
        f"{one['date']}, mutmut {one['mutmut']}: {len(found):,} mutants of {one['population']:,}, seed {one['seed']}.",
        "",
        "| part | mutants | killed | too slow or died | survived | no test reaches it | judged equivalent | score | 95 % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for part, names in _parts(found).items():
        counted = Counter(found[name] for name in names)
        caught = sum(counted[outcome] for outcome in CAUGHT)
        low, high = interval(caught, len(names))
        lines.append(
            f"| {part} | {len(names)} | {counted['killed']} | {caught - counted['killed']} | "
            f"{len(names) - caught - counted['no tests']} | {counted['no tests']} | {len(equivalent.keys() & names)} | "
            f"**{caught / len(names):.1%}** | {low:.1%} to {high:.1%} |"
        )
    missed = sorted(name for name, outcome in found.items() if outcome not in CAUGHT)
    lines += ["", "Every mutant that was not caught:", "", "| where | was | became | judgement |", "|---|---|---|---|"]
    for name in missed:
        changed = one["changes"][name]
        judgement = f"equivalent: {equivalent[name]}" if name in equivalent else _kind(found[name], changed)
        lines.append(f"| `{where(name)}` | {_code(changed['before'])} | {_code(changed['after'])} | {judgement} |")
    return lines


def interval(caught: int, tried: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share of all mutants that the tests would catch."""
    from scipy.stats import binomtest

    said = binomtest(caught, tried).proportion_ci(CONFIDENCE, method="wilson")
    return float(said.low), float(said.high)


def where(name: str) -> str:
    """`sharpe.sharpe_ratio`, or `folds.Fold.test` of a class, from mutmut's name of a mutant."""
    module, _, mangled = name.removeprefix("tft_pipeline.domain.").rpartition(".")
    function = mangled.partition("__mutmut_")[0]
    return (
        f"{module}.{function.removeprefix('xǁ').replace('ǁ', '.') if 'ǁ' in function else function.removeprefix('x_')}"
    )


def _parts(found: Iterable[str]) -> dict[str, set[str]]:
    features = {name for name in found if ".domain.features." in name}
    rest = set(found) - features
    parts = {"`domain/features`": features, "the rest of `domain`": rest, "`domain`": features | rest}
    return {part: names for part, names in parts.items() if names}


def _why_equivalent(name: str, changed: dict[str, Any] | None, judged: list[dict[str, Any]]) -> str:
    """A judgement is of one change in one function, not of a number that mutmut gave it; it ends when the line changes."""
    if changed is None:
        return ""
    said = [one["why"] for one in judged if one["where"] == where(name) and _same(one, changed)]
    return said[0] if said else ""


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return (one["before"], one["after"]) == (other["before"], other["after"])


def _kind(outcome: str, changed: dict[str, Any]) -> str:
    if outcome == "no tests":
        return "no test reaches it"
    before, after = (" ".join(changed[side]).replace("XX", "").casefold() for side in ("before", "after"))
    return "words of a text" if before == after else "not caught"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%} of {whole:,}" if whole else "none"


def _code(lines: list[str]) -> str:
    text = " ".join(lines).replace("|", "\\|")
    return f"`` {text} ``" if text else "nothing"


if __name__ == "__main__":
    known = read()
    if sys.argv[1:]:
        known["coverage"] = coverage_of(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), *sys.argv[2:3])
    write(known)
