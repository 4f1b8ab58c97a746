"""The command `tft`: thin, the same code as the assets. Heavy libraries are imported by the commands that need them."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from tft_pipeline.cli import (
    bench,
    card,
    data,
    deploy,
    doctor,
    drift,
    ensemble,
    graph,
    init,
    kill_switch,
    live,
    plan,
    predict,
    releases,
    store,
    train,
)
from tft_pipeline.cli.answers import FAILED, REFUSED, be_quiet, refusal
from tft_pipeline.cli.machine_faults import fault_of_the_machine
from tft_pipeline.cli.teaching import FIRST_WORDS, LAST_WORDS, QUIET_HELP, START, InOrder, add, literal

app = typer.Typer(cls=InOrder, no_args_is_help=True, help=literal(FIRST_WORDS), epilog=literal(LAST_WORDS))


def _say_version(asked: bool) -> None:
    if asked:
        import tft_pipeline

        typer.echo(f"tft-pipeline {tft_pipeline.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help=QUIET_HELP)] = False,
    version: Annotated[  # its callback answers
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="the version of this program")
    ] = False,
) -> None:
    be_quiet(quiet)


doctor.register(app)
add(
    app,
    init.init,
    panel=START,
    examples=(("tft init bars.parquet", "reads them, says what is odd, and writes experiments/bars.yaml"),),
    reads="a Parquet or CSV file of bars, or a folder of them",
    writes="an experiment file, and with --convert a copy of the bars",
)
for commands in (
    graph,
    plan,
    card,
    deploy,
    releases,
    predict,
    live,
    kill_switch,
    data,
    train,
    bench,
    drift,
    ensemble,
    store,
):
    commands.register(app)


def main() -> None:
    """Entry point; expected failures are one message and exit code 1 or 2, not a traceback."""
    from tft_pipeline.domain.experiment import ConfigurationError
    from tft_pipeline.storage.artifacts import IntegrityError
    from tft_pipeline.storage.object_store import StoreError
    from tft_pipeline.storage.published import PublishError

    # it tells at length how it makes its tables, between our lines and with --quiet; workers inherit it
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    try:
        app()
    except ConfigurationError as error:
        _leave(str(error), REFUSED)
    except (StoreError, PublishError, IntegrityError) as error:
        _leave(str(error), FAILED)
    except SystemExit as leaving:
        # an option that cannot be used: typer has told it on standard error and leaves
        said = getattr(leaving.__context__, "format_message", None)
        if said is not None:
            refusal(said(), as_json="--json" in sys.argv[1:])
        raise
    except Exception as error:
        sentence = fault_of_the_machine(error)
        if sentence is None:
            raise
        _leave(sentence, FAILED)


def _leave(sentence: str, exit_code: int) -> NoReturn:
    typer.echo(f"error: {sentence}", err=True)
    refusal(sentence, as_json="--json" in sys.argv[1:])
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
