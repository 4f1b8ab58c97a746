"""Latency of one decision, batch 1, one thread: p95 on the clock, from scaled inputs to a forecast.

    --form window     our network in ONNX Runtime reads the last 63 bars      against pytorch-forecasting's
    --form streaming  ours reads the new bar and its cache of the others      against pytorch-forecasting's window
    --form lstm       the guide's LSTM (2 layers, hidden 128, 5 inputs, 64 bars) in ONNX Runtime, against itself in eager torch

Ours is the decoder-only network a fold is released with, at their sizes: about as many parameters, another function. That
the ONNX form says what torch says is checked before timing. Turns of 20 calls alternate.
"""

import one_thread  # noqa: F401

# isort: split
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from comparison import Comparison, arguments, show
from pairing import Timing, alternate
from peers import HEADS, HIDDEN, LOOKBACK, Sizes, pytorch_forecasting, pytorch_forecasting_batch, quiet, require

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.export import lstm_onnx, streaming_onnx, window_onnx
from tft_pipeline.model.folded import FoldedTft
from tft_pipeline.model.lstm import LstmNetwork
from tft_pipeline.model.network import Tft, count_parameters
from tft_pipeline.model.onnx_decision import Feed, one_thread_session

QUANTILE = 0.95
CALLS_A_TURN = 20
TOLERANCE = 1e-5
GUIDE = {"variables": 5, "lookback": 64, "hidden": 128, "layers": 2}


def compare(form: str, variables: int, *, calls: int) -> Comparison:
    """p95 of both, `calls` timed calls each, rounded up to whole turns."""
    require("onnxruntime")
    quiet()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if form == "lstm":
        return _lstm(calls)
    section = NetworkSection(hidden=HIDDEN, heads=HEADS, variable_hidden=HIDDEN, dropout=0.0)
    network = Tft(variables, section, "joint_mle").eval()
    values = torch.randn(1, LOOKBACK, variables)
    windows = WindowBatch(values=values, observed=torch.ones(1, LOOKBACK, dtype=torch.bool))
    with torch.inference_mode():
        expected = network.forecast_last(windows).position.numpy()
    ours = (_streaming if form == "streaming" else _window)(network, windows)
    _refuse_difference(ours(), expected)
    theirs = pytorch_forecasting(Sizes(variables=variables, batch=1)).eval()
    batch = pytorch_forecasting_batch(values)

    def run_theirs() -> object:
        with torch.inference_mode():
            return theirs(batch).prediction

    timings = _turns({"theirs": run_theirs, "ours": ours}, calls)
    shapes = {"variables": variables, "lookback": LOOKBACK, "hidden": HIDDEN, "width": HIDDEN, "heads": HEADS}
    shapes |= {"parameters_ours": count_parameters(network), "parameters_theirs": count_parameters(theirs)}
    return _of_tails(f"latency, {form}", "pytorch_forecasting", timings, shapes)


def _window(network: Tft, windows: WindowBatch) -> Callable[[], np.ndarray]:
    run = _session(window_onnx(FoldedTft(network), lookback=windows.values.shape[1]))
    feed = {"values": windows.values.numpy(), "observed": windows.observed.numpy()}
    return lambda: run(feed)["forecast_position"]


def _streaming(network: Tft, windows: WindowBatch) -> Callable[[], np.ndarray]:
    """Every call is the bar that completes the window, on the cache of the bars before it."""
    T = windows.values.shape[1]
    run = _session(streaming_onnx(FoldedTft(network), lookback=T))
    bars, seen = windows.values.numpy(), windows.observed.numpy()
    cache = {
        "selected": np.zeros((1, T - 1, network.lstm.hidden_size), dtype=np.float32),
        "seen": np.zeros((1, T - 1), dtype=bool),
    }
    for t in range(T - 1):
        said = run({"values": bars[:, t], "observed": seen[:, t], **cache})
        cache = {name: said[f"next_{name}"] for name in cache}
    feed = {"values": bars[:, -1], "observed": seen[:, -1], **cache}
    return lambda: run(feed)["forecast_position"]


def _lstm(calls: int) -> Comparison:
    section = NetworkSection(family="lstm", hidden=GUIDE["hidden"], lstm_layers=GUIDE["layers"], heads=4, dropout=0.0)
    network = LstmNetwork(GUIDE["variables"], section, "bce").eval()
    values = torch.randn(1, GUIDE["lookback"], GUIDE["variables"])
    windows = WindowBatch(values=values, observed=torch.ones(values.shape[:2], dtype=torch.bool))
    run = _session(lstm_onnx(network, lookback=GUIDE["lookback"]))
    feed = {"values": windows.values.numpy(), "observed": windows.observed.numpy()}

    def eager() -> np.ndarray:
        with torch.inference_mode():
            return network.forecast_last(windows).position.numpy()

    _refuse_difference(run(feed)["forecast_position"], eager())
    timings = _turns({"theirs": eager, "ours": lambda: run(feed)["forecast_position"]}, calls)
    return _of_tails("latency, the guide's LSTM", "the same in eager torch", timings, dict(GUIDE))


def _turns(contestants: dict[str, Callable[[], object]], calls: int) -> dict[str, Timing]:
    rounds = -(-calls // CALLS_A_TURN)
    return alternate(contestants, rounds=rounds, warmup=10, calls_a_turn=CALLS_A_TURN)


def _session(model: bytes) -> Callable[[Feed], Feed]:
    """Call the model with named inputs for named outputs, on one thread."""
    session = one_thread_session(model)
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed), strict=True))


def _refuse_difference(ours: np.ndarray, expected: np.ndarray) -> None:
    difference = float(np.abs(ours - expected).max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"the ONNX form differs from torch by {difference:.1e} > {TOLERANCE:.0e}: it is another network"
        )


def _of_tails(name: str, peer: str, timings: dict[str, Timing], shapes: dict[str, Any]) -> Comparison:
    ours, theirs = (timings[side].wall_quantile(QUANTILE) for side in ("ours", "theirs"))
    return Comparison(
        name=name,
        peer=peer,
        unit="s at p95",
        ours=ours,
        theirs=theirs,
        ratio=theirs / ours,
        wall_ratio=theirs / ours,
        shapes=shapes,
        details={
            "calls": len(timings["ours"].wall),
            "median_wall_s": {side: timing.wall_median for side, timing in timings.items()},
            "median_cpu_s": {side: timing.cpu_median for side, timing in timings.items()},
        },
    )


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--form", choices=("window", "streaming", "lstm"), default="window")
    parser.add_argument("--variables", type=int, default=73, help="of window and streaming")
    parser.add_argument("--calls", type=int, default=300)
    given = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = compare(given.form, given.variables, calls=given.calls)
    show(result, as_json=given.json)


if __name__ == "__main__":
    main()
