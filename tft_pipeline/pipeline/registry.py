"""MLflow's registry follows what is deployed here: the model `tft_<experiment>`, aliases champion and challenger.

    champion     the release that is live
    challenger   the newest candidate: a version that was never live and is newer than the live one, and no override

Every version that can be verified becomes a version of the registered model, tagged with its release id, its bundle attached
to a run so that MLflow's pages show the files; one that cannot is named and left out. The link and its log are the truth:
MLflow is told afterwards, as well as it goes. What it missed, because it was down or nobody asked, it is told the next time,
for each time everything is compared. Not here: what is live (`storage.deployments`), metrics and reports (`tracking`).
"""

import fcntl
import json
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tft_pipeline.domain.credentials import without_credentials
from tft_pipeline.pipeline.tracking import CLIENT_LIMITS, URI_VARIABLE
from tft_pipeline.storage.artifacts import Artifact, IntegrityError
from tft_pipeline.storage.deploying import candidate_ids, newer_candidates
from tft_pipeline.storage.deployments import CARD_FILE, WEIGHTS_FILE, deployments, linked_release
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.releases import RollbackRefusedError, release_ids, released_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
RELEASE_TAG = "release_id"
BUNDLE = "release"
"""Folder of the run's artifacts that holds the bundle."""
LOCK_SECONDS = 10.0


def registered_name(experiment: str) -> str:
    """Name of an experiment's model in MLflow."""
    return f"tft_{experiment}"


def follow(layout: Layout, experiment: str) -> str | None:
    """Tell MLflow what there is, what is live and what waits; call it after every change, it never raises for MLflow.

    Returns:
        Why MLflow did not take it, or None. Nothing is lost: the next call tells it.
    """
    models = layout.models(experiment)
    if not release_ids(models):
        return None
    try:
        with _alone(models / "registry.lock"):
            left_out = _follow(layout, experiment, models)
    except Exception as error:  # MLflow raises anything from its stores; the link and its log are the truth
        return without_credentials(f"{type(error).__name__}: {error}")
    return f"all but versions that cannot be verified: {'; '.join(left_out)}" if left_out else None


def wanted_aliases(models: Path, left_out: Collection[str] = ()) -> dict[str, str]:
    """Alias to release id, as the link and its log have it; without an alias that nothing has.

    Args:
        left_out: versions that MLflow does not know: the challenger is another one.
    """
    live = linked_release(models)
    waiting = newer_candidates(candidate_ids(models, deployments(models)), live)
    waiting = [name for name in waiting if name not in left_out]
    found = {CHAMPION: live, CHALLENGER: waiting[-1] if waiting else None}
    return {alias: name for alias, name in found.items() if name is not None}


def _follow(layout: Layout, experiment: str, models: Path) -> list[str]:
    """Tell it; returns why a version was left out, a sentence each."""
    for name, value in CLIENT_LIMITS.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException

    name = registered_name(experiment)
    client, identifier = _open(layout, experiment)
    try:
        registered = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        registered = client.create_registered_model(name, description=f"releases of the experiment {experiment}")
    known = {
        one.tags[RELEASE_TAG]: str(one.version)
        for one in client.search_model_versions(f"name = '{name}'")
        if RELEASE_TAG in one.tags
    }
    left_out: dict[str, str] = {}
    for release_id in release_ids(models):
        if release_id in known:
            continue
        try:
            version = released_version(models, release_id)
            card = json.loads(version.path(CARD_FILE).read_text())
            tags = {"verdict": str(card.get("verdict")), "weights_sha256": version.files[WEIGHTS_FILE]}
        except (IntegrityError, RollbackRefusedError, ValueError, AttributeError) as error:
            left_out[release_id] = f"{release_id} ({error})"
            continue
        known[release_id] = _register(client, identifier, name, version, tags)
    wanted = wanted_aliases(models, left_out)
    for alias in (CHAMPION, CHALLENGER):
        number = known.get(wanted.get(alias, ""))
        there = registered.aliases.get(alias)
        if number is None and there is not None:
            client.delete_registered_model_alias(name, alias)
        elif number is not None and str(there) != number:
            client.set_registered_model_alias(name, alias, number)
    return list(left_out.values())


def _open(layout: Layout, experiment: str) -> "tuple[MlflowClient, str]":
    """A client, and MLflow's id of the experiment; first use migrates the database, which two processes at once would break."""
    from mlflow import MlflowClient

    uri = os.environ.get(URI_VARIABLE)
    if uri is None:
        layout.mlflow_database.parent.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{layout.mlflow_database}"
    with (layout.home / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, found.experiment_id
        return client, client.create_experiment(experiment, artifact_location=layout.mlflow_artifacts.as_uri())


def _register(client: "MlflowClient", experiment_id: str, name: str, version: Artifact, about: dict[str, str]) -> str:
    """A version of the registered model, and the run that holds its files; returns its number."""
    tags = {RELEASE_TAG: version.version, **about}
    run = client.create_run(experiment_id, run_name=f"release {version.version}", tags={"phase": "release", **tags})
    client.log_artifacts(run.info.run_id, str(version.folder), BUNDLE)
    client.set_terminated(run.info.run_id, "FINISHED")
    source = f"{run.info.artifact_uri}/{BUNDLE}"
    return str(client.create_model_version(name, source, run_id=run.info.run_id, tags=tags).version)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process tells MLflow at a time, so that no version is registered twice."""
    deadline = time.monotonic() + LOCK_SECONDS
    with path.open("a") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"another process has been telling MLflow for {LOCK_SECONDS:g} s") from None
                time.sleep(0.05)
        yield
