"""The fault matrix is whole: every row has a test, every mark a row, and the page shows what is marked."""

import json
from pathlib import Path

import pytest

from tft_pipeline_tests.faults.matrix import ROWS
from tft_pipeline_tests.faults.table import BAD, PAGE, RESULTS, Marked, MarkError, marked_tests, page, results_of

JUNIT = """<testsuites><testsuite>
<testcase classname="tft_pipeline_tests.storage.test_a" name="test_b[1]" time="0.1"/>
<testcase classname="tft_pipeline_tests.storage.test_a" name="test_b[2]"><skipped message="no"/></testcase>
<testcase classname="tft_pipeline_tests.storage.test_a.TestC" name="test_d"><failure message="x"/></testcase>
</testsuite></testsuites>"""


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.xml").write_text(JUNIT)
    marked = [Marked("storage/test_a.py", "test_b", ("eio",)), Marked("storage/test_a.py", "TestC.test_d", ("eio",))]
    monkeypatch.setattr("tft_pipeline_tests.faults.table.marked_tests", lambda: marked)
    found = results_of([tmp_path / "r.xml"])
    assert found["tests"] == {
        "storage/test_a.py::test_b": {"passed": 1, "skipped": 1},
        "storage/test_a.py::TestC.test_d": {"failed": 1},
    }
    text = page(found, marked)
    assert "| **failed** 1, skipped 1, passed 1 |" in text
    assert "* b ([storage/test_a.py](../tft_pipeline_tests/storage/test_a.py)): skipped 1, passed 1" in text
    marked.append(Marked("storage/test_a.py", "test_new", ("eio",)))
    with pytest.raises(ValueError, match=r"no result of 1 marked test\(s\): storage/test_a.py::test_new"):
        results_of([tmp_path / "r.xml"])
