"""What the renderings of a card show, in their order. Not here: any markup."""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.pipeline.card.sheets import Listing, Part, Sheet, facts, sheet
from tft_pipeline.pipeline.report.markup import DASH, count, day, free, several, span, words

Card = Mapping[str, Any]
DIGITS = 12
"""Of a hash in a table; the JSON holds all of them."""
FIGURES = (
    ("direction_accuracy", "accuracy"),
    ("auc", "AUC"),
    ("f1", "F1"),
    ("log_loss", "log loss, nats"),
    ("brier", "Brier"),
    ("ece", "ECE"),
    ("validation_loss", "validation loss"),
    ("sharpe", "Sharpe ratio, a year, net"),
    ("val_vs_oos_gap", "validation less out-of-sample Sharpe ratio, a year"),
    ("champion_delta", "Sharpe ratio a year, less that of the live model"),
)


def card_parts(card: Card) -> tuple[Part, ...]:
    """Every section of a valid card."""
    made = (_use, _gates, _results, _training, _features, _live, _network, _origin)
    return tuple(part(card) for part in made)


def title_of(card: Card) -> str:
    """Name, verdict and status in one line."""
    return f"{card['model_name']}: {card['verdict']}, {card['status']}"


def lead_of(card: Card) -> Sheet:
    """What identifies the card."""
    override = card["override"]
    return facts(
        "Model card v2",
        {
            "model": card["model_name"],
            "release": card["release_id"] or _why(card, "release_id"),
            "status": card["status"],
            "verdict": card["verdict"],
            "gates": _gates_said(card),
            **({} if override is None else {"override": f"{override['reason']} ({override['who']}, {override['at']})"}),
            "owner": card["owner"] or _why(card, "owner"),
            "license": card["license"] or _why(card, "license"),
            "made": card["created_at"],
        },
    )


def _use(card: Card) -> Part:
    contaminated = (Listing(lead="Contaminated", items=("Features or settings were chosen on scored bars.",)),)
    return Part(
        title="Verdict and use",
        sentence=f"{card['verdict']}: {several(len(card['reasons']), 'reason')} against the model."
        if card["reasons"]
        else f"{card['verdict']}: every condition holds.",
        blocks=(
            *(contaminated if card["contaminated"] else ()),
            Listing(lead="Reasons", items=tuple(card["reasons"])),
            Listing(lead="Notes", items=tuple(card["notes"])),
            Listing(lead="Intended use", items=(card["intended_use"] or _why(card, "intended_use"),)),
            Listing(lead="Out of scope", items=tuple(card["out_of_scope"])),
            Listing(lead="Limitations", items=tuple(card["limitations"])),
            sheet("Risks", card["risks"], ("risk", "value", "limit", "exceeded", "detail", "source")),
        ),
    )


def _gates(card: Card) -> Part:
    rows = [
        {**row, "threshold": f"{row.get('rule', '')} {free(row['threshold'])} {row.get('unit', '')}".strip()}
        if row["threshold"] is not None
        else row
        for row in card["gates"]
    ]
    return Part(
        title="Gates",
        sentence=_why(card, "gates_passed").removeprefix(f"{DASH} ").capitalize() + "."
        if card["gates_passed"] is None
        else f"Before a model is live: {_gates_said(card)}.",
        blocks=(sheet("Gates", rows, ("name", "verdict", "value", "threshold", "why", "override")),),
    )


