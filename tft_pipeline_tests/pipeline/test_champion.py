"""The live model asked on the newest fold's bars: made-up bars, real networks, a release written by hand."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.champion import ChallengerFinding
from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.paired import paired_sharpe_difference
from tft_pipeline.domain.planning import production_folds
from tft_pipeline.domain.prediction_rows import prediction_frame
from tft_pipeline.domain.reports import FeatureCatalogue, FeatureRow, FoldSpec
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.model.fit import FittedFold, fit_fold
from tft_pipeline.model.inference import predict
from tft_pipeline.pipeline.champion import compare_with_champion
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import FRAME_FILE, REPORT_FILE
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256, write_fold_bundle
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.object_store import ObjectStore, StoreError
from tft_pipeline.storage.published import PublishError
from tft_pipeline_tests.builders import FEATURES, MIN_HISTORY, planned, small, toy_features, toy_panel
from tft_pipeline_tests.conftest import random_bars, small_experiment
from tft_pipeline_tests.object_stores import use_store, writer
from tft_pipeline_tests.oracles.portfolio import book, held_positions
from tft_pipeline_tests.released import released
from tft_pipeline_tests.signatures import made_signature

EXPERIMENT = small()
BARS = random_bars().sort("symbol", "timestamp")
PANEL = toy_panel(BARS, EXPERIMENT)
FOLDS = production_folds(PANEL, EXPERIMENT)
SPECS = planned(PANEL, EXPERIMENT, FOLDS, production=True)
BASELINES = ("momentum_position", "macd_position", "ridge_position", "lightgbm_position")


def fitted(fold: Fold, seed: int) -> FittedFold:
    return fit_fold(
        PANEL,
        fold,
        network=EXPERIMENT.network,
        training=EXPERIMENT.training,
        position=EXPERIMENT.position.model_copy(update={"position_smooth": 0.1 * seed}),
        target_volatility=EXPERIMENT.target.target_volatility,
        horizon=1,
        bars_per_year=252.0,
        epochs=1,
        seed=seed,
    )


def card_of(folds: list[dict[str, Any]], chosen: str | None = "2020-01-01T00:00:00+00:00") -> dict[str, Any]:
    return {"train": {"folds": folds, "research_last": chosen}}


@dataclass(frozen=True)
class Bench:
    """A graph whose features, targets and catalogue are stored; two models."""

    graph: ExperimentGraph
    spec: FoldSpec
    challenger: FoldBundle
    champion: FittedFold

    def release(
        self, *, changes: dict[str, Any] | None = None, specs: int = -1, name: str = "r1", **files: str
    ) -> Path:
        """Make the champion live, as of a run whose folds are all but the last; `files` replace their namesakes."""
        stated = {
            "features": FEATURES,
            "feature_versions": dict.fromkeys(FEATURES, "1"),
            "user_columns": (),
            "max_lookback": MIN_HISTORY,
            "scaler": self.champion.scaler,
            "symbols": PANEL.symbols,
            "weights_sha256": weights_sha256(self.champion),
            **(changes or {}),
        }
        card = card_of([{"id": spec.key, **spec.dates} for spec in SPECS[:specs]])

        def fill(folder: Path) -> None:
            write_fold_bundle(replace(self.challenger, fitted=self.champion), folder)
            (folder / "signature.json").write_text(json.dumps(made_signature(**stated).to_dict()))
            (folder / "model_card.json").write_text(json.dumps(card))
            for key, text in files.items():
                (folder / f"{key}.json").write_text(text)

        return write_artifact(self.graph.layout.models("small") / "versions", fill, version=name).folder

    def compared(self) -> ChallengerFinding:
        return compare_with_champion(self.graph, self.spec, self.challenger)


@pytest.fixture(scope="module")
def models() -> tuple[FittedFold, FittedFold]:
    return fitted(FOLDS[-2], 2), fitted(FOLDS[-1], 5)


@pytest.fixture
def bench(tmp_path: Path, models: tuple[FittedFold, FittedFold]) -> Bench:
    champion, own = models
    graph = ExperimentGraph(read_experiment(small_experiment(tmp_path, BARS)), Layout(tmp_path / "home"))
    store(graph, toy_features(BARS))
    spec, fold = SPECS[-1], FOLDS[-1]
    columns = {"raw_position": predict(own, PANEL, fold.test).raw_position}
    columns |= dict.fromkeys(BASELINES, np.zeros((len(PANEL.symbols), fold.test.n_bars)))
    bundle = FoldBundle(
        key=spec.key,
        spec_sha256=spec.content_sha256(),
        fitted=own,
        class_balance={},
        boosting="",
        predictions=prediction_frame(spec.key, PANEL.between(*fold.test), columns),
        seconds=1.0,
    )
    return Bench(graph=graph, spec=spec, challenger=bundle, champion=champion)


def store(graph: ExperimentGraph, features: pl.DataFrame, versions: dict[str, str] | None = None) -> None:
    """Stored features, targets and catalogue, the latter with some formulas' versions."""
    targets = build_targets(BARS, horizon=1, volatility_span=20, bars_per_year=252, untraded=())
    used = tuple(
        FeatureRow(name=name, group="g", formula="f", lookback=1, inputs=(), version=version)
        for name, version in (dict.fromkeys(FEATURES, "1") | (versions or {})).items()
    )
    record = FeatureCatalogue(used=used, skipped={}, user_columns=(), max_lookback=MIN_HISTORY)
    written: dict[str, Callable[[Path], object]] = {
        "features": lambda folder: features.write_parquet(folder / FRAME_FILE),
        "targets": lambda folder: targets.write_parquet(folder / FRAME_FILE),
        "feature_catalogue": lambda folder: (folder / REPORT_FILE).write_text(record.model_dump_json()),
    }
    for asset, write in written.items():
        write_artifact(graph.layout.artifact("small", asset), write)


