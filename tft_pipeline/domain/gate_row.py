"""One row of the gates: a number, its limit, and whether it blocks. Not here: which gates there are (`release_gates`)."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from tft_pipeline.domain.verdict import json_ready

GateVerdict = Literal["pass", "fail", "not_applicable"]
Rule = Literal[">=", ">", "<=", "==", "in"]
PASS, FAIL, NOT_APPLICABLE = get_args(GateVerdict)
Number = float | int | str | bool


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """One gate.

    Attributes:
        name: of the gate.
        value: what was found, in `unit`; None where nothing could be, and `value_reason` says why.
        rule: how the value must stand to the threshold; "in": it is one of several.
        threshold: the limit, in `unit`; None where the gate does not apply.
        verdict: pass, fail, or not_applicable, which blocks nothing.
        why: one sentence with the numbers.
        source: asset, and field of its record, that the value traces to.
        unit: of value and threshold, such as "ms" or "Sharpe ratio a year"; "" for words.
        value_reason: why there is no value; "" where there is one.
        figures: further numbers by name, those an interval or a sample size has.
        looser: the experiment file is laxer here than the defaults, by a limit or by not asking.
        default: the defaults it is laxer than, by key of the file; empty where it is not.
        override: why somebody deployed in spite of it; None where nobody did.
    """

    name: str
    value: Number | None
    threshold: Number | tuple[str, ...] | None
    verdict: GateVerdict
    why: str
    source: str
    rule: Rule = "=="
    unit: str = ""
    value_reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    looser: bool = False
    default: Mapping[str, Number] = field(default_factory=dict)
    override: str | None = None

    def __post_init__(self) -> None:
        if self.verdict not in get_args(GateVerdict):
            raise ValueError(
                f"gate {self.name}: verdict {self.verdict!r} is none of {', '.join(get_args(GateVerdict))}"
            )
        if isinstance(self.value, float) and not math.isfinite(self.value):
            if self.verdict == PASS:
                raise ValueError(f"gate {self.name}: a value of {self.value} cannot pass; say fail or not_applicable")
            object.__setattr__(self, "value_reason", self.value_reason or f"the record holds {self.value}")
            object.__setattr__(self, "value", None)

    @property
    def blocks(self) -> bool:
        """Whether it keeps a model from going live."""
        return bool(self.verdict == FAIL)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; every key is always there."""
        row: dict[str, Any] = json_ready({**asdict(self), "figures": dict(self.figures), "default": dict(self.default)})
        return row


def judged(
    name: str,
    value: float | None,
    rule: Literal[">=", ">", "<="],
    threshold: float,
    *,
    why: str,
    source: str,
    unit: str,
    missing: str = "",
    figures: Mapping[str, Any] | None = None,
) -> GateRow:
    """A row that compares a number with its limit; without a finite number it fails.

    Args:
        why: what the number is, in words with its sample; what it is held against is added.
        missing: why there is no number.
    """
    shown = {} if figures is None else figures
    if value is None or not math.isfinite(value):
        reason = missing or f"the record holds {'none' if value is None else value}"
        said = f"not known: {reason}"
        return GateRow(
            name=name,
            value=None,
            rule=rule,
            threshold=threshold,
            verdict=FAIL,
            why=said,
            source=source,
            unit=unit,
            value_reason=reason,
            figures=shown,
        )
    holds = {">=": value >= threshold, ">": value > threshold, "<=": value <= threshold}[rule]
    words = {">=": ("at least", "below"), ">": ("above", "not above"), "<=": ("at most", "above")}[rule]
    return GateRow(
        name=name,
        value=value,
        rule=rule,
        threshold=threshold,
        verdict=PASS if holds else FAIL,
        why=f"{why}: {value:.4g} is {words[0] if holds else words[1]} {threshold:.4g}",
        source=source,
        unit=unit,
        figures=shown,
    )


def not_applicable(name: str, why: str, *, source: str, figures: Mapping[str, Any] | None = None) -> GateRow:
    """A row of a gate that is not asked here; it blocks nothing and says why."""
    return GateRow(
        name=name,
        value=None,
        threshold=None,
        verdict=NOT_APPLICABLE,
        why=why,
        source=source,
        value_reason=why,
        figures={} if figures is None else figures,
    )
