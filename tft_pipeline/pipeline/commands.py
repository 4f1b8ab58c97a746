"""What the commands `tft run` and `tft materialize` do, and what they answer. Not here: options and printing."""

import json
import shlex
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import dagster as dg

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import OosPerformance, ReleaseRecord
from tft_pipeline.domain.verdict import GO
from tft_pipeline.pipeline.background import start_in_background
from tft_pipeline.pipeline.claiming import claim
from tft_pipeline.pipeline.driver import STEPS, Driver, PipelineFailedError, steps_of
from tft_pipeline.pipeline.factory import build_definitions
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import PAGE_FILE, REPORT_FILE
from tft_pipeline.pipeline.progress import Watch, stage_of
from tft_pipeline.pipeline.reaping import reap
from tft_pipeline.pipeline.releasing import target_rows
from tft_pipeline.pipeline.runs import RunOutcome, materialise, open_instance
from tft_pipeline.storage.artifacts import CURRENT, Artifact, IntegrityError, read_artifact
from tft_pipeline.storage.deployments import CARD_FILE
from tft_pipeline.storage.experiments import claim_name, read_experiment
from tft_pipeline.storage.layout import default_layout
from tft_pipeline.storage.locks import Held, RunLockedError, run_lock
from tft_pipeline.storage.releases import RollbackRefusedError, fetch_version

Progress = Callable[[str], None]
NAMED_PARTITIONS = 8
"""Newest partitions that a refusal names; an asset with one a day has thousands."""
ON_REQUEST = frozenset({"purge_comparison"})
"""Assets that only a person starts: they fit every fold again, and nothing depends on them."""


def run_experiment(
    path: Path,
    *,
    resume: bool,
    until: str | None = None,
    report: Progress,
    watch: Watch | None = None,
    require_go: bool = False,
    held: Held | None = None,
) -> dict[str, Any]:
    """Run everything; answers the verdict, the figures behind it and where things are.

    Args:
        until: last asset to compute; the answer then names it in place of a verdict.
        report: told a line when something is done.
        watch: told what is being computed.
        require_go: the answer has a gate, which a verdict other than GO does not pass.
        held: the experiment's run lock, where the caller holds it.
    Raises:
        ConfigurationError: the experiment file does not validate, or `until` is not an asset of it, or it stops before there is
            the verdict that `require_go` asks for; or the store's results are another event log's.
    """
    graph = _graph(path)
    steps_of(graph, until)  # refuses a name that is not one
    if require_go and until not in (None, STEPS[-1]):
        raise ConfigurationError(
            f"--require-go with --until {until}: there is no verdict yet; leave one of the two out"
        )
    claim_name(graph.layout.experiment(graph.name), graph.file.path)
    with open_instance(graph.layout) as instance:
        claim(graph, instance)
        for line in reap(instance):
            report(line)
        definitions = build_definitions([graph.file], graph.layout)
        driver = Driver(
            graph=graph,
            definitions=definitions,
            instance=instance,
            report=report,
            resume=resume,
            until=until,
            watch=watch,
            held=held,
        )
        try:
            driver.run()
        except PipelineFailedError as error:
            return _failure(error.failed, error.resume)
        except RunLockedError as error:
            raise ConfigurationError(str(error)) from error
    if until is None or until == STEPS[-1]:
        found = summary(graph)
        return found | {"gate": verdict_gate(found)} if require_go else found
    go_on = f"tft run {shlex.quote(str(graph.file.path))} --resume"
    return {"experiment": graph.name, "computed_until": until, "go_on": go_on, "failed": []}


def run_in_background(path: Path, *, resume: bool, until: str | None) -> dict[str, Any]:
    """Start `run_experiment` as a process that outlives this one; answers its pid and its log.

    Raises:
        ConfigurationError: as `run_experiment`; a run of the experiment is already going in the background.
    """
    graph = _graph(path)
    steps_of(graph, until)  # refuses a name that is not one
    arguments = ["run", str(graph.file.path), *(["--resume"] if resume else []), *(["--until", until] if until else [])]
    layout = graph.layout
    started = start_in_background(layout.background(graph.name), layout.run_lock(graph.name), arguments)
    return {"experiment": graph.name, "pid": started["pid"], "log": started["log"], "failed": []}


def materialise_asset(
    path: Path, asset: str, *, partition: str | None, downstream: bool, report: Progress, watch: Watch | None = None
) -> dict[str, Any]:
    """Compute one asset again, with its downstream if wanted, in one run.

    Args:
        report, watch: as of `run_experiment`; of what is downstream only the end is told.
    Raises:
        ConfigurationError: no such asset, or a partition too many or too few; or as `run_experiment`.
    """
    graph = _graph(path)
    claim_name(graph.layout.experiment(graph.name), graph.file.path)
    with open_instance(graph.layout) as instance:
        claim(graph, instance)
        for line in reap(instance):
            report(line)
        definitions = build_definitions([graph.file], graph.layout)
        assets = definitions.resolve_asset_graph()
        key = graph.key(asset)
        runnable = {node.key for node in assets.asset_nodes if node.is_executable and node.is_materializable}
        if key not in runnable:
            names = sorted(one.path[-1] for one in runnable)
            near = "".join(f"did you mean {one}? " for one in get_close_matches(asset, names, n=1))
            raise ConfigurationError(f"{asset!r} is not an asset of {graph.name}; {near}choose from {', '.join(names)}")
        partitioned = assets.get(key).is_partitioned
        if partitioned != (partition is not None):
            raise ConfigurationError(
                f"{asset} "
                + (
                    "is partitioned: name one with --partition"
                    if partitioned
                    else "has no partitions: leave --partition out"
                )
            )
        definition = assets.get(key).partitions_def
        known = [] if definition is None else definition.get_partition_keys(dynamic_partitions_store=instance)
        if partition is not None and partition not in known:
            raise ConfigurationError(
                f"{partition!r} is not a partition of {asset}; choose from {', '.join(known[-NAMED_PARTITIONS:])}"
            )
        selection: dg.AssetSelection = dg.AssetSelection.assets(key)
        if downstream:
            selection = selection.downstream()
        chosen = [one for one in assets.toposorted_asset_keys if one in selection.resolve(assets) and one in runnable]
        chosen = [one for one in _within_partition(assets, chosen, key) if one == key or one.path[-1] not in ON_REQUEST]
        report("runs: " + ", ".join(one.path[-1] for one in chosen))
        if watch is not None:
            watch(stage_of(graph, instance, asset, of=1 if partitioned else 0))
        try:
            with run_lock(graph.layout.run_lock(graph.name), shared=True):
                outcome = materialise(definitions, instance, chosen, partition=partition)
        except RunLockedError as error:
            raise ConfigurationError(str(error)) from error
    if not outcome.ok:
        return _failure([outcome], f"tft run {shlex.quote(str(graph.file.path))} --resume")
    return {"run_id": outcome.run_id, "assets": [one.path[-1] for one in chosen], "partition": partition, "failed": []}


