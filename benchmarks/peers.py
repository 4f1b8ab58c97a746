"""Temporal Fusion Transformers of other libraries, driven without their data loaders: batch in, (mean, log scale) out.

Axes: W windows, T bars of the lookback, V variables. Every peer gets V encoder variables, hidden size 48, 4 heads, one LSTM
layer, one decoder step and two outputs. Theirs is the code, untouched; only what they ask to be fed is made here.
"""

import contextlib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_forecasting import TemporalFusionTransformer
from pytorch_forecasting.metrics import RMSE
from torch import Tensor, nn

LOOKBACK, HIDDEN, HEADS = 63, 48, 4
PEER_MISSING = 3
"""Exit code where a peer is not installed."""

Forward = Callable[[Tensor], Tensor]
"""values (W, T, V) -> (W, 2)."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes all contestants share.

    Attributes:
        width: of one variable's embedding, pytorch-forecasting's `hidden_continuous_size`; 48 is the paper's.
    """

    variables: int
    batch: int
    lookback: int = LOOKBACK
    hidden: int = HIDDEN
    width: int = HIDDEN
    heads: int = HEADS
    dropout: float = 0.0


def require(package: str) -> None:
    """Leave with exit code 3, the reason and the remedy, where a peer is not installed."""
    if importlib.util.find_spec(package) is None:
        print(
            f"the peer {package} is not installed, so that nothing can be compared with it and nothing was measured; "
            'install it with: pip install -c constraints.txt -e ".[peers]"',
            file=sys.stderr,
        )
        sys.exit(PEER_MISSING)


def quiet() -> None:
    """Switch off the peers' notices: standard output is the result's alone."""
    warnings.filterwarnings("ignore")
    noisy = (
        "lightning",
        "pytorch_lightning",
        "lightning.pytorch",
        "darts",
        "torch.onnx._internal.exporter._registration",
    )
    for name in noisy:
        logging.getLogger(name).setLevel(logging.ERROR)


def pytorch_forecasting(sizes: Sizes) -> TemporalFusionTransformer:
    """Its version 1 network for V encoder reals and no decoder input, as its `from_dataset` would build it."""
    quiet()
    reals = [f"x{v}" for v in range(sizes.variables)]
    model = TemporalFusionTransformer(
        hidden_size=sizes.hidden,
        lstm_layers=1,
        dropout=sizes.dropout,
        output_size=2,
        loss=RMSE(),
        attention_head_size=sizes.heads,
        max_encoder_length=sizes.lookback,
        hidden_continuous_size=sizes.width,
        time_varying_reals_encoder=reals,
        x_reals=reals,
        x_categoricals=[],
        embedding_sizes={},
        embedding_labels={},
        embedding_paddings=[],
        categorical_groups={},
    )
    model.output_transformer = None
    model.transform_output = lambda prediction, target_scale, loss=None: prediction
    return model


def pytorch_forecasting_batch(values: Tensor) -> dict[str, Tensor]:
    """values (W, T, V) -> what its `forward` reads."""
    W, T, V = values.shape
    return {
        "encoder_cat": torch.zeros(W, T, 0, dtype=torch.long),
        "encoder_cont": values,
        "decoder_cat": torch.zeros(W, 1, 0, dtype=torch.long),
        "decoder_cont": torch.zeros(W, 1, V),
        "encoder_lengths": torch.full((W,), T),
        "decoder_lengths": torch.ones(W, dtype=torch.long),
        "target_scale": torch.ones(W, 2),
    }


def peer_network(peer: str, sizes: Sizes) -> tuple[nn.Module, Forward]:
    """A network of a peer and how to call it; leaves with code 3 where it is not installed."""
    require(peer)
    quiet()
    if peer == "pytorch_forecasting":
        model = pytorch_forecasting(sizes)
        return model, lambda values: model(pytorch_forecasting_batch(values)).prediction[:, 0]
    build = {"neuralforecast": _neuralforecast, "darts": _darts}[peer]
    with contextlib.redirect_stdout(sys.stderr):
        return build(sizes)


def _neuralforecast(sizes: Sizes) -> tuple[nn.Module, Forward]:
    """Its TFT, which is NVIDIA's modelling; the target and its repetition as future input are two of the V variables."""
    from neuralforecast.losses.pytorch import MQLoss
    from neuralforecast.models import TFT

    model = TFT(
        h=1,
        input_size=sizes.lookback,
        hidden_size=sizes.hidden,
        n_head=sizes.heads,
        dropout=sizes.dropout,
        hist_exog_list=[f"x{v}" for v in range(sizes.variables - 2)],
        loss=MQLoss(quantiles=[0.1, 0.9]),  # two outputs; the loss itself is not called
    )

    def forward(values: Tensor) -> Tensor:
        batch = {"insample_y": values[..., :1], "hist_exog": values[..., 2:], "futr_exog": None, "stat_exog": None}
        return model(batch)[:, 0]

    return model, forward


def _darts(sizes: Sizes) -> tuple[nn.Module, Forward]:
    """Its port of pytorch-forecasting's; the target and its relative index are two of the V variables."""
    import numpy as np
    from darts import TimeSeries
    from darts.models import TFTModel
    from darts.utils.data.torch_datasets.utils import PLModuleInput
    from darts.utils.likelihood_models import GaussianLikelihood

    outer: Any = TFTModel(
        input_chunk_length=sizes.lookback,
        output_chunk_length=1,
        hidden_size=sizes.hidden,
        lstm_layers=1,
        num_attention_heads=sizes.heads,
        dropout=sizes.dropout,
        hidden_continuous_size=sizes.width,
        add_relative_index=True,
        likelihood=GaussianLikelihood(),  # two outputs; the likelihood itself is not called
        n_epochs=1,
        batch_size=1,
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
    )
    bars = np.random.default_rng(0).standard_normal((sizes.lookback + 1, sizes.variables - 1)).astype(np.float32)
    series = TimeSeries.from_values(bars)
    # its network is built by a fit: one step on one window
    outer.fit(series[series.components[0]], past_covariates=series[list(series.components[1:])])
    model = outer.model

    def forward(values: Tensor) -> Tensor:
        taken = PLModuleInput(past_target=values[..., :1], past_covariates=values[..., 2:])
        return model(taken).prediction[:, 0, 0]

    return model, forward
