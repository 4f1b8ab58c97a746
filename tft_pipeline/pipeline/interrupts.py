"""A request to stop (SIGTERM, Ctrl-C, a terminal that hangs up): noticed wherever it falls, told apart from a failure, and
nothing left as running.

Dagster sets its own handlers while it runs a step, and forgets a signal that falls between a step and the end of its run;
so signals are also written down beside the handlers. Not here: what to say to a person (`cli.graph`), training states.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from types import FrameType

import dagster as dg

from tft_pipeline.pipeline.reaping import UNFINISHED, reap
from tft_pipeline.pipeline.run_process import HOST, PID, STARTED, process_tags

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_noted: list[int] = []
"""Requests of this process that were seen, oldest first; kept while somebody watches."""
_pipes: list[int] = []
"""Reading end of the pipe that the interpreter writes signal numbers to, while somebody watches."""


class StoppedError(BaseException):
    """This process was asked to stop.

    No Exception: nothing may take it for a failure and go on. No KeyboardInterrupt: Lightning makes an exit of that.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")

    @property
    def exit_code(self) -> int:
        """As a shell tells it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self.number


@contextmanager
def watching() -> Iterator[None]:
    """Write down requests to stop that reach this process; `stop_asked` tells them. May be nested.

    Anywhere but in the main thread this does nothing: signals are handled there alone.
    """
    if _pipes or threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _pipes.append(reading)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        _pipes.clear()
        _noted.clear()
        os.close(reading)
        os.close(writing)


def stop_asked() -> int | None:
    """The first request to stop since `watching` began, as its signal number."""
    for pipe in _pipes:
        with suppress(BlockingIOError):
            _noted.extend(number for number in os.read(pipe, 4096) if number in SIGNALS)
    return _noted[0] if _noted else None


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """The signals raise `StoppedError` once, and are ignored after: what is tidied up then takes seconds.

    SIGHUP goes the way of SIGTERM, which Dagster knows how to hold back while it writes. Where it is ignored, as by `nohup`, it
    stays ignored.

    Raises:
        StoppedError: also at the end, where a request fell into a moment in which Dagster forgets it.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        _ignore()
        raise StoppedError(stop_asked() or number)

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    handlers: dict[int, Callable[[int, FrameType | None], None]] = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = hang_up
        _start_tracker()
    with watching():
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
            if (number := stop_asked()) is not None:
                raise StoppedError(number)
        except dg.DagsterExecutionInterruptedError as interrupted:
            raise StoppedError(stop_asked() or signal.SIGTERM) from interrupted
        except OSError as error:
            if stop_asked() != signal.SIGHUP:
                raise
            raise StoppedError(signal.SIGHUP) from error  # a line of progress, to the terminal that is gone
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _start_tracker() -> None:
    """Of multiprocessing: it ignores SIGINT and SIGTERM and would die of SIGHUP, and another one would know no semaphore.

    Each of them would be a traceback. Whoever is started while SIGHUP is ignored ignores it.
    """
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    resource_tracker.ensure_running()
    signal.signal(signal.SIGHUP, before)


def refuse_if_stopped() -> None:
    """Raise where a request to stop came that nobody has obeyed yet.

    Raises:
        StoppedError: see above.
    """
    if (number := stop_asked()) is not None:
        _ignore()
        raise StoppedError(number)


def _ignore() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def close_runs(instance: dg.DagsterInstance, why: str, *, spare: str | None = None) -> list[str]:
    """Record as failed what this process, or one of this machine that is gone, has left open; answers those of this one.

    A run that is interrupted within a step is recorded by Dagster; one that a killed worker was at, or that was being set up,
    would be STARTED for ever.

    Args:
        spare: a run of this process that goes on.
    """
    reap(instance)
    own = process_tags("")
    tags = {name: own[name] for name in (HOST, PID, STARTED)}
    closed = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED, tags=tags)):
        if run.run_id != spare:
            instance.report_run_failed(run, message=why)
            closed.append(run.run_id)
    return closed