def summary(graph: ExperimentGraph) -> dict[str, Any]:
    """The end of a run in a few values.

    Raises:
        ConfigurationError: the newest release is not there any more, here or in the store.
    """
    folder = graph.layout.artifact
    performance = OosPerformance.model_validate_json(
        read_artifact(folder(graph.name, "oos_performance")).path(REPORT_FILE).read_text()
    )
    release = ReleaseRecord.model_validate_json(
        read_artifact(folder(graph.name, "release")).path(REPORT_FILE).read_text()
    )
    version = _newest_release(graph, release.release_id)
    card = json.loads(version.path(CARD_FILE).read_text())
    return {
        "experiment": graph.name,
        "verdict": release.verdict,
        "reasons": card["reasons"],
        **direction_summary(card),
        "sharpe_annual": performance.net["sharpe_annual"],
        "sharpe_se_annual": performance.net["se_annual"],
        "sharpe_ci_annual": performance.net["bootstrap_ci_annual"],
        "n_bars": performance.net["n"],
        "psr_after_looks": performance.net["psr_after_looks"],
        "looks": performance.looks,
        "n_trials": performance.research["n_trials_started"],
        "dsr": performance.research["dsr"],
        "pbo": performance.research["pbo"],
        "latency_p95_ms": card["latency_ms"]["p95"],
        "drift": card["drift"]["verdict"],
        "notes": list(performance.notes),
        "performance_targets": target_rows(graph),
        "report": str(folder(graph.name, "report") / CURRENT / PAGE_FILE),
        "model_card": str(version.path(CARD_FILE)),
        "release": str(version.folder),
        "failed": [],
    }


def _newest_release(graph: ExperimentGraph, release_id: str) -> Artifact:
    """The version that a run released, verified; fetched where another machine wrote it."""
    try:
        return fetch_version(graph.layout.models(graph.name), release_id)
    except (RollbackRefusedError, IntegrityError, OSError) as error:
        again = f"tft materialize {shlex.quote(str(graph.file.path))} release"
        raise ConfigurationError(
            f"the run is done, but its release {release_id} cannot be read: {error}; `{again}` writes another"
        ) from error


def direction_summary(card: dict[str, Any]) -> dict[str, Any]:
    """What a card says of the direction of the next move, in a few values; without a probability the validation loss alone.

    Accuracy is of all out-of-sample rows; `accuracy_ci_bars` counts the rows of one bar, which move together, as one trial, and
    bars whose labels overlap as fewer.
    """
    found = {"validation_loss": card["metrics"]["val_loss"]}
    direction = card["metrics"]["direction"]
    scored = direction.get("tft")
    if scored is None:
        return found
    names = ("accuracy", "accuracy_ci", "accuracy_ci_bars", "base_rate", "majority_rate", "log_loss", "ece")
    counts = {"train": card["train"]["class_balance"], "scored": direction["class_balance"]}
    words = [f"{part}: {balance['pos']:,} up, {balance['neg']:,} not" for part, balance in counts.items()]
    return {name: scored[name] for name in names} | {"n_rows": scored["n"], "class_balance": words} | found


def verdict_gate(found: dict[str, Any]) -> dict[str, Any]:
    """The gate of `--require-go`, of a summary: passed by GO alone."""
    passed = found["verdict"] == GO
    return {"passed": passed, "reasons": [] if passed else list(found["reasons"])}


def _graph(path: Path) -> ExperimentGraph:
    return ExperimentGraph(read_experiment(path), default_layout())


def _failure(failed: list[RunOutcome], resume: str) -> dict[str, Any]:
    rows = [
        {"asset": one.asset, "partition": one.partition, "reason": one.reason, "run_id": one.run_id} for one in failed
    ]
    return {"failed": rows, "resume": resume}


def _within_partition(assets: Any, chosen: list[dg.AssetKey], key: dg.AssetKey) -> list[dg.AssetKey]:
    """Drop folds of another phase and what depends on them: they belong to plans of their own, run by the driver."""
    own = assets.get(key).partitions_def
    kept: list[dg.AssetKey] = []
    dropped: set[dg.AssetKey] = set()
    for one in chosen:
        node = assets.get(one)
        foreign = one != key and node.is_partitioned and node.partitions_def != own
        if foreign or (node.parent_keys & dropped):
            dropped.add(one)
        else:
            kept.append(one)
    return kept
