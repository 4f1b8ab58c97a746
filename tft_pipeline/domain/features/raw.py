"""`close` and `volume` as they came. Levels drift, so only their names bring them in; no group does."""

from functools import partial

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array


def raw_column(history: History, *, name: str) -> Array:
    """The raw column itself."""
    return history.column(name)


RAW = tuple(
    Feature(
        name=name,
        formula=f"{name} as it came",
        lookback=1,
        inputs=(name,),
        units=units,
        source=PerSymbol(partial(raw_column, name=name)),
        on_request=True,
    )
    for name, units in (("close", "price"), ("volume", "units traded"))
)
LEVELS = frozenset(feature.name for feature in RAW)
"""Levels wander: that the newest bars lie elsewhere than those before is how they are, and no drift."""
