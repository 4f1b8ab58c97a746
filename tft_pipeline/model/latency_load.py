"""Loops that call and time: closed (one call after the other) and open (calls are due at set times); what else the machine did.

Not here: what is called (`forms`), figures (`domain.latency`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import psutil

CALLS_A_TURN = 20
Call = Callable[[], object]
Clock = Callable[[], float]


def closed_loop(
    calls: Mapping[str, Call], *, warmup: int, n: int, clock: Clock = time.perf_counter
) -> dict[str, np.ndarray]:
    """Seconds of n calls of each, one after the other: the caller waits for an answer before it asks again.

    They take turns of 20 calls, so that what disturbs the machine disturbs all of them; each round begins with another one. The
    first call of a turn is not timed: it pays for the change to another form, which no use of a single one does.

    Args:
        warmup: untimed calls of each before the first turn.
    Returns:
        (n,) by name, in the order of the calls.
    """
    names = list(calls)
    for name in names:
        for _ in range(warmup):
            calls[name]()
    took: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-(-n // CALLS_A_TURN)):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            call, mine = calls[name], took[name]
            call()
            for _ in range(min(CALLS_A_TURN, n - len(mine))):
                before = clock()
                call()
                mine.append(clock() - before)
    return {name: np.array(seconds) for name, seconds in took.items()}


def intended_starts(n: int, *, rate_per_s: float, arrivals: Literal["poisson", "fixed"], seed: int) -> np.ndarray:
    """(n,) seconds from now at which calls are due: k / rate, or a Poisson process of this rate, the first call at once."""
    if arrivals == "fixed":
        return np.arange(n) / rate_per_s
    waits = np.random.default_rng(seed).exponential(1.0 / rate_per_s, n)
    found: np.ndarray = np.cumsum(waits) - waits[0]
    return found


@dataclass(frozen=True)
class OpenLoop:
    """Seconds of n calls that were due at set times; arrays (n,).

    Attributes:
        latency: from the intended start to completion: a late start counts.
        service: from the actual start to completion.
        queued: the call before was not done when this one was due.
        span: from the first intended start to the last completion.
    """

    latency: np.ndarray
    service: np.ndarray
    queued: np.ndarray
    span: float


def open_loop(
    call: Call,
    intended: np.ndarray,
    *,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> OpenLoop:
    """Make each call at its intended start, or as soon after it as the one before is done: one caller, first come first served.

    A closed loop asks less often while it waits, and so leaves out just the calls that a stall would have delayed; here they
    count. Source: Schroeder, Wierman and Harchol-Balter (2006), "Open versus closed: a cautionary tale".

    Args:
        intended: (n,) seconds, ascending.
    """
    started, done = np.empty(len(intended)), np.empty(len(intended))
    began = clock()
    for k, due in enumerate(intended):
        early = began + due - clock()
        if early > 0.0:
            sleep(early)
        started[k] = clock() - began
        call()
        done[k] = clock() - began
    queued = np.zeros(len(intended), dtype=bool)
    queued[1:] = done[:-1] > intended[1:]
    return OpenLoop(latency=done - intended, service=done - started, queued=queued, span=float(done[-1] - intended[0]))


class MachineWatch:
    """What the machine did between its making and `record`, besides this process."""

    def __init__(self) -> None:
        self.load_before = psutil.getloadavg()[0]
        self.before = _processor_seconds()

    def record(self) -> dict[str, Any]:
        """cores, load_before and load_after (runnable processes, mean of a minute), other_busy_share: of all cores' time, what
        other processes used; None with a reason where the interval was shorter than the system's clock ticks."""
        total, busy, own = (after - before for after, before in zip(_processor_seconds(), self.before, strict=True))
        share = min(max((busy - own) / total, 0.0), 1.0) if total > 0.0 else None
        found: dict[str, Any] = {
            "cores": psutil.cpu_count() or 1,
            "load_before": self.load_before,
            "load_after": psutil.getloadavg()[0],
            "other_busy_share": share,
        }
        return found if share is not None else found | {"other_busy_reason": "the timing was shorter than a clock tick"}


def _processor_seconds() -> tuple[float, float, float]:
    """Of all cores: seconds in total, and not idle; and those of this process."""
    times = psutil.cpu_times()._asdict()
    # Linux counts a guest's time in user and nice too
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    own = psutil.Process().cpu_times()
    return total, total - times["idle"] - times.get("iowait", 0.0), own.user + own.system
