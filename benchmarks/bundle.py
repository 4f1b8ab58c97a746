"""A released bundle in a fresh process: import, verify every hash, load, predict once; seconds on the clock and peak memory.

    python benchmarks/bundle.py                  9 starts of each form; medians, and PASS or FAIL against the limits
    python benchmarks/bundle.py --no-peer        without pytorch-forecasting's checkpoint

The forms are numpy and onnxruntime alone; beside them eager torch from the same bundle, and pytorch-forecasting's own network
from a Lightning checkpoint, at their sizes (V variables, lookback 63, hidden 48). Seconds count from before the process is
started to its first prediction, the interpreter's own start included; what the disk holds is warm. The peak is that of the
process, VmHWM. Weights are drawn, not trained: how long loading takes does not depend on them. Exit code 1 when a limit of an
exported form is not kept.
"""

import one_thread  # noqa: F401

# isort: split
import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from peers import HIDDEN, LOOKBACK, Sizes, pytorch_forecasting, quiet
from untrained import signature_of, untrained_fold

from tft_pipeline.model.released_form import export_forms
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.fold_bundles import FoldBundle, write_fold_bundle
from tft_pipeline.storage.release_bundle import FORM_FILES, SIGNATURE_FILE, VERSIONS

LIMIT_S, LIMIT_MB = 0.5, 150.0
FORMS = ("onnx_window", "onnx_stream")
REPORT = """
hwm = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"done_at": done, "import_s": imported - began, "load_s": loaded - imported, "first_s": done - loaded,
                  "peak_mb": int(hwm.split()[1]) * 1024 / 1e6, "position": position}))
"""
EXPORTED = """
import json, sys, time
began = time.monotonic()
import numpy as np
from pathlib import Path
from tft_pipeline.live.onnx_predictor import OnnxPredictor
from tft_pipeline.storage.release_bundle import current_bundle
imported = time.monotonic()
bundle = current_bundle(Path(sys.argv[1]))
predictor = OnnxPredictor.load(bundle, sys.argv[2])
loaded = time.monotonic()
bars = np.tile(bundle.signature.scaler.mean, (bundle.signature.lookback, 1))
position = predictor.window(bars).raw_position
done = time.monotonic()
"""
EAGER = """
import json, sys, time
began = time.monotonic()
import numpy as np, torch
from pathlib import Path
from tft_pipeline.model.forms import decide
from tft_pipeline.storage.release_bundle import current_bundle
torch.set_num_threads(1)
imported = time.monotonic()
fitted = current_bundle(Path(sys.argv[1])).fitted()
network = fitted.build()
loaded = time.monotonic()
with torch.inference_mode():
    position = decide(network, fitted, np.tile(fitted.scaler.mean, (fitted.training.lookback, 1)).astype(np.float32))
done = time.monotonic()
"""
PEER = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[2])
began = time.monotonic()
import torch
from peers import pytorch_forecasting_batch
from pytorch_forecasting import TemporalFusionTransformer
torch.set_num_threads(1)
imported = time.monotonic()
network = TemporalFusionTransformer.load_from_checkpoint(sys.argv[1], weights_only=False).eval()
network.output_transformer = None
network.transform_output = lambda prediction, target_scale, loss=None: prediction
loaded = time.monotonic()
with torch.inference_mode():
    values = torch.zeros(1, int(sys.argv[3]), int(sys.argv[4]))
    position = network(pytorch_forecasting_batch(values)).prediction.flatten()[0].item()
done = time.monotonic()
"""


def make_bundle(root: Path, variables: int, lookback: int) -> int:
    """A version below `root`, current there; the number of its network's parameters."""
    fitted = untrained_fold(variables, lookback=lookback, hidden=HIDDEN, loss_mode="joint_mle")
    fold = FoldBundle(
        key="f",
        spec_sha256="",
        fitted=fitted,
        class_balance={"pos": 0, "neg": 0},
        boosting="",
        predictions=pl.DataFrame({"fold": ["f"]}),
        seconds=0.0,
    )
    exported = export_forms(fitted, judged="onnx_window", seed=0)

    def fill(folder: Path) -> None:
        write_fold_bundle(fold, folder)
        for form, model in exported.models.items():
            (folder / FORM_FILES[form]).write_bytes(model)
        weights = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
        signature = signature_of(fitted, exported, form="onnx_window", weights_sha256=weights)
        (folder / SIGNATURE_FILE).write_text(canonical_json(signature.to_dict()))

    write_artifact(root / VERSIONS, fill)
    return fitted.n_parameters


