"""The fault matrix is whole: every row has a test, every mark a row, and the page shows what is marked."""

import json
import os
import platform
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tft_pipeline_tests.faults.matrix import ROWS
from tft_pipeline_tests.faults.table import BAD, PAGE, RESULTS, Marked, MarkError, marked_tests, page, results_of

MARKED = [Marked("storage/test_a.py", "test_b", ("eio",)), Marked("storage/test_a.py", "TestC.test_d", ("eio",))]


def case(name: str, outcome: str = "", n: str = "2", versions: str = '{"python": "3.11.9"}', place: str = "") -> str:
    """A test's entry in a JUnit file."""
    quoted = versions.replace('"', "&quot;")
    return (
        f'<testcase classname="tft_pipeline_tests.storage.test_a{place}" name="{name}"><properties>'
        f'<property name="cases" value="{n}"/><property name="versions" value="{quoted}"/></properties>{outcome}</testcase>'
    )


def junit(path: Path, *cases: str, at: str = "2025-03-04T05:06:07.8+00:00") -> Path:
    path.write_text(f'<testsuites><testsuite timestamp="{at}">{"".join(cases)}</testsuite></testsuites>')
    return path


SKIPPED, FAILED = '<skipped message="no"/>', '<failure message="x"/>'
ONE, TWO = case("test_b[1]"), case("test_b[2]", SKIPPED)
OTHER = case("test_d", n="1", place=".TestC")


@pytest.fixture
def two_marked(monkeypatch: pytest.MonkeyPatch) -> list[Marked]:
    marked = list(MARKED)
    monkeypatch.setattr("tft_pipeline_tests.faults.table.marked_tests", lambda: marked)
    return marked


def test_every_mark_names_a_row_and_every_row_has_a_test() -> None:
    marked = marked_tests()
    unknown = {one.key: sorted(set(one.rows) - set(ROWS)) for one in marked if set(one.rows) - set(ROWS)}
    assert not unknown, "add the row to matrix.py, or correct the mark"
    assert all(one.rows for one in marked), "a mark names at least one row"
    assert not set(ROWS) - {row for one in marked for row in one.rows}, "rows that no test shows"


def test_the_page_and_its_results_are_of_the_rows_and_tests_that_are_marked() -> None:
    results, marked = json.loads(RESULTS.read_text()), marked_tests()
    remedy = "run the marked tests and make the page again, as docs/faults.md says"
    assert set(results["tests"]) == {one.key for one in marked}, remedy
    assert PAGE.read_text(encoding="utf-8") == page(results, marked), remedy
    assert not [key for key, counts in results["tests"].items() if set(counts) & set(BAD)], "a promise was not kept"
    assert not [key for key, counts in results["tests"].items() if not counts.get("passed")], "a test was only skipped"


def test_marks_that_cannot_be_read_without_running_the_file_are_refused(tmp_path: Path) -> None:
    for text, words in (
        ('import pytest\nROW = "eio"\n@pytest.mark.fault(ROW)\ndef test_a(): ...\n', "ROW is no row's id in quotes"),
        (
            'import pytest\nall_of_it = pytest.mark.fault("eio")\ndef test_a(): ...\n',
            "neither above a test nor in pytestmark",
        ),
        ('import pytest\n@pytest.mark.fault("eio")\ndef help(): ...\n', "neither above a test nor in pytestmark"),
    ):
        (tmp_path / "test_x.py").write_text(text)
        with pytest.raises(MarkError, match=words):
            marked_tests(tmp_path)


def test_marks_above_tests_in_classes_and_of_a_whole_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        "import pytest\npytestmark = [pytest.mark.slow, pytest.mark.fault('eio')]\n"
        "def test_a(): ...\nclass TestB:\n    @pytest.mark.fault('disk_full', 'eio')\n    def test_c(self): ...\n"
    )
    (tmp_path / "test_y.py").write_text("def test_a(): ...\n")
    assert marked_tests(tmp_path) == [
        Marked("test_x.py", "test_a", ("eio",)),
        Marked("test_x.py", "TestB.test_c", ("eio", "disk_full")),
    ]


