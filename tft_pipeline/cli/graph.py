"""Commands on the whole graph of an experiment: run, materialize, tune, purge-comparison, features, stats."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import (
    FAILED,
    ExperimentArgument,
    JsonOption,
    RequireGoOption,
    finish,
    refusal,
)
from tft_pipeline.cli.nearest import existing_file
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.stopping import resumed, stoppable
from tft_pipeline.cli.teaching import LOOK, PARTS, START, add


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(
        app,
        run,
        panel=START,
        examples=(
            ("tft run experiments/demo.yaml", "everything, some minutes; ends with the verdict"),
            ("tft run experiments/demo.yaml --resume", "only what is missing or out of date"),
            (
                "tft run experiments/daily.yaml --until tuned_hyperparameters --background",
                "hours; outlives the terminal",
            ),
        ),
        reads="the experiment file and the bars that it names",
        writes="experiments/NAME below TFT_HOME: assets, folds, report, the released candidate",
        exits="3 with --require-go and NO-GO; 130, 143, 129 when it was stopped",
    )
    add(
        app,
        materialize,
        panel=PARTS,
        examples=(
            ("tft materialize experiments/demo.yaml features", "one asset again"),
            (
                "tft materialize experiments/demo.yaml production_fold --partition f2016-01-06 --downstream",
                "one fold, and all that follows from it",
            ),
        ),
        reads="the stored inputs of the asset",
        writes="a new version of it below TFT_HOME",
        exits="130, 143, 129 when it was stopped",
    )
    add(
        app,
        tune,
        panel=PARTS,
        examples=(
            ("tft tune experiments/daily.yaml", "in another terminal, or on another machine with TFT_TUNING_STORAGE"),
        ),
        reads="the stored features and targets, and the study",
        writes="trials into the study; the asset tuned_hyperparameters records the result",
        exits="130, 143, 129 when it was stopped",
    )
    add(
        app,
        features,
        panel=LOOK,
        examples=(
            ("tft features", "the whole catalogue"),
            ("tft features experiments/demo.yaml", "what this experiment gives the network"),
        ),
        reads="the experiment file",
        writes="nothing",
    )
    add(
        app,
        stats,
        panel=LOOK,
        examples=(
            (
                "tft stats returns.csv --bars-per-year 252 --trials 100",
                "daily returns of the best of a hundred tries, from anywhere",
            ),
        ),
        reads="one CSV or Parquet file",
        writes="nothing",
    )
    add(
        app,
        purge_comparison,
        panel=LOOK,
        examples=(("tft purge-comparison experiments/demo.yaml", "as long as the production folds took"),),
        reads="the stored plan and features of a finished run",
        writes="the asset purge_comparison",
        exits="130, 143, 129 when it was stopped",
    )


def run(
    experiment: ExperimentArgument,
    resume: Annotated[bool, typer.Option("--resume", help="run only what is missing or outdated")] = False,
    until: Annotated[
        str | None, typer.Option(help="stop after this asset, such as tuned_hyperparameters; default: run all")
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="return at once; the run outlives the terminal")
    ] = False,
    require_go: RequireGoOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole graph of an experiment, from raw bars to a released model. NO-GO is a result: exit code 0.

    Ctrl-C, SIGTERM or a closed terminal stops it within seconds, keeps what is finished and says how to go on. `nohup` and
    `--background` let it outlive the terminal.
    """
    from tft_pipeline.domain.experiment import ConfigurationError

    if background:
        if require_go:
            raise ConfigurationError("--require-go with --background: nobody would see the exit code; leave one out")
        with shown(as_json, doing="starting a run in the background"):
            from tft_pipeline.pipeline.commands import run_in_background

            begun = run_in_background(experiment, resume=resume, until=until)
        finish(begun, as_json)
        return
    with shown(as_json, doing="loading the graph") as to, stoppable(resumed(experiment, until), as_json):
        from tft_pipeline.pipeline.commands import run_experiment

        found = run_experiment(
            experiment, resume=resume, until=until, report=to.report, watch=to.watch, require_go=require_go
        )
    finish(found, as_json)


