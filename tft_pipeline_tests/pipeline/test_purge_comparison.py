"""Production folds with and without purge, and with overlap, compared through real materialisation."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from tft_pipeline.domain.backtest import backtest
from tft_pipeline.domain.experiment import ConfigurationError, Experiment
from tft_pipeline.domain.findings import PurgeComparison
from tft_pipeline.domain.folds import Fold, FoldPlan, Span, plan_folds
from tft_pipeline.domain.paired import paired_sharpe_difference
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.model.inference import predict
from tft_pipeline.pipeline.assets.purge import comparison_of, with_positions
from tft_pipeline.pipeline.comparison import compare_purge, comparison_config
from tft_pipeline.pipeline.driver import STEPS
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.panels import fold_panel
from tft_pipeline.pipeline.run_process import process_tags
from tft_pipeline.pipeline.variants import LONGEST_NAME, Window, overlap_graph, without_purge
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline.storage.experiments import ExperimentFile, claim_name
from tft_pipeline.storage.layout import Layout
from tft_pipeline_tests.builders import noise, small
from tft_pipeline_tests.conftest import Workbench, business_days


def plan_of(bench: Workbench) -> FoldPlanReport:
    return FoldPlanReport.model_validate_json((bench.artifact("production_plan") / "report.json").read_text())


def record_of(bench: Workbench) -> PurgeComparison:
    return PurgeComparison.model_validate_json((bench.artifact("purge_comparison") / "report.json").read_text())


def compare(bench: Workbench, *, overlap: bool = False) -> dict:
    return compare_purge(bench.file, overlap=overlap, report=bench.lines.append)


def annual_sharpe(net: np.ndarray) -> float:
    return float(net.mean() / net.std(ddof=1) * np.sqrt(252.0))


def book_by_hand(bench: Workbench) -> pl.DataFrame:
    """Every fold fitted with spans written out: 30 bars of validation right before test, 120 of train before those."""
    plan, frames = plan_of(bench), []
    for spec in plan.specs:
        test = spec.spans["test"]
        fold = Fold(
            key=spec.key,
            train=Span(test[0] - 150, test[0] - 30),
            validation=Span(test[0] - 30, test[0]),
            test=Span(*test),
        )
        panel = fold_panel(bench.graph, spec)
        fitted = fit_fold(
            panel,
            fold,
            network=spec.network,
            training=spec.training,
            position=spec.position,
            target_volatility=0.15,
            horizon=1,
            bars_per_year=252.0,
            epochs=2,
            seed=spec.seeds[0],
        )
        raw = predict(fitted, panel, fold.test).raw_position
        stored = pl.read_parquet(bench.artifact("production_fold", spec.key) / "predictions.parquet")
        bars = {stamp: bar for bar, stamp in enumerate(panel.calendar[slice(*fold.test)])}
        positions = [
            raw[panel.symbols.index(symbol), bars[stamp]]
            for stamp, symbol in stored.select("timestamp", "symbol").iter_rows()
        ]
        frames.append(stored.with_columns(raw_position=pl.Series(positions)))
    position = plan.specs[-1].position
    return backtest(pl.concat(frames), position, target_volatility=0.15, bars_per_year=252.0)


def test_the_comparison_is_that_of_folds_refitted_by_hand_and_touches_nothing_else(finished: Workbench) -> None:
    versions, counts = finished.versions(), finished.materialisations()
    spec = plan_of(finished).specs[-1]
    state = finished.layout.training_state("small", "production", spec.key)
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_bytes(b"of a production fit that goes on")

    result = compare(finished)
    assert result["failed"] == [], result
    record = record_of(finished)
    by_hand = book_by_hand(finished)
    stored = pl.read_parquet(finished.artifact("oos_portfolio") / "data.parquet")
    purged, unpurged = record.variants
    assert (purged["name"], purged["purge"]) == ("with_purge", 5)
    assert (unpurged["name"], unpurged["purge"]) == ("without_purge", 0)
    assert purged["n_bars"] == unpurged["n_bars"] == stored.height == by_hand.height
    assert purged["sharpe_annual"] == pytest.approx(annual_sharpe(stored["net"].to_numpy()))
    assert unpurged["sharpe_annual"] == pytest.approx(annual_sharpe(by_hand["net"].to_numpy()))
    assert unpurged["sharpe_annual"] != pytest.approx(purged["sharpe_annual"], abs=1e-6), "other bars, other weights"
    (row,) = record.differences
    assert row["difference_annual"] == pytest.approx(unpurged["sharpe_annual"] - purged["sharpe_annual"])
    expected = paired_sharpe_difference(
        by_hand["net"].to_numpy(), stored["net"].to_numpy(), bars_per_year=252.0, seed=finished.graph.experiment.seed
    )
    assert (row["low_annual"], row["high_annual"]) == pytest.approx((expected.low_annual, expected.high_annual))
    assert row["low_annual"] < row["difference_annual"] < row["high_annual"]
    assert result["findings"] == [
        f"without purge: {expected.words()}; no label overlaps at horizon 1: the difference is newer training bars and chance"
    ]
    assert record.plan_sha256 == plan_of(finished).content_sha256()
    assert result["differences"]["without_purge"] == row
    json.dumps(result, allow_nan=False)

    assert state.read_bytes() == b"of a production fit that goes on"
    assert finished.versions().items() - versions.items() == {
        ("purge_comparison", finished.artifact("purge_comparison").name)
    }
    assert {key for key, n in finished.materialisations().items() if counts.get(key) != n} == {
        ("purge_comparison", None)
    }


def test_a_scoring_without_purge_is_a_look_and_repeating_it_is_none(finished: Workbench) -> None:
    before = finished.layout.looks_ledger.read_text().splitlines()
    assert compare(finished)["failed"] == []
    content = record_of(finished).content_sha256()
    after = finished.layout.looks_ledger.read_text().splitlines()
    assert after[: len(before)] == before
    (new,) = after[len(before) :]
    assert json.loads(new)["experiment"] == "small, without purge"
    assert sorted(json.loads(new)["folds"]) == finished.folds()
    assert compare(finished)["failed"] == []
    assert finished.layout.looks_ledger.read_text().splitlines() == after
    assert record_of(finished).content_sha256() == content


def test_nothing_starts_it_but_people(finished: Workbench) -> None:
    assets = finished.definitions.resolve_asset_graph()
    assert assets.get(finished.graph.key("purge_comparison")).automation_condition is None
    assert not assets.get(finished.graph.key("purge_comparison")).child_keys, "nothing waits for it"
    assert "purge_comparison" not in STEPS
    assert ("purge_comparison", None) not in finished.materialisations()


def test_a_missing_fold_is_named(finished: Workbench) -> None:
    gone = finished.folds()[1]
    (finished.layout.artifact("small", "production_fold", gone) / "current").unlink()
    result = compare(finished)
    (failed,) = result["failed"]
    assert gone in failed["reason"]
    assert "no result yet" in failed["reason"]
    assert result["resume"] == f"tft run {finished.file} --resume"


def test_a_missing_plan_is_named(finished: Workbench) -> None:
    (finished.layout.artifact("small", "production_plan") / "current").unlink()
    (failed,) = compare(finished)["failed"]
    assert "production_plan" in failed["reason"]
    with finished.instance() as instance:
        run = instance.get_run_by_id(failed["run_id"])
    assert run is not None
    assert run.tags.items() >= process_tags(run.run_id).items(), "were it killed, nobody could tell"


def test_a_fold_of_an_older_spec_is_refused(finished: Workbench) -> None:
    plan = plan_of(finished)
    newer = plan.model_copy(update={"specs": tuple(spec.model_copy(update={"epochs": 3}) for spec in plan.specs)})
    root = finished.layout.artifact("small", "production_plan")
    write_artifact(root, lambda folder: (folder / "report.json").write_text(newer.model_dump_json()))
    (failed,) = compare(finished)["failed"]
    assert "made from an older spec" in failed["reason"]


@pytest.mark.parametrize("window", ["sliding", "expanding"])
def test_without_purge_the_parts_touch_and_labels_reach_over(window: Window) -> None:
    horizon = 5
    plan = FoldPlan(train=40, validation=20, test=10, step=10, purge=5, horizon=horizon, window=window)
    for fold in plan_folds(business_days(200), plan, first_bar=7, stop_bar=200, intraday=False):
        found = without_purge(fold, window)
        assert (found.key, found.test) == (fold.key, fold.test)
        assert found.train.stop == found.validation.start
        assert found.validation.stop == found.test.start
        assert found.validation.n_bars == fold.validation.n_bars
        if window == "sliding":
            assert found.train.n_bars == fold.train.n_bars
        else:
            assert found.train.start == fold.train.start == 7
            assert found.train.n_bars == fold.train.n_bars + 10
        for earlier, later in (("train", "validation"), ("validation", "test")):

            def overlapping(one: Fold, earlier: str = earlier, later: str = later) -> int:
                """Labels of the earlier part that share a return with the first label of the later one."""
                start = getattr(one, later).start
                return sum(t + horizon > start for t in range(*getattr(one, earlier)))

            assert overlapping(found) == horizon - 1
            assert overlapping(fold) == 0


def test_on_noise_a_side_chosen_by_the_last_labels_earns_without_purge_and_nothing_with_it() -> None:
    """The labels of the last validation bars are made of the first returns that are scored."""
    n_bars, horizon = 6000, 5
    returns = noise(n_bars, seed=1)  # of bar t+1, decided at t
    label = np.convolve(returns, np.ones(horizon), mode="valid")
    plan = FoldPlan(train=40, validation=20, test=4, step=4, purge=5, horizon=horizon)
    folds = plan_folds(business_days(n_bars), plan, first_bar=0, stop_bar=n_bars, intraday=False)

    def earned(folds: list[Fold]) -> np.ndarray:
        parts = []
        for fold in folds:
            side = np.sign(label[fold.validation.stop - 4 : fold.validation.stop].mean())
            parts.append(side * returns[slice(*fold.test)])
        return np.concatenate(parts)

    purged, unpurged = earned(list(folds)), earned([without_purge(fold, "expanding") for fold in folds])
    assert abs(annual_sharpe(purged)) < 1.0
    assert annual_sharpe(unpurged) > 3.0
    found = paired_sharpe_difference(unpurged, purged, bars_per_year=252.0, n_resamples=299, seed=0)
    assert found.low_annual > 2.0


def book(net: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"timestamp": business_days(len(net)), "net": net})


def test_variants_that_share_some_bars_are_compared_on_those_and_label_overlap_is_counted(finished: Workbench) -> None:
    plan = plan_of(finished)
    horizon_3 = plan.model_copy(update={"specs": (plan.specs[-1].model_copy(update={"horizon": 3}),)})
    first, other = noise(300, 1, mean=0.0005), noise(300, 2)
    books = {"with_purge": book(first), "without_purge": book(other), "overlap": book(other)[:200]}
    record = comparison_of(books, horizon_3, seed=1)
    assert [row["label_overlap_bars"] for row in record.variants] == [0, 2, 0]
    assert [row["purge"] for row in record.variants] == [5, 0, 5]
    assert [row["n_bars"] for row in record.variants] == [300, 300, 200]
    assert [row["n_bars"] for row in record.differences] == [300, 200]
    expected = annual_sharpe(other[:200]) - annual_sharpe(first[:200])
    assert record.differences[1]["difference_annual"] == pytest.approx(expected)
    flat = comparison_of({"with_purge": book(first), "without_purge": book(np.zeros(300))}, plan, seed=1)
    assert flat.differences[0]["difference_annual"] is None
    assert "never earned or lost" in flat.differences[0]["words"]
    assert flat.variants[1]["sharpe_annual"] is None


def test_predictions_of_other_rows_are_not_paired() -> None:
    frame = pl.DataFrame(
        {"fold": ["f"] * 3, "timestamp": business_days(3), "symbol": ["A"] * 3, "raw_position": [0.1] * 3}
    )
    assert with_positions(frame, frame.with_columns(raw_position=pl.lit(0.2)))["raw_position"].to_list() == [0.2] * 3
    for other in (frame[:2], frame.with_columns(symbol=pl.lit("B"))):
        with pytest.raises(ValueError, match="not be paired"):
            with_positions(frame, other)


def graph_of(experiment: Experiment, home: Path) -> ExperimentGraph:
    file = ExperimentFile(path=home / "some.yaml", experiment=experiment, source=home / "bars.parquet")
    return ExperimentGraph(file, Layout(home))


@pytest.mark.parametrize("name", ["small", "a" * 32, "a" * 40])
def test_the_overlapping_experiment_differs_in_name_overlap_and_absolute_source_only(name: str, tmp_path: Path) -> None:
    changes = {"name": name, "position.symbol_cost_bps": {"AAA": 2.0}, "data.symbols": ["AAA", "BBB"]}
    graph = graph_of(small(changes), tmp_path)
    found = overlap_graph(graph)
    assert found.name.endswith("_overlap")
    assert len(found.name) <= LONGEST_NAME
    before, after = graph.experiment.model_dump(), found.experiment.model_dump()
    assert after["periods"].pop("overlap") == "allowed"
    assert before["periods"].pop("overlap") == "forbidden"
    assert after["data"].pop("source") == str(tmp_path / "bars.parquet")
    del before["data"]["source"], before["name"], after["name"]
    assert before == after
    assert found.file.source == graph.file.source
    assert yaml.safe_load(found.file.path.read_text())["name"] == found.name
    assert overlap_graph(graph).file == found.file, "made again, the same"


def test_long_names_that_begin_alike_get_folders_of_their_own(tmp_path: Path) -> None:
    one, other = (overlap_graph(graph_of(small({"name": "a" * 39 + end}), tmp_path)).name for end in "bc")
    assert one != other


def test_an_experiment_of_the_derived_name_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("a file of somebody else")
    folder = Layout(tmp_path).experiment("small_overlap")
    claim_name(folder, theirs)
    with pytest.raises(ConfigurationError, match="carries the same name"):
        overlap_graph(graph_of(small(), tmp_path))
    assert not (folder / "experiment.yaml").exists()


def test_an_experiment_that_overlaps_already_has_no_such_variant(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="overlap: allowed itself"):
        overlap_graph(graph_of(small({"periods.overlap": "allowed"}), tmp_path))


@pytest.mark.slow
def test_with_overlap_the_whole_experiment_runs_beside_and_is_compared(finished: Workbench) -> None:
    versions = finished.versions()
    result = compare(finished, overlap=True)
    assert result["failed"] == [], result
    record = record_of(finished)
    assert [row["name"] for row in record.variants] == ["with_purge", "without_purge", "overlap"]
    stored = pl.read_parquet(finished.layout.artifact("small_overlap", "oos_portfolio") / "current" / "data.parquet")
    assert record.variants[2]["sharpe_annual"] == pytest.approx(annual_sharpe(stored["net"].to_numpy()))
    assert record.differences[1]["n_bars"] == record.variants[0]["n_bars"]
    assert finished.versions().items() >= versions.items(), "the experiment itself is untouched"
    ledger = [json.loads(line) for line in finished.layout.looks_ledger.read_text().splitlines()]
    assert {"small", "small, without purge", "small_overlap"} <= {look["experiment"] for look in ledger}
    counts = finished.materialisations()
    assert compare(finished, overlap=True)["failed"] == []
    again = finished.materialisations()
    assert {key[0] for key, n in again.items() if counts.get(key) != n} == {"purge_comparison", "snapshot"}, (
        "what is current is kept"
    )


@pytest.mark.slow
def test_two_processes_find_what_one_finds(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compare(finished)["failed"] == []
    alone = record_of(finished)
    monkeypatch.setenv("TFT_WORKERS", "2")
    assert compare(finished)["failed"] == []
    assert record_of(finished) == alone


def test_the_launchpad_is_given_this(finished: Workbench) -> None:
    config = comparison_config(finished.graph, overlap=True)
    assert config == {"ops": {"small__purge_comparison": {"config": {"overlap": True}}}}
