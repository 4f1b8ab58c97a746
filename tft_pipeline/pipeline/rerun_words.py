"""The plan of a run (`pipeline.rerun_plan`) as one JSON object and as lines for people. Not here: the plan."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tft_pipeline.pipeline.driver import FOLDS
from tft_pipeline.pipeline.rerun_plan import CURRENT, MAY_RUN, RUNS, PlannedFold, PlannedStep, RerunPlan
from tft_pipeline.pipeline.staleness import named_folds

STATE_WIDTH = len(MAY_RUN)
NAMED_ASSETS = 3
"""Assets that a condition names at most; a machine reads all of them."""


def command_of(plan: RerunPlan) -> str:
    """The command whose doings the plan tells."""
    until = "" if plan.until is None else f" --until {plan.until}"
    return f"tft run {shlex.quote(str(plan.file))} --resume{until}"


def plan_answer(plan: RerunPlan) -> dict[str, Any]:
    """The whole plan, every fold by itself."""
    return {
        "experiment": plan.experiment,
        "command": command_of(plan),
        "sources": plan.sources,
        "under_way": plan.under_way,
        "steps": [asdict(step) for step in plan.steps],
        **{state.replace(" ", "_"): [step.asset for step in plan.steps if step.state == state] for state in _STATES},
        "failed": [],
    }


def plan_in_words(plan: RerunPlan) -> list[str]:
    """The plan in lines; folds with one reason share a line, which names eight of them at most."""
    width = max(len(step.asset) for step in plan.steps)
    lines = [f"{command_of(plan)}   would do this, in this order:", ""]
    for step in plan.steps:
        lines.append(f"  {step.state:<{STATE_WIDTH}}  {step.asset:<{width}}  {_because(step)}".rstrip())
        lines += [f"  {'':<{STATE_WIDTH}}    {line}" for line in _folds_in_words(step)]
    lines += ["", count_in_words(plan.steps)]
    if plan.sources is not None:
        lines.append(plan.sources[0].upper() + plan.sources[1:] + ".")
    if plan.under_way is not None:
        lines.append(f"Process {plan.under_way} works on this experiment now: ask again when it has finished.")
    return lines


_STATES = (RUNS, MAY_RUN, CURRENT)


def _because(step: PlannedStep) -> str:
    if not step.if_changed:
        return step.why or ""
    if step.why is None:
        return f"if the content of {_either(step.if_changed)} changes"
    if step.asset not in FOLDS:
        return f"{step.why}, and {_either(step.if_changed)} may change once more before it"
    return step.why if step.folds is None else f"{step.why}, and {_either(step.if_changed)} may ask for other folds"


def _folds_in_words(step: PlannedStep) -> list[str]:
    if step.folds is None:
        return []
    by_reason: dict[str, list[PlannedFold]] = {}
    for fold in step.folds:
        by_reason.setdefault(fold.why or "", []).append(fold)
    unsettled = step.state == MAY_RUN
    lines = []
    for why, folds in by_reason.items():
        names = named_folds([fold.partition for fold in folds])
        if why:
            lines.append(f"{_n_folds(len(folds))}: {names}: {why}" + (", unless the plan changes" if unsettled else ""))
        else:
            lines.append(f"{_n_folds(len(folds))} current" + (", unless the plan changes" if unsettled else ""))
    if step.retired:
        lines.append(
            f"{_n_folds(len(step.retired))} not in the plan any more: {named_folds(step.retired)}: the next plan lets go of "
            "them, their files stay"
        )
    return lines


def count_in_words(steps: Sequence[PlannedStep]) -> str:
    """How many steps run, may run and are current, in one sentence."""
    counts = {state: sum(step.state == state for step in steps) for state in _STATES}
    folds = sum(fold.state == RUNS for step in steps for fold in step.folds or ())
    of_folds = f", {_n_folds(folds)} among them" if folds else ""
    return (
        f"{counts[RUNS]} of {len(steps)} steps run{of_folds}; {counts[MAY_RUN]} may run; {counts[CURRENT]} are current."
    )


def _n_folds(n: int) -> str:
    return f"{n} fold" if n == 1 else f"{n} folds"


def _either(names: Sequence[str]) -> str:
    """Names in words, at most `NAMED_ASSETS` of them."""
    if len(names) > NAMED_ASSETS:
        return f"{', '.join(names[:NAMED_ASSETS])} or {len(names) - NAMED_ASSETS} more"
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