def _results(card: Card) -> Part:
    metrics = card["metrics"]
    rows = []
    for key, name in FIGURES:
        figure = metrics[key]
        low, high = figure["ci"] or (None, None)
        note = "" if figure["value"] is not None and figure["ci"] is not None else figure.get("reason", "")
        rows.append((name, free(figure["value"]), span(low, high, 3), free(figure["n"]), words(figure["split"]), note))
    sharpe = metrics["sharpe"]
    return Part(
        title="Results",
        sentence=f"Net Sharpe ratio {free(sharpe['value'])} a year out of sample, on {count(sharpe['n'])} bars.",
        blocks=(
            Sheet(
                caption="Figures",
                head=("figure", "value", "95 % interval", "n", "bars", "note"),
                rows=tuple(rows),
            ),
            facts(
                "What the Sharpe ratio is worth",
                {
                    "standard error": sharpe["se"],
                    "PSR": sharpe["psr"],
                    "PSR after looks": f"{free(sharpe['psr_after_looks'])} ({several(sharpe['looks'], 'look')})",
                    "DSR of the chosen trial": sharpe["dsr"] if sharpe["dsr"] is not None else sharpe["dsr_reason"],
                    "PBO": sharpe["pbo"] if sharpe["pbo"] is not None else sharpe["pbo_reason"],
                    "trials started": sharpe["trials"],
                    "before costs, a year": sharpe["gross"].get("sharpe_annual"),
                },
            ),
            sheet(
                "Baselines on the same bars, net, a year",
                [{"baseline": name, **row} for name, row in metrics["baselines"].items()],
                ("baseline", "sharpe_annual", "se_annual", "psr", "n"),
            ),
            sheet(
                "Reliability: what was said against what came",
                card["calibration"]["reliability"],
                ("mean_probability", "share_up", "n", "n_bars"),
            ),
            facts("Leakage audit", {"passed": card["leakage_audit"]["passed"], **card["leakage_audit"]["guards"]}),
        ),
    )


def _training(card: Card) -> Part:
    train = card["train"]
    folds = [
        {
            "fold": fold["id"],
            "train": _dates(fold["train"]),
            "validation": _dates(fold["val"]),
            "test": _dates(fold["test"]),
            "rows": fold["rows"],
            "best epoch": fold["best_epoch"],
            "validation loss": fold["metrics"]["val"]["loss"],
            "Sharpe, validation": fold["metrics"]["val"]["sharpe_annual"],
            "Sharpe, out of sample": fold["metrics"]["oos"]["sharpe_annual"],
            "checkpoint": fold["checkpoint_status"],
            "weights": fold["sha256"][:DIGITS],
        }
        for fold in train["folds"]
    ]
    return Part(
        title="Data and training",
        sentence=f"{count(train['rows'])} training rows of {several(len(train['symbols']), 'symbol')}, bars of "
        f"{train['interval']}; training and validation {day(train['range']['start'])} to {day(train['range']['end'])}.",
        blocks=(
            facts(
                "Training",
                {
                    "snapshot": train["snapshot_id"],
                    "content SHA-256": train["snapshot_content_sha256"],
                    "symbols": train["symbols"],
                    "training labels": train["class_balance"],
                    "chosen on bars up to": train["research_last"]
                    if train["research_last"] is not None
                    else _why(card, "train.research_last"),
                    "target": f"{train['target']['definition']}, {train['target']['horizon']} bar(s) ahead",
                    "purge, bars": train["purge"],
                    "embargo, bars": train["embargo"] if train["embargo"] is not None else _why(card, "train.embargo"),
                    "production from": train["production_start"],
                    "deterministic": train["deterministic"],
                    "duration, s": train["duration_s"],
                    "study": f"{train['hp_source']['study']}, trial {train['hp_source']['trial']} of "
                    f"{train['hp_source']['n_trials']} ({train['hp_source']['n_pruned']} pruned)",
                },
            ),
            sheet("Production folds", folds, tuple(folds[0])),
            *(facts(f"Hyper-parameters: {name}", train["hp"][name]) for name in train["hp"]),
            facts(
                "Preprocessing", {f"{a} {b}": v for a, part in train["preprocessing"].items() for b, v in part.items()}
            ),
        ),
    )


