"""Periods and folds for a snapshot: what the rule promises, checked with the folds that the pipeline plans from it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.experiment import ConfigurationError, Experiment, parse_experiment
from tft_pipeline.domain.folds import Fold, plan_folds
from tft_pipeline.domain.sections import FoldsSection
from tft_pipeline.domain.snapshot_plan import (
    PRODUCTION_FOLDS,
    SnapshotCalendar,
    bars_needed,
    fit_to_calendar,
)
from tft_pipeline.storage.layout import PROJECT_ROOT

TEMPLATE = parse_experiment(
    yaml.safe_load((PROJECT_ROOT / "experiments" / "intraday.yaml").read_text()), origin="intraday.yaml"
)
FIRST = 60
PARTS = ("train", "validation", "test", "step")


BEGIN = datetime(2025, 7, 16, 0, 1, tzinfo=UTC)
STAMPS = [BEGIN + timedelta(minutes=k) for k in range(260_000)]


def stamps_of(n_bars: int) -> list[datetime]:
    return STAMPS[:n_bars]


def calendar_of(stamps: list[datetime]) -> SnapshotCalendar:
    days = np.datetime64(stamps[0].replace(tzinfo=None), "m") + np.arange(len(stamps))
    return SnapshotCalendar(dates=days.astype("datetime64[D]"), first=FIRST)


def fitted(n_bars: int, lookback: int = 64) -> tuple[Experiment, list[datetime]]:
    stamps = stamps_of(n_bars)
    plan = fit_to_calendar(TEMPLATE, calendar_of(stamps), lookback=lookback)
    content = TEMPLATE.model_dump(mode="python")
    for key, value in {"training.lookback": lookback, "training.warmup_bars": lookback // 4, **plan.changes}.items():
        *sections, name = key.split(".")
        part = content
        for section in sections:
            part = part[section]
        part[name] = value
    return parse_experiment(content, origin="fitted"), stamps


def start_of(experiment: Experiment, stamps: list[datetime]) -> int:
    midnight = datetime.combine(experiment.periods.production_start, datetime.min.time(), UTC)
    return (midnight - stamps[0]) // timedelta(minutes=1)


def research(experiment: Experiment, stamps: list[datetime], section: FoldsSection) -> tuple[Fold, ...]:
    purge = experiment.periods.purge
    return plan_folds(
        stamps,
        section.plan(purge=purge, horizon=1),
        first_bar=FIRST,
        stop_bar=start_of(experiment, stamps) - purge,
        intraday=True,
        max_folds=section.max_folds,
    )


def production(experiment: Experiment, stamps: list[datetime]) -> tuple[Fold, ...]:
    return plan_folds(
        stamps,
        experiment.production.folds.plan(purge=experiment.periods.purge, horizon=1),
        first_bar=FIRST,
        stop_bar=len(stamps),
        first_test=start_of(experiment, stamps),
        intraday=True,
    )


@settings(max_examples=40)
@given(n_bars=st.integers(2_000, 140_000), lookback=st.sampled_from([16, 32, 64, 128]))
def test_a_snapshot_is_refused_or_every_fold_of_the_template_finds_room_and_production_is_scored_whole(
    n_bars: int, lookback: int
) -> None:
    fullest = min(1440, max(1439, n_bars - 1439))  # the first bar closes at 00:01
    needed = FIRST + bars_needed(TEMPLATE, lookback=lookback, bars_a_day=fullest)
    if n_bars < needed:
        with pytest.raises(ConfigurationError, match=f"has {n_bars} bars .* and {needed} are needed"):
            fitted(n_bars, lookback)
        return
    experiment, stamps = fitted(n_bars, lookback)
    for section, template in (
        (experiment.exploration.folds, TEMPLATE.exploration.folds),
        (experiment.tuning.folds, TEMPLATE.tuning.folds),
    ):
        assert len(research(experiment, stamps, section)) == template.max_folds
        assert all(getattr(section, part) <= getattr(template, part) for part in PARTS)
    folds = production(experiment, stamps)
    assert 1 <= len(folds) <= PRODUCTION_FOLDS
    assert len(stamps) - 1 - folds[-1].test.stop < len(folds)  # the last bar has no label


def test_with_the_bars_of_the_template_nothing_is_scaled_and_production_is_the_last_third() -> None:
    experiment, stamps = fitted(90 * 1440)
    assert experiment.exploration == TEMPLATE.exploration
    assert experiment.tuning == TEMPLATE.tuning
    assert experiment.periods.production_start == TEMPLATE.periods.production_start
    assert len(production(experiment, stamps)) == 3


def test_folds_are_as_long_as_the_research_bars_allow() -> None:
    """One more step of every length, and the last fold would not fit."""
    experiment, stamps = fitted(9 * 1440)
    folds = research(experiment, stamps, experiment.exploration.folds)
    assert folds[0].train.start - FIRST < 8  # one bar that rounding may lose a part
    assert experiment.exploration.folds.train < TEMPLATE.exploration.folds.train


def test_more_bars_lengthen_production_and_no_research_fold() -> None:
    short, _ = fitted(90 * 1440)
    long, _ = fitted(180 * 1440)
    assert long.exploration.folds == short.exploration.folds
    assert long.production.folds.test > 1.9 * short.production.folds.test


def test_bars_of_one_date_are_refused_for_production_starts_with_a_date() -> None:
    dates = np.full(200_000, np.datetime64("2025-07-15"))
    with pytest.raises(ConfigurationError, match="has 200000 bars of a symbol and"):
        fit_to_calendar(TEMPLATE, SnapshotCalendar(dates=dates, first=FIRST), lookback=64)


def test_a_lookback_longer_than_the_templates_validation_is_refused_whatever_the_number_of_bars() -> None:
    with pytest.raises(ConfigurationError, match=r"lookback of 2000 needs .* never stretched; lower --seq-len"):
        fit_to_calendar(TEMPLATE, calendar_of(stamps_of(20_000)), lookback=2000)


def test_days_of_unequal_numbers_of_bars_leave_a_clear_refusal_not_a_broken_plan() -> None:
    """All bars but a few lie on the last date: no date that production could start with leaves research enough."""
    dates = np.array(["2025-07-14"] * 400 + ["2025-07-15"] * 40_000, dtype="datetime64[D]")
    with pytest.raises(ConfigurationError, match="are needed for a lookback of 64"):
        fit_to_calendar(TEMPLATE, SnapshotCalendar(dates=dates, first=FIRST), lookback=64)
