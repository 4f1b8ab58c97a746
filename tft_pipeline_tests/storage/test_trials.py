import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.scopes import Scope
from tft_pipeline.storage.trials import competing_trials, record_trials, settled_names

SCOPE = Scope(frozenset("AB"), "1d", date(2010, 1, 1), date(2015, 1, 1))


def entry(study: str, trials: str, experiment: str = "a", symbols: str = "AB", **dates: str) -> dict[str, Any]:
    """Trials as text: "xy" are the trials x and y."""
    return {
        "experiment": experiment,
        "study": study,
        "trials": {name: 0.01 * ord(name) for name in trials},
        "symbols": sorted(symbols),
        "interval": "1d",
        "first": dates.get("first", "2010-01-01"),
        "last": dates.get("last", "2015-01-01"),
        "at": "now",
    }


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "home" / "trials.jsonl"


def counts(ledger: Path) -> dict[str, int]:
    return {name: len(trials) for name, trials in competing_trials(ledger, SCOPE).items()}


def test_trials_on_the_same_bars_are_found_whoever_started_them(ledger):
    for row in (
        entry("1", "pq"),
        entry("2", "r"),
        entry("1", "stu", "b", symbols="BC"),
        entry("1", "v", "c", symbols="X"),
    ):
        record_trials(ledger, row)
    assert counts(ledger) == {"a": 3, "b": 3}
    assert competing_trials(ledger, SCOPE)["b"]["s"] == pytest.approx(1.15)


def test_a_trial_that_is_run_again_or_copied_is_no_new_one(ledger):
    record_trials(ledger, entry("1", "pq"))
    record_trials(ledger, entry("1", "pqr", "copy"))
    assert counts(ledger) == {"a": 2, "copy": 1}


def test_a_study_that_was_deleted_and_begun_anew_is_not_forgotten(ledger):
    record_trials(ledger, entry("1", "pqrstu"))
    record_trials(ledger, entry("1", "vw"))
    assert counts(ledger) == {"a": 8}


def test_bars_of_other_years_do_not_compete_and_another_bar_length_does(ledger):
    record_trials(ledger, entry("1", "pq", "late", first="2015-01-02", last="2020-01-01"))
    record_trials(ledger, entry("1", "r", "hourly") | {"interval": "1h"})
    assert competing_trials(ledger, SCOPE) == {"hourly": {"r": None}}  # counted; an hour's ratio is not a day's


def test_known_trials_are_not_written_again(ledger):
    for trials in ("pq", "q", "pq", "pqr"):
        record_trials(ledger, entry("1", trials) | {"at": trials})
    assert [sorted(json.loads(line)["trials"]) for line in ledger.read_text().splitlines()] == [
        ["p", "q"],
        ["p", "q", "r"],
    ]


def test_a_trial_that_was_written_down_at_its_start_counts_once_when_it_has_returns(ledger):
    record_trials(ledger, entry("1", "pq"))
    record_trials(ledger, entry("1", "rq") | {"settled": {"p": "r"}})
    assert competing_trials(ledger, SCOPE) == {"a": {"r": pytest.approx(1.14), "q": pytest.approx(1.13)}}
    record_trials(ledger, entry("1", "pq"))  # another worker that had read the study before
    assert counts(ledger) == {"a": 2}
    assert settled_names(ledger, ["p", "q"]) == {"r"}


def test_a_trial_that_another_replaces_is_settled_by_nothing(ledger):
    record_trials(ledger, entry("1", "p"))
    record_trials(ledger, entry("1", "q") | {"settled": {"p": ""}})
    assert counts(ledger) == {"a": 1}
    assert settled_names(ledger, ["p"]) == set()
    record_trials(ledger, entry("1", "q") | {"settled": {"p": ""}})
    assert len(ledger.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"settled": {"p": None}}, "settled of an entry is"),
        ({"trials": ["p"]}, r"trials of an entry is \['p'\], not of type dict"),
        ({"trials": {"p": "high"}}, "trial p of an entry has the Sharpe ratio 'high'"),
        ({"trials": {"p": float("nan")}}, "trial p of an entry has the Sharpe ratio nan"),
        ({"study": None}, "study of an entry is None"),
        ({"symbols": []}, "symbols of an entry"),
        ({"first": "soon"}, "first of an entry is an ISO date"),
    ],
)
def test_an_entry_that_could_not_be_counted_is_refused_before_it_is_written(ledger, change, match):
    with pytest.raises(ValueError, match=match):
        record_trials(ledger, entry("1", "p") | change)
    assert not ledger.exists()


def test_a_damaged_line_is_named(ledger):
    ledger.parent.mkdir()
    ledger.write_text("".join(json.dumps(row) + "\n" for row in (entry("1", "p"), {"study": "b"})))
    with pytest.raises(ValueError, match=r"trials\.jsonl:2 is not an entry .* restore the ledger"):
        competing_trials(ledger, SCOPE)


@pytest.mark.fault("flipped_byte")
def test_a_changed_letter_in_an_entry_is_refused_and_never_one_trial_fewer(ledger):
    for name in "pqr":
        record_trials(ledger, entry(name, name))
    ledger.write_text(ledger.read_text().replace('"study": "q"', '"study": "x"'))
    with pytest.raises(IntegrityError, match=r"trials\.jsonl:2 is not the line that was written there"):
        competing_trials(ledger, SCOPE)
