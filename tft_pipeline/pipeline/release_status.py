"""What `tft status` says: which release is live, whether it is what was released, and how it stands. Only looks.

What is live is what the link of this machine says, and needs no store. Where the store does not answer, the rest is told from
what this machine holds, and a line says so.
Not here: what was live at another time (`release_history`), going back (`releasing`).
"""

import json
from pathlib import Path
from typing import Any

from tft_pipeline.domain.deploy_gate import admitted, failed_gates, origin_of
from tft_pipeline.domain.findings import DriftRecord, ReleaseRecord
from tft_pipeline.domain.latency import EAGER
from tft_pipeline.domain.performance_targets import target_sentence
from tft_pipeline.pipeline.asked_store import AskedStore, asked_store
from tft_pipeline.pipeline.drift_facts import NIGHT, judged_days
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.releasing import live_targets, models_of
from tft_pipeline.storage.artifacts import (
    CURRENT,
    Artifact,
    ArtifactMissingError,
    IntegrityError,
    read_artifact,
    read_version,
)
from tft_pipeline.storage.deployment_log import Deployment
from tft_pipeline.storage.deployments import (
    CARD_FILE,
    VERSIONS,
    WEIGHTS_FILE,
    deployments,
    linked_release,
    live_since,
    once_live,
)
from tft_pipeline.storage.experiments import owner_of
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.release_bundle import FORM_FILES
from tft_pipeline.storage.releases import (
    DECISION_FILE,
    GATE_FILE,
    live_problems,
    misled_names,
    release_ids,
    released_version,
)

SHOWN_DEPLOYMENTS = 10
FOLD_FILE = "fold.json"
COMPILED = "compiled"
"""The one form beside eager torch that runs from the weights."""


def describe_status(named: str, *, unknown_is_news: bool = False, layout: Layout | None = None) -> dict[str, Any]:
    """The live release and everything known of it; reads, and writes nothing but records that it fetches from the store.

    Args:
        named: experiment file, or the name of one that was run.
        unknown_is_news: a name that nothing was run under is answered in words rather than refused.
    Returns:
        live (on this machine), since, verdict, reasons, weights, fold, snapshot_id, data_range, latency, drift, releases,
        deployments and performance_targets, in words; store (absent without one): what is live there, or why that is not known;
        missing: what is not there yet; details: the same as values; failed: what is wrong with the live version, empty where
        nothing is; a fixed name that is missing is in the row of the targets, and no part of it.
    Raises:
        ConfigurationError: no such experiment.
    """
    layout = default_layout() if layout is None else layout
    if unknown_is_news and owner_of(layout.experiment(named)) is None:
        why = f"nothing was trained under the name {named}: run `tft train`, or name another with --experiment"
        return {"experiment": named, "live": "nothing", "missing": [why], "failed": []}
    name, models = models_of(named, layout)
    live, failed, store = linked_release(models), [], asked_store(models)
    try:
        entries = deployments(models)
    except IntegrityError as error:
        entries, failed = [], [str(error)]
    problems = _problems(models, was_live=bool(once_live(entries)) or bool(failed))
    version = None if problems or live is None else released_version(models, live)
    card = {} if version is None else json.loads(version.path(CARD_FILE).read_text())
    misled = [] if version is None else misled_names(models)
    failed = [*problems, *misled, *failed]
    since = live_since(entries)
    targets = live_targets(models, version)
    releases = [_release(models, one, live) for one in release_ids(models)]
    releases += [_only_stored(one) for one in sorted(store.versions - {row["id"] for row in releases})]
    drift = _drift(layout, name, None if version is None else version.files[WEIGHTS_FILE], in_store=store.answers)
    return {
        "experiment": name,
        "live": live or "nothing",
        **({} if since is None or live is None else {"since": f"{since.at} ({_why(since)})"}),
        **({"store": store.words} if store.words else {}),
        **_about(version, card),
        "drift": drift["words"],
        "newest": _newest_release(layout, name, live, in_store=store.answers),
        "releases": [row["words"] for row in releases],
        "deployments": [_entry(entry) for entry in entries[-SHOWN_DEPLOYMENTS:]],
        "performance_targets": [target_sentence(row) for row in targets],
        "missing": _missing(layout, name, live, releases, drift, store),
        "details": {
            "live": live,
            "since": None if since is None or live is None else since.at,
            "verified": version is not None and not failed,
            "path": None if live is None else str(models / VERSIONS / live),
            "files": {} if version is None else version.files,
            "train": {key: card.get("train", {}).get(key) for key in ("snapshot_id", "range", "symbols", "interval")},
            "latency_ms": card.get("latency_ms", {}),
            "drift": {key: value for key, value in drift.items() if key != "words"},
            "releases": [{key: value for key, value in row.items() if key != "words"} for row in releases],
            "deployments": [entry.to_dict() for entry in entries],
            "performance_targets": list(targets),
        },
        "failed": failed,
    }


