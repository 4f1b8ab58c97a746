"""Checks of `tft doctor`: whether experiment files load, and what a run of them would compute, as `tft plan` says it."""

from pathlib import Path

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.doctor_databases import not_to_be_asked
from tft_pipeline.pipeline.doctor_disk import last_run
from tft_pipeline.pipeline.doctor_findings import OK, PROBLEM, WARNING, Finding
from tft_pipeline.pipeline.experiment_paths import experiment_paths
from tft_pipeline.pipeline.rerun_plan import STOPS, plan_run
from tft_pipeline.pipeline.rerun_words import count_in_words
from tft_pipeline.storage.experiments import usable_experiments
from tft_pipeline.storage.layout import Layout


def files(experiment: Path | None) -> list[Finding]:
    """Each file that cannot be loaded with its reason, and how many can."""
    paths = [experiment] if experiment is not None else experiment_paths()
    if not paths:
        return [Finding("experiments", WARNING, "there is no experiment file", "`tft init` writes one for your bars")]
    loaded, refused = usable_experiments(paths)
    wrong = [
        Finding("experiments", PROBLEM, f"{one.path} cannot be loaded: {one.reason}", "correct the file")
        for one in refused
    ]
    names = ", ".join(one.experiment.name for one in loaded)
    return [*wrong, *([Finding("experiments", OK, f"{len(loaded)} can be loaded: {names}")] if loaded else [])]


def chosen(experiment: Path | None) -> list[Path]:
    """Files whose plan is asked for: those that can be loaded."""
    paths = [experiment] if experiment is not None else experiment_paths()
    return [one.path for one in usable_experiments(paths)[0]]


def would_run(path: Path, layout: Layout) -> list[Finding]:
    """What `tft run --resume` of a file would compute; a warning where it would stop for its bars."""
    name = f"would run: {path.name}"
    if (unasked := not_to_be_asked(name, layout)) is not None:
        return [unasked]
    try:
        plan = plan_run(path)
    except ConfigurationError as error:
        return [Finding(name, PROBLEM, str(error), "see the sentence")]
    said = f"{count_in_words(plan.steps)} {last_run(layout, plan.experiment)}".strip()
    if plan.sources is not None and plan.sources.startswith(STOPS):
        return [Finding(name, WARNING, plan.sources, f"put the bars there, or correct data.source in {path}")]
    return [Finding(name, OK, said)]
