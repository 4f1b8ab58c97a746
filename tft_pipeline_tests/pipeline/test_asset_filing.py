"""What a stranger reads in the UI: every asset, check, job, field, schedule and sensor says what it is."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import dagster as dg
import pytest

from tft_pipeline.domain.gate_names import GATES
from tft_pipeline.pipeline.asset_filing import FILED, GROUPS, NOBODY, WATCHED
from tft_pipeline.pipeline.gate_claims import CLAIMS
from tft_pipeline.storage.layout import PROJECT_ROOT
from tft_pipeline_tests.conftest import Workbench

Make = Callable[..., Workbench]
GRAIN = re.compile(r"\b[Oo]ne (row\sa\s.+|record|page)\.$", re.DOTALL)
CLAIM = re.compile(r"(^|_)(is|are|do|does|look|found|chose|loses|keeps|kept|has|holds)(_|$)")
"""A claim has a verb; a topic has none."""
PATHS = {"research_paths": {"groups": 4, "test_groups": 2, "epochs": 1, "validation": 20, "embargo": 0}}


@pytest.fixture
def definitions(workbench: Make) -> dg.Definitions:
    """The small experiment with every asset there can be."""
    return workbench(changes=PATHS).definitions


def test_every_asset_that_there_can_be_is_filed_and_no_other(definitions: dg.Definitions) -> None:
    assert {key.path[-1] for key in definitions.resolve_asset_graph().get_all_asset_keys()} == set(FILED)


def test_every_asset_has_a_group_kinds_tags_an_owner_and_a_description_that_ends_with_its_grain(
    definitions: dg.Definitions,
) -> None:
    for node in definitions.resolve_asset_graph().asset_nodes:
        name = node.key.path[-1]
        assert node.group_name in {f"small_{group}" for group in GROUPS}, name
        assert 1 <= len(node.kinds) <= 3, name
        assert {key for key in node.tags if "/" not in key} == {"phase", "sees", "grain", "cost"}, name
        assert node.owners == [NOBODY], name
        assert GRAIN.search(node.description or ""), f"{name}: {node.description}"


def test_an_assets_parents_are_never_in_a_later_group(definitions: dg.Definitions) -> None:
    assets = definitions.resolve_asset_graph()
    assert sorted(GROUPS) == list(GROUPS), "the UI sorts groups by name"
    for node in assets.asset_nodes:
        for parent in node.parent_keys:
            assert str(assets.get(parent).group_name) <= str(node.group_name), f"{parent} -> {node.key}"


def test_every_check_is_a_claim_and_says_it_as_a_sentence(definitions: dg.Definitions) -> None:
    assets = definitions.resolve_asset_graph()
    assert set(CLAIMS) == set(GATES)
    assert {"features", "leakage_audit", "release"} <= {key.asset_key.path[-1] for key in assets.asset_check_keys}
    for key in assets.asset_check_keys:
        assert CLAIM.search(key.name), key.name
        assert (assets.get_check_spec(key).description or "").count(".") >= 1, key.name


def test_every_job_op_schedule_and_sensor_says_when_to_use_it(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    shown = [*(definitions.jobs or ()), *repository.schedule_defs, *repository.sensor_defs]
    assert {job.name for job in definitions.jobs or ()} == {f"small_{task}" for task in TASKS}
    for one in shown:
        assert len(one.description or "") > 60, one.name
    for task in TASKS:
        for node in definitions.resolve_job_def(f"small_{task}").graph.node_defs:
            assert node.description, node.name


TASKS = (
    "run_everything",
    "rerun_failed_folds",
    "retrain",
    "deploy",
    "roll_back",
    "status",
    "prune",
    "measure_drift",
    "new_bars",
    "judge_night",
    "purge_comparison",
)


def fields_of(definitions: dg.Definitions, job: str) -> Iterator[tuple[str, dg.Field]]:
    """The fields that a job's launchpad shows below `ops`, by op and name."""
    schema = definitions.resolve_job_def(job).run_config_schema.config_type
    for op, field in schema.fields["ops"].config_type.fields.items():  # type: ignore[attr-defined]
        config = field.config_type.fields.get("config")
        for name, own in getattr(getattr(config, "config_type", None), "fields", {}).items():
            yield f"{op}.{name}", own


