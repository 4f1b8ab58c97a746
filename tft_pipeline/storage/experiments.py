"""Reading experiment files: YAML text to a validated `Experiment`, with its source path resolved.

The author of the file is trusted; the file may still be a wrong one, so that nothing in it can run code, fill the memory or
end in anything but one clear sentence (`experiment_yaml`).
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tft_pipeline.domain.data_section import DataSection
from tft_pipeline.domain.experiment import ConfigurationError, Experiment, parse_experiment
from tft_pipeline.domain.visible_text import LONGEST_NAME, shown, unseen
from tft_pipeline.storage.artifacts import place_in_store
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.experiment_yaml import decoded

OWNER_FILE, OWNER_OBJECT = "owner.txt", "owner.json"
"""Which file an experiment's folder belongs to, and which event log its place in the store belongs to."""


@dataclass(frozen=True, slots=True)
class ExperimentFile:
    """An experiment and where it came from.

    Attributes:
        path: absolute path of the YAML file.
        experiment: its content.
        source: absolute path of the bars, relative names resolved against the YAML file's folder.
    """

    path: Path
    experiment: Experiment
    source: Path

    @property
    def minute_source(self) -> Path | None:
        """Absolute path of the minute bars, where there are any."""
        named = self.experiment.data.minute_source
        return None if named is None else self._resolved(named)

    @property
    def tables(self) -> tuple[Path, ...]:
        """Absolute paths of `data.tables`, in their order."""
        return tuple(self._resolved(table.source) for table in self.experiment.data.tables)

    def absolute_data(self) -> DataSection:
        """The data section with absolute sources, for a copy of the experiment that lies in another folder."""
        data, minutes = self.experiment.data, self.minute_source
        tables = zip(data.tables, self.tables, strict=True)
        return data.model_copy(
            update={
                "source": str(self.source),
                "minute_source": None if minutes is None else str(minutes),
                "tables": tuple(table.model_copy(update={"source": str(path)}) for table, path in tables),
            }
        )

    def _resolved(self, named: str) -> Path:
        return (self.path.parent / named).resolve()


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """An experiment file that cannot be loaded.

    Attributes:
        path: as it was found.
        reason: why, in plain words.
    """

    path: Path
    reason: str


def read_experiment(path: Path) -> ExperimentFile:
    """Read and validate one experiment file.

    Raises:
        ConfigurationError: the file is missing or cannot be read, its path holds a character that cannot be seen, it is not
            YAML within the limits of `experiment_yaml`, states a key twice, or does not validate.
    """
    if (hidden := unseen(str(path))) is not None:
        raise ConfigurationError(
            f"{shown(str(path), allowed='')}: the path holds {hidden}, which cannot be seen: names are written to files and "
            "logs, where it would hide or break a line; rename it"
        )
    try:
        path = path.expanduser().resolve()
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # a closed folder, a name that is too long, ~ of nobody
        raise ConfigurationError(f"{path}: cannot be looked for: {error}; pass the path of a YAML file") from error
    if not is_file:
        raise ConfigurationError(f"{path}: no such experiment file; pass the path of a YAML file such as demo.yaml")
    experiment = parse_experiment(decoded(path), origin=str(path))
    return ExperimentFile(path=path, experiment=experiment, source=(path.parent / experiment.data.source).resolve())


def usable_experiments(paths: Sequence[Path]) -> tuple[list[ExperimentFile], list[RefusedFile]]:
    """The files that can be loaded side by side, and why the others cannot: one bad file takes no other with it.

    Of files that carry one name none is loaded: which of them the results belong to is not for the order of a folder to say.
    A file that is named twice, or through a link, counts once.
    """
    read: dict[Path, ExperimentFile] = {}
    refused = []
    for path in paths:
        try:
            found = read_experiment(path)
        except ConfigurationError as error:
            refused.append(RefusedFile(path, str(error)))
        else:
            read.setdefault(found.path, found)
    counts = Counter(found.experiment.name for found in read.values())
    for name in (name for name, count in counts.items() if count > 1):
        same = [found.path for found in read.values() if found.experiment.name == name]
        reason = (
            f"{' and '.join(map(str, same))} are both named {name!r}: their assets and files would collide; give one another "
            "name"
        )
        refused += [RefusedFile(path, reason) for path in same]
    return [found for found in read.values() if counts[found.experiment.name] == 1], refused


def claim_name(folder: Path, file: Path) -> None:
    """Write down which file an experiment's folder belongs to; another file of the same name is refused.

    Raises:
        ConfigurationError: the folder holds results of another experiment file that still exists.
    """
    other = owner_of(folder)
    if other is not None and other != file and other.is_file():
        raise ConfigurationError(
            f"{folder} holds the results of {other}, and {file} carries the same name: running it would overwrite them; "
            "give it another name, or set TFT_HOME to another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWNER_FILE).write_text(f"{file}\n")


def claim_in_store(folder: Path, event_log: str) -> None:
    """Write into the store, once, which event log an experiment's results there belong to; another one is refused.

    Only the log that recorded a result knows what it was made from, so two logs would take each other's results for their own.
    Machines that share a log compute together, with a home that is empty or not, and whatever becomes of the experiment's
    file. Nothing happens without a store.

    Args:
        folder: of the experiment, below `TFT_HOME`.
        event_log: id of the log, the same for every machine that uses it.
    Raises:
        ConfigurationError: the results are those of another log; the message says how to join it or to take its place.
        StoreError: the store does not answer.
    """
    place = place_in_store(folder)
    if place is None:
        return
    key = f"{place.key}/{OWNER_OBJECT}"
    content = canonical_json({"event_log": event_log}).encode()
    if (there := place.store.get(key)) is None and not place.store.create(key, content):
        there = place.store.get(key)  # another machine was first
    if there is None:
        return
    try:
        owner = json.loads(there)["event_log"]
    except (ValueError, KeyError, TypeError):
        owner = "one that cannot be read"
    if owner != event_log:
        raise ConfigurationError(
            f"{place.store.where(place.key)} holds results that another event log recorded ({owner}; this machine's is "
            f"{event_log}): which of them are current is known there alone, and running here would replace them. To compute "
            "together, share one event log and TFT_LOCKS (docs/machines.md); for another experiment, give it another name or "
            f"TFT_STORE; to go on with this log in place of a lost one, remove {place.store.where(key)}: all is computed again"
        )


def owner_of(folder: Path) -> Path | None:
    """The experiment file whose results an experiment's folder holds; None where none was ever run there."""
    if len(folder.name) > LONGEST_NAME:  # no experiment is called so, and the system would refuse to look
        return None
    owner = folder / OWNER_FILE
    return Path(owner.read_text().removesuffix("\n")) if owner.is_file() else None
