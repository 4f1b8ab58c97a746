"""When an asset runs by itself: on a change of content upstream, of its own code or configuration, or when missing.

Not here: schedules, sensors (`pipeline.schedules`). Dagster's `eager()` would run aggregates over zero folds and re-run
downstream of identical content; `since_last_handled()` would lose a change published while a fold runs.
"""

import dagster as dg
from dagster import AutomationCondition as Condition

_REQUESTED = Condition.newly_requested() | Condition.initial_evaluation()
_READY = (
    ~Condition.any_deps_missing()
    & ~Condition.any_deps_in_progress()
    & ~Condition.in_progress()
    & Condition.all_deps_blocking_checks_passed()
)


def on_content_change(*ignored: dg.AssetKey) -> dg.AutomationCondition[dg.AssetKey]:
    """Run once after a dependency's data version, or the own code version, changed; not for changes of `ignored`."""
    changed = Condition.any_deps_match(Condition.data_version_changed())
    if ignored:
        changed = changed.ignore(dg.AssetSelection.assets(*ignored))
    trigger = Condition.newly_missing() | changed | Condition.code_version_changed()
    return (trigger.since(_REQUESTED) & _READY).with_label("on_content_change")


def on_all_folds() -> dg.AutomationCondition[dg.AssetKey]:
    """As `on_content_change`, but only when no fold is waiting for its own re-run: for assets over all folds."""
    outdated = Condition.any_deps_match(Condition.data_version_changed()).since(Condition.newly_updated())
    waiting = Condition.any_deps_match(outdated | Condition.will_be_requested())
    return (on_content_change() & ~waiting).with_label("on_all_folds")