def test_with_nothing_live_there_is_nothing_to_compare_with(bench: Bench) -> None:
    found = bench.compared()
    assert (found.applies, found.champion) == (False, None)
    assert "nothing is live yet" in found.why


def test_a_live_model_of_the_same_weights_is_no_rival(bench: Bench) -> None:
    same = replace(bench, champion=bench.challenger.fitted)
    same.release(
        changes={"features": ("another",), "feature_versions": {"another": "1"}, "scaler": made_scaler("another")}
    )
    found = bench.compared()
    assert (found.applies, found.champion) == (False, "r1")
    assert "r1, which is live, has the same weights" in found.why


def made_scaler(*names: str) -> Any:
    return made_signature(names).scaler


def loop(fitted: FittedFold, span: Span, min_history: int = MIN_HISTORY) -> np.ndarray:
    """Net returns of a model's own positions at bars of the panel, by loops over bars and symbols."""
    places = np.arange(PANEL.n_bars)
    panel = replace(PANEL, observed=PANEL.observed & (places >= min_history - 1))
    raw = predict(fitted, panel.between(0, span.stop), span).raw_position
    cut = slice(*span)
    held = held_positions(raw, fitted.position.max_position, fitted.position.position_smooth, [0.0] * len(raw))
    costs = [EXPERIMENT.position.cost_bps] * len(raw)
    rows = book(held, PANEL.volatility[:, cut], PANEL.next_return[:, cut], 0.15, costs, [0.0] * len(raw), 0)
    return np.array([row.net for row in rows])


def test_both_are_compared_on_the_newest_folds_bars_each_by_its_own_weights_and_smoothing(bench: Bench) -> None:
    bench.release()
    found, span = bench.compared(), FOLDS[-1].test
    own = replace(bench.challenger.fitted, position=bench.spec.position)  # the plan's rule is the one that is scored
    oracle = paired_sharpe_difference(
        loop(own, span), loop(bench.champion, span), bars_per_year=252.0, seed=EXPERIMENT.seed
    )
    assert found.difference is not None
    assert found.difference.difference_annual == pytest.approx(oracle.difference_annual, abs=1e-9)
    assert found.difference.high_annual == pytest.approx(oracle.high_annual, abs=1e-9)
    assert (found.n_bars, found.champion) == (span.n_bars, "r1")
    assert (found.first, found.last) == tuple(PANEL.calendar[bar].isoformat() for bar in (span.start, span.stop - 1))


