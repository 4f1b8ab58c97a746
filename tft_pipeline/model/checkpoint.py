"""Training state after an epoch, in a file from which a killed fit goes on bit for bit. Not here: the training itself.

One safetensors file; what is no tensor stands as JSON in its header. It names the hash of the inputs it belongs to. A file of
other inputs, or a damaged one, is left aside with a warning and overwritten: that costs time and changes no result, because a
fit from its first epoch ends in the same bits. One fit at a time may use a path.
"""

import hashlib
import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tft_pipeline.model.windows import PanelTensors

FORMAT = 1
TENSOR_GROUPS = ("network", "optimiser", "best", "random")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Where training stands behind a finished epoch. Early stopping counts from `best_epoch`, so it has no state of its own.

    Attributes:
        network: weights.
        optimiser: what it remembers of each parameter, as "place.name"; its settings follow from the inputs.
        best: weights of the best epoch.
        random: states of the generators: torch's, each CUDA device's, the batches'.
        history: one row a finished epoch.
    """

    network: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    best: dict[str, Tensor]
    random: dict[str, Tensor]
    history: list[dict[str, Any]]
    best_epoch: int

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.history)

    @property
    def epochs_without_gain(self) -> int:
        """Finished epochs since the best one."""
        return self.epochs - 1 - self.best_epoch

    @property
    def best_loss(self) -> float:
        """Validation loss of the best epoch."""
        return float(self.history[self.best_epoch]["validation_loss"])


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, as "place.name"."""
    remembered = optimiser.state_dict()["state"]
    return {f"{place}.{name}": value for place, state in remembered.items() for name, value in state.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give a new optimiser of the same parameters what `optimiser_tensors` said."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        place, name = key.split(".", 1)
        state.setdefault(int(place), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def random_states(batches: torch.Generator) -> dict[str, Tensor]:
    """States of every generator that training draws from."""
    cuda = {f"cuda{device}": state for device, state in enumerate(torch.cuda.get_rng_state_all())}
    return {"torch": torch.get_rng_state(), "batches": batches.get_state(), **cuda}


def inputs_sha256(settings: dict[str, Any], tensors: PanelTensors, weights: dict[str, Tensor]) -> str:
    """Hash of everything the bits of a fit follow from.

    Args:
        settings: JSON; sections, seed, spans and the like.
        tensors: the fold's data, on the CPU.
        weights: the new network's, which stand for its code and its seed.
    """
    versions = [version(name) for name in ("tft-pipeline", "torch", "lightning")]
    machine = [*versions, torch.backends.cpu.get_cpu_capability(), torch.cuda.is_available()]
    digest = hashlib.sha256(json.dumps([FORMAT, machine, settings], sort_keys=True).encode())
    outcomes = tensors.outcomes
    for array in (tensors.values, tensors.observed, *(getattr(outcomes, field.name) for field in fields(outcomes))):
        digest.update(f"{tuple(array.shape)}{array.dtype}".encode())
        for row in array:  # a symbol at a time: a copy of a row, never of the whole
            digest.update(_bytes(row))
    digest.update(_tensors_sha256(weights).encode())
    return digest.hexdigest()


def write_state(path: Path, state: TrainingState, inputs: str) -> None:
    """Replace the file in one step: after a crash it holds this state or the one before.

    Args:
        inputs: `inputs_sha256` of the fit.
    Raises:
        OSError: the disk is full or broken, or there is no such folder; the state before it stays, no partial file is left.
    """
    tensors = {
        f"{group}/{name}": value.detach().cpu().contiguous()
        for group in TENSOR_GROUPS
        for name, value in getattr(state, group).items()
    }
    rest = {"history": state.history, "best_epoch": state.best_epoch, "inputs": inputs}
    text = json.dumps(rest, sort_keys=True, allow_nan=False)
    content = save(tensors, metadata={"state": text, "sha256": _tensors_sha256(tensors, text)})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        with suppress(
            OSError
        ):  # what cannot be removed either is overwritten by the next attempt; the first error is told
            partial.unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


def read_state(path: Path, inputs: str) -> TrainingState | None:
    """The state stored for these inputs; None, with a warning unless there is no file, where there is none to go on from."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        log.warning("%s is damaged (%s): training starts from its first epoch and overwrites it", path, error)
        return None
    except OSError as error:  # a broken disk, or no file: the state is worth the time of one fit, and not the fit
        log.warning("%s cannot be read (%s): training starts from its first epoch", path, error)
        return None
    text = header.get("state", "")
    if header.get("sha256") != _tensors_sha256(tensors, text):
        log.warning("%s is damaged (wrong hash): training starts from its first epoch and overwrites it", path)
        return None
    rest: dict[str, Any] = json.loads(text)
    if rest["inputs"] != inputs:
        log.warning("%s belongs to other inputs: training starts from its first epoch and overwrites it", path)
        return None
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in TENSOR_GROUPS}
    for key, value in tensors.items():
        group, name = key.split("/", 1)
        groups[group][name] = value
    return TrainingState(**groups, history=rest["history"], best_epoch=rest["best_epoch"])


def remove_state(path: Path) -> None:
    """Remove the file and what a writer killed in the middle has left of the next."""
    path.with_name(f"{path.name}.partial").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _tensors_sha256(tensors: dict[str, Tensor], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def _bytes(value: Tensor) -> Any:
    """A tensor's bytes, copied only where it is not contiguous on the CPU."""
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _fsync_folder(folder: Path) -> None:
    """Make the rename durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
