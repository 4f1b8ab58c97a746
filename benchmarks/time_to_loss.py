"""How long until the validation loss is as low as pytorch-forecasting's best, on a fold of the embedded sample.

Both minimise the Gaussian negative log likelihood of the next bar's return, in units of expected risk, on the same scaled
features, with AdamW and one thread; both are validated after each epoch on the same (symbol, bar) labels, each from the last
63 bars. Theirs trains on windows out of its own TimeSeriesDataSet and data loader, one label a window. Ours trains the
decoder-only network on windows drawn from all symbols, one label at every bar behind the warm-up. Sizes make
the numbers of parameters agree within 10 %. The clock runs from the arrays in memory: data set, network, training and
validation. Their time ends with the epoch of their lowest loss (waiting for early stopping is not counted); ours with the
first epoch at or below that loss. A seed is run theirs first, for ours needs their loss to know when to stop.

Recipes: theirs is the best of `--search` over three learning rates at its default dropout, ours the first to reach that loss
among some forty tried by hand and by `--search`, on seeds that are not reported. An epoch of theirs takes some twenty times as
long. The losses of both move by about 0.01 from epoch to epoch, as much as either gains over a constant forecast (1.329): on
this fold the goal is hardly more than noise, and the ratio says how fast epochs are rather than who learns more.
"""

import one_thread  # noqa: F401

# isort: split
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice

import torch
from comparison import Comparison, arguments, show
from contestants import LOOKBACK, WARMUP, Epoch, Recipe, our_network, their_network, train
from sample_fold import FoldArrays, fold_arrays, sample_folds, sample_panel

from tft_pipeline.model.network import count_parameters

THEIRS = Recipe(learning_rate=1e-3, batch=64, dropout=0.1)
OURS = Recipe(learning_rate=1e-3, batch=4, dropout=0.5)
GRID = {
    "theirs": tuple(Recipe(learning_rate=rate, batch=64, dropout=0.1) for rate in (3e-4, 1e-3, 3e-3)),
    "ours": tuple(
        Recipe(learning_rate=rate, batch=batch, dropout=dropout)
        for rate, batch, dropout in (
            (3e-4, 2, 0.1),
            (3e-4, 4, 0.1),
            (3e-4, 8, 0.1),
            (1e-3, 4, 0.1),
            (1e-3, 8, 0.1),
            (1e-3, 16, 0.1),
            (3e-3, 8, 0.1),
            (1e-2, 8, 0.1),
            (1e-3, 8, 0.3),
            (1e-3, 4, 0.5),
            (3e-3, 16, 0.5),
        )
    ),
}
SEARCH_SEED = 100
"""Not among the seeds that are reported."""


@dataclass(frozen=True, kw_only=True)
class Race:
    """One seed: their epochs up to early stopping, ours up to their best loss."""

    seed: int
    theirs: tuple[Epoch, ...]
    ours: tuple[Epoch, ...]

    @property
    def goal(self) -> Epoch:
        """Their epoch of lowest validation loss."""
        return min(self.theirs, key=lambda epoch: epoch.loss)

    @property
    def arrival(self) -> Epoch | None:
        """Our epoch at or below it."""
        return self.ours[-1] if self.ours[-1].loss <= self.goal.loss else None

    def seconds(self, clock: str) -> tuple[float, float]:
        """Ours (infinite where not reached) and theirs, on `wall_s` or `cpu_s`."""
        mine = self.arrival
        return (math.inf if mine is None else getattr(mine, clock)), getattr(self.goal, clock)


def race(data: FoldArrays, seed: int, *, their_epochs: int, patience: int, our_epochs: int) -> Race:
    """Theirs until `patience` epochs bring no lower loss, then ours until it is as low; neither beyond its epochs."""
    theirs: list[Epoch] = []
    for epoch in islice(train("theirs", data, THEIRS, seed), their_epochs):
        theirs.append(epoch)
        if theirs.index(min(theirs, key=lambda one: one.loss)) < len(theirs) - patience:
            break
    goal, mine = min(epoch.loss for epoch in theirs), []
    for epoch in islice(train("ours", data, OURS, seed), our_epochs):
        mine.append(epoch)
        if epoch.loss <= goal:
            break
    return Race(seed=seed, theirs=tuple(theirs), ours=tuple(mine))


