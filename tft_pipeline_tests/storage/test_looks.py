import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.looks import record_look as record_look_rows


def look(
    folds: str,
    first: str = "2020-01-01",
    last: str = "2020-12-31",
    symbols: str = "AB",
    interval: str = "1d",
    experiment: str = "e",
) -> dict[str, Any]:
    """Folds as text: "1a 2b" is fold 1 with returns a and fold 2 with returns b."""
    return {
        "symbols": sorted(symbols),
        "interval": interval,
        "folds": {part[0]: part[1:] for part in folds.split()},
        "first": first,
        "last": last,
        "experiment": experiment,
        "at": "now",
    }


def record_look(ledger: Path, row: dict[str, Any]) -> int:
    """How many looks compete with the one that is written down."""
    return len(record_look_rows(ledger, row))


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "home" / "looks.jsonl"


def lines(ledger: Path) -> list[dict[str, Any]]:
    """What they say, without their hashes."""
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("previous", "sha256")} for row in rows]


def test_the_first_look_counts_itself(ledger):
    assert record_look(ledger, look("1a")) == 1
    assert lines(ledger) == [look("1a")]


def test_the_same_returns_are_one_look_however_often_they_are_found(ledger):
    record_look(ledger, look("1a 2b"))
    assert record_look(ledger, look("1a 2b", experiment="other") | {"at": "later"}) == 1
    assert record_look(ledger, look("2b")) == 1
    assert len(lines(ledger)) == 1


def test_an_unchanged_experiment_that_grew_by_folds_is_one_look_and_its_new_folds_are_known(ledger):
    record_look(ledger, look("1a 2b"))
    grown = look("1a 2b 3c", last="2021-03-31")
    assert record_look(ledger, grown) == 1
    assert lines(ledger)[1] == grown
    assert record_look(ledger, look("3c 4d", first="2021-01-01", last="2021-06-30")) == 1
    assert record_look(ledger, look("4d", first="2021-04-01", last="2021-06-30")) == 1
    assert record_look(ledger, look("4x", first="2021-04-01", last="2021-06-30")) == 2
    assert len(lines(ledger)) == 4


def test_one_fold_with_other_returns_makes_another_look(ledger):
    record_look(ledger, look("1a 2b 3c"))
    assert record_look(ledger, look("1a 2b 3x")) == 2
    assert record_look(ledger, look("1a 2b 3c")) == 2
    assert record_look(ledger, look("1a 2b")) == 2


def test_without_a_common_fold_overlapping_looks_are_two(ledger):
    record_look(ledger, look("1a"))
    assert record_look(ledger, look("2a")) == 2


def test_a_fold_learned_later_counts_when_looks_are_told_apart(ledger):
    record_look(ledger, look("1a"))
    record_look(ledger, look("1a 2b"))
    assert record_look(ledger, look("1a 2x")) == 2


def test_a_count_never_falls_when_a_look_ties_two_others_together(ledger):
    record_look(ledger, look("1a"))
    assert record_look(ledger, look("2b")) == 2
    assert record_look(ledger, look("1a 2b")) == 2


def test_leaving_a_symbol_out_or_adding_one_does_not_start_anew(ledger):
    record_look(ledger, look("1a", symbols="ABC"))
    assert record_look(ledger, look("1b", symbols="AB")) == 2
    assert record_look(ledger, look("1c", symbols="BCD")) == 3
    assert record_look(ledger, look("1d", symbols="D")) == 2


def test_disjoint_symbols_and_dates_do_not_count_and_other_bar_lengths_do(ledger):
    record_look(ledger, look("1a"))
    assert record_look(ledger, look("1b", symbols="CD")) == 1
    assert record_look(ledger, look("2b", first="2021-01-01", last="2021-12-31")) == 1
    assert record_look(ledger, look("1c", interval="1h")) == 2  # an hour's look at the same dates tells of the days
    assert record_look(ledger, look("1d")) == 3
    assert len(lines(ledger)) == 5


