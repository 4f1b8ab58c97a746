"""The production walk forward run otherwise, to be compared with: folds without purge, the experiment with overlap.

Not here: what is made of their predictions (`assets.purge`).
"""

from collections.abc import Callable
from typing import Literal

import dagster as dg
import polars as pl
import yaml

from tft_pipeline.domain.content import json_sha256
from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.prediction_rows import prediction_frame
from tft_pipeline.domain.reports import FoldSpec
from tft_pipeline.model.processes import n_workers, process_pool
from tft_pipeline.pipeline.driver import Driver
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import FRAME_FILE
from tft_pipeline.pipeline.panels import fold_panel
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.experiments import claim_name, read_experiment

LONGEST_NAME = 40
Window = Literal["expanding", "sliding"]
Log = Callable[[str], None]


def without_purge(fold: Fold, window: Window) -> Fold:
    """The fold with both gaps closed: validation ends where test begins, training where validation begins.

    Lengths stay; an expanding window keeps its start and grows by the bars of both gaps.
    """
    validation = Span(fold.test.start - fold.validation.n_bars, fold.test.start)
    start = fold.train.start if window == "expanding" else validation.start - fold.train.n_bars
    return Fold(key=fold.key, train=Span(start, validation.start), validation=validation, test=fold.test)


def refit_without_purge(graph: ExperimentGraph, spec: FoldSpec, window: Window) -> pl.DataFrame:
    """Fit one production fold again, by the same spec and seed, on `without_purge`; its raw positions.

    It keeps no training state, and leaves that of the production fold alone.
    """
    from tft_pipeline.model.fit import fit_fold
    from tft_pipeline.model.inference import predict

    panel, fold = fold_panel(graph, spec), without_purge(spec.fold, window)
    fitted = fit_fold(
        panel,
        fold,
        network=spec.network,
        training=spec.training,
        position=spec.position,
        target_volatility=spec.target_volatility,
        horizon=spec.horizon,
        bars_per_year=spec.bars_per_year,
        epochs=spec.epochs,
        seed=spec.seeds[0],
    )
    positions = {"raw_position": predict(fitted, panel, fold.test).raw_position}
    return prediction_frame(spec.key, panel.between(*fold.test), positions)


def refit_all_without_purge(
    graph: ExperimentGraph, specs: tuple[FoldSpec, ...], window: Window, log: Log
) -> dict[str, pl.DataFrame]:
    """Raw positions by fold, each fitted in a process of its own; newest folds first, for they may train longest.

    One worker alone is this process.
    """
    workers = n_workers(len(specs))
    ordered = sorted(specs, key=lambda spec: spec.key, reverse=True)
    refitted = {}
    if workers == 1:
        for spec in ordered:
            refitted[spec.key] = refit_without_purge(graph, spec, window)
            log(f"fold {spec.key} without purge ({len(refitted)}/{len(specs)})")
        return refitted
    with process_pool(workers) as pool:
        futures = {spec.key: pool.submit(refit_without_purge, graph, spec, window) for spec in ordered}
        for key, future in futures.items():
            refitted[key] = future.result()
            log(f"fold {key} without purge ({len(refitted)}/{len(specs)})")
    return refitted


def overlap_graph(graph: ExperimentGraph) -> ExperimentGraph:
    """The experiment with `periods.overlap: allowed`, written to a file in its own folder of the same home.

    It has a file because worker processes and `--resume` read one.

    Raises:
        ValueError: overlap is allowed already.
        ConfigurationError: its folder belongs to another experiment.
    """
    experiment = graph.experiment
    if experiment.periods.overlap == "allowed":
        raise ValueError(
            f"{graph.name} has periods.overlap: allowed itself: there is no other variant to run; drop overlap"
        )
    name = f"{graph.name}_overlap"
    if len(name) > LONGEST_NAME:
        kept = graph.name[: LONGEST_NAME - len("_123456_overlap")]
        name = f"{kept}_{json_sha256(graph.name)[:6]}_overlap"
    derived = experiment.model_copy(
        update={
            "name": name,
            "periods": experiment.periods.model_copy(update={"overlap": "allowed"}),
            "data": graph.file.absolute_data(),
        }
    )
    folder = graph.layout.experiment(name)
    path = folder / "experiment.yaml"
    claim_name(folder, path.resolve())
    path.write_text(f"# made from {graph.file.path} by purge_comparison\n{yaml.safe_dump(derived.model_dump())}")
    return ExperimentGraph(read_experiment(path), graph.layout)


def overlap_portfolio(
    graph: ExperimentGraph, instance: dg.DagsterInstance, *, parent_run_id: str, log: Log
) -> pl.DataFrame:
    """`oos_portfolio` of `overlap_graph`, after running whatever of it is not current; its looks count.

    Raises:
        PipelineFailedError: a stage of it failed.
        What `overlap_graph` raises.
    """
    from tft_pipeline.pipeline.factory import build_definitions

    derived = overlap_graph(graph)
    Driver(
        graph=derived,
        definitions=build_definitions([derived.file], derived.layout),
        instance=instance,
        report=lambda line: log(f"{derived.name}: {line}"),
        resume=True,
        parent_run_id=parent_run_id,
    ).run()
    return pl.read_parquet(read_artifact(derived.layout.artifact(derived.name, "oos_portfolio")).path(FRAME_FILE))
