"""The way back: which release a person means, and making it current again. Not here: versions (`releases`), the log."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from tft_pipeline.domain.deploy_gate import admitted
from tft_pipeline.storage.artifacts import MANIFEST, Artifact, IntegrityError
from tft_pipeline.storage.deployment_log import DONE, Deployment, set_log_aside
from tft_pipeline.storage.deployments import (
    CARD_FILE,
    FOUND,
    ROLLBACK,
    WEIGHTS_FILE,
    deployment_lock,
    live_at,
    manifest_hashes,
    once_live,
    replaced_by,
)
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.gate_files import GateRefusedError, check_gates, gates_of
from tft_pipeline.storage.releases import (
    GATE_FILE,
    RollbackRefusedError,
    beginning_with,
    fetch_version,
    make_current,
    release_ids,
)
from tft_pipeline.storage.standing import Standing, standing, store_of

PREVIOUS = "previous"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def roll_back(models: Path, release_id: str, *, reason: str, wanted: str | None = None) -> Deployment:
    """Make an earlier version current again; every file is verified first, and nothing changes when anything fails.

    What was live once may be live again where it still is what was live then, by the hashes of the log. What never was is a
    candidate: it may where its gates let it now, and else `tft deploy` is the way. A link that was moved by hand is no
    deployment of a version that has gates. A damaged log is set aside where the release was asked for by its whole id; the note
    of the entry says so. There the gates count as they were judged, whatever is live: the way back stays open.

    Args:
        release_id: full name of a version, as `find_release` gave it.
        wanted: what it was asked for with, found again under the lock; by default the id.
    Raises:
        RollbackRefusedError: it is live already, there is no such version, it never was live and its gates do not let it, it
            was replaced since it was live, or `wanted` means another one by now.
        IntegrityError: a file of it is damaged, or the log is and it was not asked for by its id.
        DeploymentLockedError: another process is deploying.
    """
    with deployment_lock(models):
        now, there = utc_now(), standing(models)
        again = release_id if wanted is None else find_release(models, wanted, now=now, there=there)
        if again != release_id:
            raise RollbackRefusedError(
                f"{wanted} meant {release_id} and means {again} now: another process deployed meanwhile; nothing was changed; "
                "look at `tft status` and ask again"
            )
        if there.live == release_id:
            raise RollbackRefusedError(
                f"{release_id} is live already{there.elsewhere()}: there is nothing to roll back"
            )
        version = fetch_version(models, release_id)
        note = ""
        try:
            entries = there.entries()
        except IntegrityError as error:
            gates = gates_of(version)
            if gates is None and GATE_FILE in version.files:
                raise _no_way_back(release_id, "its gates do not let it") from error
            aside = set_log_aside(models, now).name
            note = f"{error}; it is {aside} now, and what it held back is not held any more"
        else:
            gates = _gates_of_way_back(there, version, entries)
        return make_current(there, version, ROLLBACK, reason, note, gates)


def _gates_of_way_back(there: Standing, version: Artifact, entries: Sequence[Deployment]) -> str | None:
    """What the log is to say of its gates, where the version may be live again.

    Raises:
        RollbackRefusedError: it may not.
    """
    gated = GATE_FILE in version.files
    own = [one for one in entries if one.state == DONE and one.target == version.version]
    earlier = [one for one in own if one.action != FOUND or not gated]
    if not earlier:
        try:
            return admitted(check_gates(there, version))
        except GateRefusedError as error:
            raise _no_way_back(version.version, f"its gates do not let it ({'; '.join(error.reasons)})") from error
    last, now = earlier[-1], manifest_hashes(there.models, version.version)
    then = {WEIGHTS_FILE: last.weights_sha256, CARD_FILE: last.card_sha256}
    then = then if last.manifest_sha256 is None else {MANIFEST: last.manifest_sha256}
    other = [f"{name} is {now.get(name)}, it was {stated}" for name, stated in then.items() if now.get(name) != stated]
    if other:
        raise RollbackRefusedError(
            f"{version.version} is not what was live {last.at}, it was replaced since: {'; '.join(other)}; restore that "
            f"version, or let its gates judge this one: `tft deploy {version.version}`"
        )
    return last.gates


def _no_way_back(release_id: str, why: str) -> RollbackRefusedError:
    return RollbackRefusedError(
        f"{release_id} was never live as far as the log tells, and {why}: it is a candidate, see `tft deploy {release_id}`"
    )


def find_release(models: Path, wanted: str, *, now: datetime, there: Standing | None = None) -> str:
    """Full id of the release that a person means.

    Args:
        wanted: an id; a date, YYYY-MM-DD: the release that was live at its end (UTC), by the log; `previous`: the one that was
            live before the live one first became it; else a beginning that is longer than a date and that only one id has.
        there: how releases stand; looked at unless given. With a store every release that its log names may be meant.
    Raises:
        RollbackRefusedError: nothing fits, or several do; the message lists what there is. Or `previous`, and another machine
            deployed since this one looked: the message names the release.
        IntegrityError: the log is damaged; a whole id does without it.
    """
    there = standing(models) if there is None else there
    known = release_ids(models)
    if not known and there.news is None:
        raise RollbackRefusedError(f"nothing was released below {models}: there is nothing to go back to")
    if wanted in known:
        return wanted
    entries = there.entries()
    if store_of(models) is not None:
        known = sorted({*known, *once_live(entries)})
        if wanted in known:
            return wanted
    listed = f"there are {', '.join(known)}"
    if wanted == PREVIOUS:
        found = replaced_by(entries, there.live)
        if found is None:
            raise RollbackRefusedError(f"nothing was live before {there.live or 'now'}; {listed}")
        if there.news is not None:
            raise RollbackRefusedError(
                f"another machine deployed meanwhile: {there.live} is live{there.elsewhere()}; nothing was changed; the one "
                f"before it is {found}: name it, or pull first; {listed}"
            )
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
