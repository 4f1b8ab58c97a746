"""Which bars a drift record compares, what it must not see, and the verdict over its four parts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.drift import drift_report
from tft_pipeline.domain.drift_records import judged_rows
from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.phases import DriftSection
from tft_pipeline.domain.reports import FeatureCatalogue, FoldPlanReport, FoldSpec
from tft_pipeline.pipeline import drift_said as module
from tft_pipeline.pipeline.drift_bars import Compared, NothingToCompareError, recent_bars, recent_since
from tft_pipeline.pipeline.drift_evaluation import evaluate_drift, inputs_record, judged
from tft_pipeline.pipeline.drift_said import SCORED
from tft_pipeline.pipeline.io_managers import FRAME_FILE, REPORT_FILE
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.fold_bundles import FoldBundle, read_fold_bundle, weights_sha256
from tft_pipeline_tests.conftest import Workbench

SETTINGS = DriftSection(recent_bars=12, n_bins=5)


class Stored:
    """The newest fold of a finished run and its panel."""

    def __init__(self, bench: Workbench) -> None:
        self.plan = FoldPlanReport.model_validate_json((bench.artifact("production_plan") / REPORT_FILE).read_text())
        self.spec: FoldSpec = self.plan.specs[-1]
        root = bench.layout.artifact
        folds = [read_fold_bundle(read_artifact(root("small", "production_fold", one.key))) for one in self.plan.specs]
        self.bundle: FoldBundle = folds[-1]
        self.scored = pl.concat([fold.predictions.select(SCORED) for fold in folds])
        catalogue = FeatureCatalogue.model_validate_json(
            (bench.artifact("feature_catalogue") / REPORT_FILE).read_text()
        )
        features = pl.scan_parquet(bench.artifact("features") / FRAME_FILE)
        targets = pl.read_parquet(bench.artifact("targets") / FRAME_FILE)
        self.panel = panel_of(features, targets, catalogue, self.bundle.fitted.scaler.names)

    def record(self, bars: Compared, panel: Panel | None = None, **settings: Any) -> DriftRecord:
        """The record of some bars."""
        section = SETTINGS.model_copy(update=settings)
        return evaluate_drift(panel or self.panel, self.bundle, self.scored, section, bars, snapshot_id="s")


@pytest.fixture
def stored(finished: Workbench) -> Stored:
    """A finished run's newest fold."""
    return Stored(finished)


def test_a_night_is_the_bars_up_to_the_end_of_its_day_and_no_training_bar(stored: Stored) -> None:
    newest = stored.panel.calendar[-1].date()
    whole = recent_bars(stored.panel, stored.spec, 12)
    assert whole == recent_bars(stored.panel, stored.spec, 12, until=newest, dated=True)
    assert whole.recent.stop - whole.recent.start == 12
    assert whole.recent.stop == stored.panel.n_bars
    train = stored.spec.dates["train"]
    assert stored.panel.calendar[whole.train.start].isoformat() == train["first"]
    assert stored.panel.calendar[whole.train.stop - 1].isoformat() == train["last"]
    earlier = stored.panel.calendar[-5].date()
    assert recent_bars(stored.panel, stored.spec, 12, until=earlier, dated=True).recent.stop == stored.panel.n_bars - 4
    all_after = recent_since(stored.panel, stored.spec, 0)
    assert all_after.recent == (whole.train.stop, stored.panel.n_bars)


def test_a_day_without_bars_a_day_of_training_and_other_bars_are_refused_by_name(stored: Stored) -> None:
    with pytest.raises(NothingToCompareError, match="no bar of a traded symbol closed on 2021-08-07"):
        recent_bars(stored.panel, stored.spec, 12, until=date(2021, 8, 7), dated=True)
    learned = date.fromisoformat(stored.spec.dates["train"]["last"][:10])
    with pytest.raises(NothingToCompareError, match="compared with its own bars"):
        recent_bars(stored.panel, stored.spec, 12, until=learned, dated=True)
    late = stored.panel.between(stored.panel.n_bars - 20, stored.panel.n_bars)
    with pytest.raises(NothingToCompareError, match=r"training bars of fold f2021-05-07 .* are not all in these bars"):
        recent_bars(late, stored.spec, 12)


