"""The table a sceptic reads: what was done to make the pipeline betray knowledge of the future, and whether it did.

Not here: the guards (`pipeline.guards`) and what they look at (`pipeline.evidence`).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from tft_pipeline.domain.bars import BarsError, normalise_bars
from tft_pipeline.domain.findings import LeakageAudit
from tft_pipeline.domain.leakage_minutes import rows_inside
from tft_pipeline.domain.reports import (
    ExplorationFold,
    FeatureCatalogue,
    FoldPlanReport,
    PrefilteredFeatures,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.domain.tables import normalise_table, rows_by_symbol
from tft_pipeline.pipeline.assets.evaluation import all_production_folds
from tft_pipeline.pipeline.assets.snapshot import MINUTES
from tft_pipeline.pipeline.automation import on_all_folds
from tft_pipeline.pipeline.evidence import Evidence
from tft_pipeline.pipeline.figures import BLUE, GREY, PALE, VERMILION
from tft_pipeline.pipeline.gates import undeclared_leaks
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.guards import audit
from tft_pipeline.pipeline.judgement_metadata import check_metadata
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.partitions import planned_folds
from tft_pipeline.pipeline.plots import picture
from tft_pipeline.storage.fold_bundles import FoldBundle
from tft_pipeline.storage.snapshots import Snapshot
from tft_pipeline.storage.sources import read_source, scan_source, source_sha256

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHECK = "no_guard_found_a_leak"
WORDS = {
    "held": ("held", BLUE),
    "leak": ("LEAK", VERMILION),
    "not_used": ("not used", PALE),
    "not_verifiable": ("not verifiable", GREY),
}
SECTIONS = ("data", "features", "target", "periods", "exploration", "pruning", "tuning.folds")


def audit_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`leakage_audit` and the check that blocks what follows it."""
    experiment = graph.experiment

    @dg.asset(
        key=graph.key("leakage_audit"),
        ins={
            "snapshot": dg.AssetIn(graph.key("snapshot")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
            "features": dg.AssetIn(graph.key("features")),
            "targets": dg.AssetIn(graph.key("targets")),
            "prefiltered": dg.AssetIn(graph.key("prefiltered_features")),
            "exploration_plan": dg.AssetIn(graph.key("exploration_plan")),
            "exploration_folds": dg.AssetIn(
                graph.key("exploration_fold"),
                partition_mapping=dg.AllPartitionMapping(),
                metadata={"all_folds": True},
            ),
            "selected": dg.AssetIn(graph.key("selected_features")),
            "tuned": dg.AssetIn(graph.key("tuned_hyperparameters")),
            "production_plan": dg.AssetIn(graph.key("production_plan")),
            "production_folds": all_production_folds(graph),
        },
        io_manager_key="reports",
        code_version=graph.code_version("3", *SECTIONS),
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "leakage_audit", slots=1)
    def leakage_audit(
        snapshot: Snapshot,
        catalogue: FeatureCatalogue,
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        prefiltered: PrefilteredFeatures,
        exploration_plan: FoldPlanReport,
        exploration_folds: dict[str, ExplorationFold],
        selected: SelectedFeatures,
        tuned: TunedHyperparameters,
        production_plan: FoldPlanReport,
        production_folds: dict[str, FoldBundle],
    ) -> dg.Output[LeakageAudit]:
        """Attempts to make the pipeline use what it could not have known, on the stored bars and folds. Look at what each guard
        tried; a leak stops card, report and release. One row a guard."""
        record = audit(
            Evidence(
                experiment=experiment,
                bars=snapshot.bars,
                catalogue=catalogue,
                features=features,
                targets=targets,
                prefiltered=prefiltered,
                exploration_plan=exploration_plan,
                exploration_folds=exploration_folds,
                selected=selected,
                tuned=tuned,
                production_plan=production_plan,
                production_folds=planned_folds(production_plan, production_folds),
                source=published_rows(graph, snapshot),
                minutes=minute_rows(graph, snapshot),
            )
        )
        record = record.model_copy(update={"plan_sha256": production_plan.content_sha256()})
        return content_output(
            record,
            {
                "passed": record.passed,
                **counted(record.rows),
                "guards": table([_shown(row) for row in record.rows]),
                "picture": guard_picture(record.rows),
            },
        )

    @dg.asset_check(asset=graph.key("leakage_audit"), blocking=True, name=CHECK)
    def no_guard_found_a_leak(leakage_audit: LeakageAudit) -> dg.AssetCheckResult:
        """Every guard that could be tried held."""
        leaks = [row for row in leakage_audit.rows if row["state"] == "leak"]
        found = "; ".join(f"{row['guard']}: {row['detail']}" for row in leaks)
        # a declared overlap is no accident: its result may be shown, as contaminated, and is never GO. A check that fails would
        # hold back what follows for ever, whatever its severity
        undeclared = undeclared_leaks(leakage_audit, overlap_declared=experiment.periods.overlap == "allowed")
        declared = bool(leaks) and not undeclared
        untried = {
            state: ", ".join(str(row["guard"]) for row in leakage_audit.rows if row["state"] == state) or "none"
            for state in ("not_used", "not_verifiable")
        }
        return dg.AssetCheckResult(
            passed=leakage_audit.passed or declared,
            severity=dg.AssetCheckSeverity.WARN if declared else dg.AssetCheckSeverity.ERROR,
            description=found or f"no guard found a leak: {states_in_words(leakage_audit.rows)}",
            metadata={
                **check_metadata(
                    len(leaks), 0, unit="guards that found a leak", finding=found or "no guard found a leak"
                ),
                **untried,
            },
        )

    return [leakage_audit, no_guard_found_a_leak]


def published_rows(graph: ExperimentGraph, snapshot: Snapshot) -> Callable[[], pl.DataFrame] | None:
    """Reads the rows that a snapshot was made of, of bars and tables, one a publication; None where a source holds others."""
    data, file = graph.experiment.data, graph.file
    symbols = sorted(snapshot.bars["symbol"].unique())
    taken = [snapshot.manifest["source"], *snapshot.manifest.get("tables", ())]
    try:
        now = [source_sha256(file.source), *(source_sha256(path) for path in file.tables)]
    except BarsError:  # moved or deleted since: the guard says that it could not be tried
        return None
    if now != [record["sha256"] for record in taken]:
        return None

    def read() -> pl.DataFrame:
        bars = normalise_bars(
            read_source(file.source),
            timezone=data.timezone,
            symbols=None if data.symbols is None else symbols,
            start=data.start,
            end=data.end,
            min_bars=data.min_bars,
            opened_before=data.opened_before,
        )
        tables = (
            normalise_table(read_source(path), prefix=section.prefix, timezone=data.timezone)
            for section, path in zip(data.tables, file.tables, strict=True)
        )
        return pl.concat([bars, *(rows_by_symbol(table, symbols) for table in tables)], how="diagonal")

    return read


def minute_rows(graph: ExperimentGraph, snapshot: Snapshot) -> Callable[[pl.DataFrame], pl.DataFrame] | None:
    """Reads the minutes inside some bars; None where the minute source is not the one that the snapshot was made of."""
    path, taken = graph.file.minute_source, snapshot.manifest.get("minute_source")
    if path is None or taken is None:
        return None
    try:
        if source_sha256(path, key=MINUTES) != taken["sha256"]:
            return None
    except BarsError:  # moved or deleted since: the guard says that it could not be tried
        return None
    data = graph.experiment.data
    return lambda bars: rows_inside(
        scan_source(path, key=MINUTES), bars, data.timezone, opened_before=data.minutes_opened_before
    )


def counted(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Guards by state."""
    return {state: sum(row["state"] == state for row in rows) for state in WORDS}


def states_in_words(rows: Sequence[dict[str, Any]]) -> str:
    """How many guards are in each state that there is: "8 held, 2 not used"."""
    return ", ".join(f"{count} {WORDS[state][0]}" for state, count in counted(rows).items() if count)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in row.items() if key != "passed"}, "state": WORDS[row["state"]][0]}


def guard_picture(rows: Sequence[dict[str, Any]]) -> dg.MarkdownMetadataValue:
    """One line a guard: its name, and in the colour of its bar whether it held."""

    def draw(axes: "Axes") -> None:
        for place, row in enumerate(rows):
            word, colour = WORDS[row["state"]]
            axes.barh(place, 1.0, color=colour, height=0.7)
            tried = row["state"] in ("held", "leak")
            axes.text(0.01, place, word, va="center", fontsize=8, color="white" if tried else "black")
        axes.set_yticks(range(len(rows)), [str(row["guard"]) for row in rows], fontsize=8)
        axes.set_xticks([])
        axes.invert_yaxis()

    return picture(draw, title=f"leakage guards: {states_in_words(rows)}", height=1.0 + 0.28 * len(rows))
