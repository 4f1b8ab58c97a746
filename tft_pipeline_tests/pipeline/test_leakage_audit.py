"""The audit as an asset: its table is stored and shown, its check blocks, and a declared overlap is told without blocking."""

from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import polars as pl
import pytest

from tft_pipeline.domain.findings import LeakageAudit
from tft_pipeline.domain.leakage import Finding
from tft_pipeline.domain.leakage_periods import OVERLAP_DECLARED
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.pipeline import guards
from tft_pipeline.pipeline.assets.audit import CHECK, guard_picture, minute_rows, published_rows
from tft_pipeline.pipeline.assets.snapshot import taken_bars
from tft_pipeline.pipeline.guards import GUARDS, Guard
from tft_pipeline.pipeline.runs import QUIET, failure_of
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.snapshots import Snapshot, read_snapshot
from tft_pipeline_tests.conftest import Workbench, random_bars, write_experiment
from tft_pipeline_tests.oracles.minute_bars import daily_bars, minute_bars
from tft_pipeline_tests.stored import stored_report


def table_of(*found: Finding) -> tuple[Guard, ...]:
    """The first guards of the table, each with a finding of ours."""
    return tuple(replace(guard, examine=lambda _, one=one: one) for guard, one in zip(GUARDS, found, strict=False))


HELD = Finding(tried="a thing", state="held", detail="")
LEAKED = Finding(tried="a thing", state="leak", detail="bar 3 knew bar 4")
UNUSED = Finding(tried="nothing", state="not_used", detail="no context")
UNTRIED = Finding(tried="nothing", state="not_verifiable", detail="mood came with the source")


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
    monkeypatch.setattr(guards, "GUARDS", table_of(HELD, UNTRIED, HELD, UNUSED))
    result = audited(finished)
    assert result.success
    shown = metadata_of(result)
    assert isinstance(shown["guards"], dg.TableMetadataValue)
    assert [row.data["state"] for row in shown["guards"].records] == ["held", "not verifiable", "held", "not used"]
    assert {state: shown[state].value for state in ("held", "leak", "not_used", "not_verifiable")} == {
        "held": 2,
        "leak": 0,
        "not_used": 1,
        "not_verifiable": 1,
    }
    assert "data:image/png" in str(shown["picture"].value)
    (check,) = result.get_asset_check_evaluations()
    assert check.check_name == CHECK
    assert check.passed
    assert check.metadata["not_verifiable"].value == GUARDS[1].name
    assert check.metadata["not_used"].value == GUARDS[3].name
    assert check.description == "no guard found a leak: 2 held, 1 not used, 1 not verifiable"
    stored = stored_report(finished, LeakageAudit, "leakage_audit")
    assert [(row["state"], row["passed"]) for row in stored.rows] == [
        ("held", True),
        ("not_verifiable", None),
        ("held", True),
        ("not_used", None),
    ]
    assert stored.plan_sha256 == stored_report(finished, FoldPlanReport, "production_plan").content_sha256()


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
    assert check.passed is not other_leak
    assert check.severity == (dg.AssetCheckSeverity.ERROR if other_leak else dg.AssetCheckSeverity.WARN)
    assert "periods.overlap is allowed" in str(check.description)
    assert not stored_report(finished, LeakageAudit, "leakage_audit").passed


def probe_runs(bench: Workbench) -> int:
    """How often an asset behind the audit is asked for that waits for nothing but its blocking checks."""

    @dg.asset(
        deps=[bench.graph.key("leakage_audit")],
        automation_condition=dg.AutomationCondition.all_deps_blocking_checks_passed(),
    )
    def probe() -> None: ...

    definitions = dg.Definitions.merge(bench.definitions, dg.Definitions(assets=[probe]))
    with bench.instance() as instance:
        found = dg.evaluate_automation_conditions(
            definitions, instance, asset_selection=dg.AssetSelection.assets(probe)
        )
    return found.total_requested


