"""Limits of an experiment file that are laxer than the defaults: which may be, and what is said where they are.

The right value of these depends on the machine, the data or the user's plan, so that no bound fits all; what they let pass is
named in the gate's row and on the card. Every other limit is bounded by its section. Limits that a record was judged by are
taken from the record. Not here: the gates themselves (`performance_gates`, `release_gates`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark
from tft_pipeline.domain.gate_names import CHALLENGER
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.domain.gates_section import GatesSection
from tft_pipeline.domain.phases import DriftSection, LatencySection

LATENCY, DRIFT = "latency_p95", "drift"
"""Gates whose limits these are, beside the comparison with the live model."""


@dataclass(frozen=True, kw_only=True)
class LooserLimit:
    """One of them: gate, key of the experiment file, its value and the default."""

    gate: str
    key: str
    value: float | str
    default: float | str
    unit: str = ""

    def words(self) -> str:
        """Such as `latency.max_p95_ms 1000 ms is looser than the default 40 ms`."""
        value, default = (one if isinstance(one, str) else f"{one:g}{self.unit}" for one in (self.value, self.default))
        return f"{self.key} {value} is looser than the default {default}"


def looser_limits(*, latency: LatencyBenchmark, drift: DriftRecord, gates: GatesSection) -> tuple[LooserLimit, ...]:
    """All of this run; empty where it is nowhere laxer than the defaults."""
    judged_by = drift.detail
    numbers = (
        (LATENCY, "latency.max_p95_ms", latency.max_p95_ms, _default(LatencySection, "max_p95_ms"), 1, " ms"),
        (DRIFT, "drift.psi_threshold", judged_by.get("psi_threshold"), _default(DriftSection, "psi_threshold"), 1, ""),
        (DRIFT, "drift.js_threshold", judged_by.get("js_threshold"), _default(DriftSection, "js_threshold"), 1, ""),
        (DRIFT, "drift.alpha", judged_by.get("alpha"), _default(DriftSection, "alpha"), -1, ""),
    )
    found = [
        LooserLimit(gate=gate, key=key, value=value, default=default, unit=unit)
        for gate, key, value, default, sign, unit in numbers
        if value is not None and sign * value > sign * default
    ]
    if gates.challenger == "off":
        default = _default(GatesSection, "challenger")
        found.append(LooserLimit(gate=CHALLENGER, key="gates.challenger", value=gates.challenger, default=default))
    return tuple(found)


def told_looser(rows: Sequence[GateRow], limits: Sequence[LooserLimit]) -> tuple[GateRow, ...]:
    """The rows, of which those of a laxer limit say so."""
    own: Mapping[str, list[LooserLimit]] = {row.name: [one for one in limits if one.gate == row.name] for row in rows}
    return tuple(
        replace(
            row,
            why="; ".join([row.why, *(one.words() for one in own[row.name])]),
            looser=True,
            default={one.key: one.default for one in own[row.name]},
        )
        if own[row.name]
        else row
        for row in rows
    )


def _default(section: type[DriftSection] | type[GatesSection] | type[LatencySection], key: str) -> Any:
    return section.model_fields[key].default
