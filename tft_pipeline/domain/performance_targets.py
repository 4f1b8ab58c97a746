"""The guide's table of performance targets, out of the records of a run: each row passed, failed or not known.

    accuracy          out of sample, of the network, at least `evaluation.min_accuracy`, and above always guessing one class
    latency_p95_ms    upper end of the interval of the p95 of the released form, at most `latency.max_p95_ms`
    psi_max           largest of all features, at most `drift.psi_threshold`; too few bars pass and fail nothing
    js_max            largest Jensen-Shannon distance of all features, at most `drift.js_threshold`; likewise
    leakage_guards    all of them held
    symlink_deploy    the link resolves, every file is what was written, the fixed names lead to it; a candidate, which is not
                      live, passes and fails nothing here

The guide asks for the accuracy of the validation bars. They chose the epoch, so theirs is too high; it stands in the row beside
the out-of-sample one, which is judged. The table informs: it never turns NO-GO into GO, and a target that is
missed vetoes nothing by itself. Not here: the verdict (`verdict`), whether a drift means anything (`drift`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tft_pipeline.domain.drift_records import judged_rows
from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.latency import EAGER, latency_reasons
from tft_pipeline.domain.phases import DriftSection, EvaluationSection

DEPLOY = "symlink_deploy"
METRICS = ("accuracy", "latency_p95_ms", "psi_max", "js_max", "leakage_guards", DEPLOY)
"""Every row, in the guide's order."""
STATES = {True: "pass", False: "FAIL", None: "not known"}

Row = dict[str, Any]


def performance_targets(
    *,
    evaluation: EvaluationSection,
    drift_limits: DriftSection,
    performance: OosPerformance,
    audit: LeakageAudit,
    latency: LatencyBenchmark,
    drift: DriftRecord,
    validation_accuracy: float | None = None,
) -> tuple[Row, ...]:
    """Every row but the deployment's, which only the files can tell (`deploy_target`).

    Args:
        validation_accuracy: of the newest fold's best epoch; shown, not judged. None where its loss gives no probability.
    Returns:
        metric; target, in words; value; interval (low, high) or None; passed, true, false or null; source, record and field;
        detail, one sentence that says what a reader must know, and why where the value is null. A value that is absent, and one
        that cannot be judged, has `passed` null: never a pass.
    """
    return (
        _accuracy(performance, evaluation.min_accuracy, validation_accuracy),
        _latency(latency),
        _drift(drift, "psi", drift_limits.psi_threshold),
        _drift(drift, "js_distance", drift_limits.js_threshold),
        _guards(audit),
    )


def deploy_target(problems: Sequence[str], *, release: str | None, note: str = "", candidate: str | None = None) -> Row:
    """The row of the deployment.

    Args:
        problems: what keeps readers from the live version, in words; not read where nothing is live.
        release: the live one; None where nothing is live.
        note: said as well, such as that the newest release is held.
        candidate: the release that the row is of, where that one is not live: nothing was deployed, so nothing is ready. Only
            a live version that cannot be read fails then.
    """
    found = [] if release is None else list(problems)
    if candidate is not None and candidate != release:
        live = "nothing is live" if release is None else f"live is {release}"
        leads = "; ".join([f"{candidate} is not deployed", *found] if found else [f"{candidate} is not deployed", live])
        passed, value = (False, "not ready") if found else (None, "not deployed")
    else:
        ready = not found and release is not None
        leads = "nothing is live" if release is None else f"current leads to {release}, all hashes verified"
        leads = "; ".join(found) or leads
        passed, value = ready, "ready" if ready else "not ready"
    said = "; ".join(filter(None, (leads, note)))
    return _row(DEPLOY, "ready", value, passed, "models/versions/current", said)


def absent_targets(reason: str) -> tuple[Row, ...]:
    """Every row but the deployment's, none known."""
    return tuple(_row(metric, "", None, None, "", reason) for metric in METRICS if metric != DEPLOY)


def target_sentence(row: Mapping[str, Any]) -> str:
    """One row in words: `accuracy: FAIL, 0.512 (0.48 to 0.54), target >= 0.60; ...`."""
    value, interval = row["value"], row["interval"]
    shown = "" if value is None else f", {_number(value)}"
    if interval is not None:
        shown += f" ({' to '.join('unbounded' if end is None else _number(end) for end in interval)})"
    target = f", target {row['target']}" if row["target"] else ""
    return f"{row['metric']}: {STATES[row['passed']]}{shown}{target}; {row['detail']}"


def _accuracy(performance: OosPerformance, least: float, validation: float | None) -> Row:
    target, source = f">= {least:.2f}", "oos_performance.direction.tft"
    on_validation = (
        "on the validation bars it is not known"
        if validation is None
        else f"on the validation bars, for which the guide asks {target}, it is {validation:.3f}; they chose the epoch, so it "
        "is not judged"
    )
    found = performance.direction.get("tft")
    if found is None or found.get("accuracy") is None:
        return _row(
            "accuracy",
            target,
            None,
            None,
            source,
            f"the network gives no probability of an upward move out of sample (its loss trains positions); {on_validation}",
        )
    value, guessing = float(found["accuracy"]), float(found["majority_rate"])
    interval = found.get("accuracy_ci_bars") or found["accuracy_ci"]
    beaten = value > guessing
    against = f"always guessing the larger class has {guessing:.3f}" + ("" if beaten else ", which is as good")
    lower = "" if interval[0] >= least or value < least else "; the lower end of the interval is below the target"
    return _row(
        "accuracy",
        target,
        value,
        value >= least and beaten,
        source,
        f"out of sample, Wilson 95 % on {_trials(found)}{lower}; {against}; {on_validation}",
        interval,
    )


