from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.folds import Fold, FoldPlan, Span, fold_key, plan_folds
from tft_pipeline_tests.oracles.folds import skfolio_windows, walk_forward

FIRST = datetime(2020, 1, 6, tzinfo=UTC)


def days(n: int) -> list[datetime]:
    return [FIRST + timedelta(days=k) for k in range(n)]


def bars(span: Span) -> list[int]:
    return list(range(*span))


@st.composite
def plans(draw: st.DrawFn) -> FoldPlan:
    horizon = draw(st.integers(1, 4))
    test = draw(st.integers(1, 12))
    return FoldPlan(
        train=draw(st.integers(1, 30)),
        validation=draw(st.integers(1, 12)),
        test=test,
        step=draw(st.integers(test, test + 8)),
        purge=draw(st.integers(horizon, horizon + 5)),
        horizon=horizon,
        window=draw(st.sampled_from(["expanding", "sliding"])),
    )


def room(plan: FoldPlan) -> int:
    """Bars one fold needs, labels included."""
    return plan.bars_before_test + plan.test + plan.horizon


@settings(max_examples=150, deadline=None)
@given(plan=plans(), first_bar=st.integers(0, 20), extra=st.integers(0, 60), held_back=st.integers(0, 10))
def test_folds_equal_those_found_by_trying_every_bar(plan, first_bar, extra, held_back):
    n = first_bar + room(plan) + extra + held_back
    stop_bar = n - held_back
    expected = walk_forward(n, plan, first_bar=first_bar, stop_bar=stop_bar)
    folds = plan_folds(days(n), plan, first_bar=first_bar, stop_bar=stop_bar, intraday=False)
    assert [(bars(f.train), bars(f.validation), bars(f.test)) for f in folds] == [tuple(parts) for parts in expected]


@settings(max_examples=150, deadline=None)
@given(plan=plans(), first_bar=st.integers(0, 20), extra=st.integers(0, 60))
def test_no_label_of_an_earlier_part_reaches_a_scored_bar_of_a_later_one(plan, first_bar, extra):
    n = first_bar + room(plan) + extra
    folds = plan_folds(days(n), plan, first_bar=first_bar, stop_bar=n, intraday=False)
    for fold in folds:
        label_ends = {part: [t + plan.horizon for t in bars(getattr(fold, part))] for part in ("train", "validation")}
        # the first scored label of a part is that of its first bar, and it looks at the bar after it
        assert max(label_ends["train"]) <= fold.validation.start
        assert max(label_ends["validation"]) <= fold.test.start
        assert fold.validation.start - fold.train.stop == plan.purge
        assert fold.test.start - fold.validation.stop == plan.purge
        assert fold.test.stop - 1 + plan.horizon <= n - 1
        assert fold.train.start >= first_bar
        assert fold.train.n_bars >= plan.train
    scored = [t for fold in folds for t in bars(fold.test)]
    assert len(scored) == len(set(scored))


