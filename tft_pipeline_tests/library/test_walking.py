"""`walk_forward`: the pipeline's own numbers without the pipeline, nothing on disk, nothing from the future."""

import hashlib
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tft_pipeline import BarsError, ConfigurationError, Experiment, WalkForward, new_experiment, walk_forward
from tft_pipeline.domain.reports import FoldPlanReport, SelectedFeatures, TunedHyperparameters
from tft_pipeline.pipeline.io_managers import FRAME_FILE
from tft_pipeline_tests.builders import small
from tft_pipeline_tests.conftest import SMALL, Workbench, random_bars
from tft_pipeline_tests.stored import stored_fold, stored_report

SECTIONS: dict[str, dict[str, Any]] = {
    "data": {"min_bars": 100},
    "features": SMALL["features"],
    "target": SMALL["target"],
    "network": SMALL["network"],
    "training": SMALL["training"],
    "evaluation": SMALL["evaluation"],
    "ensemble": SMALL["ensemble"],
}


def settings(**sections: dict[str, Any]) -> Experiment:
    return new_experiment(
        interval="1d",
        bars_per_year=252,
        production_start=date(2021, 1, 15),
        train=120,
        validation=30,
        test=40,
        epochs=1,
        window="sliding",
        sections=SECTIONS | sections,
    )


@pytest.fixture(scope="module")
def walked() -> WalkForward:
    return walk_forward(random_bars(), settings())


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder by its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_numbers_are_those_of_the_pipelines_production_folds_to_the_bit(finished: Workbench) -> None:
    tuned = stored_report(finished, TunedHyperparameters, "tuned_hyperparameters")
    selected = stored_report(finished, SelectedFeatures, "selected_features")
    plan = stored_report(finished, FoldPlanReport, "production_plan")
    chosen = {"network": tuned.network, "training": tuned.training, "position": tuned.position}
    before = tree(finished.folder)
    found = walk_forward(
        pl.read_parquet(finished.folder / "bars.parquet").sample(fraction=1.0, shuffle=True, seed=1),
        finished.graph.experiment.model_copy(update=chosen),
        features=selected.features,
    )
    stored = [stored_fold(finished, spec.key) for spec in plan.specs]
    assert len(stored) == 3
    assert_frame_equal(found.predictions, pl.concat([fold.predictions for fold in stored]), check_exact=True)
    portfolio = pl.read_parquet(finished.artifact("oos_portfolio") / FRAME_FILE)
    assert_frame_equal(found.returns, portfolio, check_exact=True)
    assert found.features == selected.features
    assert found.folds["best_epoch"].to_list() == [fold.fitted.best_epoch for fold in stored]
    assert found.folds["test_first"].dt.strftime("f%Y-%m-%d").to_list() == [fold.key for fold in stored]
    assert tree(finished.folder) == before, "a walk forward of the library writes nothing and records no look"


def test_later_bars_change_nothing_that_was_decided_before_them(walked: WalkForward) -> None:
    cut = walked.folds["test_last"][0]
    later = pl.col("timestamp") > cut
    other = random_bars(seed=9).select("timestamp", "symbol", other="close")
    bars = random_bars().join(other, on=["timestamp", "symbol"], maintain_order="left")
    bars = bars.with_columns(close=pl.when(later).then("other").otherwise("close")).drop("other")
    again = walk_forward(bars, settings())
    decided = [name for name in walked.predictions.columns if name not in ("next_return", "label")]
    early, early_again = (one.predictions.filter(~later).select(decided) for one in (walked, again))
    assert_frame_equal(early, early_again, check_exact=True)
    assert early.height == 160
    assert not again.predictions.filter(later).select(decided).equals(walked.predictions.filter(later).select(decided))


def test_the_book_is_what_its_predictions_earn_after_costs(walked: WalkForward) -> None:
    target, cost = 0.15, 5e-4
    weights: dict[str, float] = {}
    net = []
    for _, rows in walked.predictions.sort("timestamp").group_by("timestamp", maintain_order=True):
        earned = 0.0
        for row in rows.iter_rows(named=True):
            weight = max(-10.0, min(10.0, row["raw_position"] * target / row["volatility"]))
            earned += weight * row["next_return"] - cost * abs(weight - weights.get(row["symbol"], 0.0))
            weights[row["symbol"]] = weight
        net.append(earned / rows.height)
    assert walked.net.tolist() == pytest.approx(net, rel=1e-12, abs=1e-15)
    assert walked.net.shape == (120,)


def test_the_purge_lies_between_the_parts_of_a_fold(walked: WalkForward) -> None:
    calendar = random_bars()["timestamp"].unique().sort().to_list()
    for row in walked.folds.iter_rows(named=True):
        assert calendar.index(row["validation_first"]) - calendar.index(row["train_last"]) == 6
        assert calendar.index(row["test_first"]) - calendar.index(row["validation_last"]) == 6


