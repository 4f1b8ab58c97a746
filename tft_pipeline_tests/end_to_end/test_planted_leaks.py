"""Every planted leak is named by its guard, by no other, and by nobody once that guard is gone.

The leaks are planted into the pipeline's own code (`planted`), some after an honest run, some before folds or features are
stored. Seeds and limits stand in the guards' own modules; they are fixed there and not adapted to results.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from _pytest.mark.structures import ParameterSet

from tft_pipeline.domain.experiment_features import feature_row
from tft_pipeline.domain.features.cross_market import cross_market_features
from tft_pipeline.domain.features.intraday import INTRADAY
from tft_pipeline.domain.findings import LeakageAudit
from tft_pipeline.domain.leakage_minutes import rows_inside
from tft_pipeline.domain.minutes import MINUTE_COLUMNS, join_minutes
from tft_pipeline.domain.reports import FeatureCatalogue
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.pipeline import guards
from tft_pipeline.pipeline.evidence import Evidence
from tft_pipeline.pipeline.guards import GUARDS, audit
from tft_pipeline.pipeline.io_managers import FRAME_FILE
from tft_pipeline.pipeline.runs import RunOutcome, materialise
from tft_pipeline_tests.builders import ragged_bars
from tft_pipeline_tests.conftest import N_BARS, Workbench, write_experiment
from tft_pipeline_tests.planted import (
    LEAKS,
    RESEARCH,
    SLOW_LEAKS,
    SLOW_STORED_LEAKS,
    STORED_LEAKS,
    Leak,
    label_in_the_volatility,
    paid_by_the_same_day,
    positions_of_the_next_bar,
    prefilter_on_all_bars,
    scaler_of_everything,
    selection_on_production,
)
from tft_pipeline_tests.stored import stored_evidence, stored_fold, stored_report

NOT_USED = {"context_labels_are_resolved", "publications_are_not_used_early", "minutes_are_not_used_early"}


@pytest.fixture(scope="module")
def evidences(_finished: Path) -> Iterator[Mapping[str, Evidence]]:
    """What the finished run stored, and the same with folds that read context sequences, by how they are chosen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(_finished / "home" / "dagster"))
        plain = stored_evidence(Workbench(_finished))
        assert plain.newest_slice.n_bars  # read before a leak is planted where panels are built
        context = {choice: with_context(plain, choice) for choice in ("random", "time_equivalent")}
        yield {"": plain, "minutes": with_minutes(plain), **context}


def with_context(plain: Evidence, choice: str) -> Evidence:
    """The same folds, fitted again to read two sequences of five bars."""
    changes = {"n_context": 2, "context_bars": 5, "context_choice": choice}
    specs = tuple(
        spec.model_copy(update={"network": spec.network.model_copy(update=changes)})
        for spec in plain.production_plan.specs
    )
    plan = plain.production_plan.model_copy(update={"specs": specs})
    network = plain.experiment.network.model_copy(update=changes)
    explored = tuple(spec.model_copy(update={"network": network}) for spec in plain.exploration_plan.specs)
    evidence = replace(
        plain,
        experiment=plain.experiment.model_copy(update={"network": network}),
        exploration_plan=plain.exploration_plan.model_copy(update={"specs": explored}),
        exploration_folds={
            spec.key: plain.exploration_folds[spec.key].model_copy(update={"spec_sha256": spec.content_sha256()})
            for spec in explored
        },
        tuned=plain.tuned.model_copy(update={"network": network}),
        production_plan=plan,
    )
    folds = {}
    for spec in specs:
        stamps = [stamp.isoformat() for stamp in evidence.panel.calendar]
        cut = evidence.panel.between(stamps.index(spec.first), stamps.index(spec.last) + 1).listed()
        fitted = fit_fold(
            cut,
            spec.fold,
            network=spec.network,
            training=spec.training,
            position=spec.position,
            target_volatility=spec.target_volatility,
            horizon=spec.horizon,
            bars_per_year=spec.bars_per_year,
            epochs=1,
            seed=spec.seeds[0],
        )
        folds[spec.key] = replace(plain.production_folds[spec.key], fitted=fitted)
    newest = replace(evidence, production_folds=folds)
    folds[plan.specs[-1].key] = replace(folds[plan.specs[-1].key], predictions=newest.predicted(None))
    return replace(evidence, production_folds=folds)


