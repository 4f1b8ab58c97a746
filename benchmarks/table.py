"""The table of docs/speed.md, made of results.json. Not here: measuring."""

from typing import Any

from comparison import amount, times
from rows import ROWS, Row

OPENING, CLOSING = "<!-- benchmarks -->", "<!-- /benchmarks -->"
HEADER = "| what | sizes | peer | ours | theirs | ratio | target |\n|---|---|---|---|---|---|---|"
PEERS = {"pytorch_forecasting": "pytorch-forecasting", "neuralforecast": "neuralforecast (NVIDIA's modelling)"}
ABSENT = "not measured"


def render(stored: dict[str, Any]) -> str:
    """The block between the markers."""
    machine, results = stored["machine"], stored["results"]
    versions = ", ".join(
        f"{name} {said}" if said else f"{name} not installed" for name, said in machine["versions"].items()
    )
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}, {versions}.",
        "",
        HEADER,
        *(_row(row, [results.get(command.line, {}) for command in row.commands]) for row in ROWS),
        "",
    ]
    exponents = {
        result["details"]["axis"]: result["details"]["exponent"]
        for result in results.values()
        if "exponent" in result.get("details", {})
    }
    if exponents:
        said = ", ".join(f"{axis} {of['ours']:.2f} ({of['theirs']:.2f})" for axis, of in exponents.items())
        lines.append(f"Fitted exponents of cost, theirs in brackets: {said}; [the plot](../benchmarks/scaling.png).")
    return "\n".join(lines)


def inserted(page: str, block: str) -> str:
    """The page with the block between its markers.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    if page.count(OPENING) != 1 or page.count(CLOSING) != 1 or page.index(OPENING) > page.index(CLOSING):
        raise ValueError(f"the page needs one {OPENING} and one {CLOSING} behind it: the table has no place; add them")
    before, rest = page.split(OPENING)
    return f"{before}{OPENING}\n{block}\n{CLOSING}{rest.split(CLOSING)[1]}"


def ratio_of(result: dict[str, Any]) -> str:
    """The ratio of a result, or that there is none."""
    return times(result["ratio"]) if "ratio" in result else ABSENT


def _row(row: Row, results: list[dict[str, Any]]) -> str:
    peers = {PEERS.get(result["peer"], result["peer"]) for result in results if "peer" in result}
    sides = [
        " / ".join(amount(result[side], result["unit"]) if "unit" in result else ABSENT for result in results)
        for side in ("ours", "theirs")
    ]
    targets = " / ".join("" if target is None else f"{target:g}x" for target in row.targets)
    cells = [
        row.what,
        row.sizes,
        ", ".join(sorted(peers)) or ABSENT,
        *sides,
        " / ".join(f"**{ratio_of(result)}**" if "ratio" in result else ABSENT for result in results),
        targets.strip(" /"),
    ]
    return f"| {' | '.join(cells)} |"
