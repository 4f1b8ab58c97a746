"""The command `tft`: thin, the same code as the assets. Heavy libraries are imported by the commands that need them."""

import sys

import typer

from tft_pipeline.cli import (
    bench,
    card,
    data,
    deploy,
    drift,
    ensemble,
    graph,
    live,
    plan,
    predict,
    releases,
    store,
    train,
)
from tft_pipeline.cli.answers import FAILED, REFUSED, refusal

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Temporal Fusion Transformers, walked forward.")


@app.callback()
def _options() -> None:
    """Results go to standard output, progress and errors to standard error.

    Exit code 0: done; 1: something failed; 2: a file or an option cannot be used; 3: done, and a gate says no.
    """


for commands in (graph, plan, data, train, bench, drift, ensemble, card, deploy, releases, predict, live, store):
    commands.register(app)


def main() -> None:
    """Entry point; expected failures are one message and exit code 1 or 2, not a traceback."""
    from tft_pipeline.domain.experiment import ConfigurationError
    from tft_pipeline.storage.object_store import StoreError

    try:
        app()
    except ConfigurationError as error:
        typer.echo(f"error: {error}", err=True)
        refusal(str(error), as_json="--json" in sys.argv[1:])
        sys.exit(REFUSED)
    except StoreError as error:
        typer.echo(f"error: {error}", err=True)
        refusal(str(error), as_json="--json" in sys.argv[1:])
        sys.exit(FAILED)
    except SystemExit as leaving:
        # an option that cannot be used: typer has told it on standard error and leaves
        said = getattr(leaving.__context__, "format_message", None)
        if said is not None:
            refusal(said(), as_json="--json" in sys.argv[1:])
        raise


if __name__ == "__main__":
    main()
