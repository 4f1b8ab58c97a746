"""Which sections of the experiment file an asset reads, told by its code version.

Not here: what a code version is made of (`pipeline.graph`), whether an asset is current (`pipeline.staleness`).
"""

from dataclasses import dataclass, field

from tft_pipeline.pipeline.graph import ExperimentGraph


@dataclass(frozen=True, slots=True)
class _Listening(ExperimentGraph):
    """A graph that writes down what its assets ask of it."""

    heard: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def code_version(self, revision: str, *sections: str) -> str:
        version = ExperimentGraph.code_version(self, revision, *sections)
        self.heard[version] = sections
        return version


_HEARD: dict[str, dict[str, tuple[str, ...]]] = {}


def sections_read(graph: ExperimentGraph) -> dict[str, tuple[str, ...]]:
    """Code version -> the sections or dotted keys it is a fingerprint of, for every asset of a graph.

    A version that is missing has no fingerprint: its asset reads no section. `seed` is in every fingerprint and not listed.
    """
    from tft_pipeline.pipeline.factory import FACTORIES  # the factory needs the driver, and that asks for staleness

    known = _HEARD.get(content := graph.experiment.model_dump_json())
    if known is None:
        listening = _Listening(graph.file, graph.layout)
        for factory in FACTORIES:
            factory(listening)
        known = _HEARD[content] = listening.heard
    return known
