"""Fits in worker processes give the bits of fits in this process. Not here: the workers themselves (`test_processes`)."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.inference import predict
from tft_pipeline.model.processes import process_pool
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit, small_fold

SEEDS = (1, 2, 3, 4)
SECTION = NETWORK.model_copy(update={"static_symbol": True, "n_context": 3, "context_bars": 6})


@dataclass(frozen=True)
class Job:
    """One fit, small enough to send."""

    family: str
    seed: int


def fit(job: Job) -> FittedFold:
    """The fit of a job, on a panel that every process draws for itself."""
    network = SECTION if job.family == "tft" else NETWORK.model_copy(update={"family": job.family})
    return small_fit(random_panel(), network=network, seed=job.seed)


def _assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        assert value.numpy().tobytes() == other[name].numpy().tobytes(), name


@pytest.fixture(scope="module")
def together() -> dict[Job, FittedFold]:
    """Every job's fit from a pool of two workers that fit at the same time."""
    jobs = [Job("tft", seed) for seed in SEEDS] + [Job("lstm", seed) for seed in SEEDS[:2]]
    with process_pool(2) as pool:
        return dict(zip(jobs, pool.map(fit, jobs, timeout=300), strict=True))


@pytest.mark.parametrize("family", ["tft", "lstm"])
def test_seeds_of_a_fold_fitted_in_parallel_are_bit_for_bit_those_fitted_one_after_another(
    together: dict[Job, FittedFold], family: str
) -> None:
    jobs = [job for job in together if job.family == family]
    for job in reversed(jobs):  # another order than theirs: no fit may lean on the one before it
        alone, parallel = fit(job), together[job]
        _assert_same_bits(alone.state, parallel.state)
        assert alone.history == parallel.history
        assert alone.best_epoch == parallel.best_epoch
        assert alone.scaler == parallel.scaler
        if alone.context is not None and parallel.context is not None:
            _assert_same_bits(alone.context.tensors(), parallel.context.tensors())
    states = {tuple(together[job].state["lstm.weight_ih_l0"].flatten().tolist()) for job in jobs}
    assert len(states) == len(jobs)


def test_a_fold_fitted_elsewhere_predicts_the_same_bits(together: dict[Job, FittedFold]) -> None:
    job = Job("tft", SEEDS[0])
    ours, theirs = (predict(each, random_panel(), small_fold().test) for each in (fit(job), together[job]))
    np.testing.assert_array_equal(ours.raw_position, theirs.raw_position)
