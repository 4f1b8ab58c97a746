"""What is live and what was, as decisions count it: by this machine's log and link, or by the store's where that knows more.

Looking only: nothing here moves a link or writes a log. A machine that trades changes its model when somebody pulls on it, or
deploys or goes back there and succeeds. Not here: the pointer and the log of the store (`published`), deciding (`deploying`,
`rollback`, `retention`).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tft_pipeline.storage.deployment_log import Deployment
from tft_pipeline.storage.deployments import (
    WEIGHTS_FILE,
    deployments,
    linked_release,
    live_weights,
    manifest_hashes,
)

if TYPE_CHECKING:
    from tft_pipeline.storage.published import Published, StoredModels


@dataclass(frozen=True, slots=True)
class Standing:
    """How an experiment's releases stand.

    Attributes:
        news: what the store knows later than this machine; None: nothing, or there is no store.
    """

    models: Path
    news: "Published | None"

    @property
    def live(self) -> str | None:
        """The release that counts as live: the store's where it knows more, else where the link here leads."""
        return linked_release(self.models) if self.news is None else self.news.version

    def entries(self) -> list[Deployment]:
        """Every deployment.

        Raises:
            IntegrityError: the log is damaged.
        """
        return deployments(self.models) if self.news is None else self.news.entries()

    def weights(self) -> str | None:
        """Hash of what is live; None where nothing is, or nobody knows."""
        if self.news is not None:
            return live_weights(self.news.entries())
        live = self.live
        return None if live is None else manifest_hashes(self.models, live).get(WEIGHTS_FILE)

    def elsewhere(self) -> str:
        """For people: that the live release is live in the store and not here; empty where it is live here."""
        if self.news is None or linked_release(self.models) == self.live:
            return ""
        return f" in the store, and {linked_release(self.models) or 'nothing'} here: `tft pull` takes it"


def standing(models: Path) -> Standing:
    """Look at the store, where there is one. For a decision, under the lock of deployments.

    Raises:
        PublishError: the store cannot be asked, or this machine and another one deployed without each other.
        IntegrityError: what the store holds is damaged.
    """
    store = store_of(models)
    return Standing(models, None if store is None else store.later())


def store_of(models: Path) -> "StoredModels | None":
    """Where releases lie in the store; None without one, and then nothing of it is imported."""
    if not os.environ.get("TFT_STORE"):
        return None
    from tft_pipeline.storage.published import stored_models

    return stored_models(models)
