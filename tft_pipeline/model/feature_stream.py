"""The feature frame block by block from worker processes, so that nobody ever holds all of it.

Workers read the bars from a file, compute the features that look at all symbols and then block after block; this process
puts the blocks together in order. Not here: formulas and blocks (`domain.features`), the stored file.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import polars as pl

from tft_pipeline.domain.features.blocks import Block, FeatureBuild
from tft_pipeline.domain.features.evaluation import Float32Array, OutsideValues
from tft_pipeline.domain.features.feature import Feature
from tft_pipeline.domain.features.requirements import KEYS, OPTIONAL
from tft_pipeline.model.processes import n_workers, process_pool

WORTH_A_WORKER = 50_000_000
"""Values (rows times features) a worker must have to itself before starting it pays."""
BARS_FILE = "bars.arrow"
TASKS_A_WORKER = 2
"""Parts that the features over all symbols are cut into, for each worker."""

_build: FeatureBuild | None = None


def workers_for(build: FeatureBuild) -> int:
    """How many processes the work is worth, at most as many as `n_workers` allows."""
    values = build.bars.height * len(build.features)
    return n_workers(max(1, values // WORTH_A_WORKER))


def feature_frames(build: FeatureBuild, folder: Path, *, workers: int) -> Iterator[pl.DataFrame]:
    """The frames of `build` in order, equal to the bit for any number of workers.

    Args:
        build: What to compute.
        folder: Takes the workers' copy of the bars while they work.
        workers: Processes; with one everything is computed here.
    """
    if workers == 1:
        yield from build.frames()
        return
    path = folder / BARS_FILE
    needed = {*KEYS, "close", *OPTIONAL, *(name for feature in build.features for name in feature.inputs)}
    build.bars.select(name for name in build.bars.columns if name in needed).write_ipc(path)
    wanted = (
        build.features,
        build.market_symbol,
        build.cross_symbols,
        build.user_columns,
        build.bars_per_year,
        build.timezone,
    )
    try:
        with process_pool(workers, _load, (str(path), wanted)) as pool:
            parts = [pool.submit(_outside, part) for part in _cut(build.beyond, TASKS_A_WORKER * workers)]
            waiting = deque(build.blocks())
            running: deque[tuple[Block, Future[Float32Array]]] = deque()
            outside: dict[str, OutsideValues] | None = None
            while waiting or running:
                # one block more than there are workers: finished ones wait here, and each is large
                while waiting and len(running) <= workers:
                    block = waiting.popleft()
                    running.append((block, pool.submit(_own_values, block)))
                if outside is None:
                    outside = {name: values for part in parts for name, values in part.result().items()}
                    parts.clear()
                block, future = running.popleft()
                yield build.frame(block, future.result(), outside)
    finally:
        path.unlink()


def _cut(features: tuple[Feature, ...], parts: int) -> list[tuple[Feature, ...]]:
    """Neighbours stay together, for they ask for the same matrices."""
    size = max(1, -(-len(features) // parts))
    return [features[first : first + size] for first in range(0, len(features), size)]


def _load(path: str, wanted: tuple[Any, ...]) -> None:
    global _build
    _build = FeatureBuild(pl.read_ipc(path), *wanted)


def _outside(features: tuple[Feature, ...]) -> dict[str, OutsideValues]:
    assert _build is not None, "the worker loads the bars when it starts"
    return _build.outside(features)


def _own_values(block: Block) -> Float32Array:
    assert _build is not None, "the worker loads the bars when it starts"
    return _build.own_values(block)
