"""Which features were chosen in the research period, on what evidence, and whether every fold would have chosen them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tft_pipeline.domain.selection import standing
from tft_pipeline.pipeline.report.charts import Chart
from tft_pipeline.pipeline.report.markup import (
    DASH,
    Column,
    Html,
    decimal,
    facts,
    figure_of,
    free_table,
    join,
    paragraph,
    percent,
    several,
    span,
    table,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.feature_charts import (
    heat_map,
    reasons_chart,
    stability_chart,
    weight_chart,
)
from tft_pipeline.pipeline.report.sections.verdict import sentence

ENDED = {"kept": "✓ kept", "filled up": "◇ filled up", "dropped": "✗ dropped"}
"""Words of `selection.standing` in the table; marks as in the charts."""
LEVEL_NOTE = (
    "Level: how probable it is that a useless feature, drawn from all features as the shadows are, stays below a fold's "
    "threshold. It is not the level of each kind: on planted panels slow noise passed a threshold of 95 % in 8 % of the cases."
)
OF_ROWS = "selected_features.rows"
KEYS = (
    "rank",
    "feature",
    "group",
    "weight",
    "stability",
    "kept",
    "reason",
    "low",
    "high",
    "standard_error",
    "seed_spread",
    "importance",
)


def features_section(records: ReportRecords) -> Section:
    """Variable Selection Network weights, by feature and by fold; what phase 1 dropped; the choice."""
    selected = records.selected
    folds = sorted(records.exploration)
    rows = [{key: figure_of(row, key, of=OF_ROWS) for key in KEYS} for row in selected.rows]
    weights = {
        row["feature"]: [
            float(figure_of(records.exploration[key].weights, row["feature"], of=f"exploration_fold {key}"))
            for key in folds
        ]
        for row in rows
    }
    limits = list(selected.thresholds.values())
    limit = sum(limits) / len(limits) if limits else None
    return Section(
        anchor="features",
        title="VSN weights and stability",
        finding=_finding(records, len(folds)),
        parts=(
            _summary(records),
            *_phase_one(records),
            weight_chart(rows, limit, len(folds)),
            stability_chart(rows, records.experiment.pruning.min_stability, limit),
            heat_map(rows, weights, folds),
            _feature_table(rows),
            _group_table(records),
            _agreement(records),
        ),
    )


def _finding(records: ReportRecords, n_folds: int) -> str:
    selected = records.selected
    kept = f"{len(selected.features)} of {len(selected.rows)} features are kept, judged on {several(n_folds, 'research fold')}."
    if selected.nogueira is None:
        stable = "Nogueira's stability is undefined (one fold, or no or every feature above its threshold)."
    else:
        found = {
            key: figure_of(selected.nogueira, key, of="selected_features.nogueira") for key in ("phi", "lower", "upper")
        }
        stable = (
            f"Nogueira's stability of the choice is {decimal(found['phi'])} (95 % interval "
            f"{span(found['lower'], found['upper'])}; 1 always the same, 0 as if drawn by lot)."
        )
    w = selected.kendall_w
    ranks = (
        "Kendall's W of the rankings is undefined."
        if w is None
        else f"Kendall's W of the rankings is {decimal(w)} (1 full agreement)."
    )
    return f"{kept} {stable} {ranks}"


def _summary(records: ReportRecords) -> Html:
    """The notes' summary."""
    selected, of = records.selected, "selected_features.summary"
    if not selected.summary:
        return paragraph("The record holds no summary of phase 1: it was made before summaries were kept.", kind="note")
    found = {key: figure_of(selected.summary, key, of=of) for key in ("initial", "after_prefilter", "selected")}
    level = selected.shadow_level
    shown = facts(
        {
            "initial features": str(found["initial"]),
            "left by phase 1": str(found["after_prefilter"]),
            "selected features": str(found["selected"]),
            "of them filled up to pruning.min_features": str(figure_of(selected.summary, "filled_up", of=of)),
            "reduction": percent(figure_of(selected.summary, "reduction", of=of), 0),
            "method": str(figure_of(selected.summary, "method", of=of)),
            "level of a fold's threshold": "fixed threshold" if level is None else percent(level),
        },
        caption="Choice of features",
    )
    return shown if level is None else join([shown, paragraph(LEVEL_NOTE, kind="note")])


