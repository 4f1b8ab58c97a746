"""The watchdog: a process of its own that halts when the live loop hangs or is gone. Standard library only.

    python -m tft_pipeline.live.watchdog FOLDER --deadline 30

It starts in a blink and needs little memory, so that it outlives a loop that ran the machine out of it. Every poll it looks at
the loop's heartbeat by the clock that nobody can set, and then beats itself. The loop's process gone, or silent for longer than
the deadline, means HALTED and flat targets. A loop that stopped on purpose does not: its targets run out. Neither does the end
of one that another loop fenced off. The loop watches the watchdog in turn (`loop`). Not here: what is wrong with a loop that
does beat (`triggers`).
"""

import argparse
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from tft_pipeline.live.book_owner import read_owner
from tft_pipeline.live.heartbeat import LOOP, STOPPED, WATCHDOG, Beat, Heartbeat, read_beat
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.moment import Clock, Moment, SystemClock
from tft_pipeline.live.switch_states import HALTED
from tft_pipeline.live.target_book import EPOCH, flatten, halt, written_targets

DEADLINE_S, POLL_S = 30.0, 1.0
LONGEST_S = 86_400.0
"""A day: who watches for longer watches nothing."""
TRIGGER = "watchdog"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What is watched.

    Attributes:
        deadline_s: silence that means a hang.
        grace_s: how long after the watchdog's own start a loop that never beat may stay away.
        poll_s: time between two looks.
    """

    deadline_s: float = DEADLINE_S
    grace_s: float = DEADLINE_S
    poll_s: float = POLL_S

    def __post_init__(self) -> None:
        if not 0.0 < self.poll_s < self.deadline_s <= LONGEST_S or not 0.0 <= self.grace_s <= LONGEST_S:
            raise ValueError(
                f"poll {self.poll_s} s, deadline {self.deadline_s} s, grace {self.grace_s} s: "
                f"need 0 < poll < deadline <= {LONGEST_S:g}, 0 <= grace <= {LONGEST_S:g}, or a hang is never noticed"
            )


def what_is_wrong(beat: Beat | None, *, alive: bool, watched_for: float, now: Moment, watching: Watching) -> str:
    """Why the loop must be taken for dead; "" where it need not.

    Args:
        alive: whether the process that beat is there.
        watched_for: seconds since the watchdog began.
    """
    if beat is None:
        if watched_for <= watching.grace_s:
            return ""
        return f"no loop has beaten since the watchdog began {watched_for:.1f} s ago"
    if beat.state == STOPPED:
        return ""
    age = beat.age(now)
    if age > watching.deadline_s:
        return (
            f"the loop (process {beat.pid}) has been silent for {age:.1f} s, deadline {watching.deadline_s:g} s: "
            "it hangs or is gone"
        )
    if not alive:
        return f"the loop (process {beat.pid}) is gone, and did not stop on purpose"
    return ""


class Watchdog:
    """One watchdog over one folder."""

    def __init__(self, folder: Path, watching: Watching, *, clock: Clock | None = None) -> None:
        self.folder = folder
        self._watching = watching
        self._clock = clock or SystemClock()
        self._switch = KillSwitch(folder)
        self._heartbeat = Heartbeat(folder, WATCHDOG)
        self._began = self._clock.now()

    def look(self) -> str:
        """One poll; says what it did, "" for nothing.

        It judges first: where a full disk takes its own beat it takes the loop's as well, and that must halt.

        Raises:
            OSError, TripFailedError: it could not act: nothing can be written in the folder. Targets that are there run out.
                It has not beaten then, so that a loop that lives misses it.
        """
        now = self._clock.now()
        done = self._act(now)
        try:
            self._heartbeat.beat(now, note="watching")
        except OSError as error:
            return "; ".join(filter(None, (done, f"could not beat: {error}")))
        return done

    def _act(self, now: Moment) -> str:
        if self._switch.state() == HALTED:
            return self._keep_flat()
        beat = read_beat(self.folder, LOOP)
        wrong = what_is_wrong(
            beat,
            # one that was fenced off may have beaten last and left: who took over beats soon, or is silent since then
            alive=beat is not None and (beat.process_lives() or 0 < beat.epoch < read_owner(self.folder / EPOCH).epoch),
            watched_for=now.seconds_since(self._began.boot_s, self._began.boot_id),
            now=now,
            watching=self._watching,
        )
        if not wrong:
            return ""
        halt(self.folder, self._switch, TRIGGER, wrong, clock=self._clock)
        return f"HALTED: {wrong}"

    def _keep_flat(self) -> str:
        """A book that is still not flat although the switch is HALTED, whoever tripped it, is made so."""
        written = written_targets(self.folder)
        if written is None or written.flat:
            return ""
        flatten(self.folder, self._switch, "the kill switch is HALTED", clock=self._clock)
        return "flattened a book that was left"

    def stop(self) -> None:
        """Say that nobody watches any more."""
        self._heartbeat.beat(self._clock.now(), state=STOPPED, note="stopped on purpose")


def watch(folder: Path, watching: Watching, *, as_json: bool = False) -> None:
    """Look until SIGTERM or SIGINT. A look that fails is told and tried again at the next poll.

    Args:
        as_json: lines go to standard error, and at the end one object to standard output: the folder, and the last thing done.
    """
    lines = sys.stderr if as_json else sys.stdout
    # waited for, not handled: a handler could come while the lock is held that it needs itself
    ending = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    watchdog = Watchdog(folder, watching)
    print(f"watching {folder}, deadline {watching.deadline_s:g} s", file=lines, flush=True)
    said, last = "", ""
    while True:
        try:
            done = watchdog.look()
        except Exception as error:  # whatever it was, the next look may succeed; leaving would leave nobody
            done = f"could not look: {type(error).__name__}: {error}"
        if done and done != said:
            print(done, file=lines, flush=True)
        said, last = done, done or last
        if signal.sigtimedwait(ending, watching.poll_s) is not None:
            break
    watchdog.stop()
    if as_json:
        print(json.dumps({"folder": str(folder), "last_done": last, "failed": []}, indent=1), flush=True)


def main() -> None:
    """The command line; `tft watchdog` starts the same in this light form."""
    parser = argparse.ArgumentParser(description="Halt when the live loop hangs or is gone.")
    parser.add_argument("folder", type=Path, help="the live folder: kill switch, target book, heartbeats")
    parser.add_argument("--deadline", type=float, default=DEADLINE_S, help="seconds of silence that mean a hang")
    parser.add_argument(
        "--grace",
        type=float,
        default=None,
        help="seconds a loop that never beat may take to begin; the deadline by default",
    )
    parser.add_argument("--poll", type=float, default=POLL_S, help="seconds between two looks")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end; lines go to standard error")
    given = parser.parse_args()
    try:
        watching = Watching(
            deadline_s=given.deadline, grace_s=given.deadline if given.grace is None else given.grace, poll_s=given.poll
        )
        given.folder.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        if given.json:
            print(json.dumps({"error": str(error), "failed": [str(error)]}, indent=1))
        sys.exit(2)
    watch(given.folder, watching, as_json=given.json)


if __name__ == "__main__":
    main()
