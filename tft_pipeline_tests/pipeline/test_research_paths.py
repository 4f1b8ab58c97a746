"""The asset `research_paths`: there only when asked for, made from the tuned settings, in nobody's way."""

from tft_pipeline.domain.findings import ResearchPaths
from tft_pipeline.pipeline.assets.paths import path_assets
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline_tests.conftest import Workbench, write_experiment

SECTION = {"groups": 3, "test_groups": 2, "validation": 20, "embargo": 3, "epochs": 1}


def test_an_experiment_without_the_section_has_no_such_asset(finished: Workbench) -> None:
    assert path_assets(finished.graph) == []
    assert "research_paths" not in finished.versions()


def test_the_asset_scores_the_tuned_settings_and_only_the_report_shows_them(finished: Workbench) -> None:
    before = finished.versions()
    write_experiment(finished.folder, {"research_paths": SECTION})
    result = materialise_asset(finished.file, "research_paths", partition=None, downstream=True, report=print)
    assert not result["failed"], result
    assert result["assets"] == ["research_paths", "report"]
    found = ResearchPaths.model_validate_json((finished.artifact("research_paths") / REPORT_FILE).read_text())
    assert (len(found.splits), len(found.paths), len(found.groups)) == (3, 2, 3)
    assert found.spread["n_paths"] == 2
    assert found.groups[-1]["last"] < "2021-01-15"  # production starts there
    with finished.instance() as instance:
        event = instance.get_latest_materialization_event(finished.graph.key("research_paths"))
    assert event is not None
    assert event.asset_materialization is not None
    assert {"median", "share_below_zero", "paths", "splits", "picture"} <= set(event.asset_materialization.metadata)
    now = finished.versions()
    assert {name for name in before if now[name] != before[name]} == {"report"}


def test_blocks_that_cannot_be_validated_on_fail_with_the_remedy(finished: Workbench) -> None:
    write_experiment(finished.folder, {"research_paths": SECTION | {"groups": 12}})
    result = materialise_asset(finished.file, "research_paths", partition=None, downstream=False, report=print)
    assert "lower research_paths.groups" in result["failed"][0]["reason"]
