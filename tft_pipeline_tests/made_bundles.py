"""Release bundles of small fits, without a run: for tests of what reads them."""

from pathlib import Path

import polars as pl

from tft_pipeline.domain.signature import Signature
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.released_form import ExportedForms, export_forms
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.fold_bundles import FoldBundle, write_fold_bundle
from tft_pipeline.storage.release_bundle import FORM_FILES, SIGNATURE_FILE, ReleaseBundle, read_release_bundle


def signature_of(fitted: FittedFold, exported: ExportedForms, weights_sha256: str) -> Signature:
    """Of a fit on `oracles.model_panels.random_panel`: its features are the user's own columns."""
    return Signature(
        experiment="made_up",
        features=fitted.scaler.names,
        feature_versions={},
        user_columns=fitted.scaler.names,
        max_lookback=1,
        lookback=fitted.training.lookback,
        horizon=fitted.horizon,
        interval="1d",
        timezone=None,
        calendar={"kind": "regular", "step_s": 86400},
        symbols=("S0", "S1", "S2"),
        static_symbols=fitted.symbols,
        loss_mode=fitted.training.loss_mode,
        outputs=exported.outputs,
        quantile_levels=exported.quantile_levels,
        forms={name: FORM_FILES[name] for name in exported.models},
        left_out=exported.left_out,
        form="eager",
        scaler=fitted.scaler,
        max_position=fitted.position.max_position,
        position_smooth=fitted.position.position_smooth,
        target_volatility=fitted.target_volatility,
        volatility_span=20,
        max_weight=fitted.position.max_weight,
        bars_per_year=fitted.bars_per_year,
        weights_sha256=weights_sha256,
        production_start="2020-04-01",
    )


def made_bundle(root: Path, fitted: FittedFold, *, version: str = "r1") -> ReleaseBundle:
    """Written below `root`, current there, and read back; without card and gates, which no reader of it needs."""
    exported = export_forms(fitted, judged="eager", seed=0)
    fold = FoldBundle(
        key="f",
        spec_sha256="",
        fitted=fitted,
        class_balance={"pos": 1, "neg": 1},
        boosting="no trees",
        predictions=pl.DataFrame({"fold": ["f"]}),
        seconds=0.0,
    )
    stored = write_artifact(root.with_name(f"{root.name}-fold"), lambda folder: write_fold_bundle(fold, folder))
    signature = signature_of(fitted, exported, stored.files["weights.safetensors"])

    def fill(folder: Path) -> None:
        for name in stored.files:
            (folder / name).write_bytes(stored.path(name).read_bytes())
        for name, model in exported.models.items():
            (folder / FORM_FILES[name]).write_bytes(model)
        (folder / SIGNATURE_FILE).write_text(canonical_json(signature.to_dict()))

    return read_release_bundle(write_artifact(root, fill, version=version).folder)
