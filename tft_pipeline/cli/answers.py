"""How every command answers: results to standard output, progress to standard error, and the exit code.

    0  done                      2  the experiment file, an option or an input file cannot be used
    1  something failed          3  done, and a gate says no

129, 130 and 143 are those of signals (`cli.stopping`). Not here: what the commands do.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tft_pipeline.cli.nearest import existing_file, existing_file_if_one

ExperimentArgument = Annotated[
    Path, typer.Argument(help="experiment file, such as experiments/demo.yaml", callback=existing_file)
]
ExperimentOption = Annotated[
    str,
    typer.Option(
        "--experiment", help="experiment file, or the name of one that was run here", callback=existing_file_if_one
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object on standard output, for a program")]
RequireGoOption = Annotated[bool, typer.Option("--require-go", help="exit code 3 when the verdict is NO-GO")]

TRAINED = "tft_prod"
"""The experiment that `tft train` makes, and that the other commands speak of unless told otherwise."""
FAILED, REFUSED, GATE_SAYS_NO = 1, 2, 3
_QUIET = [False]


def be_quiet(quiet: bool) -> None:
    """Whether this process says nothing but results and errors: `--quiet`, before a command or behind it."""
    _QUIET[0] = quiet


def is_quiet() -> bool:
    """Whether `--quiet` was given."""
    return _QUIET[0]


def progress(line: str) -> None:
    """One line of progress; none with `--quiet`."""
    if not is_quiet():
        typer.echo(line, err=True)


def finish(result: dict[str, Any], as_json: bool) -> None:
    """Print a result and leave with its exit code.

    Args:
        result: name to value. `failed`, a list, is why it failed; `gate`, {"passed": bool, "reasons": [sentences]}, is what a
            gate says; dicts are for machines only, what they say stands in the sentences.
    """
    gate = result.get("gate")
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        _print(result if gate is None else result | {"gate": _gate_in_words(gate)})
    if result.get("failed"):
        raise typer.Exit(FAILED)
    if gate is not None and not gate["passed"]:
        raise typer.Exit(GATE_SAYS_NO)


def refusal(sentence: str, as_json: bool) -> None:
    """Why nothing was done, for a program that reads standard output; people read it on standard error."""
    if as_json:
        typer.echo(json.dumps({"error": sentence, "failed": [sentence]}, indent=1))


def _print(result: dict[str, Any]) -> None:
    for name, value in result.items():
        if isinstance(value, dict):
            continue
        if not isinstance(value, list) or (value and all(isinstance(item, float) for item in value)):
            typer.echo(f"{name}: {value}")
        elif value:
            typer.echo(f"{name}:")
            for item in value:
                typer.echo(f"  - {_in_words(item)}")


def _gate_in_words(gate: dict[str, Any]) -> str | list[str]:
    return "passed" if gate["passed"] else [f"NOT passed: {reason}" for reason in gate["reasons"]]


def _in_words(item: object) -> str:
    """A failure in one line; anything else as it is."""
    if not isinstance(item, dict):
        return str(item)
    if "run_id" not in item:
        return ", ".join(f"{name} {value}" for name, value in item.items())
    fold = "" if item["partition"] is None else f" [{item['partition']}]"
    run = f" (run {item['run_id'][:8]})" if item["run_id"] else ""  # a worker may die before its run begins
    return f"{item['asset']}{fold}: {item['reason']}{run}"
