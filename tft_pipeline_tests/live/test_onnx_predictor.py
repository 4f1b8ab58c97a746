"""A released bundle, asked without torch, says what eager torch says, gaps included, and needs numpy and onnxruntime alone."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.live.onnx_predictor import OnnxPredictor, level_of_zero
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.heads import QUANTILES
from tft_pipeline.model.heads import level_of_zero as level_in_torch
from tft_pipeline.model.inference import Predictions, predict
from tft_pipeline.storage.release_bundle import ReleaseBundle
from tft_pipeline_tests.made_bundles import made_bundle
from tft_pipeline_tests.oracles.model_panels import NETWORK, TRAINING, random_panel, small_fit

TEST = Span(100, 138)
KINDS: dict[str, tuple[NetworkSection, str]] = {
    "gaussian": (NETWORK, "joint_mle"),
    "static": (NETWORK.model_copy(update={"static_symbol": True}), "joint_quantile"),
    "direction": (NETWORK, "bce"),
    "sharpe": (NETWORK, "sharpe"),
    "lstm": (NETWORK.model_copy(update={"family": "lstm", "lstm_layers": 2}), "joint_mle"),
}


@pytest.fixture(scope="module")
def panel() -> Panel:
    """One symbol starts late, one pauses inside the test bars, and single values are missing."""
    made = random_panel()
    observed = made.observed.copy()
    observed[1, 110:114] = observed[2, 120] = observed[0, 137] = False
    values = made.values.copy()
    values[2, 105:108, 1] = np.nan
    return Panel(
        **{name: getattr(made, name) for name in made.__dataclass_fields__} | {"observed": observed, "values": values}
    )


Released = Callable[[str], tuple[FittedFold, ReleaseBundle]]


@pytest.fixture(scope="module")
def released(panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """A fit and its bundle by kind; exporting takes seconds, so each is made once and only when it is asked for."""

    @cache
    def make(kind: str) -> tuple[FittedFold, ReleaseBundle]:
        network, loss = KINDS[kind]
        training = TRAINING.model_copy(update={"loss_mode": loss})
        fitted = small_fit(panel, network=network, training=training, epochs=1)
        return fitted, made_bundle(tmp_path_factory.mktemp(kind) / "versions", fitted)

    return make


def compared(predictor: OnnxPredictor, panel: Panel, expected: Predictions, span: Span, *, stream: bool) -> int:
    """Hold every observed bar of a span against the backtest's own predictions; how many there were."""
    lookback, n = predictor.signature.lookback, 0
    for s, symbol in enumerate(panel.symbols):
        cache = predictor.start() if stream else {}
        for t in range(span.start - lookback + 1 if stream else span.start, span.stop):
            seen = bool(panel.observed[s, t])
            if stream:
                said, cache = predictor.step(cache, panel.values[s, t] if seen else None, symbol=symbol)
            else:
                bars = slice(t - lookback + 1, t + 1)
                said = predictor.window(panel.values[s, bars], panel.observed[s, bars], symbol=symbol) if seen else None
            if t < span.start:
                continue
            k = t - span.start
            assert (said is None) == (not seen) == bool(np.isnan(expected.raw_position[s, k]))
            if said is None:
                continue
            for name in ("raw_position", "mean", "scale", "probability"):
                value, found = getattr(expected, name)[s, k], getattr(said, name)
                assert (found is None) == bool(np.isnan(value)), name
                assert found is None or found == pytest.approx(value, abs=1e-5), name
            assert (said.quantiles is None) == (expected.quantiles is None)
            if said.quantiles is not None and expected.quantiles is not None:
                assert said.quantiles == pytest.approx(expected.quantiles[s, k], abs=1e-5)
            n += 1
    return n


@pytest.mark.parametrize(
    "kind",
    ["gaussian", "static", "lstm", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("direction", "sharpe"))],
)
@pytest.mark.parametrize("form", ["onnx_window", "onnx_stream"])
def test_every_output_equals_the_backtests_on_every_bar(kind: str, form: str, panel: Panel, released: Released) -> None:
    fitted, bundle = released(kind)
    if form not in bundle.signature.forms:
        assert (kind, form) == ("lstm", "onnx_stream")
        assert "zero states" in bundle.signature.left_out[form]
        return
    expected = predict(fitted, panel, TEST)
    predictor = OnnxPredictor.load(bundle, form)
    n = compared(predictor, panel, expected, TEST, stream=form == "onnx_stream")
    assert n == int(panel.observed[:, slice(*TEST)].sum()) > 100
    positions = expected.raw_position[np.isfinite(expected.raw_position)]
    assert len(set(positions.round(6))) > 50, "positions that never move would agree by chance"


def test_a_gap_in_the_window_counts(panel: Panel, released: Released) -> None:
    """A form that took all bars as observed would pass every test without gaps."""
    _, bundle = released("gaussian")
    predictor = OnnxPredictor.load(bundle)
    bars, mask = panel.values[1, 104:120], panel.observed[1, 104:120]
    assert not mask.all()
    gapped, filled = predictor.window(bars, mask), predictor.window(bars)
    assert gapped.raw_position != pytest.approx(filled.raw_position, abs=1e-5)
    rubbish = np.where(mask[:, None], bars, np.inf)
    assert predictor.window(rubbish, mask).raw_position == gapped.raw_position, "what stands at no bar is not read"


