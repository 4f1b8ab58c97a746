"""From features in memory to windows that can be trained on, against pytorch-forecasting's TimeSeriesDataSet.

Ours: the look for infinite values, the scaler's fit on the observed bars, the scaled contiguous tensor, outcomes and masks;
windows are indices into it.
Theirs: the constructor, which scales every column and indexes every window. Input formats are ready before the clock starts:
ours a panel, theirs a pandas frame. Neither side fetches a batch here: `train_step.py --mode block` does.

`ours`, `theirs` and `ratio` are of the same `peer_rows` rows, without missing values, which the peer refuses. `details` has
ours alone at all `rows`, 1 % of values missing and every seventh symbol listed late: seconds on the clock, and the memory
beyond the panel at its highest. Memory is the kernel's figure, Linux only; null elsewhere.
"""

import one_thread  # noqa: F401

# isort: split
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import psutil
import torch
from comparison import Comparison, arguments, of_timings, show
from pairing import alternate
from pytorch_forecasting import TimeSeriesDataSet

from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.windows import PanelTensors, panel_tensors, refuse_infinite

LOOKBACK = 64
MISSING = 0.01
OUTCOMES = ("next_return", "volatility", "label", "close")


def panel_of(rows: int, features: int, symbols: int, *, gaps: bool) -> Panel:
    """Standard normal features, S symbols of rows / S bars; with gaps also missing values and late listings."""
    random = np.random.default_rng(0)
    S, N = symbols, rows // symbols
    values = np.empty((S, N, features), dtype=np.float32)
    observed = np.ones((S, N), dtype=bool)
    for s in range(S):  # a symbol at a time: the panel's own making must not be the peak
        random.standard_normal(out=values[s], dtype=np.float32)
        if gaps:
            values[s][random.random(values[s].shape, dtype=np.float32) < MISSING] = np.nan
    if gaps:
        observed[::7, : N // 10] = False
    return Panel(
        calendar=tuple(datetime(2000, 1, 1, tzinfo=UTC) + timedelta(minutes=bar) for bar in range(N)),
        symbols=tuple(f"S{s:05d}" for s in range(S)),
        features=tuple(f"x{v}" for v in range(features)),
        values=values,
        observed=observed,
        **{name: random.uniform(0.1, 0.3, (S, N)) for name in OUTCOMES},
    )


def windows_of(panel: Panel) -> PanelTensors:
    """What a fold does before its first step, on all bars of the panel."""
    refuse_infinite(panel)
    scaler = Scaler.fit(panel.values, panel.features, observed=panel.observed)
    return panel_tensors(panel, scaler, start=0, stop=panel.n_bars, target_volatility=0.15)


def peer_frame(panel: Panel) -> pd.DataFrame:
    """The panel's rows as the peer wants them."""
    S, N, V = panel.values.shape
    frame = pd.DataFrame(panel.values.reshape(S * N, V), columns=list(panel.features))
    frame["series"] = np.repeat(panel.symbols, N)
    frame["bar"] = np.tile(np.arange(N), S)
    frame["label"] = panel.label.reshape(-1).astype(np.float32)
    return frame


def peer_windows(frame: pd.DataFrame, features: tuple[str, ...]) -> TimeSeriesDataSet:
    """Every window of `LOOKBACK` bars and the bar after it."""
    return TimeSeriesDataSet(
        frame,
        time_idx="bar",
        target="label",
        group_ids=["series"],
        max_encoder_length=LOOKBACK,
        min_encoder_length=LOOKBACK,
        max_prediction_length=1,
        time_varying_unknown_reals=list(features),
        target_normalizer=None,
    )


def long_frames(panel: Panel) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features and targets as the pipeline stores them: one row a symbol and bar, sorted."""
    S, N, V = panel.values.shape
    rows = panel.values.reshape(S * N, V)
    stamps = pl.Series("timestamp", panel.calendar, dtype=pl.Datetime("us", "UTC"))
    keys = pl.DataFrame({"symbol": panel.symbols}).join(stamps.to_frame(), how="cross").select("timestamp", "symbol")
    features = keys.with_columns(pl.Series(name, rows[:, v].copy()) for v, name in enumerate(panel.features))
    return features, keys.with_columns(pl.Series(name, getattr(panel, name).reshape(-1)) for name in OUTCOMES)


def peak_extra(call: Callable[[], object]) -> int | None:
    """Bytes by which this process grows, at most, in one call; the result is held until it is measured."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not reset.exists():
        return None
    before = psutil.Process().memory_info().rss
    reset.write_text("5")
    held = call()
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    del held
    return int(line.split()[1]) * 1024 - before


def alone(panel: Panel, *, rounds: int, from_frame: bool) -> dict[str, Any]:
    """Ours on one panel: median seconds on the clock and peak memory as a share of the values."""
    data = panel.values.nbytes
    peak = peak_extra(lambda: windows_of(panel))
    timing = alternate({"windows": lambda: windows_of(panel)}, rounds=rounds, warmup=0)["windows"]
    rows = panel.observed.size
    details = {
        "rows": rows,
        "data_bytes": data,
        "peak_extra_bytes": peak,
        "peak_extra_of_data": None if peak is None else peak / data,
        "wall_s": timing.wall_median,
        "cpu_s": timing.cpu_median,
        "rows_a_wall_s": rows / timing.wall_median,
    }
    if from_frame:
        features, targets = long_frames(panel)

        def build() -> Panel:
            return build_panel(features, targets, names=panel.features, min_history=1)

        built = peak_extra(build)
        first = alternate({"panel": build}, rounds=rounds, warmup=0)["panel"]
        details["panel_from_frame"] = {
            "wall_s": first.wall_median,
            "cpu_s": first.cpu_median,
            "peak_extra_of_data": None if built is None else built / data,
        }
    return details


def compare(rows: int, features: int, symbols: int, *, peer_rows: int, rounds: int, from_frame: bool) -> Comparison:
    """Ours alone at `rows`, then both in turn at `peer_rows`."""
    torch.set_num_threads(1)
    windows_of(panel_of(100 * symbols, features, symbols, gaps=True))  # loads what is loaded once
    large = alone(panel_of(rows, features, symbols, gaps=True), rounds=rounds, from_frame=from_frame)
    panel = panel_of(peer_rows, features, symbols, gaps=False)
    frame = peer_frame(panel)
    peaks = {
        "ours": peak_extra(lambda: windows_of(panel)),
        "theirs": peak_extra(lambda: peer_windows(frame, panel.features)),
    }
    timings = alternate(
        {"theirs": lambda: peer_windows(frame, panel.features), "ours": lambda: windows_of(panel)},
        rounds=rounds,
        warmup=0,
    )
    result = of_timings(
        "windows ready to train",
        "pytorch_forecasting",
        timings["ours"],
        timings["theirs"],
        shapes={
            "rows": large["rows"],
            "peer_rows": panel.observed.size,
            "features": features,
            "symbols": symbols,
            "lookback": LOOKBACK,
        },
        remarks=(
            f"seconds and ratio at {panel.observed.size:,} rows",
            f"ours at {large['rows']:,} rows: {large['wall_s']:.2f} s on the clock, {large['cpu_s']:.2f} s of CPU; "
            f"memory beyond the panel: {_share(large['peak_extra_of_data'])}",
        ),
    )
    n = panel.observed.size
    result.details.update(
        large=large,
        rows_a_wall_s={side: n / timings[side].wall_median for side in ("ours", "theirs")},
        peak_extra_of_data={side: None if peak is None else peak / panel.values.nbytes for side, peak in peaks.items()},
    )
    return result


def _share(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.2f}x its values"


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--features", type=int, default=73)
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument(
        "--peer-rows", type=int, default=1_000_000, help="rows of the paired run; at most --rows are used"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--from-frame", action="store_true", help="also time the panel's making out of long frames")
    given = parser.parse_args()
    peer_rows = min(given.rows, given.peer_rows)
    if peer_rows // given.symbols <= LOOKBACK:
        parser.error(
            f"{peer_rows} rows of {given.symbols} symbols are no window of {LOOKBACK} bars each; give more rows"
        )
    show(
        compare(
            given.rows,
            given.features,
            given.symbols,
            peer_rows=peer_rows,
            rounds=given.rounds,
            from_frame=given.from_frame,
        ),
        as_json=given.json,
    )


if __name__ == "__main__":
    main()
