"""The card of a run: the guide's example is a subset, figures are those of the records, every null has its reason."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from tft_pipeline.domain.model_card import build_card
from tft_pipeline.domain.performance_gates import NO_RESEARCH_END
from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline_tests.made_cards import card_inputs
from tft_pipeline_tests.made_cards import made_card as card

GUIDE = {
    "version": "2",
    "model_name": "tft_prod",
    "created_at": "2025-10-15T12:00:00Z",
    "train": {
        "snapshot_id": "2025-10-15T12-00-00Z",
        "range": {"start": "2025-07-15", "end": "2025-10-15"},
        "rows": 130000,
        "class_balance": {"pos": 65000, "neg": 65000},
    },
    "metrics": {"accuracy": 0.65, "val_loss": 0.68},
    "latency_ms": {"mean": 12.5, "p50": 12.2, "p95": 15.8, "p99": 18.3},
    "architecture": {
        "seq_len": 64,
        "hidden_size": 128,
        "total_params": 285000,
        "features": ["close", "volume", "ret_1m", "sma_20_gap", "sma_50_gap"],
    },
    "inference": {"device": "cpu", "threads": 1, "warmup_n": 20},
}


def paths(value: Any, at: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {at}
    return set().union(*(paths(item, f"{at}/{key}") for key, item in value.items()), {at})


def test_every_key_of_the_guides_card_stands_at_its_place():
    assert paths(GUIDE) <= paths(card())


def kinds(value: Any, other: Any, at: str = "") -> list[str]:
    """Places of the first whose value has another JSON type in the second; a whole number is a number there."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in kinds(item, other[key], f"{at}/{key}")]
    if isinstance(value, list):
        return (
            [place for item in other for place in kinds(value[0], item, f"{at}[]")] if isinstance(other, list) else [at]
        )
    same = isinstance(other, int | float) if isinstance(value, float) else type(value) is type(other)
    return [] if same and not isinstance(other, bool) else [at]


def test_the_kinds_of_the_guides_values_are_kept():
    found = card()
    assert kinds(GUIDE, found) == []
    assert found["version"] == GUIDE["version"]
    assert found["train"]["rows"] == sum(found["train"]["class_balance"].values())
    assert found["architecture"]["seq_len"] == 16
    assert found["architecture"]["hidden_size"] == 4
    assert found["inference"]["warmup_n"] == 2
    datetime.fromisoformat(found["created_at"])


@pytest.mark.parametrize(
    ("place", "value"), [("/metrics/accuracy", {"value": 1.0}), ("/train/rows", "9"), ("/train/rows", 1.5)]
)
def test_another_kind_at_a_place_of_the_guide_is_noticed(place, value):
    found = card()
    section, key = place.strip("/").split("/")
    found[section][key] = value
    assert kinds(GUIDE, found) == [place]


@pytest.mark.parametrize("family", get_args(NetworkSection.model_fields["family"].annotation))
def test_the_card_names_the_network_that_was_trained(family):
    architecture = card(network={"family": family})["architecture"]
    words = {"tft": "decoder-only", "lstm": "LSTM", "pytorch_forecasting": "pytorch-forecasting"}
    assert words[family] in architecture["class"]
    assert architecture["family"] == family
    assert (architecture["heads"] is None) == (family == "lstm")


def test_the_card_says_what_the_network_reads_besides_its_bars():
    architecture = card(network={"static_symbol": True, "n_context": 3})["architecture"]
    assert architecture["static_symbol"] is True
    assert architecture["n_context"] == 3


def test_the_card_is_finite_json():
    assert json.loads(json.dumps(card(), allow_nan=False)) == card()


def test_figures_of_the_model_are_those_of_the_newest_fold():
    found = card()
    n_folds = len(found["train"]["folds"])
    assert n_folds > 2
    assert found["metrics"]["val_loss"] == 0.5 + n_folds - 1
    assert found["train"]["range"]["start"] == found["train"]["folds"][-1]["train"]["first"]
    assert found["train"]["range"]["end"] == found["train"]["folds"][-1]["val"]["last"]
    assert set(found["train"]["extents"]) == {"range", "rows", "class_balance", "rows_per_symbol"}
    assert set(found["train"]["extents"]) <= set(found["train"])
    assert found["train"]["seeds"] == sorted(50 - k for k in range(n_folds))
    assert found["train"]["duration_s"] == 10.0 + 2.0 * n_folds


