"""What a caller gave instead of what is asked for, in a sentence. Types alone stop nobody who does not check them.

Not here: limits of values (`domain`), what is wrong inside a frame of bars (`domain.bars`, `live.refusals`).
"""

from collections.abc import Mapping
from numbers import Integral, Real

from tft_pipeline.domain.experiment import ConfigurationError


def refusal_of_frame(given: object) -> str | None:
    """Why something is no frame of bars; None where it is one."""
    import polars as pl

    if isinstance(given, pl.DataFrame):
        return None
    place = type(given).__module__.partition(".")[0]
    remedy = "polars.DataFrame(...) of its columns"
    if isinstance(given, pl.LazyFrame):
        remedy = "its .collect()"
    elif place == "pandas":
        remedy = "polars.from_pandas(it), with timestamps as a column"
    return f"bars are a {place}.{type(given).__name__}: expected a polars.DataFrame; give {remedy}"


def refuse_no_numbers(given: Mapping[str, object]) -> None:
    """Stop at arguments that are no numbers.

    Args:
        given: by name.
    Raises:
        ConfigurationError: text, None, a truth value, anything else that is no real number.
    """
    for name, value in given.items():
        if not isinstance(value, Real) or isinstance(value, bool):
            raise ConfigurationError(f"{name} is {value!r}: expected a number")


def refuse_no_whole_number(name: str, value: object, least: int, why: str) -> None:
    """Stop at an argument that is no whole number of at least `least`.

    Args:
        why: ends the sentence.
    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigurationError(f"{name} is {value!r}: expected a whole number of at least {least}")
    if int(value) < least:
        raise ConfigurationError(f"{name} {int(value)} < {least}: {why}")
