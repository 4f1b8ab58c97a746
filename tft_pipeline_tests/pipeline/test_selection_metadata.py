"""What the UI shows of phases 1 to 3: the notes' two tables, reasons, intervals, and pictures that are drawn."""

import base64
import re
import struct
from typing import Any

import dagster as dg
import pytest

from tft_pipeline.domain.phases import PruningSection
from tft_pipeline.domain.pruning import pruned
from tft_pipeline.pipeline.plots import STANDINGS
from tft_pipeline.pipeline.selection_metadata import (
    fold_metadata,
    prefilter_metadata,
    reason_counts,
    selection_metadata,
)
from tft_pipeline_tests.domain.test_pruning import DROPPED, PREFILTERED, folds
from tft_pipeline_tests.report_records import made_records


def rows_of(value: Any) -> list[dict[str, Any]]:
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def size_of(value: Any) -> tuple[int, int]:
    """Width and height of the PNG inside Markdown."""
    assert isinstance(value, dg.MarkdownMetadataValue)
    found = re.search(r"data:image/png;base64,([^)]+)\)", str(value.value))
    assert found
    width, height = struct.unpack(">II", base64.b64decode(found[1])[16:24])
    return width, height


def test_phase_one_shows_every_drop_with_its_partner_and_counts_reasons() -> None:
    shown = prefilter_metadata(PREFILTERED)
    named = [(row["feature"], row["reason"], row["partner"]) for row in rows_of(shown["dropped"])]
    assert named == [(row["feature"], row["reason"], row["partner"]) for row in DROPPED]
    assert reason_counts(PREFILTERED) == {"kept": 6, "collinear": 2, "rank_deficient": 2, "constant": 1}
    assert size_of(shown["counts"])[0] > 600
    assert rows_of(prefilter_metadata(PREFILTERED.model_copy(update={"dropped": ()}))["dropped"]) == []


def test_a_fold_shows_its_seeds_and_importance_with_its_share_of_the_time_where_it_was_measured() -> None:
    (fold,) = folds(1)
    n = len(fold.best_epochs)
    spec = made_records(n_bars=40, n_folds=1).plan.specs[0].model_copy(update={"seeds": tuple(range(n))})
    epochs = [{"epoch": k, "train_loss": 1.0, "validation_loss": 2.0} for k in range(max(fold.best_epochs) + 1)]
    shown = fold_metadata(fold, [epochs] * n, spec, 0.2)
    assert shown["importance_share_of_fold"] == pytest.approx(0.2)
    assert size_of(shown["picture"])
    assert [(row["seed"], row["best_epoch"], row["validation_loss"]) for row in rows_of(shown["seeds"])] == [
        (k, fold.best_epochs[k], pytest.approx(fold.validation_losses[k])) for k in range(n)
    ]
    (without,) = folds(1, importance=False)
    shown = fold_metadata(without, [epochs] * n, spec, 0.0)
    assert "importance_seconds" not in shown
    assert size_of(shown["picture"])


def test_phase_three_shows_the_notes_tables_and_three_pictures() -> None:
    made = folds()
    pruning = PruningSection(min_features=1)
    record = pruned(made, PREFILTERED, pruning)
    shown = selection_metadata(record, made, pruning, 0.0042)
    first = rows_of(shown["features"])[0]
    assert (first["rank"], first["feature"]) == (1, "vix_level")
    assert first["weight_percent"] == pytest.approx(100.0 * record.rows[0]["weight"], abs=1e-6)
    assert first["stability_percent"] == 100.0
    assert {"reason", "standard_error", "seed_spread", "importance"} <= set(first)
    assert [(row["group"], row["kept"]) for row in rows_of(shown["groups"])] == [
        (row["group"], row["kept"]) for row in record.groups
    ]
    (summary,) = rows_of(shown["summary"])
    assert (summary["initial"], summary["selected"]) == (11, len(record.features))
    assert [row["stands_for_it"] for row in rows_of(shown["dropped_in_phase_1"])][1] == "px_ret_1"
    assert shown["seconds"] == 0.0042
    assert shown["rank_agreement"] == record.agreement["mean"]
    for name in ("weights", "stability", "weights_by_fold"):
        assert size_of(shown[name])[1] > 100


def test_a_figure_that_does_not_exist_is_shown_with_its_reason() -> None:
    made = folds(1, importance=False)
    shown = selection_metadata(pruned(made, PREFILTERED, PruningSection()), made, PruningSection(), 0.0)
    assert shown["nogueira"] == "undefined: one fold: there is nothing to compare it with"
    assert "not measured in all folds" in shown["rank_agreement"]
    assert size_of(shown["weights"])


def test_features_filled_up_have_a_colour_and_a_mark_of_their_own() -> None:
    """The same features, filled up or kept by right: the pictures must differ."""
    made = folds()
    record = pruned(made, PREFILTERED, PruningSection(min_features=5))
    assert record.summary["filled_up"] > 0
    earned = record.model_copy(update={"rows": tuple({**row, "reason": "above threshold"} for row in record.rows)})
    shown, other = (selection_metadata(one, made, PruningSection(), 0.0) for one in (record, earned))
    for name in ("weights", "stability"):
        assert shown[name].value != other[name].value
    assert shown["weights_by_fold"].value == other["weights_by_fold"].value
    colours, hatches, marks = ({row[k] for row in STANDINGS} for k in (2, 3, 4))
    assert (len(colours), len(marks)) == (3, 3)
    assert len(hatches) == 2  # without colour, filled up differs from kept
