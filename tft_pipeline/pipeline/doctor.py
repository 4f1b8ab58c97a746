"""`tft doctor`: every check by itself, within its time, and what they found. No file is changed or made.

A check that crashes or hangs is its own problem and takes no other with it. Not here: the checks (`doctor_machine`,
`doctor_disk`, `doctor_databases`, `doctor_servers`, `doctor_experiments`).
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tft_pipeline.domain.credentials import without_credentials
from tft_pipeline.pipeline.doctor_findings import OK, PROBLEM, STATES, WARNING, Finding
from tft_pipeline.storage.layout import Layout, default_layout

SECONDS = 8.0
"""For all checks that ask a server; what has not answered by then is said not to have."""
LOCAL_SECONDS = 30.0
"""For all that ask this machine alone: a busy one is slow, and that is no finding."""


UNANSWERED = "not looked at: no answer"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    Attributes:
        name: of its findings where it cannot name them itself.
        look: finds; it may raise anything, and may hang.
        is_local: whether it asks no server.
    """

    name: str
    look: Callable[[], Iterable[Finding]]
    is_local: bool = True


def diagnose(experiment: Path | None) -> list[Finding]:
    """Everything that `tft doctor` says, in its order.

    Args:
        experiment: the file to look at; None for all that the UI would load.
    """
    return look_at(checks(default_layout(), experiment), seconds=SECONDS, local_seconds=LOCAL_SECONDS)


def checks(layout: Layout, experiment: Path | None) -> list[Check]:
    """All checks of a home."""
    from tft_pipeline.pipeline import doctor_databases as databases
    from tft_pipeline.pipeline import doctor_disk as disk
    from tft_pipeline.pipeline import doctor_experiments as experiments
    from tft_pipeline.pipeline import doctor_machine as machine
    from tft_pipeline.pipeline import doctor_servers as servers

    def would_run() -> Iterator[Finding]:
        # one file after the other, for a plan works with the processor; finding them is part of it, for a disk may hang
        for path in experiments.chosen(experiment):
            one = Check(f"would run: {path.name}", lambda path=path: experiments.would_run(path, layout))  # type: ignore[misc]
            yield from outcome(one)

    return [
        Check("python", machine.python),
        Check("versions", machine.versions),
        Check("torch", machine.torch_build),
        Check("cores", machine.cores),
        Check("memory", machine.memory),
        Check("variables", machine.variables),
        Check("automation", machine.automation),
        Check("home", lambda: disk.home(layout)),
        Check("disk", lambda: disk.room(layout)),
        Check("locks", lambda: disk.locks(layout)),
        Check("clock", lambda: disk.clock(layout)),
        Check("dagster", lambda: databases.dagster(layout)),
        Check("dead runs", lambda: databases.dead_runs(layout)),
        Check("mlflow", lambda: databases.mlflow(layout), is_local=False),
        Check("studies", lambda: databases.studies(layout)),
        Check("TFT_STORE", servers.store, is_local=False),
        Check("TFT_LOCKS", servers.lock_server, is_local=False),
        Check("TFT_TUNING_STORAGE", servers.study_server, is_local=False),
        Check("experiments", lambda: experiments.files(experiment)),
        Check("would run", would_run),
    ]


def outcome(check: Check) -> Iterator[Finding]:
    """What a check finds, each as soon as it is found; one that crashes is a problem by its name."""
    try:
        yield from check.look()
    except BaseException as error:  # a broken machine raises anything, and the other checks are still of use
        said = without_credentials(" ".join(f"{type(error).__name__}: {error}".split()))
        yield Finding(check.name, PROBLEM, f"the check itself failed: {said}", "read it; mend what it names")


def look_at(checks: Sequence[Check], *, seconds: float, local_seconds: float = LOCAL_SECONDS) -> list[Finding]:
    """What the checks find, in their order; all begin at once, for some wait for a server.

    Args:
        seconds: for all that ask a server.
        local_seconds: for all that do not.
    """
    found: list[list[Finding]] = [[] for _ in checks]

    def run(check: Check, to: list[Finding]) -> None:
        for one in outcome(check):
            to.append(one)  # what is found before the time is over counts, whatever hangs after it

    threads = [
        threading.Thread(target=run, args=(check, to), name=f"doctor {check.name}", daemon=True)
        for check, to in zip(checks, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    allowed = [local_seconds if check.is_local else seconds for check in checks]
    for thread, time_allowed in zip(threads, allowed, strict=True):
        thread.join(max(0.0, began + time_allowed - time.monotonic()))
    for thread, check, to, time_allowed in zip(threads, checks, found, allowed, strict=True):
        if thread.is_alive():
            hangs = (
                f"{'a disk' if check.is_local else 'a server'} hangs, or the machine is busy: try again when it is idle"
            )
            to.append(Finding(check.name, WARNING, f"{UNANSWERED} within {time_allowed:g} s", hangs))
    return [one for to in found for one in to]


def answer(findings: Sequence[Finding]) -> dict[str, Any]:
    """For a program: every finding, how many of each state, and the problems as what failed."""
    return {
        "findings": [asdict(one) for one in findings],
        "count": {state: sum(one.state == state for one in findings) for state in STATES},
        "failed": [f"{one.name}: {one.said}" for one in findings if one.state == PROBLEM],
    }


def in_words(findings: Sequence[Finding]) -> list[str]:
    """For people: a line a finding, its remedy below it, and how many of each."""
    state_width, name_width = max(map(len, STATES)), max(len(one.name) for one in findings)
    lines = []
    for one in findings:
        lines.append(f"{one.state:<{state_width}}  {one.name:<{name_width}}  {one.said}")
        if one.state != OK and one.remedy:
            lines.append(f"{'':<{state_width}}  {'':<{name_width}}  -> {one.remedy}")
    counts = {state: sum(one.state == state for one in findings) for state in STATES}
    unanswered = [one.name for one in findings if one.said.startswith(UNANSWERED)]
    if counts[PROBLEM]:
        ready = "a run would be stopped by what is called a problem"
    elif unanswered:
        ready = f"nothing found that would stop a run, but {', '.join(unanswered)} could not be looked at"
    else:
        ready = "a run can work here"
    return [*lines, "", f"{counts[PROBLEM]} problems, {counts[WARNING]} warnings: {ready}"]
