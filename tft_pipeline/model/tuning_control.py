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
LAST_DEADLINE = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
"""A later one is not meant: most likely it counts milliseconds."""
HALF_WRITTEN_TRIES = 5
HALF_WRITTEN_SECONDS = 0.2

Settings = dict[str, Any]


class ControlFileError(ValueError):
    """A control file that is not understood."""


def read_control(path: Path) -> Settings:
    """Settings of a control file; none when it is absent. A half-written file is read again a few times.

    Raises:
        ControlFileError: it cannot be read, or it is not a JSON object with known keys, each once, of the right type.
    """
    for attempt in range(1, HALF_WRITTEN_TRIES + 1):
        try:
            settings = json.loads(path.read_text(), object_pairs_hook=lambda pairs: _each_once(path, pairs))
            break
        except FileNotFoundError:
            return {}
        except ControlFileError:
            raise
        except OSError as error:
            raise ControlFileError(
                f"{path} cannot be read ({error.strerror}); put a readable JSON file there"
            ) from error
        except RecursionError as error:
            raise ControlFileError(
                f"{path} is nested too deeply; expected one object with keys {sorted(KINDS)}"
            ) from error
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
    deadline = settings.get("deadline", 0)
    if not 0 <= deadline <= LAST_DEADLINE:  # nor is NaN
        shown = str(deadline) if len(str(deadline)) < 30 else f"{str(deadline)[:24]}..."
        raise ControlFileError(
            f"{path}: deadline = {shown} is no time from 1970 to 2200 in Unix seconds; take what `date -d 18:00 +%s` prints"
        )
    return settings


def _each_once(path: Path, pairs: list[tuple[str, Any]]) -> Settings:
    settings = dict(pairs)
    if len(settings) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ControlFileError(f"{path}: {twice} stands there twice, and one of the two would be ignored; keep one")
    return settings


def read_control_log(path: Path) -> list[dict[str, Any]]:
    """Logged changes, oldest first: at, study, worker, before, after; without lines that are none.

    Such a line was left unfinished by a killed worker, or is somebody's note.
    """
    if not path.exists():
        return []
    found = []
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (
            ValueError,
            RecursionError,
        ):  # it says nothing that the next reader of the control file does not log again
            continue
        if (
            isinstance(line, dict)
            and all(isinstance(line.get(name), str) for name in ("at", "study", "worker"))
            and all(isinstance(line.get(name), dict) for name in ("before", "after"))
        ):
            found.append(line)
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
