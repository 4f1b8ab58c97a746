"""How cost grows with variables, lookback, hidden size and rows, against pytorch-forecasting: times, fitted exponents, a plot.

    --axis variables | lookback | hidden    one training step on random batches, as train_step.py times it
    --axis rows                             rolling inference over so many bars, as rolling_inference.py times it

The exponent b is the slope of log time on log size by least squares: time ~ size^b over these sizes. Fixed costs of a call
make it smaller than what it tends to. The ratio is that at the largest size.
"""

import one_thread  # noqa: F401

# isort: split
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rolling_inference
import train_step
from comparison import Comparison, arguments, show
from peers import Sizes

AXES: dict[str, tuple[int, ...]] = {
    "variables": (16, 32, 64, 128, 256),
    "lookback": (16, 32, 63, 126, 252),
    "hidden": (16, 32, 64, 128),
    "rows": (125, 250, 500, 1_000, 2_000),
}
"""Sizes by default; the other sizes stay at `COMMON`."""
COMMON = Sizes(variables=32, batch=16)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log seconds on log size, least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def compare(axis: str, sizes: Sequence[int], *, rounds: int, budget_s: float) -> Comparison:
    """Time both at every size.

    Raises:
        ValueError: fewer than two different sizes.
    """
    if len(set(sizes)) < 2:
        raise ValueError(f"sizes {list(sizes)}: an exponent needs two different ones at least")
    measured = [_measure(axis, size, rounds=rounds, budget_s=budget_s) for size in sizes]
    seconds = {side: [getattr(one, side) for one in measured] for side in ("ours", "theirs")}
    last = measured[-1]
    return Comparison(
        name=f"scaling with {axis}",
        peer="pytorch_forecasting",
        unit=last.unit,
        ours=last.ours,
        theirs=last.theirs,
        ratio=last.ratio,
        wall_ratio=last.wall_ratio,
        shapes=last.shapes,
        details={
            "axis": axis,
            "sizes": list(sizes),
            "seconds": seconds,
            "exponent": {side: exponent(sizes, taken) for side, taken in seconds.items()},
        },
    )


def _measure(axis: str, size: int, *, rounds: int, budget_s: float) -> Comparison:
    limits = {"rounds": rounds, "budget_s": budget_s}
    if axis == "rows":
        return rolling_inference.compare(replace(COMMON, batch=64), size, **limits)
    sizes = replace(COMMON, **({"hidden": size, "width": size} if axis == "hidden" else {axis: size}))
    return train_step.compare("random", "pytorch_forecasting", sizes, **limits)


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """One panel an axis, both sides, logarithmic, the exponents in the legend."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(3.6 * len(results), 3.2), squeeze=False)
    names = {"ours": "tft-pipeline", "theirs": "pytorch-forecasting"}
    for panel, result in zip(panels[0], results, strict=True):
        details = result["details"]
        for side, marker in (("theirs", "s"), ("ours", "o")):
            label = f"{names[side]}, size^{details['exponent'][side]:.2f}"
            panel.loglog(details["sizes"], details["seconds"][side], marker=marker, label=label)
        panel.set_xlabel(details["axis"])
        panel.set_ylabel("CPU seconds")
        panel.grid(visible=True, which="both", alpha=0.3)
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--axis", choices=tuple(AXES), default="variables")
    parser.add_argument("--sizes", type=int, nargs="+", help="sizes along the axis")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", type=float, default=6.0, help="seconds a size after which no further round starts")
    parser.add_argument("--plot", type=Path, help="draw this axis into a PNG file")
    given = parser.parse_args()
    sizes = tuple(given.sizes or AXES[given.axis])
    result = compare(given.axis, sizes, rounds=given.rounds, budget_s=given.budget)
    if given.plot:
        draw([{"details": result.details}], given.plot)
    show(result, as_json=given.json)
    if not given.json:
        slopes = result.details["exponent"]
        print(f"  time ~ {given.axis}^{slopes['ours']:.2f}, theirs ^{slopes['theirs']:.2f}")


if __name__ == "__main__":
    main()
