"""Releases of made-up fold bundles, and a log whose clock is set by hand."""

import json
from pathlib import Path

from tft_pipeline.storage.artifacts import Artifact, write_artifact
from tft_pipeline.storage.deployment_log import LOG_FILE, entry_line
from tft_pipeline.storage.releases import write_release


def bundle(root: Path, text: str = "one") -> Artifact:
    def fill(folder: Path) -> None:
        (folder / "weights.safetensors").write_text(f"weights {text}")
        (folder / "network.json").write_text("{}")

    return write_artifact(root, fill)


def released(models: Path, release_id: str, text: str, verdict: str = "NO-GO") -> None:
    write_release(models, release_id=release_id, bundle=bundle(models.parent / "fold", text), card={"verdict": verdict})


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
