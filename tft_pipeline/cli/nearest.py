"""An experiment file that is not there, and the one that was probably meant. Not here: reading it (`storage.experiments`)."""

from difflib import get_close_matches
from pathlib import Path

SUFFIXES = (".yaml", ".yml")
SHIPPED = Path("experiments")
NAMED = 4
"""Files that a refusal names at most."""


def existing_file(path: Path | None) -> Path | None:
    """The path of an experiment file that is there; None, where one may be left out, stays None.

    Raises:
        ConfigurationError: nothing is there, or no file; the message names the nearest one.
    """
    from tft_pipeline.domain.experiment import ConfigurationError

    if path is None:
        return None
    try:
        there, is_folder = path.expanduser().exists(), path.expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # a closed folder, a name that is too long: reading it says which
        return path
    if is_folder:
        inside = ", ".join(str(one) for one in _files(path)[:NAMED])
        raise ConfigurationError(
            f"{path} is a folder, not an experiment file; " + (f"name one, such as {inside}" if inside else _remedy())
        )
    if not there:
        near = nearest_file(path)
        raise ConfigurationError(
            f"{path}: no such experiment file; " + (f"did you mean {near}?" if near is not None else _remedy())
        )
    return path


def existing_file_if_one(named: str) -> str:
    """The same for an option that takes a file or the name of an experiment: a name passes.

    Raises:
        ConfigurationError: as `existing_file`.
    """
    if named.endswith(SUFFIXES):
        existing_file(Path(named))
    return named


def nearest_file(path: Path) -> Path | None:
    """The experiment file whose name is nearest: beside the one that was named, here, or in `experiments/`."""
    wanted = path.name.removesuffix(".yaml").removesuffix(".yml")
    found = {one.stem: one for folder in (SHIPPED, Path(), path.parent) for one in _files(folder)}
    near = get_close_matches(wanted, found, n=1, cutoff=0.6)
    return found[near[0]] if near else None


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if one.suffix in SUFFIXES and one.is_file())
    except OSError:  # not there, or closed
        return []


def _remedy() -> str:
    from tft_pipeline.storage.layout import PROJECT_ROOT

    shipped = PROJECT_ROOT / SHIPPED / "demo.yaml"
    return "`tft init` writes one for your bars" + (f"; {shipped} is shipped" if shipped.is_file() else "")
