"""What every benchmark reports, and how: one line of words, or one JSON object with `--json`.

Not here: how it is measured (`pairing`), which benchmarks there are (`run_all`).
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from pairing import Timing


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ours against a peer.

    Attributes:
        ours, theirs: in `unit`; None where a side did not get there.
        ratio: how many times better ours is; None where it is undefined.
        wall_ratio: the same on the clock, where `ours` and `theirs` are CPU seconds.
        shapes: sizes of the run.
        remarks: what a reader has to know to judge the figure.
    """

    name: str
    peer: str
    unit: str
    ours: float | None
    theirs: float | None
    ratio: float | None
    wall_ratio: float | None = None
    shapes: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


def of_timings(
    name: str, peer: str, ours: Timing, theirs: Timing, *, shapes: dict[str, Any], remarks: tuple[str, ...] = ()
) -> Comparison:
    """CPU seconds of a call, medians; their ratio, and that of the medians on the clock."""
    return Comparison(
        name=name,
        peer=peer,
        unit="s of CPU",
        ours=ours.cpu_median,
        theirs=theirs.cpu_median,
        ratio=theirs.cpu_median / ours.cpu_median,
        wall_ratio=theirs.wall_median / ours.wall_median,
        shapes=shapes,
        remarks=remarks,
        details={
            "rounds": len(ours.cpu),
            "wall_s": {"ours": ours.wall_median, "theirs": theirs.wall_median},
        },
    )


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def show(result: Comparison, *, as_json: bool) -> None:
    """Print the result; a figure that is not finite would not be JSON.

    Raises:
        ValueError: a figure is NaN or infinite.
    """
    for figure in ("ours", "theirs", "ratio"):
        value = getattr(result, figure)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{figure} is {value}: the measurement went wrong, for a time or size is finite")
    if as_json:
        print(json.dumps(asdict(result)))
        return
    figures = (amount(result.ours, result.unit), amount(result.theirs, result.unit), times(result.ratio))
    print(f"{result.name}: ours {figures[0]}, {result.peer} {figures[1]}: {figures[2]}")
    print(f"  {', '.join(f'{key} {value}' for key, value in result.shapes.items())}")
    for remark in result.remarks:
        print(f"  {remark}")


def amount(value: float | None, unit: str) -> str:
    """A figure with three digits and its unit; seconds below one are shown in milliseconds."""
    if value is None:
        return "not reached"
    if unit.startswith("s") and value < 1.0:
        value, unit = value * 1e3, f"m{unit}"
    return f"{_digits(value)} {unit}"


def times(ratio: float | None) -> str:
    """`12.3x`, or a dash."""
    return "-" if ratio is None else f"{_digits(ratio)}x"


def _digits(value: float) -> str:
    decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0.0 else 0
    return f"{value:,.{min(decimals, 4)}f}"
