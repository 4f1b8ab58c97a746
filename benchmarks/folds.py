"""Two folds at once on two cores, in processes with one thread each, against one after the other.

Each fold is a whole `fit_fold` on the embedded sample: scaling, windows, training, validation. Workers are started and have
imported everything before the clock runs. Wall time, since that is what parallel work saves; the peer is ourselves.
"""

import one_thread  # noqa: F401

# isort: split
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

from comparison import Comparison, arguments, show
from peers import PEER_MISSING
from sample_fold import BARS_PER_YEAR, HORIZON, sample_folds, sample_panel

from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.model.processes import process_pool

N_FOLDS = 2
_panel: Panel | None = None


def load_panel() -> None:
    """Build the panel once a worker."""
    global _panel
    _panel = sample_panel()


def fit(fold: Fold, epochs: int) -> float:
    """Fit one fold in a worker; CPU seconds it took."""
    assert _panel is not None, "the worker loads the panel when it starts"
    before = time.process_time()
    fit_fold(
        _panel,
        fold,
        network=NetworkSection(hidden=16, heads=2, dropout=0.1),
        training=TrainingSection(patience=epochs, batch_blocks=2),
        position=PositionSection(),
        target_volatility=0.15,
        horizon=HORIZON,
        bars_per_year=BARS_PER_YEAR,
        epochs=epochs,
        seed=1,
    )
    return time.process_time() - before


def compare(*, train: int, epochs: int, rounds: int) -> Comparison:
    """Both ways, alternately, medians."""
    folds = sample_folds(sample_panel(), train=train, validation=252, n_folds=N_FOLDS)
    wall: dict[str, list[float]] = {"one after the other": [], "at once": []}
    with process_pool(1, load_panel) as single, process_pool(N_FOLDS, load_panel) as pair:
        pools: dict[str, ProcessPoolExecutor] = {"one after the other": single, "at once": pair}
        for pool in (single, pair, pair):  # wakes the workers; what is loaded late is loaded by the first fit of each
            list(pool.map(fit, folds, [1] * N_FOLDS))
        for _ in range(rounds):
            for way, pool in pools.items():
                started = time.perf_counter()
                list(pool.map(fit, folds, [epochs] * N_FOLDS))
                wall[way].append(time.perf_counter() - started)
    alone, together = (statistics.median(wall[way]) for way in ("one after the other", "at once"))
    return Comparison(
        name="two folds at once",
        peer="one after the other",
        unit="s",
        ours=together,
        theirs=alone,
        ratio=alone / together,
        wall_ratio=alone / together,
        shapes={"folds": N_FOLDS, "train_bars": train, "symbols": 20, "epochs": epochs, "threads_a_process": 1},
        details={"rounds": rounds, "wall_s": wall},
    )


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--train", type=int, default=1_512, help="training bars")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    if cores < N_FOLDS:
        parser.exit(PEER_MISSING, f"{cores} core(s): two folds at once need {N_FOLDS}, nothing was measured\n")
    show(compare(train=given.train, epochs=given.epochs, rounds=given.rounds), as_json=given.json)


if __name__ == "__main__":
    main()
