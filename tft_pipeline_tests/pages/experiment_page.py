"""docs/reference/experiment.md and the JSON Schema of experiment files for editors, made from the models.

    python -m tft_pipeline_tests.pages.experiment_page

A description stands beside its key in `tft_pipeline.domain`; units stand here, and a number without one is an error.
"""

import json
from pathlib import Path
from typing import Any

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.sections import tunable_keys
from tft_pipeline_tests.pages.schema_words import Node, bounds, cell, default, kind

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "experiment.md"
SCHEMA = ROOT / "tft_pipeline" / "schemas" / "experiment.schema.json"
SHARED = {"FoldsSection": "folds", "TableSection": "data.tables", "Knob": "tuning.space"}
"""Blocks that stand inside sections, and what their own part of the page is called."""
NUMBER = "-"
"""A count or a share: the number itself."""
UNITS = {
    "bars": (
        "data.min_bars target.horizon target.volatility_span periods.purge folds.train folds.validation folds.test folds.step "
        "network.context_bars training.lookback training.warmup_bars research_paths.validation research_paths.embargo "
        "evaluation.momentum_lookback drift.recent_bars gates.challenger_min_bars"
    ),
    "bars a year": "data.bars_per_year",
    "days": "data.tables.max_age_days",
    "share of capital a year": "target.target_volatility",
    "basis points": "position.cost_bps position.symbol_cost_bps position.slippage_bps",
    "basis points a year": "position.borrow_bps position.funding_bps",
    "times the capital": "position.max_weight",
    "epochs": "exploration.epochs tuning.epochs tuning.min_epochs production.epochs research_paths.epochs training.patience",
    "trials": "tuning.n_trials tuning.parallel_trials tuning.startup_trials",
    "folds": "folds.max_folds tuning.warmup_folds",
    "features": "exploration.shadow_features pruning.max_features pruning.min_features",
    "Sharpe ratio a year": "gates.min_sharpe_ci_low",
    "milliseconds": "latency.max_p95_ms",
    "decisions": "latency.warmup latency.n",
    "decisions a second": "latency.rate_per_s",
    "nights": "drift.retrain_nights",
    "hours": "drift.fresh_within_hours",
    "windows": "drift.min_null_windows",
    "batches": "training.accumulate_batches",
    "blocks": "training.batch_blocks research_paths.groups research_paths.test_groups",
    "of the key": "tuning.space.low tuning.space.high",
    NUMBER: (
        "seed prefilter.max_missing prefilter.max_correlation network.hidden network.heads network.lstm_layers network.dropout "
        "network.variable_hidden network.n_context training.learning_rate training.weight_decay training.gradient_clip "
        "training.mle_weight position.max_position position.position_smooth exploration.seeds exploration.permutations "
        "pruning.threshold pruning.shadow_quantile pruning.min_stability tuning.wilcoxon_p tuning.reduction_factor "
        "evaluation.min_psr evaluation.min_dsr evaluation.max_probability_of_loss evaluation.max_degradation evaluation.alpha "
        "evaluation.min_accuracy drift.n_bins drift.psi_threshold drift.js_threshold drift.alpha ensemble.l2 "
        "ensemble.lightgbm_rounds ensemble.lightgbm_leaves gates.min_accuracy_ci_low gates.keep_candidates"
    ),
}
UNIT = {key: unit for unit, keys in UNITS.items() for key in keys.split()}
HEAD = """# The experiment file

Every section and key of a file in `experiments/`, made from the models that read it
(`python -m tft_pipeline_tests.pages.experiment_page`); do not edit this page. Shipped:
[demo.yaml](../../experiments/demo.yaml), [daily.yaml](../../experiments/daily.yaml),
[intraday.yaml](../../experiments/intraday.yaml).

* An unknown key is refused, and so is a value of another type: nothing is converted, nothing falls back.
* A key that would change nothing as the file stands is refused too, and the message says why.
* Sections must fit together, for instance `periods.purge` at least `target.horizon`. The message names both values, the
  consequence and the remedy; `tft plan FILE` says it before anything runs.
* An asset reads only some sections: changing one marks exactly its readers out of date ([reruns](../reruns.md)).

An editor with a YAML language server completes and checks keys with this first line:

```yaml
# yaml-language-server: $schema=../tft_pipeline/schemas/experiment.schema.json
```

It checks single keys; what must fit together only the program knows. `-` as a unit: a plain number.
"""


def schema() -> Node:
    """The JSON Schema of an experiment file."""
    made: dict[str, Any] = Experiment.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "Experiment of tft-pipeline"}


def blocks() -> dict[str, Node]:
    """Every section by the dotted name of its part, in the order of the file; keys of the file itself are under ""."""
    whole = schema()
    defined: dict[str, Node] = whole["$defs"]
    found: dict[str, Node] = {"": whole}
    for name, node in whole["properties"].items():
        target = _section(node)
        if target:
            found[name] = defined[target]
    return found | {name: defined[target] for target, name in SHARED.items()}


def keys() -> list[tuple[str, str, Node, bool]]:
    """Every key: its part, its name, its node, whether it is required."""
    return [
        (part, name, node, name in block.get("required", ()))
        for part, block in blocks().items()
        for name, node in block["properties"].items()
    ]


def is_number(node: Node) -> bool:
    """Whether a key may hold a number, or numbers by name."""
    inner = node.get("additionalProperties")
    if isinstance(inner, dict):
        return is_number(inner)
    return node.get("type") in ("integer", "number") or any(is_number(one) for one in node.get("anyOf", ()))


def unit(part: str, name: str, node: Node) -> str:
    """Unit of a key; empty for what is no number.

    Raises:
        ValueError: a number whose unit is not in `UNITS`.
    """
    if not is_number(node):
        return ""
    dotted = f"{part}.{name}".lstrip(".")
    if dotted not in UNIT:
        raise ValueError(f"{dotted} is a number without a unit: add it to UNITS, under `{NUMBER}` if it has none")
    return UNIT[dotted]


def _section(node: Node) -> str:
    """Name of the section that a key of the file holds; empty for a plain key."""
    targets = [one["$ref"] for one in (node, *node.get("anyOf", ())) if "$ref" in one]
    return str(targets[0]).rpartition("/")[2] if targets else ""


def _kind(node: Node) -> str:
    words = kind({key: value for key, value in node.items() if key != "default"})
    for target, name in SHARED.items():
        words = words.replace(target, f"[{name}](#{name.replace('.', '')})")
    return words.removesuffix(" or null")


def page() -> str:
    """The page as text."""
    lines = HEAD.splitlines()
    for part, block in blocks().items():
        rows = [(name, node) for name, node in block["properties"].items() if part or not _section(node)]
        what = "" if not part else block.get("description", "")
        lines += ["", f"## {part or 'The file itself'}", ""]
        if what:
            lines += [*what.splitlines(), ""]
        if part == "tuning.space":
            lines += ["Keys that may be searched: " + ", ".join(f"`{key}`" for key in tunable_keys()) + ".", ""]
        if part == "folds":
            lines += ["In `exploration`, `tuning` and `production`.", ""]
        lines += ["| key | type and limits | unit | default | meaning |", "|---|---|---|---|---|"]
        for name, node in rows:
            limits = bounds(node)
            words = _kind(node) + (f"; {limits}" if limits else "")
            start = default(node, required=name in block.get("required", ()))
            said = (f"`{name}`", words, unit(part, name, node), start, node.get("description", ""))
            lines.append("| " + " | ".join(map(cell, said)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write page and schema."""
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(json.dumps(schema(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
