"""What a fresh process does to answer once: import, read and verify its files, decide. Not here: who starts it (`cold_start`).

    python -m tft_pipeline.storage.first_decision FORM FOLDER

FORM is eager, onnx_window or onnx_stream; FOLDER is an artifact (`storage.artifacts`) that `cold_start` wrote. Prints one JSON
object. Nothing heavy is imported before the clock runs, and no torch for an exported form.

Axes: T lookback, V variables.
"""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tft_pipeline.storage.artifacts import Artifact, read_artifact

if TYPE_CHECKING:
    import numpy as np

    from tft_pipeline.domain.scaling import Scaler

MODEL_FILE, FACTS_FILE = "model.onnx", "decision.json"


def answer_once(form: str, folder: Path) -> dict[str, Any]:
    """Raw position for a window of training means, and what it took: import_ms, load_ms (reading and verifying included),
    first_decision_ms (of the stream with the bars its cache wants), done_at on this machine's monotonic clock."""
    take = {"eager": _eager, "onnx_window": _onnx_window, "onnx_stream": _onnx_stream}[form]
    return take(folder) | {"done_at": time.monotonic()}


def _eager(folder: Path) -> dict[str, Any]:
    began = time.perf_counter()
    import torch

    from tft_pipeline.model.forms import decide
    from tft_pipeline.model.isolation import single_thread
    from tft_pipeline.storage.fold_bundles import read_fitted

    imported = time.perf_counter()
    fitted = read_fitted(read_artifact(folder, in_store=False))
    network = fitted.build()
    loaded = time.perf_counter()
    with single_thread(), torch.inference_mode():
        symbol = fitted.symbols[0] if fitted.symbols else ""
        position = decide(network, fitted, _means(fitted.scaler, fitted.training.lookback), symbol=symbol)
    return _stages(position, began, imported, loaded)


def _onnx_window(folder: Path) -> dict[str, Any]:
    began = time.perf_counter()
    from tft_pipeline.model.onnx_decision import OnnxWindow

    imported = time.perf_counter()
    model, facts = _exported(read_artifact(folder, in_store=False))
    decision = OnnxWindow(model, facts)
    loaded = time.perf_counter()
    position = decision.decide(_means(decision.scaler, facts["lookback"]), symbol=_first(facts))
    return _stages(position, began, imported, loaded)


def _onnx_stream(folder: Path) -> dict[str, Any]:
    began = time.perf_counter()
    from tft_pipeline.model.onnx_decision import OnnxStream

    imported = time.perf_counter()
    model, facts = _exported(read_artifact(folder, in_store=False))
    decision = OnnxStream(model, facts)
    loaded = time.perf_counter()
    position = 0.0
    for bar in _means(decision.scaler, facts["lookback"]):
        position = decision.decide(bar, symbol=_first(facts))
    return _stages(position, began, imported, loaded)


def _exported(artifact: Artifact) -> tuple[bytes, dict[str, Any]]:
    return artifact.path(MODEL_FILE).read_bytes(), json.loads(artifact.path(FACTS_FILE).read_text())


def _means(scaler: "Scaler", lookback: int) -> "np.ndarray":
    """(T, V), each feature at its training mean."""
    import numpy as np

    return np.tile(scaler.mean.astype(np.float32), (lookback, 1))


def _first(facts: dict[str, Any]) -> str:
    return facts["symbols"][0] if facts["symbols"] else ""


def _stages(position: float, began: float, imported: float, loaded: float) -> dict[str, Any]:
    return {
        "position": position,
        "import_ms": (imported - began) * 1e3,
        "load_ms": (loaded - imported) * 1e3,
        "first_decision_ms": (time.perf_counter() - loaded) * 1e3,
    }


def main() -> None:
    """Answer once; the memory is read afterwards, with the clock stopped."""
    found = answer_once(sys.argv[1], Path(sys.argv[2]))
    import psutil

    print(json.dumps(found | {"memory_mb": psutil.Process().memory_info().rss / 1e6}))


if __name__ == "__main__":
    main()
