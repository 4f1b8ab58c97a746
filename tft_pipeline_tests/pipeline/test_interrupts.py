"""Requests to stop: seen wherever they fall, and nothing is left as running."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import raise_execution_interrupts
from dagster._utils.interrupts import capture_interrupts

from tft_pipeline.pipeline.interrupts import (
    SIGNALS,
    StoppedError,
    close_runs,
    refuse_if_stopped,
    stop_asked,
    stopping_on_signals,
    watching,
)
from tft_pipeline.pipeline.run_process import HOST, OF_RUN, PID, STARTED, process_tags

pytestmark = pytest.mark.fault("sigterm")


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    def missed(number: int, _frame: object) -> None:
        raise AssertionError(f"nobody handled {signal.Signals(number).name}")  # its default would end the tests

    hang_up = signal.signal(signal.SIGHUP, missed)
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        yield
        assert [signal.getsignal(number) for number in SIGNALS] == before
    finally:
        signal.signal(signal.SIGHUP, hang_up)


def stopped(work: Callable[[], None]) -> StoppedError:
    """How some work was stopped."""
    with pytest.raises(StoppedError) as caught, stopping_on_signals():
        work()
    return caught.value


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_at_once_with_the_exit_code_of_the_signal(number: int, code: int) -> None:
    reached = []

    def work() -> None:
        os.kill(os.getpid(), number)
        reached.append("what comes after")

    error = stopped(work)
    assert (reached, error.exit_code) == ([], code)
    assert str(error) == f"stopped by {signal.Signals(number).name}"


def test_a_hang_up_within_a_step_is_the_interrupt_that_dagster_knows() -> None:
    caught = []

    def work() -> None:
        with raise_execution_interrupts():
            try:
                os.kill(os.getpid(), signal.SIGHUP)
            except BaseException as error:
                caught.append(type(error))
                raise

    assert stopped(work).exit_code == 129
    assert caught == [dg.DagsterExecutionInterruptedError]


def test_a_hang_up_that_is_ignored_from_the_start_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop_asked() is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_only_a_terminal_that_hung_up_takes_no_more_words(number: int) -> None:
    def work() -> None:
        try:
            os.kill(os.getpid(), number)
        finally:
            raise OSError("no terminal")

    with pytest.raises(StoppedError if number == signal.SIGHUP else OSError), stopping_on_signals():
        work()


def test_a_signal_that_falls_where_dagster_forgets_it_stops_when_somebody_asks() -> None:
    reached = []

    def work() -> None:
        with capture_interrupts():  # as around the end of a run
            os.kill(os.getpid(), signal.SIGTERM)
        reached.append(stop_asked())
        refuse_if_stopped()
        reached.append(None)

    assert stopped(work).number == signal.SIGTERM
    assert reached == [signal.SIGTERM]


def test_a_signal_that_nobody_asked_about_stops_at_the_end() -> None:
    def work() -> None:
        with capture_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)

    assert stopped(work).number == signal.SIGTERM


def test_an_interrupt_of_dagster_is_the_signal_that_caused_it() -> None:
    def work() -> None:
        with raise_execution_interrupts():
            os.kill(os.getpid(), signal.SIGINT)

    assert stopped(work).exit_code == 130


def test_a_second_signal_does_not_disturb_tidying_up() -> None:
    tidied = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            tidied.append(True)

    assert stopped(work).number == signal.SIGINT
    assert tidied


def test_no_handler_takes_the_stop_for_a_failure() -> None:
    assert not issubclass(StoppedError, Exception)
    assert not issubclass(StoppedError, KeyboardInterrupt)  # Lightning makes an exit with code 1 of that


def test_a_request_is_forgotten_with_the_one_it_was_meant_for() -> None:
    stopped(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with stopping_on_signals():
        assert stop_asked() is None


def test_outside_of_the_main_thread_nothing_is_watched() -> None:
    seen: list[int | None] = []

    def look() -> None:
        with watching():
            seen.append(stop_asked())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [None]
    assert signal.set_wakeup_fd(-1) == -1


def test_runs_of_this_process_and_of_dead_ones_are_closed_and_no_others(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = process_tags("")
    tags = {
        "of this process": own,
        "of this process, and goes on": own,
        "of a dead worker": own | {PID: str(ended.pid), STARTED: "1@another"},
        "of a living process": process_tags("") | {PID: str(os.getppid()), STARTED: _started(os.getppid())},
        "of another machine": own | {HOST: f"not-{socket.gethostname()}"},
        "of nobody known": {},
    }

    @dg.op
    def nothing() -> None: ...

    @dg.job
    def job() -> None:
        nothing()

    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as instance:
        runs = {}
        for name, of in tags.items():
            run = instance.create_run_for_job(job, tags=of, status=dg.DagsterRunStatus.STARTED)
            instance.add_run_tags(run.run_id, of and {OF_RUN: run.run_id})
            runs[name] = run.run_id
        closed = close_runs(instance, "asked to stop", spare=runs["of this process, and goes on"])
        failed = {
            name
            for name, run_id in runs.items()
            if (run := instance.get_run_by_id(run_id)) is not None and run.status is dg.DagsterRunStatus.FAILURE
        }
    assert closed == [runs["of this process"]]
    assert failed == {"of this process", "of a dead worker"}


def _started(pid: int) -> str:
    from tft_pipeline.pipeline.run_process import started

    return started(pid) or ""