def test_bars_on_which_the_live_model_was_scored_are_not_compared(bench: Bench) -> None:
    seen = {
        part: {"first": "", "last": PANEL.calendar[FOLDS[-1].test.start + 9].isoformat()} for part in ("train", "test")
    }
    folds = [{**seen, "validation": seen["train"]}]
    bench.release(model_card=json.dumps(card_of(folds)))
    found, span = bench.compared(), Span(FOLDS[-1].test.start + 10, FOLDS[-1].test.stop)
    assert (found.n_bars, found.first) == (30, PANEL.calendar[span.start].isoformat())
    own = replace(bench.challenger.fitted, position=bench.spec.position)
    difference = paired_sharpe_difference(
        loop(own, span), loop(bench.champion, span), bars_per_year=252.0, seed=EXPERIMENT.seed
    )
    assert found.difference is not None
    assert found.difference.difference_annual == pytest.approx(difference.difference_annual, rel=1e-6)


def test_bars_that_the_live_model_was_chosen_on_are_not_compared_and_a_card_without_them_is_an_obstacle(
    bench: Bench,
) -> None:
    folds = [{"id": spec.key, **spec.dates} for spec in SPECS[:-1]]
    chosen = PANEL.calendar[FOLDS[-1].test.start + 4].isoformat()
    bench.release(model_card=json.dumps(card_of(folds, chosen)))
    found = bench.compared()
    assert (found.n_bars, found.first) == (35, PANEL.calendar[FOLDS[-1].test.start + 5].isoformat())
    assert found.weights_sha256 == weights_sha256(bench.champion)
    bench.release(name="r2", model_card=json.dumps(card_of(folds, None)))
    why = bench.compared().why
    assert why.startswith("r2, which is live, cannot be compared: the live version's card does not say up to which bar")


def test_the_live_model_holds_nothing_before_it_has_the_history_that_it_asks_for(bench: Bench) -> None:
    span, ready = FOLDS[-1].test, FOLDS[-1].test.start + 15
    bench.release(changes={"max_lookback": ready + 1})
    found = bench.compared()
    rival = np.concatenate([np.zeros(15), loop(bench.champion, Span(ready, span.stop), min_history=ready + 1)])
    own = loop(replace(bench.challenger.fitted, position=bench.spec.position), span)
    oracle = paired_sharpe_difference(own, rival, bars_per_year=252.0, seed=EXPERIMENT.seed)
    assert found.difference is not None
    assert found.difference.difference_annual == pytest.approx(oracle.difference_annual, rel=1e-6)
    bench.release(changes={"max_lookback": PANEL.n_bars + 1}, name="r2")
    assert "it cannot be asked: no symbol is observed" in bench.compared().why


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiment": "another"}, "of the experiment 'another'"),
        (
            {"features": ("gone",), "feature_versions": {"gone": "1"}, "scaler": made_scaler("gone")},
            "not built any more: gone",
        ),
        ({"feature_versions": dict.fromkeys(FEATURES, "0")}, "formulas of features that it reads have changed"),
        ({"symbols": ("ZZZ",)}, "it trades none of the symbols"),
    ],
)
def test_a_live_model_that_cannot_be_asked_is_a_finding_with_its_reason(
    bench: Bench, changes: dict[str, Any], words: str
) -> None:
    bench.release(changes=changes)
    found = bench.compared()
    assert (found.applies, found.difference, found.champion) == (True, None, "r1")
    assert found.why.startswith("r1, which is live, cannot be compared: ")
    assert words in found.why


def test_a_formula_that_changed_since_is_named_with_both_versions(bench: Bench) -> None:
    bench.release()
    store(bench.graph, toy_features(BARS), {"mean_5": "2"})
    assert "mean_5 (1 -> 2)" in bench.compared().why


