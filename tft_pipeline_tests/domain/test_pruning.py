"""Phase 3 as a record."""

import numpy as np
import pytest

from tft_pipeline.domain.phases import PruningSection
from tft_pipeline.domain.pruning import METHOD, pruned
from tft_pipeline.domain.reports import ExplorationFold, PrefilteredFeatures
from tft_pipeline.domain.selection import FILLED_UP, select_features

NAMES = ("vix_level", "px_ret_1", "px_ret_5", "px_gap", "z_21", "z_63")
DROPPED = (
    {"feature": "px_flat", "reason": "constant", "value": 1.0, "limit": 2, "partner": None},
    {"feature": "px_twin", "reason": "collinear", "value": 0.99, "limit": 0.97, "partner": "px_ret_1"},
    {"feature": "z_twin", "reason": "collinear", "value": 0.98, "limit": 0.97, "partner": "z_sum"},
    {"feature": "z_sum", "reason": "rank_deficient", "value": 1e-9, "limit": 1e-6, "partner": "z_63"},
    {"feature": "z_mix", "reason": "rank_deficient", "value": 1e-9, "limit": 1e-6, "partner": "z_21, z_63"},
)
PREFILTERED = PrefilteredFeatures(kept=NAMES, dropped=DROPPED, first="a", last="b", n_rows=9)


def folds(
    n: int = 4, *, seed: int = 0, names: tuple[str, ...] = NAMES, importance: bool = True
) -> list[ExplorationFold]:
    rng = np.random.default_rng(seed)
    level = np.exp(-np.arange(len(names)))
    made = []
    for m in range(n):
        raw = level * rng.lognormal(0.0, 0.2, (3, len(names)))
        shadow = rng.uniform(0.02, 0.06, (3, 19))
        total = raw.sum(axis=1, keepdims=True) + shadow.sum(axis=1, keepdims=True)
        slots = [f"shadow_{k}_{m}" for k in range(19)]  # other folds draw other features
        by_seed = [
            dict(zip((*names, *slots), np.concatenate(row).tolist(), strict=True))
            for row in zip(raw / total, shadow / total, strict=True)
        ]
        mean = {name: float(np.mean([row[name] for row in by_seed])) for name in by_seed[0]}
        made.append(
            ExplorationFold(
                key=f"f200{m}-01-03",
                spec_sha256="0",
                weights={name: mean[name] for name in names},
                shadow_weights={name: mean[name] for name in slots},
                weights_by_seed=tuple(by_seed),
                best_epochs=(1, 1, 1),
                validation_losses=(0.1, 0.1, 0.1),
                test_sharpes_annual=(None, None, None),
                missing={},
                seconds=1.0,
                importance=dict(zip(names, (level + rng.normal(0, 1e-4, len(names))).tolist(), strict=True))
                if importance
                else {},
                n_permutations=int(importance),
            )
        )
    return made


def test_the_record_is_the_choice_with_what_it_rests_on() -> None:
    made = folds()
    found = pruned(made, PREFILTERED, PruningSection(min_features=1))
    weights = np.array([[fold.weights[name] for name in NAMES] for fold in made])
    shadow = np.array([list(fold.shadow_weights.values()) for fold in made])
    plain = select_features(weights, shadow, NAMES, max_features=73, min_features=1)
    assert found.features == plain.kept
    assert found.thresholds == dict(zip([fold.key for fold in made], plain.thresholds, strict=True))
    assert found.shadow_level == 0.95
    assert all(row["seed_spread"] > 0.0 for row in found.rows)
    assert found.agreement is not None
    assert list(found.agreement["by_fold"]) == [fold.key for fold in made]
    assert found.agreement["of_means"] == pytest.approx(1.0)
    assert found.undefined == {}
    again = type(found).model_validate_json(found.model_dump_json())
    assert again == found
    assert again.content_sha256() == found.content_sha256()


def test_the_summary_counts_all_features_there_were_and_those_filled_up() -> None:
    found = pruned(folds(), PREFILTERED, PruningSection(threshold=0.2, min_features=4, max_features=4))
    assert found.summary == {
        "initial": 11,
        "after_prefilter": 6,
        "selected": 4,
        "filled_up": sum(row["reason"] == FILLED_UP for row in found.rows),
        "reduction": pytest.approx(1 - 4 / 11),
        "method": METHOD,
    }
    assert found.summary["filled_up"] > 0
    assert found.shadow_level is None


def test_a_dropped_feature_is_named_beside_the_one_that_stands_for_it() -> None:
    found = pruned(folds(), PREFILTERED, PruningSection(threshold=0.1, min_features=1))
    assert set(found.features) == {"vix_level", "px_ret_1"}
    beside = {row["feature"]: (row["stands_for_it"], row["stand_in_kept"]) for row in found.dropped}
    assert beside == {
        "px_flat": (None, None),
        "px_twin": ("px_ret_1", True),
        "z_twin": ("z_63", False),  # its partner was itself dropped later
        "z_sum": ("z_63", False),
        "z_mix": (None, None),  # two together stand for it
    }
    assert [row["feature"] for row in found.dropped] == [row["feature"] for row in DROPPED]


def test_one_fold_only_chooses_and_says_what_is_missing() -> None:
    found = pruned(folds(1), PREFILTERED, PruningSection(min_features=1))
    assert found.features[0] == "vix_level"
    assert (found.nogueira, found.kendall_w) == (None, None)
    assert "one fold" in found.undefined["nogueira"]
    assert found.agreement is not None
    assert found.agreement["standard_error"] is None
    assert {row["standard_error"] for row in found.rows} == {None}


def test_importance_that_some_fold_lacks_is_not_averaged() -> None:
    made = [*folds(2), *folds(4, importance=False)[2:]]
    found = pruned(made, PREFILTERED, PruningSection())
    assert found.agreement is None
    assert "not measured in all folds" in found.undefined["agreement"]
    assert {row["importance"] for row in found.rows} == {None}


def test_folds_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="no exploration fold"):
        pruned([], PREFILTERED, PruningSection())
    with pytest.raises(ValueError, match=r"phase 1 kept 6; they differ in \['z_63'\].* materialise"):
        pruned(folds(names=NAMES[:5]), PREFILTERED, PruningSection())
    other = folds()
    other[2] = folds(names=NAMES[:5])[2]
    with pytest.raises(ValueError, match="fold f2002-01-03 weighs 5 features and 19 shadows"):
        pruned(other, PREFILTERED, PruningSection())


def test_more_shadows_than_features_and_a_single_kept_feature_are_fine() -> None:
    found = pruned(
        folds(names=NAMES[:3]), PREFILTERED.model_copy(update={"kept": NAMES[:3]}), PruningSection(min_features=1)
    )
    assert found.shadow_level == 0.95
    one = pruned(folds(), PREFILTERED, PruningSection(max_features=1, min_features=1))
    assert one.features == ("vix_level",)
    assert one.rows[1]["reason"] == "beyond max_features 1"