def _problems(models: Path, *, was_live: bool) -> list[str]:
    """Why the live version is not what was released; where nothing was ever live there is none.

    Args:
        was_live: something was once, or the log cannot tell.
    """
    if linked_release(models) is not None:
        return live_problems(models)
    return [f"{models / VERSIONS / CURRENT} is missing, and a release was live"] if was_live else []


def _about(version: Artifact | None, card: dict[str, Any]) -> dict[str, Any]:
    """What the live version's own files say."""
    if version is None:
        return {}
    train = card.get("train", {})
    extent = train.get("range") or {}
    fold = json.loads(version.path(FOLD_FILE).read_text())["key"] if FOLD_FILE in version.files else "not recorded"
    return {
        "verdict": card.get("verdict"),
        "reasons": list(card.get("reasons", ())),
        "weights": f"verified, SHA-256 {version.files[WEIGHTS_FILE]}",
        "fold": fold,
        "snapshot_id": train.get("snapshot_id"),
        "data_range": f"{extent.get('start')} to {extent.get('end')}, training and validation",
        "latency": _latency(version, card),
    }


def _latency(version: Artifact, card: dict[str, Any]) -> str:
    """The p95 of the form that was judged, whether the release carries that form, and the bound of eager torch beside it."""
    figures, inference = card.get("latency_ms", {}), card.get("inference", {})
    form = inference.get("form", EAGER)
    low, high = figures.get("p95_ci") or (None, None)
    bound = "no upper bound was measured" if high is None else f"95 % interval {_ms(low)} to {_ms(high)} ms"
    said = f"{form}, p95 {_ms(figures.get('p95'))} ms, {bound}"
    if form == EAGER:
        return said
    _, eager = inference.get("eager_p95_ci") or (None, None)
    beside = f"{EAGER} torch: " + ("no upper bound was measured" if eager is None else f"at most {_ms(eager)} ms")
    carried = form == COMPILED or bool({FORM_FILES.get(form), DECISION_FILE} & set(version.files))
    lacking = "" if carried else ", which this release does not carry"
    return f"{said}{lacking}; {beside}"


def _drift(layout: Layout, name: str, live_weights: str | None, *, in_store: bool) -> dict[str, Any]:
    """The record of the newest bars that drift was measured on, by the graph or by a night's watch.

    Args:
        in_store: the newest of all machines; else of this one.
    """
    roots = [layout.artifact(name, "drift_report")]
    roots += [layout.artifact(name, NIGHT, str(day)) for day in judged_days(layout, name, in_store=in_store)[-1:]]
    found: list[tuple[Path, DriftRecord]] = []
    for root in roots:
        try:
            stored = read_artifact(root, in_store=in_store)
            found.append((root, DriftRecord.model_validate_json(stored.path(REPORT_FILE).read_text())))
        except ArtifactMissingError:
            continue
        except (IntegrityError, ValueError) as error:
            return {"verdict": None, "words": f"{root} cannot be read ({error}): measure drift again"}
    if not found:
        return {"verdict": None, "words": "not measured yet"}
    # of the same bars a night's own record goes before a whole run's
    root, record = max(enumerate(found), key=lambda one: (one[1][1].recent.get("last") or "", one[0]))[1]
    of_live = record.weights_sha256 == live_weights
    words = (
        f"{record.verdict.replace('_', ' ')}, {root.relative_to(layout.experiment(name))}: the last "
        f"{record.recent.get('n_bars')} bars up to {record.recent.get('last')} against fold {record.fold}"
        + ("" if of_live or live_weights is None else ", of another model than the live one")
    )
    about = {key: getattr(record, key) for key in ("fold", "weights_sha256", "snapshot_id", "recent", "reasons")}
    return {"verdict": record.verdict, "path": str(root), "of_live_model": of_live, **about, "words": words}


