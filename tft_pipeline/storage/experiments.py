"""Reading experiment files: YAML text to a validated `Experiment`, with its source path resolved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tft_pipeline.domain.data_section import DataSection
from tft_pipeline.domain.experiment import ConfigurationError, Experiment, parse_experiment

OWNER_FILE = "owner.txt"


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


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, which otherwise keeps the last of two equal keys without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        twice = sorted({name for name in names if isinstance(name, str) and names.count(name) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                problem=f"{', '.join(twice)} stated twice, of which only one would count; remove one",
                problem_mark=node.start_mark,
            )
        return super().construct_mapping(node, deep)


def read_experiment(path: Path) -> ExperimentFile:
    """Read and validate one experiment file.

    Raises:
        ConfigurationError: the file is missing, is not YAML, states a key twice, or does not validate.
    """
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such experiment file; pass the path of a YAML file such as demo.yaml")
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not readable as YAML: {error}") from error
    experiment = parse_experiment(raw, origin=str(path))
    return ExperimentFile(path=path, experiment=experiment, source=(path.parent / experiment.data.source).resolve())


def read_experiments(paths: list[Path]) -> list[ExperimentFile]:
    """Read several files whose names must differ, for they prefix assets and folders.

    Raises:
        ConfigurationError: see `read_experiment`; or two files carry one name.
    """
    read: dict[str, ExperimentFile] = {}
    for path in paths:
        found = read_experiment(path)
        name = found.experiment.name
        if name in read:
            raise ConfigurationError(
                f"{read[name].path} and {found.path} are both named {name!r}: their assets and files would collide; "
                "give one another name"
            )
        read[name] = found
    return list(read.values())


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


def owner_of(folder: Path) -> Path | None:
    """The experiment file whose results an experiment's folder holds; None where none was ever run there."""
    owner = folder / OWNER_FILE
    return Path(owner.read_text().strip()) if owner.is_file() else None