def test_it_writes_nothing_and_starts_no_dagster(tmp_path: Path) -> None:
    random_bars().write_parquet(tmp_path / "bars.parquet")
    code = f"""
import json, sys
from datetime import date
import polars as pl
from tft_pipeline import new_experiment, walk_forward
experiment = new_experiment(interval="1d", bars_per_year=252, production_start=date(2021, 1, 15), train=120, validation=30,
    test=40, epochs=1, window="sliding", sections=json.loads({json.dumps(json.dumps(SECTIONS))}))
said = []
walk_forward(pl.read_parquet("bars.parquet"), experiment, report=said.append)
print(json.dumps([said, [name for name in ("dagster", "mlflow", "optuna") if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, loaded = json.loads(done.stdout)
    assert loaded == []
    assert said[0].startswith("fold 1 of 3, 2021-01-15 to 2021-03-11: 1 epochs, best validation loss ")
    assert [path.name for path in tmp_path.iterdir()] == ["bars.parquet"]


def test_own_columns_become_features_and_single_ones_can_be_named() -> None:
    bars = random_bars().with_columns(mood=pl.col("close").log().sin())
    found = walk_forward(bars, settings(), features=["mood", "ret_1"])
    assert found.features == ("mood", "ret_1")
    with pytest.raises(ConfigurationError, match=r"features \['moods'\] are not built .*, which has 7"):
        walk_forward(bars, settings(), features=["moods"])


def test_bad_bars_are_refused_with_the_sentences_of_the_pipeline() -> None:
    bars = random_bars()
    with pytest.raises(BarsError, match="duplicate"):
        walk_forward(pl.concat([bars, bars.head(1)]), settings())
    with pytest.raises(BarsError, match="close is missing, non-finite or not positive in 1 of"):
        walk_forward(
            bars.with_columns(close=pl.when(pl.int_range(pl.len()) == 5).then(-1.0).otherwise("close")), settings()
        )
    with pytest.raises(BarsError, match="has no time zone"):
        walk_forward(bars.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), settings())
    with pytest.raises(BarsError, match=r"data.market_symbol 'SPX' has no bars"):
        walk_forward(bars, settings(data={"min_bars": 100, "market_symbol": "SPX"}))


def test_bars_of_another_interval_than_stated_are_refused() -> None:
    hourly = {"min_bars": 100, "interval": "1h", "bars_per_year": 6000}
    with pytest.raises(BarsError, match=r"interval is 1h and the bars of a symbol stand 1 day.* state interval 1d"):
        walk_forward(random_bars(), settings(data=hourly))


def test_what_only_looks_wrong_in_the_bars_and_which_bars_are_not_scored_is_said(walked: WalkForward) -> None:
    calendar = random_bars()["timestamp"].unique().sort()
    scored = walked.predictions["timestamp"].unique()
    due = calendar.filter(calendar.dt.date() >= date(2021, 1, 15))
    assert walked.unscored.to_list() == [stamp for stamp in due.to_list() if stamp not in set(scored.to_list())]
    assert len(scored) + len(walked.unscored) == len(due)
    (said,) = walked.warnings
    assert said.startswith("28 bars from 2021-07-02 00:00 to 2021-08-10 00:00 are scored by no fold")
    last = walked.predictions["timestamp"].max()
    jump = pl.when(pl.int_range(pl.len()) >= 200, pl.col("symbol") == "AAA").then(10.0).otherwise(1.0)
    whole = random_bars().filter(pl.col("timestamp") <= calendar[calendar.index_of(last) + 1])
    again = walk_forward(whole.with_columns(close=pl.col("close") * jump), settings())
    assert again.unscored.to_list() == whole["timestamp"].unique().sort().to_list()[-1:], "its label is not known yet"
    (doubt,) = again.warnings
    assert doubt.startswith("AAA goes from ")


def test_arguments_of_another_kind_are_told_at_the_entrance() -> None:
    bars = random_bars()
    lazy: Any = bars.lazy()
    with pytest.raises(BarsError, match=r"bars are a polars.LazyFrame: .*; give its .collect\(\)"):
        walk_forward(lazy, settings())
    pandas: Any = type("DataFrame", (), {"__module__": "pandas.core.frame"})()
    with pytest.raises(BarsError, match=r"bars are a pandas.DataFrame: .*give polars.from_pandas"):
        walk_forward(pandas, settings())
    no_experiment: Any = {"network": {}}
    with pytest.raises(ConfigurationError, match="experiment is a dict: expected what new_experiment gives"):
        walk_forward(bars, no_experiment)
    wrong: list[tuple[Any, str]] = [
        ("ret_1", "features are 'ret_1': expected names in a list"),
        (5, "features are 5: expected names in a list"),
        (["ret_1", "ret_1"], "features name ret_1 twice"),
    ]
    for features, said in wrong:
        with pytest.raises(ConfigurationError, match=said):
            walk_forward(bars, settings(), features=features)
    number: Any = 5
    with pytest.raises(ConfigurationError, match="sections: data is 5: expected the keys of the section"):
        settings(data=number)


def test_what_one_frame_cannot_carry_is_refused() -> None:
    tables = {"tables": [{"source": "x.csv", "prefix": "vix"}], "min_bars": 100}
    with pytest.raises(ConfigurationError, match=r"data.tables of experiment in_memory: walk_forward reads one frame"):
        walk_forward(random_bars(), settings(data=tables))
    with pytest.raises(ConfigurationError, match="too few bars for one fold"):
        walk_forward(random_bars().filter(pl.col("timestamp").dt.date() < date(2021, 2, 1)), settings())


def test_an_experiment_of_a_script_is_checked_as_a_file_is() -> None:
    assert settings().production == small({"production.epochs": 1}).production
    with pytest.raises(ConfigurationError, match=r"network.hiden: unknown key"):
        settings(network={"hiden": 8})
    with pytest.raises(ConfigurationError, match="no whole window fits"):
        settings(training={"lookback": 60})
