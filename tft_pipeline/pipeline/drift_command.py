"""The backend of `tft drift`: any two files, or the newest days of a frozen snapshot against what a model was trained on.

Not here: the statistics, and the bars of a graph's own assets (`pipeline.assets.drift`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from tft_pipeline.domain.drift_records import SHOWN, judged_rows
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.phases import DriftSection
from tft_pipeline.domain.planning import SliceChangedError, slice_for
from tft_pipeline.domain.reports import FeatureCatalogue, FoldPlanReport, FoldSpec
from tft_pipeline.pipeline.assets.features import computed_features, computed_targets
from tft_pipeline.pipeline.drift_bars import NothingToCompareError, recent_since
from tft_pipeline.pipeline.drift_evaluation import evaluate_drift, inputs_record
from tft_pipeline.pipeline.drift_facts import bars_are_dated
from tft_pipeline.pipeline.drift_files import common_numbers, grid_of, in_short, numbers_of
from tft_pipeline.pipeline.drift_plots import pictures_beside, write_pictures
from tft_pipeline.pipeline.drift_said import SCORED
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.named import graph_named
from tft_pipeline.pipeline.panels import KEYS
from tft_pipeline.pipeline.progress import Watch, naming
from tft_pipeline.storage.artifacts import Artifact, ArtifactMissingError, IntegrityError, read_artifact
from tft_pipeline.storage.atomic import same_file
from tft_pipeline.storage.drift_reports import report_name, report_of, reports_folder, write_report
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.fold_bundles import FoldBundle, read_fold_bundle
from tft_pipeline.storage.frozen import frozen_snapshot
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.sources import source_files

MOST_NAMED = 5
PASSED = ("stable", "investigate")
"""Verdicts on which a job may go on: `investigate` asks a person to look, it does not ask for anything to be stopped."""


def compare_files(
    reference: Path, recent: Path, *, output: Path | None, psi_threshold: float, js_threshold: float
) -> dict[str, Any]:
    """Compare the numbers of two Parquet or CSV files (or folders of them), column by column and together.

    A row is a bar; with `symbol`, the rows of one `timestamp` are. Rows are ordered by `timestamp` where there is one, else
    taken in their order: significance comes from windows of the reference, so the order must be that of time.

    Raises:
        ConfigurationError: a file that cannot be read, is empty or has other numeric columns than the other, a text or time
            column is left out by name; a bar that occurs twice; thresholds that are not positive.
    """
    settings = _settings(DriftSection(), psi_threshold, js_threshold)
    sides = {"--reference": numbers_of(reference, "--reference"), "--recent": numbers_of(recent, "--recent")}
    _refuse_output(output, [*source_files(reference), *source_files(recent)])
    names, left_out = common_numbers(sides)
    grids = {option: grid_of(frame, names, option) for option, frame in sides.items()}
    (before, first_stamps, symbols), (after, second_stamps, others) = grids["--reference"], grids["--recent"]
    if symbols != others:
        raise ConfigurationError(
            f"--reference has the symbols {in_short(symbols)}, --recent {in_short(others)}: a bar would mean another thing in "
            "each; keep the symbols that both have"
        )
    stamps = None if first_stamps is None or second_stamps is None else [*first_stamps, *second_stamps]
    try:
        record = inputs_record(names, before, after, settings, stamps=stamps)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    notes = []
    if first_stamps and second_stamps and second_stamps[-1] < first_stamps[0]:
        notes.append(
            f"recent is older than reference: it ends {second_stamps[-1]}, before reference begins {first_stamps[0]}; if the "
            "two are exchanged, exchange --reference and --recent"
        )
    elif first_stamps and second_stamps and second_stamps[0] <= first_stamps[-1]:
        notes.append(
            f"the files overlap: recent begins {second_stamps[0]}, reference ends {first_stamps[-1]}; bars in both hide "
            "a change"
        )
    # a file does not say how long its bars are: all at midnight, they are dates
    dated = all(datetime.fromisoformat(stamp).time() == time() for stamp in second_stamps or ())
    return _answer(record, default_layout(), output, experiment=None, dated=dated, left_out=left_out, notes=notes)


def compare_snapshot(
    experiment: str,
    snapshot: str,
    *,
    recent_days: int,
    output: Path | None,
    psi_threshold: float,
    js_threshold: float,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Compare the last days of a frozen snapshot with what the newest fold of an experiment learned from.

    Features are built by the code of the asset, from the snapshot's bars alone, and scaled with the fold's scaler; reference
    are the fold's training bars in the same snapshot, whose content must be that of the fold's plan.

    Args:
        experiment: experiment file, or the name of one that was run.
        snapshot: id or folder of a frozen snapshot.
        recent_days: days up to its newest bar.
        watch: told what is done next.
    Raises:
        ConfigurationError: no such experiment or snapshot, no production fold yet, bars of another interval, bars from which
            the model's features cannot be built, or a snapshot without a symbol that the model was trained on, with other bars
            of the fold than it was made from, or without later ones.
    """
    graph = graph_named(experiment)
    folder, frozen = frozen_snapshot(snapshot, graph.layout)
    _refuse_output(output, [*folder.iterdir(), graph.file.path])
    data = graph.experiment.data
    if frozen.manifest["interval"] != data.interval:
        raise ConfigurationError(
            f"snapshot {frozen.snapshot_id} holds bars of {frozen.manifest['interval']}, experiment {graph.name} was made for "
            f"{data.interval}: its features would mean something else; name a snapshot of {data.interval}"
        )
    settings = _settings(graph.experiment.drift, psi_threshold, js_threshold)
    spec, bundle, scored = _newest(graph)
    bars = frozen.bars
    if data.symbols is not None:
        bars = bars.filter(pl.col("symbol").is_in([*data.symbols, *data.untraded]))
    report = naming(watch)
    report(f"building features of {bars.height:,} bars of snapshot {frozen.snapshot_id}")
    try:
        panel = _panel(graph, spec, bundle, bars)
        _refuse_other_bars(spec, panel, bundle)
        since = panel.calendar[-1] - timedelta(days=recent_days)
        start = sum(stamp <= since for stamp in panel.calendar)
        compared = recent_since(panel, spec, start)
        report(f"comparing the last {recent_days} days with the training bars of fold {spec.key}")
        record = evaluate_drift(panel, bundle, scored, settings, compared, snapshot_id=frozen.snapshot_id)
    except SliceChangedError as error:
        raise ConfigurationError(
            f"snapshot {frozen.snapshot_id} does not hold what the model of fold {spec.key} was made from, bars "
            f"{spec.first} to {spec.last} and those their features and labels need ({str(error).split('; ')[0]}): it would be "
            "compared with bars it never saw; freeze the bars it was trained on and later ones, or train on this snapshot"
        ) from error
    except NothingToCompareError as error:
        raise ConfigurationError(f"snapshot {frozen.snapshot_id}: {error}") from error
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise ConfigurationError(
            f"the features of fold {spec.key} cannot be built from snapshot {frozen.snapshot_id}: {error}"
        ) from error
    notes = []
    if compared.recent.start > start:
        notes.append(
            f"the last {recent_days} days begin {since.isoformat()}, the model learned up to {spec.dates['train']['last']}: "
            f"only the {record.n_recent} bars after that are recent"
        )
    dated = bars_are_dated(graph)
    return _answer(record, graph.layout, output, experiment=graph.name, dated=dated, left_out={}, notes=notes)


