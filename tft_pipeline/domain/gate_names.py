"""Names of the gates, for who reads a gate file without what judges them. Standard library only.

Not here: how they are judged (`release_gates`, `performance_gates`), what a file must say (`deploy_gate`).
"""

PERFORMANCE = (
    "leakage_audit",
    "not_contaminated",
    "probabilistic_sharpe_ratio",
    "deflated_sharpe_ratio",
    "probability_of_loss",
    "degradation",
    "baselines",
    "verdict",
    "latency_p95",
    "drift",
)
EVIDENCE = ("sharpe_lower_bound", "accuracy_lower_bound")
CHALLENGER = "challenger"
GATES = ("bundle_verified", *PERFORMANCE, *EVIDENCE, "checkpoints", CHALLENGER)
"""Every gate, in the order of a gate file's rows."""