@settings(max_examples=100, deadline=None)
@given(plan=plans(), extra=st.integers(0, 40), more=st.integers(0, 60))
def test_more_bars_add_folds_and_leave_the_old_ones_as_they_were(plan, extra, more):
    n = room(plan) + extra
    before = plan_folds(days(n), plan, first_bar=0, stop_bar=n, intraday=False)
    after = plan_folds(days(n + more), plan, first_bar=0, stop_bar=n + more, intraday=False)
    assert after[: len(before)] == before
    assert len(after) - len(before) in (more // plan.step, more // plan.step + 1)


@settings(max_examples=100, deadline=None)
@given(plan=plans(), extra=st.integers(0, 60))
def test_windows_equal_those_of_skfolio_where_every_bar_is_scored(plan, extra):
    plan = FoldPlan(
        train=plan.train,
        validation=plan.validation,
        test=plan.test,
        step=plan.test,
        purge=plan.purge,
        horizon=plan.horizon,
        window=plan.window,
    )
    n = room(plan) + extra
    folds = plan_folds(days(n), plan, first_bar=0, stop_bar=n, intraday=False)
    expanding = plan.window == "expanding"
    scorable = n - plan.horizon
    # skfolio has two parts: once train against the rest, once all that is fitted on against the test
    train = skfolio_windows(
        scorable,
        train=plan.train,
        test=plan.test,
        purged=plan.validation + 2 * plan.purge,
        expanding=expanding,
    )
    assert [(bars(f.train), bars(f.test)) for f in folds] == train
    fitted = skfolio_windows(
        scorable,
        train=plan.train + plan.purge + plan.validation,
        test=plan.test,
        purged=plan.purge,
        expanding=expanding,
    )
    assert [(f.train.start, f.validation.stop - 1) for f in folds] == [(seen[0], seen[-1]) for seen, _ in fitted]


def test_the_docstrings_example_holds():
    plan = FoldPlan(train=4, validation=1, test=2, step=2, purge=1, horizon=1)
    (fold,) = plan_folds(days(10), plan, first_bar=0, stop_bar=10, intraday=False)
    assert (bars(fold.train), bars(fold.validation), bars(fold.test)) == ([0, 1, 2, 3], [5], [7, 8])


SMALL = FoldPlan(train=20, validation=5, test=4, step=4, purge=2, horizon=1)


def test_an_expanding_window_keeps_its_start_and_a_sliding_one_its_length():
    expanding = plan_folds(days(80), SMALL, first_bar=3, stop_bar=80, intraday=False)
    sliding_plan = FoldPlan(train=20, validation=5, test=4, step=4, purge=2, horizon=1, window="sliding")
    sliding = plan_folds(days(80), sliding_plan, first_bar=3, stop_bar=80, intraday=False)
    assert len(expanding) > 5
    assert {fold.train.start for fold in expanding} == {3}
    assert {fold.train.n_bars for fold in sliding} == {20}
    assert [fold.train.stop for fold in expanding] == [fold.train.stop for fold in sliding]
    assert [fold.test for fold in expanding] == [fold.test for fold in sliding]


def test_a_first_test_bar_is_honoured_and_tests_tile_from_there():
    folds = plan_folds(days(80), SMALL, first_bar=0, stop_bar=80, first_test=50, intraday=False)
    scored = [t for fold in folds for t in bars(fold.test)]
    assert scored == list(range(50, 50 + len(scored)))
    assert len(scored) == 28


@pytest.mark.parametrize("n", [0, 1, 30, 33])
def test_too_few_bars_say_how_many_there_are_and_how_many_are_needed(n):
    with pytest.raises(ValueError, match="too few bars") as caught:
        plan_folds(days(n), SMALL, first_bar=0, stop_bar=n, intraday=False)
    assert f"({max(n - 1, 0)} bars)" in str(caught.value)
    assert "needs 29 bars" in str(caught.value)
    assert "4 scored bars" in str(caught.value)
    assert plan_folds(days(34), SMALL, first_bar=0, stop_bar=34, intraday=False)


def test_a_first_test_bar_without_enough_bars_before_it_is_refused():
    with pytest.raises(ValueError, match="first scored bar would be 28"):
        plan_folds(days(80), SMALL, first_bar=0, stop_bar=80, first_test=28, intraday=False)


def test_max_folds_keeps_the_latest():
    every = plan_folds(days(80), SMALL, first_bar=0, stop_bar=80, intraday=False)
    kept = plan_folds(days(80), SMALL, first_bar=0, stop_bar=80, intraday=False, max_folds=3)
    assert kept == every[-3:]
    assert plan_folds(days(80), SMALL, first_bar=0, stop_bar=80, intraday=False, max_folds=999) == every
    with pytest.raises(ValueError, match="max_folds 0 < 1"):
        plan_folds(days(80), SMALL, first_bar=0, stop_bar=80, intraday=False, max_folds=0)


def test_keys_are_dates_of_the_calendar_with_its_gaps():
    calendar = [day for day in days(90) if day.weekday() < 5 and day.day != 17]
    folds = plan_folds(calendar, SMALL, first_bar=0, stop_bar=len(calendar), intraday=False)
    assert [fold.key for fold in folds] == [f"f{calendar[fold.test.start]:%Y-%m-%d}" for fold in folds]
    assert len({fold.key for fold in folds}) == len(folds)
    assert {fold.test.n_bars for fold in folds} == {4}


@given(stamp=st.datetimes(min_value=datetime(1980, 1, 1)), intraday=st.booleans())
def test_keys_are_safe_as_partition_keys_and_folder_names(stamp, intraday):
    key = fold_key(stamp, intraday=intraday)
    assert not any(part in key for part in ("|", ",", "...", "/", ":", " "))
    assert key.startswith("f")


def test_an_intraday_key_has_the_time():
    stamp = datetime(2023, 3, 1, 6, 0, tzinfo=UTC)
    assert fold_key(stamp, intraday=True) == "f2023-03-01T0600"
    assert fold_key(stamp, intraday=False) == "f2023-03-01"
    minutes = [FIRST + timedelta(minutes=k) for k in range(80)]
    keys = [fold.key for fold in plan_folds(minutes, SMALL, first_bar=0, stop_bar=80, intraday=True)]
    assert len(set(keys)) == len(keys) > 5


def test_two_folds_of_one_date_are_refused_where_keys_have_no_time():
    hours = [FIRST + timedelta(hours=k) for k in range(80)]
    with pytest.raises(ValueError, match=r"both be named f2020-01-0\d.*several bars on that date"):
        plan_folds(hours, SMALL, first_bar=0, stop_bar=80, intraday=False)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"purge": 1, "horizon": 2}, "purge 1 < horizon 2"),
        ({"step": 3}, "step 3 < test 4"),
        ({"train": 0}, "train 0 < 1"),
        ({"validation": 0}, "validation 0 < 1"),
        ({"test": 0}, "test 0 < 1"),
        ({"horizon": 0}, "horizon 0 < 1"),
    ],
)
def test_lengths_that_cannot_be_are_refused(changes, match):
    lengths = {"train": 20, "validation": 5, "test": 4, "step": 4, "purge": 2, "horizon": 1} | changes
    with pytest.raises(ValueError, match=match):
        FoldPlan(**lengths)


def test_a_shifted_fold_names_the_same_bars_of_a_cut_calendar():
    calendar = days(80)
    fold = plan_folds(calendar, SMALL, first_bar=7, stop_bar=80, intraday=False)[2]
    cut = fold.shifted(-5)
    assert isinstance(cut, Fold)
    assert cut.to_dict(calendar[5:])["test"]["first"] == fold.to_dict(calendar)["test"]["first"]
    assert cut.train == Span(fold.train.start - 5, fold.train.stop - 5)
    assert cut.shifted(5) == fold


def test_the_fold_table_shows_first_and_last_bar_of_each_part():
    calendar = days(80)
    fold = plan_folds(calendar, SMALL, first_bar=0, stop_bar=80, intraday=False)[0]
    row = fold.to_dict(calendar)
    assert row["fold"] == fold.key
    assert row["train"] == {
        "start": 0,
        "stop": 20,
        "first": calendar[0].isoformat(),
        "last": calendar[19].isoformat(),
        "n_bars": 20,
    }
    assert row["test"]["last"] == calendar[32].isoformat()
