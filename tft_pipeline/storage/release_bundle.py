"""A release as live code reads it: every file verified against the manifest, then the signature parsed. No torch, no polars.

    weights.safetensors network.json fold.json lightgbm.txt predictions.parquet   the fold bundle, as it was stored
    signature.json              inputs, outputs, lookback, calendar, scaler, position rule (`domain.signature`)
    features.json               one row a feature: formula, version, lookback, raw columns
    window.onnx stream.onnx     where the network has such a form
    ensemble.json calibration.json   weights of the blend; slope and intercept by source
    gate.json                   rows of the gates
    model_card.json model_card.md model_card.html   performance_targets.json
    manifest.json               SHA-256 of every file, and of itself

Not here: writing one (`pipeline.bundling`, `releases`), deciding (`live.onnx_predictor`).
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tft_pipeline.domain.signature import Signature
from tft_pipeline.storage.artifacts import Artifact, IntegrityError, read_artifact, read_version

if TYPE_CHECKING:
    from tft_pipeline.model.fit import FittedFold

SIGNATURE_FILE, FEATURES_FILE = "signature.json", "features.json"
FORM_FILES = {"onnx_window": "window.onnx", "onnx_stream": "stream.onnx"}
ENSEMBLE_FILE, CALIBRATION_FILE, GATE_FILE = "ensemble.json", "calibration.json", "gate.json"
CARD_FILE, WEIGHTS_FILE, NETWORK_FILE = "model_card.json", "weights.safetensors", "network.json"
CARD_MARKDOWN, CARD_HTML = "model_card.md", "model_card.html"
VERSIONS = "versions"


@dataclass(frozen=True, slots=True)
class ReleaseBundle:
    """One verified release.

    Attributes:
        artifact: its folder and the hash of every file.
        signature: what goes in and comes out.
    """

    artifact: Artifact
    signature: Signature

    @property
    def model_id(self) -> str:
        """Name of the release."""
        return self.artifact.version

    def read(self, name: str) -> bytes:
        """A file's bytes, verified once more: what is parsed is what the manifest speaks of, whatever happened since.

        Raises:
            IntegrityError: the manifest does not list it, or its bytes changed.
        """
        return _verified(self.artifact, name)

    def document(self, name: str) -> Any:
        """A JSON file of the release, such as `GATE_FILE`.

        Raises:
            IntegrityError: as `read`.
            ValueError: it is no JSON.
        """
        return _json(self.artifact, name)

    def onnx(self, form: str) -> bytes:
        """The exported network of a form.

        Raises:
            ValueError: the release does not carry that form; the message says why.
            IntegrityError: as `read`.
        """
        if form not in self.signature.forms:
            why = self.signature.left_out.get(form, "there is no such form")
            carried = ", ".join(self.signature.forms) or "none"
            raise ValueError(f"{self.model_id} does not carry the form {form}: {why}; it carries {carried}")
        return self.read(self.signature.forms[form])

    def fitted(self) -> "FittedFold":
        """The network for eager torch, which is imported here and not before."""
        from tft_pipeline.storage.fold_bundles import read_fitted

        return read_fitted(self.artifact)


def read_release_bundle(folder: Path) -> ReleaseBundle:
    """Verify every file of a version, then parse its signature.

    Raises:
        IntegrityError: a file is missing, unlisted, a link, or not the bytes that were written; nothing was parsed. Or the
            signature speaks of other weights, or of forms that are not there.
        ValueError: the signature is no signature.
    """
    return _parsed(read_version(folder))


def current_bundle(models: Path) -> ReleaseBundle:
    """The live release of this machine; the link is resolved once, so that all that is read is of one version.

    No store is asked: live code goes on when the store is down, and `tft pull` moves the link.

    Raises:
        ArtifactMissingError: nothing is live.
        IntegrityError, ValueError: as `read_release_bundle`.
    """
    return _parsed(read_artifact(models / VERSIONS, in_store=False))


def _parsed(artifact: Artifact) -> ReleaseBundle:
    if SIGNATURE_FILE not in artifact.files:
        raise IntegrityError(
            f"{artifact.folder}: no {SIGNATURE_FILE} in it: it was released before releases carried one; release again"
        )
    try:
        signature = Signature.from_dict(_json(artifact, SIGNATURE_FILE))
    except ValueError as error:
        raise ValueError(f"{artifact.folder / SIGNATURE_FILE}: {error}") from error
    stated = artifact.files.get(WEIGHTS_FILE)
    if signature.weights_sha256 != stated:
        raise IntegrityError(
            f"{artifact.folder}: {SIGNATURE_FILE} speaks of weights {signature.weights_sha256}, {WEIGHTS_FILE} is {stated}: "
            "its scaler and forms are another model's"
        )
    absent = [name for name in signature.forms.values() if name not in artifact.files]
    if absent:
        raise IntegrityError(f"{artifact.folder}: {SIGNATURE_FILE} names {', '.join(absent)}, which is not there")
    return ReleaseBundle(artifact=artifact, signature=signature)


def _verified(artifact: Artifact, name: str) -> bytes:
    path = artifact.path(name)
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != artifact.files[name]:
        raise IntegrityError(f"{path}: SHA-256 is {actual}, the manifest says {artifact.files[name]}")
    return content


def _json(artifact: Artifact, name: str) -> Any:
    try:
        return json.loads(_verified(artifact, name))
    except ValueError as error:
        raise ValueError(f"{artifact.folder / name} is no JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"{artifact.folder / name} is nested too deeply: it is no file of a release") from None
