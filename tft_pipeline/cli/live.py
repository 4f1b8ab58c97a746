"""The commands `tft live` and `tft watchdog`: a released model beside a market. Not here: what they do."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish, progress
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import LIVE, add

FolderOption = Annotated[
    Path | None, typer.Option("--folder", help="live folder; default: experiments/NAME/live below TFT_HOME")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(
        app,
        live,
        panel=LIVE,
        examples=(
            (
                "tft live --experiment demo --replay bars.parquet --start 2026-01-02 --unwatched",
                "play bars back, as fast as possible",
            ),
            (
                "tft live --experiment demo --follow bars.csv",
                "bars that somebody appends; with `tft watchdog` beside it",
            ),
        ),
        reads="the live release, and bars as they come",
        writes="targets.json, heartbeats, state and log in the live folder",
        exits="3 where the kill switch is not ACTIVE at the end",
    )
    add(
        app,
        watchdog,
        panel=LIVE,
        examples=(("tft watchdog --experiment demo", "beside `tft live`, until SIGTERM"),),
        reads="the heartbeats in the live folder",
        writes="its own heartbeat; HALTED and flat targets where the loop hangs or is gone",
    )


def live(
    experiment: ExperimentOption = TRAINED,
    replay: Annotated[Path | None, typer.Option(help="Parquet or CSV file of bars to play back")] = None,
    follow: Annotated[Path | None, typer.Option(help="CSV file that somebody appends bars to")] = None,
    start: Annotated[
        datetime | None, typer.Option(help="with --replay: bars up to it are the past (UTC); required the first time")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="with --replay: market seconds a second; default: as fast as possible")
    ] = None,
    form: Annotated[str | None, typer.Option(help="torch, onnx_window or onnx_stream; default: the gate's")] = None,
    validity: Annotated[
        float,
        typer.Option(
            help="seconds after which targets that nobody renews read as flat; at most a day", min=3.0, max=86400.0
        ),
    ] = 60.0,
    drawdown_reduce: Annotated[
        float, typer.Option(help="drawdown, a fraction of the highest equity, from which positions only shrink")
    ] = 0.05,
    drawdown_halt: Annotated[
        float, typer.Option(help="drawdown, a fraction of the highest equity, from which everything is flat")
    ] = 0.10,
    stale_reduce: Annotated[float, typer.Option(help="intervals without a bar, positions only shrink")] = 3.0,
    stale_halt: Annotated[float, typer.Option(help="intervals without a bar, everything is flat")] = 15.0,
    drift_nights: Annotated[
        int, typer.Option(min=0, help="nights in a row that ask for a retrain; 0: not watched")
    ] = 3,
    error_bars: Annotated[int, typer.Option(min=1, help="bars that refusals and failures are counted over")] = 60,
    unwatched: Annotated[bool, typer.Option("--unwatched", help="run without a watchdog; for replays")] = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the live model beside bars: targets.json in the live folder says what to hold. SIGTERM ends it after its bar.

    Holds nothing until `tft kill-switch arm`. Start `tft watchdog` beside it.
    """
    with shown(as_json, doing=f"loading the live model of {experiment}"):
        from tft_pipeline.domain.experiment import ConfigurationError
        from tft_pipeline.live.engine import FORMS
        from tft_pipeline.live.live_folder import live_folder
        from tft_pipeline.live.running import LiveOptions, run_live
        from tft_pipeline.pipeline.named import graph_named
        from tft_pipeline.storage.drift_reports import drift_folder

    chosen = next((each for each in FORMS if each == form), None)
    if form is not None and chosen is None:
        raise ConfigurationError(f"--form {form} is none of {', '.join(FORMS)}; choose one, or leave it out")
    graph = graph_named(experiment)
    place = folder or live_folder(graph.layout, graph.name)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"live folder {place} cannot be made: {error}; name another") from error
    options = LiveOptions(
        folder=place,
        models=graph.layout.models(graph.name),
        name=graph.name,
        opened_before=graph.experiment.data.opened_before,
        drift_folder=drift_folder(graph.layout, graph.name),
        replay=replay,
        follow=follow,
        start=start,
        speed=speed,
        form=chosen,
        validity_s=validity,
        drawdown=(drawdown_reduce, drawdown_halt),
        stale=(stale_reduce, stale_halt),
        drift_nights=drift_nights,
        error_bars=error_bars,
        watched=not unwatched,
    )
    finish(run_live(options, say=progress), as_json)


def watchdog(
    experiment: ExperimentOption = TRAINED,
    deadline: Annotated[float, typer.Option(help="seconds of silence that mean a hang")] = 30.0,
    grace: Annotated[
        float | None, typer.Option(help="seconds a loop that never beat may take to begin; default: the deadline")
    ] = None,
    poll: Annotated[float, typer.Option(help="seconds between two looks")] = 1.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch the live loop, and halt when it hangs or is gone.

    It becomes the light process `python -m tft_pipeline.live.watchdog`. With --json it prints its object when it ends.
    """
    import os
    import sys

    from tft_pipeline.domain.experiment import ConfigurationError
    from tft_pipeline.live.watchdog import Watching

    try:
        Watching(deadline_s=deadline, grace_s=deadline if grace is None else grace, poll_s=poll)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    place = named_folder(folder, experiment)
    words = [str(place), "--deadline", str(deadline), "--poll", str(poll)]
    words += [] if grace is None else ["--grace", str(grace)]
    words += ["--json"] if as_json else []
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tft_pipeline.live.watchdog", *words])


def named_folder(folder: Path | None, experiment: str) -> Path:
    """The named one, or the experiment's; nothing heavy is imported, for tripping must be quick."""
    from tft_pipeline.domain.experiment import ConfigurationError
    from tft_pipeline.live.live_folder import live_folder
    from tft_pipeline.storage.experiments import owner_of, read_experiment
    from tft_pipeline.storage.layout import default_layout

    if folder is not None:
        return folder
    layout = default_layout()
    is_file = experiment.endswith((".yaml", ".yml"))
    name = read_experiment(Path(experiment)).experiment.name if is_file else experiment
    if not is_file and (not name.replace("_", "").isalnum() or owner_of(layout.experiment(name)) is None):
        raise ConfigurationError(
            f"--experiment {experiment!r} is no experiment file and nothing was run here under this name; name one, or "
            "the live folder with --folder"
        )
    return live_folder(layout, name)
