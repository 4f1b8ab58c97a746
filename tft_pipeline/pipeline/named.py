"""Which experiment a command speaks of: a file, or the name of one that was run here. Not here: what the command does."""

from pathlib import Path

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.storage.experiments import owner_of, read_experiment
from tft_pipeline.storage.layout import Layout, default_layout


def graph_named(named: str, layout: Layout | None = None) -> ExperimentGraph:
    """The graph of an experiment file, or of the experiment that has results under this name.

    Raises:
        ConfigurationError: neither; or the file does not validate.
    """
    layout = default_layout() if layout is None else layout
    if named.endswith((".yaml", ".yml")):
        return ExperimentGraph(read_experiment(Path(named)), layout)
    file = owner_of(layout.experiment(named)) if named.replace("_", "").isalnum() else None
    if file is None:
        folder = layout.home / "experiments"
        known = sorted(path.name for path in folder.iterdir() if owner_of(path)) if folder.is_dir() else []
        raise ConfigurationError(
            f"--experiment {named!r} is no experiment file and nothing was run here under this name; "
            + (f"known are {', '.join(known)}" if known else "run `tft train` or `tft run FILE` first, or name a file")
        )
    return ExperimentGraph(read_experiment(file), layout)