def test_equal_returns_of_looks_that_do_not_compete_are_two_looks(ledger):
    record_look(ledger, look("1a", symbols="C"))
    assert record_look(ledger, look("1a")) == 1
    assert record_look(ledger, look("1b", symbols="ABC")) == 3


def test_overlap_is_by_date_to_the_last_day_whether_or_not_times_are_given(ledger):
    record_look(ledger, look("1a"))
    assert record_look(ledger, look("1b", first="2020-12-31T21:00:00+00:00", last="2021-06-30T21:00:00+00:00")) == 2
    assert record_look(ledger, look("1c", first="2021-07-01", last="2021-08-01")) == 1
    assert record_look(ledger, look("1d", first="2019-01-01", last="2022-01-01")) == 4


def test_known_returns_with_more_symbols_or_dates_are_written_and_not_counted(ledger):
    record_look(ledger, look("1a"))
    assert record_look(ledger, look("1a", symbols="ABC")) == 1
    assert record_look(ledger, look("1a", last="2021-01-31")) == 1
    assert len(lines(ledger)) == 3
    assert record_look(ledger, look("9z", symbols="C", first="2020-05-01")) == 2


WRONG = [
    "not json",
    "[1]",
    "3",
    '{"interval": "1d"}',
    "",
    '{"symbols": ["A"], "interval": "1d',
    json.dumps({"market": "m", "first": "2020-01-01", "last": "2020-12-31", "content": "a"}),
    json.dumps(look("1a") | {"symbols": "AB"}),
    json.dumps(look("1a") | {"symbols": []}),
    json.dumps(look("1a") | {"interval": 1}),
    json.dumps(look("1a") | {"folds": {}}),
    json.dumps(look("1a") | {"folds": {"1": 3}}),
    json.dumps(look("1a") | {"first": "yesterday"}),
    json.dumps(look("1a") | {"last": None}),
    json.dumps(look("1a", first="2021-01-01")),
]


@pytest.mark.parametrize("line", WRONG)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_ledger_that_was_edited_is_refused_by_line_and_left_alone(ledger, line, sealed):
    if sealed:
        record_look(ledger, look("1a"))
    else:  # from before lines had hashes
        ledger.parent.mkdir()
        ledger.write_text(json.dumps(look("1a")) + "\n")
    edited = ledger.read_text() + line + "\n" + json.dumps(look("1b")) + "\n"
    ledger.write_text(edited)
    with pytest.raises((ValueError, IntegrityError), match=r"looks\.jsonl:2 is (not|no) .*restore the ledger"):
        record_look(ledger, look("1c"))
    assert ledger.read_text() == edited


def test_a_look_that_could_not_be_read_back_is_never_written(ledger):
    with pytest.raises(ValueError, match="lacks symbols"):
        record_look(ledger, {name: value for name, value in look("1a").items() if name != "symbols"})
    with pytest.raises(ValueError, match="folds of a look"):
        record_look(ledger, look(""))
    assert not ledger.exists()


def test_processes_that_look_at_once_all_count(ledger):
    code = (
        "import json, sys; from pathlib import Path; from tft_pipeline.storage.looks import record_look\n"
        "look = json.loads(sys.argv[3])\n"
        "for k in range(15): record_look(Path(sys.argv[1]), look | {'folds': {'1': sys.argv[2] + str(k)}})"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(ledger), who, json.dumps(look("1a"))]) for who in "abc"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert record_look(ledger, look("1last")) == 46


def test_every_look_at_the_period_is_named_with_who_made_it_first_and_on_what(ledger):
    record_look(ledger, look("1a 2b", experiment="first") | {"at": "one"})
    record_look(ledger, look("1a 2b 3c", last="2021-03-31", experiment="copy") | {"at": "two"})
    record_look(ledger, look("1a", first="1999-01-01", last="1999-12-31", experiment="elsewhen"))
    rows = record_look_rows(ledger, look("1x", experiment="second") | {"at": "three"})
    assert rows == (
        {"experiment": "first", "at": "one", "first": "2020-01-01", "last": "2021-03-31", "n_folds": 3},
        {"experiment": "second", "at": "three", "first": "2020-01-01", "last": "2020-12-31", "n_folds": 1},
    )
