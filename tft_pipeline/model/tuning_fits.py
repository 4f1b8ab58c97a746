"""Where the fits of trials run: worker processes with one thread each, or this process where only one may run at once.

Not here: which fits are wanted, and what their scores decide (`tuning_rounds`).
"""

from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.search import Value
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.model.processes import InThisProcess, WorkerPool, n_workers, process_pool
from tft_pipeline.model.scoring import net_returns


class PooledFits:
    """Scores of folds of one panel, computed by as many processes as the machine has for them."""

    def __init__(self, panel: Panel, folds: tuple[Fold, ...], experiment: Experiment) -> None:
        arguments = (panel, folds, experiment)
        workers = n_workers(experiment.tuning.parallel_trials)
        self._pool: WorkerPool | InThisProcess
        if workers == 1:
            self._pool = InThisProcess(_load_worker, arguments)
        else:
            self._pool = process_pool(workers, _load_worker, arguments)

    def submit(self, params: dict[str, Value], fold: int, epochs: int) -> Future[dict[str, Any]]:
        """Begin a fit; see `score_fold`."""
        return self._pool.submit(_score_fold, params, fold, epochs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(self._pool, WorkerPool) and kind is not None and issubclass(kind, Exception):
            self._pool.shutdown(wait=True, cancel_futures=True)  # nobody will read these fits; an interrupt kills them
        self._pool.__exit__(kind, error, trace)


_WORKER: dict[str, Any] = {}


def _load_worker(panel: Panel, folds: tuple[Fold, ...], experiment: Experiment) -> None:
    _WORKER.update(panel=panel, folds=folds, experiment=experiment)


def _score_fold(params: dict[str, Value], fold: int, epochs: int) -> dict[str, Any]:
    return score_fold(_WORKER["panel"], _WORKER["folds"][fold], _WORKER["experiment"], params, epochs)


def score_fold(
    panel: Panel, fold: Fold, experiment: Experiment, params: dict[str, Value], epochs: int
) -> dict[str, Any]:
    """Fit one fold with some parameters and score its test bars net of costs.

    Returns:
        sharpe_annual and returns (one a test bar); error alone where the parameters do not work.
    """
    try:
        network, training, position = experiment.with_overrides(params)
        fitted = fit_fold(
            panel,
            fold,
            network=network,
            training=training,
            position=position,
            target_volatility=experiment.target.target_volatility,
            horizon=experiment.target.horizon,
            bars_per_year=experiment.data.bars_per_year,
            epochs=epochs,
            seed=experiment.seed,
        )
        returns = net_returns(fitted, panel, fold.test)
        sharpe = annualise(sharpe_ratio(returns), experiment.data.bars_per_year)
    except (ValueError, FloatingPointError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"sharpe_annual": sharpe, "returns": [float(value) for value in returns]}
