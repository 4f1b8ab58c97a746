"""The command `tft drift`: have the bars changed since the model was trained, or one file against another."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import DAY, add

OF_A_SNAPSHOT = ("experiment", "recent_days")


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        drift,
        panel=DAY,
        examples=(
            ("tft drift --snapshot ID --recent-days 7", "ID is what `tft snapshot` printed"),
            ("tft drift --reference a.csv --recent b.csv", "one file against another, of any columns"),
        ),
        reads="a frozen snapshot and the newest release, or two files",
        writes="the file of --output with its pictures, else reports/drift_YYYY-MM-DD.json below TFT_HOME",
        exits="3 where the verdict is retrain or insufficient_data; stable and investigate pass",
    )


def drift(
    context: typer.Context,
    experiment: ExperimentOption = TRAINED,
    snapshot: Annotated[str | None, typer.Option(help="id that `tft snapshot` printed, or a folder of one")] = None,
    recent_days: Annotated[int, typer.Option(min=1, help="days up to the snapshot's newest bar")] = 7,
    reference: Annotated[Path | None, typer.Option(help="Parquet or CSV file to compare with; needs --recent")] = None,
    recent: Annotated[Path | None, typer.Option(help="Parquet or CSV file of the same columns")] = None,
    psi_threshold: Annotated[float, typer.Option(help="population stability index that counts as large")] = 0.25,
    js_threshold: Annotated[float, typer.Option(help="Jensen-Shannon distance that counts as large, 0 to 1")] = 0.3,
    output: Annotated[
        Path | None,
        typer.Option(
            help="write the report there, and its pictures beside it (.html); else reports/drift_YYYY-MM-DD.json below TFT_HOME"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare recent bars with those the model was trained on, or one file with another.

    Investigate means that a person should look.
    """
    from tft_pipeline.domain.experiment import ConfigurationError

    given = [f"--{name.replace('_', '-')}" for name in OF_A_SNAPSHOT if _is_given(context, name)]
    limits = {"psi_threshold": psi_threshold, "js_threshold": js_threshold}
    if reference is not None and recent is not None and snapshot is None:
        if given:
            raise ConfigurationError(
                f"{' and '.join(given)} only with --snapshot, not with two files: leave out what does nothing"
            )
        with shown(as_json, doing=f"comparing {recent} with {reference}"):
            from tft_pipeline.pipeline.drift_command import compare_files

            found = compare_files(reference, recent, output=output, **limits)
    elif snapshot is not None and reference is None and recent is None:
        with shown(
            as_json, doing=f"comparing the last {recent_days} days with the training bars of {experiment}"
        ) as to:
            from tft_pipeline.pipeline.drift_command import compare_snapshot

            found = compare_snapshot(
                experiment, snapshot, recent_days=recent_days, output=output, watch=to.watch, **limits
            )
    else:
        raise ConfigurationError("name --snapshot ID, or both --reference FILE and --recent FILE")
    finish(found, as_json)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
