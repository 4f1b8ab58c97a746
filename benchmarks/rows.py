"""The rows of the table of docs/speed.md: which commands each one is made of, and what it has to reach."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Command:
    """One script with its arguments."""

    script: str
    arguments: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """As typed, without the interpreter and the folder."""
        return " ".join((self.script, *self.arguments))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row; the figures of its commands stand side by side, parted by slashes.

    Attributes:
        sizes: what differs between the commands, in their order.
        targets: smallest ratio of each command, None where there is none.
    """

    what: str
    sizes: str
    commands: tuple[Command, ...]
    targets: tuple[float | None, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.targets and len(self.targets) != len(self.commands):
            raise ValueError(f"{self.what}: {len(self.targets)} targets for {len(self.commands)} commands")


def _steps(mode: str, variables: int, *batches: int, peer: str | None = None) -> tuple[Command, ...]:
    extra = () if peer is None else ("--peer", peer)
    sizes = (("--variables", str(variables), "--batch", str(batch)) for batch in batches)
    return tuple(Command("train_step.py", ("--mode", mode, *size, "--budget", "6", *extra)) for size in sizes)


def _sweep(script: str, option: str, *values: str) -> tuple[Command, ...]:
    return tuple(Command(script, (option, value)) for value in values)


_STEP_TARGETS: dict[tuple[str, int], tuple[float | None, float | None]] = {
    ("random", 73): (2.5, 2.5),
    ("random", 276): (3.0, 3.0),
    ("block", 73): (10.0, None),
    ("block", 276): (18.0, 35.0),
}
_MODES = {
    "random": "training step, random batches, dropout 0.1",
    "inference": "inference pass",
    "block": "full step, block batches, fetching included",
}

ROWS = (
    *(
        Row(
            what=what,
            sizes=f"V = {variables}, B = 16 / 64",
            commands=_steps(mode, variables, 16, 64),
            targets=_STEP_TARGETS.get((mode, variables), ()),
        )
        for mode, what in _MODES.items()
        for variables in (5, 73, 276)
    ),
    *(
        Row(
            what=f"training step, random batches, {peer}",
            sizes="V = 73 / 276, B = 16",
            commands=(*_steps("random", 73, 16, peer=peer), *_steps("random", 276, 16, peer=peer)),
            targets=targets,
        )
        for peer, targets in (("neuralforecast", (None, 25.0)), ("darts", ()))
    ),
    Row(
        what="time to its best validation loss, sample",
        sizes="24 features, 20 symbols",
        commands=(Command("time_to_loss.py"),),
        targets=(20.0,),
    ),
    Row(
        what="rolling inference, 1,000 bars",
        sizes="V = 73 / 276",
        commands=_sweep("rolling_inference.py", "--variables", "73", "276"),
        targets=(35.0, 55.0),
    ),
    Row(
        what="latency, batch 1, p95",
        sizes="V = 73, window / streaming",
        commands=_sweep("latency.py", "--form", "window", "streaming"),
        targets=(12.0, 45.0),
    ),
    Row(
        what="live step of one symbol, against the whole window in eager torch, p95",
        sizes="V = 73, torch / onnx_stream / onnx_window",
        commands=_sweep("predictor.py", "--form", "torch", "onnx_stream", "onnx_window"),
    ),
    Row(
        what="latency, the guide's LSTM, p95",
        sizes="V = 5",
        commands=_sweep("latency.py", "--form", "lstm"),
        targets=(1.8,),
    ),
    Row(what="peak training memory", sizes="V = 276, B = 64", commands=(Command("memory.py"),), targets=(8.0,)),
    Row(what="two folds at once", sizes="2 processes", commands=(Command("folds.py"),), targets=(1.8,)),
    Row(
        what="42 of the catalogue's features",
        sizes="500,000 bars",
        commands=(Command("features.py", ("--symbols", "1000")),),
    ),
    Row(what="windows from features", sizes="73 features", commands=(Command("windows.py"),)),
    Row(what="drift report with its null", sizes="276 features, 1,000,000 bars", commands=(Command("drift.py"),)),
    Row(
        what="cost at the largest size of scaling.py",
        sizes="variables / lookback / hidden / rows",
        commands=_sweep("scaling.py", "--axis", "variables", "lookback", "hidden", "rows"),
    ),
)
