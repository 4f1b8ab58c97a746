"""Equal questions about the same array are answered once: many features read the same statistic of the same series.

Inside `with sharing():` what `once` computed is handed out again to whoever asks for the same thing of the same arrays.
Arrays count as the same by identity, and only those that nobody can write to any more are remembered: what a
`History` holds, and what a window function returned. Not here: what is computed.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Arrays = tuple[Array, ...]

LIMIT_BYTES = 256 * 2**20
"""What one scope remembers at most; beyond it the answer that was not asked for longest is forgotten."""


class _Memory:
    """Answers by question, each with the arrays it is about: as long as they are held, no other array has their identity."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._answers: OrderedDict[Hashable, tuple[tuple[NDArray[Any], ...], Arrays]] = OrderedDict()

    def get(self, key: Hashable) -> Arrays | None:
        found = self._answers.get(key)
        if found is None:
            return None
        self._answers.move_to_end(key)
        return found[1]

    def put(self, key: Hashable, about: tuple[NDArray[Any], ...], answer: Arrays) -> None:
        # counted with what it is about, which it keeps alive; arrays in several answers count several times
        self._answers[key] = (about, answer)
        self._held += _size(about) + _size(answer)
        while self._held > self._limit and self._answers:
            _, (old_about, old_answer) = self._answers.popitem(last=False)
            self._held -= _size(old_about) + _size(old_answer)


_memory: ContextVar[_Memory | None] = ContextVar("answers of window functions", default=None)


@contextmanager
def sharing(limit_bytes: int = LIMIT_BYTES) -> Iterator[None]:
    """Remember answers until the block ends, at most `limit_bytes` of them."""
    token = _memory.set(_Memory(limit_bytes))
    try:
        yield
    finally:
        _memory.reset(token)


def once(question: tuple[Hashable, ...], about: tuple[NDArray[Any], ...], answer: Callable[[], Arrays]) -> Arrays:
    """The answer to a question about some arrays, computed unless the scope remembers it; its arrays are read-only.

    Args:
        question: Name of the statistic and its parameters.
        about: The arrays it is computed from, and from nothing else.
        answer: Computes it.
    """
    memory = _memory.get()
    if memory is None or not all(_is_settled(values) for values in about):
        return settled(answer())
    key = (question, tuple(id(values) for values in about))
    found = memory.get(key)
    if found is None:
        found = settled(answer())
        memory.put(key, about, found)
    return found


def settled(arrays: Arrays) -> Arrays:
    """The same arrays, read-only from here on."""
    for values in arrays:
        values.flags.writeable = False
    return arrays


def _is_settled(values: NDArray[Any]) -> bool:
    """Nobody can write to it, neither directly nor through the array it is a part of."""
    inner: object = values
    while isinstance(inner, np.ndarray):
        if inner.flags.writeable:
            return False
        inner = inner.base
    return True


def _size(arrays: tuple[NDArray[Any], ...]) -> int:
    return sum(values.nbytes for values in arrays)
