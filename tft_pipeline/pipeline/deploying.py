"""What `tft deploy`, `tft prune` and their jobs do: a candidate made live by a person, candidates removed.

Not here: the way back (`releasing`), what is live and was (`release_status`, `release_history`), links, logs, versions
(`storage.deploying`, `storage.retention`), judging gates.
"""

from typing import Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import ReleaseRecord
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.named import graph_named
from tft_pipeline.pipeline.releasing import BrokenReleaseError, asked_once, models_of, told, unfinished
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError, read_artifact
from tft_pipeline.storage.deploying import CardWriter, deploy_release, newest_candidate
from tft_pipeline.storage.deployments import DeploymentLockedError, deployment_lock, linked_release, once_live
from tft_pipeline.storage.gate_files import DeployRefusedError, GateRefusedError, check_gates
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.release_bundle import CARD_HTML, CARD_MARKDOWN
from tft_pipeline.storage.releases import (
    Release,
    RollbackRefusedError,
    beginning_with,
    fetch_version,
    release_ids,
)
from tft_pipeline.storage.retention import prune as remove_unreferenced
from tft_pipeline.storage.standing import Standing, standing, store_of

LONGEST_REASON = 1000


def deploy(named: str, release: str | None = None, *, reason: str = "", override: str | None = None) -> dict[str, Any]:
    """`make_live` in the experiment of a file or a name; the file need not be there any more.

    Raises:
        ConfigurationError: no such experiment; and as `make_live`.
    """
    layout = default_layout()
    name, _ = models_of(named, layout)
    return make_live(name, layout, release, reason=reason, override=override)


def make_live(
    name: str, layout: Layout, release: str | None = None, *, reason: str = "", override: str | None = None
) -> dict[str, Any]:
    """Make a candidate live: its gates asked, verified, loaded and asked once, all before the link is swapped.

    Args:
        name: of the experiment.
        release: id, or a beginning of one that is longer than a date; by default the newest candidate that is newer than what
            is live, no override, and not held after a rollback.
        reason: for the log; an override gives its own.
        override: why it goes live although gates failed; the version that does is a new one, `<id>-override`.
    Returns:
        experiment, from, to, verdict (of its card), gates, deployed_at, path, smoke_prediction, asked, sequence, note (absent
        where there is none), mlflow, failed. Where the gates say no: experiment, release, live, gate, failed. Where something
        failed: experiment, release, live, failed.
    Raises:
        ConfigurationError: no reason; no such release; it is live already; an override of gates that passed.
    """
    reason = _stated("reason", reason)
    if override is not None and not (override := _stated("override", override)):
        raise ConfigurationError("override is empty: say why it goes live although its gates failed; the log keeps it")
    if not reason and override is None:
        raise ConfigurationError("reason is empty: say why; the log keeps it, for whoever asks what was live and why")
    models = layout.models(name)
    before, wanted = linked_release(models), release
    try:
        with deployment_lock(models):
            now = standing(models)
            wanted = newest_candidate(now) if release is None else _one_release(now, release)
            if wanted == now.live:
                raise DeployRefusedError(f"{wanted} is live already{now.elsewhere()}: there is nothing to deploy")
            version = fetch_version(models, wanted)
            check_gates(now, version, overridden=override is not None)
        position, asked = asked_once(version)
        cards = None if override is None else _cards()
        made = deploy_release(models, wanted, reason=reason, override=override, cards=cards, newest=release is None)
    except GateRefusedError as error:
        gate = {"passed": False, "reasons": error.reasons}
        return {"experiment": name, "release": wanted, "live": linked_release(models), "gate": gate, "failed": []}
    except (DeployRefusedError, RollbackRefusedError) as error:
        raise ConfigurationError(str(error)) from error
    except (IntegrityError, DeploymentLockedError, BrokenReleaseError, OSError) as error:
        return {"experiment": name, "release": wanted, **unfinished(models, before, error)}
    return {
        "experiment": name,
        **_live_now(made),
        "smoke_prediction": position,
        "asked": asked,
        **({"note": made.note} if made.note else {}),
        "mlflow": told(layout, name),
        "failed": [],
    }


