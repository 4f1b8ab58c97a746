"""What a check of `tft doctor` says: one line with its state and its remedy. Not here: the checks."""

from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"
STATES = (OK, WARNING, PROBLEM)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        state: `OK`; `WARNING`: a run works, and this may surprise; `PROBLEM`: it stops a run, or its result cannot be trusted.
        said: in one sentence, with the values.
        remedy: what to do; empty where there is nothing to do.
    """

    name: str
    state: str
    said: str
    remedy: str = ""
