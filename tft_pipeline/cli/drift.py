"""The command `tft drift`: have the bars changed since the model was trained, or one file against another."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish

OF_A_SNAPSHOT = ("experiment", "recent_days")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(drift)


def drift(
    context: typer.Context,
    experiment: ExperimentOption = TRAINED,
    snapshot: Annotated[str | None, typer.Option(help="id that `tft snapshot` printed, or a folder of one")] = None,
    recent_days: Annotated[int, typer.Option(min=1, help="days up to the snapshot's newest bar")] = 7,
    reference: Annotated[Path | None, typer.Option(help="Parquet or CSV file, with --recent")] = None,
    recent: Annotated[Path | None, typer.Option(help="Parquet or CSV file of the same columns")] = None,
    psi_threshold: Annotated[float, typer.Option(help="PSI that counts as large")] = 0.25,
    js_threshold: Annotated[float, typer.Option(help="Jensen-Shannon distance that counts as large")] = 0.3,
    output: Annotated[
        Path | None,
        typer.Option(
            help="write the report there, and its pictures beside it (.html); else reports/drift_YYYY-MM-DD.json below TFT_HOME"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare recent bars with those the model was trained on, or one file with another.

    Exit code 3 when the verdict is retrain or insufficient_data; stable, and investigate (a person should look), pass.
    """
    from tft_pipeline.domain.experiment import ConfigurationError
    from tft_pipeline.pipeline.drift_command import compare_files, compare_snapshot

    given = [f"--{name.replace('_', '-')}" for name in OF_A_SNAPSHOT if _is_given(context, name)]
    limits = {"psi_threshold": psi_threshold, "js_threshold": js_threshold}
    if reference is not None and recent is not None and snapshot is None:
        if given:
            raise ConfigurationError(
                f"{' and '.join(given)} only with --snapshot, not with two files: leave out what does nothing"
            )
        found = compare_files(reference, recent, output=output, **limits)
    elif snapshot is not None and reference is None and recent is None:
        found = compare_snapshot(experiment, snapshot, recent_days=recent_days, output=output, **limits)
    else:
        raise ConfigurationError("name --snapshot ID, or both --reference FILE and --recent FILE")
    finish(found, as_json)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
