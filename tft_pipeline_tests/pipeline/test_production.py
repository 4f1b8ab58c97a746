"""What a production fold stores beside the model's own positions."""

import numpy as np
import pytest

from tft_pipeline.domain import trend_rules
from tft_pipeline.domain.features import trend
from tft_pipeline.domain.portfolio import momentum_positions
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.trend_rules import macd_positions
from tft_pipeline.model.baselines import boosting_positions, fit_ridge, ridge_positions
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.panels import fold_panel
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.fold_bundles import read_fold_bundle
from tft_pipeline_tests.conftest import Workbench


def test_a_fold_stores_the_positions_of_every_baseline_on_its_own_test_bars(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the paper's windows need 347 bars, which a small fold does not have
    monkeypatch.setattr(trend, "PRICE_WINDOW", 20)
    monkeypatch.setattr(trend, "SIGNAL_WINDOW", 30)
    monkeypatch.setattr(trend_rules, "MACD_SPEEDS", ((2, 6), (4, 12), (8, 24)))
    plan = FoldPlanReport.model_validate_json((finished.artifact("production_plan") / "report.json").read_text())
    spec = plan.specs[-1]
    done = materialise_asset(finished.file, "production_fold", partition=spec.key, downstream=False, report=print)
    assert done["failed"] == []
    bundle = read_fold_bundle(read_artifact(finished.layout.artifact("small", "production_fold", spec.key)))
    panel, fold = fold_panel(finished.graph, spec), spec.fold
    test = slice(*fold.test)
    expected = {
        "momentum": momentum_positions(panel.close, 60)[:, test],
        "macd": macd_positions(panel.close)[:, test],
        "ridge": ridge_positions(fit_ridge(panel, fold, bundle.fitted.scaler), panel, fold),
        "lightgbm": boosting_positions(bundle.boosting, panel, fold),
    }
    for name, grid in expected.items():
        found = bundle.predictions.select("timestamp", "symbol", f"{name}_position")
        assert found.height == panel.observed[:, test].sum()
        assert found[f"{name}_position"].abs().max() <= 1.0
        for stamp, symbol, position in found.iter_rows():
            bar = panel.calendar.index(stamp) - fold.test.start
            assert position == grid[panel.symbols.index(symbol), bar], (name, stamp, symbol)
        assert np.count_nonzero(found[f"{name}_position"].to_numpy()) > 0.9 * found.height, name
