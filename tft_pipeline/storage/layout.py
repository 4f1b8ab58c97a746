"""Every path the pipeline reads or writes. Nothing else builds paths."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders below one home; experiments never share a folder."""

    home: Path

    @property
    def dagster_home(self) -> Path:
        """Dagster's own databases: runs, events, schedules."""
        return self.home / "dagster"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's SQLite file."""
        return self.home / "mlflow" / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """MLflow's artifact folder."""
        return self.home / "mlflow" / "artifacts"

    @property
    def looks_ledger(self) -> Path:
        """Append-only record of every scoring of a production period, shared by all experiments."""
        return self.home / "production_looks.jsonl"

    @property
    def trials_ledger(self) -> Path:
        """Append-only record of the trials that studies started, shared by all experiments."""
        return self.home / "research_trials.jsonl"

    @property
    def frozen(self) -> Path:
        """Snapshots that a person froze with `tft snapshot`, one folder an id, shared by all experiments."""
        return self.home / "snapshots"

    def downloads(self, exchange: str, interval: str) -> Path:
        """Bars of an exchange, one folder a symbol and one file a UTC day in it."""
        return self.home / "downloads" / exchange / interval

    def experiment(self, name: str) -> Path:
        """All files of one experiment."""
        return self.home / "experiments" / name

    def artifact(self, name: str, asset: str, partition: str | None = None) -> Path:
        """Folder of an asset's versions; `current` in it points at the valid one."""
        folder = self.experiment(name) / asset
        return folder if partition is None else folder / partition

    def training_state(self, name: str, phase: str, key: str) -> Path:
        """State of a fold's training while it trains, from which a killed fit goes on."""
        return self.experiment(name) / "training" / f"{phase}-{key}.safetensors"

    def study(self, name: str) -> Path:
        """Optuna's SQLite file."""
        return self.experiment(name) / "tuning" / "study.db"

    def tuning_control(self, name: str) -> Path:
        """File that steers a running study."""
        return self.experiment(name) / "tuning" / "control.json"

    def tuning_control_log(self, name: str) -> Path:
        """Every change of what that file says."""
        return self.experiment(name) / "tuning" / "control_log.jsonl"

    def usage(self, name: str) -> Path:
        """Append-only record of what each computed asset and fold took."""
        return self.experiment(name) / "usage.jsonl"

    def background(self, name: str) -> Path:
        """Logs of runs in the background."""
        return self.experiment(name) / "background"

    def run_lock(self, name: str) -> Path:
        """Locked while a run works on the whole experiment."""
        return self.experiment(name) / "run.lock"

    def writer_lock(self, name: str, asset: str, partition: str | None = None) -> Path:
        """Locked while one run computes and stores an asset or one partition of it."""
        return self.experiment(name) / "locks" / (f"{asset}.lock" if partition is None else f"{asset}@{partition}.lock")

    @property
    def slots(self) -> Path:
        """One file a core of this machine, locked while a process computes on it."""
        return self.home / "slots" / socket.gethostname()

    def tracking(self, name: str) -> Path:
        """Local journal of fold metrics, mirrored to MLflow."""
        return self.experiment(name) / "tracking"

    def ensemble(self, name: str) -> Path:
        """Weights of the newest blend in the guide's form; the record itself is the asset `ensemble_weights`."""
        return self.experiment(name) / "ensemble" / "ensemble.json"

    def models(self, name: str) -> Path:
        """Released versions and the `current` link."""
        return self.experiment(name) / "models"


def default_layout() -> Layout:
    """The home named by `TFT_HOME`, else `data/` of this checkout."""
    named = os.environ.get("TFT_HOME")
    return Layout(Path(named).expanduser().resolve() if named else PROJECT_ROOT / "data")