def _trials(found: Mapping[str, Any]) -> str:
    n_bars = found.get("n_bars", found["n"])
    trials = found.get("trials", n_bars)
    return f"{n_bars} bars" if trials == n_bars else f"{trials:.0f} trials, for labels of {n_bars} bars overlap"


def _latency(latency: LatencyBenchmark) -> Row:
    target, source = f"<= {latency.max_p95_ms:g} ms", "latency_benchmark.latency_ms"
    value, interval = latency.latency_ms.get("p95"), latency.latency_ms.get("p95_ci")
    if value is None or interval is None:
        return _row(
            "latency_p95_ms", target, value, None, source, "the benchmark holds no p95 with an interval: run it again"
        )
    against = latency_reasons(interval, n=latency.n, max_p95_ms=latency.max_p95_ms)
    unknown = interval[1] is None and value <= latency.max_p95_ms
    passed = None if unknown else not against
    judged = "; ".join(against) or f"the upper end of the interval is judged, of {latency.n} timed decisions"
    return _row("latency_p95_ms", target, value, passed, source, f"{form_in_words(latency)}; {judged}", interval)


def form_in_words(latency: LatencyBenchmark) -> str:
    """The form that the figures are of, and the bound of eager torch beside it."""
    if latency.form == EAGER:
        return f"of the form {EAGER}"
    upper = eager_p95_ci(latency)[1]
    bound = "has no upper bound" if upper is None else f"is at most {upper:.1f} ms"
    return f"of the form {latency.form}; that of {EAGER} torch {bound}"


def eager_p95_ci(latency: LatencyBenchmark) -> list[float | None]:
    """Interval of eager torch's p95, milliseconds; both ends None where it was not recorded."""
    rows = [row for row in latency.forms if row["form"] == EAGER]
    return list(rows[0]["p95_ci"]) if rows else [None, None]


def _drift(drift: DriftRecord, key: str, most: float) -> Row:
    metric, name = {"psi": ("psi_max", "PSI"), "js_distance": ("js_max", "Jensen-Shannon distance")}[key]
    target, source = f"<= {most:g}", f"drift_report.rows.{key}"
    verdict = _of_features(drift)
    calibrated = (
        f"judged by its size and against chance, the last {drift.n_recent} bars say {verdict.replace('_', ' ')}"
    )
    scored = [row for row in judged_rows(drift.rows) if row.get(key) is not None]
    if not scored:
        return _row(metric, target, None, None, source, f"no feature has a {name}; {calibrated}")
    largest = max(scored, key=lambda row: float(row[key]))
    value = float(largest[key])
    passed = None if verdict == "insufficient_data" else value <= most
    return _row(metric, target, value, passed, source, f"largest {name}, of {largest['feature']}; {calibrated}")


def _of_features(drift: DriftRecord) -> str:
    """The most serious verdict of the features alone; the record's own is over its other parts too."""
    found = {str(row["verdict"]) for row in drift.rows}
    return next((one for one in _SERIOUS if one in found), "insufficient_data")


def _guards(audit: LeakageAudit) -> Row:
    states = [_state(row) for row in audit.rows]
    tried = [state for state in states if state != "not_used"]
    held, untried = states.count("held"), states.count("not_verifiable")
    named = [str(row["guard"]) for row, state in zip(audit.rows, states, strict=True) if state in _NAMED]
    passed = False if "leak" in states or not audit.passed else None if untried or not held else True
    detail = f"{held} of {len(tried)} guards that apply held" + (f"; not: {', '.join(named)}" if named else "")
    return _row(
        "leakage_guards",
        "all held",
        f"{held} of {len(tried)}" if tried else None,
        passed,
        "leakage_audit.rows",
        detail if tried else "no guard was run",
    )


_SERIOUS = ("insufficient_data", "retrain", "investigate", "stable")
_NAMED = ("leak", "not_verifiable")
_OF_PASSED = {True: "held", False: "leak", None: "not_verifiable"}


def _state(row: Mapping[str, Any]) -> str:
    """State of a guard; rows of older audits say only whether it passed."""
    return str(row["state"]) if "state" in row else _OF_PASSED[row["passed"]]


def _row(
    metric: str,
    target: str,
    value: float | str | None,
    passed: bool | None,
    source: str,
    detail: str,
    interval: Sequence[float | None] | None = None,
) -> Row:
    return {
        "metric": metric,
        "target": target,
        "value": value,
        "interval": None if interval is None else list(interval),
        "passed": passed,
        "source": source,
        "detail": detail,
    }


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
