"""A finished run replayed live: every test bar of every production fold, models swapped at fold borders as deployments.

The held positions equal the backtest's, from stored features and from raw bars fed one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest
import torch

from tft_pipeline.domain.backtest import backtest
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.reports import FeatureCatalogue, FoldPlanReport, FoldSpec
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.engine import Form
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.predictor_state import PredictorState
from tft_pipeline.pipeline.bundling import build_signature
from tft_pipeline.pipeline.io_managers import FRAME_FILE
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.fold_bundles import FoldBundle
from tft_pipeline.storage.release_bundle import read_release_bundle
from tft_pipeline.storage.releases import release_ids
from tft_pipeline.storage.snapshots import read_snapshot
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.live_models import bar_of, predictor_of
from tft_pipeline_tests.stored import stored_fold, stored_report

TOLERANCE: dict[Form, float] = {"torch": 1e-6, "onnx_window": 1e-5, "onnx_stream": 1e-5}
SMOOTH = 0.6


@dataclass(frozen=True)
class Run:
    """What a run left, as a replay needs it.

    Attributes:
        panel: of all stored features. bars: raw, of the snapshot.
    """

    plan: FoldPlanReport
    folds: dict[str, FoldBundle]
    catalogue: FeatureCatalogue
    panel: Panel
    bars: pl.DataFrame
    bench: Workbench

    @property
    def predictions(self) -> pl.DataFrame:
        """Of all folds, in time order."""
        return pl.concat([self.folds[spec.key].predictions for spec in self.plan.specs]).sort("timestamp", "symbol")

    def signature(self, spec: FoldSpec, *, smooth: float) -> Signature:
        """What a release of a fold states, with positions smoothed so much."""
        stated = build_signature(
            experiment=self.bench.graph.experiment,
            spec=spec,
            fold=self.folds[spec.key],
            catalogue=self.catalogue,
            bars=self.bars,
            symbols=self.panel.symbols,
            form="eager",
            forms={"onnx_window": "window.onnx", "onnx_stream": "stream.onnx"},
            left_out={},
            outputs=("forecast_position",),
            quantile_levels=(),
            weights_sha256="0" * 64,
        )
        return replace(stated, position_smooth=smooth)


@pytest.fixture
def run(finished: Workbench) -> Iterator[Run]:
    before = torch.get_num_threads()
    plan = stored_report(finished, FoldPlanReport, "production_plan")
    catalogue = stored_report(finished, FeatureCatalogue, "feature_catalogue")
    features = pl.read_parquet(finished.artifact("features") / FRAME_FILE)
    targets = pl.read_parquet(finished.artifact("targets") / FRAME_FILE)
    names = plan.specs[0].features
    yield Run(
        plan=plan,
        folds={spec.key: stored_fold(finished, spec.key) for spec in plan.specs},
        catalogue=catalogue,
        panel=build_panel(features, targets, names=names, min_history=catalogue.max_lookback),
        bars=read_snapshot(read_artifact(finished.layout.artifact("small", "snapshot"))).bars,
        bench=finished,
    )
    torch.set_num_threads(before)


def _expected(run: Run, smooth: float) -> tuple[list[datetime], np.ndarray]:
    """Timestamps and positions (N, S) by an own grid over the stored raw positions; p over all folds in time order."""
    wide = run.predictions.pivot("symbol", index="timestamp", values="raw_position", sort_columns=True).sort(
        "timestamp"
    )
    raw = wide.select(run.panel.symbols).to_numpy().T.astype(float)
    held = hold_positions(raw, max_position=run.plan.specs[-1].position.max_position, position_smooth=smooth)
    return wide["timestamp"].to_list(), held.T


def _predictor(run: Run, spec: FoldSpec, form: Form, smooth: float) -> Predictor:
    fitted = run.folds[spec.key].fitted
    return predictor_of(fitted, run.signature(spec, smooth=smooth), form=form, model_id=spec.key)


def _replayed(run: Run, form: Form, smooth: float, feed: "Feed") -> tuple[list[datetime], np.ndarray]:
    """Every bar of the production period; after some bars the state goes through bytes into a new predictor."""
    stamps, held = [], []
    state: PredictorState | None = None
    random = np.random.default_rng(0)
    for spec in run.plan.specs:
        predictor = _predictor(run, spec, form, smooth)
        tested = set(run.folds[spec.key].predictions["timestamp"])
        bars = [bar for bar, at in enumerate(run.panel.calendar) if at in tested]
        if state is None:
            past = range(bars[0] - predictor.signature.lookback + 1, bars[0])
            state = predictor.warm(predictor.start(), (feed(bar) for bar in past))
        state = predictor.adopt(state)
        for bar in bars:
            signals, state = predictor.step(state, feed(bar))
            assert {signal.model_id for signal in signals} == {spec.key}
            stamps.append(run.panel.calendar[bar])
            held.append([signal.target_position for signal in signals])
            if random.random() < 0.1:
                state = PredictorState.from_bytes(state.to_bytes())
    return stamps, np.array(held)


class Feed:
    """Features of a bar of the panel, as they are stored."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, bar: int) -> BarFeatures:
        return bar_of(self.run.panel, bar)


