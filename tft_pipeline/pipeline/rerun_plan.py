"""What `tft run --resume` would run, and why, before it runs: the driver's steps and its question, without the driving.

It changes nothing: no fold is registered, no spec published; with a store, copies may be fetched into the home. Not here:
whether one asset is current (`pipeline.staleness`), running (`pipeline.driver`).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from pydantic import ValidationError

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.deciding_records import other_shape, records_are_read, stored_plan
from tft_pipeline.pipeline.driver import FOLDS, STEPS, steps_of
from tft_pipeline.pipeline.factory import build_definitions
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.runs import open_instance
from tft_pipeline.pipeline.staleness import CODE_VERSION_TAG, SPEC_SUFFIX, Staleness
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError, read_artifact
from tft_pipeline.storage.experiments import owner_of, read_experiment
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.ledger_lines import only_looking
from tft_pipeline.storage.locks import run_holder
from tft_pipeline.storage.snapshots import MANIFEST_FILE
from tft_pipeline.storage.sources import source_sha256

RUNS, MAY_RUN, CURRENT = "runs", "may run", "current"
STOPS = "the run would stop at snapshot"
"""Where what is said of the sources begins so, nothing would be computed."""
HISTORY = 1000
"""Materialisations of the snapshot that are looked through for the one that made its files."""


@dataclass(frozen=True, slots=True)
class PlannedFold:
    """One fold of the stored plan.

    Attributes:
        state: `RUNS`, `MAY_RUN` (it is outdated, and the plan that says so may be replaced first) or `CURRENT`.
        why: a sentence; None where it is current.
    """

    partition: str
    state: str
    why: str | None


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a run.

    Attributes:
        state: `RUNS`, `MAY_RUN` or `CURRENT`.
        why: a sentence; None where it is current, or may run for what runs before it alone.
        if_changed: assets that run, or may run, before it; another content of one of them makes it run too.
        folds: of a step over folds, those of the stored plan, oldest first; None of any other step, and where no plan is
            stored.
        retired: folds that are registered and that the stored plan does not have: the next plan lets go of them, their files
            stay.
    """

    asset: str
    state: str
    why: str | None
    if_changed: tuple[str, ...] = ()
    folds: tuple[PlannedFold, ...] | None = None
    retired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RerunPlan:
    """What a run would do.

    Attributes:
        sources: what is known of the files outside, in a sentence; None where there is nothing to say.
        under_way: process that works on the experiment now, whose results this does not have yet; None without one.
    """

    experiment: str
    file: Path
    until: str | None
    steps: tuple[PlannedStep, ...]
    sources: str | None
    under_way: str | None


def plan_run(path: Path, *, until: str | None = None) -> RerunPlan:
    """What `tft run PATH --resume` would run now.

    Args:
        until: last step, as of `tft run`.
    Raises:
        ConfigurationError: what `tft run` refuses: a file that does not validate, another file's name, an unknown step; a
            ledger is damaged.
    """
    graph = ExperimentGraph(read_experiment(path), default_layout())
    names = steps_of(graph, until)
    _refuse_a_taken_name(graph)
    definitions = build_definitions([graph.file], graph.layout)
    with _instance_to_read(graph.layout) as instance, records_are_read(), only_looking():
        return _plan(Staleness(graph, definitions, instance), names, until)


@contextmanager
def _instance_to_read(layout: Layout) -> Iterator[dg.DagsterInstance]:
    """The instance of a home; one in memory where the home has none, for opening it would set it up."""
    if layout.dagster_home.is_dir():
        with open_instance(layout) as instance:
            yield instance
    else:
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance


def _refuse_a_taken_name(graph: ExperimentGraph) -> None:
    folder = graph.layout.experiment(graph.name)
    owner = owner_of(folder)
    if owner is not None and owner != graph.file.path and owner.is_file():
        raise ConfigurationError(
            f"{folder} holds the results of {owner}, and {graph.file.path} carries the same name: a run of it would be "
            "refused; give it another name, or set TFT_HOME to another folder"
        )


def _plan(staleness: Staleness, names: tuple[str, ...], until: str | None) -> RerunPlan:
    graph = staleness.graph
    sources, unmoved = _sources(staleness)
    moving: set[str] = set()
    steps: list[PlannedStep] = []
    for name in names:
        step = _folds(staleness, name, moving) if name in FOLDS else _step(staleness, name, moving)
        steps.append(step)
        if step.state != CURRENT and not (name == "snapshot" and unmoved):
            moving.add(name)
    holder = run_holder(graph.layout.run_lock(graph.name))
    return RerunPlan(
        experiment=graph.name,
        file=graph.file.path,
        until=until,
        steps=tuple(steps),
        sources=sources,
        under_way=None if holder is None else str(holder.get("pid", "unknown")),
    )


