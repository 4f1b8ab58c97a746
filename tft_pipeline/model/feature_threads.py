"""Threads over the features of a drift report. Not here: what is measured (`domain.drift`), processes (`processes`)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tft_pipeline.domain.drift import Each
from tft_pipeline.model.processes import n_workers


@contextmanager
def feature_threads(wanted: int | None = None) -> Iterator[Each]:
    """The argument `each` of `drift_report`: a `map` over as many threads as `n_workers(wanted)` says, each with one feature.

    Sorting and counting release the interpreter. Features do not meet, so that the report is the same for any number.

    Args:
        wanted: threads at most; the cores by default, fewer where memory is short or `TFT_WORKERS` says so.
    """
    with ThreadPoolExecutor(n_workers(wanted)) as pool:
        yield pool.map
