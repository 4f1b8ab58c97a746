"""Passwords and keys in the environment are used and never written: not to a file, a database, a message or a log."""

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tft_pipeline.domain.credentials import without_credentials
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.registry import follow
from tft_pipeline.pipeline.tracking import mirror_waiting
from tft_pipeline.storage.atomic import append_line
from tft_pipeline_tests.conftest import DOWNSTREAM, Workbench
from tft_pipeline_tests.released import released

pytestmark = pytest.mark.fault("hostile_files")
CANARY = "hush-canary"
KEYS = ("BINANCE_API_KEY", "KRAKEN_SECRET", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "MLFLOW_TRACKING_PASSWORD")


@pytest.fixture
def port() -> Iterator[int]:
    """One that nobody listens on while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def holders(folder: Path) -> list[str]:
    """Files below a folder that hold the canary: text, logs and databases alike."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def writable_by_others(folder: Path) -> list[str]:
    """Files and folders that another user of the machine could change."""
    others = stat.S_IWGRP | stat.S_IWOTH
    return [str(path) for path in folder.rglob("*") if not path.is_symlink() and path.stat().st_mode & others]


def set_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys as people keep them in the environment."""
    for name in KEYS:
        monkeypatch.setenv(name, f"{CANARY}-{name}")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"http://user:{CANARY}@host:1/x failed", "http://host:1/x failed"),
        (f"'postgresql+psycopg2://u:{CANARY}%40@h/d'", "'postgresql+psycopg2://h/d'"),
        (f"http://u:{CANARY}@{CANARY}/{CANARY}@h/x", "http://h/x"),
        (f"http://h/x?token={CANARY}&a=b later", "http://h/x?... later"),
        (f"with url: /x?token={CANARY} (Caused", "with url: /x?... (Caused"),
        (f"host=h password={CANARY} dbname=x", "host=h password=... dbname=x"),
        (f"PASSWORD = 'a {CANARY} \\' {CANARY}' host=h", "PASSWORD=... host=h"),
        (f"sslpassword={CANARY}\\ {CANARY}", "sslpassword=..."),
        ("password authentication failed; no password", "password authentication failed; no password"),
        ("no address at all; a@b.example, x == y?", "no address at all; a@b.example, x == y?"),
    ],
)
def test_an_address_is_told_without_user_password_and_query(text: str, kept: str) -> None:
    assert without_credentials(text) == kept


def test_bars_their_run_and_what_is_printed_hold_no_key_and_nobody_else_may_write_them(
    workbench: Callable[..., Workbench],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    port: int,
) -> None:
    set_keys(monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{CANARY}@127.0.0.1:{port}")
    monkeypatch.setenv("TFT_TUNING_STORAGE", f"postgresql+psycopg2://user:{CANARY}@127.0.0.1:{port}/x")
    before = os.umask(0o022)
    try:
        bench = workbench()
        done = materialise_asset(bench.file, "snapshot", partition=None, downstream=False, report=print)
        switch = KillSwitch(tmp_path / "live")
        switch.arm("a person", "to begin")
        switch.trip("HALTED", "by hand", "a test", "a person")
        released(bench.layout.models("small"), "r1", "one")
    finally:
        os.umask(before)
    assert done["failed"] == []
    assert len(list(tmp_path.rglob("*"))) > 20
    assert holders(tmp_path) == []
    assert CANARY not in "".join(capfd.readouterr())
    assert writable_by_others(tmp_path) == [], "with the usual umask"
    version = bench.layout.models("small") / "versions" / "r1"
    assert not any(path.stat().st_mode & stat.S_IWUSR for path in version.iterdir()), (
        "a release is read only for us too"
    )


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("TFT_LOCKS", "postgresql://user:{}@127.0.0.1:{}/x"),
        ("TFT_LOCKS", "nonsense://user:{}@h:{}/"),
        ("TFT_STORE", "s3://user:{}@bucket:{}/x"),
    ],
)
def test_a_service_that_does_not_answer_is_told_without_its_password(
    name: str,
    form: str,
    port: int,
    workbench: Callable[..., Workbench],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    bench = workbench()
    monkeypatch.setenv(name, form.format(CANARY, port))
    said = ""
    try:
        said = str(materialise_asset(bench.file, "snapshot", partition=None, downstream=False, report=print)["failed"])
    except (ValueError, RuntimeError, OSError) as error:
        said = f"{error} {error.__cause__} {error.__context__}"
    assert name in said, "it is refused, and the message names the variable"
    assert CANARY not in said
    assert CANARY not in "".join(capfd.readouterr())
    assert holders(tmp_path) == []


def test_an_mlflow_that_does_not_answer_is_told_without_its_password(
    workbench: Callable[..., Workbench], monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    bench = workbench()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{CANARY}@127.0.0.1:{port}/x")
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "1")
    released(bench.layout.models("small"), "r1", "one")
    journal = bench.layout.tracking("small") / "production-f-12345678.jsonl"
    append_line(journal, {"kind": "fold", "at_ms": 0, "name": "x", "tags": {}, "params": {}, "metrics": {}})
    for said in (mirror_waiting(bench.layout, "small"), follow(bench.layout, "small")):
        assert "127.0.0.1" in str(said), "the reason is told"
        assert CANARY not in str(said)


@pytest.mark.slow
def test_a_fold_its_card_its_report_and_its_release_hold_no_key(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], port: int
) -> None:
    set_keys(monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{CANARY}@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = finished.materialisations()
    done = materialise_asset(
        finished.file, "production_fold", partition=finished.folds()[-1], downstream=True, report=print
    )
    assert done["failed"] == []
    grown = {name for (name, _), count in finished.materialisations().items() if count > before.get((name, _), 0)}
    assert grown >= {"production_fold", *DOWNSTREAM}
    assert holders(finished.folder) == []
    assert CANARY not in "".join(capfd.readouterr())
    pickles = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
    files = [path for path in finished.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if path.read_bytes()[:4].startswith(pickles)], "nor is anything a pickle"
    assert writable_by_others(finished.folder) == []
