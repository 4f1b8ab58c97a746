"""`tft train`: an experiment file made for a frozen snapshot, and its whole graph run as `tft run` runs it.

The file is `TFT_HOME/trained/<name>.yaml`: a template with the snapshot's bars, the flags, and periods and folds that fit the
snapshot (`domain.snapshot_plan`). Not here: options and printing.
"""

import json
import os
import re
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from tft_pipeline.domain.drift_null import turned_starts, windows_needed
from tft_pipeline.domain.experiment import ConfigurationError, Experiment, parse_experiment
from tft_pipeline.domain.experiment_features import catalogue_of
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.snapshot_plan import FIXED_BY_FLAGS, FittedPlan, SnapshotCalendar, fit_to_calendar
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.pipeline.commands import run_experiment
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.progress import Watch
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.atomic import fsync_folder
from tft_pipeline.storage.experiments import ExperimentFile, claim_name, read_experiment
from tft_pipeline.storage.frozen import frozen_snapshot
from tft_pipeline.storage.layout import PROJECT_ROOT, Layout, default_layout
from tft_pipeline.storage.locks import RunLockedError, run_lock
from tft_pipeline.storage.snapshots import BARS_FILE, Snapshot

TEMPLATE = PROJECT_ROOT / "experiments" / "intraday.yaml"
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
DRIFT_DAYS = 7
"""Recent days of `tft drift`, where the training bars hold enough windows of them."""


def train_on_snapshot(
    snapshot: str,
    *,
    lookback: int,
    hidden: int,
    epochs: int,
    patience: int,
    name: str,
    template: Path | None = None,
    report: Callable[[str], None],
    watch: Watch | None = None,
    require_go: bool = False,
) -> dict[str, Any]:
    """Write the experiment, run all of it, and answer what `tft run` answers and what to do next.

    Args:
        snapshot: id below `TFT_HOME/snapshots`, or a folder of one.
        lookback: bars of a window.
        hidden: width of the network.
        epochs: of a production fold, at most.
        patience: epochs without a better validation loss.
        name: of the experiment; a file of this name that an earlier call wrote is replaced, and its results with it.
        template: experiment file for all else; the shipped intraday.yaml.
    Raises:
        ConfigurationError: no such snapshot; a template that does not fit the snapshot or the flags; too few bars; a run works
            on this experiment; another file has results under this name.
    """
    layout = default_layout()
    folder, frozen = frozen_snapshot(snapshot, layout)
    text, experiment, said = made_experiment(
        folder,
        frozen,
        lookback=lookback,
        hidden=hidden,
        epochs=epochs,
        patience=patience,
        name=name,
        template=TEMPLATE if template is None else template,
        report=report,
    )
    path = (layout.home / "trained" / f"{name}.yaml").resolve()
    try:
        with run_lock(layout.run_lock(name)) as held:  # before the file of an experiment that is running is touched
            claim_name(layout.experiment(name), path)
            _write(path, text, experiment)
            report(f"wrote {path}: {said}")
            answer = run_experiment(path, resume=False, report=report, watch=watch, require_go=require_go, held=held)
    except RunLockedError as error:
        raise ConfigurationError(str(error)) from error
    done = {} if answer["failed"] else {"next": next_steps(layout, experiment, frozen)}
    return {"snapshot": frozen.snapshot_id, "experiment_file": str(path), **answer, **done}


def next_steps(layout: Layout, experiment: Experiment, frozen: Snapshot) -> list[str]:
    """Commands that make sense once an experiment was run."""
    plan = read_artifact(layout.artifact(experiment.name, "production_plan")).path(REPORT_FILE).read_text()
    trained = FoldPlanReport.model_validate_json(plan).specs[-1].dates["train"]
    days = drift_days(
        frozen.bars.filter(~pl.col("symbol").is_in(experiment.data.untraded))["timestamp"].unique().sort(),
        datetime.fromisoformat(trained["first"]),
        datetime.fromisoformat(trained["last"]),
        needed=windows_needed(experiment.drift.alpha, experiment.drift.min_null_windows),
    )
    return [
        f"tft bench --experiment {experiment.name}",
        f"tft drift --experiment {experiment.name} --snapshot {frozen.snapshot_id} --recent-days {days}",
        f"tft status --experiment {experiment.name}",
    ]


