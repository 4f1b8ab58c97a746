"""What the gate file of a stored version says: of this version, as its card has it, and against what is live now.

Not here: what a gate file must say (`domain.deploy_gate`), making a version live (`deploying`). Standard library only.
"""

import json
from typing import Any

from tft_pipeline.domain.deploy_gate import (
    admitted,
    card_problems,
    failed_gates,
    gate_problems,
    gate_sentence,
    judged_against_live,
)
from tft_pipeline.storage.artifacts import Artifact
from tft_pipeline.storage.deployments import CARD_FILE, WEIGHTS_FILE
from tft_pipeline.storage.releases import GATE_FILE
from tft_pipeline.storage.standing import Standing


class DeployRefusedError(ValueError):
    """What was asked for cannot be deployed: no such version, none that waits, or it is live already."""


class GateRefusedError(ValueError):
    """The gates keep a version from being live.

    Attributes:
        reasons: one sentence each.
    """

    def __init__(self, release_id: str, reasons: list[str]) -> None:
        super().__init__(f"{release_id}: {'; '.join(reasons)}")
        self.reasons = reasons


def check_gates(now: Standing, version: Artifact, *, overridden: bool = False) -> dict[str, Any]:
    """The gate file of a verified version, which lets it go live now: the challenger held against what is live.

    Args:
        now: what is live.
        overridden: failed gates are overridden; a missing or foreign file never is.
    Raises:
        GateRefusedError: it does not.
        DeployRefusedError: an override, and nothing that needs one.
    """
    document = judged_against_live(own_gates(version), live=now.live, live_weights=now.weights())
    said = admitted(document)
    if overridden and said is not None:
        raise DeployRefusedError(f"{version.version}: {said}; there is nothing to override: deploy it without")
    if not overridden and said is None:
        raise GateRefusedError(version.version, [gate_sentence(row) for row in failed_gates(document)])
    return document


def gates_of(version: Artifact) -> str | None:
    """What a verified version's gates said when they were judged, as the log has it; None where they do not let it go live."""
    try:
        return admitted(own_gates(version))
    except GateRefusedError:
        return None


def own_gates(version: Artifact) -> dict[str, Any]:
    """The gate file of a verified version, once it speaks of this version and the card says the same.

    Raises:
        GateRefusedError: it does not.
    """
    if GATE_FILE not in version.files:
        raise GateRefusedError(
            version.version, [f"no {GATE_FILE}: its gates were never judged; run the release again, which judges them"]
        )
    try:
        document = _document(version)
    except ValueError as error:
        raise GateRefusedError(version.version, [f"{GATE_FILE} is not JSON ({error})"]) from error
    problems = gate_problems(document, release_id=version.version, weights_sha256=version.files[WEIGHTS_FILE])
    if not problems:
        try:
            card = json.loads(version.path(CARD_FILE).read_text())
        except ValueError as error:
            raise GateRefusedError(version.version, [f"{CARD_FILE} is not JSON ({error})"]) from error
        problems = card_problems(card, document, version.files)
    if problems:
        raise GateRefusedError(version.version, problems)
    return document


def _document(version: Artifact) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(version.path(GATE_FILE).read_text())
    return document
