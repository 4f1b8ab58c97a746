"""What each gate claims of a release: the name of its check in the UI.

Not here: how gates are judged (`domain.release_gates`).
"""

import dagster as dg

from tft_pipeline.domain.gate_names import GATES
from tft_pipeline.pipeline.graph import ExperimentGraph

CLAIMS = {
    "bundle_verified": (
        "bundle_is_whole",
        "Every file has its hash, and every exported form answers as the network does.",
    ),
    "leakage_audit": ("leakage_audit_found_no_leak", "No guard found a leak, and at least one was tried and held."),
    "not_contaminated": ("scored_bars_chose_nothing", "No feature or setting was chosen on bars that are scored."),
    "probabilistic_sharpe_ratio": (
        "sharpe_ratio_is_above_zero",
        "The net Sharpe ratio is above zero with evaluation.min_psr confidence, after all looks at the period.",
    ),
    "deflated_sharpe_ratio": (
        "sharpe_ratio_is_more_than_search_luck",
        "The chosen trial is better than the best of that many worthless ones, with evaluation.min_dsr confidence.",
    ),
    "probability_of_loss": (
        "best_trial_seldom_loses",
        "The best trial of a part of the research period loses in at most evaluation.max_probability_of_loss of the rest.",
    ),
    "degradation": (
        "best_trial_keeps_its_sharpe_ratio",
        "The best trial loses at most evaluation.max_degradation of its Sharpe ratio out of sample.",
    ),
    "baselines": ("no_baseline_is_as_good", "No rule is as good, and no baseline is superior by StepM."),
    "verdict": ("verdict_is_go", "oos_performance found no reason against the model."),
    "latency_p95": (
        "latency_is_within_its_limit",
        "The upper end of the p95 of one decision is at most latency.max_p95_ms.",
    ),
    "drift": ("drift_does_not_ask_for_a_retrain", "The newest bars are like those the model learned from."),
    "sharpe_lower_bound": (
        "sharpe_interval_is_above_its_limit",
        "The lower end of the 95 % interval of the net Sharpe ratio a year is at least gates.min_sharpe_ci_low.",
    ),
    "accuracy_lower_bound": (
        "accuracy_interval_is_above_its_limit",
        "The lower end of the 95 % interval of the accuracy is at least gates.min_accuracy_ci_low.",
    ),
    "checkpoints": ("every_fold_kept_its_training_state", "No fold's training state could not be written."),
    "challenger": (
        "model_is_not_worse_than_the_live_one",
        "On bars new to both, the difference to the live model's Sharpe ratio is as gates.challenger asks.",
    ),
}
"""Gate -> name of its check, and the claim as a sentence."""


def gate_checks(graph: ExperimentGraph) -> list[dg.AssetCheckSpec]:
    """A check a gate, in the order of a gate file; what a failed one blocks is the deployment, not the run."""
    return [
        dg.AssetCheckSpec(
            name=CLAIMS[gate][0],
            asset=graph.key("release"),
            description=f"{CLAIMS[gate][1]} Gate `{gate}` of gate.json.",
        )
        for gate in GATES
    ]
