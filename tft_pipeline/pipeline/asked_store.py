"""What the store says of an experiment's releases, for a command that only looks: one that is down is an answer too.

Not here: what counts as live in a decision (`storage.standing`), which a store that is down must stop.
"""

from dataclasses import dataclass
from pathlib import Path

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.deployments import linked_release
from tft_pipeline.storage.object_store import StoreError
from tft_pipeline.storage.standing import store_of


@dataclass(frozen=True, slots=True)
class AskedStore:
    """What the store says of an experiment's releases.

    Attributes:
        answers: there is one and it did. live: what is live there. versions: every release it holds.
        words: for people; empty without a store.
    """

    answers: bool = False
    live: str | None = None
    versions: frozenset[str] = frozenset()
    words: str = ""


def asked_store(models: Path) -> AskedStore:
    """Ask the store, where there is one, once: one that does not answer takes seconds each time."""
    stored = store_of(models)
    if stored is None:
        return AskedStore()
    try:
        there, versions = stored.published(), frozenset(stored.versions.versions())
    except StoreError as error:
        return AskedStore(words=f"not known, and what follows is as of this machine: {error}")
    except IntegrityError as error:
        return AskedStore(words=f"not known: {error}")
    where, here = stored.store.where(stored.key), linked_release(models)
    if there is None:
        return AskedStore(True, None, versions, f"{where}: nothing is live")
    differs = "" if there.version == here else f", {here or 'nothing'} is live here; `tft pull` takes it"
    return AskedStore(True, there.version, versions, f"{where}: {there.version} is live{differs}")
