"""A fit that is cut off, or killed, goes on to the bits of one that never was."""

import logging
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tft_pipeline.domain.panel import Panel
from tft_pipeline.model.fit import FittedFold
from tft_pipeline_tests.oracles.model_panels import (
    NETWORK,
    TRAINING,
    random_panel,
    small_fit,
)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel()


def _same_fit(one: FittedFold, other: FittedFold) -> bool:
    same_weights = one.state.keys() == other.state.keys() and all(
        torch.equal(one.state[name], other.state[name]) for name in one.state
    )
    return same_weights and one.history == other.history and one.best_epoch == other.best_epoch


class CutOffError(Exception):
    """Stands for whatever ends a process between two epochs."""


def _cut_off_after(epoch: int, rows: list[dict[str, Any]]) -> Any:
    """A listener that ends the fit before the epoch after `epoch` is kept."""

    def listen(row: dict[str, Any]) -> None:
        rows.append(row)
        if row["epoch"] == epoch + 1:
            raise CutOffError

    return listen


RICH = {
    "network": NETWORK.model_copy(update={"static_symbol": True, "dropout": 0.3}),
    "training": TRAINING.model_copy(update={"accumulate_batches": 2, "loss_mode": "joint_quantile"}),
}


@pytest.mark.fault("resume_equals")
@pytest.mark.parametrize("sections", [{}, RICH], ids=["plain", "static_symbol_accumulated_quantiles"])
def test_a_fit_that_goes_on_after_any_epoch_ends_in_the_bits_of_one_that_never_stopped(
    panel: Panel, tmp_path: Path, caplog: pytest.LogCaptureFixture, sections: dict[str, Any]
) -> None:
    whole = small_fit(panel, epochs=4, **sections)
    for epoch in (0, 2):
        path = tmp_path / f"after_{epoch}"
        with pytest.raises(CutOffError):
            small_fit(panel, epochs=4, checkpoint=path, on_epoch=_cut_off_after(epoch, []), **sections)
        rows: list[dict[str, Any]] = []
        with caplog.at_level(logging.INFO, "tft_pipeline"):
            again = small_fit(panel, epochs=4, checkpoint=path, on_epoch=rows.append, **sections)
        assert f"goes on after epoch {epoch}" in caplog.text
        assert _same_fit(again, whole)
        assert rows == list(whole.history)


def test_a_fit_may_be_cut_off_again_and_again(panel: Panel, tmp_path: Path) -> None:
    path, whole = tmp_path / "state", small_fit(panel, epochs=4)
    for epoch in range(3):
        with pytest.raises(CutOffError):
            small_fit(panel, epochs=4, checkpoint=path, on_epoch=_cut_off_after(epoch, []))
    assert _same_fit(small_fit(panel, epochs=4, checkpoint=path), whole)


def test_early_stopping_counts_over_a_cut(panel: Panel, tmp_path: Path) -> None:
    training = TRAINING.model_copy(update={"patience": 2, "learning_rate": 0.05})
    whole = small_fit(panel, epochs=40, training=training)
    assert len(whole.history) == whole.best_epoch + 3
    path = tmp_path / "state"
    with pytest.raises(CutOffError):  # one epoch without gain is behind, one is to come
        small_fit(
            panel, epochs=40, training=training, checkpoint=path, on_epoch=_cut_off_after(whole.best_epoch + 1, [])
        )
    assert _same_fit(small_fit(panel, epochs=40, training=training, checkpoint=path), whole)


@pytest.mark.parametrize("patience", [2, 50], ids=["stopped_early", "all_epochs"])
def test_a_fit_that_died_when_it_had_finished_trains_no_further(
    panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    training = TRAINING.model_copy(update={"patience": patience, "learning_rate": 0.05})
    epochs = 40 if patience == 2 else 3

    path = tmp_path / "state"
    whole = small_fit(panel, epochs=epochs, training=training, checkpoint=path)  # and nobody stored it
    monkeypatch.setattr("tft_pipeline.model.fit._trainer", None)
    rows: list[dict[str, Any]] = []
    again = small_fit(panel, epochs=epochs, training=training, checkpoint=path, on_epoch=rows.append)
    assert _same_fit(again, whole)
    assert rows == list(whole.history)


@pytest.mark.fault("corrupt_checkpoint")
@pytest.mark.parametrize("other", ["seed", "epochs", "training", "panel", "damaged"])
def test_a_checkpoint_of_other_inputs_or_a_damaged_one_is_overwritten_with_a_warning(
    panel: Panel, tmp_path: Path, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    path = tmp_path / "state"
    with pytest.raises(CutOffError):
        small_fit(panel, epochs=3, checkpoint=path, on_epoch=_cut_off_after(0, []))
    inputs: dict[str, Any] = {"panel": panel, "epochs": 3}
    if other == "panel":
        label = panel.label.copy()
        label[2, 40] += 1e-3
        inputs["panel"] = replace(panel, label=label)
    elif other == "damaged":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        inputs |= {other: {"seed": 2, "epochs": 2, "training": TRAINING.model_copy(update={"patience": 3})}[other]}
    fitted = small_fit(**inputs, checkpoint=path)
    assert ("is damaged" if other == "damaged" else "belongs to other inputs") in caplog.text
    assert _same_fit(fitted, small_fit(**inputs))


CHILD = """
import sys, time
from pathlib import Path
from torch.nn.modules.module import register_module_forward_pre_hook
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.fit import FittedFold, fit_fold, symbol_levels
from tft_pipeline.model.heads import GaussianPosition
from tft_pipeline_tests.oracles.model_panels import NETWORK, POSITION, TRAINING, random_panel, small_fold

epochs, steps = [], []

def before(module, inputs):
    if isinstance(module, GaussianPosition) and module.training and len(epochs) == 3:
        steps.append(1)
        if len(steps) == 2:
            print("in the second step of the fourth epoch", flush=True)
            time.sleep(600)

register_module_forward_pre_hook(before)
fit_fold(random_panel(), small_fold(), network=NETWORK, training=TRAINING, position=POSITION, target_volatility=0.15,
         horizon=1, bars_per_year=252.0, epochs=6, seed=1, on_epoch=epochs.append, checkpoint=Path(sys.argv[1]))
"""


@pytest.mark.fault("kill_fold_worker", "resume_equals")
def test_a_fit_killed_in_the_middle_of_an_epoch_goes_on_to_the_same_bits(
    panel: Panel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, root = tmp_path / "states" / "fold", Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        child.kill()
        assert line == "in the second step of the fourth epoch\n"
        assert child.wait(60) == -signal.SIGKILL
    assert path.exists()
    with caplog.at_level(logging.INFO, "tft_pipeline"):
        again = small_fit(panel, epochs=6, checkpoint=path)
    assert "goes on after epoch 2" in caplog.text
    assert _same_fit(again, small_fit(panel, epochs=6))
    assert list(path.parent.iterdir()) == [path]