def test_where_the_hyper_parameters_and_features_come_from_is_told():
    found = card()["train"]
    assert found["hp_source"] | {"metric": ""} == {
        "study": "small-1",
        "trial": 3,
        "n_trials": 9,
        "n_pruned": 2,
        "metric": "",
        "value": 1.25,
    }
    chosen = found["feature_selection"]
    assert (chosen["initial"], chosen["after_prefilter"], chosen["selected"]) == (3, 2, 1)
    assert [row["feature"] for row in chosen["features"]] == ["past_return"]
    assert (chosen["vsn_weight"], chosen["stability"]) == ({"past_return": 0.2}, {"past_return": 0.75})


def test_no_reason_is_go():
    found = card()
    assert found["verdict"] == "GO"
    assert found["reasons"] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reasons": ("production: PSR 0.5",)}, ["production: PSR 0.5"]),
        ({"p95": 40.5}, ["latency: the upper bound 40.5 ms of the p95 is above 40 ms"]),
        ({"p95": None}, ["latency: 20 timed calls are too few to bound the p95 from above: at 95% it takes 72"]),
        ({"drift": "retrain"}, ["drift: retrain over the last 10 bars"]),
        ({"drift": "insufficient_data"}, ["drift: insufficient_data"]),
    ],
)
def test_each_reason_alone_is_no_go_and_stands_on_the_card(changes, words):
    found = card(**changes)
    assert found["verdict"] == "NO-GO"
    assert len(found["reasons"]) == 1
    assert words[0] in found["reasons"][0]


def test_the_card_says_whether_it_is_contaminated_which_guards_held_and_what_to_note():
    found = card()
    assert found["contaminated"] is False
    first = found["train"]["folds"][0]["test"]["first"]
    assert card(research_last=first)["contaminated"] is True
    assert card(research_last="2019-01-01T00:00:00+00:00")["contaminated"] is False
    assert card(research_last=first)["train"]["research_last"] == first
    unknown = card(research_last=None)
    assert (unknown["verdict"], unknown["reasons"]) == ("NO-GO", [NO_RESEARCH_END])
    assert unknown["null_reasons"]["train.research_last"] == "neither the selection nor the study recorded it"
    assert found["leakage_audit"] == {
        "passed": True,
        "guards": {"held": True, "tried": None},
        "reasons": {"tried": "the source brings the column ready-made"},
    }
    assert found["notes"] == ["a note"]


def test_a_latency_at_its_limit_and_a_drift_to_investigate_do_not_stop_a_release():
    assert card(p95=40.0, drift="investigate")["verdict"] == "GO"


def test_a_limit_that_is_laxer_than_the_default_stands_among_the_limitations():
    assert not [one for one in card()["limitations"] if "looser" in one]
    found = card(experiment={"gates.challenger": "off"})["limitations"]
    assert found[-1] == "A gate asks for less: gates.challenger off is looser than the default not_worse."
    inputs = card_inputs()
    inputs["latency"] = inputs["latency"].model_copy(update={"max_p95_ms": 1e9})
    assert "latency.max_p95_ms 1e+09 ms is looser than the default 40 ms" in build_card(**inputs)["limitations"][-1]


def test_the_largest_psi_leaves_out_features_without_one():
    assert card()["drift"]["psi_max"] == 0.3
    assert card(psi=(None,))["drift"]["psi_max"] is None


def test_the_index_is_no_symbol_of_the_model_and_no_machine_path_is_told():
    text = json.dumps(card())
    assert not re.search(r'"/[a-z]', text)
    assert str(Path.home()) not in text


def test_the_card_says_which_form_was_timed_and_leaves_the_drawing_of_its_open_loop_out():
    inference = card()["inference"]
    assert inference["form"] == "onnx_window"
    assert inference["open_loop"] == {"p95": 13.0}


def test_what_only_people_know_comes_from_the_experiment_file_and_is_not_made_up():
    said = {
        "owner": "a desk",
        "license": "apache-2.0",
        "intended_use": "research",
        "out_of_scope": ["other people's money"],
    }
    found = card(experiment={"card": said, "description": "a demonstration"})
    assert {key: found[key] for key in ("owner", "license", "intended_use")} == {
        key: said[key] for key in ("owner", "license", "intended_use")
    }
    assert found["out_of_scope"][-1] == "other people's money"
    bare = card()
    assert (bare["owner"], bare["license"], bare["intended_use"]) == (None, None, None)
    assert bare["null_reasons"]["owner"] == "the experiment file names none: set card.owner"
    assert card(experiment={"description": "a demonstration"})["intended_use"] == "a demonstration"