def summary(races: Sequence[Race], shapes: dict[str, object]) -> Comparison:
    """Medians over seeds; where ours did not get there its time is infinite, and a median of those is None."""
    pairs = [one.seconds("wall_s") for one in races]
    ours_s = statistics.median(mine for mine, _ in pairs)
    ratio = statistics.median(theirs / mine for mine, theirs in pairs)
    reached = sum(one.arrival is not None for one in races)
    return Comparison(
        name="time to pytorch-forecasting's best validation loss",
        peer="pytorch_forecasting",
        unit="s",
        ours=None if math.isinf(ours_s) else ours_s,
        theirs=statistics.median(theirs for _, theirs in pairs),
        ratio=ratio or None,
        wall_ratio=ratio or None,
        shapes=shapes,
        remarks=(f"ours got there in {reached} of {len(races)} seeds",),
        details={
            "cpu_ratio": statistics.median(theirs / mine for mine, theirs in (one.seconds("cpu_s") for one in races)),
            "recipes": {"theirs": asdict(THEIRS), "ours": asdict(OURS)},
            "seeds": [
                {
                    "seed": one.seed,
                    "theirs_epochs": len(one.theirs),
                    "theirs_best": asdict(one.goal),
                    "ours_epochs": len(one.ours),
                    "ours_reached": asdict(one.arrival) if one.arrival else None,
                    "theirs_losses": [epoch.loss for epoch in one.theirs],
                    "ours_losses": [epoch.loss for epoch in one.ours],
                }
                for one in races
            ],
        },
    )


def search(data: FoldArrays, epochs: int) -> None:
    """Print the losses of every recipe of the grid, of both sides, over the same number of epochs."""
    for side, recipes in GRID.items():
        for recipe in recipes:
            taken = list(islice(train(side, data, recipe, SEARCH_SEED), epochs))
            best = min(taken, key=lambda epoch: epoch.loss)
            losses = " ".join(f"{epoch.loss:.4f}" for epoch in taken)
            print(f"{side} {recipe}: best {best.loss:.4f} after {best.cpu_s:.1f} s of CPU ({losses})", flush=True)


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--train", type=int, default=1_008, help="training bars")
    parser.add_argument("--validation", type=int, default=252, help="validation bars")
    parser.add_argument("--symbols", type=int, default=20, help="take only the first so many of 20")
    parser.add_argument("--seeds", type=int, nargs="+", default=[200, 201])
    parser.add_argument("--their-epochs", type=int, default=3, help="most epochs of theirs")
    parser.add_argument("--patience", type=int, default=2, help="of theirs, epochs without a lower loss")
    parser.add_argument("--our-epochs", type=int, default=30, help="most epochs of ours")
    parser.add_argument("--search", type=int, metavar="EPOCHS", help="print the grid search instead; takes long")
    given = parser.parse_args()
    torch.set_num_threads(1)
    panel = sample_panel()
    (fold,) = sample_folds(panel, train=given.train, validation=given.validation, n_folds=1)
    data = fold_arrays(panel, fold, n_symbols=given.symbols)
    if given.search:
        search(data, given.search)
        return
    V = data.values.shape[-1]
    shapes = {
        "fold": fold.key,
        "symbols": len(data.values),
        "train_bars": given.train,
        "validation_bars": given.validation,
        "variables": V,
        "lookback": LOOKBACK,
        "warmup": WARMUP,
        "parameters_ours": count_parameters(our_network(V, OURS.dropout)),
        "parameters_theirs": count_parameters(their_network(V, THEIRS.dropout)),
        "seeds": given.seeds,
    }
    limits = {"their_epochs": given.their_epochs, "patience": given.patience, "our_epochs": given.our_epochs}
    races = [race(data, seed, **limits) for seed in given.seeds]
    show(summary(races, shapes | limits), as_json=given.json)


if __name__ == "__main__":
    main()
