"""What must hold before a model is live: every gate as a row, and the file `gate.json` that a deployment asks.

    performance    the conditions of the card's verdict, a row each (`performance_gates`)
    evidence       the lower end of the interval of accuracy (loss_mode bce) or of the Sharpe ratio (any other loss)
    artefact       every file that is released is what was written; the training state of every fold could be kept
    champion       the live model on the same bars

`not_applicable` blocks nothing and says why. Not here: who reads the records (`pipeline.release_gates`), what a deployment
makes of the file, overrides (`deploy_gate`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tft_pipeline.domain.champion import ChallengerFinding
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.gate_names import CHALLENGER, EVIDENCE, GATES, PERFORMANCE
from tft_pipeline.domain.gate_row import FAIL, PASS, GateRow, judged, not_applicable
from tft_pipeline.domain.gates_section import GatesSection
from tft_pipeline.domain.looser_limits import looser_limits, told_looser
from tft_pipeline.domain.performance_gates import performance_gates
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.verdict import GO, NO_GO, json_ready

__all__ = [
    "EVIDENCE",
    "GATES",
    "PERFORMANCE",
    "GateRow",
    "gate_document",
    "gate_rows",
    "verdict_of",
    "why_not_live",
]

SCHEMA_VERSION = 1


def gate_rows(
    *,
    experiment: Experiment,
    plan: FoldPlanReport,
    performance: OosPerformance,
    audit: LeakageAudit,
    latency: LatencyBenchmark,
    drift: DriftRecord,
    files: int,
    problems: Sequence[str],
    checkpoints: Mapping[str, str],
    challenger: ChallengerFinding | None,
) -> tuple[GateRow, ...]:
    """Every gate, in the order of `GATES`; one whose limit is laxer than the default says so (`looser_limits`).

    Args:
        files: of the bundle, all verified but for `problems`.
        problems: what is wrong with the files that are released, in words.
        checkpoints: why a fold's training state could not be kept, by fold; "" for one whose could.
        challenger: None where `gates.challenger` is off.
    """
    loss = plan.specs[-1].training.loss_mode
    rows = (
        _bundle(files, problems, plan.specs[-1].key),
        *performance_gates(
            evaluation=experiment.evaluation,
            gates=experiment.gates,
            plan=plan,
            performance=performance,
            audit=audit,
            latency=latency,
            drift=drift,
        ),
        _sharpe_bound(performance, experiment.gates, loss),
        _accuracy_bound(performance, experiment.gates, loss),
        _checkpoints(checkpoints),
        _challenger(challenger, experiment.gates),
    )
    return told_looser(rows, looser_limits(latency=latency, drift=drift, gates=experiment.gates))


def verdict_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """GO when every performance gate is there and none blocks: the card's verdict.

    Args:
        rows: of `gate_document`.
    """
    found = {str(row["name"]): row["verdict"] for row in rows}
    return NO_GO if any(found.get(name, FAIL) == FAIL for name in PERFORMANCE) else GO


def why_not_live(rows: Sequence[GateRow], gates: GatesSection) -> str:
    """Why a run does not make its model live, in words; "" where it does."""
    failed = [row.name for row in rows if row.blocks]
    if failed:
        return f"a candidate: {len(failed)} gate(s) say no: {', '.join(failed)}"
    if gates.deploy == "manual":
        return "a candidate: every gate passes and gates.deploy is manual; `tft deploy` makes it live"
    return ""


def gate_document(
    rows: Sequence[GateRow], *, release_id: str, weights_sha256: str, fold: str, created_at: str
) -> dict[str, Any]:
    """What `gate.json` holds: numbers with their units, limits and rules; nothing non-finite.

    Returns:
        schema_version, release_id, created_at, fold, weights_sha256 (of the weights that were judged), champion and
        champion_weights_sha256 (the version that the row `challenger` was judged against; None where nothing was live, it
        was not asked, or, of the weights, could not be read), passed, gates (one object a gate, the attributes of `GateRow`),
        override (None: `deploy_gate.overridden_gates` writes one).
    """
    against = next((row.figures for row in rows if row.name == CHALLENGER), {})
    document: dict[str, Any] = json_ready(
        {
            "schema_version": SCHEMA_VERSION,
            "release_id": release_id,
            "created_at": created_at,
            "fold": fold,
            "weights_sha256": weights_sha256,
            "champion": against.get("champion"),
            "champion_weights_sha256": against.get("champion_weights_sha256"),
            "passed": not any(row.blocks for row in rows),
            "gates": [row.to_dict() for row in rows],
            "override": None,
        }
    )
    return document


def _bundle(files: int, problems: Sequence[str], fold: str) -> GateRow:
    return GateRow(
        name="bundle_verified",
        value=len(problems),
        threshold=0,
        unit="problems",
        verdict=FAIL if problems else PASS,
        why="; ".join(problems) or f"all {files} files of fold {fold} are, byte for byte, what was written",
        source=f"production_fold/{fold}",
        figures={"files": files},
    )


def _sharpe_bound(performance: OosPerformance, gates: GatesSection, loss: str) -> GateRow:
    source = "oos_performance.net.bootstrap_ci_annual"
    if loss == "bce":
        why = "loss_mode bce trains a direction, so the accuracy is judged: see accuracy_lower_bound"
        return not_applicable("sharpe_lower_bound", why, source=source)
    low, high = performance.net.get("bootstrap_ci_annual") or (None, None)
    return judged(
        "sharpe_lower_bound",
        low,
        ">=",
        gates.min_sharpe_ci_low,
        why=f"lower end of the 95 % interval of the net Sharpe ratio a year on {performance.net.get('n')} bars; loss_mode "
        f"{loss} trains a position",
        source=source,
        unit="Sharpe ratio a year",
        missing="" if low is not None else "the record has no interval",
        figures={"high": high, "n": performance.net.get("n"), "sharpe_annual": performance.net.get("sharpe_annual")},
    )


def _accuracy_bound(performance: OosPerformance, gates: GatesSection, loss: str) -> GateRow:
    source = "oos_performance.direction.tft.accuracy_ci_bars"
    if loss != "bce":
        why = f"loss_mode {loss} trains a position, so the Sharpe ratio is judged: see sharpe_lower_bound"
        return not_applicable("accuracy_lower_bound", why, source=source)
    found = performance.direction.get("tft", {})
    low, high = found.get("accuracy_ci_bars") or (None, None)
    guessing = found.get("majority_rate")
    least = gates.min_accuracy_ci_low if guessing is None else max(gates.min_accuracy_ci_low, guessing)
    missing = "" if low is not None else "a fold gives no probability of an upward move"
    if low is not None and guessing is None:
        low, missing = None, "the record does not say how often always guessing the larger class is right"
    trials = found.get("trials", found.get("n_bars"))
    return judged(
        "accuracy_lower_bound",
        low,
        ">" if least == guessing else ">=",
        least,
        why="lower end of the 95 % interval of the accuracy out of sample, on "
        f"{'an unknown number of' if trials is None else format(trials, '.0f')} independent bars, against the larger of "
        f"gates.min_accuracy_ci_low {gates.min_accuracy_ci_low:g} and always guessing the larger class",
        source=source,
        unit="share of labels",
        missing=missing,
        figures={
            "accuracy": found.get("accuracy"),
            "high": high,
            "majority_rate": guessing,
            "break_even_accuracy": found.get("break_even_accuracy"),
            "trials": trials,
        },
    )


def _checkpoints(checkpoints: Mapping[str, str]) -> GateRow:
    failed = {key: why for key, why in checkpoints.items() if why}
    named = "; ".join(f"{key}: {why}" for key, why in failed.items())
    return GateRow(
        name="checkpoints",
        value=len(failed),
        threshold=0,
        unit="folds whose training state could not be kept",
        verdict=FAIL if failed else PASS,
        why=f"{named}; mend the storage and fit these folds again"
        if failed
        else f"the training state of all {len(checkpoints)} folds was kept after every epoch",
        source="production_fold.checkpoint_status",
        figures={"folds": len(checkpoints)},
    )


def _challenger(finding: ChallengerFinding | None, gates: GatesSection) -> GateRow:
    source = "models/versions/current"
    if finding is None:
        return not_applicable("challenger", "gates.challenger is off: the live model is not asked", source=source)
    champion = {"champion": finding.champion, "champion_weights_sha256": finding.weights_sha256}
    if not finding.applies:
        return not_applicable("challenger", finding.why, source=source, figures=champion)
    better = gates.challenger == "better"
    found = finding.difference
    bounds: dict[str, Any] = (
        {}
        if found is None
        else {
            "difference_annual": found.difference_annual,
            "low_annual": found.low_annual,
            "high_annual": found.high_annual,
            "confidence": found.confidence,
            "p_value": found.p_value,
            "correlation": found.correlation,
            "block_length": found.block_length,
        }
    )
    end = None if found is None else found.low_annual if better else found.high_annual
    return judged(
        "challenger",
        end,
        ">" if better else ">=",
        0.0,
        why=f"{finding.why}; {'lower' if better else 'upper'} end of the difference, a year",
        source=source,
        unit="Sharpe ratio a year, challenger less champion",
        missing=finding.why,
        figures={
            "n_bars": finding.n_bars,
            "min_bars": gates.challenger_min_bars,
            "first": finding.first or None,
            "last": finding.last or None,
            **champion,
            **bounds,
        },
    )
