"""What `tft status --at TIME` says: which release was live at a moment, by the log, who made it so and why. Only looks.

Not here: what is live now (`release_status`).
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.releasing import models_of
from tft_pipeline.storage.artifacts import MANIFEST, IntegrityError, read_version
from tft_pipeline.storage.deployment_log import DONE, Deployment
from tft_pipeline.storage.deployments import VERSIONS, deployments
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.layout import Layout, default_layout

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def describe_moment(named: str, at: str, *, layout: Layout | None = None) -> dict[str, Any]:
    """What was live at a time.

    Args:
        named: experiment file, or the name of one that was run.
        at: as `parse_moment`.
    Returns:
        experiment, at (UTC), live, since, until, action, who, why, verdict, gates, weights, version (whether it is still there,
        byte for byte), note; absent where nothing was live; details: the log's entry; failed: why the log cannot tell.
    Raises:
        ConfigurationError: no such experiment; or the time is none, or has not come yet.
    """
    layout = default_layout() if layout is None else layout
    name, models = models_of(named, layout)
    moment = parse_moment(at, now=utc_now())
    said: dict[str, Any] = {"experiment": name, "at": moment.isoformat()}
    try:
        done = [entry for entry in deployments(models) if entry.state == DONE]
    except IntegrityError as error:
        return said | {"live": "not known", "failed": [str(error)]}
    past = [entry for entry in done if entry.moment <= moment]
    if not past or past[-1].target is None:
        first = next((entry for entry in done if entry.target is not None), None)
        why = "nothing was ever made live" if first is None else f"the first release was made live {first.at}"
        if past:
            why = f"the link was taken away at {past[-1].at}"
        return said | {"live": "nothing", "why": why, "details": {}, "failed": []}
    entry = past[-1]
    after = next((one for one in done if one.sequence > entry.sequence), None)
    notes = [entry.note, _clock(done)]
    return {
        **said,
        "live": entry.target,
        "since": entry.at,
        "until": "now" if after is None else f"{after.at} ({after.action} of {after.target or 'nothing'})",
        "action": entry.action,
        "who": entry.who,
        "why": entry.reason or "no reason was given",
        "verdict": entry.verdict,
        "gates": entry.gates or "none were judged",
        "weights": f"SHA-256 {entry.weights_sha256}",
        "version": _still_there(models / VERSIONS / str(entry.target), entry),
        **({"note": "; ".join(filter(None, notes))} if any(notes) else {}),
        "details": entry.to_dict(),
        "failed": [],
    }


def parse_moment(text: str, *, now: datetime) -> datetime:
    """A time that a person writes.

    Args:
        text: a date, YYYY-MM-DD, which means its end, or now where it has not ended; or a time in ISO 8601. Without a zone it
            is UTC.
        now: UTC.
    Raises:
        ConfigurationError: it is neither, or lies in the future.
    """
    try:
        if _DAY.fullmatch(text):
            begins = datetime.combine(date.fromisoformat(text), time(), UTC)
            moment = begins if begins > now else min(begins + timedelta(days=1) - timedelta.resolution, now)
        else:
            if "T" not in text and " " not in text:
                raise ValueError("it has no time of day")
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"--at {text!r} is no time ({error}): write a date, YYYY-MM-DD, or a time such as 2025-10-14T12:00Z; without a "
            "zone it is UTC"
        ) from error
    if moment > now:
        raise ConfigurationError(
            f"--at {text!r} has not come yet, it is {now.isoformat()}: what will be live is not known"
        )
    return moment


def _clock(done: Sequence[Deployment]) -> str:
    """Says so where times do not follow the sequence, which decides."""
    jumps = [str(b.sequence) for a, b in pairwise(done) if b.moment < a.moment]
    if not jumps:
        return ""
    return f"the clock went back before entry {', '.join(jumps)} of the log; entries count in their order"


def _still_there(folder: Path, entry: Deployment) -> str:
    if not folder.is_dir():
        return f"{folder} is not there any more"
    try:
        read_version(folder)
        stated = json.loads((folder / MANIFEST).read_text())["manifest_sha256"]
    except IntegrityError as error:
        return f"damaged since: {error}"
    if entry.manifest_sha256 is None:
        return f"{folder}, intact; the log kept no hash of its manifest"
    if stated != entry.manifest_sha256:
        return f"{folder} was replaced since: its manifest is {stated}, it was {entry.manifest_sha256}"
    return f"{folder}, byte for byte what was deployed"
