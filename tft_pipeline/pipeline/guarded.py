"""What surrounds the computing of every asset and fold: one writer, a slot for heavy steps, another try, a measurement.

Not here: the lock, the slots, the list of faults and the meter themselves.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg

from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.transient import transient_faults_are_tried_again
from tft_pipeline.pipeline.usage import metered
from tft_pipeline.storage.locks import Held, LockLostError, WriterLockedError, writer_lock
from tft_pipeline.storage.slots import at_most, computing

EVERY_FREE_SLOT = 1 << 16

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
    Inputs are read before the lock is taken.

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
                    with ExitStack() as during:
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

        return cast(Callable[P, R], guard)

    return around


@contextmanager
def _sole_writer(graph: ExperimentGraph, asset: str, partition: str | None) -> Iterator[Held]:
    with ExitStack() as stack:
        try:
            held = stack.enter_context(writer_lock(graph.layout.writer_lock(graph.name, asset, partition)))
        except WriterLockedError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        yield held


def _refuse_lost(held: Held) -> None:
    try:
        held.check()
    except LockLostError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
