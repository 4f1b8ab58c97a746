import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.storage.looks import record_look


def look(content: str, first: str = "2020-01-01", last: str = "2020-12-31", market: str = "m") -> dict[str, Any]:
    return {"market": market, "first": first, "last": last, "content": content, "experiment": "e", "at": "now"}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "home" / "looks.jsonl"


def lines(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def test_the_first_look_counts_itself(ledger):
    assert record_look(ledger, look("a")) == 1
    assert lines(ledger) == [look("a")]


def test_the_same_returns_are_one_look_however_often_they_are_found(ledger):
    record_look(ledger, look("a"))
    again = look("a") | {"experiment": "other", "at": "later"}
    assert record_look(ledger, again) == 1
    assert len(lines(ledger)) == 1


def test_different_returns_of_overlapping_dates_count_against_each_other(ledger):
    record_look(ledger, look("a"))
    assert record_look(ledger, look("b", first="2020-12-31", last="2021-06-30")) == 2
    assert record_look(ledger, look("c", first="2020-06-01", last="2020-07-01")) == 2
    assert record_look(ledger, look("d", first="2019-01-01", last="2022-01-01")) == 4
    assert record_look(ledger, look("a")) == 4
    assert record_look(ledger, look("c", first="2020-06-01", last="2020-07-01")) == 3


def test_disjoint_dates_and_other_markets_do_not_count(ledger):
    record_look(ledger, look("a"))
    assert record_look(ledger, look("b", first="2021-01-01", last="2021-12-31")) == 1
    assert record_look(ledger, look("c", market="other")) == 1
    assert record_look(ledger, look("d")) == 2
    assert len(lines(ledger)) == 4


def test_equal_returns_of_another_market_are_a_look_of_their_own(ledger):
    record_look(ledger, look("a", market="other"))
    assert record_look(ledger, look("a")) == 1
    assert len(lines(ledger)) == 2


@pytest.mark.parametrize("line", ["not json", "[1]", "3", '{"market": "m"}', "", '{"market": "m", "first": "2020'])
def test_a_ledger_that_was_edited_is_refused_by_line_and_left_alone(ledger, line):
    record_look(ledger, look("a"))
    edited = ledger.read_text() + line + "\n" + json.dumps(look("b")) + "\n"
    ledger.write_text(edited)
    with pytest.raises(ValueError, match=r"looks\.jsonl:2 .*restore the ledger"):
        record_look(ledger, look("c"))
    assert ledger.read_text() == edited


def test_processes_that_look_at_once_all_count(ledger):
    code = (
        "import sys; from pathlib import Path; from tft_pipeline.storage.looks import record_look\n"
        "for k in range(15): record_look(Path(sys.argv[1]), {'market': 'm', 'first': '2020-01-01', "
        "'last': '2020-12-31', 'content': sys.argv[2] + str(k)})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(ledger), who]) for who in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert record_look(ledger, look("last")) == 46


def test_processes_that_find_the_same_at_once_write_it_down_once(ledger, tmp_path):
    code = (
        "import sys; from pathlib import Path; from tft_pipeline.storage.looks import record_look\n"
        "print('ready', flush=True)\n"
        "while not Path(sys.argv[2]).exists(): pass\n"
        "for k in range(100): record_look(Path(sys.argv[1]), {'market': 'm', 'first': '2020-01-01', "
        "'last': '2020-12-31', 'content': str(k)})"
    )
    arguments = [sys.executable, "-c", code, str(ledger), str(tmp_path / "go")]
    writers = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        with writer.stdout as stream:
            assert stream.readline() == "ready\n"
    (tmp_path / "go").touch()
    assert [writer.wait(60) for writer in writers] == [0] * 3
    assert [row["content"] for row in lines(ledger)] == [str(k) for k in range(100)]
