"""An experiment made in a script, for frames in memory. Not here: reading one from a file (`storage.experiments`)."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from tft_pipeline.domain.experiment import ConfigurationError, Experiment, parse_experiment
from tft_pipeline.domain.intervals import Interval

IN_MEMORY = "a frame in memory"


def new_experiment(
    *,
    interval: Interval,
    bars_per_year: float,
    production_start: date,
    train: int,
    validation: int,
    test: int,
    epochs: int,
    window: Literal["expanding", "sliding"] = "expanding",
    sections: Mapping[str, Mapping[str, Any]] | None = None,
) -> Experiment:
    """The settings of `walk_forward`, without a file.

    The sections of choosing features and searching settings, which an experiment file needs, get the same folds and the
    smallest search; `walk_forward` reads none of them. Where you want them, write a file and use `tft run`.

    Args:
        interval: length of one bar.
        bars_per_year: bars that a year has: 252 for US daily bars, 525,600 for minutes around the clock.
        production_start: first date that is scored.
        train: bars that a fold trains on. Between its parts lies the purge, 5 bars unless `sections` says otherwise.
        validation: bars that stop its training early; more than one window of the network, `training.lookback`.
        test: bars that it scores. Fold follows fold from `production_start` on, and no bar is scored twice; the newest bars,
            which do not fill a fold, are scored by none (`WalkForward.unscored`).
        epochs: at most, a fold; training stops early when the validation loss no longer falls.
        window: whether training starts at the first bar in every fold, or moves on with it.
        sections: any keys of the experiment file by section, such as {"network": {"hidden": 8}, "position": {"cost_bps": 2.0}};
            they go before the arguments above.
    Raises:
        ConfigurationError: an unknown key, a value beyond its limit, or sections that do not fit together.
    Example:
        >>> experiment = new_experiment(
        ...     interval="1d", bars_per_year=252, production_start=date(2015, 1, 2),
        ...     train=1512, validation=252, test=504, epochs=5,
        ... )
        >>> experiment.production.folds.test
        504

    Source: the experiment file (docs/library.md).
    """
    folds = {"train": train, "validation": validation, "test": test, "step": test, "window": window}
    raw: dict[str, dict[str, Any]] = {
        "data": {"source": IN_MEMORY, "interval": interval, "bars_per_year": bars_per_year},
        "periods": {"production_start": production_start},
        "exploration": {"folds": folds, "epochs": epochs},
        "tuning": {
            "folds": folds,
            "epochs": epochs,
            "n_trials": 1,
            "pruner": "none",
            "space": {"training.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
        },
        "production": {"folds": folds, "epochs": epochs},
        "gates": {"challenger": "off"},
    }
    if not isinstance(sections, Mapping | None):
        raise ConfigurationError(
            f'sections are {sections!r}: expected keys by section, as {{"network": {{"hidden": 8}}}}'
        )
    for name, keys in (sections or {}).items():
        if not isinstance(keys, Mapping):
            raise ConfigurationError(
                f'sections: {name} is {keys!r}: expected the keys of the section, as {{"network": {{"hidden": 8}}}}'
            )
        raw[name] = raw.get(name, {}) | dict(keys)
    return parse_experiment({"name": "in_memory", **raw}, origin="new_experiment")