def test_a_figure_says_what_it_was_measured_on_and_how_sure_it_is():
    metrics = card()["metrics"]
    for name in ("auc", "f1", "log_loss", "brier", "ece", "direction_accuracy"):
        figure = metrics[name]
        low, high = figure["ci"]
        assert low <= high
        assert (figure["n"], figure["split"]) == (240, "out_of_sample")
        assert "reason" not in figure
    assert metrics["direction_accuracy"]["value"] == metrics["accuracy"]
    assert metrics["validation_loss"]["value"] == metrics["val_loss"]
    sharpe = metrics["sharpe"]
    assert (sharpe["value"], sharpe["se"], sharpe["ci"], sharpe["n"]) == (0.7, 0.4, [-0.1, 1.5], 160)
    assert (sharpe["trials"], sharpe["pbo"], sharpe["gross"]["sharpe_annual"]) == (9, 0.25, 0.9)
    assert (sharpe["dsr"], sharpe["dsr_reason"]) == (None, "two completed trials")


def test_the_gap_between_validation_and_out_of_sample_has_students_interval():
    gap = card()["metrics"]["val_vs_oos_gap"]
    assert gap["value"] == 1.25
    assert gap["ci"] == pytest.approx(
        [1.25 - 4.302652729911275 * 0.5, 1.25 + 4.302652729911275 * 0.5]
    )  # t table, 2 degrees


def test_a_loss_without_a_probability_leaves_the_figures_of_a_direction_null_with_the_reason():
    found = card(probabilities=False)
    assert found["metrics"]["accuracy"] is None
    for name in ("auc", "f1", "log_loss", "brier", "ece", "direction_accuracy"):
        assert found["metrics"][name]["value"] is None
        assert "loss_mode sharpe trains a position" in found["null_reasons"][f"metrics.{name}.value"]
    assert "loss_mode sharpe" in found["null_reasons"]["metrics.accuracy"]
    assert found["architecture"]["output"] == ["position"]


def test_latency_beside_the_guides_four_figures_is_of_the_same_record():
    found = card()
    for key in ("p999", "max", "p95_ci"):
        assert found["latency"][key] == found["latency_ms"][key]
    assert (found["latency"]["cold_start"], found["latency"]["load_ms"]) == (5.0, 4.0)
    assert found["latency"]["load"] == {"cores": 2, "load_before": 0.5, "load_after": 0.75, "other_busy_share": 0.25}


def test_a_fold_carries_its_parts_figures_checkpoint_status_and_weights():
    fold = card()["train"]["folds"][1]
    assert fold["metrics"]["val"]["loss"] == 1.5
    assert fold["metrics"]["val"]["sharpe_annual"] == 1.5
    assert fold["metrics"]["oos"] == {"sharpe_annual": 0.0, "n_bars": 40}
    assert (fold["rows"], fold["best_epoch"], fold["checkpoint_status"]) == (480, 1, "ok")
    assert re.fullmatch("[0-9a-f]{64}", fold["sha256"])


def test_risks_follow_the_figures_and_the_limits_of_the_experiment_file():
    def exceeded(**changes):
        return {row["risk"]: row["exceeded"] for row in card(**changes)["risks"]}

    calm = exceeded()
    assert calm["best trial loses afterwards"] is False
    assert calm["no edge out of sample"] is True
    assert calm["inputs have changed"] is False
    assert exceeded(drift="retrain")["inputs have changed"] is True
    assert exceeded(drift="insufficient_data")["inputs have changed"] is True
    assert exceeded(drift="investigate")["inputs have changed"] is False
    strict = {"drift": "investigate", "experiment": {"gates.drift": "stable"}}
    (row,) = [one for one in card(**strict)["risks"] if one["risk"] == "inputs have changed"]
    assert (row["limit"], row["value"], row["exceeded"]) == ("stable", "investigate", True)
    assert exceeded(experiment={"evaluation.max_probability_of_loss": 0.05})["best trial loses afterwards"] is True
    assert calm["overfitted search"] is None  # no deflated Sharpe ratio to hold against the limit


def test_the_monitoring_plan_is_that_of_the_configuration_and_the_schedule():
    plan = card(experiment={"drift.retrain_nights": 5, "gates.deploy": "manual"})["monitoring_plan"]
    assert (plan["drift"]["cron"], plan["drift"]["retrain_nights"]) == ("0 3 * * *", 5)
    assert plan["release"]["deploy"] == "manual"
    assert plan["expected"]["sharpe_annual_ci"] == [-0.1, 1.5]


def test_an_embargo_is_that_of_combinatorial_cross_validation_or_null_with_the_reason():
    assert card()["train"]["embargo"] is None
    assert "walk forward" in card()["null_reasons"]["train.embargo"]
    paths = {"validation": 20, "epochs": 1, "embargo": 7}
    assert card(experiment={"research_paths": paths})["train"]["embargo"] == 7
