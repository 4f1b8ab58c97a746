"""A signature survives JSON to the bit, and names what is wrong with one that cannot be."""

import json
import subprocess
import sys
from dataclasses import fields
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from tft_pipeline.domain.intervals import BAR_LENGTHS
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.sections import TrainingSection
from tft_pipeline.domain.signature import ADDED_LATER, INTERVALS, LOSSES, STORED_FORMS, Signature

DAYS: dict[str, Any] = {"kind": "observed", "step_s": 86400}
HOURS: dict[str, Any] = {"kind": "observed", "step_s": 3600}
PAUSE: dict[str, Any] = {"weekday": 4, "time": None, "gap_s": 259_200}
NAMES = ("ret_1", "z_21", "own_column")


def made(**changes: Any) -> Signature:
    values = np.random.default_rng(0).standard_normal((50, 3)) * [1e-3, 1.0, 1e6]
    given: dict[str, Any] = {
        "experiment": "small",
        "features": NAMES,
        "feature_versions": {"ret_1": "1", "z_21": "2"},
        "user_columns": ("own_column",),
        "max_lookback": 21,
        "lookback": 16,
        "horizon": 1,
        "interval": "1d",
        "timezone": None,
        "calendar": {"kind": "observed", "step_s": 86400, "words": "a day"},
        "symbols": ("AAA", "BBB"),
        "static_symbols": ("BBB",),
        "cross_markets": {"crypto_btc": "BTC-USD"},
        "loss_mode": "joint_mle",
        "outputs": ("forecast_position", "forecast_mean", "forecast_log_scale"),
        "forms": {"onnx_window": "window.onnx", "onnx_stream": "stream.onnx"},
        "left_out": {},
        "form": "onnx_stream",
        "scaler": Scaler.fit(values, NAMES),
        "max_position": 0.5,
        "position_smooth": 0.3,
        "target_volatility": 0.15,
        "volatility_span": 20,
        "max_weight": 10.0,
        "bars_per_year": 252.0,
        "weights_sha256": "0" * 64,
        "production_start": "2021-01-15",
        "stamp": "close",
        "history_start": "2015-01-02T21:00:00+00:00",
        "recursive_features": ("ret_1",),
        "point_in_time": True,
    }
    return Signature(**given | changes)


def test_a_signature_is_the_same_after_json_to_the_bit() -> None:
    signature = made()
    again = Signature.from_dict(json.loads(json.dumps(signature.to_dict(), allow_nan=False)))
    assert again == signature
    assert again.scaler.mean.tobytes() == signature.scaler.mean.tobytes()
    assert again.scaler.std.tobytes() == signature.scaler.std.tobytes()


def test_every_field_is_stored_and_a_missing_or_unknown_one_is_named() -> None:
    stored = made().to_dict()
    assert {each.name for each in fields(Signature)} == set(stored) - {"schema_version", "inputs"}
    for name in sorted(set(stored) - {"schema_version", "inputs", *ADDED_LATER}):
        with pytest.raises(ValueError, match=rf"missing keys \['{name}'\]"):
            Signature.from_dict({key: value for key, value in stored.items() if key != name})
    with pytest.raises(ValueError, match=r"unknown keys \['more'\]"):
        Signature.from_dict(stored | {"more": 1})


def test_what_older_files_lack_is_unknown() -> None:
    old = Signature.from_dict({key: value for key, value in made().to_dict().items() if key not in ADDED_LATER})
    assert [getattr(old, name) for name in ADDED_LATER] == [None] * len(ADDED_LATER)
    assert old.opened_before is None
    assert Signature.from_dict(old.to_dict()) == old


def test_stamps_say_how_far_closes_are() -> None:
    hours = made(interval="1h", calendar={"kind": "regular", "step_s": 3600}, stamp="open")
    assert (hours.opened_before, made().opened_before) == (timedelta(hours=1), timedelta(0))
    assert not made().dated
    assert made(calendar={"kind": "observed", "step_s": 86400, "dated": True}).dated


WRONG: dict[type, list[Any]] = {
    str: [7, [], {}, True, ""],
    int: ["1", 1.5, True, None, []],
    float: ["1", None, float("nan"), float("inf"), False, []],
    bool: ["true", 1, 0.0, []],
    list: ["text", None, {}, ["a", 1], ["a", "a"], [""], [None]],
    dict: ["text", None, [], 7],
    type(None): [7, [], True, ""],
}