def test_every_field_of_the_launchpad_is_described_and_has_a_default(definitions: dg.Definitions) -> None:
    found = {name: field for task in TASKS for name, field in fields_of(definitions, f"small_{task}")}
    assert set(found) == {
        "small_drive.resume",
        "small_drive.until",
        "small_make_live.release",
        "small_make_live.reason",
        "small_make_live.override",
        "small_go_back.to",
        "small_go_back.reason",
        "small_look.at",
        "small_remove.keep",
        "small_remove.dry_run",
        "small__purge_comparison.overlap",
    }
    for name, field in found.items():
        assert field.description, name
        assert not field.is_required, name


@pytest.mark.parametrize(
    ("job", "op", "config", "words"),
    [
        ("run_everything", "drive", {"until": "nowhere"}, "nowhere"),
        ("run_everything", "drive", {"resum": True}, "resum"),
        ("rerun_failed_folds", "repair", {"folds": "all"}, "folds"),
        ("retrain", "catch_up", {"resume": False}, "resume"),
        ("prune", "remove", {"keep": "few"}, "keep"),
    ],
)
def test_a_bad_value_in_the_launchpad_is_refused_before_anything_runs(
    job: str, op: str, config: dict[str, object], words: str, definitions: dg.Definitions
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=words):
        definitions.resolve_job_def(f"small_{job}").execute_in_process(
            run_config={"ops": {f"small_{op}": {"config": config}}}
        )


@pytest.mark.parametrize(
    ("named", "shown"),
    [("desk@example.org", "desk@example.org"), ("Equity research", "team:Equity research")],
)
def test_the_owner_is_the_one_of_the_experiment_file(named: str, shown: str, workbench: Make) -> None:
    nodes = workbench(changes={"card.owner": named}).definitions.resolve_asset_graph().asset_nodes
    assert {tuple(node.owners) for node in nodes} == {(shown,)}


@pytest.mark.parametrize("hours", [None, 80])
def test_freshness_is_judged_only_where_the_file_says_how_often_bars_come(hours: int | None, workbench: Make) -> None:
    changes = {} if hours is None else {"drift.fresh_within_hours": hours}
    nodes = workbench(changes=changes).definitions.resolve_asset_graph().asset_nodes
    found = {node.key.path[-1]: node.freshness_policy for node in nodes if node.freshness_policy is not None}
    policy = dg.FreshnessPolicy.time_window(timedelta(hours=hours or 1))
    assert found == ({} if hours is None else dict.fromkeys(WATCHED, policy))


def test_the_page_about_the_ui_names_what_there_is_and_nothing_else(definitions: dg.Definitions) -> None:
    page = (PROJECT_ROOT / "docs" / "ui.md").read_text()
    repository, assets = definitions.get_repository_def(), definitions.resolve_asset_graph()
    own = {*GROUPS, *TASKS, "drive"}
    own |= {one.name.removeprefix("small_") for one in (*repository.schedule_defs, *repository.sensor_defs)}
    named = set(re.findall(r"\bdemo_(\w+)", page))
    assert named == {one for one in own if one != "reap_dead_runs"}
    cells = set(re.findall(r"`([\w-]+)`", page))
    fields = {name.split(".")[1] for task in TASKS for name, _ in fields_of(definitions, f"small_{task}")}
    checks = {key.name for key in assets.asset_check_keys}
    kinds = {kind for node in assets.asset_nodes for kind in node.kinds}
    values = {place for one in FILED.values() for place in (one.group[2:], one.sees, one.grain, one.cost)}
    assert cells >= {"reap_dead_runs", *fields, *checks, *kinds, *values}
    listed = [line.split("|") for line in page.split("## Checks")[1].split("## Schedules")[0].splitlines()]
    claims = [row[2].strip().strip("`") for row in listed if len(row) == 5][2:]
    assert set(claims) == checks
    assert claims[-len(GATES) :] == [CLAIMS[gate][0] for gate in GATES]
