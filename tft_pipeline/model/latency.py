"""How long one decision takes in each form of a network, and which form is the quickest. Not here: the gate, fresh processes.

A decision is one window of one symbol, from raw features to a raw position: check, scaling, network. Features are not computed
in it: they are computed for all symbols at once when a bar closes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tft_pipeline.domain.latency import distribution, latency_figures
from tft_pipeline.domain.phases import LatencySection
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.forms import BarSeries, OpenedForm, open_forms
from tft_pipeline.model.isolation import single_thread
from tft_pipeline.model.latency_load import Call, Clock, MachineWatch, closed_loop, intended_starts, open_loop


@dataclass(frozen=True, kw_only=True)
class LatencyMeasurement:
    """Figures of one run; records are JSON-ready, milliseconds unless a name says otherwise.

    Attributes:
        chosen: row of `forms` whose p95 had the smallest upper bound (the smallest p95 where no number of calls bounds it);
            its figures are of calls made after the choice.
        forms: one row a timed form: form, chosen, difference, export_s, load_ms, first_decision_ms, figures and distribution of
            the closed loop.
        left_out: forms asked for and not timed, with the reason.
        open_loop: of the chosen form.
        machine: see `MachineWatch.record`.
        models: exported networks by form.
    """

    chosen: dict[str, Any]
    forms: tuple[dict[str, Any], ...]
    left_out: dict[str, str]
    open_loop: dict[str, Any]
    machine: dict[str, Any]
    models: dict[str, bytes]
    threads: int


def benchmark_latency(
    fitted: FittedFold, settings: LatencySection, *, seed: int, report: Callable[[str], None] = lambda doing: None
) -> LatencyMeasurement:
    """Wall-clock time of decisions, batch of one, one thread: closed loop of every form, open loop of the quickest.

    Args:
        seed: of the made-up bars and of random arrivals.
        report: told what is done next, and nothing while decisions are timed.
    """
    opened, left_out = open_forms(fitted, BarSeries(fitted, seed=seed), settings.forms, report)
    calls = {one.form.name: one.form for one in opened}
    report(f"timing {settings.n} decisions one after the other: {', '.join(calls)}")
    watch = MachineWatch()
    with single_thread(), torch.inference_mode():
        name, took = quickest(calls, warmup=settings.warmup, n=settings.n)
        rows = [_row(one, took[one.form.name] * 1e3) for one in opened]
        chosen = next(row for row in rows if row["form"] == name)
        due = intended_starts(settings.n, rate_per_s=settings.rate_per_s, arrivals=settings.arrivals, seed=seed)
        report(f"timing {settings.n} decisions of {name}, {settings.rate_per_s:g} a second asked for")
        loop = open_loop(calls[chosen["form"]], due)
        threads = torch.get_num_threads()
    machine = watch.record()
    forms = tuple({**row, "chosen": row is chosen} for row in rows)
    latency_ms, service_ms = loop.latency * 1e3, loop.service * 1e3
    return LatencyMeasurement(
        chosen=next(row for row in forms if row["chosen"]),
        forms=forms,
        left_out=left_out,
        open_loop={
            "form": chosen["form"],
            "rate_per_s": settings.rate_per_s,
            "arrivals": settings.arrivals,
            "n": settings.n,
            **latency_figures(latency_ms),
            "service_p95": latency_figures(service_ms)["p95"],
            "busy_share": float(service_ms.sum() / (loop.span * 1e3)),
            "queued_share": float(loop.queued.mean()),
            "distribution": distribution(latency_ms),
        },
        machine=machine,
        models={name: form.model for name, form in calls.items() if form.model is not None},
        threads=threads,
    )


def quickest(
    calls: Mapping[str, Call], *, warmup: int, n: int, clock: Clock = time.perf_counter
) -> tuple[str, dict[str, np.ndarray]]:
    """The call whose p95 has the smallest upper bound, and (n,) seconds of each.

    The least of several bounds is too low a bound: the luck of the calls is part of the choice. So the quickest is called n
    times more, and its seconds are those; where it was the only one there was no choice, and no need.
    """
    took = closed_loop(calls, warmup=warmup, n=n, clock=clock)
    name = min(took, key=lambda one: _bound(latency_figures(took[one])))
    if len(took) > 1:
        took |= closed_loop({name: calls[name]}, warmup=0, n=n, clock=clock)
    return name, took


def _row(opened: OpenedForm, took_ms: Any) -> dict[str, Any]:
    form = opened.form
    return {
        "form": form.name,
        "difference": opened.difference,
        **latency_figures(took_ms),
        "export_s": form.export_s,
        "load_ms": form.load_ms,
        "first_decision_ms": opened.first_decision_ms,
        "distribution": distribution(took_ms),
    }


def _bound(row: Mapping[str, Any]) -> tuple[bool, float]:
    """What forms are compared by: the upper bound of the p95; without one the p95 itself. All forms have as many calls."""
    upper = row["p95_ci"][1]
    return upper is None, row["p95"] if upper is None else upper
