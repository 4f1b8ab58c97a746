"""Has what the newest model sees, says or earns changed: once a run of the graph, and once a night.

Here: the two assets. Not here: what is compared (`pipeline.drift_bars`, `pipeline.drift_evaluation`), which nights are asked
for (`pipeline.drift_watch`).
"""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import ValidationError

from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.domain.nights import fold_for
from tft_pipeline.domain.reports import FeatureCatalogue, FoldPlanReport
from tft_pipeline.pipeline.assets.evaluation import all_production_folds, portfolio_looked_at
from tft_pipeline.pipeline.automation import on_all_folds
from tft_pipeline.pipeline.drift_bars import NothingToCompareError, recent_bars
from tft_pipeline.pipeline.drift_evaluation import evaluate_drift
from tft_pipeline.pipeline.drift_facts import NIGHT, bars_are_dated, first_test_day, judged_days, night_record
from tft_pipeline.pipeline.drift_plots import drift_pictures
from tft_pipeline.pipeline.drift_said import SCORED
from tft_pipeline.pipeline.drift_watch import refuse_a_second_run
from tft_pipeline.pipeline.gate_plots import nights_picture
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import EVERY_FREE_SLOT, guarded
from tft_pipeline.pipeline.markdown import listing
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.pipeline.partitions import planned_folds
from tft_pipeline.pipeline.plots import bar_picture
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError, read_artifact
from tft_pipeline.storage.drift_reports import drift_folder, report_name, report_of, write_report
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.fold_bundles import FoldBundle

MOST_BARS, SHOWN_NIGHTS = 20, 30


