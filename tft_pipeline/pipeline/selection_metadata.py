"""What the assets of phases 1 to 3 show of their records in the UI. Not here: the records, the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from tft_pipeline.domain.phases import PruningSection
from tft_pipeline.domain.reports import ExplorationFold, FoldSpec, PrefilteredFeatures, SelectedFeatures
from tft_pipeline.domain.selection import standing
from tft_pipeline.pipeline.fold_plots import History, exploration_picture
from tft_pipeline.pipeline.outputs import table
from tft_pipeline.pipeline.plots import bar_picture, heat_picture, interval_picture, stability_picture

SHOWN_BARS, SHOWN_ROWS = 25, 40
"""Features in a picture of bars and in one of rows."""
OVERLAP = "folds share training bars, so that errors over folds are lower bounds"


def reason_counts(record: PrefilteredFeatures) -> dict[str, int]:
    """Features kept, then dropped by reason, most first."""
    found: dict[str, int] = {}
    for row in record.dropped:
        found[str(row["reason"])] = found.get(str(row["reason"]), 0) + 1
    return {"kept": len(record.kept), **dict(sorted(found.items(), key=lambda item: -item[1]))}


def prefilter_metadata(record: PrefilteredFeatures) -> dict[str, Any]:
    """Phase 1: counts, every drop with its partner, the picture."""
    counts = {name: float(n) for name, n in reason_counts(record).items()}
    return {
        "n_kept": len(record.kept),
        "n_dropped": len(record.dropped),
        "judged_to": record.last,
        "rank_unchecked": list(record.rank_unchecked),
        "dropped": table([dict(row) for row in record.dropped]),
        "counts": bar_picture(counts, title="features kept and dropped, by reason", label="features"),
    }


def fold_metadata(
    record: ExplorationFold, histories: Sequence[History], spec: FoldSpec, importance_seconds: float
) -> dict[str, Any]:
    """Phase 2, one fold: how each seed learned, the largest weights against the largest shadow, importance where measured.

    Args:
        histories: of each seed, as `fit_fold` tells them.
    """
    seeds = zip(
        spec.seeds, histories, record.best_epochs, record.validation_losses, record.test_sharpes_annual, strict=True
    )
    shown: dict[str, Any] = {
        "spec_sha256": record.spec_sha256,
        "picture": exploration_picture(record, histories, spec),
        "seeds": table(
            [
                {
                    "seed": seed,
                    "epochs": len(history),
                    "best_epoch": best,
                    "validation_loss": loss,
                    "test_sharpe_annual": "undefined" if ratio is None else f"{ratio:.3f}",
                }
                for seed, history, best, loss, ratio in seeds
            ]
        ),
        "seconds": record.seconds,
    }
    if record.importance:
        shown |= {
            "n_permutations": record.n_permutations,
            "importance_seconds": importance_seconds,
            "importance_share_of_fold": importance_seconds / record.seconds,
        }
    return shown


def selection_metadata(
    record: SelectedFeatures, folds: Sequence[ExplorationFold], pruning: PruningSection, seconds: float
) -> dict[str, Any]:
    """Phase 3: the notes' summary and two tables, agreement, pictures.

    Args:
        seconds: what the choice took.
    """
    limit = sum(record.thresholds.values()) / len(record.thresholds)
    level = "" if record.shadow_level is None else f" (shadow level {record.shadow_level:.2f})"
    shown: dict[str, Any] = {
        "n_selected": len(record.features),
        "seconds": seconds,
        "summary": table([record.summary]),
        "features": table([feature_row(row) for row in record.rows]),
        "groups": table([dict(row) for row in record.groups]),
        "dropped_in_phase_1": table([dict(row) for row in record.dropped]),
        "nogueira": _or_reason(record, "nogueira", None if record.nogueira is None else record.nogueira["phi"]),
        "kendall_w": _or_reason(record, "kendall_w", record.kendall_w),
        "rank_agreement": _or_reason(
            record, "agreement", None if record.agreement is None else record.agreement["mean"]
        ),
        "weights": interval_picture(
            [
                {
                    "name": row["feature"],
                    "value": row["weight"],
                    "low": row["low"],
                    "high": row["high"],
                    "standing": standing(row),
                }
                for row in record.rows[:SHOWN_BARS]
            ],
            title=f"mean VSN weight, 95 % interval over {len(folds)} fold(s); {OVERLAP}",
            label=f"weight{level}",
            line=limit,
        ),
        "stability": stability_picture(
            [{**row, "standing": standing(row)} for row in record.rows],
            title="stability against weight",
            least=pruning.min_stability,
            line=limit,
        ),
        "weights_by_fold": heat_picture(
            [[fold.weights[row["feature"]] for fold in folds] for row in record.rows[:SHOWN_ROWS]],
            [row["feature"] for row in record.rows[:SHOWN_ROWS]],
            [fold.key for fold in folds],
            title="VSN weight by feature and fold",
            label="weight",
        ),
    }
    return shown


def feature_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The notes' first table, rank, feature, weight and stability in percent, and what it rests on."""
    return {
        "rank": row["rank"],
        "feature": row["feature"],
        "weight_percent": 100.0 * row["weight"],
        "stability_percent": 100.0 * row["stability"],
        **{key: row[key] for key in ("kept", "reason", "standard_error", "seed_spread", "importance")},
    }


def _or_reason(record: SelectedFeatures, name: str, value: float | None) -> float | str:
    return f"undefined: {record.undefined.get(name, 'not recorded')}" if value is None else value
