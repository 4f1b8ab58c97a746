import json
import os
import re
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from tft_pipeline.storage import environment
from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline.storage.environment import environment_record, utc_now
from tft_pipeline.storage.layout import PROJECT_ROOT


def test_versions_are_those_that_are_installed():
    packages = environment_record()["packages"]
    assert packages["polars"] == version("polars")
    assert packages["torch"] == version("torch")
    assert set(packages) == set(environment.PACKAGES)
    assert None not in packages.values()


def test_the_commit_and_the_pinned_versions_are_named():
    record = environment_record()
    assert record["code_commit"] is None or re.fullmatch(r"[0-9a-f]{40}", record["code_commit"])
    assert record["constraints_sha256"] == sha256_file(PROJECT_ROOT / "constraints.txt")


def test_no_machine_path_is_told():
    text = json.dumps(environment_record())
    for told in (str(PROJECT_ROOT), str(Path.home()), os.getcwd()):
        assert told not in text


def test_outside_a_checkout_the_commit_is_unknown_and_not_that_of_another_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path)
    record = environment_record()
    assert record["code_commit"] is None
    assert record["code_modified"] is None
    assert record["constraints_sha256"] is None


def test_a_package_that_is_not_installed_is_null(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("polars", "no-such-package"))
    assert environment_record()["packages"] == {"polars": version("polars"), "no-such-package": None}


def test_without_git_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment_record()["code_commit"] is None


def test_the_time_is_utc_in_whole_seconds():
    now = utc_now()
    assert now.utcoffset() == timedelta(0)
    assert now.microsecond == 0
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=5)