def drift_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`drift_report` and `drift_night`."""
    read = {
        "plan": dg.AssetIn(graph.key("production_plan")),
        "folds": all_production_folds(graph),
        "features": dg.AssetIn(graph.key("features")),
        "targets": dg.AssetIn(graph.key("targets")),
        "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
    }

    @dg.asset(
        key=graph.key("drift_report"),
        ins=read,
        io_manager_key="reports",
        code_version=graph.code_version("4", *(f"drift.{name}" for name in JUDGED_BY)),
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "drift_report", slots=EVERY_FREE_SLOT)
    def drift_report(
        context: dg.AssetExecutionContext,
        plan: FoldPlanReport,
        folds: dict[str, FoldBundle],
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        catalogue: FeatureCatalogue,
    ) -> dg.Output[DriftRecord]:
        """The newest bars against those the newest fold's model learned from: inputs, outputs, errors. Look at the verdict and
        at the features that moved; one row a feature."""
        record = _evaluated(graph, plan, folds, features, targets, catalogue, until=None)
        return _told(graph, context, record, night=None)

    @dg.asset(
        key=graph.key(NIGHT),
        ins=read,
        partitions_def=dg.DailyPartitionsDefinition(
            start_date=graph.experiment.periods.production_start.isoformat(), timezone="UTC"
        ),
        io_manager_key="reports",
        # a night stays as it was judged: no change of settings or code makes an old one outdated
        code_version="1",
    )
    @guarded(graph, NIGHT, slots=EVERY_FREE_SLOT)
    def drift_night(
        context: dg.AssetExecutionContext,
        plan: FoldPlanReport,
        folds: dict[str, FoldBundle],
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        catalogue: FeatureCatalogue,
    ) -> dg.Output[DriftRecord]:
        """Drift as of the end of one UTC day: bars after it, and models tested from a later day on, have no part. The sensor
        asks for each day once; several days that say retrain lead to a retrain. One row a feature."""
        refuse_a_second_run(graph, context)
        day = date.fromisoformat(context.partition_key)
        record = _evaluated(graph, plan, folds, features, targets, catalogue, until=day)
        return _told(graph, context, record, night=day)

    return [drift_report, drift_night]


JUDGED_BY = ("recent_bars", "n_bins", "psi_threshold", "js_threshold", "alpha", "min_null_windows")
"""Keys of `drift` that change a record; the others say what follows from it."""


def _evaluated(
    graph: ExperimentGraph,
    plan: FoldPlanReport,
    folds: dict[str, FoldBundle],
    features: pl.LazyFrame,
    targets: pl.DataFrame,
    catalogue: FeatureCatalogue,
    *,
    until: date | None,
) -> DriftRecord:
    settings, used = graph.experiment.drift, planned_folds(plan, folds)
    tests = [first_test_day(graph, spec) for spec in plan.specs]
    place = len(tests) - 1 if until is None else fold_for(until, tests)
    if place is None:
        raise dg.Failure(
            f"drift: {until} is before the first test ({tests[0]}): every model was made with later bars, so none can judge it",
            allow_retries=False,
        )
    spec = plan.specs[place]
    bundle = used[spec.key]
    portfolio_looked_at(graph, plan, used)  # what the newest bars earned beside all others is such a look too
    panel = panel_of(features, targets, catalogue, bundle.fitted.scaler.names)
    snapshot = read_artifact(graph.layout.artifact(graph.name, "snapshot"))
    try:
        bars = recent_bars(panel, spec, settings.recent_bars, until=until, dated=bars_are_dated(graph))
        scored = pl.concat([fold.predictions.select(SCORED) for fold in used.values()])
        return evaluate_drift(panel, bundle, scored, settings, bars, snapshot_id=snapshot.version)
    except NothingToCompareError as error:
        raise dg.Failure(f"drift: {error}", allow_retries=False) from error


def _told(
    graph: ExperimentGraph, context: dg.AssetExecutionContext, record: DriftRecord, *, night: date | None
) -> dg.Output[DriftRecord]:
    """The record as an output, and as a report."""
    path = write_reported(graph, record, night=night, log=context.log)
    context.log.info(f"drift {record.verdict}: {'; '.join(record.reasons)}")
    shown = {str(row["feature"]): float(row["psi"] or 0.0) for row in record.rows}
    largest = dict(sorted(shown.items(), key=lambda item: -item[1])[:MOST_BARS])
    metadata: dict[str, Any] = {
        "verdict": record.verdict,
        "reasons": listing(record.reasons),
        "recent": dg.MetadataValue.json(record.recent),
        "reference": dg.MetadataValue.json(record.reference),
        "n_recent": record.n_recent,
        "features": table([{k: v for k, v in row.items() if k != "reason"} for row in record.rows]),
        "report": dg.MetadataValue.path(str(path)),
        "picture": bar_picture(
            largest,
            title=f"PSI by feature, the largest {len(largest)} of {len(shown)}: the last {record.n_recent} bars",
            label="PSI",
            line=graph.experiment.drift.psi_threshold,
        ),
        **drift_pictures(record),
        **_earlier_nights(graph, context, night, record),
    }
    return content_output(record, metadata)


def _earlier_nights(
    graph: ExperimentGraph, context: dg.AssetExecutionContext, night: date | None, record: DriftRecord
) -> dict[str, Any]:
    """A night beside those before it; nothing for a whole run's record, which is of no night."""
    if night is None:
        return {}
    days = [day for day in judged_days(graph.layout, graph.name) if day < night][-SHOWN_NIGHTS:]
    rows = []
    for day in days:
        try:
            rows.append(_night_row(day, night_record(graph.layout, graph.name, day)))
        except (ArtifactMissingError, IntegrityError, ValidationError) as error:
            context.log.warning(f"drift_night of {day} is left out of the picture of nights: {error}")
    rows.append(_night_row(night, record))
    return {
        "nights": table([row | {"day": str(row["day"])} for row in rows]),
        "psi_by_night": nights_picture(rows, limit=graph.experiment.drift.psi_threshold),
    }


def _night_row(day: date, record: DriftRecord) -> dict[str, Any]:
    known = [float(row["psi"]) for row in record.rows if row["psi"] is not None]
    return {"day": day, "verdict": record.verdict, "psi": max(known, default=None), "fold": record.fold}


def write_reported(
    graph: ExperimentGraph, record: DriftRecord, *, night: date | None, log: dg.DagsterLogManager
) -> Path:
    """A report in the experiment's folder; there a night's stays before a whole run's, whichever machine judged it, but for
    one that cannot be read: the watch has it judged again.

    Args:
        night: the day that the record judges; None: it is a whole run's.
    """
    now = utc_now()
    name = report_name(record, otherwise=now.date(), dated=bars_are_dated(graph))
    path = drift_folder(graph.layout, graph.name) / name
    day = date.fromisoformat(path.stem.removeprefix("drift_"))
    if night is None and day in judged_days(graph.layout, graph.name):
        if path.is_file():
            log.info(f"{path} is the report of drift_night of {day} and stays")
            return path
        try:
            record = night_record(graph.layout, graph.name, day)
        except (ArtifactMissingError, IntegrityError, ValidationError) as error:
            log.warning(f"{path} holds what this run found, for drift_night of {day} cannot be read: {error}")
    return write_report(path, report_of(record, experiment=graph.name, created_at=now))
