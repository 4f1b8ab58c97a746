"""A released tft of drawn weights, as live code meets it: how long an answer takes does not depend on them."""

import numpy as np
import torch
from peers import HEADS

from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline.domain.signature import Signature
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.network import Tft, count_parameters
from tft_pipeline.model.released_form import ExportedForms
from tft_pipeline.storage.release_bundle import FORM_FILES

SYMBOL = "AAA"


def untrained_fold(variables: int, *, lookback: int, hidden: int, loss_mode: str) -> FittedFold:
    """Seed 0; the scaler leaves values as they are."""
    torch.manual_seed(0)
    section = NetworkSection(hidden=hidden, heads=HEADS, variable_hidden=hidden, dropout=0.0)
    training = TrainingSection(lookback=lookback, warmup_bars=min(21, lookback - 1), loss_mode=loss_mode)
    network = Tft(variables, section, training.loss_mode)
    return FittedFold(
        network=section,
        training=training,
        position=PositionSection(),
        target_volatility=0.15,
        horizon=1,
        bars_per_year=252.0,
        scaler=Scaler(
            names=tuple(f"x{v}" for v in range(variables)),
            mean=np.zeros(variables),
            std=np.ones(variables),
            n=np.ones(variables),
        ),
        state={name: value.detach().contiguous() for name, value in network.state_dict().items()},
        history=(),
        best_epoch=0,
        n_parameters=count_parameters(network),
        n_train_labels=1,
        n_validation_labels=1,
        missing={},
        seed=0,
    )


def signature_of(fitted: FittedFold, exported: ExportedForms, *, form: str, weights_sha256: str) -> Signature:
    """Of one symbol on a bar a minute, with the forms that were exported."""
    return Signature(
        experiment="benchmark",
        features=fitted.scaler.names,
        feature_versions={},
        user_columns=fitted.scaler.names,
        max_lookback=1,
        lookback=fitted.training.lookback,
        horizon=fitted.horizon,
        interval="1m",
        timezone=None,
        calendar={"kind": "regular", "step_s": 60, "words": "a bar a minute"},
        symbols=(SYMBOL,),
        loss_mode=fitted.training.loss_mode,
        outputs=exported.outputs,
        quantile_levels=exported.quantile_levels,
        forms={name: FORM_FILES[name] for name in exported.models},
        left_out=exported.left_out,
        form=form,
        scaler=fitted.scaler,
        max_position=fitted.position.max_position,
        position_smooth=fitted.position.position_smooth,
        target_volatility=fitted.target_volatility,
        volatility_span=60,
        max_weight=10.0,
        bars_per_year=fitted.bars_per_year,
        weights_sha256=weights_sha256,
        production_start="2020-01-01",
    )