def test_results_are_counted_by_test_and_a_marked_test_without_one_is_refused(
    tmp_path: Path, two_marked: list[Marked]
) -> None:
    file = junit(tmp_path / "r.xml", ONE, TWO, case("test_d", FAILED, n="1", place=".TestC"))
    found = results_of([file])
    assert found["tests"] == {
        "storage/test_a.py::test_b": {"passed": 1, "skipped": 1},
        "storage/test_a.py::TestC.test_d": {"failed": 1},
    }
    text = page(found, two_marked)
    assert "| **failed** 1, skipped 1, passed 1 |" in text
    assert "* b ([storage/test_a.py](../tft_pipeline_tests/storage/test_a.py)): skipped 1, passed 1" in text
    two_marked.append(Marked("storage/test_a.py", "test_new", ("eio",)))
    with pytest.raises(ValueError, match=r"no result of 1 marked test\(s\): storage/test_a.py::test_new"):
        results_of([file])


def test_date_and_versions_are_of_the_runs_and_the_oldest_of_them(tmp_path: Path, two_marked: list[Marked]) -> None:
    old = junit(tmp_path / "old.xml", ONE, at="2024-12-31T23:00:00+00:00")
    new = junit(tmp_path / "new.xml", TWO, OTHER)
    found = results_of([new, old])
    assert (found["date"], found["versions"]) == ("2024-12-31", {"python": "3.11.9"})
    other = junit(tmp_path / "other.xml", case("test_b[2]", versions='{"python": "3.12.1"}'))
    with pytest.raises(ValueError, match="different versions"):
        results_of([old, new, other])


def test_a_later_file_replaces_no_failure_and_fills_in_what_was_skipped(
    tmp_path: Path, two_marked: list[Marked]
) -> None:
    first = junit(tmp_path / "1.xml", case("test_b[1]", FAILED), TWO, OTHER)
    later = junit(tmp_path / "2.xml", ONE, case("test_b[2]"))
    for files in ([first, later], [later, first]):
        assert results_of(files)["tests"]["storage/test_a.py::test_b"] == {"failed": 1, "passed": 1}


@pytest.mark.parametrize("cases", [(ONE,), (case("test_b[1]", n="null"), case("test_b[2]", n="null"))])
def test_a_run_of_some_cases_or_of_tests_by_name_is_refused(
    tmp_path: Path, two_marked: list[Marked], cases: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"1 marked test\(s\) did not run with all of their cases.*test_a.py::test_b;"):
        results_of([junit(tmp_path / "r.xml", *cases, OTHER)])


SKIPS = """
import pytest
from tft_pipeline_tests.faults.required import MOUNTS_NOTHING
@pytest.mark.fault("eio")
@pytest.mark.parametrize("k", [1, 2, 3])
def test_without_its_tool(k): pytest.skip("strace is not installed")
@pytest.mark.fault("eio")
def test_that_mounts(): pytest.skip(MOUNTS_NOTHING)
def test_of_no_fault(): pytest.skip("no")
"""
WHOLE = 'import pytest\npytest.importorskip("nothing")\npytestmark = pytest.mark.fault("eio")\n'


def run_skips(folder: Path, *options: str, required: str) -> str:
    """What pytest says of two files of tests that skip."""
    (folder / "test_skips.py").write_text(SKIPS)
    (folder / "test_whole.py").write_text(WHOLE)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = fault: as in pyproject.toml\n")
    plain = ["-p", "no:cacheprovider", "-p", "tft_pipeline_tests.faults.required", "--continue-on-collection-errors"]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rf", *plain, *options],
        cwd=folder,
        env={
            **kept,
            "TFT_REQUIRE_FAULTS": required,
            "PYTHONPATH": str(PAGE.parents[1]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    ).stdout


def test_where_faults_are_required_none_may_skip_but_for_what_is_mounted(tmp_path: Path) -> None:
    said = run_skips(tmp_path, required="1")
    assert "3 failed, 2 skipped, 1 error" in said, said
    assert "strace is not installed; TFT_REQUIRE_FAULTS is set" in said
    assert "6 skipped" in run_skips(tmp_path, required="")


@pytest.mark.parametrize(
    ("options", "expected"),
    [(("-k", "test_without_its_tool and 1"), "3"), (("test_skips.py::test_without_its_tool[1]",), "null")],
)
def test_a_run_says_how_many_cases_a_test_has_whatever_was_taken_away(
    tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    run_skips(tmp_path, "--junitxml=r.xml", *options, required="")
    entries = ElementTree.parse(tmp_path / "r.xml").iter("testcase")
    (found,) = (one for one in entries if one.get("name") == "test_without_its_tool[1]")
    said = {one.get("name"): one.get("value") for one in found.iter("property")}
    assert said["cases"] == expected
    assert json.loads(said["versions"] or "")["python"] == platform.python_version()
