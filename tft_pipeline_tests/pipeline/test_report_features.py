"""The report's section on the choice of features: what it says is what the records say."""

from dataclasses import replace
from typing import Any

import pytest

from tft_pipeline.domain.phases import PruningSection
from tft_pipeline.domain.pruning import pruned
from tft_pipeline.domain.selection import FILLED_UP
from tft_pipeline.pipeline.report.build import build_report
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.feature_charts import MOST_BARS, MOST_ROWS
from tft_pipeline.pipeline.report.sections.features import features_section
from tft_pipeline_tests.domain.test_pruning import DROPPED, PREFILTERED, folds
from tft_pipeline_tests.report_page import Parsed
from tft_pipeline_tests.report_records import made_records


def chosen_records(n_folds: int = 4, *, importance: bool = True, names: tuple[str, ...] | None = None) -> ReportRecords:
    made = folds(n_folds, importance=importance, **({} if names is None else {"names": names}))
    first = PREFILTERED if names is None else PREFILTERED.model_copy(update={"kept": names})
    selected = pruned(made, first, PruningSection(min_features=1))
    return replace(made_records(), exploration={fold.key: fold for fold in made}, selected=selected)


def charts(records: ReportRecords) -> dict[str, Any]:
    return {chart.anchor: chart for chart in features_section(records).charts}


def test_the_section_holds_the_summary_both_tables_and_every_partner() -> None:
    records = chosen_records()
    page = Parsed(build_report(records))
    cells = [text for _, text in page.of("td")]
    heads = [text for attributes, text in page.of("th") if attributes.get("scope") == "row"]
    assert "initial features" in heads
    assert "11" in cells
    drifted = [row["feature"] for row in records.drift.rows]  # they have a row in the section on drift too
    for row in (*records.selected.rows, *DROPPED):
        assert heads.count(row["feature"]) == 1 + drifted.count(row["feature"])
    best = records.selected.rows[0]
    assert f"{100 * best['weight']:.2f}" in page.seen
    for row in records.selected.dropped:
        if row["stands_for_it"]:
            assert row["stands_for_it"] in cells
    assert "95 % interval" in page.seen
    assert "It is not the level of each kind" in page.seen
    assert "Spearman's correlation" in page.seen


def test_the_charts_show_intervals_thresholds_folds_and_reasons() -> None:
    records = chosen_records()
    found = charts(records)
    assert list(found) == ["chart-reasons", "chart-weights", "chart-stability", "chart-weights-by-fold"]
    bars = [trace for trace in found["chart-weights"].figure["data"] if trace["type"] == "bar"]
    row = records.selected.rows[0]
    assert bars[0]["error_x"]["array"][0] == pytest.approx(row["high"] - row["weight"], rel=1e-5)
    assert bars[0]["error_x"]["arrayminus"][0] == pytest.approx(row["weight"] - row["low"], rel=1e-5)
    limit = sum(records.selected.thresholds.values()) / 4
    assert found["chart-weights"].figure["layout"]["shapes"][0]["x0"] == pytest.approx(limit)
    assert len(found["chart-stability"].figure["layout"]["shapes"]) == 2
    assert found["chart-reasons"].title.startswith("Phase 1 dropped 5 features of 11")
    grid = found["chart-weights-by-fold"].figure["data"][0]["z"]
    assert grid[0][0] == pytest.approx(next(iter(records.exploration.values())).weights[row["feature"]], rel=1e-5)


def test_features_filled_up_have_a_mark_of_their_own_in_both_charts_and_the_table() -> None:
    made = folds(4)
    selected = pruned(made, PREFILTERED, PruningSection(min_features=5))
    records = replace(made_records(), exploration={fold.key: fold for fold in made}, selected=selected)
    filled = [row["feature"] for row in selected.rows if row["reason"] == FILLED_UP]
    assert 1 <= len(filled) < 5
    found = charts(records)
    for anchor in ("chart-weights", "chart-stability"):
        traces = {trace["name"]: trace for trace in found[anchor].figure["data"]}
        assert list(traces) == ["kept", "kept to reach min_features", "dropped"]
        assert [text.split(":")[0] for text in traces["kept to reach min_features"]["hovertext"]] == filled
    marks = [trace["marker"]["symbol"] for trace in found["chart-stability"].figure["data"]]
    assert len(set(marks)) == 3
    assert "open diamonds" in found["chart-stability"].note
    cells = [text for _, text in Parsed(build_report(records)).of("td")]
    assert cells.count("◇ filled up") == len(filled)
    without = charts(chosen_records())
    assert "open diamonds" not in without["chart-stability"].note
    assert [trace["name"] for trace in without["chart-stability"].figure["data"]] == ["kept", "dropped"]


def test_many_features_are_cut_in_drawings_and_the_note_says_so() -> None:
    names = tuple(f"ret_{k}" for k in range(60))
    found = charts(chosen_records(names=names))
    drawn = [y for trace in found["chart-weights"].figure["data"] for y in trace["y"]]
    assert len(drawn) == MOST_BARS
    assert f"the first {MOST_BARS} of 60" in found["chart-weights"].note
    assert len(found["chart-weights-by-fold"].figure["data"][0]["z"]) == MOST_ROWS


def test_one_fold_and_no_importance_are_said() -> None:
    page = Parsed(build_report(chosen_records(1, importance=False)))
    assert "one fold has no spread" in page.seen
    assert "Weights were not held against permutation importance" in page.seen


def test_a_record_of_an_older_run_is_shown_without_phase_one() -> None:
    records = made_records()
    assert "chart-reasons" not in charts(records)
    assert "made before summaries were kept" in Parsed(build_report(records)).seen