def _refuse_output(output: Path | None, read: Iterable[Path]) -> None:
    if output is None:
        return
    inputs = list(read)
    for made in (output, pictures_beside(output)):
        if found := same_file(made, inputs):
            raise ConfigurationError(f"--output {output} would replace {found}, which is read: name another place")
    if output.suffix == pictures_beside(output).suffix:
        raise ConfigurationError(f"--output {output} is the place of the page of pictures: name a .json")


def _settings(section: DriftSection, psi_threshold: float, js_threshold: float) -> DriftSection:
    changed = {"psi_threshold": psi_threshold, "js_threshold": js_threshold}
    try:
        return DriftSection.model_validate(section.model_dump() | changed)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        option = "--" + str(found["loc"][0] if found["loc"] else "psi_threshold").replace("_", "-")
        raise ConfigurationError(
            f"{option} is {found['input']!r}: {found['msg']}; the guide's are 0.25 and 0.3"
        ) from None


def _newest(graph: ExperimentGraph) -> tuple[FoldSpec, FoldBundle, pl.DataFrame]:
    """The newest fold's spec and model, and the out-of-sample predictions of every fold."""
    again = f"run `tft run {graph.file.path} --resume` first"
    try:
        plan = FoldPlanReport.model_validate_json(_stored(graph, "production_plan").path(REPORT_FILE).read_text())
        folds = [_stored(graph, "production_fold", spec.key) for spec in plan.specs]
        bundle = read_fold_bundle(folds[-1])
        scored = pl.concat([pl.read_parquet(fold.path("predictions.parquet"), columns=list(SCORED)) for fold in folds])
    except ArtifactMissingError as error:
        raise ConfigurationError(
            f"experiment {graph.name} has no production fold yet, or not all of them, so there is no model to judge; {again}"
        ) from error
    except IntegrityError as error:
        raise ConfigurationError(f"a fold of {graph.name} is damaged: {error}; {again}") from error
    spec = plan.specs[-1]
    if bundle.spec_sha256 != spec.content_sha256():
        raise ConfigurationError(
            f"fold {bundle.key} of {graph.name} was made from an older plan: what it learned from is not known; {again}"
        )
    return spec, bundle, scored


