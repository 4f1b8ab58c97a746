"""Commands on the whole graph of an experiment: run, materialize, tune, purge-comparison, features, stats."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import ExperimentArgument, JsonOption, RequireGoOption, finish, progress
from tft_pipeline.cli.stopping import resumed, stoppable


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command()(materialize)
    app.command()(tune)
    app.command("purge-comparison")(purge_comparison)
    app.command()(features)
    app.command()(stats)


def run(
    experiment: ExperimentArgument,
    resume: Annotated[bool, typer.Option(help="run only what is missing or outdated")] = False,
    until: Annotated[str | None, typer.Option(help="stop after this asset, such as tuned_hyperparameters")] = None,
    background: Annotated[bool, typer.Option(help="return at once; the run outlives the terminal")] = False,
    require_go: RequireGoOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole graph of an experiment, from raw bars to a released model. NO-GO is a result: exit code 0.

    Ctrl-C, SIGTERM or a closed terminal stops it within seconds, keeps what is finished and says how to go on: exit code 130,
    143 or 129. `nohup` and `--background` let it outlive the terminal.
    """
    from tft_pipeline.cli.progress import shown
    from tft_pipeline.domain.experiment import ConfigurationError
    from tft_pipeline.pipeline.commands import run_experiment, run_in_background

    if background:
        if require_go:
            raise ConfigurationError("--require-go with --background: nobody would see the exit code; leave one out")
        finish(run_in_background(experiment, resume=resume, until=until), as_json)
        return
    with stoppable(resumed(experiment, until), as_json), shown(as_json) as to:
        found = run_experiment(
            experiment, resume=resume, until=until, report=to.report, watch=to.watch, require_go=require_go
        )
    finish(found, as_json)


def materialize(
    experiment: ExperimentArgument,
    asset: Annotated[str, typer.Argument(help="asset name, such as production_fold")],
    partition: Annotated[str | None, typer.Option(help="fold, such as f2016-03-01")] = None,
    downstream: Annotated[bool, typer.Option(help="also everything downstream of it")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compute one asset, or one fold of it, again."""
    from tft_pipeline.pipeline.commands import materialise_asset

    with stoppable(resumed(experiment), as_json):
        found = materialise_asset(experiment, asset, partition=partition, downstream=downstream, report=progress)
    finish(found, as_json)


def tune(experiment: ExperimentArgument, as_json: JsonOption = False) -> None:
    """Work on the study of an experiment as one more worker, until nothing is left to try; its asset records the result."""
    from tft_pipeline.domain.experiment import ConfigurationError
    from tft_pipeline.model.tuning_storage import StudyStorageError
    from tft_pipeline.pipeline.tuning_worker import work_on_study

    try:
        with stoppable(f"tft tune {shlex.quote(str(experiment))}", as_json):
            answer = work_on_study(experiment, progress)
    except ConfigurationError:
        raise
    except (StudyStorageError, ValueError) as error:  # trials are put back; the message says how to go on
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    finish(
        {name: str(value) if isinstance(value, dict) and not as_json else value for name, value in answer.items()},
        as_json,
    )


def purge_comparison(
    experiment: ExperimentArgument,
    overlap: Annotated[
        bool,
        typer.Option(help="also the whole experiment, chosen on the scored bars; its trials count as looks at them"),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the production folds again without purge, and say what that would have shown."""
    from tft_pipeline.pipeline.comparison import compare_purge

    with stoppable(f"tft purge-comparison {shlex.quote(str(experiment))}" + (" --overlap" if overlap else ""), as_json):
        found = compare_purge(experiment, overlap=overlap, report=progress)
    finish(found, as_json)


def features(
    experiment: Annotated[Path | None, typer.Argument(help="experiment file; the whole catalogue without one")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the features: name, formula, lookback, inputs, units, lag; those left out, with the reason."""
    from tft_pipeline.pipeline.feature_list import features_in_words, list_features

    found = list_features(experiment)
    typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(features_in_words(found)))


def stats(
    returns: Annotated[
        Path, typer.Argument(help="CSV or Parquet file: one numeric column, with timestamps or without")
    ],
    bars_per_year: Annotated[float, typer.Option(help="bars a year, for annualising: 252 for US daily bars")],
    column: Annotated[str | None, typer.Option(help="the column of returns, where several hold numbers")] = None,
    trials: Annotated[float, typer.Option(help="trials the series was chosen from, itself included")] = 1.0,
    trial_variance: Annotated[
        float | None,
        typer.Option(
            help="variance of the trials' Sharpe ratios per bar; by default 1/n, that of trials without skill"
        ),
    ] = None,
    benchmark_sharpe: Annotated[float, typer.Option(help="Sharpe ratio per bar that PSR and MinTRL are against")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="of the bootstrap")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Say how far the Sharpe ratio of any series of returns can be believed."""
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
