"""Checks of `tft doctor`: the SQLite files of Dagster, MLflow and the studies, and runs that are dead.

Files are opened for reading, and where nobody writes as files that do not change, so that SQLite writes nothing beside them.
Only what asks Dagster itself lets it open its databases, and not where it would make one that is missing.
"""

import importlib.util
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import yaml

from tft_pipeline.domain.credentials import without_credentials
from tft_pipeline.pipeline.doctor_findings import OK, PROBLEM, WARNING, Finding
from tft_pipeline.pipeline.reaping import UNFINISHED, how_it_ended
from tft_pipeline.pipeline.tracking import URI_VARIABLE
from tft_pipeline.storage.layout import PROJECT_ROOT, Layout

DAGSTER_FILES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
SHOWN_RUNS = 5


def dagster(layout: Layout) -> list[Finding]:
    """Dagster's databases: they open, and their schema is that of the installed version."""
    home = layout.dagster_home
    if not home.is_dir():
        return [Finding("dagster", OK, "no database yet; the first run or `make dev` makes it")]
    if _elsewhere(home):
        with dg.DagsterInstance.from_config(str(home)) as instance:
            return [Finding("dagster", OK, f"its server answers: {instance.get_runs_count()} runs")]
    head = _head(Path(str(_package("dagster"))) / "_core" / "storage" / "alembic")
    return [one for name in DAGSTER_FILES for one in _judged("dagster", home / name, head, "dagster instance migrate")]


def dead_runs(layout: Layout) -> list[Finding]:
    """Runs that are recorded as under way, and whose process is gone."""
    home = layout.dagster_home
    if not _elsewhere(home) and not any((home / name).is_file() for name in DAGSTER_FILES[:2]):
        return [Finding("dead runs", OK, "no run was ever recorded here")]
    if (unasked := not_to_be_asked("dead runs", layout)) is not None:
        return [unasked]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))
        dead = [f"{run.run_id[:8]} ({why})" for run in runs if (why := how_it_ended(run, instance)) is not None]
    if dead:
        more = f" and {len(dead) - SHOWN_RUNS} more" if len(dead) > SHOWN_RUNS else ""
        return [
            Finding(
                "dead runs",
                WARNING,
                f"{', '.join(dead[:SHOWN_RUNS])}{more}",
                "nothing: the next command or `make dev` records them as failed; then --resume",
            )
        ]
    return [Finding("dead runs", OK, f"none; {len(runs)} under way")]


def not_to_be_asked(name: str, layout: Layout) -> Finding | None:
    """What a check says that would ask Dagster, where opening its home would make what is missing there; None elsewhere."""
    home = layout.dagster_home
    if not home.is_dir() or _elsewhere(home):
        return None
    settings = "dagster.yaml" if (PROJECT_ROOT / "dagster.yaml").is_file() else None
    missing = [one for one in (*DAGSTER_FILES, settings) if one is not None and not (home / one).exists()]
    if not missing:
        return None
    return Finding(
        name,
        WARNING,
        f"not asked: {', '.join(missing)} missing in {home}, and asking would make them",
        "put back a copy, if you have one; else the next command makes them, without what they held",
    )


def mlflow(layout: Layout) -> list[Finding]:
    """Where folds are recorded."""
    uri = os.environ.get(URI_VARIABLE)
    if uri is not None and not uri.startswith("sqlite:///"):
        if uri.startswith(("http://", "https://")):
            return _http(uri)
        return [Finding("mlflow", OK, f"{URI_VARIABLE}={without_credentials(uri)}; not asked")]
    file = layout.mlflow_database if uri is None else Path(uri.removeprefix("sqlite:///"))
    if not file.exists():
        return [Finding("mlflow", OK, "no database yet; the first fold makes it")]
    head = _head(Path(str(_package("mlflow"))) / "store" / "db_migrations")
    return _judged("mlflow", file, head, f"mlflow db upgrade sqlite:///{file}")


def studies(layout: Layout) -> list[Finding]:
    """The SQLite files of studies."""
    files = sorted(layout.home.glob("experiments/*/tuning/study.db"))
    found = [_opened("studies", one) for one in files]
    wrong = [one for one in found if isinstance(one, Finding)]
    return wrong or [Finding("studies", OK, f"{len(files)} database(s) open" if files else "none yet")]


def _http(uri: str) -> list[Finding]:
    from urllib.error import URLError
    from urllib.request import urlopen

    shown = without_credentials(uri)
    try:
        with urlopen(f"{uri.rstrip('/')}/health", timeout=3.0) as response:
            response.read()
    except (URLError, OSError) as error:
        return [
            Finding(
                "mlflow",
                WARNING,
                f"{shown} does not answer ({without_credentials(str(error))}): folds are kept in journals meanwhile",
                f"start the server, or unset {URI_VARIABLE}",
            )
        ]
    return [Finding("mlflow", OK, f"{shown} answers")]


def _judged(name: str, file: Path, head: str, migrate: str) -> list[Finding]:
    """One SQLite file: whether it opens, and its schema against the newest that the library knows."""
    if not file.exists():
        return [Finding(name, OK, f"{file.name}: not there yet")]
    version = _opened(name, file, "SELECT version_num FROM alembic_version")
    if isinstance(version, Finding):
        return [version]
    if version == head:
        return [Finding(name, OK, f"{file.name} opens, schema {version}")]
    return [
        Finding(
            name,
            PROBLEM,
            f"{file} has schema {version or 'without a version'}, the installed version works with {head}",
            f"copy the file, then: {migrate}; or install the version that wrote it",
        )
    ]


def _opened(name: str, file: Path, query: str = "SELECT count(*) FROM sqlite_master") -> str | Finding:
    """The answer of a query, as text; a finding where the file is no database any more."""
    kind = "mode=ro" if file.with_name(f"{file.name}-wal").exists() else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?{kind}", uri=True, timeout=2.0)) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.Error as error:
        return Finding(
            name,
            PROBLEM,
            f"{file} cannot be read: {error}",
            "end what uses it; if it is damaged, put a copy back, or move it away: its history is then lost, results are not",
        )
    return "" if row is None else str(row[0])


def _elsewhere(home: Path) -> bool:
    """Whether dagster.yaml puts Dagster's databases on a server."""
    settings = home / "dagster.yaml"
    if not settings.is_file():
        return False
    found = yaml.safe_load(settings.read_text()) or {}
    return "storage" in found or "run_storage" in found


def _head(scripts: Path) -> str:
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory(str(scripts)).get_current_head())


def _package(name: str) -> Path:
    """Folder of an installed package, which is not imported for it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed: make setup")
    return Path(spec.origin).parent