class RawFeed(Feed):
    """The same from raw bars: each is appended to a history when its turn has come."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.history: BarHistory | None = None

    def __call__(self, bar: int) -> BarFeatures:
        at = self.run.panel.calendar[bar]
        if self.history is None:
            first = self.run.signature(self.run.plan.specs[0], smooth=0.0)
            self.history = BarHistory(first, self.run.bars.filter(pl.col("timestamp") <= at))
        elif self.history.last < at:
            self.history.append(self.run.bars.filter(pl.col("timestamp") == at))
        found, stored = self.history.features_at(at), super().__call__(bar)
        assert found.features == stored.features
        assert set(found.values) == set(stored.values)
        for symbol, row in stored.values.items():
            np.testing.assert_array_equal(found.values[symbol], row)
        return found


@pytest.mark.parametrize("form", ["torch", pytest.param("onnx_window", marks=pytest.mark.slow), "onnx_stream"])
def test_a_replay_of_all_folds_holds_what_the_backtest_holds(run: Run, form: Form) -> None:
    """Each form, smoothed and from raw bars; what the asset stored is of the experiment's own smoothing."""
    raw = RawFeed(run)
    for smooth, feed in ((SMOOTH, raw), (run.plan.specs[-1].position.position_smooth, Feed(run))):
        stamps, held = _replayed(run, form, smooth, feed)
        expected_stamps, expected = _expected(run, smooth)
        assert stamps == expected_stamps
        assert len(run.plan.specs) > 2
        np.testing.assert_allclose(held, expected, rtol=0, atol=TOLERANCE[form])
        assert np.abs(expected).max() > 1e-3
    portfolio = pl.read_parquet(run.bench.artifact("oos_portfolio") / FRAME_FILE)
    rows = run.predictions.with_columns(
        pl.Series(
            "raw_position",
            [
                held[stamps.index(at), run.panel.symbols.index(s)]
                for at, s in run.predictions.select("timestamp", "symbol").iter_rows()
            ],
        )
    )
    position = run.plan.specs[-1].position.model_copy(update={"position_smooth": 0.0})
    live = backtest(rows, position, target_volatility=run.plan.specs[-1].target_volatility, bars_per_year=252)
    for column in ("gross", "net", "turnover"):
        np.testing.assert_allclose(live[column].to_numpy(), portfolio[column].to_numpy(), rtol=0, atol=1e-5)


def test_the_released_model_is_the_newest_folds_and_says_the_same(run: Run) -> None:
    """From the files of the release, whatever form its gate judged."""
    models = run.bench.layout.models("small")
    predictor = Predictor.load(read_release_bundle(models / "versions" / release_ids(models)[-1]))
    assert set(predictor.signature.symbols) == set(run.panel.symbols)
    spec = run.plan.specs[-1]
    predicted = run.folds[spec.key].predictions
    tested = set(predicted["timestamp"])
    bars = [bar for bar, at in enumerate(run.panel.calendar) if at in tested]
    state = predictor.warm(predictor.start(), (bar_of(run.panel, bar) for bar in range(bars[0])))
    wide = predicted.pivot("symbol", index="timestamp", values="raw_position", sort_columns=True).sort("timestamp")
    raw = wide.select(run.panel.symbols).to_numpy().T.astype(float)
    expected = hold_positions(
        raw, max_position=spec.position.max_position, position_smooth=spec.position.position_smooth
    )
    for k, bar in enumerate(bars):
        signals, state = predictor.step(state, bar_of(run.panel, bar))
        np.testing.assert_allclose([s.target_position for s in signals], expected[:, k], rtol=0, atol=1e-5)
