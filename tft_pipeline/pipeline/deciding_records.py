"""Records that decide what runs: a plan of another shape is made again, a damaged ledger is refused in one sentence.

Not here: whether an asset is current (`pipeline.staleness`), the steps (`pipeline.driver`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.pipeline.graph import EXPLORATION, PRODUCTION, ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError, read_artifact
from tft_pipeline.storage.layout import Layout

OTHER_SHAPE = "its record is of another shape than this code reads"
PLANS = (f"{EXPLORATION}_plan", f"{PRODUCTION}_plan")


def stored_plan(graph: ExperimentGraph, maker: str) -> FoldPlanReport:
    """What a plan asset stored; errors as `plan_in`."""
    return plan_in(graph.layout, graph.name, maker)


def plan_in(layout: Layout, name: str, maker: str) -> FoldPlanReport:
    """What a plan asset of an experiment stored, whose file need not be there any more.

    Raises:
        ArtifactMissingError: it never ran. IntegrityError: its files are damaged, or hold no record.
        ValidationError: its record is of another shape.
    """
    artifact = read_artifact(layout.artifact(name, maker))
    return FoldPlanReport.model_validate_json(artifact.path(REPORT_FILE).read_text())


def other_shape(graph: ExperimentGraph, asset: str) -> str | None:
    """Why a step that is current by content runs nevertheless: what comes after it needs its plan, and cannot read it."""
    if asset not in PLANS:
        return None
    try:
        stored_plan(graph, asset)
    except (ArtifactMissingError, IntegrityError, ValidationError):
        return OTHER_SHAPE
    return None


@contextmanager
def records_are_read() -> Iterator[None]:
    """Whether something is current is asked in here.

    Raises:
        ConfigurationError: a ledger, or a record that is compared, cannot be read; nobody can say what is current.
        StoreError, PublishError: the store does not answer; as they are, for that may pass.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except (IntegrityError, ValueError) as error:
        raise ConfigurationError(f"what is current cannot be told: {error}") from error