def with_minutes(plain: Evidence) -> Evidence:
    """The same run, had its newest bars had minutes: half an hour of them before and after each close."""
    rng = np.random.default_rng(7)
    at = plain.bars.filter(pl.col("timestamp") >= plain.bars["timestamp"].unique().sort()[-12])
    minutes = at.join(pl.DataFrame({"back": range(-30, 30)}), how="cross").select(
        pl.col("timestamp") - pl.duration(minutes="back"),
        "symbol",
        pl.col("close") * pl.Series(np.exp(0.001 * rng.standard_normal(60 * at.height))),
    )
    data = plain.experiment.data.model_copy(update={"minute_source": "minutes.parquet"})
    return replace(
        plain,
        experiment=plain.experiment.model_copy(update={"data": data}),
        bars=join_minutes(plain.bars, minutes.lazy(), timezone=None).bars,
        minutes=lambda bars: rows_inside(minutes.lazy(), bars, None),
    )


def with_a_coin(plain: Evidence, *, bar: int) -> Evidence:
    """The same run, had it had another market that begins at a bar of the calendar."""
    ticks = plain.bars["timestamp"].unique().sort()[bar:]
    close = 9_000.0 * np.exp(np.cumsum(np.random.default_rng(11).normal(0.0, 0.03, len(ticks))))
    coin = pl.DataFrame({"timestamp": ticks, "symbol": "COIN", "close": close})
    about = feature_row(next(row for row in cross_market_features("coin", "COIN") if row.name == "coin_vol_21"))
    data = plain.experiment.data.model_copy(update={"cross_markets": {"coin": "COIN"}})
    kept = plain.prefiltered.kept
    return replace(
        plain,
        experiment=plain.experiment.model_copy(update={"data": data}),
        bars=pl.concat([plain.bars, coin]).sort("symbol", "timestamp"),
        catalogue=plain.catalogue.model_copy(update={"used": (*plain.catalogue.used, about)}),
        prefiltered=plain.prefiltered.model_copy(update={"kept": (*kept, about.name)}),
    )


def both_parts(quick: tuple[Leak, ...], slow: tuple[Leak, ...]) -> list[ParameterSet]:
    """Leaks of the default suite, and those that only the slow one tries."""
    return [pytest.param(leak, id=leak.name, marks=[pytest.mark.slow] if leak in slow else []) for leak in quick + slow]


def named(found: LeakageAudit) -> set[str]:
    """Guards that found a leak."""
    return {str(row["guard"]) for row in found.rows if row["passed"] is False}


def untried(found: LeakageAudit) -> set[str]:
    """Guards that could not be tried."""
    return {str(row["guard"]) for row in found.rows if row["passed"] is None}


def test_without_a_leak_every_guard_holds(evidences: Mapping[str, Evidence]) -> None:
    found = audit(evidences[""])
    assert [row["guard"] for row in found.rows] == [guard.name for guard in GUARDS]
    assert found.passed, [row for row in found.rows if row["passed"] is False]
    assert untried(found) == NOT_USED
    assert all(row["claim"] and row["tried"] for row in found.rows)


@pytest.mark.parametrize("choice", ["random", "time_equivalent"])
def test_without_a_leak_the_guard_of_the_context_holds(evidences: Mapping[str, Evidence], choice: str) -> None:
    (guard,) = (one for one in GUARDS if one.name == "context_labels_are_resolved")
    found = guard.examine(evidences[choice])
    assert found.passed, found


def test_without_a_leak_the_guard_of_the_minutes_holds_and_needs_their_source(
    evidences: Mapping[str, Evidence],
) -> None:
    (guard,) = (one for one in GUARDS if one.name == "minutes_are_not_used_early")
    evidence = evidences["minutes"]
    found = guard.examine(evidence)
    assert found.state == "held", found
    gone = guard.examine(replace(evidence, minutes=None))
    assert gone.state == "not_verifiable"
    assert "is not the one that was taken" in gone.detail
    none = evidence.bars.with_columns(pl.lit(None, pl.Float64).alias(name) for name in MINUTE_COLUMNS)
    assert guard.examine(replace(evidence, bars=none.drop("minute_amihud"))).state == "not_verifiable"


def test_a_market_that_begins_inside_the_bars_tried_is_no_reason_to_refuse(evidences: Mapping[str, Evidence]) -> None:
    evidence = with_a_coin(evidences[""], bar=300)
    assert evidence.tail["timestamp"].unique().len() == N_BARS, "the first cut would lie before the coin"
    for guard in GUARDS[:3]:
        found = guard.examine(evidence)
        assert found.state == "held", (guard.name, found)
    start = evidence.experiment.periods.production_start
    early = evidence.bars.filter(pl.col("timestamp").dt.date() <= start)
    assert "COIN" not in early["symbol"]
    as_it_was = replace(evidence, prefiltered=evidences[""].prefiltered).plan_again(early)
    assert as_it_was == evidences[""].plan_again(early)


