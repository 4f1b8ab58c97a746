import base64
from typing import Any

import dagster as dg
import numpy as np
import pytest

from tft_pipeline.domain.reports import TrialRow, TunedHyperparameters
from tft_pipeline.domain.search import Knob
from tft_pipeline.pipeline.tuning_plots import tuning_pictures
from tft_pipeline_tests.builders import small

PICTURES = {"history", "slice", "parallel_coordinates", "importances"}
SPACE = {
    "network.hidden": Knob(choices=(24, 48, 64)),
    "training.loss_mode": Knob(choices=("sharpe", "joint_mle")),
    "training.learning_rate": Knob(low=0.0003, high=0.01, log=True),
    "position.position_smooth": Knob(low=0, high=0.9),
    "network.lstm_layers": Knob(low=1, high=3),
}


def record(n: int = 24, *, pruned: bool = True, **changes: Any) -> TunedHyperparameters:
    """A made-up search in which less smoothing is better."""
    rng = np.random.default_rng(1)
    trials = []
    for number in range(n):
        smooth = float(rng.uniform(0.0, 0.9))
        state = "fail" if pruned and number % 11 == 7 else "pruned" if pruned and number % 4 == 3 else "complete"
        trials.append(
            TrialRow(
                number=number,
                state=state,
                params={
                    "network.hidden": int(rng.choice([24, 48, 64])),
                    "training.loss_mode": str(rng.choice(["sharpe", "joint_mle"])),
                    "training.learning_rate": float(10 ** rng.uniform(-3.5, -2.0)),
                    "position.position_smooth": smooth,
                    "network.lstm_layers": int(rng.integers(1, 4)),
                },
                sharpe_annual=1.5 - smooth + float(rng.normal(0.0, 0.2)) if state == "complete" else None,
                fold_sharpes=(),
                returns=(),
            )
        )
    experiment = small()
    best = max(
        (trial for trial in trials if trial.sharpe_annual is not None), key=lambda trial: trial.sharpe_annual or 0
    )
    settings = {"importances": {"position.position_smooth": 0.8, "training.learning_rate": 0.2}} | changes
    return TunedHyperparameters(
        network=experiment.network,
        training=experiment.training,
        position=experiment.position,
        best_trial=best.number,
        best_sharpe_annual=best.sharpe_annual or 0.0,
        study="study",
        n_trials_started=n,
        n_pruned=sum(trial.state == "pruned" for trial in trials),
        fold_keys=("f0",),
        trials=tuple(trials),
        seconds=1.0,
        **settings,
    )


def png(value: Any) -> bytes:
    assert isinstance(value, dg.MarkdownMetadataValue)
    return base64.b64decode(str(value.md_str).split("base64,")[1].rstrip(")"))


def test_a_search_is_shown_in_four_pictures():
    found = tuning_pictures(record(), SPACE)
    assert set(found) == PICTURES
    assert all(png(value).startswith(b"\x89PNG") for value in found.values())


@pytest.mark.parametrize("n", [1, 2])
def test_a_search_with_hardly_a_trial_is_shown_all_the_same_and_says_what_is_not_known(n):
    reason = "1 distinct Sharpe ratio(s) among completed trials: nothing to explain"
    found = tuning_pictures(record(n, importances={}, importances_reason=reason), SPACE)
    assert found["importances"] == dg.MetadataValue.text(f"not known: {reason}")
    assert all(png(found[name]) for name in PICTURES - {"importances"})


def test_pictures_show_what_the_record_holds():
    whole, without = tuning_pictures(record(), SPACE), tuning_pictures(record(20), SPACE)
    assert all(png(whole[name]) != png(without[name]) for name in ("history", "slice", "parallel_coordinates"))
    again = tuning_pictures(record(), SPACE)
    assert all(png(whole[name]) == png(again[name]) for name in PICTURES)


def test_a_space_of_one_key_has_one_panel():
    one = {key: knob for key, knob in SPACE.items() if key == "training.learning_rate"}
    assert all(png(value) for value in tuning_pictures(record(), one).values())
