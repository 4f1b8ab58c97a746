"""A panel's values scaled as whole arrays, one formula a line: slow and of several times the panel's size."""

import numpy as np

from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler


def scaled_values(panel: Panel, scaler: Scaler) -> tuple[np.ndarray, np.ndarray]:
    """Values (S, N, V) float32, zero where missing or not observed, and missing values of observed bars by feature (V,)."""
    z = np.clip((panel.values.astype(np.float64) - scaler.mean) / scaler.std, -scaler.clip, scaler.clip)
    for v, name in enumerate(panel.features):
        if name in scaler.flat:
            z[..., v] = np.where(np.isnan(z[..., v]), np.nan, 0.0)
    absent = np.isnan(z)
    missing = (absent & panel.observed[..., None]).sum(axis=(0, 1))
    return np.where(absent | ~panel.observed[..., None], 0.0, z).astype(np.float32), missing