def test_what_follows_a_declared_overlap_runs_by_itself_and_what_follows_a_leak_does_not(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_experiment(finished.folder, {"periods.overlap": "allowed"})
    overlap = tuple(guard for guard in GUARDS if guard.name == "research_ends_before_production")
    monkeypatch.setattr(guards, "GUARDS", overlap)
    assert audited(finished).success
    assert probe_runs(finished) == 1
    monkeypatch.setattr(guards, "GUARDS", table_of(LEAKED))
    assert not audited(finished).success
    assert probe_runs(finished) == 0


def test_a_second_finding_of_the_same_guard_is_no_declared_overlap(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_experiment(finished.folder, {"periods.overlap": "allowed"})
    (guard,) = (one for one in GUARDS if one.name == "research_ends_before_production")
    twice = Finding(tried="", state="leak", detail=f"{OVERLAP_DECLARED}2021; 1 production folds have settings")
    monkeypatch.setattr(guards, "GUARDS", (replace(guard, examine=lambda _: twice),))
    assert not audited(finished).success


def test_a_source_that_changed_since_the_snapshot_cannot_be_read_again(finished: Workbench) -> None:
    snapshot = read_snapshot(read_artifact(finished.layout.artifact("small", "snapshot")))
    read = published_rows(finished.graph, snapshot)
    assert read is not None
    assert read().equals(snapshot.bars)
    random_bars(419).write_parquet(finished.folder / "bars.parquet")
    assert published_rows(finished.graph, snapshot) is None
    (finished.folder / "bars.parquet").unlink()
    assert published_rows(finished.graph, snapshot) is None


def test_minutes_that_changed_since_the_snapshot_cannot_be_read_again(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(
        daily_bars(4), {"data.min_bars": 2, "data.minute_source": "minutes.parquet", "features.groups": ["intra"]}
    )
    minutes, path = minute_bars(4), bench.folder / "minutes.parquet"
    minutes.write_parquet(path)
    taken = taken_bars(bench.graph.file)
    snapshot = Snapshot(bars=taken.bars, manifest={"source": taken.source, "minute_source": taken.minute_source})
    read = minute_rows(bench.graph, snapshot)
    assert read is not None
    first, last = taken.bars["timestamp"].unique().sort()[1], taken.bars["timestamp"].max()
    inside = minutes.filter((pl.col("timestamp") > first) & (pl.col("timestamp") <= last))
    assert read(taken.bars.filter(pl.col("timestamp") >= first)).sort("symbol", "timestamp").equals(inside)
    assert minute_rows(bench.graph, replace(snapshot, manifest={"source": taken.source})) is None
    minutes.head(-1).write_parquet(path)
    assert minute_rows(bench.graph, snapshot) is None
    path.unlink()
    assert minute_rows(bench.graph, snapshot) is None


def test_a_check_that_only_warns_is_not_why_a_run_failed() -> None:
    @dg.asset
    def first() -> int:
        return 1

    @dg.asset_check(asset=first)
    def warns() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="only told")

    @dg.asset
    def second(first: int) -> int:
        raise dg.Failure(f"{first} is wrong", allow_retries=False)

    result = dg.materialize([first, warns, second], raise_on_error=False)
    assert failure_of(result, "x") == ("second", "1 is wrong")


def test_a_table_without_guards_is_refused(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "GUARDS", ())
    assert not audited(finished).success


def test_the_picture_has_a_line_a_guard() -> None:
    rows = [{"guard": name, "state": state} for name, state in (("a", "held"), ("b", "leak"), ("c", "not_used"))]
    assert "data:image/png" in str(guard_picture(rows).value)


def test_the_audit_stands_before_what_is_told_and_released(finished: Workbench) -> None:
    assets = finished.definitions.resolve_asset_graph()
    key: Callable[[str], dg.AssetKey] = finished.graph.key
    assert key("leakage_audit") in assets.get(key("model_card")).parent_keys
    checks = assets.get_check_keys_for_assets({key("leakage_audit")})
    assert {check.name for check in checks} == {CHECK}
