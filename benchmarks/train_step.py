"""One training step, or one inference pass, against another library's Temporal Fusion Transformer.

    --mode random     forward, loss, backward, clipping, AdamW on windows that share no bar; both get the same tensor
    --mode inference  one forward pass on the same windows, without gradients
    --mode block      the full step of a training run, the batch's fetching included: theirs out of pytorch-forecasting's
                      TimeSeriesDataSet and its data loader, ours as consecutive windows by index, each token selected once

Loss: Gaussian negative log likelihood of one label a window. Against pytorch-forecasting both start from the same weights
and their outputs are compared before anything is timed. Other peers parametrise their networks differently: same sizes,
same inputs, another function.
"""

import one_thread  # noqa: F401

# isort: split
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import ours
import torch
from comparison import Comparison, arguments, of_timings, show
from pairing import alternate
from peers import Forward, Sizes, peer_network, pytorch_forecasting, require
from torch import Tensor, nn

from tft_pipeline.model.losses import gaussian_nll
from tft_pipeline.model.network import count_parameters

CLIP = 0.1
PEERS = ("pytorch_forecasting", "neuralforecast", "darts")
N_SERIES, N_BARS = 3, 1_000
"""Of the panel that `block` fetches from."""
DROPOUT_REMARK = (
    "dropout acts inside each variable's network in theirs, on the selected inputs in ours; equal in evaluation"
)


def loss_of(output: Tensor, label: Tensor) -> Tensor:
    """output (W, 2) = mean and log scale, label (W,)."""
    return gaussian_nll(output[:, 0], output[:, 1], label, torch.ones_like(label, dtype=torch.bool))


def step(network: nn.Module, optimizer: torch.optim.Optimizer, output: Tensor, label: Tensor) -> None:
    """Backward, clip and update."""
    optimizer.zero_grad()
    loss_of(output, label).backward()
    nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimizer.step()


def compare(mode: str, peer: str, sizes: Sizes, *, rounds: int, budget_s: float) -> Comparison:
    """Measure one mode against one peer."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    values, label = torch.randn(sizes.batch, sizes.lookback, sizes.variables), torch.randn(sizes.batch)
    remarks: tuple[str, ...] = ()
    if peer == "pytorch_forecasting":
        theirs, their_forward = peer_network(peer, sizes)
        mine = ours.like(theirs, values)
        if sizes.dropout > 0.0:
            remarks = (DROPOUT_REMARK,)
    else:
        require(peer)
        mine = ours.like(pytorch_forecasting(replace(sizes, width=sizes.hidden)), values)
        theirs, their_forward = peer_network(peer, sizes)
        n_theirs, n_ours = count_parameters(theirs), count_parameters(mine)
        remarks = (
            f"same sizes and inputs, another function, {n_theirs:,} parameters against {n_ours:,}: outputs are not compared",
        )
    if mode == "inference":
        contestants = _inference(mine, theirs, their_forward, values)
    else:
        theirs.train()
        mine.train()
        their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-4)
        our_optimizer = torch.optim.AdamW(mine.parameters(), lr=1e-4, fused=True)
        if mode == "random":
            contestants = {
                "theirs": lambda: step(theirs, their_optimizer, their_forward(values), label),
                "ours": lambda: step(mine, our_optimizer, ours.predict(mine, values), label),
            }
        else:
            contestants = _block(mine, our_optimizer, theirs, their_optimizer, sizes)
    timings = alternate(contestants, rounds=rounds, budget_s=budget_s)
    shapes = asdict(sizes) | {
        "mode": mode,
        "parameters_ours": count_parameters(mine),
        "parameters_theirs": count_parameters(theirs),
    }
    name = "inference pass" if mode == "inference" else f"training step, {mode} batches"
    return of_timings(name, peer, timings["ours"], timings["theirs"], shapes=shapes, remarks=remarks)


def _inference(
    mine: nn.Module, theirs: nn.Module, their_forward: Forward, values: Tensor
) -> dict[str, Callable[[], object]]:
    mine.eval()
    theirs.eval()

    def run(forward: Forward) -> Tensor:
        with torch.inference_mode():
            return forward(values)

    return {"theirs": lambda: run(their_forward), "ours": lambda: run(lambda values: ours.predict(mine, values))}


def _block(
    mine: nn.Module,
    our_optimizer: torch.optim.Optimizer,
    theirs: nn.Module,
    their_optimizer: torch.optim.Optimizer,
    sizes: Sizes,
) -> dict[str, Callable[[], object]]:
    """Full steps on a panel of `N_SERIES` series; theirs draws windows at random, as its loader does."""
    from panel_loader import forecasting_loader

    random = np.random.default_rng(0)
    values = random.standard_normal((N_SERIES, N_BARS, sizes.variables)).astype(np.float32)
    labels = random.standard_normal((N_SERIES, N_BARS)).astype(np.float32)
    loader = forecasting_loader(values, labels, lookback=sizes.lookback, batch=sizes.batch, train=True)
    batches = iter(loader)

    def their_step() -> None:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(loader)
            batch = next(batches)
        x, (y, _) = batch
        step(theirs, their_optimizer, theirs(x).prediction[:, 0], y[:, 0])

    tokens, outcome = torch.from_numpy(values).flatten(0, 1), torch.from_numpy(labels).flatten()
    # a block lies within one series: its first window starts at least batch + lookback - 1 bars before the series ends
    last_start = N_BARS - sizes.lookback - sizes.batch + 1
    window = ours.windows_of(torch.arange(sizes.batch), sizes.lookback)

    def our_step() -> None:
        start = int(torch.randint(N_SERIES, ())) * N_BARS + int(torch.randint(last_start + 1, ()))
        shared = tokens[start : start + sizes.batch + sizes.lookback - 1]
        label = outcome[start + window[:, -1]]
        step(mine, our_optimizer, ours.predict_shared(mine, shared, window), label)

    shared = tokens[: sizes.batch + sizes.lookback - 1]
    with torch.inference_mode():
        mine.eval()
        ours.refuse_difference(ours.predict_shared(mine, shared, window), ours.predict(mine, shared[window]))
        mine.train()
    return {"theirs": their_step, "ours": our_step}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--variables", type=int, default=73)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--mode", choices=("random", "inference", "block"), default="random")
    parser.add_argument("--peer", choices=PEERS, default="pytorch_forecasting")
    parser.add_argument("--lookback", type=int, default=Sizes.lookback)
    parser.add_argument("--hidden", type=int, default=Sizes.hidden)
    parser.add_argument("--dropout", type=float, default=None, help="0.1 in random batches, 0 in block batches")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds after which no further round starts")
    given = parser.parse_args()
    if given.mode == "block" and given.peer != "pytorch_forecasting":
        parser.error(f"--mode block times pytorch-forecasting's data loader; --peer {given.peer} has another one")
    if given.batch + given.lookback > N_BARS:
        parser.error(f"--batch {given.batch} with --lookback {given.lookback} is longer than the panel's {N_BARS} bars")
    dropout = given.dropout if given.dropout is not None else 0.1 if given.mode == "random" else 0.0
    sizes = Sizes(
        variables=given.variables,
        batch=given.batch,
        lookback=given.lookback,
        hidden=given.hidden,
        width=given.hidden,
        dropout=dropout,
    )
    show(compare(given.mode, given.peer, sizes, rounds=given.rounds, budget_s=given.budget), as_json=given.json)


if __name__ == "__main__":
    main()
