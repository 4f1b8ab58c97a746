"""What the command `tft ensemble` does: the blend of anybody's probabilities, with the code of the asset.

Not here: options and printing (`cli.ensemble`), reading a file (`storage.scored_rows`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.blending import BlendPart, blend_record
from tft_pipeline.domain.ensemble import MOST_L2
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import EnsembleWeights
from tft_pipeline.storage.atomic import same_file
from tft_pipeline.storage.ensemble_json import write_ensemble_json
from tft_pipeline.storage.scored_rows import KEYS, read_keyed, read_rows, said

PROBABILITY, LABEL = "proba", "y_true"
MOST_BLOCKS = 10
BARS_A_BLOCK = 20
"""Fewest bars of a block of time: five blocks need 100 bars, and fewer than 40 cannot be scored forward."""
SEED = 0


def blend_files(
    files: Mapping[str, Path | None],
    y_true: Path,
    *,
    output: Path | None = None,
    by_row: bool = False,
    calibrate: bool = False,
    l2: float = 0.0,
    horizon: int = 1,
) -> dict[str, Any]:
    """Weights of several models' probabilities, scored on later blocks of time; ready for JSON.

    Args:
        files: source -> file of probabilities, or None when there is none.
        y_true: file of labels, 0 or 1.
        output: where `ensemble.json` goes.
        by_row: rows fit by their order; else by symbol and timestamp, and every file must hold the same keys.
        calibrate: calibrate each source first, on earlier blocks.
        l2: pull towards equal weights.
        horizon: bars a label looks ahead; the last horizon - 1 bars before a block teach nothing that is scored on it.
    Returns:
        summary (sentences), the fields of `EnsembleWeights` with `folds` by block, and output.
    Raises:
        ConfigurationError: a file or option that cannot be used; see `storage.scored_rows`; files that do not hold the same
            rows; a value outside [0, 1]; labels that are not 0 and 1, or all alike.
    """
    given = {name: path for name, path in files.items() if path is not None}
    if not given:
        options = ", ".join(f"--{name}-proba" for name in files)
        raise ConfigurationError(f"no probabilities: name at least one of {options}")
    if not 0.0 <= l2 <= MOST_L2 or horizon < 1:
        raise ConfigurationError(
            f"--l2 {l2:g}, --horizon {horizon}: expected a pull of 0 to {MOST_L2:g} (weights are equal long before that), and "
            "at least one bar"
        )
    if output is not None and (read := same_file(output, [*given.values(), y_true])):
        raise ConfigurationError(f"--output {output} would replace {read}, which is read: name another place")
    rows = _by_row(given, y_true) if by_row else _joined(given, y_true)
    _refuse_labels(y_true, rows[LABEL])
    for name, path in given.items():
        _refuse_outside(path, rows[name])
    parts = _parts(rows, list(files), "row" if by_row else "bar")
    try:
        record = blend_record(parts, l2=l2, horizon=horizon, seed=SEED, calibrated=calibrate, what="block")
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(f"{', '.join(map(str, given.values()))}: {error}") from error
    if output is not None:
        write_ensemble_json(record, output)
    told = record.model_dump(mode="json")
    told["folds"] = {row["fold"]: row for row in told["folds"]}
    return {
        "summary": summary_of(record, by_row=by_row),
        **told,
        **({} if output is None else {"output": str(output)}),
    }


def summary_of(record: EnsembleWeights, *, by_row: bool = False) -> list[str]:
    """What the record says, in sentences."""
    shown = record.intervals.get("weights") or {}
    weights = []
    for name, weight in record.weights.items():
        interval = shown.get(name)
        known = "" if interval is None else " (95 % {:.3f} to {:.3f})".format(*interval)
        weights.append(f"{name} {weight:.3f}{known if record.available[name] else ' (not given)'}")
    sentences = [
        f"Weights: {', '.join(weights)}; from {record.n['fitted_rows']} rows of {record.n['fitted_bars']} bars."
    ]
    sentences += [
        f"No interval of the weights: {why}." for key, why in record.intervals["reasons"].items() if key == "weights"
    ]
    metrics = record.metrics
    if metrics["accuracy"] is None:
        fitted = record.metrics_on_fitted_rows
        sentences.append(f"No metrics: {metrics['reason']}.")
        sentences.append(
            f"On the very rows they were fitted to the weights give accuracy {fitted['accuracy']:.3f} and log loss "
            f"{fitted['log_loss']:.4f}; that is flattering and no measure of what comes."
        )
    else:
        low, high = record.intervals["accuracy"]
        sentences.append(
            f"Accuracy {metrics['accuracy']:.3f} (95 % {low:.3f} to {high:.3f}; always the larger class "
            f"{metrics['majority_rate']:.3f}), F1 {_or_none(metrics['f1'])}, AUC {_or_none(metrics['auc_roc'])}, log loss "
            f"{metrics['log_loss']:.4f}: {record.measured_on}."
        )
        sentences.append(str(record.comparison["sentence"]))
    if by_row:
        sentences.append(
            "Rows count as bars of their own: where several belong to one bar, the intervals are too narrow."
        )
    return sentences


def _or_none(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _by_row(given: Mapping[str, Path], y_true: Path) -> pl.DataFrame:
    labels = read_rows(y_true, LABEL)
    columns = {name: read_rows(path, PROBABILITY) for name, path in given.items()}
    for name, column in columns.items():
        if column.size != labels.size:
            raise ConfigurationError(
                f"{given[name]} has {column.size} rows and {y_true} has {labels.size}: by their order they cannot fit; cut "
                "them to the same rows, or give symbol and timestamp and leave --by-row out"
            )
    return pl.DataFrame({"bar": np.arange(labels.size), LABEL: labels, **columns})


def _joined(given: Mapping[str, Path], y_true: Path) -> pl.DataFrame:
    """One row a key, in order of time, a column a source; every file holds the same keys."""
    rows, kind = read_keyed(y_true, LABEL)
    rows = rows.sort(KEYS)
    for name, path in given.items():
        found, other = read_keyed(path, PROBABILITY)
        if other != kind:
            raise ConfigurationError(
                f"timestamps of {path} are written as {other}, those of {y_true} as {kind}: the same moment cannot be "
                "recognised; write both alike, with an offset"
            )
        more, fewer = found.join(rows, on=KEYS, how="anti").sort(KEYS), rows.join(found, on=KEYS, how="anti")
        if more.height or fewer.height:
            only = [
                f"{side.height} of {of.height} rows stand in {place} only (first {said(side)})"
                for side, of, place in ((more, found, path), (fewer, rows, y_true))
                if side.height
            ]
            raise ConfigurationError(
                f"{path} and {y_true} do not hold the same rows: {'; '.join(only)}: weights would be of the rows that happen "
                "to match; cut all files to the same symbols and timestamps"
            )
        rows = rows.join(found.rename({PROBABILITY: name}), on=KEYS, how="left", maintain_order="left")
    return rows.with_columns(bar=pl.col("timestamp").rank("dense").cast(pl.Int64) - 1)


def _refuse_labels(path: Path, labels: pl.Series) -> None:
    bad = ~labels.is_in([0.0, 1.0])
    if bad.any():
        first = labels.filter(bad)[0]
        raise ConfigurationError(
            f"{path}: {LABEL} is neither 0 nor 1 in {int(bad.sum())} of {len(labels)} rows (first {first:g}): give "
            "1 for an upward move and 0 for none"
        )
    if labels.n_unique() < 2:
        raise ConfigurationError(
            f"{path}: all {len(labels)} labels are {labels[0]:g}: whoever always says so would be right, and no weights can be "
            "told apart; bring rows of both classes"
        )


def _refuse_outside(path: Path, column: pl.Series) -> None:
    bad = ~column.is_between(0.0, 1.0)
    if bad.any():
        first = column.filter(bad)[0]
        raise ConfigurationError(
            f"{path}: {PROBABILITY} is outside [0, 1] in {int(bad.sum())} of {len(column)} rows (first {first:g}): "
            "give probabilities of an upward move, not scores or log odds"
        )


def _parts(rows: pl.DataFrame, sources: list[str], what: str) -> list[BlendPart]:
    """Contiguous blocks of about as many bars each, in order of time."""
    bars = rows["bar"].to_numpy()
    n_bars = int(bars.max()) + 1
    blocks = np.array_split(np.arange(n_bars), max(1, min(MOST_BLOCKS, n_bars // BARS_A_BLOCK)))
    parts = []
    for block in blocks:
        inside = rows.filter(pl.col("bar").is_between(int(block[0]), int(block[-1])))
        parts.append(
            BlendPart(
                key=f"{what}s {block[0] + 1} to {block[-1] + 1}",
                probabilities={name: inside[name].to_numpy() if name in inside.columns else None for name in sources},
                y=inside[LABEL].to_numpy().astype(np.int64),
                bars=inside["bar"].to_numpy(),
            )
        )
    return parts