def test_a_stream_reads_a_window_as_the_window_form_does(panel: Panel, released: Released) -> None:
    _, bundle = released("static")
    window, stream = (OnnxPredictor.load(bundle, form) for form in ("onnx_window", "onnx_stream"))
    bars, mask = panel.values[1, 104:120], panel.observed[1, 104:120]
    for symbol in ("S1", "a stranger"):
        one, other = (each.window(bars, mask, symbol=symbol) for each in (window, stream))
        assert one.raw_position == pytest.approx(other.raw_position, abs=1e-5)
        assert one.weights == pytest.approx(other.weights, abs=1e-5)
        assert one.weights is not None
        assert one.weights.sum() == pytest.approx(1.0, abs=1e-5)


def test_what_cannot_be_decided_on_is_refused(panel: Panel, released: Released) -> None:
    _, bundle = released("gaussian")
    window, stream = (OnnxPredictor.load(bundle, form) for form in ("onnx_window", "onnx_stream"))
    bars = np.nan_to_num(panel.values[2, 60:76])
    unseen = np.arange(16) < 15
    for each in (window, stream):
        with pytest.raises(ValueError, match=r"16 bars|would mean nothing"):
            each.window(bars[1:])
        with pytest.raises(ValueError, match="1 infinite"):
            each.window(np.where(np.arange(64).reshape(16, 4) == 63, np.inf, bars))
        with pytest.raises(ValueError, match=r"has no bar|not observed"):
            each.window(bars, unseen)
        with pytest.raises(ValueError, match=r"observed|16 bars"):
            each.window(bars, unseen[1:])
    with pytest.raises(ValueError, match="whole windows"):
        window.start()
    with pytest.raises(ValueError, match="whole windows"):
        window.step({}, bars[0])
    with pytest.raises(ValueError, match="it is another's; start anew"):
        stream.step({"selected": np.zeros((1, 3, 8), dtype=np.float32), "seen": np.zeros((1, 15), dtype=bool)}, bars[0])


def test_a_form_whose_answers_are_not_those_of_the_signature_is_not_loaded(released: Released) -> None:
    from dataclasses import replace

    _, bundle = released("gaussian")
    other = replace(bundle, signature=replace(bundle.signature, outputs=("forecast_position", "forecast_logit")))
    with pytest.raises(ValueError, match="release again"):
        OnnxPredictor.load(other)


def test_threads_share_one_predictor(panel: Panel, released: Released) -> None:
    _, bundle = released("static")
    predictor = OnnxPredictor.load(bundle)
    stream = OnnxPredictor.load(bundle, "onnx_stream")

    def ask(k: int) -> list[float]:
        s, start = k % 3, 60 + k % 20
        bars, symbol = np.nan_to_num(panel.values[s, start : start + 16]), panel.symbols[s]
        one = predictor.window(bars, symbol=symbol)
        other = stream.window(bars, symbol=symbol)
        return [one.raw_position, other.raw_position]

    alone = [ask(k) for k in range(160)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(160)))
    assert together == alone


def test_the_probability_of_quantiles_is_that_of_torch() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        quantiles = np.sort(random.normal(random.normal(), 1.0, len(QUANTILES))).astype(np.float32)
        quantiles[random.integers(12)] = quantiles[random.integers(12)]
        quantiles.sort()
        expected = float(level_in_torch(torch.from_numpy(quantiles)))
        assert level_of_zero(quantiles, QUANTILES) == pytest.approx(expected, abs=1e-6)
    assert level_of_zero(np.full(13, 0.0), QUANTILES) == pytest.approx(QUANTILES[-1])
    assert math.isclose(level_of_zero(np.full(13, 1.0), QUANTILES), QUANTILES[0])


FRESH = """
import json, sys
import numpy as np
from pathlib import Path
from tft_pipeline.live.onnx_predictor import OnnxPredictor
from tft_pipeline.storage.release_bundle import current_bundle
bundle = current_bundle(Path(sys.argv[1]))
bars = np.load(sys.argv[2])
found = {}
for form in bundle.signature.forms:
    found[form] = OnnxPredictor.load(bundle, form).window(bars, symbol="S1").raw_position
loaded = {name.split(".")[0] for name in sys.modules}
found["packages"] = sorted(loaded - set(sys.stdlib_module_names) - set(sys.builtin_module_names))
found["ours"] = sorted(name for name in sys.modules if name.startswith("tft_pipeline."))
print(json.dumps(found))
"""


def test_a_fresh_process_with_numpy_and_onnxruntime_alone_decides_as_torch(
    panel: Panel, released: Released, tmp_path: Path
) -> None:
    fitted, bundle = released("static")
    bars = np.nan_to_num(panel.values[1, 60:76])
    np.save(tmp_path / "bars.npy", bars)
    command = [sys.executable, "-c", FRESH, str(bundle.artifact.folder.parents[1]), str(tmp_path / "bars.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    full = Panel(
        **{name: getattr(panel, name) for name in panel.__dataclass_fields__}
        | {"values": np.nan_to_num(panel.values), "observed": np.ones_like(panel.observed)}
    )
    expected = predict(fitted, full, Span(75, 76)).raw_position[1, 0]
    for form in ("onnx_window", "onnx_stream"):
        assert found[form] == pytest.approx(expected, abs=1e-5)
    unwanted = {"torch", "polars", "pydantic", "scipy", "dagster", "pandas", "lightning", "safetensors", "sklearn"}
    assert not unwanted & set(found["packages"])
    named = {name for name in found["packages"] if not name.startswith("__editable__") and name != "tft_pipeline"}
    assert {"numpy", "onnxruntime"} <= named
    layers = {name.split(".")[1] for name in found["ours"]}
    assert layers == {"domain", "model", "storage", "live"}
    assert "tft_pipeline.pipeline" not in found["ours"]