def _features(card: Card) -> Part:
    chosen = card["train"]["feature_selection"]
    rows = [
        {"feature": name, "VSN weight": chosen["vsn_weight"].get(name), "stability": chosen["stability"].get(name)}
        for name in card["architecture"]["features"]
    ]
    return Part(
        title="Features",
        sentence=f"{chosen['selected']} of {chosen['initial']} features, by {chosen['method']}.",
        blocks=(
            sheet("Inputs, in order", rows, ("feature", "VSN weight", "stability")),
            sheet("Groups", chosen["groups"], ("group", "initial", "kept", "weight")),
        ),
    )


def _live(card: Card) -> Part:
    latency, drift, plan = card["latency"], card["drift"], card["monitoring_plan"]
    low, high = latency["p95_ci"] or (None, None)
    return Part(
        title="Latency, drift and monitoring",
        sentence=f"p95 {free(card['latency_ms']['p95'])} ms of the form {latency['form']}; drift: {words(drift['verdict'])}.",
        blocks=(
            facts(
                "Latency, ms",
                {
                    **{key: card["latency_ms"][key] for key in ("mean", "p50", "p95", "p99")},
                    "p95, 95 % interval": span(low, high, 3),
                    "p99.9": latency["p999"],
                    "largest": latency["max"],
                    "calls": latency["n"],
                    "cold start": latency["cold_start"],
                    "load": latency["load_ms"],
                },
            ),
            Listing(lead="Drift", items=tuple(drift["reasons"])),
            *(facts(f"Monitoring: {name}", part) for name, part in plan.items()),
            facts("Weights of the blend", card["ensemble"]["weights"]),
        ),
    )


def _network(card: Card) -> Part:
    architecture = card["architecture"]
    signature = architecture["signature"]
    plain = {key: value for key, value in architecture.items() if key not in ("features", "signature")}
    said = {"signature": _why(card, "architecture.signature")} if signature is None else signature
    return Part(
        title="Network",
        sentence=f"{architecture['class']}, {count(architecture['total_params'])} parameters.",
        blocks=(facts("Architecture", plain), facts("Signature", said)),
    )


def _origin(card: Card) -> Part:
    train, lineage = card["train"], card["lineage"]
    assets = [
        {"asset": row["key"], "data version": row["data_version"]}
        if "data_version" in row
        else {"asset": row["key"], "data version": f"{len(row['partitions'])} partitions"}
        for row in lineage["assets"].values()
    ]
    files = card["files"]
    changes = [
        {
            "at": entry["at"],
            "event": entry["event"],
            "release": entry["release_id"],
            "since": entry["since"] or entry["since_reason"],
            "changes": "; ".join(f"{row['what']}: {free(row['from'])} → {free(row['to'])}" for row in entry["changes"]),
        }
        for entry in card["change_log"]
    ]
    stored = Listing(lead="Files", items=(_why(card, "files"),)) if files is None else facts("Files, SHA-256", files)
    return Part(
        title="Where it comes from",
        sentence=f"Every value traces to an asset or to the configuration {lineage['experiment']['fingerprint']}.",
        blocks=(
            sheet("Assets", assets, ("asset", "data version")),
            stored,
            facts("Code and environment", {**train["code"], **train["env"]}),
            facts("Dagster and MLflow", {**train["dagster"], **{f"mlflow {k}": v for k, v in train["mlflow"].items()}}),
            sheet("Changes", changes, ("at", "event", "release", "since", "changes")),
            facts("What is null, and why", card["null_reasons"]),
        ),
    )


def _dates(part: Mapping[str, Any]) -> str:
    return f"{day(part['first'])} to {day(part['last'])}"


def _gates_said(card: Card) -> str:
    if card["gates_passed"] is None:
        return _why(card, "gates_passed")
    no = [row["name"] for row in card["gates"] if row["verdict"] == "fail"]
    return (
        f"all {len(card['gates'])} pass or do not apply" if card["gates_passed"] else f"these say no: {', '.join(no)}"
    )


def _why(card: Card, path: str) -> str:
    return f"{DASH} {card['null_reasons'].get(path, '')}".strip()
