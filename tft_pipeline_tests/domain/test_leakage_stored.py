"""Guards over what is stored: honest predictions and publications hold, and each way to know the future is named."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.bar_publications import publish_in_time
from tft_pipeline.domain.leakage import Finding
from tft_pipeline.domain.leakage_stored import (
    predictions_are_paid_by_the_stored_targets,
    predictions_know_the_past_only,
    publications_are_not_used_early,
)
from tft_pipeline.domain.planning import production_folds
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.targets import build_targets
from tft_pipeline_tests.builders import planned, ragged_bars, small, toy_panel
from tft_pipeline_tests.conftest import random_bars

BARS = ragged_bars(seed=1).sort("symbol", "timestamp")


def targets() -> pl.DataFrame:
    span = small().target.volatility_span
    return build_targets(BARS, horizon=1, volatility_span=span, bars_per_year=252, untraded=())


def plan() -> FoldPlanReport:
    panel = toy_panel(BARS, small())
    specs = planned(panel, small(), production_folds(panel, small()), production=True)
    return FoldPlanReport(phase="production", snapshot_id="", purge=5, specs=specs)


def predictions() -> dict[str, pl.DataFrame]:
    """Of every fold: each observed bar of its test dates, in another order than the targets have."""
    history = pl.int_range(1, pl.len() + 1).over("symbol")
    observed = targets().sort("symbol", "timestamp").filter(history >= plan().specs[0].min_history)
    found = {}
    for spec in plan().specs:
        first, last = (datetime.fromisoformat(spec.dates["test"][part]) for part in ("first", "last"))
        rows = observed.filter(pl.col("timestamp").is_between(first, last)).sort("timestamp", "symbol")
        paid = rows.select("timestamp", "symbol", pl.col("next_return", "volatility", "label").fill_null(float("nan")))
        found[spec.key] = paid.with_columns(raw_position=pl.lit(0.5))
    return found


def paid(changes: dict[str, pl.DataFrame] | None = None) -> Finding:
    return predictions_are_paid_by_the_stored_targets(predictions() | (changes or {}), plan(), targets())


def test_predictions_with_the_targets_of_their_bars_are_no_leak() -> None:
    found = paid()
    assert found.state == "held", found
    assert sum(frame.height for frame in predictions().values()) > 300
    assert any(frame["next_return"].is_nan().any() for frame in predictions().values())


@pytest.mark.parametrize("name", ["next_return", "volatility", "label"])
@pytest.mark.parametrize("bars", [1, -1])
def test_targets_of_another_bar_are_named(name: str, bars: int) -> None:
    key = plan().specs[1].key
    found = paid(
        {key: predictions()[key].with_columns(pl.col(name).shift(bars).over("symbol").fill_null(pl.col(name)))}
    )
    assert found.state == "leak"
    assert found.detail.startswith(f"fold {key}: {name} of ")


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[1:],
        lambda rows: pl.concat([rows, rows[:1]]),
        lambda rows: rows.filter(pl.col("next_return") > -0.01),
    ],
    ids=["one is missing", "one is there twice", "losses are left out"],
)
def test_rows_that_are_missing_or_twice_there_are_named(change: Any) -> None:
    key = plan().specs[0].key
    found = paid({key: change(predictions()[key])})
    assert found.state == "leak"
    assert "are due" in found.detail


def test_rows_of_other_dates_are_named() -> None:
    one, other = (spec.key for spec in plan().specs[:2])
    found = paid({one: predictions()[other]})
    assert found.state == "leak"
    assert "other dates" in found.detail


PRICES = random_bars(60, ("AAA", "BBB"), seed=4).sort("symbol", "timestamp")
CUTS = [PRICES["timestamp"].unique().sort()[bar] for bar in (20, 40)]


def decided(cut: datetime | None, *, ahead: int = 0, whole: bool = False, scale: float = 1.0) -> pl.DataFrame:
    """Position of the sign of the last move, known `ahead` bars early; or of the place within all prices."""
    noisy = PRICES["close"] * pl.Series(np.exp(np.random.default_rng(0).normal(size=PRICES.height)))
    close = (
        pl.col("close") if cut is None else pl.when(pl.col("timestamp") > cut).then(noisy).otherwise(pl.col("close"))
    )
    frame = PRICES.with_columns(close.alias("close"))
    move = pl.col("close").mean() if whole else pl.col("close").shift(1)
    position = ((pl.col("close") / move - 1.0) * scale).shift(-ahead).over("symbol").fill_null(float("nan"))
    return frame.select(
        "timestamp", "symbol", raw_position=position, mean=float("nan"), next_return=0.0, volatility=0.1, label=0.0
    ).sample(fraction=1.0, shuffle=True, seed=1)


def test_decisions_of_older_bars_are_no_leak() -> None:
    found = predictions_know_the_past_only(decided, decided(None), CUTS)
    assert found.state == "held", found
    assert found.tried.startswith("2 columns of 120 predictions")


@pytest.mark.parametrize("how", [{"ahead": 1}, {"ahead": 3}, {"whole": True}], ids=str)
def test_decisions_that_know_later_bars_are_named(how: dict[str, Any]) -> None:
    found = predictions_know_the_past_only(lambda cut: decided(cut, **how), decided(None, **how), CUTS)
    assert found.state == "leak"
    assert "are replaced" in found.detail


def test_bars_that_are_left_out_by_what_comes_later_are_named() -> None:
    def chosen(cut: datetime | None) -> pl.DataFrame:
        moved = decided(cut, ahead=1)["raw_position"]
        return decided(cut).filter(moved.fill_nan(0.0) > -0.01)

    found = predictions_know_the_past_only(chosen, chosen(None), CUTS)
    assert found.state == "leak"
    assert found.detail.startswith("which bars up to ")


def test_stored_decisions_that_the_model_does_not_give_are_named() -> None:
    found = predictions_know_the_past_only(decided, decided(None, ahead=1), CUTS)
    assert found.state == "leak"
    assert found.detail.startswith("the stored raw_position of AAA at ")
    fewer = decided(None).filter(pl.col("timestamp") != CUTS[0])
    assert predictions_know_the_past_only(decided, fewer, CUTS).state == "leak"


def test_decisions_that_differ_by_rounding_were_made_elsewhere() -> None:
    found = predictions_know_the_past_only(decided, decided(None, scale=1.0 + 1e-7), CUTS)
    assert found.state == "not_verifiable"
    assert "by rounding alone" in found.detail
    assert predictions_know_the_past_only(decided, decided(None, scale=1.01), CUTS).state == "leak"


def test_predictions_without_a_decision_were_not_tried() -> None:
    empty = lambda cut: decided(cut).with_columns(raw_position=float("nan"))  # noqa: E731
    assert predictions_know_the_past_only(empty, empty(None), CUTS).state == "not_verifiable"


def published(hours: int) -> pl.DataFrame:
    """A column of the source's own, of which every fifth value is restated nine days later."""
    frame = random_bars(60).sort("symbol", "timestamp")
    first = frame.with_columns(
        available_at=pl.col("timestamp") + pl.duration(hours=hours), mood=pl.col("close").log()
    ).select("timestamp", "symbol", "close", "available_at", "mood")
    again = first.gather_every(5).with_columns(pl.col("mood") + 1.0, pl.col("available_at") + timedelta(days=9))
    return pl.concat([first, again]).sort("symbol", "timestamp", "available_at")


