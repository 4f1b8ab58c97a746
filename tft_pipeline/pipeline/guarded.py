"""What surrounds the computing of every asset and fold: one writer, a slot for heavy steps, another try, a measurement, and
afterwards no training state.

Not here: the lock, the slots, the list of faults and the meter themselves.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.claiming import claim
from tft_pipeline.pipeline.graph import EXPLORATION, PRODUCTION, ExperimentGraph
from tft_pipeline.pipeline.runs import MAX_RETRIES
from tft_pipeline.pipeline.transient import transient_faults_are_tried_again
from tft_pipeline.pipeline.usage import metered
from tft_pipeline.storage.locks import Held, LockLostError, WriterLockedError, writer_lock
from tft_pipeline.storage.postgres_locks import LockServerError
from tft_pipeline.storage.slots import at_most, computing

EVERY_FREE_SLOT = 1 << 16
ONCE = ("release",)
"""Assets whose computing changes more than their value: a version of the model is written and goes live. Once it has begun,
neither the step nor the run is tried again by itself: the second version would hide the one to go back to."""

P = ParamSpec("P")
R = TypeVar("R")


def guarded(
    graph: ExperimentGraph, asset: str, *, slots: int = 0, measured: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate an asset's function.

    The writer's lock is held from before computing until the IO manager has stored the value and Dagster has recorded it: the
    function becomes a generator, which Dagster resumes when its output is done. A second writer fails at once, with the
    holder's name, and so does one whose lock was lost while it computed, before it stores anything. The gap that is left: a
    lock that is lost during the storing itself (with `TFT_LOCKS`, a broken connection) goes unnoticed.
    Inputs are read before the lock is taken. A fold's training states go when it is stored.

    Args:
        slots: processes of this machine the step computes with (`storage.slots`); 0 for one that takes seconds and little
            memory. One is waited for; where it wants more and fewer are free, its own worker processes are as many.
        measured: whether each computing of it, failed ones too, becomes a row of the experiment's usage.
    """

    def around(compute: Callable[P, R]) -> Callable[P, R]:
        @wraps(compute)  # Dagster reads the inputs from the signature of what is wrapped
        def guard(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            context = dg.AssetExecutionContext.get()
            partition = context.partition_key if context.assets_def.partitions_def is not None else None
            with ExitStack() as lock:
                with transient_faults_are_tried_again(context.retry_number, context.log):
                    held = lock.enter_context(_sole_writer(graph, asset, partition))
                with _another_try(context, asset), ExitStack() as during:
                    if slots:
                        folder = graph.layout.slots
                        n = during.enter_context(computing(folder, wanted=slots, waits=context.log.info))
                        during.enter_context(at_most(n))
                    if measured:
                        during.enter_context(metered(graph, asset, partition))
                    value: Any = compute(*args, **kwargs)
                    outputs = value if isgeneratorfunction(compute) else iter((value,))
                    first = next(outputs)
                _refuse_lost(held)
                yield first  # Dagster stores it before it goes on
                yield from outputs
                _remove_training_states(graph, asset, partition, context.log)

        return cast(Callable[P, R], guard)

    return around


def _another_try(context: dg.AssetExecutionContext, asset: str) -> AbstractContextManager[None]:
    if asset not in ONCE:
        return transient_faults_are_tried_again(context.retry_number, context.log)
    context.instance.add_run_tags(context.run.run_id, {MAX_RETRIES: "0"})
    return nullcontext()


def _remove_training_states(
    graph: ExperimentGraph, asset: str, partition: str | None, log: dg.DagsterLogManager
) -> None:
    """Not before the fold is stored: a fold that could not be would be trained again from its first epoch."""
    phase = asset.removesuffix("_fold")
    if partition is None or phase not in (EXPLORATION, PRODUCTION):
        return
    from tft_pipeline.model.checkpoint import remove_state

    state = graph.layout.training_state(graph.name, phase, partition)
    try:
        for one in (state, *state.parent.glob(f"{state.stem}-*")):  # exploration has one a seed
            remove_state(one)
    except OSError as error:
        log.warning(f"a training state could not be removed: {error}; it takes place and changes no result")


@contextmanager
def _sole_writer(graph: ExperimentGraph, asset: str, partition: str | None) -> Iterator[Held]:
    with ExitStack() as stack:
        try:
            claim(graph, dg.AssetExecutionContext.get().instance)
            held = stack.enter_context(writer_lock(graph.layout.writer_lock(graph.name, asset, partition)))
        except (ConfigurationError, WriterLockedError) as error:
            if isinstance(error, LockServerError) and error.may_pass:
                raise
            raise dg.Failure(str(error), allow_retries=False) from error
        yield held


def _refuse_lost(held: Held) -> None:
    try:
        held.check()
    except LockLostError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
