"""What a fit sets in its process is put back, also when it fails."""

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch

from tft_pipeline.model.isolation import deterministic_algorithms, private_random_state, quiet_lightning, single_thread


def _filling() -> bool:
    return torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize(
    ("context", "look", "inside"),
    [
        (single_thread, torch.get_num_threads, 1),
        (deterministic_algorithms, torch.are_deterministic_algorithms_enabled, True),
        (deterministic_algorithms, _filling, False),
        (quiet_lightning, lambda: logging.getLogger("lightning.pytorch").level, logging.WARNING),
    ],
)
def test_it_holds_inside_and_is_put_back_after_an_error(
    context: Callable[[], AbstractContextManager[None]], look: Callable[[], Any], inside: Any
) -> None:
    before, seen = look(), []

    def fail() -> None:
        with context():
            seen.append(look())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [inside]
    assert look() == before


def test_random_numbers_inside_are_not_taken_from_the_caller() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with private_random_state():
        torch.manual_seed(99)
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)


def test_lightnings_warnings_are_still_heard() -> None:
    with quiet_lightning(), pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)
