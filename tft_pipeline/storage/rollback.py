"""The way back: which release a person means, and making it current again. Not here: versions (`releases`), the log."""

import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.deploying import gates_of
from tft_pipeline.storage.deployment_log import Deployment, set_log_aside
from tft_pipeline.storage.deployments import (
    ROLLBACK,
    deployment_lock,
    deployments,
    linked_release,
    live_at,
    once_live,
    replaced_by,
)
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.releases import (
    GATE_FILE,
    RollbackRefusedError,
    beginning_with,
    make_current,
    release_ids,
    released_version,
)

PREVIOUS = "previous"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def roll_back(models: Path, release_id: str, *, reason: str, wanted: str | None = None) -> Deployment:
    """Make an earlier version current again; every file is verified first, and nothing changes when anything fails.

    What was live once may be live again. What never was is a candidate: it may where its gates let it, and else `tft deploy` is
    the way. A damaged log is set aside where the release was asked for by its whole id; the note of the entry says so.

    Args:
        release_id: full name of a version, as `find_release` gave it.
        wanted: what it was asked for with, found again under the lock; by default the id.
    Raises:
        RollbackRefusedError: it is live already, there is no such version, it never was live and its gates do not let it, or
            `wanted` means another one by now.
        IntegrityError: a file of it is damaged, or the log is and it was not asked for by its id.
        DeploymentLockedError: another process is deploying.
    """
    with deployment_lock(models):
        now = utc_now()
        again = release_id if wanted is None else find_release(models, wanted, now=now)
        if again != release_id:
            raise RollbackRefusedError(
                f"{wanted} meant {release_id} and means {again} now: another process deployed meanwhile; nothing was changed; "
                "look at `tft status` and ask again"
            )
        if linked_release(models) == release_id:
            raise RollbackRefusedError(f"{release_id} is live already: there is nothing to roll back")
        version = released_version(models, release_id)
        gates, note = gates_of(version), ""
        try:
            known = once_live(deployments(models))
        except IntegrityError as error:
            known = None
            broken = str(error)
        if gates is None and not (release_id in known if known is not None else GATE_FILE not in version.files):
            raise RollbackRefusedError(
                f"{release_id} was never live as far as the log tells, and its gates do not let it: it is a candidate, "
                f"see `tft deploy {release_id}`"
            )
        if known is None:
            note = f"{broken}; it is {set_log_aside(models, now).name} now, and what it held back is not held any more"
        return make_current(models, version, ROLLBACK, reason, note, gates)


def find_release(models: Path, wanted: str, *, now: datetime) -> str:
    """Full id of the release that a person means.

    Args:
        wanted: an id; a date, YYYY-MM-DD: the release that was live at its end (UTC), by the log; `previous`: the one that was
            live before the live one first became it; else a beginning that is longer than a date and that only one id has.
    Raises:
        RollbackRefusedError: nothing fits, or several do; the message lists what there is.
        IntegrityError: the log is damaged; a whole id does without it.
    """
    known = release_ids(models)
    if not known:
        raise RollbackRefusedError(f"nothing was released below {models}: there is nothing to go back to")
    if wanted in known:
        return wanted
    entries, listed = deployments(models), f"there are {', '.join(known)}"
    if wanted == PREVIOUS:
        live = linked_release(models)
        found = replaced_by(entries, live)
        if found is None:
            raise RollbackRefusedError(f"nothing was live before {live or 'now'}; {listed}")
        return found
    if (asked := _day(wanted)) is not None:
        if asked > now.date():
            raise RollbackRefusedError(
                f"{wanted} has not begun: which release will be live then is not known; {listed}"
            )
        found = live_at(entries, datetime.combine(asked, time(), UTC) + timedelta(days=1) - timedelta.resolution)
        if found is None:
            first = next((entry.at for entry in entries if entry.target), "never")
            raise RollbackRefusedError(
                f"nothing was live at the end of {wanted} (UTC), the first release was made live {first}; {listed}"
            )
        return found
    fitting = beginning_with(known, wanted)
    if len(fitting) != 1:
        how = f"{len(fitting)} releases begin with {wanted!r}" if fitting else f"{wanted!r} names no release"
        raise RollbackRefusedError(
            f"{how}; name a whole date YYYY-MM-DD, {PREVIOUS!r}, an id, or a beginning of one that is longer than a date; "
            f"{listed}"
        )
    return fitting[0]


def _day(text: str) -> date | None:
    """A whole date; None for anything else, such as a week's day or the 30th of February."""
    try:
        return date.fromisoformat(text) if DAY.fullmatch(text) else None
    except ValueError:
        return None
