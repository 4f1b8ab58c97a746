"""The commands `tft live`, `tft watchdog` and `tft kill-switch`: a released model beside a market. Not here: what they do."""

import getpass
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish, progress

FolderOption = Annotated[
    Path | None, typer.Option("--folder", help="live folder; live/<experiment> below TFT_HOME by default")
]
WhyOption = Annotated[str, typer.Option("--why", help="what happened, or what was mended; stays in the history")]
WhoOption = Annotated[str | None, typer.Option("--who", help="a person; the user of the system by default")]

switch_app = typer.Typer(no_args_is_help=True, help="The kill switch of a live folder.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(live)
    app.command()(watchdog)
    app.add_typer(switch_app, name="kill-switch")


def live(
    experiment: ExperimentOption = TRAINED,
    replay: Annotated[Path | None, typer.Option(help="Parquet or CSV file of bars to play back")] = None,
    follow: Annotated[Path | None, typer.Option(help="CSV file that somebody appends bars to")] = None,
    start: Annotated[
        datetime | None, typer.Option(help="with --replay: bars up to it are the past (UTC); required the first time")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="with --replay: market seconds a second; as fast as possible by default")
    ] = None,
    form: Annotated[str | None, typer.Option(help="torch, onnx_window or onnx_stream; the gate's by default")] = None,
    validity: Annotated[
        float,
        typer.Option(
            help="seconds after which targets that nobody renews read as flat; at most a day", min=3.0, max=86400.0
        ),
    ] = 60.0,
    drawdown_reduce: Annotated[float, typer.Option(help="drawdown from which positions only shrink")] = 0.05,
    drawdown_halt: Annotated[float, typer.Option(help="drawdown from which everything is flat")] = 0.10,
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

    Holds nothing until `tft kill-switch arm`. Start `tft watchdog` beside it. Exit code 3 where the kill switch is not ACTIVE
    at the end.
    """
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
        float | None, typer.Option(help="seconds a loop that never beat may take to begin; the deadline by default")
    ] = None,
    poll: Annotated[float, typer.Option(help="seconds between two looks")] = 1.0,
    folder: FolderOption = None,
) -> None:
    """Watch the live loop, and halt when it hangs or is gone.

    It becomes the light process `python -m tft_pipeline.live.watchdog`.
    """
    import os
    import sys

    place = _folder(folder, experiment)
    words = [str(place), "--deadline", str(deadline), "--poll", str(poll)]
    words += [] if grace is None else ["--grace", str(grace)]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tft_pipeline.live.watchdog", *words])


@switch_app.command("status")
def status(experiment: ExperimentOption = TRAINED, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """State, why, since when, and the targets as the broker side reads them now. Exit code 3 unless ACTIVE."""
    from tft_pipeline.live.live_folder import switch_status

    finish(switch_status(_folder(folder, experiment)), as_json)


@switch_app.command("arm")
def arm(
    why: WhyOption,
    experiment: ExperimentOption = TRAINED,
    who: WhoOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new live folder ACTIVE, once."""
    from tft_pipeline.live.kill_switch import KillSwitch

    place = _folder(folder, experiment)
    _change(lambda: KillSwitch(place).arm(_who(who), why), place, as_json)


@switch_app.command("trip")
def trip(
    why: WhyOption,
    experiment: ExperimentOption = TRAINED,
    who: WhoOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """HALTED now, and flat targets; until `reset`."""
    from tft_pipeline.live.kill_switch import KillSwitch
    from tft_pipeline.live.live_folder import must_be_live
    from tft_pipeline.live.target_book import flatten

    place = _folder(folder, experiment)
    switch = KillSwitch(place)

    def halt() -> object:
        must_be_live(place)
        switch.trip("HALTED", "manual", why, _who(who))
        return flatten(place, switch, f"HALTED by {_who(who)}: {why}")

    _change(halt, place, as_json, gated=False)


@switch_app.command("reduce")
def reduce(
    why: WhyOption,
    experiment: ExperimentOption = TRAINED,
    who: WhoOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """REDUCING now: positions may only shrink; until `reset`."""
    from tft_pipeline.live.kill_switch import KillSwitch
    from tft_pipeline.live.live_folder import must_be_live

    place = _folder(folder, experiment)

    def shrink() -> object:
        must_be_live(place)
        return KillSwitch(place).trip("REDUCING", "manual", why, _who(who))

    _change(shrink, place, as_json, gated=False)


@switch_app.command("reset")
def reset(
    why: WhyOption,
    experiment: ExperimentOption = TRAINED,
    who: WhoOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back to ACTIVE, by a person who knows what tripped it and mended that."""
    from tft_pipeline.live.kill_switch import KillSwitch

    place = _folder(folder, experiment)
    _change(lambda: KillSwitch(place).reset(_who(who), why), place, as_json)


def _change(change: Callable[[], object], place: Path, as_json: bool, *, gated: bool = True) -> None:
    """Do it and print the state after it; what cannot be done is one line."""
    from tft_pipeline.domain.experiment import ConfigurationError
    from tft_pipeline.live.folder_lock import LockBusyError
    from tft_pipeline.live.kill_switch import KillSwitchError
    from tft_pipeline.live.live_folder import switch_status

    try:
        change()
    except (KillSwitchError, LockBusyError, ValueError, OSError) as error:
        raise ConfigurationError(str(error)) from error
    after = switch_status(place)
    if not gated:
        after.pop("gate", None)
    finish(after, as_json)


def _who(who: str | None) -> str:
    return who or getpass.getuser()


def _folder(folder: Path | None, experiment: str) -> Path:
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
