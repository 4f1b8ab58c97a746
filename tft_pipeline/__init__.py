"""Temporal Fusion Transformers walked forward over markets, with honest statistics: the names a script or a notebook uses.

    from tft_pipeline import honest_sharpe, load_bundle, walk_forward

docs/library.md explains each. A name is imported when it is first used, so that `import tft_pipeline` itself costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tft_pipeline.domain.bars import BarsError
    from tft_pipeline.domain.experiment import ConfigurationError, Experiment
    from tft_pipeline.domain.folds import FoldPlan, plan_folds
    from tft_pipeline.library.honest import HonestSharpe, honest_sharpe
    from tft_pipeline.library.released import Decisions, ReleasedModel, load_bundle
    from tft_pipeline.library.settings import new_experiment
    from tft_pipeline.library.walking import WalkForward, walk_forward
    from tft_pipeline.live.refusals import RefusedBarError
    from tft_pipeline.storage.artifacts import IntegrityError
    from tft_pipeline.storage.experiments import ExperimentFile, read_experiment

    __version__: str

__all__ = [
    "BarsError",
    "ConfigurationError",
    "Decisions",
    "Experiment",
    "ExperimentFile",
    "FoldPlan",
    "HonestSharpe",
    "IntegrityError",
    "RefusedBarError",
    "ReleasedModel",
    "WalkForward",
    "__version__",
    "honest_sharpe",
    "load_bundle",
    "new_experiment",
    "plan_folds",
    "read_experiment",
    "walk_forward",
]

if not TYPE_CHECKING:  # a type checker would take any name for one that is here
    _PLACES = {
        "BarsError": "domain.bars",
        "ConfigurationError": "domain.experiment",
        "Decisions": "library.released",
        "Experiment": "domain.experiment",
        "ExperimentFile": "storage.experiments",
        "FoldPlan": "domain.folds",
        "HonestSharpe": "library.honest",
        "IntegrityError": "storage.artifacts",
        "RefusedBarError": "live.refusals",
        "ReleasedModel": "library.released",
        "WalkForward": "library.walking",
        "honest_sharpe": "library.honest",
        "load_bundle": "library.released",
        "new_experiment": "library.settings",
        "plan_folds": "domain.folds",
        "read_experiment": "storage.experiments",
        "walk_forward": "library.walking",
    }

    def __getattr__(name):
        if name == "__version__":
            from importlib.metadata import version

            found = version("tft-pipeline")
        elif name in _PLACES:
            from importlib import import_module

            found = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
        globals()[name] = found
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
