"""What a drift report holds: one row a feature and the verdict over them. Not here: how the figures come about (`drift`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tft_pipeline.domain.verdict import json_ready

Verdict = Literal["stable", "investigate", "retrain", "insufficient_data"]
SHOWN = "information"
"""In place of a verdict, in rows of records: a raw level, whose figures are shown and judged nowhere."""


def judged_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of a record without the raw levels."""
    return [row for row in rows if row.get("verdict") != SHOWN]


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """One row a feature.

    Attributes:
        psi: Population stability index of recent against reference, smoothed.
        psi_p_value: Of this feature alone, (1 + windows at least as far) / (1 + windows), or what whole windows make of it, see
            `drift`; None without a null.
        psi_p_value_family: Of this feature among all: windows in which some feature stands out as far, see `drift`.
        psi_null_median: Median PSI of the null windows.
        js_divergence_bits: Jensen-Shannon divergence, base 2, in [0, 1].
        js_divergence_nats: The same in natural units, in [0, ln 2].
        js_distance: Root of the divergence in bits, what scipy's `jensenshannon(base=2)` returns.
        ks: Two-sample Kolmogorov-Smirnov statistic of the values that are not missing; None where a side has none.
        ks_p_value: Of this feature alone, from the null windows; no formula for independent values. None without a null.
        wasserstein: Wasserstein-1 distance in standard deviations of the reference, so that units do not matter; None where a
            side has no value, the reference is constant, or a value is infinite.
        missing_reference: Share of missing values among the observed.
        missing_recent: Share of missing values among the observed.
        verdict: By size and family-wise significance.
        reason: The verdict in words; a large but insignificant change says so.
    """

    feature: str
    psi: float
    psi_p_value: float | None
    psi_p_value_family: float | None
    psi_null_median: float | None
    js_divergence_bits: float
    js_divergence_nats: float
    js_distance: float
    ks: float | None
    ks_p_value: float | None
    wasserstein: float | None
    missing_reference: float
    missing_recent: float
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """All features and the verdict over them, the most serious one.

    Attributes:
        n_reference: Bars.
        n_recent: Bars.
        window: Bars of a null window; equal to n_recent.
        n_null_windows: W, without those that hold too few observed values.
        family_p_value: Of the feature that stands out most, among the windows; None without a null.
    """

    verdict: Verdict
    reason: str
    features: tuple[FeatureDrift, ...]
    n_reference: int
    n_recent: int
    window: int
    n_null_windows: int
    family_p_value: float | None
    psi_threshold: float
    js_threshold: float
    alpha: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the features as a list of rows."""
        record: dict[str, Any] = json_ready(asdict(self))
        return record
