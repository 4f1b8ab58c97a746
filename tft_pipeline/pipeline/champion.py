"""The live model asked on the bars that judge the newest fold: what it would have held there, beside what the new one held.

Here: reading the live version and its answers. Not here: which bars count, the statistic (`domain.champion`), the limit
(`domain.release_gates`).
"""

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tft_pipeline.domain.champion import (
    CHAMPION,
    ChallengerFinding,
    compared_returns,
    first_common_bar,
    last_bar_seen,
    paired_finding,
    reasons_incomparable,
)
from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.planning import SliceChangedError, slice_for
from tft_pipeline.domain.reports import FeatureCatalogue, FoldSpec
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import FRAME_FILE, REPORT_FILE
from tft_pipeline.pipeline.panels import KEYS
from tft_pipeline.storage.artifacts import Artifact, IntegrityError, read_artifact
from tft_pipeline.storage.deployments import CARD_FILE, linked_release
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256
from tft_pipeline.storage.published import PublishError
from tft_pipeline.storage.release_bundle import VERSIONS, ReleaseBundle, read_release_bundle
from tft_pipeline.storage.releases import fetch_version
from tft_pipeline.storage.standing import standing

if TYPE_CHECKING:
    from tft_pipeline.model.fit import FittedFold


class IncomparableError(ValueError):
    """The live model cannot be asked on this run's bars; the message says why."""


def compare_with_champion(graph: ExperimentGraph, spec: FoldSpec, fold: FoldBundle) -> ChallengerFinding:
    """The newest fold's model against the live one.

    Whatever keeps the live one from being asked is the finding's `why`: a version that is damaged, or of another kind, is a
    reason to look, not to replace it unseen.

    Args:
        spec: of the newest fold.
        fold: its model and predictions.
    Raises:
        ArtifactMissingError, IntegrityError: this run's own features, targets or catalogue.
        PublishError, StoreError: the store does not answer, or two machines deployed without each other: nobody can say what
            is live. A finding would outlast that: run it again afterwards.
    """
    models = graph.layout.models(graph.name)
    live = linked_release(models)
    try:
        live = standing(models).live
        if live is None:
            return ChallengerFinding(
                champion=None, applies=False, why="nothing is live yet: there is nothing to compare with"
            )
        champion = read_release_bundle(fetch_version(models, live).folder)
    except PublishError:
        raise
    except (IntegrityError, ValueError, OSError) as error:
        why = f"the live version {live} cannot be read: {without_folders(error, models)}"
        return ChallengerFinding(champion=live, applies=True, why=why)
    live, weights = champion.model_id, champion.signature.weights_sha256
    if weights == weights_sha256(fold.fitted):
        why = f"{live}, which is live, has the same weights: there is nothing to compare"
        return ChallengerFinding(champion=live, weights_sha256=weights, applies=False, why=why)
    try:
        return replace(_compared(graph, spec, fold, champion), weights_sha256=weights)
    except (IncomparableError, IntegrityError) as error:
        why = f"{live}, which is live, cannot be compared: {without_folders(error, models)}"
        return ChallengerFinding(champion=live, weights_sha256=weights, applies=True, why=why)


def live_version(models: Path) -> Artifact | None:
    """The release that counts as live (`storage.standing`), verified, and fetched where it is live in the store and not here;
    None where nothing is live. No link is moved.

    Raises:
        IntegrityError: a file, or what the store holds, is damaged.
        RollbackRefusedError: it is not there any more.
        PublishError: the store does not answer.
    """
    live = standing(models).live
    return None if live is None else fetch_version(models, live)


def without_folders(error: Exception, root: Path) -> str:
    """What an error says, without where this machine keeps its files: gates and cards are read elsewhere.

    A file of a version is named by the version's id, any other by its place in the experiment.

    Args:
        root: folder of the experiment's releases.
    """
    said = str(error)
    for one in (root, root.resolve()):
        for folder in (one / VERSIONS, one, one.parent):
            said = said.replace(f"{folder}{os.sep}", "").replace(str(folder), folder.name)
    return said


