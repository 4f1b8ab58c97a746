"""Which code and which libraries made a file: versions and commit, never machine paths."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline.storage.layout import PROJECT_ROOT

PACKAGES = ("tft-pipeline", "polars", "numpy", "scipy", "torch", "lightning", "lightgbm", "optuna", "dagster")


def utc_now() -> datetime:
    """The time, UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def environment_record() -> dict[str, Any]:
    """Versions of Python and libraries, commit and whether it was modified, hash of the pinned versions."""
    constraints = PROJECT_ROOT / "constraints.txt"
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: _version(name) for name in PACKAGES},
        "code_commit": commit,
        "code_modified": None if changes is None else bool(changes),
        "constraints_sha256": sha256_file(constraints) if constraints.is_file() else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Output of git in the checkout; None where the code is not a checkout or git is not installed."""
    if not (PROJECT_ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