@pytest.mark.parametrize("hours", [-5, 0, 30, 480])
def test_values_used_when_they_are_public_are_no_leak(hours: int) -> None:
    source = published(hours)
    found = publications_are_not_used_early(publish_in_time(source), source, ["mood"])
    assert found.state == "held", found


@pytest.mark.parametrize("bars", [0, -5], ids=["on their own day", "five bars early"])
def test_values_used_before_they_are_public_are_named(bars: int) -> None:
    """Neither frame ever saw the function that publishes in time."""
    source = published(30)
    plain = source.unique(["timestamp", "symbol"], keep="first", maintain_order=True)
    found = publications_are_not_used_early(
        plain.with_columns(pl.col("mood").shift(bars).over("symbol")), source, ["mood"]
    )
    assert found.state == "leak"
    assert "which was published first at" in found.detail


def test_values_that_the_source_never_had_are_named() -> None:
    source = published(30)
    found = publications_are_not_used_early(
        publish_in_time(source).with_columns(pl.col("mood") * 2.0), source, ["mood"]
    )
    assert found.state == "leak"
    assert "nowhere in the source" in found.detail


def test_a_column_without_a_value_cannot_be_looked_up() -> None:
    source = published(30).with_columns(mood=pl.lit(None, pl.Float64))
    assert publications_are_not_used_early(publish_in_time(source), source, ["mood"]).state == "not_verifiable"