def make_checkpoint(path: Path, variables: int, lookback: int) -> None:
    """A Lightning checkpoint of pytorch-forecasting's network, as its users save one."""
    from lightning.pytorch import Trainer

    model = pytorch_forecasting(Sizes(variables=variables, batch=1, lookback=lookback))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)


def start(program: str, *arguments: str) -> dict[str, Any]:
    """One fresh process: seconds from before its start to its first prediction, and what it says."""
    began = time.monotonic()  # since the machine's start, in every process
    done = subprocess.run(
        [sys.executable, "-c", program + REPORT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    if done.returncode:
        raise RuntimeError(f"a fresh process ended with {done.returncode}: {done.stderr[-2000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"total_s": said.pop("done_at") - began, **said}


def medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Of every figure; the slowest start beside it."""
    found = {name: statistics.median(run[name] for run in runs) for name in runs[0] if name != "position"}
    return {**found, "slowest_s": max(run["total_s"] for run in runs)}


def measure(variables: int, lookback: int, starts: int, peer: bool) -> dict[str, Any]:
    """Starts of all contestants in turn, so that whatever else the machine does meets all of them alike."""
    quiet()
    with TemporaryDirectory() as home, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = Path(home)
        parameters = make_bundle(root, variables, lookback)
        contestants = {form: (EXPORTED, str(root), form) for form in FORMS} | {"eager": (EAGER, str(root))}
        if peer:
            make_checkpoint(root / "peer.ckpt", variables, lookback)
            here = str(Path(__file__).resolve().parent)
            contestants["pytorch_forecasting"] = (PEER, str(root / "peer.ckpt"), here, str(lookback), str(variables))
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
        for turn in range(starts + 1):
            for name, words in contestants.items():
                if name in FORMS or turn <= 3:
                    said = start(*words)
                    if turn:  # the first start of each brings its files into the cache
                        runs[name].append(said)
    rows = {name: medians(each) for name, each in runs.items()}
    ours = [run["position"] for name in (*FORMS, "eager") for run in runs[name]]
    difference = max(ours) - min(ours)
    kept = {name: rows[name]["total_s"] <= LIMIT_S and rows[name]["peak_mb"] <= LIMIT_MB for name in FORMS}
    return {
        "name": "a fresh process to its first prediction",
        "limits": {"total_s": LIMIT_S, "peak_mb": LIMIT_MB},
        "shapes": {"variables": variables, "lookback": lookback, "hidden": HIDDEN, "parameters": parameters},
        "starts": {name: len(each) for name, each in runs.items()},
        "rows": rows,
        "difference": difference,
        "kept": kept,
    }


def show(found: dict[str, Any]) -> None:
    """One line a contestant."""
    shapes, limits = found["shapes"], found["limits"]
    print(
        f"{found['name']}: V {shapes['variables']}, lookback {shapes['lookback']}, {shapes['parameters']} parameters; medians; "
        f"limits {limits['total_s']:g} s and {limits['peak_mb']:g} MB"
    )
    for name, row in found["rows"].items():
        judged = {True: "PASS", False: "FAIL", None: ""}[found["kept"].get(name)]
        print(
            f"  {name:20} {row['total_s']:6.3f} s (import {row['import_s']:.3f}, verify and load {row['load_s']:.3f}, first "
            f"prediction {row['first_s']:.3f}; slowest of {found['starts'][name]}: {row['slowest_s']:.3f})  "
            f"{row['peak_mb']:6.1f} MB  {judged}"
        )
    print(f"  positions of our forms and of eager torch differ by at most {found['difference']:.1e}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variables", type=int, default=73)
    parser.add_argument("--lookback", type=int, default=LOOKBACK)
    parser.add_argument("--starts", type=int, default=9)
    parser.add_argument("--no-peer", action="store_true", help="leave pytorch-forecasting out")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.variables, given.lookback, given.starts, not given.no_peer)
    if given.json:
        print(json.dumps(found, allow_nan=False))
    else:
        show(found)
    sys.exit(0 if all(found["kept"].values()) else 1)


if __name__ == "__main__":
    main()
