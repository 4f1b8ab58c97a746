"""docs/faults.md, made from the rows of the matrix, the tests that are marked with them and the results of one run of those.

    python -m pytest -m fault --junitxml=faults.xml
    python -m tft_pipeline_tests.faults.table faults.xml ...

The tests are read, not imported. The results are kept in docs/faults.json, so that a test can make the page again and compare.
"""

import ast
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tft_pipeline_tests.faults.matrix import ROWS
from tft_pipeline_tests.faults.required import CASES, VERSIONS

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tft_pipeline_tests"
PAGE = ROOT / "docs" / "faults.md"
RESULTS = ROOT / "docs" / "faults.json"
MARK = "pytest.mark.fault("
BAD = ("failed", "error")
WEIGHT = {"skipped": 0, "passed": 1, "failed": 2, "error": 3}
"""Of several results of one case the one that weighs most counts."""

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
    """Results of the marked tests from pytest's JUnit files: date, versions and numbers of cases are those of the runs.

    Of several results of one case a bad one counts, then one that passed: what failed once is not mended by running it again,
    but by leaving its file out. The date is that of the oldest file.

    Raises:
        ValueError: a marked test, or a case of one, has no result in any of them; or the runs had different versions, or were
            of tests by name, so that how many cases there are is not known.
    """
    cases: dict[str, dict[str, str]] = {}
    stated: dict[str, set[Any]] = {}
    versions, dates, marked = set(), [], {one.key for one in marked_tests()}
    for file in files:
        root = ElementTree.parse(file)
        dates += [datetime.fromisoformat(suite.attrib["timestamp"]).date() for suite in root.iter("testsuite")]
        for case in root.iter("testcase"):
            place, name = case.get("classname", ""), case.get("name", "")
            key = _key(place, name.partition("[")[0])
            if key not in marked:
                continue
            said = {one.get("name"): json.loads(one.get("value", "null")) for one in case.iter("property")}
            stated.setdefault(key, set()).add(said.get(CASES))
            versions.add(json.dumps(said.get(VERSIONS)))
            kinds = {"failure": "failed", "error": "error", "skipped": "skipped"}
            outcomes = [kinds[child.tag] for child in case if child.tag in kinds] or ["passed"]
            known = cases.setdefault(key, {})
            known[name] = max([*outcomes, known.get(name, "skipped")], key=WEIGHT.__getitem__)
    if absent := sorted(marked - cases.keys()):
        raise ValueError(
            f"no result of {len(absent)} marked test(s): {', '.join(absent)}; run them, then make the page"
        )
    if partial := sorted(key for key, numbers in stated.items() if numbers != {len(cases[key])}):
        raise ValueError(
            f"{len(partial)} marked test(s) did not run with all of their cases, or were chosen by name, so that nobody "
            f"counted them: {', '.join(partial)}; run `make faults`, then make the page"
        )
    if len(versions) != 1 or "null" in versions:
        raise ValueError(
            f"the runs had different versions, or do not say which: {sorted(versions)}; run all with the same"
        )
    return {
        "date": min(dates).isoformat(),
        "versions": json.loads(versions.pop()),
        "tests": {key: dict(sorted(Counter(cases[key].values()).items())) for key in sorted(marked)},
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
    versions = ", ".join(f"{name} {number}" for name, number in sorted(results["versions"].items()))
    lines = [
        "# Faults",
        "",
        "What goes wrong, what is promised then, how a test makes it go wrong, and whether the promise held.",
        "",
        f"Results of {results['date']}: Linux, {versions}. CI runs all of these tests on every change; where strace, Redis and",
        "PostgreSQL can be installed, none of them may skip there (`TFT_REQUIRE_FAULTS`), but for those that mount a file",
        "system, where nothing can be mounted.",
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
