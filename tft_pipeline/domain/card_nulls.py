"""Every null of a card with its reason, by path. Not here: the card (`model_card`), what a value comes from (`card_sources`).

A path names keys with dots and items of lists with brackets: `train.folds[0].oos.sharpe_annual`; `[]` stands for every item.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tft_pipeline.domain.card_sources import sources_of

Place = tuple[str | int, ...]
"""Keys and positions from the card down to a value."""
NOT_RELEASED = "the release adds it, when the gates are judged"
DECLARED: tuple[tuple[str, str], ...] = (
    ("owner", "the experiment file names none: set card.owner"),
    ("license", "the experiment file names none: set card.license"),
    ("intended_use", "the experiment file says none: set card.intended_use or description"),
    ("release_id", NOT_RELEASED),
    ("gates_passed", NOT_RELEASED),
    ("files", NOT_RELEASED),
    ("architecture.signature", NOT_RELEASED),
    ("override", "no gate was overridden"),
    ("gates[].override", "no gate was overridden"),
    ("gates[].threshold", "the gate does not apply"),
    ("gates[].figures.*", "there is none: the gate's row says why"),
    ("architecture.signature.timezone", "data.timezone is not set: timestamps bring their own"),
    (
        "architecture.signature.calendar.pauses[].time",
        "daily bars have no time of day: the weekday alone names the bar",
    ),
    ("architecture.heads", "the network has no attention"),
    ("train.research_last", "neither the selection nor the study recorded it"),
    ("train.embargo", "a walk forward trains on nothing after a test part, so that nothing is embargoed there"),
    ("train.resources.timeline[].peak_gpu_mib", "no GPU was in use"),
    ("train.resources.machine.gpu_mib", "the machine has no GPU"),
    ("train.resources.system[].*", "the machine has no such device, or it was not in use"),
    ("train.code.*", "the code is no git checkout"),
    ("train.feature_selection.features[].*", "the exploration did not measure it"),
    ("train.feature_selection.*", "selected_features says the figure is undefined"),
    ("train.folds[].*", "undefined for this fold: no return, or none that varies"),
    ("latency.cold_start_ms", "latency.cold_start is false: no fresh process was timed"),
    ("inference.cold_start_ms", "latency.cold_start is false: no fresh process was timed"),
    ("inference.eager_p95_ci[]", "the calls of eager torch do not bound it"),
    ("leakage_audit.guards.*", "the guard does not apply, or cannot be verified on this data"),
    ("metrics.*.ruin_bar", "the capital was never lost"),
    ("metrics.*.min_trl", "the ratio is not above zero: no record is long enough"),
    ("metrics.*.min_btl_years", "the ratio is not above zero: no length rules out luck"),
    ("drift.psi_max", "no feature has one"),
    ("drift.js_max", "no feature has one"),
    ("drift.multivariate", "the drift report has no such part"),
    ("drift.predictions", "the drift report has no such part"),
    ("drift.performance", "the drift report has no such part"),
    ("ensemble.weights.*", "the source is not available"),
    ("ensemble.intervals.weights.*", "the source is not available, or there are too few bars"),
    ("change_log[].since", "nothing was live before"),
    ("change_log[].changes[].*", "the key is on one of the two cards only, or null there"),
    ("change_log[].*", "not known when the entry was made"),
    ("monitoring_plan.*", "the figure it repeats is null above"),
    ("risks[].value", "the figure it speaks of is null"),
    ("risks[].limit", "no limit is set: the figure is noted"),
    ("risks[].exceeded", "there is no limit, or no value to hold against it, or the verdict leaves it open"),
)
"""Pattern of a path and the reason; `*` stands for anything, dots too. The first that fits counts."""
MAPPINGS = ("reasons", "unbounded", "undefined")
"""Keys of records that hold reasons by name, beside the values they are about."""


def finite(value: Any, at: Place = ()) -> tuple[Any, list[Place]]:
    """A value as plain JSON, non-finite numbers as None; and the paths where there were such numbers."""
    if isinstance(value, Mapping):
        parts = {str(key): finite(item, (*at, str(key))) for key, item in value.items()}
        return {key: item for key, (item, _) in parts.items()}, [path for _, lost in parts.values() for path in lost]
    if isinstance(value, list | tuple):
        rows = [finite(item, (*at, k)) for k, item in enumerate(value)]
        return [item for item, _ in rows], [path for _, lost in rows for path in lost]
    if isinstance(value, float) and not math.isfinite(value):
        return None, [at]
    return value, []


def with_null_reasons(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card, finite, with `null_reasons` anew: path of every null to its reason; equal ones of a list share a line."""
    plain, lost = finite({key: item for key, item in card.items() if key != "null_reasons"})
    rows = [(path, _reason(plain, path)) for path in leaves(plain) if at(plain, path) is None and path not in lost]
    rows += [(path, "the record holds a number that is not finite") for path in lost]
    found: dict[str, Any] = plain | {"null_reasons": _joined(rows)}
    return found


def leaves(value: Any, where: Place = ()) -> Iterator[Place]:
    """Place of every value that holds no others; of empty objects and lists too."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, (*where, key))
    elif isinstance(value, list) and value:
        for k, item in enumerate(value):
            yield from leaves(item, (*where, k))
    else:
        yield where


def at(card: Any, path: Place) -> Any:
    """The value at a path."""
    for part in path:
        card = card[part]
    return card


def spelled(path: Place, *, general: bool = False) -> str:
    """`train.folds[0].rows`; general: `train.folds[].rows`, for every item."""
    words = ""
    for part in path:
        words += f"[{'' if general else part}]" if isinstance(part, int) else f".{part}" if words else part
    return words


def _reason(card: Mapping[str, Any], path: Place) -> str:
    """What stands beside the null, else what is declared, else which record holds none."""
    general = spelled(path, general=True)
    inner, outer = at(card, path[:-1]), at(card, path[:-2])
    for found in (
        _beside(inner, path[-1], null=len(path) > 1),
        *(_beside(outer, name, null=False) for name in path[-2:]),
    ):
        if found:
            return found
    for pattern, reason in DECLARED:
        if re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), general):
            return reason
    return f"{', '.join(sources_of(general))} recorded none"


def _beside(holder: Any, name: str | int, *, null: bool) -> str:
    """`<name>_reason`, a mapping of reasons by name, or, of a null, `reason`, in one object; empty without any."""
    if not isinstance(holder, Mapping):
        return ""
    maps = [holder[key] for key in MAPPINGS if isinstance(holder.get(key), Mapping)]
    options = [holder.get(f"{name}_reason"), *(reasons.get(name) for reasons in maps)]
    options += [holder.get("reason")] if null else []
    return next((option for option in options if isinstance(option, str) and option), "")


def _joined(rows: Sequence[tuple[Place, str]]) -> dict[str, str]:
    groups: dict[str, dict[str, str]] = {}
    for path, reason in rows:
        groups.setdefault(spelled(path, general=True), {})[spelled(path)] = reason
    joined: dict[str, str] = {}
    for general, found in groups.items():
        joined |= {general: next(iter(found.values()))} if len(set(found.values())) == 1 else found
    return joined