def test_features_are_those_of_the_report_on_scaled_bars(stored: Stored) -> None:
    bars = recent_bars(stored.panel, stored.spec, 12)
    record = stored.record(bars)
    scaler = stored.bundle.fitted.scaler
    seen = np.where(stored.panel.observed[:, :, None], stored.panel.values, np.nan)
    scaled = (seen - scaler.mean) / scaler.std
    sides = [
        {name: scaled[:, slice(*span), v].T for v, name in enumerate(scaler.names)}
        for span in (bars.train, bars.recent)
    ]
    expected = drift_report(*sides, n_bins=5)
    assert [row["feature"] for row in record.rows] == [row.feature for row in expected.features]
    assert [row["psi"] for row in record.rows] == pytest.approx([row.psi for row in expected.features], rel=1e-3)
    assert record.detail["n_null_windows"] == expected.n_null_windows >= 19
    assert record.weights_sha256 == weights_sha256(stored.bundle.fitted)
    last = {name: values[-1] for name, values in record.over_time["psi"].items()}
    assert last == pytest.approx({row["feature"]: row["psi"] for row in record.rows if row["feature"] in last})
    json.dumps(record.model_dump(mode="json"), allow_nan=False)


def test_what_comes_after_the_night_changes_nothing_of_its_record(stored: Stored) -> None:
    until = stored.panel.calendar[-6].date()
    bars = recent_bars(stored.panel, stored.spec, 12, until=until, dated=True)
    before = stored.record(bars)
    random = np.random.default_rng(0)
    panel = stored.panel
    stop, horizon = bars.recent.stop, stored.bundle.fitted.horizon

    def spoiled(array: np.ndarray, first: int) -> np.ndarray:
        changed = array.copy()
        changed[:, first:] = random.normal(size=changed[:, first:].shape) * 50.0
        return changed

    other = replace(
        panel,
        values=spoiled(panel.values, stop),
        close=spoiled(panel.close, stop),
        volatility=np.abs(spoiled(panel.volatility, stop)),
        next_return=spoiled(panel.next_return, stop - 1),  # of the next bar, which is not there yet
        label=spoiled(panel.label, stop - horizon),
    )
    assert stored.record(bars, other) == before


def test_only_resolved_labels_count_and_the_reference_is_what_all_folds_scored_before(stored: Stored) -> None:
    """As of the newest fold's last test bar, so that stored predictions are an oracle for those that are made anew."""
    last = max(stored.scored["timestamp"].to_list())
    bars = recent_bars(stored.panel, stored.spec, 12, until=last.date(), dated=True)
    found = stored.record(bars).performance
    assert found is not None
    assert found["measure"] == "log_loss"
    places = pl.DataFrame({"timestamp": stored.panel.calendar}).with_row_index("bar")
    losses: dict[int, list[float]] = {}
    for row in stored.scored.join(places, on="timestamp").iter_rows(named=True):
        label = stored.panel.label[stored.panel.symbols.index(row["symbol"]), row["bar"]]
        if row["bar"] + stored.bundle.fitted.horizon < bars.recent.stop:
            p = row["probability"] if label > 0 else 1.0 - row["probability"]
            losses.setdefault(row["bar"], []).append(-float(np.log(p)))
    means = [float(np.mean(losses[bar])) for bar in sorted(losses)]
    assert (found["n_recent"], found["n_reference"]) == (12, len(means) - 12)
    assert found["recent"] == pytest.approx(np.mean(means[-12:]), rel=1e-5)
    assert found["reference"] == pytest.approx(np.mean(means[:-12]), rel=1e-5)


