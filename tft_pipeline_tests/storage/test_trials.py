import json
from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.storage.trials import record_trials, trials_of_others


def entry(study: str, started: int, experiment: str = "a", symbols: str = "AB", **dates: str) -> dict[str, Any]:
    return {
        "experiment": experiment,
        "study": study,
        "started": started,
        "symbols": sorted(symbols),
        "interval": "1d",
        "first": dates.get("first", "2010-01-01"),
        "last": dates.get("last", "2015-01-01"),
        "at": "now",
    }


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "home" / "trials.jsonl"


def test_studies_of_other_experiments_on_the_same_bars_are_found_and_ones_own_are_not(ledger):
    for row in (
        entry("a-1", 8),
        entry("a-2", 3),
        entry("b-1", 50, "b", symbols="BC"),
        entry("c-1", 9, "c", symbols="X"),
    ):
        record_trials(ledger, row)
    assert [row["study"] for row in trials_of_others(ledger, experiment="a", study="a-1")] == ["b-1"]
    assert [row["study"] for row in trials_of_others(ledger, experiment="c", study="c-1")] == []


def test_an_experiment_counts_once_with_the_most_trials_any_of_its_studies_saw(ledger):
    for row in (entry("a-1", 8), entry("b-1", 50, "b"), entry("b-2", 60, "b"), entry("b-1", 50, "b")):
        record_trials(ledger, row)
    assert [row["started"] for row in trials_of_others(ledger, experiment="a", study="a-1")] == [60]


def test_bars_of_other_years_do_not_compete(ledger):
    record_trials(ledger, entry("a-1", 8))
    record_trials(ledger, entry("b-1", 50, "b", first="2015-01-02", last="2020-01-01"))
    assert trials_of_others(ledger, experiment="a", study="a-1") == ()


def test_the_last_line_of_a_study_counts_and_an_unchanged_one_is_not_written_again(ledger):
    record_trials(ledger, entry("a-1", 1))
    for started in (8, 8, 20):
        record_trials(ledger, entry("b-1", started, "b") | {"at": str(started)})
    assert [row["started"] for row in trials_of_others(ledger, experiment="a", study="a-1")] == [20]
    assert len(ledger.read_text().splitlines()) == 3


def test_a_study_that_was_not_written_down_is_a_clear_error(ledger):
    with pytest.raises(KeyError, match=r"study a-1 is not in .* materialise tuned_hyperparameters again"):
        trials_of_others(ledger, experiment="a", study="a-1")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"started": "8"}, "started of an entry is '8', not of type int"),
        ({"study": None}, "study of an entry is None"),
        ({"symbols": []}, "symbols of an entry"),
        ({"first": "soon"}, "first of an entry is an ISO date"),
    ],
)
def test_an_entry_that_could_not_be_counted_is_refused_before_it_is_written(ledger, change, match):
    with pytest.raises(ValueError, match=match):
        record_trials(ledger, entry("a-1", 8) | change)
    assert not ledger.exists()


def test_a_damaged_line_is_named(ledger):
    record_trials(ledger, entry("a-1", 8))
    with ledger.open("a") as stream:
        stream.write(json.dumps({"study": "b"}) + "\n")
    with pytest.raises(ValueError, match=r"trials\.jsonl:2 is not an entry .* restore the ledger"):
        trials_of_others(ledger, experiment="a", study="a-1")
