"""Latency of a stored model: the asset `latency_benchmark` and the command `tft bench` measure it here, in one way.

Not here: the timing (`model.latency`), the gate's rule (`domain.latency`).
"""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import LatencyBenchmark
from tft_pipeline.domain.latency import latency_reasons
from tft_pipeline.domain.phases import LatencySection
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.verdict import json_ready
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.named import graph_named
from tft_pipeline.pipeline.progress import Watch, naming
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError, read_artifact
from tft_pipeline.storage.cold_start import ColdStartError, cold_starts
from tft_pipeline.storage.deployments import VERSIONS, WEIGHTS_FILE
from tft_pipeline.storage.fold_bundles import FoldBundle, read_fold_bundle, weights_sha256

BUSY = 0.25
"""Share of the cores that others may use before the figures are said to be of a busy machine."""
FIGURES = ("mean", "p50", "p95", "p99", "p999", "max", "p50_ci", "p95_ci", "p99_ci", "unbounded")
NOT_ASKED = "latency.cold_start is false"
COMPILES = "it would compile first, as it did here (load_ms)"


def benchmark_bundle(
    bundle: FoldBundle, settings: LatencySection, *, seed: int, watch: Watch | None = None
) -> LatencyBenchmark:
    """Time one fold's model, in this process and in fresh ones, and say whether the gate would pass.

    Args:
        watch: told of each form that is opened or timed.
    """
    from tft_pipeline.model.forms import decision_facts
    from tft_pipeline.model.latency import benchmark_latency

    fitted = bundle.fitted
    report = naming(watch)
    measured = benchmark_latency(fitted, settings, seed=seed, report=report)
    fresh = cold_starts(bundle, measured.models, decision_facts(fitted), report) if settings.cold_start else {}
    rows = [row | {"cold_start": fresh.get(row["form"])} for row in measured.forms]
    chosen = measured.chosen
    figures = {name: chosen[name] for name in FIGURES}
    started = fresh.get(chosen["form"])
    environment = {
        "device": "cpu",
        "threads": measured.threads,
        "load_ms": chosen["load_ms"],
        "first_decision_ms": chosen["first_decision_ms"],
        "cold_start_ms": None if started is None else started["total_ms"],
        "lookback": fitted.training.lookback,
        "n_features": len(fitted.scaler.names),
        "n_parameters": fitted.n_parameters,
    }
    if started is None:
        environment["cold_start_reason"] = COMPILES if settings.cold_start else NOT_ASKED
    return LatencyBenchmark(
        fold=bundle.key,
        weights_sha256=weights_sha256(fitted),
        latency_ms=json_ready(figures),
        environment=json_ready(environment),
        warmup=settings.warmup,
        n=settings.n,
        max_p95_ms=settings.max_p95_ms,
        within_limit=not latency_reasons(figures["p95_ci"], n=settings.n, max_p95_ms=settings.max_p95_ms),
        form=chosen["form"],
        forms=tuple(json_ready(rows)),
        left_out=measured.left_out,
        open_loop=json_ready(measured.open_loop),
        machine=json_ready(measured.machine),
    )


