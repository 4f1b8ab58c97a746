"""Our encoder-decoder network with pytorch-forecasting's weights, and proof that both say the same.

Axes: W windows, T bars of the lookback, V variables, N tokens (one symbol at one bar), H hidden. A window of consecutive
bars shares T - 1 of its tokens with the next one; variable selection looks at one token alone, so it runs once a token.
"""

import torch
from peers import pytorch_forecasting_batch
from pytorch_forecasting import TemporalFusionTransformer
from torch import Tensor

from tft_pipeline.model.conversion import from_pytorch_forecasting
from tft_pipeline.model.encoder_decoder import EncoderDecoderTft

TOLERANCE = 1e-4
"""Relative difference of outputs in float32, as the equivalence tests allow."""


def predict(network: EncoderDecoderTft, values: Tensor) -> Tensor:
    """values (W, T, V), no two windows sharing a token -> (W, 2)."""
    W, T, _ = values.shape
    future = values.new_zeros(W, 1, values.shape[2])
    return network(torch.cat((values, future), dim=1), torch.zeros(W, T + 1, 0, dtype=torch.long), T)[:, 0]


def predict_shared(network: EncoderDecoderTft, tokens: Tensor, windows: Tensor) -> Tensor:
    """tokens (N, V), windows (W, T) indices of tokens -> (W, 2); each token is selected once."""
    selected, contexts, future = select_tokens(network, tokens)
    return network.decode(selected[windows], future.expand(len(windows), 1, -1), contexts)[:, 0]


def select_tokens(network: EncoderDecoderTft, tokens: Tensor) -> tuple[Tensor, object, Tensor]:
    """tokens (N, V) -> selected (N, H), the contexts, the decoder step's empty input (1, 1, H)."""
    contexts, _ = network.contexts(tokens[:1], torch.zeros(1, 0, dtype=torch.long))
    selected, _ = network.select(tokens, torch.zeros(len(tokens), 0, dtype=torch.long), contexts.selection)
    return selected, contexts, selected.new_zeros(1, 1, selected.shape[1])


def windows_of(starts: Tensor, lookback: int) -> Tensor:
    """starts (W,) -> (W, T) indices of the bars of each window."""
    return starts[:, None] + torch.arange(lookback)


def like(theirs: TemporalFusionTransformer, values: Tensor) -> EncoderDecoderTft:
    """Our network with their weights, after both gave the same outputs on `values` (W, T, V).

    Their weights are moved off their first values, so that no term hides at zero or one.

    Raises:
        ValueError: outputs differ: what would be timed is not the same work.
    """
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    theirs.eval()
    network = from_pytorch_forecasting(theirs)
    with torch.inference_mode():
        refuse_difference(predict(network, values), theirs(pytorch_forecasting_batch(values)).prediction[:, 0])
    return network


def refuse_difference(ours: Tensor, theirs: Tensor) -> None:
    """Raise ValueError where two outputs differ by more than `TOLERANCE` of the largest."""
    difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    if not difference <= TOLERANCE:
        raise ValueError(
            f"outputs differ by {difference:.1e} of the largest, more than {TOLERANCE:.0e}: the contestants do not do the "
            "same work and their times cannot be compared; see the equivalence tests of the network"
        )
