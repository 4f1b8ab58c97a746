"""Released models: immutable versions, one atomic `current` link, fixed names that resolve through it.

    models/versions/<id>/        weights, network, trees, card, manifest; read only, written once
    models/versions/current      the one link that a release swaps
    models/best_tft.safetensors  -> versions/current/weights.safetensors
    models/best_tft_model_card.json -> versions/current/model_card.json

A reader resolves `current` once and reads everything from there. Not here: gates, rollback.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tft_pipeline.storage.artifacts import Artifact, IntegrityError, read_artifact, sha256_file, write_artifact
from tft_pipeline.storage.atomic import canonical_json, replace_link

CARD_FILE = "model_card.json"
VERSIONS = "versions"
FIXED_NAMES = {"best_tft.safetensors": "weights.safetensors", "best_tft_model_card.json": CARD_FILE}


def write_release(models: Path, *, release_id: str, bundle: Artifact, card: dict[str, Any]) -> Artifact:
    """Copy a verified fold bundle and its card into a new version and make it current.

    Raises:
        FileExistsError: this id was released with other content.
        IntegrityError: a file of the bundle changed after it was verified; nothing is released.
    """

    def fill(folder: Path) -> None:
        for name in bundle.files:
            shutil.copyfile(bundle.path(name), folder / name)
            if (copied := sha256_file(folder / name)) != bundle.files[name]:
                raise IntegrityError(
                    f"{bundle.path(name)}: SHA-256 is {copied}, it was verified as {bundle.files[name]}; fit the fold again"
                )
        (folder / CARD_FILE).write_text(canonical_json(card))

    released = write_artifact(models / VERSIONS, fill, version=release_id)
    for path in sorted(released.folder.iterdir()):
        path.chmod(0o444)
    for fixed, name in FIXED_NAMES.items():
        target = f"{VERSIONS}/current/{name}"
        link = models / fixed
        if not link.is_symlink() or os.readlink(link) != target:
            replace_link(link, target)
    return released


def current_release(models: Path) -> tuple[Artifact, dict[str, Any]]:
    """The live version, verified, and its card.

    Raises:
        ArtifactMissingError: nothing was released.
        IntegrityError: a file was changed.
    """
    released = read_artifact(models / VERSIONS)
    return released, json.loads(released.path(CARD_FILE).read_text())
