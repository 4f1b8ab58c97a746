"""The front matter of a model's page on the Hugging Face Hub: license, tags and `model-index` with the results.

Source: the Hub's documentation, "Model cards" (metadata, `model-index`) and "Licenses" (identifiers). Not here: the page.
"""

from collections.abc import Mapping
from typing import Any

TASK = {"type": "time-series-forecasting", "name": "Time Series Forecasting"}
LIBRARY = "tft-pipeline"
TAGS = ("time-series-forecasting", "temporal-fusion-transformer", "finance", "tabular")
OTHER = "other"
LICENSES = frozenset({
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0",
    "etalab-2.0", "eupl-1.1", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0",
    "isc", "lppl-1.3c", "ms-pl", "mpl-2.0", "odc-by", "odbl", "openrail++", "osl-3.0", "postgresql", "ofl-1.1",
    "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr", "unknown", "other",
})  # fmt: skip
"""Identifiers that the Hub lists; another license is `other`, with its name."""
METRICS = (
    ("accuracy", "accuracy", "accuracy, out of sample"),
    ("auc", "roc_auc", "area under the ROC curve, out of sample"),
    ("f1", "f1", "F1 of an upward move, out of sample"),
    ("log_loss", "log_loss", "log loss, nats, out of sample"),
    ("brier", "brier_score", "Brier score, out of sample"),
    ("ece", "ece", "expected calibration error, out of sample"),
    ("sharpe", "sharpe_ratio", "net Sharpe ratio a year, out of sample"),
)


def hub_metadata(card: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as data; a figure that is null has no entry, for the Hub takes numbers only."""
    train, release = card["train"], card["release_id"]
    named = card["license"]
    known = None if named is None else named.lower()
    license_keys: dict[str, str] = {}
    if known is not None:
        license_keys = {"license": known} if known in LICENSES else {"license": OTHER, "license_name": known}
    return {
        **license_keys,
        "library_name": LIBRARY,
        "pipeline_tag": TASK["type"],
        "tags": [*TAGS, card["architecture"]["family"], card["verdict"].lower()],
        "model_name": card["model_name"],
        "model-index": [
            {
                "name": card["model_name"] if release is None else f"{card['model_name']} {release}",
                "results": [
                    {
                        "task": dict(TASK),
                        "dataset": {
                            "type": train["snapshot_id"],
                            "name": f"{len(train['symbols'])} symbols, bars of {train['interval']}, up to {train['as_of']}",
                            "split": f"out of sample, from {train['production_start']}",
                            "revision": train["snapshot_content_sha256"],
                        },
                        "metrics": _metrics(card["metrics"]),
                    }
                ],
            }
        ],
    }


def front_matter(card: Mapping[str, Any]) -> str:
    """The YAML block between its two lines of dashes."""
    import yaml

    text = yaml.safe_dump(hub_metadata(card), sort_keys=False, allow_unicode=False, width=10_000)
    return f"---\n{text}---\n"


def _metrics(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for key, kind, name in METRICS:
        found = metrics[key]
        value = found["value"] if isinstance(found, Mapping) else found
        if value is not None:
            rows.append({"type": kind, "name": name, "value": value, "verified": False})
    return rows