def test_a_feature_that_phase_1_dropped_does_not_keep_the_inputs_from_being_judged(
    evidences: Mapping[str, Evidence],
) -> None:
    """Sessions without a missing minute: the score of their number is missing at every bar."""
    plain = evidences[""]
    (flat,) = (feature_row(one) for one in INTRADAY if one.name == "intra_minutes_z21")
    evidence = replace(
        plain,
        bars=plain.bars.with_columns(minute_count=390.0),
        catalogue=plain.catalogue.model_copy(update={"used": (*plain.catalogue.used, flat)}),
        prefiltered=plain.prefiltered.model_copy(
            update={"dropped": (*plain.prefiltered.dropped, {"feature": flat.name, "reason": "missing"})}
        ),
    )
    (guard,) = (one for one in GUARDS if one.name == "inputs_do_not_see_later_bars")
    found = guard.examine(evidence)
    assert found.state == "held", found
    dropped = len(plain.prefiltered.dropped) + 1
    assert found.tried.endswith(f": {len(plain.prefiltered.kept)} features, without the {dropped} that phase 1 dropped")
    kept = plain.prefiltered.model_copy(update={"kept": (*plain.prefiltered.kept, flat.name)})
    untried = guard.examine(replace(evidence, prefiltered=kept))
    assert untried.state == "not_verifiable"
    assert "feature intra_minutes_z21" in untried.detail


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gaps_and_late_symbols_are_no_leak(evidences: Mapping[str, Evidence], seed: int) -> None:
    ragged = replace(evidences[""], bars=ragged_bars(seed=seed).sort("symbol", "timestamp"))
    for guard in GUARDS[:3]:
        assert guard.examine(ragged).passed, (guard.name, guard.examine(ragged))


