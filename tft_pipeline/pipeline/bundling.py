"""All files of a release, made from the records of a run: what `storage.release_bundle` reads. Not here: gates, deploying.

A bundle is staged without card and gates first and verified as live code will read it; what that says is a gate. Then the
version is filled: the verified files, copied by hash, and gate file, card and targets beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from tft_pipeline.domain.bar_calendar import calendar_of
from tft_pipeline.domain.data_section import DataSection
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.features import resolve_features
from tft_pipeline.domain.features.feature import MARKET_CLOSE, Feature
from tft_pipeline.domain.findings import EnsembleWeights
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.domain.intervals import BAR_LENGTHS
from tft_pipeline.domain.reports import FeatureCatalogue, FoldSpec
from tft_pipeline.domain.signature import Signature
from tft_pipeline.storage.artifacts import Artifact, write_artifact
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.ensemble_json import ensemble_json
from tft_pipeline.storage.fold_bundles import FoldBundle
from tft_pipeline.storage.release_bundle import (
    CALIBRATION_FILE,
    ENSEMBLE_FILE,
    FEATURES_FILE,
    FORM_FILES,
    SIGNATURE_FILE,
    WEIGHTS_FILE,
    ReleaseBundle,
    read_release_bundle,
)
from tft_pipeline.storage.releases import copy_verified

BUNDLE_GATE = "bundle_verified"


@dataclass(frozen=True, kw_only=True)
class StagedBundle:
    """A bundle without card and gates, read back as live code reads it.

    Attributes:
        bundle: verified, its signature parsed.
        problems: what is wrong with it, in words; empty where every form answers as eager torch.
        position: that the model answered with; None where it did not.
        differences: largest one of any output to eager torch, by form.
    """

    bundle: ReleaseBundle
    problems: tuple[str, ...]
    position: float | None
    differences: dict[str, float]


def stage_bundle(
    stage: Path,
    *,
    experiment: Experiment,
    spec: FoldSpec,
    stored: Artifact,
    fold: FoldBundle,
    catalogue: FeatureCatalogue,
    ensemble: EnsembleWeights,
    bars: pl.DataFrame,
    symbols: Sequence[str],
    form: str,
) -> StagedBundle:
    """Write the model's own files into a stage and ask them, as live code will.

    Args:
        stage: empty folder beside the versions.
        spec, stored, fold: of the newest production fold: its plan, its verified files and what they hold.
        bars: all of the snapshot.
        symbols: traded ones.
        form: that the latency gate judged.
    Raises:
        BrokenModelError: that form is exported, and the network has it not or it differs from eager torch.
        IntegrityError: a file changed on the way.
        ValueError: the records do not make a signature.
    """
    from tft_pipeline.model.released_form import ask_forms, export_forms
    from tft_pipeline.model.smoke import BrokenModelError, smoke_prediction

    exported = export_forms(fold.fitted, judged=form, seed=experiment.seed)
    signature = build_signature(
        experiment=experiment,
        spec=spec,
        fold=fold,
        catalogue=catalogue,
        bars=bars,
        symbols=symbols,
        form=form,
        forms={name: FORM_FILES[name] for name in exported.models},
        left_out=exported.left_out,
        outputs=exported.outputs,
        quantile_levels=exported.quantile_levels,
        weights_sha256=stored.files[WEIGHTS_FILE],
    )

    def fill(folder: Path) -> None:
        copy_verified(stored, folder)
        for name, model in exported.models.items():
            (folder / FORM_FILES[name]).write_bytes(model)
        documents = {
            SIGNATURE_FILE: canonical_json(signature.to_dict()),
            FEATURES_FILE: canonical_json(feature_rows(spec.features, catalogue)),
            ENSEMBLE_FILE: ensemble_json(ensemble),
            CALIBRATION_FILE: canonical_json({"calibrated": ensemble.calibrated, "sources": ensemble.calibration}),
        }
        for name, text in documents.items():
            (folder / name).write_text(text, encoding="utf-8")

    staged = read_release_bundle(write_artifact(stage, fill, in_store=False).folder)
    problems: list[str] = []
    position: float | None = None
    try:
        fitted = staged.fitted()
        position = smoke_prediction(fitted)
        ask_forms(fitted, {name: staged.onnx(name) for name in staged.signature.forms}, staged.signature)
    except BrokenModelError as error:
        problems.append(str(error))
    return StagedBundle(bundle=staged, problems=tuple(problems), position=position, differences=exported.differences)


def fill_version(staged: StagedBundle, documents: Mapping[str, str]) -> Callable[[Path], None]:
    """Fills a version with the staged files, each held against its hash, and with further files by name."""

    def fill(folder: Path) -> None:
        copy_verified(staged.bundle.artifact, folder)
        for name, text in documents.items():
            if name in staged.bundle.artifact.files:
                raise ValueError(
                    f"{name} is a file of the bundle already: it would be replaced unnoticed; name it otherwise"
                )
            (folder / name).write_text(text, encoding="utf-8")

    return fill


def told_by_forms(rows: Sequence[GateRow], staged: StagedBundle) -> list[GateRow]:
    """The gates, of which the one of the bundle also says which forms were asked and how far they are from eager torch."""
    if staged.problems:
        return list(rows)
    loaded = f"loaded from its {len(staged.bundle.artifact.files)} files"
    if staged.differences:
        said = f"; eager torch, {', '.join(staged.differences)} were {loaded} and say the same to 1e-5, gaps included"
    else:
        said = f"; eager torch was {loaded} and answers, there is no exported form"
    figures = {"released_files": len(staged.bundle.artifact.files), "smoke_position": staged.position}
    figures |= {f"difference_{form}": value for form, value in staged.differences.items()}
    return [
        replace(row, why=row.why + said, figures={**row.figures, **figures}) if row.name == BUNDLE_GATE else row
        for row in rows
    ]


def build_signature(
    *,
    experiment: Experiment,
    spec: FoldSpec,
    fold: FoldBundle,
    catalogue: FeatureCatalogue,
    bars: pl.DataFrame,
    symbols: Sequence[str],
    form: str,
    forms: Mapping[str, str],
    left_out: Mapping[str, str],
    outputs: Sequence[str],
    quantile_levels: Sequence[float],
    weights_sha256: str,
) -> Signature:
    """What live code must know, each value out of a record of the run."""
    fitted, chosen = fold.fitted, set(spec.features)
    rows = [row for row in catalogue.used if row.name in chosen]
    raw = {name for row in rows for name in row.inputs if name != MARKET_CLOSE} | {"close"}
    data = experiment.data
    own = tuple(name for name in spec.features if name in catalogue.user_columns)
    recursive = {feature.name for feature in _built(catalogue, data) if feature.recursive}
    traded = bars.filter(~pl.col("symbol").is_in(list(data.untraded)))
    return Signature(
        experiment=experiment.name,
        features=spec.features,
        feature_versions={row.name: row.version for row in rows},
        user_columns=own,
        raw_columns=tuple(sorted(raw)),
        max_lookback=spec.min_history,
        lookback=fitted.training.lookback,
        horizon=fitted.horizon,
        interval=data.interval,
        timezone=data.timezone,
        calendar=calendar_of(traded["timestamp"], BAR_LENGTHS[data.interval], timezone=data.timezone),
        symbols=tuple(symbols),
        static_symbols=fitted.symbols,
        untraded=data.untraded,
        market_symbol=data.market_symbol,
        cross_markets=dict(data.cross_markets),
        loss_mode=fitted.training.loss_mode,
        outputs=tuple(outputs),
        quantile_levels=tuple(quantile_levels),
        forms=dict(forms),
        left_out=dict(left_out),
        form=form,
        scaler=fitted.scaler,
        max_position=fitted.position.max_position,
        position_smooth=fitted.position.position_smooth,
        target_volatility=fitted.target_volatility,
        volatility_span=experiment.target.volatility_span,
        max_weight=fitted.position.max_weight,
        bars_per_year=fitted.bars_per_year,
        weights_sha256=weights_sha256,
        production_start=experiment.periods.production_start.isoformat(),
        stamp=data.stamp,
        history_start=bars["timestamp"].sort()[0].isoformat(),
        recursive_features=tuple(name for name in spec.features if name in recursive),
        point_in_time="available_at" in bars.columns and not all(_of_table(name, data) for name in own),
    )


def _built(catalogue: FeatureCatalogue, data: DataSection) -> tuple[Feature, ...]:
    """The formulas of the built features."""
    raw = {name for row in catalogue.used for name in row.inputs}
    names = [row.name for row in catalogue.used]
    return resolve_features(
        sorted(raw),
        groups=(),
        names=names or None,
        has_market=data.market_symbol is not None,
        cross_markets=data.cross_markets,
    ).features


def _of_table(name: str, data: DataSection) -> bool:
    """Whether a column came from a table, which is point in time anyway."""
    return any(name.startswith(f"{table.prefix}_") for table in data.tables)


def feature_rows(features: Sequence[str], catalogue: FeatureCatalogue) -> list[dict[str, Any]]:
    """One row an input, in order: its formula and version, or that the source brings it."""
    known = {row.name: row.model_dump(mode="json") for row in catalogue.used}
    return [
        known.get(name, {"name": name, "group": "user", "formula": "a column of the source", "version": None})
        for name in features
    ]