def bench_model(
    experiment: str,
    *,
    warmup: int,
    n: int,
    rate_per_s: float | None = None,
    forms: Sequence[str] | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Time the newest model of an experiment again, with the experiment's `latency` section; nothing is written.

    Args:
        experiment: file, or name of one that was run here.
        warmup, n, rate_per_s, forms: instead of the section's; None leaves its value.
        watch: told of each form that is opened or timed.
    Returns:
        gate (passed, reasons) and its figures first; forms, open_loop, fresh_process, machine as sentences; live, whether the
        model is the live one; record, all of it. `failed` alone where a fresh process cannot be timed.
    Raises:
        ConfigurationError: no such experiment, an option beyond its limit, nothing trained yet, a fold that is not the plan's
            or damaged.
    """
    graph = graph_named(experiment)
    given: dict[str, Any] = {"warmup": warmup, "n": n, "rate_per_s": rate_per_s}
    changes = {name: value for name, value in given.items() if value is not None}
    changes |= {} if forms is None else {"forms": tuple(forms)}
    try:
        settings = LatencySection.model_validate(graph.experiment.latency.model_dump() | changes)
    except ValidationError as error:
        refused = "; ".join(
            f"{'.'.join(map(str, one['loc']))} {one['input']!r}: {one['msg']}" for one in error.errors()
        )
        raise ConfigurationError(f"latency: {refused}") from error
    bundle = newest_bundle(graph)
    try:
        record = benchmark_bundle(bundle, settings, seed=graph.experiment.seed, watch=watch)
    except ColdStartError as error:
        return {"fold": bundle.key, "failed": [str(error)]}
    live = {"live": _live(graph, record.weights_sha256)}
    return live | benchmark_in_words(record) | {"record": record.model_dump(mode="json")}


def _live(graph: ExperimentGraph, timed: str) -> str:
    """Whether the timed weights are the live ones: after a rollback they are not."""
    try:
        live = read_artifact(graph.layout.models(graph.name) / VERSIONS, in_store=False)  # what is live here
    except ArtifactMissingError:
        return "nothing is released: the newest fold's model is timed"
    except IntegrityError as error:
        return f"what is live cannot be read ({error}): the newest fold's model is timed"
    if live.files.get(WEIGHTS_FILE) == timed:
        return f"the timed model is live, release {live.version}"
    return f"ANOTHER model is live, release {live.version}: the newest fold's model is timed, and these figures are not its"


def newest_bundle(graph: ExperimentGraph) -> FoldBundle:
    """The newest fold of the current production plan; the one that a run releases, and after a rollback not the live one.

    Raises:
        ConfigurationError: no plan or no such fold yet, one made from an older spec, or a damaged file.
    """
    layout, name = graph.layout, graph.name
    again = f"run `tft run {graph.file.path}`"
    try:
        stored = read_artifact(layout.artifact(name, "production_plan"))
        plan = FoldPlanReport.model_validate_json(stored.path(REPORT_FILE).read_text())
        newest = plan.specs[-1]
        bundle = read_fold_bundle(read_artifact(layout.artifact(name, "production_fold", newest.key)))
    except ArtifactMissingError as error:
        raise ConfigurationError(f"{name}: no production model was trained yet; {again} first") from error
    except IntegrityError as error:
        raise ConfigurationError(f"{name}: {error}; {again} again") from error
    if bundle.spec_sha256 != newest.content_sha256():
        raise ConfigurationError(
            f"{name}: the stored model of {newest.key} was made from an older plan: its latency would be another model's; "
            f"{again} again"
        )
    return bundle


def benchmark_in_words(record: LatencyBenchmark) -> dict[str, Any]:
    """What a person reads of a record: plain values and sentences, the gate last."""
    reasons = latency_reasons(record.latency_ms["p95_ci"], n=record.n, max_p95_ms=record.max_p95_ms)
    environment = record.environment
    return {
        "fold": record.fold,
        "model": f"{environment['n_parameters']:,} parameters, {environment['n_features']} features, "
        f"lookback {environment['lookback']}",
        "timed": f"{record.n:,} decisions of each form after {record.warmup} untimed, batch of one, "
        f"{environment['threads']} thread; from raw features to a position",
        "chosen": record.form,
        "closed_loop": [
            f"{row['form']}{' (chosen)' if row['chosen'] else ''}: {figures_in_words(row)}" for row in record.forms
        ],
        "left_out": [f"{name}: {why}" for name, why in record.left_out.items()],
        "open_loop": [open_loop_in_words(record.open_loop)],
        "fresh_process": [cold_start_in_words(row) for row in record.forms],
        "machine": machine_in_words(record.machine),
        "p95_upper_ms": record.latency_ms["p95_ci"][1],
        "max_p95_ms": record.max_p95_ms,
        "gate": {"passed": not reasons, "reasons": [f"latency: {why}" for why in reasons]},
    }


def figures_in_words(figures: dict[str, Any]) -> str:
    """Percentiles with their intervals; what a bound or figure lacks, with the reason."""
    shown = ", ".join(
        f"{name} {_ms(figures[name])} {_interval(figures[f'{name}_ci'])}" for name in ("p50", "p95", "p99")
    )
    tail = f"p99.9 {'-' if figures['p999'] is None else _ms(figures['p999'])}, max {_ms(figures['max'])}"
    lacking = "".join(f"; {name}: {why}" for name, why in figures["unbounded"].items())
    return f"{shown}, {tail}, mean {_ms(figures['mean'])} ms{lacking}"


def open_loop_in_words(loop: dict[str, Any]) -> str:
    """What the open loop asked for and found; says so where the model does not keep up."""
    behind = loop["busy_share"] > 0.95
    return (
        f"{loop['form']} at {loop['rate_per_s']:g} a second ({loop['arrivals']} arrivals), from intended start to completion: "
        f"{figures_in_words(loop)}; p95 without waiting {_ms(loop['service_p95'])} ms; {loop['queued_share']:.0%} waited for "
        f"the decision before them, busy {loop['busy_share']:.0%} of the time"
        + (": it does not keep up, and the longer it is asked the later it answers" if behind else "")
    )


def cold_start_in_words(row: dict[str, Any]) -> str:
    """A form's fresh process and what it took in this one."""
    here = f"here: load {row['load_ms']:.0f} ms, first decision {_ms(row['first_decision_ms'])} ms"
    if row["export_s"] is not None:
        here += f", export {row['export_s']:.1f} s"
    fresh = row["cold_start"]
    if fresh is None:
        return f"{row['form']}: not timed; {here}"
    return (
        f"{row['form']}: {fresh['total_ms']:,.0f} ms to the first decision (interpreter {fresh['start_ms']:,.0f}, imports "
        f"{fresh['import_ms']:,.0f}, load {fresh['load_ms']:.0f}, decision {_ms(fresh['first_decision_ms'])}), "
        f"{fresh['memory_mb']:.0f} MB; {here}"
    )


def machine_in_words(machine: dict[str, Any]) -> str:
    """Cores and who else used them; says so where that was much."""
    share = machine["other_busy_share"]
    others = "unknown" if share is None else f"{share:.0%}"
    warning = "" if share is None or share <= BUSY else ": a busy machine, the tails are partly its own"
    return (
        f"{machine['cores']} cores, load {machine['load_before']:.2f} before and {machine['load_after']:.2f} after, "
        f"{others} of the cores used by others{warning}"
    )


def _ms(value: float) -> str:
    return f"{value:.3g}"


def _interval(ends: Sequence[float | None]) -> str:
    return f"[{', '.join('?' if end is None else _ms(end) for end in ends)}]"
