"""pytorch-forecasting's own data loader over a panel. Not here: ours, which is an index into a tensor.

Axes: S symbols, N bars, V variables, T bars of the lookback.
"""

import numpy as np
import pandas as pd
from pytorch_forecasting import TimeSeriesDataSet
from torch.utils.data import DataLoader


def forecasting_loader(values: np.ndarray, labels: np.ndarray, *, lookback: int, batch: int, train: bool) -> DataLoader:
    """Batches of windows of `lookback` bars, each with the label of its last bar; random order in training.

    Its decoder step stands one bar behind the encoder's last one, so the label of bar t is put at bar t + 1.

    Args:
        values: (S, N, V) float32, without NaN. labels: (S, N).
        train: shuffle, and drop a last batch that is not full, as its `to_dataloader` does.
    """
    S, N, V = values.shape
    names = [f"x{v}" for v in range(V)]
    frame = pd.DataFrame(values.reshape(S * N, V), columns=names)
    frame["series"] = np.repeat([f"s{s:03d}" for s in range(S)], N)
    frame["bar"] = np.tile(np.arange(N), S)
    frame["label"] = np.concatenate((np.zeros((S, 1), dtype=labels.dtype), labels[:, :-1]), axis=1).reshape(-1)
    data = TimeSeriesDataSet(
        frame,
        time_idx="bar",
        target="label",
        group_ids=["series"],
        max_encoder_length=lookback,
        min_encoder_length=lookback,
        max_prediction_length=1,
        time_varying_unknown_reals=names,
        scalers=dict.fromkeys(names),  # the values are scaled already
        target_normalizer=None,
    )
    return data.to_dataloader(train=train, batch_size=batch, num_workers=0)