def _compared(graph: ExperimentGraph, spec: FoldSpec, fold: FoldBundle, champion: ReleaseBundle) -> ChallengerFinding:
    signature, experiment = champion.signature, graph.experiment
    stored = read_artifact(graph.layout.artifact(graph.name, "feature_catalogue")).path(REPORT_FILE)
    catalogue = FeatureCatalogue.model_validate_json(stored.read_text())
    reasons = reasons_incomparable(signature, experiment=experiment, catalogue=catalogue)
    if reasons:
        raise IncomparableError("; ".join(reasons))
    both = fold.predictions.filter(pl.col("symbol").is_in(signature.symbols))
    if both.is_empty():
        raise IncomparableError("it trades none of the symbols that the new model is scored on")
    fitted, seen = _read(champion)
    panel = _panel(graph, spec, signature.features, min_history=signature.max_lookback)
    test_start, test_last = (panel.calendar.index(_moment(spec, end)) for end in ("first", "last"))
    start = first_common_bar(panel.calendar, seen, horizon=fitted.horizon, test_start=test_start)
    if start > test_last:
        raise IncomparableError(
            f"it was trained or scored on bars up to {seen.isoformat()}, and the bars of {spec.key} end at "
            f"{spec.dates['test']['last']}: no bar is left that it has not seen; wait for new bars"
        )
    span = Span(start, test_last + 1)
    answers = _answers(fitted, panel, span)
    returns = compared_returns(
        both.filter(pl.col("timestamp") >= panel.calendar[start]).join(
            answers, on=["timestamp", "symbol"], how="left", maintain_order="left"
        ),
        challenger=spec.position,
        champion=fitted.position,
        target_volatility=spec.target_volatility,
        bars_per_year=spec.bars_per_year,
    )
    return paired_finding(
        returns,
        champion=champion.model_id,
        min_bars=experiment.gates.challenger_min_bars,
        bars_per_year=spec.bars_per_year,
        seed=experiment.seed,
    )


def _read(champion: ReleaseBundle) -> "tuple[FittedFold, datetime]":
    """Its network, and the last bar that had a part in its training or choice."""
    try:
        card, fitted = champion.document(CARD_FILE), champion.fitted()
    except IntegrityError:
        raise
    except Exception as error:  # whatever its files hold, a version that does not load cannot be asked, and says so
        raise IncomparableError(f"it does not load: {error}") from error
    try:
        return fitted, last_bar_seen(card)
    except ValueError as error:
        raise IncomparableError(str(error)) from error


def _panel(graph: ExperimentGraph, spec: FoldSpec, names: tuple[str, ...], *, min_history: int) -> Panel:
    """All stored bars with the champion's features, once they are known to be those that the new fold was planned on.

    Args:
        min_history: bars of a symbol before the champion observes it.
    """
    features = pl.scan_parquet(read_artifact(graph.layout.artifact(graph.name, "features")).path(FRAME_FILE))
    targets = pl.read_parquet(read_artifact(graph.layout.artifact(graph.name, "targets")).path(FRAME_FILE))
    columns = set(features.collect_schema().names())
    absent = [name for name in (*names, *spec.features) if name not in columns]
    if absent:
        raise IncomparableError(f"features {absent} are not among the stored ones; materialise features again")

    def panel(wanted: tuple[str, ...], history: int) -> Panel:
        return build_panel(features.select(*KEYS, *wanted).collect(), targets, names=wanted, min_history=history)

    try:
        slice_for(panel(spec.features, spec.min_history), spec)
    except SliceChangedError as error:
        raise IncomparableError(f"the new model's bars are not the stored ones: {error}") from error
    return panel(names, min_history)


def _answers(fitted: "FittedFold", panel: Panel, span: Span) -> pl.DataFrame:
    """Raw positions: timestamp, symbol, `CHAMPION`; one row a bar and symbol that the champion observes."""
    from tft_pipeline.model.inference import predict

    try:
        raw = predict(fitted, panel.between(0, span.stop), span).raw_position
    except ValueError as error:
        raise IncomparableError(f"it cannot be asked: {error}") from error
    symbol, bar = np.nonzero(np.isfinite(raw))
    return pl.DataFrame(
        {
            "timestamp": pl.Series([panel.calendar[span.start + b] for b in bar], dtype=pl.Datetime("us", "UTC")),
            "symbol": pl.Series([panel.symbols[s] for s in symbol], dtype=pl.String),
            CHAMPION: raw[symbol, bar],
        }
    )


def _moment(spec: FoldSpec, end: str) -> datetime:
    return datetime.fromisoformat(spec.dates["test"][end])
