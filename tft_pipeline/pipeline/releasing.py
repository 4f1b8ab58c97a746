"""What `tft rollback` and its job do, and the performance targets of a release in words.

Not here: `tft deploy` and `tft prune` (`deploying`), `tft status` (`release_status`, `release_history`), links, logs and
versions (`storage.releases`, `storage.deployments`).
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import ReleaseRecord
from tft_pipeline.domain.latency import EAGER
from tft_pipeline.domain.performance_targets import DEPLOY, Row, absent_targets, deploy_target, target_sentence
from tft_pipeline.domain.signature import Signature
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.named import graph_named
from tft_pipeline.pipeline.registry import follow
from tft_pipeline.storage.artifacts import Artifact, ArtifactMissingError, IntegrityError, read_artifact
from tft_pipeline.storage.deployments import CARD_FILE, DeploymentLockedError, deployment_lock, linked_release
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.experiments import owner_of
from tft_pipeline.storage.fold_bundles import read_fitted
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.published import PublishError
from tft_pipeline.storage.release_bundle import SIGNATURE_FILE, read_release_bundle
from tft_pipeline.storage.releases import (
    DECISION_FILE,
    FACTS_FILE,
    TARGETS_FILE,
    RollbackRefusedError,
    deploy_problems,
    fetch_version,
)
from tft_pipeline.storage.rollback import find_release
from tft_pipeline.storage.rollback import roll_back as switch_back
from tft_pipeline.storage.standing import standing

if TYPE_CHECKING:
    from tft_pipeline.model.fit import FittedFold

MODEL = "tft"
"""The one kind of model that is released."""


def roll_back(named: str, to: str, *, model: str = MODEL, reason: str = "") -> dict[str, Any]:
    """`go_back` in the experiment of a file or a name; the file need not be there any more.

    Raises:
        ConfigurationError: no such experiment; and as `go_back`.
    """
    layout = default_layout()
    name, _ = models_of(named, layout)
    return go_back(name, layout, to, model=model, reason=reason)


def go_back(name: str, layout: Layout, to: str, *, model: str, reason: str) -> dict[str, Any]:
    """Make an earlier release current again: verified, loaded and asked once before the link is swapped.

    Args:
        name: of the experiment, for the answer.
        to: date, `previous`, or a release id or a beginning longer than a date (`storage.rollback.find_release`).
        reason: for the log.
    Returns:
        experiment, from, to, verdict (of the target's card), deployed_at, path, smoke_prediction, asked (the forms that gave
        it), sequence, gates, note (what became of a damaged log; absent where nothing did), mlflow, failed. Where something
        failed, `failed` says what and `live` what is live, in words where it is not what was live before.
    Raises:
        ConfigurationError: another kind of model; no such release; or it is live already.
    """
    if model != MODEL:
        raise ConfigurationError(f"{model!r} is not released here: the one kind of model is {MODEL!r}")
    models = layout.models(name)
    before = linked_release(models)
    try:
        with deployment_lock(models):
            there = standing(models)
            target = find_release(models, to, now=utc_now(), there=there)
            if target == there.live:
                raise RollbackRefusedError(
                    f"{to} is {target}, which is live already{there.elsewhere()}: there is nothing to roll back"
                )
            version = fetch_version(models, target)
        position, asked = asked_once(version)
        done = switch_back(models, target, reason=reason, wanted=to)
    except RollbackRefusedError as error:
        raise ConfigurationError(str(error)) from error
    except (IntegrityError, DeploymentLockedError, BrokenReleaseError, OSError) as error:
        return {"experiment": name, "to": to, **unfinished(models, before, error)}
    return {
        "experiment": name,
        "from": done.source,
        "to": done.target,
        "verdict": done.verdict,
        "deployed_at": done.at,
        "path": str(version.folder),
        "smoke_prediction": position,
        "asked": asked,
        "sequence": done.sequence,
        "gates": done.gates,
        **({"note": done.note} if done.note else {}),
        "mlflow": told(layout, name),
        "failed": [],
    }


def unfinished(models: Path, before: str | None, error: Exception) -> dict[str, Any]:
    """What is live after something failed, and why it failed: a disk that breaks under the log may break after the switch.

    Args:
        before: the release that was live before it was tried.
    """
    live = linked_release(models)
    if live == before:
        return {"live": live, "failed": [f"{error}; {live or 'nothing'} is live as before"]}
    if isinstance(error, PublishError):  # it says what is live where, and the log here knows it
        return {"live": live, "failed": [str(error)]}
    said = f"{error}; the link was swapped all the same: {live} is live, which the next deployment writes down"
    return {"live": live, "failed": [said]}


def told(layout: Layout, name: str) -> str:
    """Tell MLflow what is live now, and say whether it took it."""
    behind = follow(layout, name)
    return "follows" if behind is None else f"was not told ({behind}): the next deployment or run tells it"


def target_rows(graph: ExperimentGraph) -> list[str]:
    """The performance targets of the newest release, one sentence a row, the deployment's as the files stand now.

    Where nothing was released, or before targets were recorded, one sentence says so.
    """
    try:
        artifact = read_artifact(graph.layout.artifact(graph.name, "release"))
    except ArtifactMissingError:
        return ["performance targets: not known, nothing was released yet"]
    record = ReleaseRecord.model_validate_json(artifact.path(REPORT_FILE).read_text())
    if not record.targets:
        return [f"performance targets: not known, {record.release_id} was released before they were recorded"]
    models = graph.layout.models(graph.name)
    live = linked_release(models)
    candidate = None if record.release_id == live else record.release_id
    rows = [row for row in record.targets if row["metric"] != DEPLOY]
    deployed = deploy_target(deploy_problems(models), release=live, note=record.note, candidate=candidate)
    return [target_sentence(row) for row in (*rows, deployed)]


def current_deploy_target(models: Path, note: str = "") -> Row:
    """The deployment's row of the targets, as the files stand now."""
    return deploy_target(deploy_problems(models), release=linked_release(models), note=note)


