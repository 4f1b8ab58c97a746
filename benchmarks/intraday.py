"""The guide's day on made-up minutes: seconds a stage of `tft train`, PASS or FAIL against 30 minutes, an epoch against a peer.

The run is the public command's own code with the shipped experiments/intraday.yaml: freeze, features, exploration, tuning,
production with early stopping, audit, statistics, card and report. Its seconds are on the clock: run it on a machine that does
nothing else.

The peer is the guide's training loop as people write it: a plain nn.LSTM (2 layers, hidden 128) in PyTorch, windows of 64 bars
from a DataLoader, one label a window, batches of 32, Adam. Ours is one epoch of `fit_fold` on the same bars with labels at
every bar, of the shipped network (a Temporal Fusion Transformer) and of the guide's LSTM. All have the same labelled rows and
one thread, and take turns in one process; CPU seconds an epoch. That an epoch of theirs teaches what one of ours does is not
claimed here: they take a step for every 32 labels, ours for some thousand (benchmarks/time_to_loss.py compares losses).
"""

import one_thread  # noqa: F401

# isort: split
import json
import os
import tempfile
import time
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison import Comparison, arguments, of_timings
from pairing import alternate
from torch import nn
from torch.utils.data import DataLoader, Dataset

from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.minute_generator import generate_minute_bars
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.reports import FoldPlanReport, FoldSpec
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.model.windows import panel_tensors
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.panels import fold_panel
from tft_pipeline.pipeline.training import train_on_snapshot
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline.storage.frozen import write_frozen
from tft_pipeline.storage.layout import Layout

LIMIT_MINUTES = 30.0
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
LAST_DAY = date(2025, 10, 14)
THEIR_BATCH = 32
NAME = "bench_intraday"


def run(home: Path, *, days: int, epochs: int, patience: int, hidden: int, lookback: int) -> dict[str, Any]:
    """The whole day; seconds on the clock of each asset, folds of one asset together, and of all."""
    os.environ["TFT_HOME"] = str(home)
    layout = Layout(home)
    began = time.monotonic()
    bars = generate_minute_bars(SYMBOLS, start=LAST_DAY - timedelta(days=days), days=days, seed=7)
    bars = normalise_bars(bars, timezone=None, symbols=None, start=None, end=None, min_bars=1)
    snapshot = write_frozen(layout, bars, interval="1m", source={"name": "made up"})[1].snapshot_id
    stages = {"tft snapshot": time.monotonic() - began}
    answer = train_on_snapshot(
        snapshot, lookback=lookback, hidden=hidden, epochs=epochs, patience=patience, name=NAME, report=_quiet
    )
    if answer["failed"]:
        raise SystemExit(f"the run failed: {answer['failed']}")
    total = time.monotonic() - began
    rows = [json.loads(line) for line in layout.usage(NAME).read_text().splitlines()]
    for asset in dict.fromkeys(row["asset"] for row in rows):
        own = [row for row in rows if row["asset"] == asset]
        stages[asset] = _moment(max(row["ended_at"] for row in own)) - _moment(min(row["started_at"] for row in own))
    stages["starting runs and workers"] = total - sum(stages.values())
    return {
        "days": days,
        "rows": bars.height,
        "seconds": total,
        "stages": stages,
        "folds": sum(row["asset"] == "production_fold" for row in rows),
        "limit_s": 60.0 * LIMIT_MINUTES,
        "passed": total <= 60.0 * LIMIT_MINUTES,
        "accuracy": answer["accuracy"],
        "accuracy_ci_bars": answer["accuracy_ci_bars"],
        "base_rate": answer["base_rate"],
        "verdict": answer["verdict"],
    }


def compare(home: Path, *, bars: int, rounds: int) -> list[Comparison]:
    """One epoch on the last `bars` training bars of the newest production fold, ours against the guide's loop."""
    graph = ExperimentGraph(read_experiment(home / "trained" / f"{NAME}.yaml"), Layout(home))
    stored = read_artifact(graph.layout.artifact(NAME, "production_plan")).path(REPORT_FILE)
    spec = FoldPlanReport.model_validate_json(stored.read_text()).specs[-1]
    panel = fold_panel(graph, spec)
    fold = _end_of(spec, bars)
    theirs = Guide(panel, fold, spec)
    contestants = {"theirs": theirs.epoch}
    for family in ("tft", "lstm"):
        contestants[family] = _our_epoch(panel, fold, spec, family)
    timings = alternate(contestants, rounds=rounds, warmup=0)
    shapes = {
        "labels": len(theirs.windows),
        "lookback": spec.training.lookback,
        "hidden": spec.network.hidden,
        "batch_theirs": THEIR_BATCH,
        "batch_blocks_ours": spec.training.batch_blocks,
    }
    what = {"tft": "a TFT with labels at every bar", "lstm": "the guide's LSTM with labels at every bar"}
    return [
        of_timings(
            f"epoch of minutes, {family}",
            "pytorch, an LSTM on windows from a DataLoader",
            timings[family],
            timings["theirs"],
            shapes=shapes,
            remarks=(
                f"ours is {words}; ours also scales, validates on {fold.validation.n_bars} bars and keeps the best",
            ),
        )
        for family, words in what.items()
    ]


