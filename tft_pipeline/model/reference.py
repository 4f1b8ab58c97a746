"""pytorch-forecasting's TemporalFusionTransformer behind the interface of every family. Not here: our own (`network`).

It encodes the bars of a window and forecasts its decoder step, the bar after them; so a forecast at every bar of a window is
one window a bar. Its variables are all of the unknown future: there is no known-future and no static input.
Axes: W windows, T bars, V variables, H hidden; n windows cut from the W, L bars of the longest of them.
"""

import warnings
from typing import Any

import pandas as pd
import torch
from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet
from pytorch_forecasting.metrics import MAE
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.batch import Interpretation, WindowBatch
from tft_pipeline.model.heads import Forecast, LossMode, build_head

VALUES_A_CHUNK = 524_288
"""Values of windows run at once: it keeps about ten numbers of H for each of them."""


class ReferenceTft(nn.Module):
    """pytorch-forecasting's network up to its output layer, and our head, whose first layer stands in for that one.

    Bar t of a window is forecast from bars 0 .. t alone: an encoder of t + 1 bars and a decoder of one. It has no mask inside
    a window, so a bar that is not observed is an encoder bar of zeros, which is the training mean. Runs in float32 only: its
    own forward makes float32 zeros of the decoder's missing inputs.

    Args:
        lookback: T, the longest encoder it is configured for.
    """

    def __init__(self, n_variables: int, section: NetworkSection, loss_mode: LossMode, *, lookback: int) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # It saves its loss and its metrics as hyperparameters; Lightning advises its authors against it.
            warnings.filterwarnings(
                "ignore", message=r"Attribute '(loss|logging_metrics)' is an instance of `nn.Module`"
            )
            self.transformer = TemporalFusionTransformer.from_dataset(
                window_dataset(_template(n_variables, lookback), n_variables, lookback),
                hidden_size=section.hidden,
                attention_head_size=section.heads,
                lstm_layers=section.lstm_layers,
                dropout=section.dropout,
                hidden_continuous_size=section.variable_hidden,
                output_size=1,
                loss=MAE(),  # never called: the head's loss trains it
                logging_metrics=nn.ModuleList(),
                dataset_parameters=None,  # else it carries the template about as a hyperparameter
            )
        self.transformer.output_layer = nn.Identity()
        _name_each_weight_once(self.transformer)
        self.head = build_head(section.hidden, loss_mode)

    def forecast(self, windows: WindowBatch) -> Forecast:
        """Forecast of (W, T), from W * T windows of 1 .. T bars."""
        W, T, _ = windows.values.shape
        hidden = self._hidden(_known(windows), *_every_bar(windows))
        found: Forecast = self.head(hidden.view(T, W, -1).transpose(0, 1))
        return found

    def forecast_last(self, windows: WindowBatch) -> Forecast:
        """Forecast of (W), from the W whole windows."""
        found: Forecast = self.head(self._hidden(_known(windows), *_last_bar(windows)))
        return found

    def interpret(self, windows: WindowBatch) -> Interpretation:
        """Weights (W, T, V) of its encoder variables and attention (W, T, T) of each bar's decoder step to its encoder."""
        W, T, _ = windows.values.shape
        values, (window, last) = _known(windows), _every_bar(windows)
        parts = []
        for rows in self._chunks(values, len(window)):
            shares = self._run(values, window[rows], last[rows]).encoder_attention[:, 0].mean(1)  # (n, L)
            parts.append(functional.pad(shares, (0, T - shares.shape[1])))
        return Interpretation(self.weights(windows), torch.cat(parts).view(T, W, T).transpose(0, 1))

    def weights(self, windows: WindowBatch) -> Tensor:
        """Its encoder's variable selection weights (W, T, V); a bar's row depends on that bar's own values alone."""
        values, (window, last) = _known(windows), _last_bar(windows)
        parts = [
            self._run(values, window[rows], last[rows]).encoder_variables.squeeze(-2)
            for rows in self._chunks(values, len(window))
        ]
        return torch.cat(parts)

    def _hidden(self, values: Tensor, window: Tensor, last: Tensor) -> Tensor:
        """values (W, T, V), window (n), last (n) -> (n, H) before the output layer.

        In training each chunk is run again in the backward pass: the activations of W * T windows are too many to keep.
        """
        chunks = self._chunks(values, len(window))
        if len(chunks) == 1 or not torch.is_grad_enabled():
            return torch.cat([self._decoder_step(values, window[rows], last[rows]) for rows in chunks])
        parts = [
            checkpoint(self._decoder_step, values, window[rows], last[rows], use_reentrant=False) for rows in chunks
        ]
        return torch.cat(parts)

    def _decoder_step(self, values: Tensor, window: Tensor, last: Tensor) -> Tensor:
        out: Tensor = self._run(values, window, last).prediction[:, 0]
        return out

    def _run(self, values: Tensor, window: Tensor, last: Tensor) -> Any:
        """Its own forward, on bars 0 .. last of each window."""
        return self.transformer(window_inputs(values, window, last))

    def _chunks(self, values: Tensor, n: int) -> list[slice]:
        step = max(1, VALUES_A_CHUNK // values[0].numel())
        return [slice(first, min(first + step, n)) for first in range(0, n, step)]


def window_dataset(frame: pd.DataFrame, n_variables: int, lookback: int) -> TimeSeriesDataSet:
    """The dataset that our windows stand for: columns series, bar, target and x0 .. x(V-1), none scaled again.

    An encoder of 1 .. lookback bars of the x, a decoder of one bar with the target.
    """
    names = _variables(n_variables)
    return TimeSeriesDataSet(
        frame,
        time_idx="bar",
        target="target",
        group_ids=["series"],
        max_encoder_length=lookback,
        min_encoder_length=1,
        max_prediction_length=1,
        time_varying_unknown_reals=names,
        target_normalizer=None,
        scalers=dict.fromkeys(names),
        add_encoder_length=False,
    )


def window_inputs(values: Tensor, window: Tensor, last: Tensor) -> dict[str, Tensor]:
    """What the dataset's loader gives for bars 0 .. last[i] of values[window[i]]: padded behind, up to the longest.

    The decoder bar's inputs are zero: the network reads none of them.

    Args:
        values: (W, T, V).
        window: (n) long.
        last: (n) long, each in 0 .. T-1.
    Returns:
        encoder_cont (n, L, V), decoder_cont (n, 1, V), encoder_cat and decoder_cat without columns, encoder_lengths and
        decoder_lengths (n), target_scale (n, 2): centre 0 and scale 1.
    """
    n, longest = len(window), int(last.max()) + 1
    inside = torch.arange(longest, device=values.device) <= last.unsqueeze(1)  # (n, L)
    return {
        "encoder_cont": values[window, :longest] * inside.unsqueeze(-1),
        "encoder_cat": last.new_zeros(n, longest, 0),
        "encoder_lengths": last + 1,
        "decoder_cont": values.new_zeros(n, 1, values.shape[-1]),
        "decoder_cat": last.new_zeros(n, 1, 0),
        "decoder_lengths": torch.ones_like(last),
        "target_scale": values.new_tensor([0.0, 1.0]).expand(n, 2),
    }


def _known(windows: WindowBatch) -> Tensor:
    return windows.values * windows.observed.unsqueeze(-1)


def _every_bar(windows: WindowBatch) -> tuple[Tensor, Tensor]:
    """window and last (T W): every bar of every window, short windows first, so that a chunk pads little."""
    W, T, _ = windows.values.shape
    rows, bars = torch.arange(W, device=windows.values.device), torch.arange(T, device=windows.values.device)
    return rows.repeat(T), bars.repeat_interleave(W)


def _last_bar(windows: WindowBatch) -> tuple[Tensor, Tensor]:
    """window and last (W): the whole of every window."""
    W, T, _ = windows.values.shape
    rows = torch.arange(W, device=windows.values.device)
    return rows, torch.full_like(rows, T - 1)


def _variables(n_variables: int) -> list[str]:
    """Their names here; a feature's own name may hold a dot, which a module's may not."""
    return [f"x{v}" for v in range(n_variables)]


def _template(n_variables: int, lookback: int) -> pd.DataFrame:
    """One series of zeros, one bar longer than the lookback: what a dataset needs to be configured."""
    columns = dict.fromkeys(("target", *_variables(n_variables)), 0.0)
    return pd.DataFrame({"series": "s", "bar": range(lookback + 1), **columns})


def _name_each_weight_once(transformer: nn.Module) -> None:
    """Take the second names of its shared parts out of the state: a safetensors file refuses two names of one weight.

    Encoder and decoder share the gate and the norm behind the LSTM; the decoder's become plain attributes. The variables'
    first layers are listed by the network and by its encoder's variable selection, which alone uses them.
    """
    for alias, owner in (
        ("post_lstm_gate_decoder", "post_lstm_gate_encoder"),
        ("post_lstm_add_norm_decoder", "post_lstm_add_norm_encoder"),
    ):
        delattr(transformer, alias)
        object.__setattr__(transformer, alias, getattr(transformer, owner))  # past nn.Module, which would list it again
    del transformer.prescalers