def _step(staleness: Staleness, name: str, moving: set[str]) -> PlannedStep:
    """A reason of its own makes it run, and so does an input that has changed and stays as it is; an input that moves may."""
    own = staleness.own_reason(name)
    if own is not None:
        return PlannedStep(name, RUNS, own)
    shape = other_shape(staleness.graph, name)
    changed = staleness.changed_inputs(name)
    settled = [sentence for parent, sentence in changed.items() if _maker(parent) not in moving]
    if settled or shape is not None:
        return PlannedStep(name, RUNS, settled[0] if settled else shape)
    key = staleness.graph.key(name)
    parents = {parent.path[-1] for parent in staleness.definitions.resolve_asset_graph().get(key).parent_keys}
    upstream = tuple(one for one in STEPS if one in moving & parents)
    return PlannedStep(name, MAY_RUN if upstream else CURRENT, next(iter(changed.values()), None), upstream)


def _folds(staleness: Staleness, name: str, moving: set[str]) -> PlannedStep:
    maker = f"{FOLDS[name]}_plan"
    try:
        plan = stored_plan(staleness.graph, maker)
    except (ArtifactMissingError, IntegrityError, ValidationError):  # never planned, or to be planned again
        return PlannedStep(name, MAY_RUN, f"which folds there are is known once {maker} has run", (maker,))
    unsettled = maker in moving
    reasons = {spec.key: staleness.why(name, spec.key) for spec in plan.specs}
    waiting = MAY_RUN if unsettled else RUNS
    folds = tuple(PlannedFold(key, CURRENT if why is None else waiting, why) for key, why in reasons.items())
    registered = staleness.graph.folds(FOLDS[name]).name
    assert registered is not None
    retired = tuple(sorted(set(staleness.instance.get_dynamic_partitions(registered)) - set(reasons)))
    outdated = sum(fold.why is not None for fold in folds)
    why = f"missing or outdated: {outdated} of {len(folds)} folds" if outdated else None
    if unsettled:
        return PlannedStep(name, MAY_RUN, why, (maker,), folds, retired)
    return PlannedStep(name, RUNS if outdated else CURRENT, why, (), folds, retired)


def _maker(parent: str) -> str:
    """The step that an input comes from: specs come from their plan."""
    return parent.removesuffix(SPEC_SUFFIX) + "_plan" if parent.endswith(SPEC_SUFFIX) else parent


def _sources(staleness: Staleness) -> tuple[str | None, bool]:
    """What is known of the files outside, and whether a new snapshot would hold what the stored one does.

    It would when every file has the bytes that the snapshot was made from, and code and configuration are the same.
    """
    graph = staleness.graph
    try:
        minutes = graph.file.minute_source
        now = [
            source_sha256(graph.file.source),
            None if minutes is None else source_sha256(minutes, key="data.minute_source"),
            *(source_sha256(path, key="data.tables") for path in graph.file.tables),
        ]
    except BarsError as error:
        return f"{STOPS}, for its source cannot be read: {error}", False
    if staleness.own_reason("snapshot") is not None:
        return None, False
    artifact = read_artifact(graph.layout.artifact(graph.name, "snapshot"))
    try:
        manifest = json.loads(artifact.path(MANIFEST_FILE).read_text())
        sources = [manifest["source"], manifest["minute_source"], *manifest["tables"]]
        then, snapshot_id = [None if one is None else one["sha256"] for one in sources], manifest["snapshot_id"]
    except (IntegrityError, ValueError, LookupError, TypeError):
        return (
            "the snapshot's record is of another shape: whether the bars are the same is known once it has run",
            False,
        )
    if then != now:
        return "the source's files are not those that the snapshot was made from: bars may have changed", False
    if not _made_by_this_configuration(staleness, snapshot_id):
        return "the source's files are as before; the snapshot was first taken under another configuration", False
    return "the source's files are those that the snapshot was made from: it will find the same bars", True


def _made_by_this_configuration(staleness: Staleness, snapshot_id: str) -> bool:
    """A snapshot of equal bars is found again, so the files may be of an older configuration than the newest record."""
    key = staleness.graph.key("snapshot")
    records = staleness.instance.fetch_materializations(key, limit=HISTORY).records
    made = [record.asset_materialization for record in records if record.asset_materialization is not None]
    first = [one for one in made if str(getattr(one.metadata.get("snapshot_id"), "value", "")) == snapshot_id][-1:]
    now = staleness.definitions.resolve_asset_graph().get(key).code_version
    return bool(first) and (first[0].tags or {}).get(CODE_VERSION_TAG) == now
