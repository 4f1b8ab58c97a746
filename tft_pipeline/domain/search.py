"""One searched knob of the tuning space: a set of choices or a range. Not here: the search itself (`model.tuning`)."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Value = bool | int | float | str


class Knob(BaseModel):
    """Either `choices`, or `low` and `high` (whole numbers stay whole), optionally on a logarithmic scale."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    choices: Annotated[tuple[Value, ...], Field(strict=False, min_length=2)] | None = Field(
        default=None, description="the values that are tried; then there is no low, high or log"
    )
    low: int | float | None = Field(default=None, description="lower end of a range; two whole numbers keep it whole")
    high: int | float | None = Field(default=None, description="upper end of a range, included")
    log: bool = Field(default=False, description="draw evenly on a logarithmic scale; low must be above 0")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give either choices, or both low and high")
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices stand alone: remove low, high and log")
            twice = [one for k, one in enumerate(self.choices) if one in self.choices[:k]]
            if twice:
                raise ValueError(
                    f"choices hold {twice[0]!r} twice (equal numbers are one value): trials would repeat each other; drop one"
                )
            return self
        assert self.low is not None
        assert self.high is not None
        if self.low >= self.high:
            raise ValueError(f"low {self.low} >= high {self.high}: nothing to search")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low} <= 0 has no logarithm; raise low or drop log")
        return self

    @property
    def is_integer(self) -> bool:
        """True for a range whose two ends are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def limits(self) -> tuple[Value, ...]:
        """Every choice, or the two ends of the range: when these are allowed, so is all between."""
        if self.choices is not None:
            return self.choices
        assert self.low is not None
        assert self.high is not None
        return (self.low, self.high) if self.is_integer else (float(self.low), float(self.high))
