"""The commands `tft kill-switch`: what it says, and how a person changes it. Not here: the switch (`live.kill_switch`)."""

import getpass
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish
from tft_pipeline.cli.live import FolderOption, named_folder
from tft_pipeline.cli.teaching import LIVE, InOrder, add, literal

WhyOption = Annotated[str, typer.Option("--why", help="what happened, or what was mended; stays in the history")]
WhoOption = Annotated[str | None, typer.Option("--who", help="a person; default: the user of the system")]
SWITCH = "kill-switch"
SWITCH_HELP = """See, trip or reset the kill switch of a live folder: ACTIVE, REDUCING or HALTED.

Only a person makes it milder again; `tft live` and `tft watchdog` make it stricter by themselves.

Examples:
  tft kill-switch status --experiment demo
      state, why, since when, and the targets as a broker reads them
  tft kill-switch trip --why "odd fills"
      everything flat, now"""
switch_app = typer.Typer(cls=InOrder, no_args_is_help=True, help=literal(SWITCH_HELP))


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(switch_app, name=SWITCH, rich_help_panel=LIVE)


def status(experiment: ExperimentOption = TRAINED, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """State, why, since when, and the targets as the broker side reads them now."""
    from tft_pipeline.live.live_folder import switch_status

    finish(switch_status(named_folder(folder, experiment)), as_json)


def arm(
    why: WhyOption,
    experiment: ExperimentOption = TRAINED,
    who: WhoOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new live folder ACTIVE, once."""
    from tft_pipeline.live.kill_switch import KillSwitch

    place = named_folder(folder, experiment)
    _change(lambda: KillSwitch(place).arm(_who(who), why), place, as_json)


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

    place = named_folder(folder, experiment)
    switch = KillSwitch(place)
    failed: list[str] = []

    def halt() -> None:
        must_be_live(place)
        switch.trip("HALTED", "manual", why, _who(who))
        try:
            flatten(place, switch, f"HALTED by {_who(who)}: {why}")
        except OSError as error:
            failed.append(
                f"HALTED is recorded, targets were not flattened: {error}; `read_targets` answers flat all the same, whoever "
                "reads the file itself does not: see to the positions, mend the folder and trip again"
            )

    _change(halt, place, as_json, gated=False, failed=failed)


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

    place = named_folder(folder, experiment)

    def shrink() -> object:
        must_be_live(place)
        return KillSwitch(place).trip("REDUCING", "manual", why, _who(who))

    _change(shrink, place, as_json, gated=False)


def reset(
    why: WhyOption,
    experiment: ExperimentOption = TRAINED,
    who: WhoOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back to ACTIVE, by a person who knows what tripped it and mended that."""
    from tft_pipeline.live.kill_switch import KillSwitch

    place = named_folder(folder, experiment)
    _change(lambda: KillSwitch(place).reset(_who(who), why), place, as_json)


def _change(
    change: Callable[[], object], place: Path, as_json: bool, *, gated: bool = True, failed: Sequence[str] = ()
) -> None:
    """Do it and print the state after it; what cannot be done is one line, and `failed` what was not done of the rest."""
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
    finish(after | ({"failed": list(failed)} if failed else {}), as_json)


def _add_to_switch(function: Callable[..., None], line: str, says: str, writes: str, exits: str = "") -> None:
    examples = ((line, says),)
    add(switch_app, function, examples=examples, reads="the live folder", writes=writes, exits=exits, within=SWITCH)


_add_to_switch(status, "tft kill-switch status --experiment demo", "any time", "nothing", "3 unless ACTIVE")
_add_to_switch(
    arm, 'tft kill-switch arm --experiment demo --why "first day"', "before the first `tft live`", "kill_switch.json"
)
_add_to_switch(
    trip,
    'tft kill-switch trip --experiment demo --why "odd fills"',
    "by hand, at once",
    "kill_switch.json, and flat targets.json",
)
_add_to_switch(
    reduce, 'tft kill-switch reduce --experiment demo --why "thin market"', "while you look", "kill_switch.json"
)
_add_to_switch(
    reset, 'tft kill-switch reset --experiment demo --why "broker is back"', "when it is mended", "kill_switch.json"
)


def _who(who: str | None) -> str:
    return who or getpass.getuser()
