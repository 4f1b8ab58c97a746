"""What `tft clean` does: old versions of an experiment's assets and retired folds removed, under the lock of whole runs:
of this machine, and with `TFT_LOCKS` of all.

Not here: what stays and why (`storage.cleaning`), candidates (`tft prune`, `deploying`).
"""

from typing import Any

from pydantic import ValidationError

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.deciding_records import OTHER_SHAPE, plan_in
from tft_pipeline.pipeline.graph import EXPLORATION, PRODUCTION
from tft_pipeline.pipeline.progress import Watch, counting
from tft_pipeline.pipeline.releasing import models_of
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError
from tft_pipeline.storage.cleaning import clean as remove_old
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.locks import RunLockedError, run_lock
from tft_pipeline.storage.object_store import StoreError, store_url
from tft_pipeline.storage.postgres_locks import lock_server

KEEP = 3
"""Newest versions of each artifact that stay unless told otherwise."""


def clean(
    named: str,
    *,
    keep: int = KEEP,
    dry_run: bool = False,
    leftovers: bool = False,
    alone: bool = False,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Remove what no record that stays speaks of.

    Args:
        named: experiment file, or the name of one that was run here.
        alone: the caller says that no other machine works on it now: without `TFT_LOCKS` no lock reaches the others.
        watch: told how many versions are removed.
    Returns:
        experiment, removed (would_remove), bytes, kept (numbers by reason), leftovers, log, details, failed.
    Raises:
        ConfigurationError: no such experiment; `keep` below 1; a store that other machines may write to meanwhile.
    """
    layout = default_layout()
    name, _ = models_of(named, layout)
    if keep < 1:
        raise ConfigurationError(
            f"--keep {keep} is below 1: it is a number of newest versions of each asset; what is valid stays anyway"
        )
    if store_url() is not None and lock_server() is None and not (alone or dry_run):
        raise ConfigurationError(
            "TFT_STORE is set and TFT_LOCKS is not, so the lock of whole runs is of this machine alone: another one may write "
            "a version again while it is removed; nothing was removed; set TFT_LOCKS (docs/machines.md), or end the runs of "
            "other machines and say --alone"
        )
    folder = layout.experiment(name)
    try:
        with run_lock(layout.run_lock(name)):
            plans = {f"{phase}_fold": _planned(layout, name, phase) for phase in (EXPLORATION, PRODUCTION)}
            planned = {asset: keys for asset, keys in plans.items() if keys is not None}
            done = remove_old(
                folder,
                keep=keep,
                planned=planned,
                dry_run=dry_run,
                leftovers=leftovers,
                removing=lambda n: counting(watch, "removing what nothing refers to", n, "versions"),
            )
    except _UnreadPlanError as error:
        return {"experiment": name, "removed": [], "failed": [str(error)]}
    except (RunLockedError, StoreError, IntegrityError, OSError) as error:
        return {
            "experiment": name,
            "removed": [],
            "failed": [f"{error}; what was removed is in {folder / 'removed.jsonl'}"],
        }
    reasons: dict[str, int] = {}
    for one in done.kept:
        reasons[one.why or ""] = reasons.get(one.why or "", 0) + 1
    return {
        "experiment": name,
        "would_remove" if dry_run else "removed": [one.words for one in done.removed] or "nothing",
        "bytes": sum(one.n_bytes * (one.here + one.stored) for one in done.removed) if dry_run else done.n_bytes,
        "kept": [f"{n} versions: {why}" for why, n in sorted(reasons.items())],
        "left over" if not leftovers or dry_run else "left over, removed": [words for words, _ in done.leftovers],
        **({} if dry_run else {"log": str(folder / "removed.jsonl")}),
        "candidates": f"are no part of this: tft prune --experiment {name}",
        "details": {
            "removed": [{"artifact": one.artifact, "version": one.name, "bytes": one.n_bytes} for one in done.removed],
            "kept": [{"artifact": one.artifact, "version": one.name, "why": one.why} for one in done.kept],
            "keep": keep,
            "dry_run": dry_run,
        },
        "failed": [],
    }


class _UnreadPlanError(ValueError):
    """A plan was stored by other code; nothing was removed."""


def _planned(layout: Layout, name: str, phase: str) -> set[str] | None:
    """Folds of the plan, and those that something trains; None where there is no plan, so that none is known to be retired."""
    try:
        plan = plan_in(layout, name, f"{phase}_plan")
    except ArtifactMissingError:
        return None
    except ValidationError as error:
        raise _UnreadPlanError(
            f"{phase}_plan of {name}: {OTHER_SHAPE}, so that nobody can tell which folds are retired; nothing was removed; "
            "`tft run --resume` of its experiment file plans again, clean afterwards"
        ) from error
    training = layout.training_state(name, phase, "").parent.glob(f"{phase}-*.safetensors")
    return {spec.key for spec in plan.specs} | {path.stem.removeprefix(f"{phase}-") for path in training}
