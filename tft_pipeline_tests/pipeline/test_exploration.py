"""The plan of phase 2, through real materialisation."""

from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline_tests.conftest import Workbench, write_experiment


def test_a_fee_of_a_symbol_that_is_not_there_is_refused(finished: Workbench) -> None:
    version = finished.versions()["exploration_plan"]
    write_experiment(finished.folder, {"position": {"symbol_cost_bps": {"AAA": 1.0, "aaa": 2.0, "EUR/USD": 0.5}}})
    done = materialise_asset(finished.file, "exploration_plan", partition=None, downstream=False, report=print)
    (failed,) = done["failed"]
    assert failed["reason"] == (
        "exploration plan: position.symbol_cost_bps names 'EUR/USD', 'aaa', not in the snapshot (it has AAA, BBB, CCC, DDD): "
        "the symbol that is meant would be charged position.cost_bps, 5 bps; correct the name or remove the line"
    )
    assert finished.versions()["exploration_plan"] == version
