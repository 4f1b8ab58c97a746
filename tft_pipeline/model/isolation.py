"""What a fit sets in its process and puts back: threads, randomness, deterministic algorithms, log lines. Not here: the fit."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import deterministic


@contextmanager
def single_thread() -> Iterator[None]:
    """One torch thread: results do not depend on the machine's cores, and processes do not compete for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def private_random_state() -> Iterator[None]:
    """Torch's random numbers of the caller stay where they are."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Deterministic algorithms, without the NaN torch then writes into every new tensor: none is read unwritten."""
    switches: Any = deterministic  # properties that the module's stub does not list
    before = torch.are_deterministic_algorithms_enabled(), switches.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    switches.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        switches.fill_uninitialized_memory = before[1]


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning's information lines off, its warnings on."""
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 asks torch for a leaf in a way that torch 2.13 renames; it concerns neither of its users.
            warnings.filterwarnings("ignore", message=r".*LeafSpec", category=FutureWarning)
            yield
    finally:
        logger.setLevel(before)
