"""Why a bar is not decided on: one error a kind. Whoever catches one finds the state as it was before. Not here: the checks."""

from typing import ClassVar


class RefusedBarError(ValueError):
    """A bar the model must not decide on; the message names the value, the limit, the consequence and the remedy.

    Attributes:
        kind: its name for counters and logs, one a class.
    """

    kind: ClassVar[str] = "refused"


class MissingFeatureError(RefusedBarError):
    """A feature of the model, or a column that one is computed from, is not in the bar."""

    kind = "missing_feature"


class UnknownFeatureError(RefusedBarError):
    """A value the model has no input for."""

    kind = "unknown_feature"


class OtherFormulaError(RefusedBarError):
    """A feature whose formula here is not the one the model was trained with."""

    kind = "other_formula"


class NotFiniteError(RefusedBarError):
    """An infinite value; NaN is a missing one and legal."""

    kind = "non_finite"


class UnknownSymbolError(RefusedBarError):
    """A symbol the model does not trade."""

    kind = "unknown_symbol"


class StaleBarError(RefusedBarError):
    """A bar older than the newest one."""

    kind = "stale_bar"


class FutureBarError(RefusedBarError):
    """A bar that closes later than our clock says."""

    kind = "future_bar"


class DuplicateBarError(RefusedBarError):
    """The newest bar once more."""

    kind = "duplicate_bar"


class WrongFrequencyError(RefusedBarError):
    """A bar whose distance to the last one no bar of this interval has."""

    kind = "wrong_frequency"


class NaiveTimeError(RefusedBarError):
    """A time without a time zone."""

    kind = "naive_time"


class WrongShapeError(RefusedBarError):
    """Values that are not one row of numbers a symbol, or not a window of the model's length."""

    kind = "wrong_shape"


class UnusableBarsError(RefusedBarError):
    """Raw bars that the pipeline itself would not have taken."""

    kind = "unusable_bars"


class NoForecastError(RefusedBarError):
    """The network answered something that is no position: its weights or its inputs are not what they were."""

    kind = "no_forecast"


class OtherStateError(RefusedBarError):
    """A state that belongs to another model, or a stored one that is damaged."""

    kind = "other_state"


KINDS: tuple[type[RefusedBarError], ...] = tuple(RefusedBarError.__subclasses__())
"""Every kind of refusal."""
