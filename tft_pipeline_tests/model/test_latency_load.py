"""The loops that time calls, on a clock that only moves when it is told to, and against the recursion of a queue."""

from collections.abc import Callable

import numpy as np
import psutil
import pytest
from scipy.stats import kstest

from tft_pipeline.model.latency_load import CALLS_A_TURN, MachineWatch, closed_loop, intended_starts, open_loop


class Clock:
    """Time that passes in calls and sleeps only."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0.0
        self.now += seconds

    def taking(self, durations: list[float]) -> Callable[[], object]:
        """A call that takes the durations in turn."""
        left = iter(durations)

        def call() -> None:
            self.now += next(left)

        return call


def test_each_is_called_as_often_as_asked_and_the_calls_that_are_not_timed_leave_no_trace() -> None:
    clock, n, warmup = Clock(), 50, 3
    turns = -(-n // CALLS_A_TURN)
    timed = [float(k) for k in range(1, n + 1)]
    durations = [99.0] * warmup
    for turn in range(turns):
        durations += [99.0, *timed[turn * CALLS_A_TURN : (turn + 1) * CALLS_A_TURN]]
    calls = {"a": clock.taking(durations), "b": clock.taking([2.0 * d for d in durations])}
    took = closed_loop(calls, warmup=warmup, n=n, clock=clock)
    np.testing.assert_allclose(took["a"], timed)
    np.testing.assert_allclose(took["b"], 2.0 * np.array(timed))
    for call in calls.values():
        with pytest.raises(StopIteration):
            call()


def test_forms_take_turns_and_another_one_begins_each_round() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    closed_loop(calls, warmup=1, n=3 * CALLS_A_TURN)
    turns = [order[3 + k] for k in range(0, 9 * (CALLS_A_TURN + 1), CALLS_A_TURN + 1)]
    assert order[:3] == list("abc")
    assert "".join(turns) == "abcbcacab"


@pytest.mark.parametrize("rate", [5.0, 20.0])
@pytest.mark.parametrize("arrivals", ["poisson", "fixed"])
def test_waiting_counts_as_the_recursion_of_a_queue_says(arrivals: str, rate: float) -> None:
    clock, n = Clock(), 400
    service = np.random.default_rng(3).exponential(0.04, n)
    due = intended_starts(n, rate_per_s=rate, arrivals=arrivals, seed=1)  # type: ignore[arg-type]
    found = open_loop(clock.taking(service.tolist()), due, clock=clock, sleep=clock.sleep)
    wait = np.zeros(n)  # Lindley (1952)
    for k in range(1, n):
        wait[k] = max(0.0, wait[k - 1] + service[k - 1] - (due[k] - due[k - 1]))
    np.testing.assert_allclose(found.latency, wait + service, atol=1e-9)
    np.testing.assert_allclose(found.service, service, atol=1e-9)
    sure = np.abs(wait) > 1e-9
    assert (found.queued[sure]).all()
    assert not found.queued[0]
    assert found.span == pytest.approx(due[-1] + wait[-1] + service[-1] - due[0])


def test_a_stall_that_a_closed_loop_sees_once_delays_all_that_were_due_meanwhile() -> None:
    durations = [0.001] * 100
    durations[10] = 0.5
    clock = Clock()
    closed = closed_loop({"a": clock.taking([0.001] * 5 + durations)}, warmup=0, n=100, clock=clock)["a"]
    clock = Clock()
    opened = open_loop(
        clock.taking(durations),
        intended_starts(100, rate_per_s=100.0, arrivals="fixed", seed=0),
        clock=clock,
        sleep=clock.sleep,
    )
    assert (closed > 0.01).sum() == 1
    assert (opened.latency > 0.01).sum() > 40
    assert np.quantile(opened.latency, 0.95) > 0.4 > np.quantile(closed, 0.95)


def test_a_higher_rate_asks_sooner_and_waits_longer() -> None:
    waited = []
    for rate in (10.0, 100.0):
        clock = Clock()
        due = intended_starts(300, rate_per_s=rate, arrivals="poisson", seed=2)
        waited.append(open_loop(clock.taking([0.009] * 300), due, clock=clock, sleep=clock.sleep))
    assert waited[1].span < waited[0].span
    assert waited[1].latency.mean() > 2.0 * waited[0].latency.mean()
    assert waited[1].queued.mean() > waited[0].queued.mean()


def test_random_arrivals_are_a_poisson_process_and_the_others_are_even() -> None:
    due = intended_starts(4000, rate_per_s=50.0, arrivals="poisson", seed=5)
    assert due[0] == 0.0
    assert kstest(np.diff(due) * 50.0, "expon").pvalue > 0.01
    assert not np.array_equal(due, intended_starts(4000, rate_per_s=50.0, arrivals="poisson", seed=6))
    np.testing.assert_allclose(intended_starts(4, rate_per_s=50.0, arrivals="fixed", seed=5), [0.0, 0.02, 0.04, 0.06])


def test_others_share_of_the_machine_is_what_was_busy_and_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Times:
        def __init__(self, **fields: float) -> None:
            self.fields = fields

        def _asdict(self) -> dict[str, float]:
            return self.fields

        def __getattr__(self, name: str) -> float:
            return self.fields[name]

    machine = iter(
        [
            Times(user=100.0, nice=0.0, system=10.0, idle=50.0, iowait=5.0, guest=20.0, guest_nice=0.0),
            Times(user=106.0, nice=1.0, system=11.0, idle=60.0, iowait=7.0, guest=23.0, guest_nice=0.0),
        ]
    )
    own = iter([Times(user=1.0, system=1.0), Times(user=2.0, system=1.5)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(machine))
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda self: next(own))
    # 6 + 1 + 1 s busy (a guest's time is in user already), 10 + 2 s idle or waiting, 1.5 s of the busy ones ours
    assert MachineWatch().record()["other_busy_share"] == pytest.approx((8.0 - 1.5) / 20.0)


def test_the_machine_of_this_test_is_described() -> None:
    watch = MachineWatch()
    found = watch.record()
    assert found["cores"] >= 1
    assert found["load_before"] >= 0.0
    assert (found["other_busy_share"] is None) == ("other_busy_reason" in found)
