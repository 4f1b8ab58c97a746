"""Peak memory of training, against pytorch-forecasting: each side in a process of its own, Linux only.

Measured is how far the process's resident memory rises, from the network and one batch in memory to the highest point of two
training steps: what is kept for the backward pass, gradients, AdamW's two moments and work space. The weights themselves are
in neither figure.
"""

import one_thread  # noqa: F401

# isort: split
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import ours
import psutil
import torch
from comparison import Comparison, arguments, show
from peers import Sizes, pytorch_forecasting, pytorch_forecasting_batch

from tft_pipeline.model.conversion import from_pytorch_forecasting

MEBIBYTE = 1 << 20
STEPS = 2


def peak_of(side: str, sizes: Sizes) -> float:
    """MiB by which this process grows, at most, in training steps of one side."""
    from train_step import step

    torch.set_num_threads(1)
    torch.manual_seed(0)
    values, label = torch.randn(sizes.batch, sizes.lookback, sizes.variables), torch.randn(sizes.batch)
    network: torch.nn.Module = pytorch_forecasting(sizes)
    if side == "ours":
        mine = from_pytorch_forecasting(network)
        network = mine
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    else:
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    network.train()
    _reset_peak()
    before = psutil.Process().memory_info().rss
    for _ in range(STEPS):
        if side == "ours":
            step(network, optimizer, ours.predict(mine, values), label)
        else:
            step(network, optimizer, network(pytorch_forecasting_batch(values)).prediction[:, 0], label)
    return (_peak() - before) / MEBIBYTE


def compare(sizes: Sizes) -> Comparison:
    """Both sides, one after the other: memory does not depend on what else runs."""
    peaks = {}
    for side in ("ours", "theirs"):
        command = [sys.executable, __file__, "--side", side, "--sizes", json.dumps(asdict(sizes))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks[side] = float(done.stdout)
    return Comparison(
        name="peak training memory",
        peer="pytorch_forecasting",
        unit="MiB",
        ours=peaks["ours"],
        theirs=peaks["theirs"],
        ratio=peaks["theirs"] / peaks["ours"],
        shapes=asdict(sizes),
    )


def _reset_peak() -> None:
    """Let the kernel count the peak from here: that of importing libraries is higher than a small step's."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Bytes, from the kernel's high-water mark."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--variables", type=int, default=276)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", choices=("ours", "theirs"), help="measure one side in this process; print MiB")
    parser.add_argument("--sizes", help="JSON of all sizes, with --side")
    given = parser.parse_args()
    if given.side:
        print(peak_of(given.side, Sizes(**json.loads(given.sizes))))
    else:
        sizes = Sizes(variables=given.variables, batch=given.batch, dropout=0.1)
        show(compare(sizes), as_json=given.json)


if __name__ == "__main__":
    main()
