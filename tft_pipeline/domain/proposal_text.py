"""The text of a proposed experiment file: every number with the reason for it. Not here: the numbers (`proposal`)."""

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

from tft_pipeline.domain.proposal import GROUPS, AboutBars, Proposal
from tft_pipeline.domain.visible_text import shown

LINE = 130


def proposal_text(proposal: Proposal, about: AboutBars, *, found: str, warnings: Sequence[str]) -> str:
    """YAML with comments, that reads back as `proposal.content`.

    Args:
        found: what the bars are, one sentence.
        warnings: what a reader of the file must know.
    """
    content, made = proposal.content, proposal.experiment
    folds = made.production.folds
    lines = [
        *_comment(f"Made by `tft init`: {found}"),
        *_comment(
            "`tft run` takes this file as it is; a key that is left out takes its default. `tft init --force` replaces it."
        ),
        *(line for warning in warnings for line in _comment(f"Warning: {warning}")),
        f"name: {_inline(content['name'])}",
        f"seed: {content['seed']}",
        "",
        *_section("data", content["data"], _data_reasons(proposal, about)),
        "",
        *_section("features", content["features"], _feature_reasons(proposal, about)),
        "",
        *_section(
            "target",
            content["target"],
            {
                "horizon": "bars a label looks ahead",
                "volatility_span": "of the volatility that positions are scaled with; it takes "
                f"{made.target.volatility_span} bars first",
            },
        ),
        "",
        *_section(
            "periods",
            content["periods"],
            {
                "production_start": "the last third is scored once, by models that saw none of it; all choices are made before",
                "purge": f"bars left out between parts, at least the horizon of {made.target.horizon}, so that no label "
                "reaches over",
            },
        ),
        "",
        *_section("network", content["network"], {"hidden": "small, for a first run of minutes"}),
        "",
        *_section(
            "training",
            content["training"],
            {
                "lookback": "bars of one window: the longest of 63, 42, 32, 21, 16 that the folds have room for",
                "warmup_bars": "first bars of a window that are not scored, a third of it",
            },
        ),
        "",
        *_section(
            "position", content["position"], {"cost_bps": "an assumption: state what you pay, fee and half the spread"}
        ),
        "",
        *_comment(
            f"Lengths are bars of the common calendar: the template's x {proposal.scale:.3g}, so that all folds lie before "
            "production."
            if proposal.scale < 1
            else "Lengths are bars of the common calendar; there is room for the template's in full."
        ),
        *_section(
            "exploration",
            content["exploration"],
            {"shadow_features": "copies that cannot help: what a feature has to beat"},
        ),
        "",
        *_section("pruning", content["pruning"], {}),
        "",
        *_section(
            "tuning",
            content["tuning"],
            {"n_trials": "few, for a first run; each more is counted by the deflated Sharpe ratio"},
        ),
        "",
        *_section(
            "production",
            content["production"],
            {"folds": f"{folds.test} bars scored by each model, then the next is trained"},
        ),
        "",
        *_section("drift", content["drift"], {"recent_bars": "newest bars that are compared with the training bars"}),
        "",
        *_section(
            "evaluation",
            content["evaluation"],
            {"momentum_lookback": "bars of the momentum baseline, no more than a fold has"},
        ),
    ]
    return "\n".join(lines) + "\n"


def _data_reasons(proposal: Proposal, about: AboutBars) -> dict[str, str]:
    left_out = ", ".join(proposal.left_out)
    return {
        "source": "relative to this file, or absolute",
        "interval": "the most frequent distance between bars of a symbol",
        "stamp": "as you said; closes cannot be told from openings",
        "bars_per_year": "counted, for annualising",
        "timezone": "of timestamps without one, as you said",
        "market_symbol": "an index by its name: context, never traded; drop the key to trade it",
        "symbols": f"without {left_out}, which has fewer bars than one window needs" if left_out else "",
        "min_bars": "what the shortest history here has, 300 at most; fewer bars of a symbol are refused",
    }


def _feature_reasons(proposal: Proposal, about: AboutBars) -> dict[str, str]:
    every = "without this section every feature that the bars allow is built, which takes longer"
    if proposal.content["features"].get("groups"):
        more = [name for name in proposal.content["features"]["groups"] if name not in GROUPS]
        columns = f" ({', '.join(more)} for the columns and symbols there are)" if more else ""
        return {"groups": f"{proposal.n_features} features{columns}; {every}"}
    return {"names": f"{proposal.n_features} features with a history short enough for so few bars"}


def _section(name: str, values: dict[str, Any], reasons: dict[str, str]) -> list[str]:
    lines = [f"{name}:"]
    for key, value in values.items():
        reason = reasons.get(key)
        text = f"  {key}: {_inline(value)}"
        if isinstance(value, dict) and key == "space":
            lines += [f"  {key}:", *(f"    {one}: {_inline(knob)}" for one, knob in value.items())]
            continue
        if reason and len(text) + len(reason) + 5 > LINE:
            lines += [f"  {line}" for line in _comment(reason)]
        lines.append(text if not reason or lines[-1].startswith("  #") else f"{text}   # {shown(reason, allowed='')}")
    return lines


def _inline(value: Any) -> str:
    """A value in YAML's flow style; text as JSON, in which nothing breaks a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(one) for one in value) + "]"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        plain = value.replace("_", "").replace(".", "").replace("/", "").replace("-", "")
        bare = plain.isascii() and plain.isalnum() and plain[0].isalpha() and value.lower() not in RESERVED_WORDS
        return value if bare else json.dumps(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value)


RESERVED_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Words that YAML reads as something else than text; `NO` is a stock in Oslo too."""


def _comment(text: str) -> list[str]:
    """A comment, broken into lines; what cannot be seen is written out, so that nothing leaves the comment."""
    lines, line = [], "#"
    for word in shown(text, allowed="").split():
        if len(line) + 1 + len(word) > LINE and line != "#":
            lines.append(line)
            line = "#  "
        line += f" {word}"
    return [*lines, line]
