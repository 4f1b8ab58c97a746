"""The bar of one fit: shown when asked, on the error stream, and of no effect on the result."""

import pytest
import torch

from tft_pipeline.model.fit import FittedFold, fit_fold
from tft_pipeline.model.progress import EpochProgress
from tft_pipeline_tests.oracles.model_panels import (
    BARS_PER_YEAR,
    NETWORK,
    POSITION,
    TRAINING,
    random_panel,
    small_fold,
)


def _fit(*, progress: bool) -> FittedFold:
    return fit_fold(
        random_panel(),
        small_fold(),
        network=NETWORK,
        training=TRAINING,
        position=POSITION,
        target_volatility=0.15,
        horizon=1,
        bars_per_year=BARS_PER_YEAR,
        epochs=2,
        seed=1,
        progress=progress,
    )


def test_epochs_losses_and_time_left_are_shown_on_the_error_stream_and_change_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    shown = _fit(progress=True)
    captured = capsys.readouterr()
    last = shown.history[-1]
    assert captured.out == ""
    assert "fold f  epoch 2/2" in captured.err
    assert f"train {last['train_loss']:.4f}  validation {last['validation_loss']:.4f}" in captured.err
    assert "at most 0:00:00" in captured.err
    silent = _fit(progress=False)
    assert capsys.readouterr() == ("", "")
    assert shown.history == silent.history
    assert all(torch.equal(shown.state[name], silent.state[name]) for name in silent.state)


def test_a_fit_that_goes_on_starts_its_bar_where_it_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    with EpochProgress("f", epochs=9, history=[{}, {}, {}]):
        pass
    assert "epoch 3/9" in capsys.readouterr().err


def test_the_bar_is_put_away_when_the_fit_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), EpochProgress("f", epochs=9, history=[]) as bar:
        raise KeyError
    assert bar._progress.finished is False
    assert not bar._progress.live.is_started