def live_targets(models: Path, version: Artifact | None) -> tuple[Row, ...]:
    """All rows of the live version: those it carries, and the deployment's as the files stand now."""
    if version is None:
        carried: tuple[Row, ...] = absent_targets("nothing is live that can be verified")
    elif TARGETS_FILE in version.files and (rows := json.loads(version.path(TARGETS_FILE).read_text())):
        carried = tuple(rows)
    else:
        carried = absent_targets("the live version was released before targets were recorded with it")
    return (*carried, current_deploy_target(models))


class BrokenReleaseError(RuntimeError):
    """Its files are what was written, and they do not make a model that answers."""


def asked_once(version: Artifact) -> tuple[float, list[str]]:
    """Position that the model of a verified version answers with, and the forms that did: its exported ones say the same.

    Raises:
        BrokenReleaseError: it does not load, does not answer with numbers, or a form says something else than the weights.
    """
    from tft_pipeline.model.released_form import ask_form, ask_forms
    from tft_pipeline.model.smoke import BrokenModelError, smoke_prediction

    try:
        json.loads(version.path(CARD_FILE).read_text())
        fitted = read_fitted(version)
        bundle = read_release_bundle(version.folder) if SIGNATURE_FILE in version.files else None
    except Exception as error:  # whatever its files hold, a release that does not load is not deployed
        raise BrokenReleaseError(f"{version.folder} does not load ({error}): nothing was changed") from error
    try:
        position, asked = smoke_prediction(fitted), [EAGER]
        if bundle is not None:
            refuse_another_position(fitted, bundle.signature)
            forms = {form: bundle.onnx(form) for form in bundle.signature.forms}
            asked += ask_forms(fitted, forms, bundle.signature)
        elif DECISION_FILE in version.files:  # a release from before signatures
            exported, facts = (version.path(name).read_bytes() for name in (DECISION_FILE, FACTS_FILE))
            asked.append(ask_form(fitted, exported, facts))
        return position, asked
    except BrokenModelError as error:
        raise BrokenReleaseError(f"{version.folder}: {error}: nothing was changed") from error


def refuse_another_position(fitted: "FittedFold", signature: Signature) -> None:
    """Hold what makes a position of an answer against the network it was chosen with: live code reads the signature alone.

    Raises:
        BrokenReleaseError: something is another model's.
    """
    rule = fitted.position
    own: dict[str, object] = {
        "scaler": fitted.scaler,
        "lookback": fitted.training.lookback,
        "horizon": fitted.horizon,
        "max_position": rule.max_position,
        "position_smooth": rule.position_smooth,
        "max_weight": rule.max_weight,
        "target_volatility": fitted.target_volatility,
        "bars_per_year": fitted.bars_per_year,
    }
    other = [name for name, value in own.items() if getattr(signature, name) != value]
    if other:
        raise BrokenReleaseError(
            f"{', '.join(other)} in {SIGNATURE_FILE}: not the network's, the signature is another model's: nothing was changed"
        )


def models_of(named: str, layout: Layout) -> tuple[str, Path]:
    """Name and models folder; a name suffices, for the way back must not need an experiment file that still validates."""
    plain = not named.endswith((".yaml", ".yml")) and named.replace("_", "").isalnum()
    name = named if plain and owner_of(layout.experiment(named)) else graph_named(named, layout).name
    return name, layout.models(name)
