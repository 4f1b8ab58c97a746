from typing import Any

import pytest
from pydantic import ValidationError

from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, ReleaseRecord
from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.planning import production_folds, research_folds
from tft_pipeline.domain.reports import (
    FeatureCatalogue,
    FeatureRow,
    FoldPlanReport,
    FoldSpec,
    Report,
    TrialRow,
    TunedHyperparameters,
)
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline_tests.builders import planned, small, toy_panel
from tft_pipeline_tests.conftest import random_bars


def plan(snapshot_id: str = "a") -> FoldPlanReport:
    experiment = small()
    panel = toy_panel(random_bars(), experiment)
    specs = planned(panel, experiment, production_folds(panel, experiment), production=True)
    return FoldPlanReport(phase="production", snapshot_id=snapshot_id, purge=5, specs=specs)


def tuned(**changes: Any) -> TunedHyperparameters:
    trial = TrialRow(
        number=0,
        state="complete",
        params={"network.hidden": 8},
        sharpe_annual=0.1,
        fold_sharpes=(0.1,),
        returns=(1e-17, 0.3),
    )
    values: dict[str, Any] = {
        "network": NetworkSection(),
        "training": TrainingSection(),
        "position": PositionSection(),
        "best_trial": 0,
        "best_sharpe_annual": 0.1,
        "study": "s",
        "n_trials_started": 1,
        "n_pruned": 0,
        "fold_keys": ("f1",),
        "trials": (trial,),
        "seconds": 1.5,
    }
    return TunedHyperparameters(**values | changes)


def latency(**changes: Any) -> LatencyBenchmark:
    values: dict[str, Any] = {
        "fold": "f1",
        "weights_sha256": "ab",
        "latency_ms": {"p95": 1.0},
        "environment": {"threads": 1},
        "warmup": 2,
        "n": 20,
        "max_p95_ms": 40.0,
        "within_limit": True,
    }
    return LatencyBenchmark(**values | changes)


def research_spec() -> FoldSpec:
    experiment = small()
    panel = toy_panel(random_bars(), experiment)
    return planned(panel, experiment, research_folds(panel, experiment, experiment.exploration.folds))[0]


@pytest.mark.parametrize(
    "record", [plan(), research_spec(), tuned(), latency()], ids=lambda record: type(record).__name__
)
def test_a_record_read_back_from_json_is_the_same_record_with_the_same_content(record):
    again = type(record).model_validate_json(record.model_dump_json(indent=1))
    assert again == record
    assert again.content_sha256() == record.content_sha256()


def test_volatile_fields_are_kept_but_are_no_content():
    assert tuned(seconds=9.0).content_sha256() == tuned().content_sha256()
    assert tuned(seconds=9.0) != tuned()
    assert plan("b").content_sha256() == plan("a").content_sha256()
    assert latency(latency_ms={"p95": 2.0}).content_sha256() == latency().content_sha256()


@pytest.mark.parametrize(
    "changes",
    [
        {"best_trial": 1},
        {"n_trials_started": 2},
        {"study": "t"},
        {"position": PositionSection(cost_bps=1.0)},
        {"trials": ()},
    ],
    ids=str,
)
def test_every_other_field_is_content(changes):
    assert tuned(**changes).content_sha256() != tuned().content_sha256()


def every_report(root: type[Report] = Report) -> list[type[Report]]:
    found = []
    for kind in root.__subclasses__():
        found += [kind, *every_report(kind)]
    return found


@pytest.mark.parametrize("kind", every_report(), ids=lambda kind: kind.__name__)
def test_volatile_names_are_fields_and_leave_some_content(kind):
    assert kind.volatile <= set(kind.model_fields)
    assert set(kind.model_fields) - kind.volatile


def test_release_identity_is_not_made_of_paths_or_times():
    values: dict[str, Any] = {
        "release_id": "r1",
        "created_at": "t1",
        "verdict": "NO-GO",
        "fold": "f1",
        "path": "/a",
        "card_path": "/a/c",
        "files": {},
        "content": "x",
    }
    other = values | {"created_at": "t2", "path": "/b", "card_path": "/b/c"}
    assert ReleaseRecord(**other).content_sha256() == ReleaseRecord(**values).content_sha256()
    for change in ({"verdict": "GO"}, {"release_id": "r2"}):  # the report names the release
        assert ReleaseRecord(**values | change).content_sha256() != ReleaseRecord(**values).content_sha256()


def test_a_record_is_frozen_closed_and_finite():
    with pytest.raises(ValidationError, match="frozen"):
        tuned().seconds = 2.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        tuned(second=2.0)
    with pytest.raises(ValidationError, match="finite"):
        tuned(seconds=float("nan"))


def test_a_number_without_json_form_hidden_in_a_free_field_is_refused_as_content():
    record = DriftRecord(
        fold="f", verdict="stable", n_reference=1, n_recent=1, rows=({"psi": float("nan")},), detail={}
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.content_sha256()


def test_a_spec_gives_back_its_fold_counted_from_its_slice():
    spec = plan().specs[0]
    fold = spec.fold
    assert isinstance(fold, Fold)
    first, stop = spec.spans["train"]
    assert fold.train == Span(first, stop)
    assert stop - first == 120
    assert fold.test.stop == fold.test.start + 40
    assert fold.key == spec.key


def test_a_plan_finds_its_folds_and_names_those_it_has():
    report = plan()
    assert report.spec(report.specs[1].key) is report.specs[1]
    with pytest.raises(KeyError, match=rf"fold f1999-01-01 is not in the production plan .*{report.specs[0].key}"):
        report.spec("f1999-01-01")


def test_the_catalogue_lists_built_features_then_the_users_own():
    row = FeatureRow(name="ret_1", group="ret", formula="f", lookback=1, inputs=("close",), version="1")
    catalogue = FeatureCatalogue(used=(row,), skipped={"vol_x": "no volume"}, user_columns=("score",), max_lookback=1)
    assert catalogue.names == ("ret_1", "score")
