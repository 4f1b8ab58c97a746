"""The examples in the docstrings of the library are run as they are printed."""

import doctest
from types import ModuleType

import pytest

from tft_pipeline.library import honest, released, settings, walking


@pytest.mark.parametrize(("module", "runs"), [(honest, True), (settings, True), (walking, False), (released, False)])
def test_the_examples_of_a_module_say_what_they_give(module: ModuleType, runs: bool) -> None:
    """Those that need bars or a release are read only: they are marked to be skipped."""
    done = doctest.testmod(module)
    assert done.failed == 0
    assert (done.attempted > 0) == runs
    assert any(">>>" in (one.docstring or "") for one in doctest.DocTestFinder().find(module))