def _missing(
    layout: Layout,
    name: str,
    live: str | None,
    releases: list[dict[str, Any]],
    drift: dict[str, Any],
    store: AskedStore,
) -> list[str]:
    said = []
    if not any(layout.artifact(name, "production_fold").glob(f"*/{CURRENT}")):
        where = " on this machine" if store.words else ""
        said.append(f"nothing was trained yet{where}: run `tft run` or `tft train`")
    if live is None:
        waiting = f"{len(releases)} version(s) wait, see `tft deploy`" if releases else "nothing is released"
        if store.live is not None:
            waiting = f"{store.live} is live in the store, `tft pull` takes it"
        said.append(f"no model is live{' on this machine' if store.words else ''}: {waiting}")
    if drift["verdict"] is None:
        said.append("no drift report")
    return said


def _newest_release(layout: Layout, name: str, live: str | None, *, in_store: bool) -> str:
    """Whether the newest release is the live one, and why not; `in_store` as `_drift`."""
    try:
        artifact = read_artifact(layout.artifact(name, "release"), in_store=in_store)
        record = ReleaseRecord.model_validate_json(artifact.path(REPORT_FILE).read_text())
    except ArtifactMissingError:
        return "nothing was released by a run yet"
    except (IntegrityError, ValueError) as error:
        return f"the record of the newest release cannot be read: {error}"
    if record.release_id == live:
        return "the newest release is live"
    if live is not None and record.release_id == origin_of(live):
        return f"the newest release is live by an override, as {live}"
    return f"the newest release {record.release_id} is {record.note if not record.live else 'not live any more'}"


def _release(models: Path, release_id: str, live: str | None) -> dict[str, Any]:
    """One version of this machine as its card and gates say, every file verified."""
    gates = "gates cannot be read"
    try:
        version = read_version(models / VERSIONS / release_id)
        card = json.loads(version.path(CARD_FILE).read_text())
        verdict, created = str(card.get("verdict")), str(card.get("created_at"))
        gates = _gates(version)
    except IntegrityError as error:
        verdict, created = f"damaged ({error})", "unknown"
    except (ValueError, AttributeError):
        verdict, created = "card cannot be read", "unknown"
    mark = ", live" if release_id == live else ""
    words = f"{release_id}: {verdict}, {gates}, made {created}{mark}"
    return {
        "id": release_id,
        "created_at": created,
        "verdict": verdict,
        "gates": gates,
        "live": release_id == live,
        "words": words,
    }


def _only_stored(release_id: str) -> dict[str, Any]:
    """One version that this machine has not fetched."""
    words = f"{release_id}: in the store, not on this machine; `tft pull --release` fetches it"
    return {"id": release_id, "created_at": None, "verdict": None, "gates": None, "live": False, "words": words}


def _gates(version: Artifact) -> str:
    """What a verified version's gate file says."""
    if GATE_FILE not in version.files:
        return "no gates"
    try:
        document = json.loads(version.path(GATE_FILE).read_text())
        said = admitted(document)
        return f"gates {said or 'failed: ' + ', '.join(row['name'] for row in failed_gates(document))}"
    except (ValueError, KeyError, TypeError):
        return "gates cannot be read"


def _entry(entry: Deployment) -> str:
    note = f" ({entry.note})" if entry.note else ""
    gates = f", gates {entry.gates}" if entry.gates else ""
    return (
        f"{entry.sequence}. {entry.at} {_why(entry)}: {entry.source or 'nothing'} -> {entry.target or 'nothing'}, "
        f"{entry.state}{gates}{note}"
    )


def _why(entry: Deployment) -> str:
    return f"{entry.action} by {entry.who}" + (f", {entry.reason}" if entry.reason else "")


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"
