"""The folder of one production fold: safetensors weights, JSON, LightGBM text, predictions. No pickle anywhere.

    weights.safetensors   the best epoch's weights; under "context/" the sequences of its context set, where it reads one
    network.json          everything else of the fitted fold: sections, scaler, history
    lightgbm.txt          the boosted trees of the same fold
    predictions.parquet   out-of-sample predictions, one row a test bar and symbol
    fold.json             key, spec hash, durations, whether the training state could be kept

Not here: training, releases.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import polars as pl

from tft_pipeline.domain.content import frame_sha256, json_sha256
from tft_pipeline.storage.artifacts import Artifact
from tft_pipeline.storage.atomic import canonical_json

if TYPE_CHECKING:
    from tft_pipeline.model.fit import FittedFold

SECTIONS = ("network", "training", "position")
CONTEXT = "context/"
CheckpointStatus = Literal["ok", "failed"]


@dataclass(frozen=True, kw_only=True)
class FoldBundle:
    """One production fold.

    Attributes:
        class_balance: training labels above zero (pos) and not (neg).
        predictions: fold, timestamp, symbol, raw_position, mean, scale, probability, lightgbm_probability; raw positions of the
            baselines, momentum_position, macd_position, ridge_position, lightgbm_position; quantile_0.01 .. quantile_0.99 of
            the label where loss_mode is joint_quantile; and sentiment_probability, null where the source has none, where
            ensemble.sentiment_column names a column.
        seconds: duration of the fit; not content.
        checkpoint_status: failed where the training state could not be written after some epoch. A bundle that does not say is
            from before it was recorded, when such a fit ended without a bundle: ok.
        checkpoint_reason: what went wrong, and how often; "" where nothing did. Not content.
    """

    files: ClassVar[tuple[str, ...]] = ("weights.safetensors", "network.json", "lightgbm.txt", "predictions.parquet")

    key: str
    spec_sha256: str
    fitted: "FittedFold"
    class_balance: dict[str, int]
    boosting: str
    predictions: pl.DataFrame
    seconds: float
    checkpoint_status: CheckpointStatus = "ok"
    checkpoint_reason: str = ""

    def content_sha256(self) -> str:
        """Hash of weights, configuration, trees, predictions, and a failed checkpoint, which holds a release back; durations
        left out.
        """
        parts = [self.key, self.spec_sha256, weights_sha256(self.fitted), _network_json(self.fitted), self.boosting]
        failed = [] if self.checkpoint_status == "ok" else [self.checkpoint_status]
        return json_sha256([*parts, frame_sha256(self.predictions), *failed])


def weights_sha256(fitted: "FittedFold") -> str:
    """Hash of the weights (and of the context set's sequences) as safetensors bytes."""
    import hashlib

    return hashlib.sha256(_weights(fitted)).hexdigest()


def write_fold_bundle(bundle: FoldBundle, folder: Path) -> None:
    """Fill an empty folder."""
    (folder / "weights.safetensors").write_bytes(_weights(bundle.fitted))
    (folder / "network.json").write_text(_network_json(bundle.fitted))
    (folder / "lightgbm.txt").write_text(bundle.boosting)
    bundle.predictions.write_parquet(folder / "predictions.parquet")
    names = ("key", "spec_sha256", "class_balance", "seconds", "checkpoint_status", "checkpoint_reason")
    about = {name: getattr(bundle, name) for name in names}
    (folder / "fold.json").write_text(canonical_json(about))


def read_fold_bundle(artifact: Artifact) -> FoldBundle:
    """Read a verified folder back; equal to what was written."""
    about = json.loads(artifact.path("fold.json").read_text())
    return FoldBundle(
        **about,
        fitted=read_fitted(artifact),
        boosting=artifact.path("lightgbm.txt").read_text(),
        predictions=pl.read_parquet(artifact.path("predictions.parquet")),
    )


def read_fitted(artifact: Artifact) -> "FittedFold":
    """The fitted network of a verified folder that holds `weights.safetensors` and `network.json`."""
    from safetensors.torch import load

    from tft_pipeline.domain.scaling import Scaler
    from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
    from tft_pipeline.model.context import ContextPool
    from tft_pipeline.model.fit import FittedFold

    stored: dict[str, Any] = json.loads(artifact.path("network.json").read_text())
    network = NetworkSection.model_validate(stored.pop("network"))
    tensors = load(artifact.path("weights.safetensors").read_bytes())
    pool = {name.removeprefix(CONTEXT): value for name, value in tensors.items() if name.startswith(CONTEXT)}
    return FittedFold(
        network=network,
        training=TrainingSection.model_validate(stored.pop("training")),
        position=PositionSection.model_validate(stored.pop("position")),
        scaler=Scaler.from_dict(stored.pop("scaler")),
        history=tuple(stored.pop("history")),
        symbols=tuple(stored.pop("symbols")),
        state={name: value for name, value in tensors.items() if not name.startswith(CONTEXT)},
        context=ContextPool(choice=network.context_choice, seed=stored["seed"], **pool) if pool else None,
        **stored,
    )


def _weights(fitted: "FittedFold") -> bytes:
    from safetensors.torch import save

    pool = {} if fitted.context is None else fitted.context.tensors()
    return save({**fitted.state, **{f"{CONTEXT}{name}": value for name, value in pool.items()}})


def _network_json(fitted: "FittedFold") -> str:
    value: dict[str, Any] = {field.name: getattr(fitted, field.name) for field in dataclasses.fields(fitted)}
    del value["state"], value["context"]
    for name in SECTIONS:
        value[name] = value[name].model_dump(mode="json")
    value["scaler"] = fitted.scaler.to_dict()
    value["history"], value["symbols"] = list(fitted.history), list(fitted.symbols)
    return canonical_json(value)
