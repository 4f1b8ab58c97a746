"""Time contestants alternately in one process, so that whatever else the machine does meets all of them alike.

Not here: what is timed, how results are printed.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of each timed call of one contestant, in the order of the rounds.

    Attributes:
        cpu: of this process, all its threads: the robust figure where other programs run.
        wall: on the clock.
    """

    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    @property
    def cpu_median(self) -> float:
        """Median CPU seconds of a call."""
        return statistics.median(self.cpu)

    @property
    def wall_median(self) -> float:
        """Median seconds of a call on the clock."""
        return statistics.median(self.wall)

    def wall_quantile(self, quantile: float) -> float:
        """Quantile of the seconds on the clock, linear between order statistics."""
        return float(np.quantile(self.wall, quantile))


def alternate(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 1,
    calls_a_turn: int = 1,
    budget_s: float = float("inf"),
    least_rounds: int = 3,
) -> dict[str, Timing]:
    """Let every contestant have its turn once a round, in turned order every other round, and time each of its calls.

    Python's garbage collector runs before each round, not in it.

    Args:
        rounds: timed rounds.
        warmup: untimed rounds before them, one call each.
        calls_a_turn: more than one where a call takes about a millisecond: what the other left in the caches would count.
        budget_s: no further round starts when the timed ones took so long, once `least_rounds` are done.
    Raises:
        ValueError: no contestant, or fewer than one round or call.
    """
    if not contestants or rounds < 1 or calls_a_turn < 1:
        raise ValueError(
            f"{len(contestants)} contestants, {rounds} rounds, {calls_a_turn} calls a turn: nothing would be timed; a "
            "comparison needs one of each at least"
        )
    for _ in range(warmup):
        for call in contestants.values():
            call()
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    collecting = gc.isenabled()
    started = time.perf_counter()
    try:
        for number in range(rounds):
            if number >= least_rounds and time.perf_counter() - started > budget_s:
                break
            gc.collect()
            gc.disable()
            for name in tuple(contestants)[:: -1 if number % 2 else 1]:
                for _ in range(calls_a_turn):
                    cpu, wall = time.process_time(), time.perf_counter()
                    contestants[name]()
                    samples[name].append((time.process_time() - cpu, time.perf_counter() - wall))
            if collecting:
                gc.enable()
    finally:
        if collecting:
            gc.enable()
    return {
        name: Timing(cpu=tuple(cpu for cpu, _ in taken), wall=tuple(wall for _, wall in taken))
        for name, taken in samples.items()
    }
