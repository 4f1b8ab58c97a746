"""Why an asset is out of date: one sentence a cause, and none where it is current."""

import json
import shutil
from typing import Any

import dagster as dg
import pytest

from tft_pipeline.pipeline.assets import evaluation
from tft_pipeline.pipeline.partitions import DATA_VERSION_TAG
from tft_pipeline.pipeline.sections_read import sections_read
from tft_pipeline.pipeline.staleness import CODE_VERSION_TAG, Staleness
from tft_pipeline.storage.looks import record_look
from tft_pipeline_tests.conftest import Workbench, write_experiment
from tft_pipeline_tests.reruns import FOLD, another_fit, materialise_alone


def why(bench: Workbench, asset: str, partition: str | None = None) -> str | None:
    with bench.instance() as instance:
        staleness = Staleness(bench.graph, bench.definitions, instance)
        found = staleness.why(asset, partition)
        assert staleness.needs_run(asset, partition) == (found is not None)
        return found


def log(bench: Workbench, event: Any) -> None:
    """Write an event into the log, as a run would."""
    with bench.instance() as instance:
        instance.report_runless_asset_event(event)


def materialised(bench: Workbench, asset: str, version: str, partition: str | None = None) -> None:
    tags = {DATA_VERSION_TAG: version}
    log(bench, dg.AssetMaterialization(bench.graph.key(asset), partition=partition, tags=tags))


def test_each_cause_has_its_sentence(finished: Workbench) -> None:
    assert why(finished, "purge_comparison") == "it was never computed"

    damaged = finished.artifact("oos_portfolio") / "data.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert f"its files are damaged: {damaged}" in str(why(finished, "oos_portfolio"))

    shutil.rmtree(finished.layout.artifact("small", "production_fold", FOLD))
    assert "its files are gone" in str(why(finished, "production_fold", FOLD))
    newest = finished.folds()[-1]
    materialised(finished, "production_spec", "another", newest)
    assert "production_plan published another spec" in str(why(finished, "production_fold", newest))

    materialised(finished, "features", "another")
    said = why(finished, "prefiltered_features")
    assert "features has another content than the one it was made from" in str(said)
    assert "another now" in str(said)

    materialised(finished, "production_fold", "another", FOLD)
    assert str(why(finished, "latency_benchmark")).endswith(f"not made from as they are now: {FOLD}")


def test_a_moved_ledger_outdates_the_verdict(finished: Workbench) -> None:
    ledger = finished.layout.looks_ledger
    last = json.loads(ledger.read_text().splitlines()[-1])
    look = {name: last[name] for name in ("symbols", "interval", "first", "last", "folds", "experiment", "at")}
    record_look(ledger, look | {"folds": dict.fromkeys(look["folds"], "0" * 64)})
    assert "ledgers know other looks" in str(why(finished, "oos_performance"))


def test_a_failed_blocking_check_outdates_its_asset_and_a_gate_that_says_no_does_not(finished: Workbench) -> None:
    for asset, name, severity in (
        ("features", "features_do_not_see_later_bars", dg.AssetCheckSeverity.ERROR),
        ("leakage_audit", "no_guard_found_a_leak", dg.AssetCheckSeverity.WARN),
    ):
        event = dg.AssetCheckEvaluation(
            asset_key=finished.graph.key(asset), check_name=name, passed=False, severity=severity, description="ret_1"
        )
        log(finished, event)
    assert why(finished, "features") == "its blocking check features_do_not_see_later_bars failed: ret_1"
    assert why(finished, "leakage_audit") is None


def test_changed_code_and_changed_configuration_are_told_apart(finished: Workbench) -> None:
    key = finished.graph.key("latency_benchmark")
    now = finished.definitions.resolve_asset_graph().get(key).code_version
    assert now is not None
    fingerprint = now.partition("-")[2]
    write_experiment(finished.folder, {"latency.n": 30})
    said = str(why(finished, "latency_benchmark"))
    assert said.startswith(f"its configuration changed: code version {now} then, 3-")
    assert said.endswith("it reads seed, latency")
    write_experiment(finished.folder)
    with pytest.MonkeyPatch.context() as patch:
        old = {CODE_VERSION_TAG: f"2-{fingerprint}"}
        made = Staleness._made

        def of_older_code(self: Staleness, asset: dg.AssetKey, partition: str | None) -> dg.AssetMaterialization:
            found = made(self, asset, partition)
            assert found is not None
            return found._replace(tags=old)

        patch.setattr(Staleness, "_made", of_older_code)
        assert why(finished, "latency_benchmark") == (f"its code changed: code version 2-{fingerprint} then, {now} now")


def test_the_sections_of_every_fingerprint_are_known(finished: Workbench) -> None:
    read = sections_read(finished.graph)
    nodes = finished.definitions.resolve_asset_graph().asset_nodes
    fingerprinted = {node.code_version for node in nodes if node.code_version and "-" in node.code_version}
    assert len(fingerprinted) > 10
    assert fingerprinted <= set(read)


def test_a_fold_that_is_stored_while_an_aggregate_is_computed_outdates_it(finished: Workbench) -> None:
    planned = evaluation.planned_folds

    def meanwhile(*read: Any) -> Any:
        with another_fit():
            assert not materialise_alone(finished, "production_fold", FOLD)["failed"]
        return planned(*read)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "planned_folds", meanwhile)
        assert not materialise_alone(finished, "oos_portfolio")["failed"]
    assert FOLD in str(why(finished, "oos_portfolio"))
    assert not materialise_alone(finished, "oos_portfolio")["failed"]
    assert why(finished, "oos_portfolio") is None
