"""The command `tft ensemble`: weights for probabilities that come as CSV or Parquet files."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import JsonOption, finish
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import DAY, add


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        ensemble,
        panel=DAY,
        examples=(
            (
                "tft ensemble --lgbm-proba a.csv --tft-proba b.csv --y-true y.csv --output ensemble.json",
                "the weights of two models",
            ),
        ),
        reads="two or three files of probabilities and one of outcomes",
        writes="the file of --output, if named",
    )


def ensemble(
    y_true: Annotated[Path, typer.Option(help="CSV or Parquet: symbol, timestamp, y_true (0 or 1)")],
    lgbm_proba: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: symbol, timestamp, proba (0 to 1); left out by default")
    ] = None,
    tft_proba: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: symbol, timestamp, proba (0 to 1); left out by default")
    ] = None,
    sentiment_proba: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: symbol, timestamp, proba (0 to 1); left out by default")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="write ensemble.json there")] = None,
    by_row: Annotated[
        bool, typer.Option("--by-row", help="rows fit by their order, not by symbol and timestamp")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="calibrate each source first, on earlier blocks of time")
    ] = False,
    l2: Annotated[float, typer.Option(min=0.0, help="strength of the pull towards equal weights; 0 for none")] = 0.0,
    horizon: Annotated[int, typer.Option(min=1, help="bars that a label looks ahead")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Find the convex weights of several models' probabilities, scored on rows that the weights have not seen."""
    files = {"lgbm": lgbm_proba, "tft": tft_proba, "sentiment": sentiment_proba}
    with shown(as_json, doing="fitting the weights"):
        from tft_pipeline.pipeline.ensemble_files import blend_files

        found = blend_files(files, y_true, output=output, by_row=by_row, calibrate=calibrate, l2=l2, horizon=horizon)
    finish(found, as_json)
