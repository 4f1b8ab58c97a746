"""Which trials of a search deflate its best one."""

from typing import Any

from tft_pipeline.domain.reports import TrialRow, trials_that_count


def row(number: int, state: str, **fields: Any) -> TrialRow:
    values: dict[str, Any] = {
        "params": {"network.dropout": 0.1},
        "sharpe_annual": None,
        "fold_sharpes": (),
        "returns": (),
    }
    return TrialRow(number=number, state=state, **(values | fields))


def counting(*rows: TrialRow) -> list[int]:
    return [one.number for one in trials_that_count(rows)]


def test_every_trial_that_was_started_counts_whatever_became_of_it():
    rows = [row(k, state) for k, state in enumerate(["complete", "pruned", "fail", "running"])]
    assert counting(*rows) == [0, 1, 2, 3]


def test_a_trial_that_was_put_back_unseen_counts_by_the_one_that_replaces_it():
    unseen, again = row(0, "fail"), row(1, "fail", replaces=0)
    assert counting(unseen) == [0], "nobody took its values up yet"
    assert counting(unseen, again) == [1]
    assert counting(unseen, again, row(2, "complete", replaces=1)) == [2]


def test_a_trial_of_which_a_fold_was_scored_counts_beside_the_one_that_replaces_it():
    assert counting(row(0, "fail", scored=True), row(1, "complete", replaces=0)) == [0, 1]
    assert counting(row(0, "fail", returns=(0.1, 0.2)), row(1, "complete", replaces=0)) == [0, 1]


def test_a_trial_without_any_parameter_does_not_count():
    assert counting(row(0, "fail", params={}), row(1, "complete")) == [1]


def test_trials_without_returns_are_told_apart_by_study_number_and_parameters_and_others_by_their_returns():
    base = row(0, "fail", study="a")
    for other in (
        row(1, "fail", study="a"),
        row(0, "fail", study="b"),
        row(0, "fail", study="a", params={"network.dropout": 0.2}),
    ):
        assert other.identity != base.identity
    earned = row(0, "complete", study="a", returns=(0.1, 0.2))
    assert earned.start == base.start == base.identity
    assert earned.identity == row(7, "pruned", study="b", returns=(0.1, 0.2)).identity != earned.start