def test_bars_before_its_test_are_judged_by_older_models_and_not_by_the_one_that_was_stopped_on_them(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of the fourth bar of the newest test: the eight recent bars before are another fold's, or validation bars."""
    first = datetime.fromisoformat(stored.spec.dates["test"]["first"])
    start = stored.panel.calendar.index(first)
    bars = recent_bars(stored.panel, stored.spec, 12, until=stored.panel.calendar[start + 3].date(), dated=True)
    assert (bars.recent.start, bars.recent.stop, bars.test.start) == (start - 8, start + 4, start)
    before = stored.record(bars)
    honest = module.predict_recent

    def lucky(*arguments: Any) -> dict[str, np.ndarray]:
        made = honest(*arguments)
        made["probability"][:, :8], made["raw_position"][:, :8] = 0.999, 1.0
        return made

    monkeypatch.setattr(module, "predict_recent", lucky)
    assert stored.record(bars) == before
    assert before.performance is not None
    places = pl.DataFrame({"timestamp": stored.panel.calendar}).with_row_index("bar")
    scored = stored.scored.join(places, on="timestamp").filter(pl.col("bar") < start + 4 - stored.bundle.fitted.horizon)
    assert before.performance["n_recent"] == 12
    assert before.performance["n_reference"] == scored["bar"].n_unique() - 12


@pytest.mark.parametrize("key", ["n_bins", "psi_threshold", "js_threshold", "alpha", "min_null_windows"])
def test_every_limit_changes_the_record(key: str, stored: Stored) -> None:
    changed = {"n_bins": 4, "psi_threshold": 0.9, "js_threshold": 0.9, "alpha": 0.4, "min_null_windows": 20}[key]
    bars = recent_bars(stored.panel, stored.spec, 12)
    assert stored.record(bars).content_sha256() != stored.record(bars, **{key: changed}).content_sha256()


def part(verdict: str) -> Mapping[str, Any]:
    """A part of the record."""
    return {"verdict": verdict, "reason": f"because {verdict}"}


def test_only_features_ask_for_a_retrain_and_the_other_parts_ask_to_look() -> None:
    for name in ("multivariate", "predictions", "performance"):
        for verdict in ("investigate", "retrain"):
            found, reasons = judged("stable", "small", {name: part(verdict)})
            assert found == "investigate"
            assert f"{name} ask" in reasons[1]
            assert reasons[1].endswith(f"because {verdict}")
    assert judged("retrain", "large", {"performance": part("stable")})[0] == "retrain"
    assert judged("stable", "small", {"performance": part("stable")})[0] == "stable"


@pytest.mark.fault("short_window")
def test_features_without_enough_data_are_never_a_pass_and_another_part_without_is_said() -> None:
    found, reasons = judged("insufficient_data", "few", {"performance": part("retrain")})
    assert found == "insufficient_data"
    assert reasons[0] == "features cannot be judged: few"
    assert "alone it counts as investigate" in reasons[1]
    found, reasons = judged("stable", "small", {"performance": part("insufficient_data")})
    assert found == "stable"
    assert reasons[1] == "performance cannot be judged: because insufficient_data"


def test_a_symbol_that_a_bar_does_not_have_is_unobserved_and_not_missing() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(3, 1260, 2))
    values[2, :1000] = np.nan
    values[0, 1230:, 1] = np.nan
    record = inputs_record(["a", "b"], values[:, :1200], values[:, 1200:], DriftSection(), stamps=None)
    first, second = record.rows
    assert first["missing_reference"] == first["missing_recent"] == second["missing_reference"] == 0.0
    assert second["missing_recent"] == pytest.approx(30 / 180)
    assert first["verdict"] == "stable"
    assert record.over_time["psi"]["a"][-1] == pytest.approx(first["psi"])
    alone = inputs_record(["a"], values[:1, :1200, 1:], values[:1, 1200:, 1:], DriftSection(), stamps=None)
    assert alone.rows[0]["missing_recent"] == 0.5
    assert alone.verdict == "retrain"


def test_a_raw_level_is_shown_and_judged_nowhere_unless_there_is_nothing_else() -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=(2, 1260, 3))
    values[:, 1200:, 1] += 30.0
    sides = values[:, :1200], values[:, 1200:]
    names = ["ret_1m", "close", "sma_20_gap"]
    assert inputs_record(names, *sides, DriftSection(), stamps=None).verdict == "retrain"
    record = inputs_record(names, *sides, DriftSection(), stamps=None, levels={"close", "volume"})
    assert record.verdict == "stable"
    alone = inputs_record(
        ["ret_1m", "sma_20_gap"], *(side[:, :, [0, 2]] for side in sides), DriftSection(), stamps=None
    )
    assert record.rows[:2] == alone.rows
    assert record.multivariate == alone.multivariate
    level = record.rows[2]
    assert (level["feature"], level["verdict"]) == ("close", "information")
    assert level["psi"] > 1.0
    assert level["psi_p_value"] is level["psi_p_value_family"] is level["ks_p_value"] is None
    assert judged_rows(record.rows) == list(alone.rows)
    assert "close" in record.over_time["psi"]
    only = inputs_record(["close"], *(side[:, :, [1]] for side in sides), DriftSection(), stamps=None, levels={"close"})
    assert only.verdict == "retrain"
