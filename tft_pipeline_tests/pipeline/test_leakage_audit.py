"""The audit as an asset: its table is stored and shown, its check blocks, and a declared overlap is told without blocking."""

from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import pytest

from tft_pipeline.domain.leakage import Finding
from tft_pipeline.domain.reports import LeakageAudit
from tft_pipeline.pipeline import guards
from tft_pipeline.pipeline.assets.audit import CHECK, guard_picture
from tft_pipeline.pipeline.guards import GUARDS, Guard
from tft_pipeline.pipeline.runs import QUIET
from tft_pipeline_tests.conftest import Workbench, write_experiment
from tft_pipeline_tests.stored import stored_report


def table_of(*found: Finding) -> tuple[Guard, ...]:
    """The first guards of the table, each with a finding of ours."""
    return tuple(replace(guard, examine=lambda _, one=one: one) for guard, one in zip(GUARDS, found, strict=False))


HELD = Finding(tried="a thing", passed=True, detail="")
LEAKED = Finding(tried="a thing", passed=False, detail="bar 3 knew bar 4")
UNTRIED = Finding(tried="nothing", passed=None, detail="not verifiable: mood came with the source")


def audited(bench: Workbench) -> dg.ExecuteInProcessResult:
    with bench.instance() as instance:
        return bench.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[bench.graph.key("leakage_audit")],
            run_config=QUIET,
            raise_on_error=False,
        )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.MetadataValue]:
    (event,) = result.get_asset_materialization_events()
    return dict(event.materialization.metadata)


def test_the_table_and_a_picture_of_it_are_shown(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "GUARDS", table_of(HELD, UNTRIED))
    result = audited(finished)
    assert result.success
    shown = metadata_of(result)
    assert isinstance(shown["guards"], dg.TableMetadataValue)
    assert [row.data["passed"] for row in shown["guards"].records] == ["held", "not verifiable or not used"]
    assert "data:image/png" in str(shown["picture"].value)
    (check,) = result.get_asset_check_evaluations()
    assert check.check_name == CHECK
    assert check.passed
    assert check.metadata["not_verifiable_or_not_used"].value == GUARDS[1].name


def test_a_leak_is_stored_and_the_check_blocks(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "GUARDS", table_of(HELD, LEAKED, UNTRIED))
    result = audited(finished)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert check.blocking
    assert check.description == f"{GUARDS[1].name}: bar 3 knew bar 4"
    stored = stored_report(finished, LeakageAudit, "leakage_audit")
    assert not stored.passed
    assert [row["passed"] for row in stored.rows] == [True, False, None]
    assert stored.rows[1]["claim"] == GUARDS[1].claim


@pytest.mark.parametrize("other_leak", [False, True])
def test_a_declared_overlap_is_told_and_blocks_only_with_another_leak(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch, other_leak: bool
) -> None:
    write_experiment(finished.folder, {"periods.overlap": "allowed"})
    overlap = tuple(guard for guard in GUARDS if guard.name == "research_ends_before_production")
    monkeypatch.setattr(guards, "GUARDS", (*table_of(LEAKED if other_leak else HELD), *overlap))
    result = audited(finished)
    assert result.success is not other_leak
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity == (dg.AssetCheckSeverity.ERROR if other_leak else dg.AssetCheckSeverity.WARN)
    assert "periods.overlap is allowed" in str(check.description)


def test_a_table_without_guards_is_refused(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "GUARDS", ())
    assert not audited(finished).success


def test_the_picture_has_a_line_a_guard() -> None:
    rows = [{"guard": name, "passed": passed} for name, passed in (("a", True), ("b", False), ("c", None))]
    assert "data:image/png" in str(guard_picture(rows).value)


def test_the_audit_stands_before_what_is_told_and_released(finished: Workbench) -> None:
    assets = finished.definitions.resolve_asset_graph()
    key: Callable[[str], dg.AssetKey] = finished.graph.key
    assert key("leakage_audit") in assets.get(key("model_card")).parent_keys
    checks = assets.get_check_keys_for_assets({key("leakage_audit")})
    assert {check.name for check in checks} == {CHECK}