def _phase_one(records: ReportRecords) -> tuple[Html | Chart, ...]:
    """Reasons of phase 1, and each feature it dropped beside the one that stands for it."""
    selected = records.selected
    if not selected.summary:
        return ()
    chart = reasons_chart(
        selected.dropped, figure_of(selected.summary, "after_prefilter", of="selected_features.summary")
    )
    if not selected.dropped:
        return (chart,)
    columns = [
        Column("feature", lambda row: row["feature"], False),
        Column("why", lambda row: sentence(str(row["reason"]).replace("_", " ")), False),
        Column("measured", lambda row: decimal(row["value"], 4)),
        Column("limit", lambda row: decimal(row["limit"], 4)),
        Column("repeats", lambda row: row["partner"] or DASH, False),
        Column("stands for it", lambda row: row["stands_for_it"] or DASH, False),
        Column("which is", lambda row: _kept(row["stand_in_kept"]), False),
    ]
    return (
        chart,
        table(columns, selected.dropped, caption="Dropped by phase 1, with the feature that stands for each"),
    )


def _kept(kept: bool | None) -> str:
    return DASH if kept is None else "✓ kept" if kept else "✗ dropped"


def _feature_table(rows: Sequence[Mapping[str, Any]]) -> Html:
    columns = [
        Column("feature", lambda row: row["feature"], False),
        Column("rank", lambda row: str(row["rank"])),
        Column("weight", lambda row: percent(row["weight"], 2)),
        Column("95 % interval, %", lambda row: span(_percent(row["low"]), _percent(row["high"]))),
        Column("spread over seeds", lambda row: percent(row["seed_spread"], 2)),
        Column("stability", lambda row: percent(row["stability"], 0)),
        Column("importance", lambda row: decimal(row["importance"], 4)),
        Column("kept", lambda row: ENDED[standing(row)], False),
        Column("why", lambda row: sentence(str(row["reason"])), False),
    ]
    note = (
        "Interval: of the mean over folds, which share training bars, so that it is too short rather than too long. Spread: "
        "deviation over the seeds of a fold. Importance: rise of the validation loss with the feature permuted in blocks."
    )
    return join([table(columns, rows, caption="Features by weight"), paragraph(note, kind="note")])


def _percent(share: float | None) -> float | None:
    return None if share is None else 100.0 * share


def _group_table(records: ReportRecords) -> Html:
    of = "selected_features.groups"
    columns = [
        Column("group", lambda row: figure_of(row, "group", of=of), False),
        Column("kept", lambda row: str(figure_of(row, "kept", of=of))),
        Column("of", lambda row: str(figure_of(row, "initial", of=of))),
        Column("weight of those kept", lambda row: percent(figure_of(row, "weight", of=of))),
    ]
    return table(columns, records.selected.groups, caption="Groups")


def _agreement(records: ReportRecords) -> Html:
    """Rank correlation of weights with permutation importance, by fold and over folds."""
    selected = records.selected
    if selected.agreement is None:
        why = selected.undefined.get("agreement", "the record does not say why")
        return paragraph(f"Weights were not held against permutation importance: {why}.", kind="note")
    found = {key: figure_of(selected.agreement, key, of="selected_features.agreement") for key in AGREEMENT}
    rows = [{"fold": key, "rank_correlation": value} for key, value in found["by_fold"].items()]
    over = {
        "fold": "mean of folds",
        "rank_correlation": found["mean"],
        "low": found["low"],
        "high": found["high"],
    }
    means = {"fold": "of mean weight with mean importance", "rank_correlation": found["of_means"]}
    shown = free_table([*rows, over, means], caption="Rank correlation of selection weight with permutation importance")
    note = (
        "Spearman's correlation, with the 95 % interval of its mean over folds. Features that carry nothing are ranked by "
        "chance in both, so that it is low where they are many."
    )
    return join([shown, paragraph(note, kind="note")])


AGREEMENT = ("by_fold", "mean", "low", "high", "of_means")
