import base64
from collections.abc import Callable
from typing import Any

import dagster as dg
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tft_pipeline.domain.reports import TrialRow, TunedHyperparameters
from tft_pipeline.domain.search import Knob
from tft_pipeline.pipeline import tuning_plots
from tft_pipeline.pipeline.tuning_plots import history_picture, parallel_picture, tuning_pictures
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


def test_a_search_is_shown_in_four_pictures_and_these_show_what_the_record_holds():
    whole, without = tuning_pictures(record(), SPACE), tuning_pictures(record(20), SPACE)
    assert set(whole) == PICTURES
    assert all(png(value).startswith(b"\x89PNG") for value in whole.values())
    assert all(png(whole[name]) != png(without[name]) for name in ("history", "slice", "parallel_coordinates"))
    assert png(history_picture(record())) == png(whole["history"])


def drawn(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], Any]) -> Axes:
    """The axes that a picture is drawn on, without making the picture."""
    axes = Figure().add_subplot()
    with monkeypatch.context() as patch:
        patch.setattr(tuning_plots, "picture", lambda paint, **_: paint(axes))
        draw()
    return axes


def test_every_choice_is_named_on_its_axis_of_the_parallel_coordinates(monkeypatch):
    tuned = record()
    complete = [trial for trial in tuned.trials if trial.state == "complete"]
    axes = drawn(monkeypatch, lambda: parallel_picture(complete, SPACE, best=tuned.best_trial))
    assert {"24", "48", "64", "sharpe", "joint_mle", "0.0003", "0.01", "1", "3"} <= {
        text.get_text() for text in axes.texts
    }


def test_trials_without_a_value_stand_on_no_value_of_the_axis(monkeypatch):
    axes = drawn(monkeypatch, lambda: history_picture(record()))
    lost = [line for line in axes.lines if "no value" in str(line.get_label())]
    assert len(lost) == 2
    assert all(line.get_transform() == axes.get_xaxis_transform() and set(line.get_ydata()) == {1.03} for line in lost)


@pytest.mark.parametrize("n", [1])
def test_a_search_with_hardly_a_trial_is_shown_all_the_same_and_says_what_is_not_known(n):
    reason = "1 distinct Sharpe ratio(s) among completed trials: nothing to explain"
    found = tuning_pictures(record(n, importances={}, importances_reason=reason), SPACE)
    assert found["importances"] == dg.MetadataValue.text(f"not known: {reason}")
    assert all(png(found[name]) for name in PICTURES - {"importances"})


def test_a_space_of_one_key_has_one_panel():
    one = {key: knob for key, knob in SPACE.items() if key == "training.learning_rate"}
    assert all(png(value) for value in tuning_pictures(record(), one).values())
