"""What runs by itself: the automation conditions, tick by tick, on a finished run of the small experiment."""

import dagster as dg
import pytest

from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.rerun_plan import RUNS, plan_run
from tft_pipeline.pipeline.runs import materialise
from tft_pipeline_tests.conftest import DOWNSTREAM, Workbench, random_bars, write_experiment
from tft_pipeline_tests.pipeline.test_partial_rerun import block
from tft_pipeline_tests.reruns import FOLD, aggregates, materialise_alone

pytestmark = pytest.mark.slow


class Ticks:
    """The daemon's loop without the daemon: evaluate, run what was requested, until two ticks ask for nothing."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.cursor: dg.AssetDaemonCursor | None = None

    def settle(self, limit: int = 20) -> list[tuple[str, str | None]]:
        """Everything that ran, in order."""
        ran: list[tuple[str, str | None]] = []
        idle = 0
        with self.bench.instance() as instance:
            for _ in range(limit):
                result = dg.evaluate_automation_conditions(self.bench.definitions, instance, cursor=self.cursor)
                self.cursor = result.cursor
                wanted = {
                    key: result.get_requested_partitions(key)
                    for key in (self.bench.graph.key(name) for name in self._names())
                }
                requested = [(key, part) for key, parts in wanted.items() for part in sorted(parts, key=str)]
                idle = 0 if requested else idle + 1
                if idle == 2:
                    return ran
                for key, part in requested:
                    materialise(self.bench.definitions, instance, [key], partition=part)
                    ran.append((key.path[-1], part))
        raise AssertionError(f"not settled after {limit} ticks: {ran}")

    def _names(self) -> list[str]:
        assets = self.bench.definitions.resolve_asset_graph()
        return [
            key.path[-1] for key in assets.toposorted_asset_keys if assets.get(key).automation_condition is not None
        ]


def test_nothing_is_requested_when_nothing_changed(finished: Workbench) -> None:
    assert Ticks(finished).settle() == []


def test_a_fold_re_run_with_identical_content_requests_nothing(finished: Workbench) -> None:
    ticks = Ticks(finished)
    ticks.settle()
    materialise_asset(finished.file, "production_fold", partition=FOLD, downstream=False, report=print)
    assert ticks.settle() == []


def test_a_changed_pruning_section_requests_pruning_and_what_its_content_changes(finished: Workbench) -> None:
    ticks = Ticks(finished)
    ticks.settle()
    write_experiment(finished.folder, {"pruning.min_features": 2, "pruning.max_features": 2})
    ran = ticks.settle()
    assert ran[0] == ("selected_features", None)
    folds = {("production_fold", fold) for fold in finished.folds()}
    expected = {("selected_features", None), ("tuned_hyperparameters", None), ("production_plan", None), *folds}
    assert set(ran) == expected | {(name, None) for name in DOWNSTREAM}
    assert len(ran) == len(set(ran)), "each ran once"


def test_new_bars_request_the_new_fold_only_and_the_aggregates_once(finished: Workbench) -> None:
    ticks = Ticks(finished)
    ticks.settle()
    old = finished.folds()
    random_bars(460).write_parquet(finished.folder / "bars.parquet")
    materialise_asset(finished.file, "snapshot", partition=None, downstream=False, report=print)
    ran = ticks.settle()
    new = [fold for fold in finished.folds() if fold not in old]
    assert len(new) == 1
    assert [part for name, part in ran if name == "production_fold"] == new
    assert not [name for name, _ in ran if name == "exploration_fold"]
    assert ran.count(("oos_portfolio", None)) == 1
    assert ran.count(("release", None)) == 1


@pytest.mark.fault("failed_fold")
def test_an_aggregate_too_early_is_refused_by_the_spec_a_failed_fold_holds_it_back_and_the_repair_asks_for_it_once(
    finished: Workbench,
) -> None:
    ticks = Ticks(finished)
    ticks.settle()
    write_experiment(finished.folder, {"production.epochs": 1})
    assert not materialise_alone(finished, "production_plan")["failed"]
    # as in the one tick between the plan's new specs and the folds made of them
    assert "older spec" in materialise_alone(finished, "oos_portfolio")["failed"][0]["reason"]

    obstacle = block(finished, FOLD)
    ran = ticks.settle()
    assert {name for name in ran if name[0] == "production_fold"} == {
        ("production_fold", fold) for fold in finished.folds()
    }
    assert not set(ran) & aggregates(), "the failed fold holds back what reads all of them"

    obstacle.unlink()
    assert not materialise_alone(finished, "production_fold", FOLD)["failed"]
    ran = ticks.settle()
    assert sorted(ran, key=str) == sorted(aggregates(), key=str)
    assert [step.asset for step in plan_run(finished.file).steps if step.state == RUNS] == ["snapshot"]