def test_a_live_model_that_saw_the_newest_folds_last_bar_leaves_nothing_to_compare(bench: Bench) -> None:
    bench.release(specs=len(SPECS))
    found = bench.compared()
    assert found.difference is None
    assert f"trained or scored on bars up to {PANEL.calendar[FOLDS[-1].test.stop - 1].isoformat()}" in found.why
    assert "no bar is left that it has not seen" in found.why
    later = {part: {"last": "2030-01-01T00:00:00+00:00"} for part in ("train", "validation", "test")}
    bench.release(name="r2", model_card=json.dumps(card_of([later])))
    assert "bars up to 2030-01-01" in bench.compared().why


def test_too_few_common_bars_are_counted(bench: Bench) -> None:
    last = PANEL.calendar[FOLDS[-1].test.stop - 6].isoformat()
    seen = {part: {"last": last} for part in ("train", "validation", "test")}
    bench.release(model_card=json.dumps(card_of([seen])))
    found = bench.compared()
    assert (found.n_bars, found.difference) == (5, None)
    assert "5 bar(s)" in found.why


@pytest.mark.parametrize("name", ["weights.safetensors", "signature.json", "model_card.json", "manifest.json"])
def test_a_damaged_live_version_is_a_finding_and_no_crash(bench: Bench, name: str) -> None:
    path = bench.release() / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = bench.compared()
    assert (found.applies, found.difference, found.champion) == (True, None, "r1")
    assert f"the live version r1 cannot be read: r1/{name}" in found.why
    assert str(bench.graph.layout.home) not in found.why


def test_a_live_version_that_is_gone_or_older_than_signatures_is_a_finding(bench: Bench) -> None:
    folder = bench.release()
    folder.rename(folder.with_name("elsewhere"))
    assert "the live version r1 cannot be read" in bench.compared().why
    write_artifact(folder.parent, writer({"model_card.json": b"{}", "weights.safetensors": b""}), version="old")
    assert "cannot be read: old: no signature.json in it" in bench.compared().why


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A machine on which nothing is live, and in its store r1, which another one made live."""
    use_store(monkeypatch, "file", tmp_path)
    graph = ExperimentGraph(read_experiment(small_experiment(tmp_path, BARS)), Layout(tmp_path / "home"))
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "other"))
    released(Layout(tmp_path / "other").models("small"), "r1", "one")
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    unread: Any = None  # the live version is asked for before these
    return Bench(graph=graph, spec=unread, challenger=unread, champion=unread)


@pytest.mark.fault("store_down")
@pytest.mark.parametrize("asked", ["current.json", "r1/manifest.json"], ids=["pointer", "version"])
def test_a_store_that_is_down_is_an_error_and_no_finding_that_would_outlast_it(
    elsewhere: Bench, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    answered = ObjectStore.get

    def get(store: ObjectStore, key: str) -> bytes | None:
        if key.endswith(asked):
            raise StoreError(f"{key}: the store did not answer", may_pass=True)
        return answered(store, key)

    monkeypatch.setattr(ObjectStore, "get", get)
    with pytest.raises(PublishError, match="the store did not answer") as raised:
        elsewhere.compared()
    assert raised.value.may_pass


def test_a_live_version_that_is_damaged_in_the_store_is_named_where_nothing_is_live_here(
    elsewhere: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "store/experiments/small/models/versions/r1/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    found = elsewhere.compared()
    assert (found.applies, found.champion) == (True, "r1")
    assert found.why.startswith("the live version r1 cannot be read: ")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"network": "{}"}, "it does not load"),
        ({"network": "no JSON"}, "it does not load"),
        ({"model_card": "{}"}, "does not say on which bars it was trained"),
        ({"model_card": "["}, "it does not load"),
    ],
)
def test_a_live_version_whose_files_make_no_model_is_a_finding(bench: Bench, files: dict[str, str], words: str) -> None:
    bench.release(**files)
    assert words in bench.compared().why


def test_stored_features_that_are_not_those_of_the_plan_are_named(bench: Bench) -> None:
    bench.release()
    store(bench.graph, toy_features(BARS).with_columns(pl.col("mean_5") * 2))
    assert "the new model's bars are not the stored ones" in bench.compared().why
