"""Looks at the production period and trials on the research bars enter the verdict, whoever made them and whenever."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit, ModelCard, OosPerformance
from tft_pipeline.domain.leakage_periods import OVERLAP_DECLARED
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.gates import (
    refuse_another_model,
    refuse_card_of_another_plan,
    refuse_leaks,
    undeclared_leaks,
)
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.staleness import Staleness
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline.storage.ledger_lines import Kind, add_line, read_lines
from tft_pipeline_tests.conftest import Workbench


def performance(bench: Workbench) -> OosPerformance:
    return OosPerformance.model_validate_json((bench.artifact("oos_performance") / REPORT_FILE).read_text())


def plan(bench: Workbench) -> FoldPlanReport:
    return FoldPlanReport.model_validate_json((bench.artifact("production_plan") / REPORT_FILE).read_text())


def again(bench: Workbench, asset: str) -> dict[str, Any]:
    return materialise_asset(bench.file, asset, partition=None, downstream=False, report=bench.lines.append)


def said_by(ledger: Path) -> list[dict[str, Any]]:
    """What its lines say, without their hashes."""
    return read_lines(ledger, Kind(dict, "a line", "lines"))


def a_look_of_another(bench: Workbench) -> None:
    line = said_by(bench.layout.looks_ledger)[0]
    add_line(bench.layout.looks_ledger, {**line, "experiment": "rival", "folds": dict.fromkeys(line["folds"], "other")})


def trials_of_another(bench: Workbench, **changes: str) -> None:
    line = said_by(bench.layout.trials_ledger)[-1]
    add_line(
        bench.layout.trials_ledger,
        {**line, "experiment": "rival", "trials": {f"t{k}": 0.1 * k for k in range(9)}, **changes},
    )


def needs_run(bench: Workbench) -> bool:
    with bench.instance() as instance:
        return Staleness(bench.graph, bench.definitions, instance).needs_run("oos_performance")


def test_a_run_leaves_one_look_and_its_own_trials(finished: Workbench) -> None:
    record = performance(finished)
    assert record.looks == 1
    assert [(row["experiment"], row["looks"], row["n_folds"]) for row in record.looks_seen] == [("small", 1, 3)]
    assert (record.research["n_trials_started"], record.research["n_other_trials"]) == (3, 0)
    entries = [json.loads(line) for line in finished.layout.trials_ledger.read_text().splitlines()]
    settled = {start for entry in entries for start in entry["settled"]}
    assert len({key for entry in entries for key in entry["trials"]} - settled) == 3
    assert not needs_run(finished)


def test_a_look_is_written_down_before_its_picture_can_be_seen(finished: Workbench) -> None:
    ledger = finished.layout.looks_ledger
    ledger.unlink()
    (failed,) = again(finished, "oos_portfolio")["failed"]
    assert "looks or trials would be lost from the count" in failed["reason"]
    ledger.with_name(f"{ledger.name}.head").unlink()
    assert not again(finished, "oos_portfolio")["failed"]
    (line,) = said_by(ledger)
    assert line["experiment"] == "small"


def test_drift_and_an_ensemble_that_are_made_before_the_portfolio_are_the_same_look(finished: Workbench) -> None:
    ledger = finished.layout.looks_ledger
    (line,) = said_by(ledger)
    for name in (ledger.name, f"{ledger.name}.head"):
        ledger.with_name(name).unlink()
    for asset in ("drift_report", "ensemble_weights", "oos_portfolio"):
        assert not again(finished, asset)["failed"]
        (written,) = said_by(ledger)
        assert written["folds"] == line["folds"]


def test_a_verdict_is_out_of_date_once_somebody_else_looked_and_its_card_is_refused(finished: Workbench) -> None:
    a_look_of_another(finished)
    assert needs_run(finished)
    for asset in ("model_card", "report"):
        (failed,) = again(finished, asset)["failed"]
        assert "the production period was looked at" in failed["reason"]
    assert not again(finished, "oos_performance")["failed"]
    record = performance(finished)
    assert record.looks == 2
    assert {row["experiment"] for row in record.looks_seen} == {"small", "rival"}
    assert not needs_run(finished)
    assert not again(finished, "model_card")["failed"]


def test_trials_that_others_start_later_deflate_the_verdict_too(finished: Workbench) -> None:
    before = performance(finished)
    trials_of_another(finished)
    assert needs_run(finished)
    assert not again(finished, "oos_performance")["failed"]
    after = performance(finished)
    assert (after.research["n_trials_started"], after.research["n_other_trials"]) == (12, 9)
    assert after.research["dsr"] < before.research["dsr"]
    assert after.looks == 1


def test_trials_that_were_scored_on_production_bars_are_looks(finished: Workbench) -> None:
    trials_of_another(finished, first="2021-02-01", last="2021-03-01")
    assert not again(finished, "oos_performance")["failed"]
    record = performance(finished)
    assert record.looks == 1 + 9
    assert record.research["n_other_trials"] == 0
    assert record.looks_seen[-1] | {"first": "", "last": ""} == {
        "experiment": "rival, trials",
        "at": "",
        "first": "",
        "last": "",
        "n_folds": 0,
        "looks": 9,
    }


def test_a_plan_knows_by_its_record_whether_it_was_chosen_on_scored_bars(finished: Workbench) -> None:
    made = plan(finished)
    assert made.research_last is not None
    assert not made.contaminated
    assert made.model_copy(update={"research_last": made.specs[0].dates["test"]["first"]}).contaminated


def test_a_leak_or_an_audit_of_another_plan_stops_what_is_materialised_alone(finished: Workbench) -> None:
    made = plan(finished)
    held = LeakageAudit(
        rows=({"guard": "g", "passed": True, "detail": ""},), passed=True, plan_sha256=made.content_sha256()
    )
    refuse_leaks(finished.graph, held, made)
    leak = held.model_copy(update={"rows": ({"guard": "g", "passed": False, "detail": "at noon"},), "passed": False})
    with pytest.raises(dg.Failure, match="the leakage audit found g: at noon"):
        refuse_leaks(finished.graph, leak, made)
    with pytest.raises(dg.Failure, match="folds of another plan"):
        refuse_leaks(finished.graph, held.model_copy(update={"plan_sha256": "x"}), made)


def test_a_leak_stored_by_an_earlier_run_stops_card_report_and_release_in_later_ones(finished: Workbench) -> None:
    path = finished.artifact("leakage_audit") / REPORT_FILE
    audit = LeakageAudit.model_validate_json(path.read_text())
    leak = ({**audit.rows[0], "passed": False, "state": "leak", "detail": "at noon"}, *audit.rows[1:])
    found = audit.model_copy(update={"rows": leak, "passed": False})

    def fill(folder: Path) -> None:
        (folder / REPORT_FILE).write_text(found.model_dump_json())

    write_artifact(finished.layout.artifact("small", "leakage_audit"), fill)
    before = finished.versions()
    for asset in ("model_card", "report", "release"):
        (failed,) = again(finished, asset)["failed"]
        assert "the leakage audit found inputs_do_not_see_later_bars: at noon" in failed["reason"]
    assert finished.versions() == before


def test_a_card_latency_or_drift_of_another_model_is_refused(finished: Workbench) -> None:
    def stored(asset: str, kind: type) -> Any:
        return kind.model_validate_json((finished.artifact(asset) / REPORT_FILE).read_text())

    made, card = plan(finished), stored("model_card", ModelCard)
    latency, drift = stored("latency_benchmark", LatencyBenchmark), stored("drift_report", DriftRecord)
    refuse_card_of_another_plan(card, made)
    refuse_another_model(latency.weights_sha256, latency, drift, made)
    other = made.model_copy(update={"purge": 6})
    with pytest.raises(dg.Failure, match="describes the folds of another plan"):
        refuse_card_of_another_plan(card, other)
    with pytest.raises(dg.Failure, match="timed another model"):
        refuse_another_model("other", latency, drift, made)
    with pytest.raises(dg.Failure, match="compares with fold f1999-01-01"):
        refuse_another_model(latency.weights_sha256, latency, drift.model_copy(update={"fold": "f1999-01-01"}), made)


def test_only_the_declared_overlap_and_nothing_beside_it_is_let_through() -> None:
    declared = f"{OVERLAP_DECLARED}2021-06-04, and production starts at 2019-06-03"
    rows = tuple(
        {"guard": guard, "passed": False, "detail": detail}
        for guard, detail in (("research_ends_before_production", declared), ("another", "d"))
    )
    audit = LeakageAudit(rows=rows, passed=False)
    assert undeclared_leaks(audit, overlap_declared=True) == ["another: d"]
    assert len(undeclared_leaks(audit, overlap_declared=False)) == 2
    more = LeakageAudit(rows=({**rows[0], "detail": f"{declared}; trial 2 was chosen"},), passed=False)
    assert len(undeclared_leaks(more, overlap_declared=True)) == 1