class Windows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """One window and whether its last bar's label is above zero, a labelled bar of a symbol each."""

    def __init__(self, values: torch.Tensor, labels: torch.Tensor, at: np.ndarray, lookback: int) -> None:
        self.values, self.labels, self.at, self.lookback = values, labels, at, lookback

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        s, t = self.at[k]
        return self.values[s, t - self.lookback + 1 : t + 1], self.labels[s, t]


class Guide:
    """The guide's network and loop: sigmoid(fc(lstm(x)[:, -1])) on shuffled windows."""

    def __init__(self, panel: Panel, fold: Fold, spec: FoldSpec) -> None:
        torch.manual_seed(0)
        train = panel.between(*fold.train)
        scaler = Scaler.fit(train.values, panel.features, observed=train.observed)
        tensors = panel_tensors(panel, scaler, start=fold.train.start, stop=fold.train.stop, target_volatility=1.0)
        lookback, hidden = spec.training.lookback, spec.network.hidden
        at = np.argwhere(tensors.outcomes.present.numpy())
        labels = (tensors.outcomes.label > 0).float()
        self.windows = Windows(tensors.values, labels, at[at[:, 1] >= lookback - 1], lookback)
        self.lstm = nn.LSTM(len(panel.features), hidden, num_layers=2, batch_first=True)
        self.fc = nn.Linear(hidden, 1)
        self.optimiser = torch.optim.Adam([*self.lstm.parameters(), *self.fc.parameters()], lr=1e-3)
        self.loss = nn.BCEWithLogitsLoss()

    def epoch(self) -> None:
        """Every window once."""
        torch.set_num_threads(1)
        for values, labels in DataLoader(self.windows, batch_size=THEIR_BATCH, shuffle=True):
            self.optimiser.zero_grad()
            loss = self.loss(self.fc(self.lstm(values)[0][:, -1]).squeeze(1), labels)
            loss.backward()
            self.optimiser.step()


def _our_epoch(panel: Panel, fold: Fold, spec: FoldSpec, family: str) -> Any:
    network = spec.network.model_copy(update={"family": family})

    def epoch() -> None:
        fit_fold(
            panel,
            fold,
            network=network,
            training=spec.training,
            position=spec.position,
            target_volatility=spec.target_volatility,
            horizon=spec.horizon,
            bars_per_year=spec.bars_per_year,
            epochs=1,
            seed=0,
        )

    return epoch


def _end_of(spec: FoldSpec, bars: int) -> Fold:
    """The fold with the last training bars alone, and a validation of a tenth of them."""
    fold = spec.fold
    start = max(fold.train.start, fold.train.stop - bars)
    stop = min(fold.validation.stop, fold.validation.start + max(bars // 10, 2 * spec.training.lookback))
    return Fold(
        key=fold.key, train=Span(start, fold.train.stop), validation=Span(fold.validation.start, stop), test=fold.test
    )


def _moment(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _quiet(line: str) -> None:
    """Progress is not what this prints."""


def _print(found: dict[str, Any], comparisons: list[Comparison]) -> None:
    low, high = found["accuracy_ci_bars"]
    print(f"{'stage':32} {'seconds':>9}")
    for name, seconds in found["stages"].items():
        print(f"{name:32} {seconds:9.1f}")
    print(f"{'all':32} {found['seconds']:9.1f}")
    print(
        f"{found['rows']:,} rows of {found['days']} days, {found['folds']} production folds: "
        f"{found['rows'] / found['seconds']:,.0f} rows/s; accuracy {found['accuracy']:.4f} "
        f"({low:.4f} to {high:.4f}), base rate {found['base_rate']:.4f}"
    )
    for one in comparisons:
        print(
            f"{one.name}: {one.ours:.1f} s of CPU, theirs {one.theirs:.1f} s for {one.shapes['labels']:,} labels: "
            f"{one.ratio:.1f} times as fast"
        )
    print(f"{'PASS' if found['passed'] else 'FAIL'}: {found['seconds'] / 60.0:.1f} of {LIMIT_MINUTES:.0f} minutes")


def main() -> int:
    """Run, compare, print; 1 where it took longer than the limit."""
    parser = arguments(__doc__)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--epochs", type=int, default=50, help="of a production fold, at most")
    parser.add_argument("--patience", type=int, default=7)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--lookback", type=int, default=64)
    parser.add_argument("--home", type=Path, help="where results stay; a temporary folder without it")
    parser.add_argument("--peer-bars", type=int, default=5_760, help="training bars of the epochs that are compared")
    parser.add_argument("--rounds", type=int, default=2, help="of those epochs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tft-intraday-") as temporary:
        home = (given.home or Path(temporary)).resolve()
        found = run(
            home,
            days=given.days,
            epochs=given.epochs,
            patience=given.patience,
            hidden=given.hidden,
            lookback=given.lookback,
        )
        comparisons = compare(home, bars=given.peer_bars, rounds=given.rounds) if given.rounds else []
    if given.json:
        print(json.dumps(found | {"comparisons": [asdict(one) for one in comparisons]}))
    else:
        _print(found, comparisons)
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
