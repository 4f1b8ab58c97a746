"""What ran, read from the event log, and folds that come out otherwise. Not here: fixtures (`conftest`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from tft_pipeline.pipeline.assets import production
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline_tests.conftest import DOWNSTREAM, Workbench

FOLD = "f2021-03-12"
"""A fold of the small experiment that is not its newest, whose model is not the one released."""
LOOKED_AT = ("snapshot", None)
"""Always run: only reading tells whether the outside changed."""
Counts = dict[tuple[str, str | None], int]


def ran_since(bench: Workbench, before: Counts) -> set[tuple[str, str | None]]:
    """Assets and folds that the event log has more materialisations of than before; specs are published, not run."""
    return {
        name
        for name, count in bench.materialisations().items()
        if count != before.get(name, 0) and not name[0].endswith("_spec")
    }


def aggregates() -> set[tuple[str, str | None]]:
    """What a production fold leads to, as the event log names it."""
    return {(name, None) for name in DOWNSTREAM}


@contextmanager
def another_fit() -> Iterator[None]:
    """Production folds computed here have the same spec and other positions."""
    fit = production._fit

    def other(*arguments: Any) -> Any:
        bundle, weights = fit(*arguments)
        return replace(bundle, predictions=bundle.predictions.with_columns(pl.col("raw_position") * 0.9)), weights

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(production, "_fit", other)
        yield


def materialise_alone(bench: Workbench, asset: str, partition: str | None = None) -> dict[str, Any]:
    """`tft materialize` of one asset or fold, without what follows it."""
    return materialise_asset(bench.file, asset, partition=partition, downstream=False, report=bench.lines.append)