@pytest.mark.parametrize("leak", both_parts(LEAKS, SLOW_LEAKS))
def test_a_planted_leak_is_named_by_its_guard_and_by_no_other(
    leak: Leak, evidences: Mapping[str, Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = evidences[leak.needs]
    own = tuple(guard for guard in GUARDS if guard.name == leak.guard)
    leak.plant(monkeypatch)
    monkeypatch.setattr(guards, "GUARDS", own)
    found = audit(evidence)
    assert named(found) == {leak.guard}
    assert found.rows[0]["detail"]
    assert not found.passed
    others = tuple(guard for guard in GUARDS if guard.name not in (leak.guard, *leak.also))
    monkeypatch.setattr(guards, "GUARDS", others)
    assert audit(evidence).passed, "another guard names it: the one above is not needed, or the leak is two"


def run(bench: Workbench, asset: str, partition: str | None = None) -> RunOutcome:
    with bench.instance() as instance:
        return materialise(bench.definitions, instance, [bench.graph.key(asset)], partition=partition)


def test_selection_on_production_folds_is_named_in_what_is_stored(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        selection_on_production(patch)
        assert run(finished, "exploration_plan").ok
        for key in finished.folds("exploration"):
            assert run(finished, "exploration_fold", key).ok
        assert run(finished, "selected_features").ok
        evidence = stored_evidence(finished)
        found = audit(evidence)
        monkeypatch.setattr(guards, "GUARDS", tuple(one for one in GUARDS if one.name != RESEARCH))
        without = audit(evidence)
    assert named(found) == {RESEARCH}
    (row,) = (row for row in found.rows if row["passed"] is False)
    assert "exploration fold" in row["detail"]
    assert without.passed


@pytest.mark.parametrize("leak", both_parts(STORED_LEAKS, SLOW_STORED_LEAKS))
def test_a_leak_that_the_newest_fold_is_stored_with_is_named_and_blocks(
    leak: Leak, finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leak is in the code when the fold is fitted and when it is audited."""
    leak.plant(monkeypatch)
    assert run(finished, "production_fold", finished.folds()[-1]).ok
    outcome = run(finished, "leakage_audit")
    assert not outcome.ok
    assert outcome.reason.startswith("check no_guard_found_a_leak: ")
    assert f" {leak.guard}: " in outcome.reason
    found = named(stored_report(finished, LeakageAudit, "leakage_audit"))
    assert {leak.guard} <= found <= {leak.guard, *leak.also}


def test_a_leak_that_a_fold_was_stored_with_is_named_by_honest_code(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        positions_of_the_next_bar(patch)
        assert run(finished, "production_fold", finished.folds()[-1]).ok
    (guard,) = (one for one in GUARDS if one.name == "predictions_know_the_past_only")
    found = guard.examine(stored_evidence(finished))
    assert found.state == "leak"
    assert found.detail.startswith("the stored raw_position of ")


@pytest.mark.slow
def test_an_old_fold_that_is_paid_by_other_targets_is_named(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = finished.folds()[0]
    with monkeypatch.context() as patch:
        paid_by_the_same_day(patch)
        assert run(finished, "production_fold", key).ok
    (guard,) = (one for one in GUARDS if one.name == "predictions_are_paid_by_the_stored_targets")
    found = guard.examine(stored_evidence(finished))
    assert found.state == "leak"
    assert found.detail.startswith(f"fold {key}: next_return of ")


def test_a_prefilter_that_judged_production_bars_is_named(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit at which research's bars drop a feature that all bars together keep."""
    write_experiment(finished.folder, {"prefilter.max_correlation": 0.955})
    bench = Workbench(finished.folder)
    names = stored_report(bench, FeatureCatalogue, "feature_catalogue").names
    everything = pl.read_parquet(bench.artifact("features") / FRAME_FILE).select(names).to_numpy()
    (guard,) = (one for one in GUARDS if one.name == RESEARCH)
    for leaky in (False, True):
        with monkeypatch.context() as patch:
            if leaky:
                prefilter_on_all_bars(patch, everything)
            assert run(bench, "prefiltered_features").ok
            found = guard.examine(stored_evidence(bench))
        assert ("the prefilter keeps 6 features by" in found.detail) is leaky, found


def test_a_scaler_that_was_stored_with_a_leak_is_named_afterwards(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = finished.folds()[0]
    with monkeypatch.context() as patch:
        scaler_of_everything(patch)
        assert run(finished, "production_fold", key).ok
    (guard,) = (one for one in GUARDS if one.name == "scaler_knows_training_bars_only")
    found = guard.examine(stored_evidence(finished))
    assert found.passed is False
    assert f"fold {key} scales" in found.detail
    assert len(stored_fold(finished, key).fitted.scaler.flat) < len(stored_fold(finished, key).fitted.scaler.names)


def test_an_allowed_overlap_is_named_and_not_hidden(evidences: Mapping[str, Evidence]) -> None:
    plain = evidences[""]
    periods = plain.experiment.periods.model_copy(update={"overlap": "allowed"})
    evidence = replace(plain, experiment=plain.experiment.model_copy(update={"periods": periods}))
    (guard,) = (one for one in GUARDS if one.name == "research_ends_before_production")
    found = guard.examine(evidence)
    assert found.passed is False
    assert found.detail.startswith("periods.overlap is allowed: features and settings were chosen on bars up to")


def test_a_leak_stops_the_card_and_the_release(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    before = finished.versions()
    label_in_the_volatility(monkeypatch)
    keys = [finished.graph.key(asset) for asset in ("leakage_audit", "model_card", "release")]
    with finished.instance() as instance:
        outcome = materialise(finished.definitions, instance, keys)
    assert not outcome.ok
    assert outcome.asset == "small/leakage_audit"
    assert "check no_guard_found_a_leak: volatility_is_known_at_the_bar: volatility of" in outcome.reason
    stored = stored_report(finished, LeakageAudit, "leakage_audit")
    assert named(stored) == {"volatility_is_known_at_the_bar", RESEARCH}
    after = finished.versions()
    assert {name for name in after if after[name] != before.get(name)} == {"leakage_audit"}


@pytest.mark.slow
def test_a_whole_run_on_awkward_bars_has_no_leak(workbench: Callable[..., Workbench]) -> None:
    """Gaps, late symbols, a label three bars long, context sequences by change-points, a column of the source's own."""
    bars = ragged_bars(seed=5).sort("symbol", "timestamp")
    own = pl.when(pl.int_range(pl.len()).over("symbol") % 7 < 5).then(pl.col("close").log())
    bench = workbench(
        bars.with_columns(mood=own, available_at=pl.col("timestamp") + pl.duration(hours=30)),
        {
            "target.horizon": 3,
            "network.n_context": 1,
            "network.context_bars": 6,
            "network.context_choice": "change_point",
        },
    )
    bench.run()
    found = stored_report(bench, LeakageAudit, "leakage_audit")
    assert found.passed, [row for row in found.rows if row["passed"] is False]
    assert untried(found) == {"columns_are_computed_here", "minutes_are_not_used_early"}
