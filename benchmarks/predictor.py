"""A live step of one symbol, one thread: from unscaled features of a new bar to a signal and the state after it, p95.

    --form torch        folded torch on cached tokens             against eager torch on the whole window (`forms.decide`),
    --form onnx_stream  ONNX Runtime on cached tokens             which takes one raw position: no state, no held position
    --form onnx_window  ONNX Runtime on the whole window

That both decide alike is checked before timing. Turns of 20 calls alternate.
"""

import one_thread  # noqa: F401

# isort: split
import warnings
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import torch
from comparison import Comparison, arguments, show
from pairing import alternate
from peers import HEADS, HIDDEN, LOOKBACK
from untrained import SYMBOL, signature_of, untrained_fold

from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.engine import FORMS, Form
from tft_pipeline.live.onnx_forms import onnx_engine
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.torch_predictor import torch_engine
from tft_pipeline.model.forms import decide
from tft_pipeline.model.released_form import export_forms

CALLS_A_TURN = 20
TOLERANCE = 1e-5
FIRST = datetime(2024, 1, 1, tzinfo=UTC)


def compare(form: Form, variables: int, *, hidden: int, calls: int) -> Comparison:
    """p95 of both, `calls` timed calls each, rounded up to whole turns.

    Raises:
        ValueError: the two decide differently, beyond 1e-5.
    """
    torch.set_num_threads(1)
    fitted = untrained_fold(variables, lookback=LOOKBACK, hidden=hidden, loss_mode="joint_mle")
    exported = export_forms(fitted, judged="eager", seed=0)
    signature = signature_of(fitted, exported, form="eager", weights_sha256="0" * 64)
    engine = torch_engine(fitted) if form == "torch" else onnx_engine(exported.models[form], form, signature)
    predictor = Predictor(model_id="one", signature=signature, form=form, engine=engine)
    network, bars = fitted.build(), np.random.default_rng(0).standard_normal((4 * LOOKBACK, variables))
    bars = bars.astype(np.float32)
    twice = np.concatenate([bars, bars])

    def bar(k: int) -> BarFeatures:
        values = {SYMBOL: bars[k % len(bars)]}
        return BarFeatures(timestamp=FIRST + timedelta(minutes=k), values=values)

    def window(k: int) -> np.ndarray:
        end = k % len(bars) + len(bars) + 1
        return twice[end - LOOKBACK : end]

    state = predictor.warm(predictor.start(), (bar(k) for k in range(LOOKBACK - 1)))
    ours, theirs = count(LOOKBACK - 1), count(LOOKBACK - 1)
    held = [state]

    def step() -> float:
        signals, held[0] = predictor.step(held[0], bar(next(ours)))
        return signals[0].target_position

    def eager() -> float:
        with torch.inference_mode():
            return decide(network, fitted, window(next(theirs)), symbol=SYMBOL)

    difference = max(abs(step() - eager()) for _ in range(CALLS_A_TURN))
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{form} differs from eager torch by {difference:.1e} > {TOLERANCE:.0e}: it is another network"
        )
    rounds = -(-calls // CALLS_A_TURN)
    timings = alternate({"theirs": eager, "ours": step}, rounds=rounds, warmup=10, calls_a_turn=CALLS_A_TURN)
    p95 = {side: timing.wall_quantile(0.95) for side, timing in timings.items()}
    return Comparison(
        name=f"live step, {form}",
        peer="the whole window in eager torch",
        unit="s at p95",
        ours=p95["ours"],
        theirs=p95["theirs"],
        ratio=p95["theirs"] / p95["ours"],
        wall_ratio=p95["theirs"] / p95["ours"],
        shapes={"variables": variables, "lookback": LOOKBACK, "hidden": hidden, "heads": HEADS, "symbols": 1},
        details={
            "calls": len(timings["ours"].wall),
            "median_wall_s": {side: timing.wall_median for side, timing in timings.items()},
            "median_cpu_s": {side: timing.cpu_median for side, timing in timings.items()},
        },
    )


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--form", choices=FORMS, default="torch")
    parser.add_argument("--variables", type=int, default=73)
    parser.add_argument("--hidden", type=int, default=HIDDEN)
    parser.add_argument("--calls", type=int, default=300)
    given = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = compare(given.form, given.variables, hidden=given.hidden, calls=given.calls)
    show(result, as_json=given.json)


if __name__ == "__main__":
    main()
