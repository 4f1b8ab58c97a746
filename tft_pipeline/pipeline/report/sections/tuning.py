"""What the search tried, what its best trial is worth after so many tries, and other paths through the research period."""

from collections.abc import Mapping, Sequence
from typing import Any

from tft_pipeline.domain.findings import ResearchPaths
from tft_pipeline.pipeline.report.charts import ALERT, COLOURS, Chart, axis, figure
from tft_pipeline.pipeline.report.markup import (
    DASH,
    Column,
    Html,
    count,
    decimal,
    facts,
    figure_of,
    free,
    free_record,
    free_table,
    join,
    paragraph,
    percent,
    several,
    table,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords

OF = "oos_performance.research"
EVIDENCE = (
    ("n_trials_started", "trials started, those of other experiments on the same bars counted", count),
    ("n_other_trials", "of them by other experiments", count),
    ("n_completed", "trials completed", count),
    ("n_left_out", "trials left out of CSCV", count),
    ("n_trials_effective", "independent trials that would spread like these", lambda value: decimal(value, 1)),
    ("n_bars", "bars of the chosen trial", count),
    ("sharpe_annual", "its Sharpe ratio on them, a year", decimal),
    ("expected_max_sharpe_annual", "expected best of so many worthless trials, a year", decimal),
    ("dsr", "DSR: confidence that it is above that", lambda value: decimal(value, 3)),
    ("pbo", "PBO: it falls below the median afterwards", percent),
    ("probability_of_loss", "probability of loss afterwards", percent),
    ("degradation", "share of its Sharpe ratio lost afterwards", percent),
    ("degradation_slope", "slope of afterwards on before", decimal),
)
SYMBOLS = {"complete": "circle", "pruned": "triangle-down-open", "fail": "x-thin"}


def tuning_section(records: ReportRecords) -> Section:
    """Every trial that was started, and CSCV over those that share their bars."""
    tuned, research = records.tuned, records.performance.research
    finding = (
        f"Trial {tuned.best_trial} of {tuned.n_trials_started} was chosen: mean Sharpe ratio "
        f"{decimal(tuned.best_sharpe_annual)} a year over {several(len(tuned.fold_keys), 'research fold')}; deflated "
        f"by all trials its DSR is {_or_reason(research, 'dsr', lambda value: decimal(value, 3))}."
    )
    paths = records.research_paths
    return Section(
        anchor="tuning",
        title="Tuning and research paths",
        finding=finding,
        parts=(
            _trial_chart(records),
            facts(
                {title: _or_reason(research, key, write) for key, title, write in EVIDENCE},
                caption="What the search is worth",
            ),
            _importances(records),
            _trial_table(records),
            *(_paths(paths) if paths is not None else (_no_paths(),)),
        ),
    )


def _or_reason(research: Mapping[str, Any], key: str, write: Any) -> str:
    """A figure; a dash and the reason where it could not be computed; a dash alone where CSCV or trials are none."""
    if key not in research and f"{key}_reason" not in research and key == "expected_max_sharpe_annual":
        return f"{DASH} {research.get('dsr_reason', 'undefined')}"
    value = figure_of(research, key, of=OF)
    return str(write(value)) if value is not None else f"{DASH} {research.get(f'{key}_reason', 'undefined')}"


def _trial_chart(records: ReportRecords) -> Chart:
    import plotly.graph_objects as go

    tuned = records.tuned
    states = dict.fromkeys(trial.state for trial in tuned.trials)
    traces: list[Any] = []
    for k, state in enumerate(states):
        mine = [trial for trial in tuned.trials if trial.state == state and trial.sharpe_annual is not None]
        if not mine:
            continue
        colour = COLOURS[k % len(COLOURS)]
        traces.append(
            go.Scatter(
                x=[trial.number for trial in mine],
                y=[trial.sharpe_annual for trial in mine],
                name=state,
                mode="markers",
                marker={
                    "symbol": SYMBOLS.get(state, "square"),
                    "size": 10,
                    "color": colour,
                    "line": {"width": 1.5, "color": colour},
                },
            )
        )
    best = [trial for trial in tuned.trials if trial.number == tuned.best_trial]
    traces.append(
        go.Scatter(
            x=[trial.number for trial in best],
            y=[trial.sharpe_annual for trial in best],
            name="chosen",
            mode="markers",
            marker={"symbol": "circle-open", "size": 18, "color": ALERT, "line": {"width": 2}},
        )
    )
    expected = records.performance.research.get("expected_max_sharpe_annual")
    shapes = []
    note = "Mean over the research folds, net of costs."
    if expected is not None:
        shapes = [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": expected, "y1": expected}]
        shapes[0]["line"] = {"color": ALERT, "width": 1.2, "dash": "dash"}
        note += f" Dashed: {decimal(expected)}, the expected best of so many trials without skill."
    shown = sum(trial.sharpe_annual is not None for trial in tuned.trials)
    return Chart(
        anchor="chart-trials",
        title=f"{tuned.n_trials_started} trials started by this study, {tuned.n_pruned} pruned; {shown} have a Sharpe ratio",
        figure=figure(
            traces,
            x=axis("trial") | {"dtick": max(1, len(tuned.trials) // 12)},
            y=axis("net Sharpe ratio, a year", zero=True),
            more={"shapes": shapes},
        ),
        height=320,
        note=note,
    )


def _importances(records: ReportRecords) -> Html:
    tuned = records.tuned
    if not tuned.importances:
        reason = tuned.importances_reason or "the record does not say why"
        return paragraph(f"What each searched key explains is not known: {reason}.", kind="note")
    return facts(
        {key: percent(share) for key, share in tuned.importances.items()},
        caption="Share of the spread of Sharpe ratios that each searched key explains (fANOVA)",
    )


def _trial_table(records: ReportRecords) -> Html:
    columns = [
        Column("trial", lambda trial: str(trial["number"]), False),
        Column("state", lambda trial: trial["state"], False),
        Column("Sharpe, a year", lambda trial: decimal(trial["sharpe_annual"])),
        Column("by fold", lambda trial: ", ".join(decimal(value) for value in trial["fold_sharpes"]) or DASH, False),
        Column("settings", lambda trial: free(trial["params"]), False),
        Column("note", lambda trial: trial["note"] or DASH, False),
    ]
    rows = [trial.model_dump(exclude={"returns"}) for trial in records.tuned.trials]
    return table(columns, rows, caption="Trials")


def _no_paths() -> Html:
    return paragraph(
        "Combinatorial purged cross-validation of the chosen settings was not asked for: the experiment has no section "
        "research_paths.",
        kind="note",
    )


def _paths(paths: ResearchPaths) -> tuple[Html | Chart, ...]:
    ratios = [row["sharpe_annual"] for row in paths.paths if row.get("sharpe_annual") is not None]
    chart = (_path_chart(ratios),) if ratios else ()
    tables = [
        free_record(paths.spread, caption="Combinatorial purged cross-validation: spread of the paths"),
        free_table(paths.paths, caption="Paths through the research period"),
        free_table(paths.splits, caption="Fits behind the paths"),
        free_table(paths.groups, caption="Groups of research bars"),
    ]
    return (*chart, join(tables))


def _path_chart(ratios: Sequence[float]) -> Chart:
    import plotly.graph_objects as go

    below = sum(ratio < 0.0 for ratio in ratios)
    ordered = sorted(ratios)
    trace = go.Scatter(
        x=ordered,
        y=list(range(1, len(ordered) + 1)),
        mode="markers",
        marker={"size": 9, "color": COLOURS[0]},
        showlegend=False,
    )
    return Chart(
        anchor="chart-paths",
        title=f"{below} of {len(ratios)} paths through the research period lost money",
        figure=figure([trace], x=axis("net Sharpe ratio, a year", zero=True), y=axis("path, worst first")),
        height=260,
        note="One mark a path of combinatorial purged cross-validation with the chosen settings.",
    )
