"""How long the rest will take, from what is finished, and durations in words. Not here: what is finished, showing it."""

from collections.abc import Sequence


def seconds_left(finished: Sequence[float], *, of: int, workers: int, now: float) -> float | None:
    """Seconds until the last of equal pieces of work is done.

    The pieces that are under way began when a worker became free. Each is given the mean time of the finished ones; one that
    takes longer already is given nothing more. Waiting pieces go to whichever worker is free first.

    Args:
        finished: when each finished piece ended, seconds since the first began, ascending.
        of: all pieces.
        workers: pieces that are worked on at once.
        now: seconds since the first began.
    Returns:
        None where nothing is finished yet: there is no basis. 0.0 where everything that is left is late.
    Raises:
        ValueError: more pieces finished than there are, or no workers.
    """
    if workers < 1 or len(finished) > of:
        raise ValueError(
            f"{len(finished)} of {of} pieces with {workers} workers: expected workers, and no more than all"
        )
    if not finished:
        return None
    begun = [*[0.0] * min(workers, of), *finished][:of]
    mean = (sum(finished) - sum(begun[: len(finished)])) / len(finished)
    ends = sorted(max(now, began + mean) for began in begun[len(finished) :])
    for _ in range(of - len(begun)):
        ends = sorted([*ends[1:], ends[0] + mean])
    return max(ends, default=now) - now


def about(seconds: float) -> str:
    """A duration for people, no more exact than it is known: "about 40 s", "about 4 min", "about 2 h 10 min"."""
    if seconds < 95.0:
        return f"about {max(10, round(seconds / 10.0) * 10)} s"
    minutes = round(seconds / 60.0)
    if minutes < 90:
        return f"about {minutes} min"
    hours, rest = divmod(round(minutes / 10.0) * 10, 60)
    return f"about {hours} h {rest} min" if rest else f"about {hours} h"


def passed(seconds: float) -> str:
    """A duration that was measured: "42 s", "3 min 20 s", "2 h 5 min"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
