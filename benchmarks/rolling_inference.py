"""Rolling inference: a forecast at every bar of a series from its last 63 bars, against pytorch-forecasting.

Theirs runs its network on the stride-1 windows in batches of 64, cut from memory without its data loader. Ours, with the same
weights, selects variables once a bar and decodes the windows made of them. Outputs are compared before timing.
"""

import one_thread  # noqa: F401

# isort: split
from dataclasses import asdict

import ours
import torch
from comparison import Comparison, arguments, of_timings, show
from pairing import alternate
from peers import Sizes, pytorch_forecasting, pytorch_forecasting_batch
from torch import Tensor


def compare(sizes: Sizes, bars: int, *, rounds: int, budget_s: float) -> Comparison:
    """Time both over `bars` bars of one series."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    series = torch.randn(bars, sizes.variables)
    theirs = pytorch_forecasting(sizes)
    windows = ours.windows_of(torch.arange(bars - sizes.lookback + 1), sizes.lookback)
    mine = ours.like(theirs, series[windows[: sizes.batch]])
    views = series.unfold(0, sizes.lookback, 1).transpose(1, 2)  # (W, T, V), nothing copied

    def run_theirs() -> Tensor:
        with torch.inference_mode():
            parts = [theirs(pytorch_forecasting_batch(part)).prediction[:, 0] for part in views.split(sizes.batch)]
            return torch.cat(parts)

    def run_ours() -> Tensor:
        with torch.inference_mode():
            selected, contexts, future = ours.select_tokens(mine, series)
            parts = [
                mine.decode(selected[part], future.expand(len(part), 1, -1), contexts)[:, 0]
                for part in windows.split(sizes.batch)
            ]
            return torch.cat(parts)

    ours.refuse_difference(run_ours(), run_theirs())
    timings = alternate({"theirs": run_theirs, "ours": run_ours}, rounds=rounds, warmup=0, budget_s=budget_s)
    return of_timings(
        "rolling inference",
        "pytorch_forecasting",
        timings["ours"],
        timings["theirs"],
        shapes=asdict(sizes) | {"bars": bars, "windows": len(windows)},
    )


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--variables", type=int, default=73)
    parser.add_argument("--bars", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=40.0, help="seconds after which no further round starts")
    given = parser.parse_args()
    if given.bars < Sizes.lookback:
        parser.error(f"--bars {given.bars} hold no window of {Sizes.lookback} bars")
    result = compare(Sizes(variables=given.variables, batch=64), given.bars, rounds=given.rounds, budget_s=given.budget)
    show(result, as_json=given.json)


if __name__ == "__main__":
    main()