def materialize(
    experiment: ExperimentArgument,
    asset: Annotated[str, typer.Argument(help="asset name, such as production_fold")],
    partition: Annotated[
        str | None, typer.Option(help="fold, such as f2016-03-01; for assets that have one a fold")
    ] = None,
    downstream: Annotated[bool, typer.Option("--downstream", help="also everything downstream of it")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compute one asset, or one fold of it, again."""
    with shown(as_json, doing="loading the graph") as to, stoppable(resumed(experiment), as_json):
        from tft_pipeline.pipeline.commands import materialise_asset

        found = materialise_asset(
            experiment, asset, partition=partition, downstream=downstream, report=to.report, watch=to.watch
        )
    finish(found, as_json)


def tune(experiment: ExperimentArgument, as_json: JsonOption = False) -> None:
    """Work on the study of an experiment as one more worker, until nothing is left to try; its asset records the result."""
    from tft_pipeline.domain.experiment import ConfigurationError
    from tft_pipeline.storage.artifacts import IntegrityError

    with shown(as_json, doing="opening the study") as to:
        from tft_pipeline.model.tuning_storage import StudyStorageError

        try:
            with stoppable(f"tft tune {shlex.quote(str(experiment))}", as_json):
                from tft_pipeline.pipeline.tuning_worker import work_on_study

                answer = work_on_study(experiment, to.report, to.watch)
        except ConfigurationError:
            raise
        except (StudyStorageError, IntegrityError, ValueError) as error:
            # trials are put back; the message says how to go on
            typer.echo(f"error: {error}", err=True)
            refusal(str(error), as_json)
            raise typer.Exit(FAILED) from error
    finish(
        {name: str(value) if isinstance(value, dict) and not as_json else value for name, value in answer.items()},
        as_json,
    )


def purge_comparison(
    experiment: ExperimentArgument,
    overlap: Annotated[
        bool,
        typer.Option(
            "--overlap", help="also the whole experiment, chosen on the scored bars; its trials count as looks at them"
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the production folds again without purge, and say what that would have shown."""
    again = f"tft purge-comparison {shlex.quote(str(experiment))}" + (" --overlap" if overlap else "")
    with shown(as_json, doing="loading the graph") as to, stoppable(again, as_json):
        from tft_pipeline.pipeline.comparison import compare_purge

        found = compare_purge(experiment, overlap=overlap, report=to.report, watch=to.watch)
    finish(found, as_json)


def features(
    experiment: Annotated[
        Path | None, typer.Argument(help="experiment file; the whole catalogue without one", callback=existing_file)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the features: name, formula, lookback, inputs, units, lag; those left out, with the reason."""
    with shown(as_json, doing="listing the features"):
        from tft_pipeline.pipeline.feature_list import features_in_words, list_features

        found = list_features(experiment)
    typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(features_in_words(found)))


def stats(
    returns: Annotated[
        Path, typer.Argument(help="CSV or Parquet file: one numeric column, with timestamps or without")
    ],
    bars_per_year: Annotated[float, typer.Option(help="bars a year, for annualising: 252 for US daily bars")],
    column: Annotated[
        str | None, typer.Option(help="the column of returns; default: the only one that holds numbers")
    ] = None,
    trials: Annotated[float, typer.Option(help="trials the series was chosen from, itself included")] = 1.0,
    trial_variance: Annotated[
        float | None,
        typer.Option(
            help="variance of the trials' Sharpe ratios per bar; by default 1/n, that of trials without skill"
        ),
    ] = None,
    benchmark_sharpe: Annotated[float, typer.Option(help="Sharpe ratio per bar that PSR and MinTRL are against")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="of the bootstrap's random draws")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Say how far the Sharpe ratio of any series of returns can be believed."""
    with shown(as_json, doing=f"resampling the returns of {returns}"):
        from tft_pipeline.pipeline.statistics import describe_file, statistics_in_words

        found = describe_file(
            returns,
            bars_per_year=bars_per_year,
            column=column,
            trials=trials,
            trial_variance=trial_variance,
            benchmark_sharpe=benchmark_sharpe,
            seed=seed,
        )
    typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(statistics_in_words(found)))