def drift_days(stamps: pl.Series, first: datetime, last: datetime, *, needed: int) -> int:
    """Most recent days, `DRIFT_DAYS` and 1 the limits, that leave `needed` null windows of their length.

    Args:
        stamps: of the bars, in time order.
        first, last: training bars of the newest fold, the reference; only bars after them are recent.
    """
    n_reference = int(stamps.is_between(first, last).sum())
    newest: datetime = stamps[-1]
    for days in range(DRIFT_DAYS, 1, -1):
        n_recent = int((stamps > max(last, newest - timedelta(days=days))).sum())
        starts, _ = turned_starts(n_reference, n_recent)
        if len(starts) >= needed:
            return days
    return 1


def made_experiment(
    folder: Path,
    frozen: Snapshot,
    *,
    lookback: int,
    hidden: int,
    epochs: int,
    patience: int,
    name: str,
    template: Path,
    report: Callable[[str], None],
) -> tuple[str, Experiment, str]:
    """An experiment file's text, what it says, and how periods and folds were made to fit in words; nothing is written.

    Raises:
        ConfigurationError: see `train_on_snapshot`.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"--name {name!r}: use up to 40 lower-case letters, digits and _, a letter first; it names assets and folders"
        )
    file = read_experiment(template)
    _refuse_misfit(file, frozen)
    fitted = fit_to_calendar(file.experiment, snapshot_calendar(file.experiment, frozen), lookback=lookback)
    content = _content(file)
    dropped = [key for key in FIXED_BY_FLAGS if content["tuning"]["space"].pop(key, None) is not None]
    if dropped:
        report(f"not searched, because flags state them: {', '.join(dropped)}")
    if not content["tuning"]["space"]:
        raise ConfigurationError(
            f"{file.path}: tuning.space searches only {', '.join(dropped)}, which flags of `tft train` state: nothing is left "
            "to tune; add a key such as training.learning_rate"
        )
    changes = {
        "name": name,
        "data.source": str((folder / BARS_FILE).resolve()),
        "data.symbols": _traded(file.experiment, frozen),
        "training.lookback": lookback,
        "training.warmup_bars": min(file.experiment.training.warmup_bars, lookback // 4),
        "training.patience": patience,
        "network.hidden": hidden,
        "production.epochs": epochs,
        "production.folds.window": file.experiment.production.folds.window,
        **fitted.changes,
    }
    for key, value in changes.items():
        _put(content, key, value)
    experiment = parse_experiment(content, origin=f"{file.path} with these flags and snapshot {frozen.snapshot_id}")
    text = _comment(file.path, frozen, fitted) + yaml.safe_dump(content, sort_keys=False, width=120)
    said = (
        f"production from {fitted.changes['periods.production_start']} on, {fitted.production_folds} folds of "
        f"{fitted.changes['production.folds.test']} bars; lengths of the template x {fitted.scale:.3g}"
    )
    return text, experiment, said


def snapshot_calendar(template: Experiment, frozen: Snapshot) -> SnapshotCalendar:
    """The common calendar of a snapshot's traded symbols, and its first bar with features and a label.

    Raises:
        ConfigurationError: no feature of the template can be built from the columns; or not one bar has a label.
    """
    try:
        catalogue = catalogue_of(template, frozen.bars.columns)
        targets = build_targets(
            frozen.bars,
            horizon=template.target.horizon,
            volatility_span=template.target.volatility_span,
            bars_per_year=template.data.bars_per_year,
            untraded=template.data.untraded,
        )
    except ValueError as error:
        raise ConfigurationError(f"snapshot {frozen.snapshot_id}: {error}") from error
    stamps = targets["timestamp"].unique().sort()
    labelled = targets.filter(pl.col("label").is_not_null())["timestamp"]
    if labelled.is_empty():
        raise ConfigurationError(
            f"snapshot {frozen.snapshot_id}: not one of {len(stamps)} bars has a label: a label needs "
            f"{template.target.volatility_span} bars before it and prices that move; freeze more days"
        )
    first = max(int((stamps < labelled.min()).sum()), catalogue.max_lookback)
    return SnapshotCalendar(dates=stamps.dt.date().to_numpy().astype("datetime64[D]"), first=min(first, len(stamps)))


def _refuse_misfit(file: ExperimentFile, frozen: Snapshot) -> None:
    """A template whose bars, symbols or sources are others than the snapshot's."""
    data, manifest = file.experiment.data, frozen.manifest
    if data.interval != manifest["interval"]:
        raise ConfigurationError(
            f"{file.path} is for bars of {data.interval} and snapshot {frozen.snapshot_id} holds bars of "
            f"{manifest['interval']}: its lengths, bars_per_year and features would mean something else; take a template for "
            f"{manifest['interval']} bars with --template"
        )
    absent = sorted(set(data.untraded) - set(manifest["symbols"]))
    if absent:
        raise ConfigurationError(
            f"{file.path} names {', '.join(absent)} as context (market_symbol, cross_markets), and snapshot "
            f"{frozen.snapshot_id} holds {', '.join(manifest['symbols'])}: freeze it too, or take a template without"
        )
    if file.experiment.production.folds.window == "sliding":
        raise ConfigurationError(
            f"{file.path}: production.folds.window is sliding, and folds are made to fit the snapshot by an expanding window; "
            "set it to expanding, or give the snapshot's bars to `tft run` in a file of your own"
        )


