import math
from datetime import date
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from tft_pipeline.domain.experiment import ConfigurationError, Experiment, parse_experiment
from tft_pipeline_tests.builders import REMOVED, small

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SECTIONS = [name for name in Experiment.model_fields if name not in ("name", "description", "seed")]


def refusal(changes: dict) -> str:
    with pytest.raises(ConfigurationError) as caught:
        small(changes)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_experiment_parses_under_its_file_name(path):
    assert parse_experiment(yaml.safe_load(path.read_text()), origin=path.name).name == path.stem


@pytest.mark.parametrize("key", ["trainng", "training.lookbak", "tuning.folds.trian", "data.intervall"])
def test_an_unknown_key_is_refused_with_its_place_and_value(key):
    message = refusal({key: 5})
    assert f"{key}: unknown key (value 5)" in message


@pytest.mark.parametrize("key", ["name", "data", "data.source", "periods.production_start", "tuning.n_trials"])
def test_a_required_key_that_is_absent_is_named(key):
    assert f"{key}: required key is missing" in refusal({key: REMOVED})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network.hidden", "48"),
        ("network.hidden", 48.0),
        ("network.hidden", True),
        ("training.learning_rate", "1e-3"),
        ("periods.production_start", "2021-01-15"),
        ("features.user_columns", "yes"),
        ("data.source", 7),
        ("network", [1]),
    ],
)
def test_a_wrong_type_is_refused_and_not_coerced(key, value):
    message = refusal({key: value})
    assert key in message
    assert repr(value) in message


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("seed", -1, "0"),
        ("name", "Big Name", "pattern"),
        ("network.dropout", 1.0, "less than 1"),
        ("position.max_position", 1.5, "less than or equal to 1"),
        ("position.position_smooth", 1.0, "less than 1"),
        ("prefilter.max_correlation", 0.0, "greater than 0"),
        ("exploration.seeds", 2, "greater than or equal to 3"),
        ("latency.n", 19, "greater than or equal to 20"),
        ("data.bars_per_year", math.inf, "finite"),
        ("data.bars_per_year", math.nan, "finite"),
        ("data.interval", "2d", "'1d'"),
        ("tuning.folds.test", 0, "greater than 0"),
    ],
)
def test_a_value_beyond_its_limit_is_refused_with_key_value_and_limit(key, value, limit):
    message = refusal({key: value})
    assert key in message
    assert repr(value) in message
    assert limit in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"periods.purge": 2, "target.horizon": 3}, ["periods.purge 2", "target.horizon 3", "at least 3"]),
        ({"network.heads": 3}, ["heads 3", "hidden 4"]),
        ({"training.warmup_bars": 16}, ["warmup_bars 16", "lookback 16"]),
        ({"training.lookback": 30}, ["exploration.folds.validation 30", "training.lookback 30"]),
        ({"pruning.max_features": 2}, ["min_features 3", "max_features 2"]),
        ({"production.folds.max_folds": 2}, ["production.folds.max_folds", "hide scored bars"]),
        ({"production.folds.step": 41}, ["production.folds.test 40", "step 41", "scored once"]),
        ({"evaluation.momentum_lookback": 161}, ["momentum_lookback 161", "160 bars", "production.folds.train"]),
        ({"features.names": REMOVED, "features.user_columns": False}, ["user_columns", "no feature"]),
        (
            {"data.start": date(2021, 1, 1), "data.end": date(2020, 1, 1)},
            ["data.start 2021-01-01", "data.end 2020-01-01"],
        ),
        ({"data.start": date(2021, 1, 15)}, ["production_start 2021-01-15", "data.start 2021-01-15"]),
        ({"data.end": date(2021, 1, 14)}, ["production_start 2021-01-15", "2021-01-14"]),
    ],
)
def test_sections_that_do_not_fit_together_are_refused_by_name(changes, words):
    message = refusal(changes)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("section", ["exploration", "tuning"])
def test_folds_that_score_a_bar_twice_cannot_be_planned(section):
    experiment = small({f"{section}.folds.step": 39})
    with pytest.raises(ValueError, match=r"step 39 < test 40"):
        getattr(experiment, section).folds.plan(purge=5, horizon=1)


@pytest.mark.parametrize(
    "key",
    [
        "data.interval",
        "network",
        "network.width",
        "seed",
        "target.horizon",
        "training.",
        "position.cost_bps",
        "training.precision",
    ],
)
def test_the_tuning_space_takes_only_keys_of_the_three_tunable_sections(key):
    message = refusal({"tuning.space": {key: {"choices": [1, 2]}}})
    assert repr(key) in message
    assert "training.lookback" in message


@pytest.mark.parametrize(
    ("key", "knob", "value"),
    [
        ("network.dropout", {"low": 0.1, "high": 1.2}, "1.2"),
        ("network.dropout", {"choices": [0.1, 1.0]}, "1.0"),
        ("network.hidden", {"choices": [4, 8.5]}, "8.5"),
        ("network.hidden", {"low": 4.0, "high": 8.0}, "4.0"),
        ("network.hidden", {"low": 0, "high": 8}, "0"),
        ("training.loss_mode", {"choices": ["sharpe", "mse"]}, "'mse'"),
        ("position.position_smooth", {"low": 0, "high": 1}, "1"),
    ],
)
def test_every_value_of_a_knob_must_be_allowed_for_its_key(key, knob, value):
    message = refusal({"tuning.space": {key: knob}})
    assert f"tuning.space.{key}: {value} is not allowed there" in message


