"""Releases of made-up fold bundles, and a log whose clock is set by hand."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tft_pipeline.domain.gate_names import GATES
from tft_pipeline.storage.artifacts import Artifact, write_artifact
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.deploying import CardWriter, deploy_release
from tft_pipeline.storage.deployment_log import LOG_FILE, entry_line
from tft_pipeline.storage.releases import (
    CARD_FILE,
    GATE_FILE,
    TARGETS_FILE,
    WEIGHTS_FILE,
    Release,
    copy_verified,
    write_version,
)


def bundle(root: Path, text: str = "one") -> Artifact:
    def fill(folder: Path) -> None:
        (folder / "weights.safetensors").write_text(f"weights {text}")
        (folder / "network.json").write_text("{}")

    return write_artifact(root, fill)


OFF = "gates.challenger is off"
"""In place of a champion: the live model is not asked."""


def gate_file(
    release_id: str,
    weights_sha256: str,
    failed: Sequence[str] = (),
    *,
    champion: str | None = OFF,
    champion_weights: str | None = None,
) -> dict[str, Any]:
    """A gate file of every gate; those in `failed` say no.

    Args:
        champion: version that the model was compared with; None where nothing was live.
        champion_weights: hash of its weights.
    """

    def row(name: str) -> dict[str, Any]:
        off = name == "challenger" and champion in (None, OFF)
        figures = {} if name != "challenger" or champion == OFF else {"champion": champion}
        return {
            "name": name,
            "value": None if off else 1.5,
            "rule": ">=",
            "threshold": 1.0,
            "verdict": "fail" if name in failed else "not_applicable" if off else "pass",
            "why": f"{name} was measured",
            "source": "made up",
            "figures": figures,
            "override": None,
        }

    return {
        "schema_version": 1,
        "release_id": release_id,
        "created_at": "2025-10-10T12:00:00+00:00",
        "fold": "f2025-10-01",
        "weights_sha256": weights_sha256,
        "champion": None if champion == OFF else champion,
        "champion_weights_sha256": champion_weights,
        "passed": not failed,
        "gates": [row(name) for name in GATES],
        "override": None,
    }


def write_candidate(
    models: Path,
    *,
    release_id: str,
    bundle: Artifact,
    card: dict[str, Any],
    files: Mapping[str, bytes] | None = None,
    failed: Sequence[str] = (),
    gated: bool = True,
) -> Artifact:
    """A version that is not deployed.

    Args:
        files: more of them.
        failed: gates that say no.
        gated: False leaves the gate file out.
    """

    def fill(folder: Path) -> None:
        copy_verified(bundle, folder)
        (folder / CARD_FILE).write_text(canonical_json(card))
        (folder / TARGETS_FILE).write_text("[]\n")
        if gated:
            document = gate_file(release_id, bundle.files[WEIGHTS_FILE], failed)
            (folder / GATE_FILE).write_text(canonical_json(document))
            (folder / CARD_FILE).write_text(canonical_json(card | judged_card(document)))
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)

    return write_version(models, release_id=release_id, fill=fill)


def judged_card(document: dict[str, Any]) -> dict[str, Any]:
    """What a card says of gates and files."""
    files = {WEIGHTS_FILE: document["weights_sha256"]}
    return {"gates": document["gates"], "gates_passed": document["passed"], "files": files}


def files_of(
    release_id: str,
    text: str,
    failed: Sequence[str] = (),
    *,
    champion: str | None = OFF,
    champion_weights: str | None = None,
) -> Callable[[Path], None]:
    """What fills a small version: weights, card, its rendering and gate file; arguments of `gate_file`."""

    def fill(folder: Path) -> None:
        weights = f"weights {text}".encode()
        (folder / WEIGHTS_FILE).write_bytes(weights)
        own = hashlib.sha256(weights).hexdigest()
        document = gate_file(release_id, own, failed, champion=champion, champion_weights=champion_weights)
        card = {
            "verdict": "NO-GO",
            "status": "candidate",
            **judged_card(document),
            "release_id": release_id,
            "override": None,
        }
        (folder / CARD_FILE).write_text(canonical_json(card))
        (folder / "model_card.md").write_text("# candidate\n")
        (folder / GATE_FILE).write_text(canonical_json(document))

    return fill


def small_card(card: dict[str, Any], gates: dict[str, Any]) -> dict[str, Any]:
    """The overridden card of a small version."""
    said = {"gates": gates["gates"], "release_id": gates["release_id"], "override": gates["override"]}
    return card | {"status": "deployed by override"} | said


CARDS = CardWriter(override=small_card, renderings={"model_card.md": lambda card: f"# {card['status']}\n"})


def write_release(
    models: Path,
    *,
    release_id: str,
    bundle: Artifact,
    card: dict[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> Release:
    """A version that passed its gates, deployed as a run does."""
    write_candidate(models, release_id=release_id, bundle=bundle, card=card, files=files)
    return deploy_release(models, release_id, reason="release of the newest fold", automatic=True)


def released(models: Path, release_id: str, text: str, verdict: str = "NO-GO") -> None:
    write_release(models, release_id=release_id, bundle=bundle(models.parent / "fold", text), card={"verdict": verdict})


def candidate(
    models: Path,
    release_id: str,
    text: str,
    failed: Sequence[str] = (),
    *,
    champion: str | None = OFF,
    champion_weights: str | None = None,
) -> Artifact:
    """A version of made-up weights that waits, with a card that can be overridden; arguments of `gate_file`."""
    fill = files_of(release_id, text, failed, champion=champion, champion_weights=champion_weights)
    return write_version(models, release_id=release_id, fill=fill)


def aged(models: Path) -> None:
    """Every version is two days older than it is: young ones are not removed."""
    for manifest in (models / "versions").glob("*/manifest.json"):
        written = manifest.stat().st_mtime - 2 * 86400
        os.utime(manifest, (written, written))


def at(models: Path, moments: list[str]) -> None:
    """Date the log's entries: the clock is no part of what is tested."""
    log = models / LOG_FILE
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    text, previous = "", ""
    for row in rows:
        del row["sha256"]
        line = entry_line(row | {"at": moments[row["sequence"] - 1]}, previous)
        text, previous = text + line, json.loads(line)["sha256"]
    log.write_text(text)