@pytest.mark.parametrize("name", sorted(each.name for each in fields(Signature)))
def test_a_field_of_another_kind_is_named(name: str) -> None:
    stored = made().to_dict()
    for wrong in WRONG[type(stored[name])]:
        if wrong is None and name in ADDED_LATER:
            continue
        with pytest.raises(ValueError, match=name):
            Signature.from_dict(stored | {name: wrong})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": ("z_21", "ret_1", "own_column")}, "each input would be scaled as another"),
        ({"lookback": 0}, "lookback is 0, less than 1"),
        ({"max_position": 1.5}, "max_position 1.5"),
        ({"position_smooth": 1.0}, "position_smooth 1.0"),
        ({"bars_per_year": 0.0}, "bars_per_year is 0.0, not positive"),
        ({"interval": "2m"}, "interval is '2m', none of 1m"),
        ({"loss_mode": "mse"}, "loss_mode is 'mse'"),
        ({"form": "quick"}, "form is 'quick'"),
        ({"symbols": ()}, "nothing to take a position in"),
        ({"feature_versions": {"ret_1": "1"}}, r"\['z_21'\]"),
        ({"user_columns": ("own_column", "z_21")}, r"\['z_21'\]"),
        ({"forms": {"onnx_window": "window.onnx"}}, r"in neither \['onnx_stream'\]"),
        ({"left_out": {"onnx_window": "why"}}, r"twice \['onnx_window'\]"),
        ({"forms": {"onnx_window": "../window.onnx", "onnx_stream": "s"}}, "plain name"),
        ({"forms": {"onnx_window": "one", "onnx_stream": "one"}}, "plain name of its own"),
        ({"forms": {"onnx_window": "w"}, "left_out": {"onnx_stream": "an lstm"}}, "which was left out: an lstm"),
        ({"calendar": {"kind": "lunar", "step_s": 1}}, "calendar is"),
        ({"calendar": {"kind": "regular", "step_s": 0}}, "positive step_s"),
        ({"calendar": {"kind": "regular", "step_s": True}}, "positive step_s"),
        ({"calendar": DAYS | {"dated": 1}}, "calendar.dated is 1"),
        ({"calendar": {"kind": "regular", "step_s": 3600, "dated": True}, "interval": "1h"}, "with daily bars only"),
        ({"calendar": DAYS | {"zone": "Mars/Olympus"}}, "calendar.zone is 'Mars/Olympus'"),
        ({"calendar": DAYS | {"zone": 7}}, "calendar.zone is 7"),
        ({"calendar": DAYS | {"pauses": "weekends"}}, "calendar.pauses is weekends"),
        ({"calendar": DAYS | {"pauses": {}}}, "a pause is a weekday"),
        ({"calendar": DAYS | {"pauses": [PAUSE | {"weekday": 7}]}}, "'weekday': 7"),
        ({"calendar": DAYS | {"pauses": [PAUSE | {"weekday": True}]}}, "'weekday': True"),
        ({"calendar": DAYS | {"pauses": [PAUSE | {"gap_s": 86400}]}}, "gap_s above 86400"),
        ({"calendar": DAYS | {"pauses": [PAUSE | {"gap_s": float("inf")}]}}, "finite gap_s"),
        ({"calendar": DAYS | {"pauses": [PAUSE | {"time": "16:00:00"}]}}, "null for daily bars"),
        ({"calendar": DAYS | {"pauses": [{"weekday": 4}]}}, "calendar.pauses"),
        ({"calendar": HOURS | {"pauses": [PAUSE]}, "interval": "1h"}, "a time HH:MM:SS"),
        ({"calendar": HOURS | {"pauses": [PAUSE | {"time": "4 pm"}]}, "interval": "1h"}, "a time HH:MM:SS"),
        ({"calendar": DAYS | {"kind": "regular", "pauses": [PAUSE]}}, "a regular calendar, which has none"),
        ({"stamp": "middle"}, "stamp is 'middle', none of close, open"),
        ({"history_start": "2015-01-02"}, "history_start is '2015-01-02', no time with a zone"),
        ({"recursive_features": ("ret_1", "mom")}, r"no features of the model: \['mom'\]"),
        ({"quantile_levels": (0.5,)}, "one without the other"),
        ({"weights_sha256": "abc"}, "no SHA-256"),
        ({"production_start": "soon"}, "production_start is 'soon', no date"),
    ],
)
def test_what_cannot_be_is_refused_in_words(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(**changes)


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema_version is 2, this code reads 1"):
        Signature.from_dict(made().to_dict() | {"schema_version": 2})
    for nonsense in ([], None, "text"):
        with pytest.raises(ValueError, match="a signature is an object"):
            Signature.from_dict(nonsense)  # type: ignore[arg-type]


def test_levels_are_places_from_one_and_zero_for_strangers() -> None:
    signature = made(static_symbols=("AAA", "BBB"))
    assert [signature.level(name) for name in ("AAA", "BBB", "CCC")] == [1, 2, 0]


def test_inputs_are_those_of_the_stored_forms() -> None:
    assert made().inputs["onnx_window.values"] == [1, 16, 3]
    assert made().inputs["onnx_stream.selected"] == [1, 15, "H"]
    assert "onnx_window.symbol" in made().inputs
    assert "onnx_window.symbol" not in made(static_symbols=()).inputs


def test_its_lists_of_names_are_those_of_the_configuration() -> None:
    """They are spelt out again so that live code needs no pydantic."""
    assert set(INTERVALS) == set(BAR_LENGTHS)
    assert set(LOSSES) == set(TrainingSection.model_json_schema()["properties"]["loss_mode"]["enum"])
    from tft_pipeline.model.released_form import EXPORTED

    assert STORED_FORMS == EXPORTED


def test_it_needs_nothing_but_numpy() -> None:
    code = (
        "import sys, tft_pipeline.domain.signature\n"
        "print([name for name in ('polars', 'scipy', 'pydantic', 'torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