def test_a_searched_lookback_that_leaves_no_window_in_a_validation_part_is_refused():
    message = refusal({"tuning.space": {"training.lookback": {"choices": [16, 30]}}})
    assert "tuning.folds.validation 30 <= training.lookback 30" in message


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        ({"network.family": "lstm"}, "network.heads", "network.family is lstm"),
        ({"network.family": "lstm"}, "network.variable_hidden", "network.family is lstm"),
        ({"network.family": "lstm"}, "network.dropout", "a single LSTM layer has none"),
        ({"training.loss_mode": "bce"}, "training.mle_weight", "training.loss_mode is bce"),
        ({}, "network.context_bars", "network.n_context is 0"),
    ],
)
def test_a_searched_key_that_changes_nothing_is_refused(changes, key, reason):
    message = refusal({**changes, "tuning.space": {key: {"low": 1, "high": 2}}})
    assert f"tuning.space: {key} changes nothing, because {reason}" in message


def test_the_length_of_context_sequences_may_be_searched_with_their_number():
    space = {"network.context_bars": {"choices": [5, 10]}, "network.n_context": {"choices": [0, 4]}}
    assert set(small({"tuning.space": space}).tuning.space) == set(space)


@pytest.mark.parametrize("family", ["lstm", "pytorch_forecasting"])
@pytest.mark.parametrize(("key", "value"), [("static_symbol", True), ("n_context", 3)])
def test_an_input_that_the_family_has_not_is_refused_when_the_file_is_read(family, key, value):
    message = refusal({"network.family": family, f"network.{key}": value})
    assert f"{key} is {value} and family is {family}" in message


def test_a_combination_that_only_some_trials_hit_does_not_refuse_the_space():
    space = {"network.hidden": {"choices": [4, 6]}, "network.heads": {"choices": [3, 2]}}
    assert set(small({"tuning.space": space}).tuning.space) == set(space)


def test_several_problems_are_reported_together():
    message = refusal({"network.dropout": 2.0, "trainng": 1, "data.source": REMOVED})
    assert "3 problem(s)" in message
    assert len(message.splitlines()) == 4


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_a_file_that_is_not_a_mapping_is_refused_by_name(raw):
    with pytest.raises(ConfigurationError, match=r"demo\.yaml: expected a mapping of sections"):
        parse_experiment(raw, origin="demo.yaml")


def test_an_experiment_cannot_be_changed():
    experiment = small()
    with pytest.raises(ValidationError, match="frozen"):
        experiment.seed = 8  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        experiment.network.hidden = 8  # type: ignore[misc]


CHANGES = {
    "data.min_bars": 101,
    "features.user_columns": False,
    "target.horizon": 2,
    "periods.purge": 6,
    "prefilter.max_missing": 0.4,
    "network.variable_hidden": 5,
    "training.patience": 3,
    "position.cost_bps": 6.0,
    "exploration.epochs": 2,
    "pruning.min_stability": 0.3,
    "tuning.n_trials": 4,
    "production.epochs": 3,
    "research_paths": {"validation": 20, "epochs": 1},
    "evaluation.min_psr": 0.97,
    "latency.warmup": 3,
    "drift.n_bins": 9,
    "ensemble.l2": 0.02,
    "gates.deploy": "manual",
    "card.owner": "a desk",
}


def test_the_table_of_changes_touches_every_section():
    assert sorted(key.split(".")[0] for key in CHANGES) == sorted(SECTIONS)


@pytest.mark.parametrize("key", sorted(CHANGES))
def test_a_changed_value_changes_its_own_sections_fingerprint_and_no_other(key):
    before, after = small(), small({key: CHANGES[key]})
    changed = [name for name in SECTIONS if getattr(before, name) != getattr(after, name)]
    assert changed == [n for n in SECTIONS if before.section_fingerprint(n) != after.section_fingerprint(n)]
    assert changed == [key.split(".")[0]]


def test_fingerprints_are_stable_and_do_not_depend_on_how_a_default_was_stated():
    explicit = small({"position": {"cost_bps": 5.0}})
    assert explicit.position.fingerprint() == small().position.fingerprint()
    assert len(small().position.fingerprint()) == 12


def test_the_fingerprint_of_several_sections_covers_them_and_the_seed_only():
    base = small().section_fingerprint("network", "training")
    assert small({"drift.n_bins": 9}).section_fingerprint("network", "training") == base
    assert small({"training.patience": 3}).section_fingerprint("network", "training") != base
    assert small({"seed": 4}).section_fingerprint("network", "training") != base
    assert small().section_fingerprint("network") != base


def test_the_fingerprint_of_a_dotted_key_follows_that_key_only():
    base = small().section_fingerprint("target.horizon")
    assert small({"target.volatility_span": 30}).section_fingerprint("target.horizon") == base
    assert small({"target.horizon": 2}).section_fingerprint("target.horizon") != base
    with pytest.raises(KeyError, match="horizont"):
        small().section_fingerprint("target.horizont")


def test_overrides_replace_their_keys_and_leave_the_rest():
    experiment = small()
    network, training, position = experiment.with_overrides({"network.hidden": 8, "position.position_smooth": 0.5})
    assert network == experiment.network.model_copy(update={"hidden": 8})
    assert training == experiment.training
    assert position.position_smooth == 0.5
    assert experiment.network.hidden == 4


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"network.heads": 3}, "heads 3 does not divide hidden 4"),
        ({"training.warmup_bars": 99}, "warmup_bars 99"),
        ({"network.hidden": "8"}, "valid integer"),
        ({"position.max_position": 0.0}, "greater than 0"),
        ({"drift.n_bins": 4}, "'drift.n_bins' is not a field of"),
        ({"network.width": 4}, "'network.width' is not a field of"),
    ],
)
def test_overrides_are_validated_again(overrides, match):
    with pytest.raises(ValueError, match=match):
        small().with_overrides(overrides)


def test_the_small_experiment_survives_a_round_trip_through_json():
    experiment = small()
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
