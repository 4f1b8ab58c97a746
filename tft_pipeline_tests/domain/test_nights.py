"""Which days the watch asks for, and when it asks for a retrain; time and facts are given."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.folds import Fold, FoldPlan, plan_folds
from tft_pipeline.domain.nights import (
    MOST_A_TICK,
    Attempt,
    DayPlan,
    Night,
    RetrainPlan,
    bars_awaited,
    complete_days,
    day_of,
    fold_for,
    plan_days,
    plan_retrain,
)

DAYS = [date(2024, 3, day) for day in range(4, 10)]
LATER = datetime(2024, 3, 20, tzinfo=UTC)


def plan(
    *,
    calendar: Sequence[date] = DAYS,
    evaluated: Sequence[date] = (),
    attempts: Sequence[Attempt] = (),
    asked: Mapping[date, datetime] | None = None,
    first: date | None = DAYS[0],
    now: datetime = LATER,
    most: int = MOST_A_TICK,
) -> DayPlan:
    return plan_days(
        now=now, calendar=calendar, evaluated=evaluated, attempts=attempts, asked=asked or {}, first=first, most=most
    )


def days(found: DayPlan) -> list[date]:
    return [one.day for one in found.requests]


def attempt(day: date, state: str, at: datetime, run: str = "0123456789") -> Attempt:
    return Attempt(day=day, state=state, at=at, run_id=run)  # type: ignore[arg-type]


def test_a_day_is_complete_when_it_is_over_and_a_later_bar_is_there_or_three_hours_have_passed():
    calendar = DAYS[:2]
    assert complete_days(calendar, datetime(2024, 3, 5, 23, 59, tzinfo=UTC)) == (DAYS[0],)
    assert complete_days(calendar, datetime(2024, 3, 6, 2, 59, tzinfo=UTC)) == (DAYS[0],)
    assert complete_days(calendar, datetime(2024, 3, 6, 3, 0, tzinfo=UTC)) == tuple(calendar)
    assert complete_days(calendar, datetime(2024, 3, 4, 23, 59, tzinfo=UTC)) == (), "bars dated ahead of the clock wait"


def test_the_watch_begins_with_the_newest_complete_day_and_leaves_history_alone():
    found = plan(first=None)
    assert days(found) == [DAYS[-1]]
    assert found.first == DAYS[-1]


def test_three_days_of_downtime_are_three_requests_oldest_first():
    found = plan(evaluated=DAYS[:3])
    assert days(found) == DAYS[3:]
    assert f"Requested: {DAYS[3]}, {DAYS[4]}, {DAYS[5]}." in found.sentences


def test_a_day_without_bars_is_no_day():
    assert days(plan(calendar=[DAYS[0], DAYS[3]])) == [DAYS[0], DAYS[3]]


def test_no_more_than_so_many_days_are_under_way_at_once():
    running = attempt(DAYS[0], "under way", LATER - timedelta(minutes=1))
    found = plan(attempts=[running], most=3)
    assert days(found) == DAYS[1:3]
    assert any("3 more follow" in sentence for sentence in found.sentences)
    assert any(f"{DAYS[0]} is under way in run 01234567" in sentence for sentence in found.sentences)


def test_a_day_that_was_asked_for_waits_ten_minutes_for_its_run():
    asked = {DAYS[-1]: LATER - timedelta(minutes=9)}
    assert days(plan(evaluated=DAYS[:-1], asked=asked)) == []
    assert days(plan(evaluated=DAYS[:-1], asked={DAYS[-1]: LATER - timedelta(minutes=10)})) == [DAYS[-1]]


def test_a_failed_day_is_tried_again_after_half_an_hour_and_left_to_a_person_after_three_failures():
    day, before = DAYS[-1], DAYS[:-1]
    minutes = [LATER - timedelta(minutes=m) for m in (200, 100, 29)]
    failures = [attempt(day, "failed", at, run=f"run{k}....") for k, at in enumerate(minutes)]
    early = plan(evaluated=before, attempts=failures[2:])
    assert days(early) == []
    assert any("tried again after 30 minutes" in sentence for sentence in early.sentences)
    (again,) = plan(evaluated=before, attempts=failures[:2]).requests
    assert (again.day, again.attempt, again.run_key) == (day, 3, f"drift/{day}/3")
    told = plan(evaluated=before, attempts=failures, now=LATER + timedelta(days=2))
    assert days(told) == []
    assert any("failed 3 times, last in run run2...." in s and "by hand" in s for s in told.sentences)


def test_a_run_that_ended_without_a_result_counts_as_an_attempt():
    done = attempt(DAYS[-1], "done", LATER - timedelta(hours=1))
    (again,) = plan(evaluated=DAYS[:-1], attempts=[done]).requests
    assert again.attempt == 2


def test_the_sentences_name_dates_and_numbers():
    found = plan(calendar=DAYS, evaluated=DAYS[:4], now=datetime(2024, 3, 9, 1, tzinfo=UTC))
    assert found.sentences[0] == (
        "1 of 5 complete days since 2024-03-04 wait (newest 2024-03-08); 2024-03-09 is not over yet."
    )
    assert plan(calendar=[]).sentences == ("No day is complete: the source has no bar of a traded symbol.",)


@given(
    evaluated=st.sets(st.sampled_from(DAYS)),
    running=st.sets(st.sampled_from(DAYS)),
    asked=st.sets(st.sampled_from(DAYS)),
    failures=st.lists(st.tuples(st.sampled_from(DAYS), st.integers(0, 300)), max_size=8),
)
def test_whatever_happened_no_day_is_asked_for_twice(
    evaluated: set[date], running: set[date], asked: set[date], failures: list[tuple[date, int]]
):
    attempts = [attempt(day, "under way", LATER) for day in running]
    attempts += [attempt(day, "failed", LATER - timedelta(minutes=m)) for day, m in failures]
    found = plan(evaluated=sorted(evaluated), attempts=attempts, asked=dict.fromkeys(asked, LATER))
    wanted = days(found)
    assert wanted == sorted(set(wanted))
    assert not set(wanted) & (evaluated | running)
    for day in set(wanted) & asked:
        pytest.fail(f"{day} was asked for at this very moment")
    assert len(wanted) <= MOST_A_TICK
    again = plan(
        evaluated=sorted(evaluated), attempts=attempts, asked=dict.fromkeys([*asked, *wanted], LATER), first=found.first
    )
    assert not set(days(again)) & set(wanted)


def night(day: date, verdict: str, model: str = "new") -> Night:
    return Night(day=day, verdict=verdict, model=model, fold="f")


def retrain(
    nights: Sequence[Night],
    *,
    need: int = 3,
    model: str = "new",
    days: Sequence[date] | None = None,
    runs: Sequence[Attempt] = (),
    asked: datetime | None = None,
    under_way: int = 0,
    awaited: int = 0,
) -> RetrainPlan:
    return plan_retrain(
        nights,
        now=LATER,
        days=sorted(one.day for one in nights) if days is None else days,
        model=model,
        fold="f2024-01-01",
        need=need,
        runs=runs,
        asked=asked,
        under_way=under_way,
        awaited=lambda: awaited,
    )


THREE = [night(day, "retrain") for day in DAYS[:3]]


def test_so_many_nights_in_a_row_ask_and_fewer_do_not():
    assert not retrain(THREE[:2]).wanted
    found = retrain(THREE)
    assert found.wanted
    assert found.nights == tuple(DAYS[:3])
    assert found.sentence == (
        "3 of 3 nights in a row say retrain against fold f2024-01-01 (model new): 2024-03-04 to 2024-03-06. A retrain is "
        "requested."
    )


@pytest.mark.parametrize("verdict", ["stable", "investigate"])
def test_a_night_that_does_not_say_retrain_ends_the_streak(verdict: str):
    nights = [night(DAYS[0], "retrain"), night(DAYS[1], "retrain"), night(DAYS[2], verdict), night(DAYS[3], "retrain")]
    found = retrain(nights)
    assert found.nights == (DAYS[3],)
    assert not found.wanted


def test_a_night_without_enough_data_is_neither_a_pass_nor_significant():
    kinds = ["retrain", "insufficient_data", "retrain", "insufficient_data"]
    nights = [night(day, kind) for day, kind in zip(DAYS, kinds, strict=False)]
    found = retrain(nights)
    assert not found.wanted
    assert found.nights == (DAYS[0], DAYS[2])
    assert "2 without enough data do not count" in found.sentence
    assert retrain([*nights, night(DAYS[4], "retrain")]).wanted


def test_a_streak_goes_on_over_two_nights_without_enough_data_and_not_over_three():
    for n, length in ((2, 3), (3, 1)):
        kinds = ["retrain", "retrain", *["insufficient_data"] * n, "retrain"]
        found = retrain([night(day, kind) for day, kind in zip(DAYS, kinds, strict=False)])
        assert len(found.nights) == length


def test_a_complete_day_without_a_result_ends_the_streak_whether_old_or_new():
    nights = [*THREE[:2], night(DAYS[3], "retrain"), night(DAYS[4], "retrain")]
    assert retrain(nights, days=DAYS[:5]).nights == (DAYS[3], DAYS[4])
    newest = retrain(THREE, days=DAYS[:4])
    assert newest.nights == ()
    assert "2024-03-07 has no result" in newest.sentence


def test_after_a_retrain_the_streak_starts_anew():
    nights = [night(day, "retrain", model="old") for day in DAYS[:4]]
    assert retrain(nights, model="old").wanted
    assert retrain(nights).nights == ()
    assert "No streak" in retrain(nights).sentence
    assert retrain([*nights, night(DAYS[4], "retrain")]).nights == (DAYS[4],)


def test_a_retrain_that_would_add_no_fold_waits_for_bars_and_nights_under_way_are_waited_for():
    found = retrain(THREE, awaited=7)
    assert not found.wanted
    assert found.sentence.endswith("A retrain would add no fold yet: it waits for 7 more bars.")
    assert not retrain(THREE, under_way=1).wanted


def test_a_retrain_is_asked_for_once_while_its_run_is_due_or_under_way():
    assert not retrain(THREE, asked=LATER - timedelta(minutes=9)).wanted
    assert retrain(THREE, asked=LATER - timedelta(minutes=10)).wanted
    running = attempt(DAYS[2], "under way", LATER - timedelta(hours=9))
    assert "under way in run 01234567" in retrain(THREE, runs=[running]).sentence


@pytest.mark.parametrize("state", ["failed", "done"])
def test_a_retrain_that_left_the_model_as_it_was_is_asked_for_again_three_times_in_all(state: str):
    runs = [attempt(DAYS[2], state, LATER - timedelta(minutes=m)) for m in (200, 100, 29)]
    assert "tried again after 30 minutes" in retrain(THREE, runs=runs[2:]).sentence
    again = retrain(THREE, runs=runs[:2])
    assert (again.wanted, again.attempt) == (True, 3)
    left = retrain(THREE, runs=[*runs[:2], attempt(DAYS[2], state, LATER - timedelta(hours=1))])
    assert not left.wanted
    assert "3 retrains left the model as it was" in left.sentence


@given(st.integers(1, 6), st.integers(0, 4), st.integers(1, 3), st.integers(0, 30))
def test_the_bars_awaited_are_those_that_the_walk_forward_lacks(test: int, gap: int, horizon: int, extra: int):
    step = test + gap
    lengths = FoldPlan(train=3, validation=2, test=test, step=step, purge=3, horizon=horizon)
    least = lengths.bars_before_test + test + horizon

    def folds(n: int) -> tuple[Fold, ...]:
        calendar = [LATER + timedelta(days=k) for k in range(n)]
        return plan_folds(calendar, lengths, first_bar=0, stop_bar=n, intraday=False)

    newest = folds(least + extra)
    wait = bars_awaited(least + extra - newest[-1].test.stop, step=step, horizon=horizon)
    assert wait > 0
    assert len(folds(least + extra + wait - 1)) == len(newest)
    assert len(folds(least + extra + wait)) == len(newest) + 1


def test_a_bar_that_closes_at_midnight_is_of_the_day_before_unless_it_is_a_date():
    midnight = datetime(2024, 3, 5, tzinfo=UTC)
    assert day_of(midnight, dated=False) == date(2024, 3, 4)
    assert day_of(midnight + timedelta(minutes=1), dated=False) == date(2024, 3, 5)
    assert day_of(midnight, dated=True) == date(2024, 3, 5)


def test_a_day_is_judged_by_the_newest_fold_whose_test_had_begun_and_days_before_all_tests_are_left_out():
    assert [fold_for(day, [DAYS[1], DAYS[3]]) for day in DAYS[:5]] == [None, 0, 0, 1, 1]
    found = plan_days(
        now=LATER, calendar=DAYS, evaluated=(), attempts=(), asked={}, first=DAYS[0], tests=[DAYS[4], DAYS[5]]
    )
    assert days(found) == DAYS[4:]
    assert found.days == tuple(DAYS[4:])
    assert sum("4 days before 2024-03-08 are left out" in sentence for sentence in found.sentences) == 1
