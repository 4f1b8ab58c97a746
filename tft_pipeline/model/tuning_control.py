"""The file that steers a running study, read at every fold boundary, and the log of what it said.

Keys: `max_trials`, `deadline` (Unix seconds), `pause`, `stop`. Not here: what a study does about them (`tuning_rounds`).
"""

import fcntl
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tft_pipeline.model.tuning_storage import Study

KINDS: dict[str, tuple[type, ...]] = {
    "max_trials": (int,),
    "deadline": (int, float),
    "pause": (bool,),
    "stop": (bool,),
}
HALF_WRITTEN_TRIES = 5
HALF_WRITTEN_SECONDS = 0.2

Settings = dict[str, Any]


class ControlFileError(ValueError):
    """A control file that is not understood."""


def read_control(path: Path) -> Settings:
    """Settings of a control file; none when it is absent. A half-written file is read again a few times.

    Raises:
        ControlFileError: it is not a JSON object with known keys of the right type.
    """
    for attempt in range(1, HALF_WRITTEN_TRIES + 1):
        try:
            settings = json.loads(path.read_text())
            break
        except FileNotFoundError:
            return {}
        except ValueError as error:
            if attempt == HALF_WRITTEN_TRIES:
                raise ControlFileError(f"{path} is not JSON ({error}); keys are {sorted(KINDS)}") from error
            time.sleep(HALF_WRITTEN_SECONDS)
    if not isinstance(settings, dict):
        raise ControlFileError(f"{path} holds {type(settings).__name__}; expected an object with keys {sorted(KINDS)}")
    for key, value in settings.items():
        # True is an int to isinstance
        known = key in KINDS and isinstance(value, KINDS[key]) and (bool in KINDS[key] or not isinstance(value, bool))
        if not known:
            raise ControlFileError(f"{path}: {key} = {value!r} is not understood; keys are {sorted(KINDS)}")
    if settings.get("max_trials", 0) < 0:
        raise ControlFileError(f"{path}: max_trials = {settings['max_trials']} is negative; 0 starts no trial")
    return settings


def read_control_log(path: Path) -> list[dict[str, Any]]:
    """Logged changes, oldest first: at, study, worker, before, after; without a line that a killed worker left unfinished."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # it says nothing that the next reader of the control file does not log again
            continue
    return found


def ends(settings: Settings) -> str | None:
    """Why a study ends now, if it does: `stop`, or the deadline has passed."""
    if settings.get("stop"):
        return "stop"
    if time.time() > float(settings.get("deadline", float("inf"))):
        return "deadline"
    return None


class Control:
    """The control file of one study as one worker reads it."""

    def __init__(self, study: Study, *, worker: str, report: Callable[[str], None]) -> None:
        """What the log says last is taken as known, so that a change made while no worker ran is logged too."""
        self.study, self.worker, self.report = study, worker, report
        logged = read_control_log(study.control_log)
        self._known: Settings = logged[-1]["after"] if logged else {}

    def settled(self) -> Settings:
        """The settings now; while they say `pause`, wait, unless they also end the study.

        Raises:
            ControlFileError: the file is not understood.
        """
        told = False
        while True:
            settings = read_control(self.study.control)
            self._note(settings)
            if not settings.get("pause") or ends(settings):
                return settings
            if not told:
                self.report(f"paused by {self.study.control}; set pause to false to go on")
                told = True
            time.sleep(self.study.poll_seconds)

    def _note(self, settings: Settings) -> None:
        if settings == self._known:
            return
        changes = [
            f"{key} {json.dumps(self._known[key]) if key in self._known else 'unset'} -> "
            f"{json.dumps(settings[key]) if key in settings else 'unset'}"
            for key in sorted(KINDS)
            if self._known.get(key) != settings.get(key)
        ]
        self.report(f"{self.study.control.name} changed: {', '.join(changes)}")
        self._log(settings)
        self._known = settings

    def _log(self, settings: Settings) -> None:
        """One line a change, whichever worker sees it first."""
        path = self.study.control_log
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            logged = read_control_log(path)
            if logged and logged[-1]["after"] == settings:
                return
            stream.seek(0)
            text = stream.read()
            unfinished = bool(text) and not text.endswith("\n")
            line = {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "study": self.study.name,
                "worker": self.worker,
                "before": self._known,
                "after": settings,
            }
            stream.write("\n" * unfinished + json.dumps(line, sort_keys=True) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