def _stored(graph: ExperimentGraph, asset: str, fold: str | None = None) -> Artifact:
    return read_artifact(graph.layout.artifact(graph.name, asset, fold))


def _panel(graph: ExperimentGraph, spec: FoldSpec, bundle: FoldBundle, bars: pl.DataFrame) -> Panel:
    """The panel of the model's features, from some bars."""
    names = bundle.fitted.scaler.names
    stored = FeatureCatalogue.model_validate_json(_stored(graph, "feature_catalogue").path(REPORT_FILE).read_text())
    wanted = stored.model_copy(
        update={
            "used": tuple(row for row in stored.used if row.name in names),
            "user_columns": tuple(name for name in stored.user_columns if name in names),
        }
    )
    absent = [name for name in wanted.user_columns if name not in bars.columns]
    if absent:
        raise ValueError(f"it has no columns {absent}, which the model reads")
    features = computed_features(graph.experiment, bars, wanted).select(*KEYS, *names)
    return build_panel(features, computed_targets(graph.experiment, bars), names=names, min_history=spec.min_history)


def _refuse_other_bars(spec: FoldSpec, panel: Panel, bundle: FoldBundle) -> None:
    """Raises ValueError: symbols are absent that the fold was scored on; SliceChangedError: see `planning.slice_for`."""
    absent = sorted(set(bundle.predictions["symbol"].unique()) - set(panel.symbols))
    if absent:
        raise ValueError(f"it has no bars of {in_short(absent)}, which the model was made with; freeze them too")
    if panel.features != spec.features:
        raise ValueError(f"the model reads {in_short(panel.features)}, its plan names {in_short(spec.features)}")
    slice_for(panel, spec)


def _answer(
    record: DriftRecord,
    layout: Layout,
    output: Path | None,
    *,
    experiment: str | None,
    dated: bool,
    left_out: dict[str, str],
    notes: list[str],
) -> dict[str, Any]:
    now = utc_now()
    path = output or reports_folder(layout) / report_name(record, otherwise=now.date(), dated=dated)
    report = report_of(record, experiment=experiment, created_at=now)
    try:
        write_report(path, report)
        page = write_pictures(path, record)
    except OSError as error:
        raise ConfigurationError(
            f"--output {path}: {error.strerror}; name a file in a folder that can be written"
        ) from error
    ordered = sorted(judged_rows(record.rows), key=lambda row: -(row["psi"] or 0.0))
    return {
        "verdict": record.verdict,
        "reasons": list(record.reasons),
        "most drifted": [_sentence(row) for row in ordered[:MOST_NAMED]],
        "raw levels": [_sentence(row) for row in record.rows if row["verdict"] == SHOWN],
        "reference": _in_words(record.reference),
        "recent": _in_words(record.recent),
        "psi_max": ordered[0]["psi"] if ordered else None,
        "js_max": max((row["js_distance"] for row in ordered), default=None),
        "left out": [f"{name}: {why}" for name, why in left_out.items()],
        "notes": notes,
        "report": str(path),
        "pictures": str(page),
        "gate": {
            "passed": record.verdict in PASSED,
            "reasons": [f"the drift verdict is {record.verdict}; {' and '.join(PASSED)} pass"],
        },
        "drift": report,
        "failed": [],
    }


def _sentence(row: Mapping[str, Any]) -> str:
    """One feature in words."""
    parts = [f"{row['feature']}: PSI {row['psi']:.3f}, JS distance {row['js_distance']:.3f}"]
    if row.get("ks") is not None:
        parts.append(f"KS {row['ks']:.3f}")
    if row.get("wasserstein") is not None:
        parts.append(f"moved {row['wasserstein']:.2f} reference deviations (Wasserstein)")
    if abs(row["missing_recent"] - row["missing_reference"]) > 0.01:
        parts.append(f"missing {row['missing_reference']:.0%} before, {row['missing_recent']:.0%} now")
    if row["verdict"] == SHOWN:
        return f"{', '.join(parts)}; shown, and judged nowhere: levels wander"
    p = row["psi_p_value_family"]
    chance = "no null to judge it by" if p is None else f"family-wise p {p:.3f}"
    return f"{', '.join(parts)}; {row['verdict'].replace('_', ' ')} ({chance})"


def _in_words(span: dict[str, Any]) -> str:
    n = f"{span['n_bars']} bars"
    return n if span["first"] is None else f"{span['first']} to {span['last']}, {n}"
