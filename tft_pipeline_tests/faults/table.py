"""docs/faults.md, made from the rows of the matrix, the tests that are marked with them and the results of one run of those.

    python -m pytest -m fault --junitxml=faults.xml
    python -m tft_pipeline_tests.faults.table faults.xml ...

The tests are read, not imported. The results are kept in docs/faults.json, so that a test can make the page again and compare.
"""

import ast
import json
import platform
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tft_pipeline_tests.faults.matrix import ROWS

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tft_pipeline_tests"
PAGE = ROOT / "docs" / "faults.md"
RESULTS = ROOT / "docs" / "faults.json"
MARK = "pytest.mark.fault("
VERSIONS = ("dagster", "torch", "polars", "optuna", "mlflow")
BAD = ("failed", "error")

Results = dict[str, Any]
"""date, versions, and tests: `file::name` -> outcome -> number of cases."""


@dataclass(frozen=True, slots=True)
class Marked:
    """One test that shows rows: its file below the tests' folder, its name (`Class.name` in a class), the rows' ids."""

    file: str
    name: str
    rows: tuple[str, ...]

    @property
    def key(self) -> str:
        """How results name it."""
        return f"{self.file}::{self.name}"


class MarkError(ValueError):
    """A mark that cannot be read without running the file."""


def marked_tests(folder: Path = TESTS) -> list[Marked]:
    """Every marked test below a folder, by file and place.

    Raises:
        MarkError: a mark that is neither above a test nor in `pytestmark`, or whose ids are not written out.
    """
    return [one for path in sorted(folder.rglob("test_*.py")) for one in _in_file(path, folder)]


def _in_file(path: Path, folder: Path) -> list[Marked]:
    text = path.read_text(encoding="utf-8")
    if MARK not in text:
        return []
    tree = ast.parse(text)
    whole = [mark for node in tree.body if _is_pytestmark(node) for mark in _marks(node)]
    found, n_read = [], len(whole)
    places = [("", tree.body), *((f"{node.name}.", node.body) for node in tree.body if isinstance(node, ast.ClassDef))]
    for prefix, body in places:
        for node in body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            own = [mark for decorator in node.decorator_list for mark in _marks(decorator)]
            n_read += len(own)
            rows = [_written_out(path, argument) for mark in (*whole, *own) for argument in mark.args]
            if rows:
                found.append(
                    Marked(path.relative_to(folder).as_posix(), prefix + node.name, tuple(dict.fromkeys(rows)))
                )
    if n_read != len(_marks(tree)):
        raise MarkError(f"{path}: a mark of a fault stands neither above a test nor in pytestmark; put it there")
    return found


def _is_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["pytestmark"]


def _marks(node: ast.AST) -> list[ast.Call]:
    return [one for one in ast.walk(node) if isinstance(one, ast.Call) and ast.unparse(one).startswith(MARK)]


def _written_out(path: Path, argument: ast.expr) -> str:
    if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
        raise MarkError(f"{path}:{argument.lineno}: {ast.unparse(argument)} is no row's id in quotes; write the id out")
    return argument.value


def results_of(files: list[Path]) -> Results:
    """Results of the marked tests from pytest's JUnit files; a case in a later file replaces one in an earlier.

    Raises:
        ValueError: a marked test has no result in any of them.
    """
    cases: dict[tuple[str, str], tuple[str, str]] = {}
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):
            place, name = case.get("classname", ""), case.get("name", "")
            kinds = {"failure": "failed", "error": "error", "skipped": "skipped"}
            outcome = next((kinds[child.tag] for child in case if child.tag in kinds), "passed")
            cases[place, name] = (_key(place, name.partition("[")[0]), outcome)
    counts: dict[str, Counter[str]] = {}
    for key, outcome in cases.values():
        counts.setdefault(key, Counter())[outcome] += 1
    absent = [one.key for one in marked_tests() if one.key not in counts]
    if absent:
        raise ValueError(
            f"no result of {len(absent)} marked test(s): {', '.join(absent)}; run them, then make the page"
        )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "tests": {one.key: dict(sorted(counts[one.key].items())) for one in marked_tests()},
    }


def _key(place: str, name: str) -> str:
    """`package.module` or `package.module.Class` and a name, as `Marked.key` says it."""
    parts = place.split(".")
    if parts[0] == TESTS.name:
        parts = parts[1:]
    module = next((k for k, part in enumerate(parts) if part.startswith("test_")), len(parts) - 1)
    file = "/".join(parts[: module + 1]) + ".py"
    return f"{file}::{'.'.join([*parts[module + 1 :], name])}"


def page(results: Results, marked: list[Marked]) -> str:
    """The page as text."""
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        "# Faults",
        "",
        "What goes wrong, what is promised then, how a test makes it go wrong, and whether the promise held.",
        "",
        f"Results of {results['date']}: Linux, {versions}. CI runs all of these tests on every change.",
        "",
        "This page is made; do not edit it. The rows stand in",
        "[matrix.py](../tft_pipeline_tests/faults/matrix.py); a test names the rows it shows with",
        '`@pytest.mark.fault("kill_run")`. To make it again:',
        "",
        "```sh",
        "python -m pytest -m fault --junitxml=faults.xml",
        "python -m tft_pipeline_tests.faults.table faults.xml",
        "```",
        "",
        "| row | goes wrong | promised | injected | result |",
        "|---|---|---|---|---|",
    ]
    by_row = {row: [one for one in marked if row in one.rows] for row in ROWS}
    for name, row in ROWS.items():
        lines.append(
            f"| [{name}](#{name}) | {row.fault} | {row.promise} | {row.injected} | {_result(by_row[name], results)} |"
        )
    lines += [
        "",
        "## Tests of each row",
        "",
        "A test's name is a sentence: what it shows. A number behind it counts its cases.",
    ]
    for name in ROWS:
        lines += ["", f"### {name}", ""]
        for one in by_row[name]:
            lines.append(f"* {_sentence(one)}: {_counts(results['tests'].get(one.key, {}))}")
    return "\n".join(lines) + "\n"


def _sentence(one: Marked) -> str:
    words = one.name.split(".")[-1].removeprefix("test_").replace("_", " ")
    return f"{words} ([{one.file}](../{TESTS.name}/{one.file}))"


def _result(tests: list[Marked], results: Results) -> str:
    total: Counter[str] = Counter()
    for one in tests:
        total.update(results["tests"].get(one.key, {"not run": 1}))
    if not tests:
        return "no test"
    return _counts(total)


def _counts(counts: dict[str, int]) -> str:
    """Bad news first."""
    order = ("failed", "error", "not run", "skipped", "passed")
    said = [
        f"**{kind}** {counts[kind]}" if kind in BAD else f"{kind} {counts[kind]}" for kind in order if counts.get(kind)
    ]
    return ", ".join(said) or "not run"


def main(files: list[str]) -> None:
    """Write results and page; without files the page alone, from the results that are kept."""
    results = results_of([Path(file) for file in files]) if files else json.loads(RESULTS.read_text())
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(results, marked_tests()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
