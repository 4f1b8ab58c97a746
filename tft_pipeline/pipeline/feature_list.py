"""Which features there are: of the catalogue, or of one experiment's own bars. Not here: computing them."""

from collections import Counter
from pathlib import Path
from typing import Any

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.experiment_features import catalogue_of, feature_row
from tft_pipeline.domain.features import catalogue
from tft_pipeline.domain.features.groups import GROUPS
from tft_pipeline.domain.features.legend import LEGEND
from tft_pipeline.domain.reports import FeatureCatalogue
from tft_pipeline.pipeline.assets.snapshot import taken_bars
from tft_pipeline.storage.experiments import read_experiment


def list_features(path: Path | None) -> dict[str, Any]:
    """Every feature of the catalogue, or those that an experiment builds from its bars.

    Returns:
        features (one record each), groups (name, what it is about, how many), left_out (name -> reason), user_columns,
        legend (symbol in formulas -> meaning). The catalogue alone has no bars: nothing is left out and there are no user
        columns.
    Raises:
        ConfigurationError: the experiment file, its bars or its choice of features cannot be used.
    """
    if path is None:
        record = FeatureCatalogue(
            used=tuple(feature_row(feature) for feature in catalogue()), skipped={}, user_columns=(), max_lookback=1
        )
    else:
        file = read_experiment(path)
        try:
            record = catalogue_of(file.experiment, taken_bars(file).bars.columns)
        except (BarsError, ValueError) as error:
            raise ConfigurationError(f"{path}: {error}") from error
    counts = Counter(row.group for row in record.used)
    return {
        "features": [row.model_dump(mode="json") for row in record.used],
        "groups": [
            {"group": group, "about": GROUPS.get(group, "named in data.cross_markets, or a raw column"), "features": n}
            for group, n in counts.items()
        ],
        "left_out": dict(record.skipped),
        "user_columns": list(record.user_columns),
        "legend": LEGEND,
    }


def features_in_words(found: dict[str, Any]) -> list[str]:
    """The same for a reader: a heading a group, a line a feature, what was left out by reason."""
    lines = []
    for group in found["groups"]:
        lines.append(f"{group['group']}: {group['about']}")
        own = [row for row in found["features"] if row["group"] == group["group"]]
        lines += [
            f"  {row['name']}: {row['formula']} [{row['units']}; {row['lookback']} bars of {', '.join(row['inputs']) or 'time'}"
            f"{'' if not row['lag'] else '; usable ' + str(row['lag']) + ' bars later'}]"
            for row in own
        ]
    if found["user_columns"]:
        lines.append(f"your own columns: {', '.join(found['user_columns'])}")
    for reason, names in _by_reason(found["left_out"]).items():
        lines.append(f"left out, {reason} ({len(names)}): {', '.join(names)}")
    lines += ["in formulas:", *(f"  {symbol}: {meaning}" for symbol, meaning in found["legend"].items())]
    return [*lines, f"{len(found['features']) + len(found['user_columns'])} features"]


def _by_reason(left_out: dict[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return reasons