def prune(named: str, *, keep: int | None = None, dry_run: bool = False) -> dict[str, Any]:
    """`remove_candidates` in the experiment of a file or a name.

    Args:
        keep: newest candidates that stay; by default `gates.keep_candidates`, for which the experiment file is read.
    Raises:
        ConfigurationError: no such experiment, or `keep` below 0.
    """
    layout = default_layout()
    name = models_of(named, layout)[0] if keep is not None else graph_named(named, layout).name
    kept = graph_named(named, layout).experiment.gates.keep_candidates if keep is None else keep
    return remove_candidates(name, layout, keep=kept, dry_run=dry_run)


def remove_candidates(name: str, layout: Layout, *, keep: int, dry_run: bool = False) -> dict[str, Any]:
    """Remove the versions that nothing refers to (`storage.retention`).

    Returns:
        experiment, removed, kept (id and why, in words), finished (what a killed removal left), dry_run, mlflow, failed.
    Raises:
        ConfigurationError: `keep` below 0.
    """
    if keep < 0:
        raise ConfigurationError(f"keep {keep} is below 0: it is a number of candidates; 0 keeps none")
    models = layout.models(name)
    try:
        referenced = _named_by_a_run(layout, name)
        done = remove_unreferenced(models, keep=keep, referenced=referenced, dry_run=dry_run)
    except (IntegrityError, DeploymentLockedError, OSError) as error:
        return {
            "experiment": name,
            "removed": [],
            "failed": [f"{error}; what was removed is in no version's place any more"],
        }
    return {
        "experiment": name,
        "would_remove" if dry_run else "removed": list(done.removed) or "nothing",
        "kept": [f"{release_id}: {why}" for release_id, why in done.kept.items()],
        **({"finished": list(done.finished)} if done.finished else {}),
        **({} if dry_run else {"mlflow": told(layout, name)}),
        "details": {"removed": list(done.removed), "kept": done.kept, "keep": keep, "dry_run": dry_run},
        "failed": [],
    }


def _named_by_a_run(layout: Layout, name: str) -> tuple[str, ...]:
    """The release that the newest run's record speaks of, which `tft status` shows."""
    try:
        artifact = read_artifact(layout.artifact(name, "release"))
    except ArtifactMissingError:
        return ()
    return (ReleaseRecord.model_validate_json(artifact.path(REPORT_FILE).read_text()).release_id,)


def _live_now(made: Release) -> dict[str, Any]:
    done = made.deployment
    assert done is not None  # only a run's own deployment is held
    return {
        "from": done.source,
        "to": done.target,
        "verdict": done.verdict,
        "gates": done.gates,
        "deployed_at": done.at,
        "path": str(made.version.folder),
        "sequence": done.sequence,
    }


def _one_release(now: Standing, wanted: str) -> str:
    known = release_ids(now.models)
    if wanted in known:
        return wanted
    if store_of(now.models) is not None:
        known = sorted({*known, *once_live(now.entries())})
    fitting = beginning_with(known, wanted)
    if len(fitting) == 1:
        return fitting[0]
    how = f"{len(fitting)} releases begin with {wanted!r}" if fitting else f"{wanted!r} names no release"
    raise DeployRefusedError(
        f"{how}; name an id, or a beginning of one that is longer than a date; there are {', '.join(known) or 'none'}"
    )


def _stated(option: str, text: str) -> str:
    """A reason as the log and the card keep it: one line that can be printed."""
    said = text.strip()
    if len(said) > LONGEST_REASON or not said.isprintable():
        raise ConfigurationError(
            f"{option} has {len(said)} characters, or some that cannot be printed: say it in one line of at most "
            f"{LONGEST_REASON} characters"
        )
    return said


def _cards() -> CardWriter:
    """How the card of an overridden version is written; one that its schema refuses is not."""
    from tft_pipeline.pipeline.card import card_html, card_markdown, override_card, validate_card

    def valid(card: dict[str, Any], gates: dict[str, Any]) -> dict[str, Any]:
        changed = override_card(card, gates)
        validate_card(changed)
        return changed

    return CardWriter(override=valid, renderings={CARD_MARKDOWN: card_markdown, CARD_HTML: card_html})
