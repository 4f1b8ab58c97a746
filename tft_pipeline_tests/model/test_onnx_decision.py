"""Decisions without torch equal those of eager torch, bar after bar, and refuse what the network was not trained on."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tft_pipeline.model.export import streaming_onnx, window_onnx
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.folded import FoldedTft
from tft_pipeline.model.forms import decide, decision_facts
from tft_pipeline.model.network import Tft
from tft_pipeline.model.onnx_decision import OnnxStream, OnnxWindow
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    return small_fit(random_panel(), network=NETWORK.model_copy(update={"static_symbol": True}), epochs=1)


@pytest.fixture(scope="module")
def folded(fitted: FittedFold) -> FoldedTft:
    network = fitted.build()
    assert isinstance(network, Tft)
    return FoldedTft(network)


@pytest.fixture(scope="module")
def window_form(fitted: FittedFold, folded: FoldedTft) -> OnnxWindow:
    return OnnxWindow(window_onnx(folded, lookback=16), decision_facts(fitted))


@pytest.fixture(scope="module")
def stream_model(folded: FoldedTft) -> bytes:
    return streaming_onnx(folded, lookback=16)


@pytest.fixture(scope="module")
def bars() -> np.ndarray:
    """(40, V) with missing values and one beyond the scaler's clip."""
    values = random_panel(gaps=False).values[1, :40].copy()
    values[5, 2] = values[20:23, 0] = np.nan
    values[30, 1] = 1e6
    return values


@pytest.mark.parametrize("symbol", ["", "S1", "a stranger"])
def test_windows_and_a_stream_decide_as_eager_torch_does(
    symbol: str, fitted: FittedFold, window_form: OnnxWindow, stream_model: bytes, bars: np.ndarray
) -> None:
    network, stream = fitted.build(), OnnxStream(stream_model, decision_facts(fitted))
    seen = set()
    for t, bar in enumerate(bars):
        streamed = stream.decide(bar, symbol=symbol)
        if t < 15:
            continue
        window = bars[t - 15 : t + 1]
        with torch.inference_mode():
            expected = decide(network, fitted, window, symbol=symbol)
        assert streamed == pytest.approx(expected, abs=1e-5)
        assert window_form.decide(window, symbol=symbol) == pytest.approx(expected, abs=1e-5)
        seen.add(round(expected, 6))
    assert len(seen) > 20, "positions that never move would agree by chance"


def test_two_streams_do_not_share_a_cache(fitted: FittedFold, stream_model: bytes, bars: np.ndarray) -> None:
    one, other = (OnnxStream(stream_model, decision_facts(fitted)) for _ in range(2))
    for bar in bars:
        last = one.decide(bar)
    assert other.decide(bars[-1]) != pytest.approx(last, abs=1e-6)


def test_what_the_network_was_not_trained_on_is_refused(
    fitted: FittedFold, window_form: OnnxWindow, stream_model: bytes, bars: np.ndarray
) -> None:
    stream = OnnxStream(stream_model, decision_facts(fitted))
    with pytest.raises(ValueError, match="would mean nothing"):
        window_form.decide(bars[:15])
    with pytest.raises(ValueError, match="would mean nothing"):
        stream.decide(bars[0, 1:])
    infinite = np.where(np.arange(4) == 1, np.inf, bars[0])
    with pytest.raises(ValueError, match="1 infinite"):
        stream.decide(infinite)


def test_an_exported_form_runs_in_one_thread(window_form: OnnxWindow) -> None:
    options = window_form.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_nothing_of_torch_is_imported_for_it() -> None:
    code = (
        "import sys, tft_pipeline.model.onnx_decision; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
