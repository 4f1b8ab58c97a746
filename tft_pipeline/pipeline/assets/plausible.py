"""The check on the snapshot that doubts bars which could be used: it warns and stops nothing."""

import dagster as dg

from tft_pipeline.domain.plausibility import Finding, listed
from tft_pipeline.domain.plausible_bars import implausible_bars
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.judgement_metadata import check_metadata
from tft_pipeline.pipeline.outputs import table
from tft_pipeline.pipeline.runs import DOUBTS
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.snapshots import Snapshot

MOST_TOLD = 5
"""Sentences that a run prints; the table has more."""


def plausible_bars(graph: ExperimentGraph) -> dg.AssetChecksDefinition:
    """`bars_look_plausible` of one experiment's snapshot."""
    data = graph.experiment.data

    @dg.asset_check(asset=graph.key("snapshot"), name="bars_look_plausible")
    def bars_look_plausible(snapshot: Snapshot) -> dg.AssetCheckResult:
        """No jump like a split, no lone tick, no prices that stand still, no missing bars, no two names that differ in case.

        It warns and stops nothing: which of these are true, only a person can say. The rules stand in docs/tutorial.md.
        """
        found = implausible_bars(snapshot.bars, data.interval, timezone=data.timezone, now=utc_now())
        shown = listed(found)
        told = [one.sentence for one in shown[:MOST_TOLD]]
        if len(shown) > MOST_TOLD:
            told.append(f"and {len(shown) - MOST_TOLD} more findings: see the check bars_look_plausible of snapshot")
        said = "nothing in the bars looks wrong" if not found else f"{len(found)} findings: {told[0]}"
        return dg.AssetCheckResult(
            passed=not found,
            severity=dg.AssetCheckSeverity.WARN,
            description=said,
            metadata={
                **check_metadata(len(found), 0, unit="findings", finding=said),
                DOUBTS: dg.MetadataValue.json(told),
                "findings": table([_row(one) for one in shown]),
            },
        )

    return bars_look_plausible


def _row(one: Finding) -> dict[str, object]:
    at = None if one.at is None else one.at.isoformat()
    return {"kind": one.kind, "symbol": one.symbol, "first at": at, "bars": one.bars, "finding": one.sentence}
