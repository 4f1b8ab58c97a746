"""pytorch-forecasting's network and its batches: the same mathematics in other hands."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytorch_forecasting import TemporalFusionTransformer
from pytorch_forecasting.metrics import QuantileLoss
from torch import Tensor, nn

from tft_pipeline_tests.oracles.model_panels import randomised

QUANTILES = [0.1, 0.5, 0.9]


def peer_transformer(
    *,
    encoder: int,
    known: int = 0,
    static: int = 0,
    categories: bool = False,
    hidden: int = 8,
    width: int = 8,
    heads: int = 2,
    layers: int = 1,
    dropout: float = 0.0,
    bars: int = 12,
) -> TemporalFusionTransformer:
    """Their network with random weights in float64.

    Args:
        encoder: real inputs of the past only. known: reals known ahead, read by encoder and decoder. static: reals.
        categories: adds a static, a known and a past categorical input.
    """
    past = [f"x{i}" for i in range(encoder)]
    future, fixed = [f"k{i}" for i in range(known)], [f"s{i}" for i in range(static)]
    names = ["group", "weekday", "regime"] if categories else []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Attribute '(loss|logging_metrics)' is an instance")
        model = TemporalFusionTransformer(
            hidden_size=hidden,
            hidden_continuous_size=width,
            attention_head_size=heads,
            lstm_layers=layers,
            dropout=dropout,
            output_size=len(QUANTILES),
            loss=QuantileLoss(QUANTILES),
            max_encoder_length=bars,
            static_reals=fixed,
            static_categoricals=names[:1],
            time_varying_reals_encoder=past + future,
            time_varying_reals_decoder=future,
            time_varying_categoricals_encoder=names[1:],
            time_varying_categoricals_decoder=names[1:2],
            x_reals=fixed + past + future,
            x_categoricals=names,
            embedding_sizes=dict(zip(names, [(4, 3), (5, hidden), (3, 2)], strict=True)) if categories else {},
            embedding_labels={},
            embedding_paddings=[],
            categorical_groups={},
            causal_attention=True,
        )
    model.output_transformer = None
    return randomised(model)


def peer_batch(model: TemporalFusionTransformer, *, windows: int, bars: int, steps: int) -> dict[str, Tensor]:
    """What their data loader would give: encoder and decoder tensors of random inputs, all windows full."""
    generator = torch.Generator().manual_seed(4)
    dtype = next(model.parameters()).dtype
    n_reals, names = len(model.hparams.x_reals), model.hparams.x_categoricals
    reals = torch.randn(windows, bars + steps, n_reals, generator=generator, dtype=dtype)
    for column, name in enumerate(model.hparams.x_reals):
        if name in model.hparams.static_reals:
            reals[..., column] = reals[:, :1, column]
    sizes = [model.input_embeddings.embedding_sizes[name][0] for name in names]
    columns = [torch.randint(0, size, (windows, bars + steps, 1), generator=generator) for size in sizes]
    levels = torch.cat([torch.empty(windows, bars + steps, 0, dtype=torch.long), *columns], dim=-1)
    for column, name in enumerate(names):
        if name in model.hparams.static_categoricals:
            levels[..., column] = levels[:, :1, column]
    return {
        "encoder_cat": levels[:, :bars],
        "decoder_cat": levels[:, bars:],
        "encoder_cont": reals[:, :bars],
        "decoder_cont": reals[:, bars:],
        "encoder_lengths": torch.full((windows,), bars),
        "decoder_lengths": torch.full((windows,), steps),
        "target_scale": torch.ones(windows, 2, dtype=dtype),
    }


def peer_outputs(model: TemporalFusionTransformer, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their raw outputs, before any rescaling to the target."""
    model.transform_output = lambda prediction, target_scale, loss=None: prediction
    with _precision_of(batch["encoder_cont"]):
        out = model(batch)
    attention = torch.cat((out["encoder_attention"], out["decoder_attention"]), dim=-1)  # (W, Q, M, T + Q)
    return {
        "prediction": out["prediction"],
        "encoder_weights": out["encoder_variables"].squeeze(-2),
        "decoder_weights": out["decoder_variables"].squeeze(-2),
        "static_weights": out["static_variables"].squeeze(-2)
        if out["static_variables"].ndim == 3
        else out["static_variables"],
        "attention": attention.mean(2),
    }


@contextmanager
def _precision_of(x: Tensor) -> Iterator[None]:
    """For float64: its zeros for absent inputs have the default dtype, and torch 2.13 hands packed sequences to oneDNN's LSTM,
    which has no float64 (`backends.mkldnn.flags` would warn of TF32)."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(x.dtype)
    torch._C._set_mkldnn_enabled(x.dtype is not torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        torch._C._set_mkldnn_enabled(True)


def unshared(model: nn.Module) -> dict[str, Tensor]:
    """Gradients by parameter name; zero where there is none."""
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in model.named_parameters()
    }
