"""What the ledger of trials holds of a study, from the start of its trials on."""

from datetime import UTC, datetime
from typing import Any

from tft_pipeline.domain.reports import TrialRow
from tft_pipeline.pipeline.ledgers import record_study
from tft_pipeline.storage.scopes import Scope
from tft_pipeline.storage.trials import competing_trials


def row(number: int, state: str, **fields: Any) -> TrialRow:
    values: dict[str, Any] = {
        "params": {"network.dropout": 0.1},
        "sharpe_annual": None,
        "fold_sharpes": (),
        "returns": (),
    }
    return TrialRow(number=number, state=state, **(values | fields))


def test_a_trial_counts_once_from_its_start_to_its_returns_and_two_studies_do_not_collapse(workbench: Any) -> None:
    graph = workbench().graph
    first, last = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 6, 1, tzinfo=UTC)
    scope = Scope(frozenset("A"), "1d", first.date(), last.date())

    def remember(study: str, *rows: TrialRow) -> list[str]:
        record_study(graph, study, ["A"], first, last, [one.model_copy(update={"study": study}) for one in rows])
        return sorted(competing_trials(graph.layout.trials_ledger, scope).get("small", {}))

    earned = {"returns": (0.01, -0.02, 0.03), "scored": True}
    assert len(remember("one", row(0, "running"))) == 1
    assert len(remember("two", row(0, "running"))) == 2, "another study drew the same first values"
    assert len(remember("one", row(0, "complete", **earned))) == 2
    assert len(remember("one", row(0, "running"))) == 2, "a worker that had read the study before"
    assert len(remember("two", row(0, "fail"), row(1, "complete", **earned, replaces=0))) == 1, "the same returns"
    other = {"returns": (0.01, 0.02, 0.03), "scored": True}
    found = remember("two", row(0, "fail"), row(2, "fail", scored=True), row(3, "complete", **other, replaces=2))
    assert len(found) == 3, "of trial 2 a fold was scored"