def _traded(experiment: Experiment, frozen: Snapshot) -> list[str]:
    return [name for name in frozen.manifest["symbols"] if name not in experiment.data.untraded]


def _content(file: ExperimentFile) -> dict[str, Any]:
    """The template as written, its paths made absolute, without the keys that speak of its own bars."""
    experiment = file.experiment.model_copy(update={"data": file.absolute_data()})
    content: dict[str, Any] = experiment.model_dump(mode="json", exclude_unset=True)
    for key in ("start", "end", "stamp"):  # a snapshot is cut already, and its bars are stamped with their closes
        content["data"].pop(key, None)
    for key in ("minute_source", "tables"):  # stated by being made absolute
        if not content["data"][key]:
            del content["data"][key]
    return content


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    part = content
    for section in sections:
        part = part.setdefault(section, {})
    part[name] = value


def _comment(template: Path, frozen: Snapshot, fitted: FittedPlan) -> str:
    """Values as JSON, in which nothing breaks a line: what follows a break would be configuration."""
    manifest = frozen.manifest
    first, last = (json.dumps(str(manifest["event_range"][end])[:16]) for end in ("start", "end"))
    return (
        f"# Made by `tft train` from {json.dumps(template.name)} for snapshot {json.dumps(frozen.snapshot_id)}: "
        f"{manifest['rows']:,} bars of {', '.join(json.dumps(name) for name in manifest['symbols'])}, {first} to {last} UTC.\n"
        f"# Production is the last third, in {fitted.production_folds} folds; lengths before it are the template's x "
        f"{fitted.scale:.4g}. `tft run` takes this file as it is;\n"
        "# `tft train` with the same --name replaces it: copy it under another name to keep changes.\n"
    )


def _write(path: Path, text: str, experiment: Experiment) -> None:
    """Replace a file in one step, by one that is read as `experiment`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, staged = tempfile.mkstemp(dir=path.parent, prefix=".stage-", suffix=".yaml")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(staged, 0o644)
        if read_experiment(Path(staged)).experiment != experiment:
            raise ConfigurationError(
                f"{path}: the text would be read as another experiment than was checked; not written"
            )
        os.replace(staged, path)
    finally:
        Path(staged).unlink(missing_ok=True)
    fsync_folder(path.parent)
