"""Readers of the live version while another process deploys and goes back as fast as it can: none fails, none is mixed."""

import json
import os
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import pytest

from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.deployments import linked_release
from tft_pipeline.storage.releases import write_version
from tft_pipeline.storage.rollback import roll_back
from tft_pipeline_tests.released import files_of

READER = Path(__file__).with_name("scripted_reader.py")
ROOT = Path(__file__).resolve().parents[2]
NAMES = ("r1", "r2", "r3", "r4")
NEWS = 25
"""A new version is written and deployed after as many rollbacks."""


def readers(models: Path, n: int, reads: int) -> list[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(READER), str(models), str(reads)]
    return [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(n)]


def make_live(models: Path, release_id: str, text: str) -> None:
    write_version(models, release_id=release_id, fill=files_of(release_id, text))
    deploy_release(models, release_id, reason="", automatic=True)


@pytest.mark.parametrize("reads", [1_500, pytest.param(50_000, marks=pytest.mark.slow)])
def test_no_read_fails_or_is_mixed_while_releases_are_swapped(tmp_path, reads):
    models = tmp_path / "models"
    for name in NAMES:
        make_live(models, name, name)
    at_work = readers(models, 2, reads)
    swaps = 0
    try:
        for one in at_work:
            assert one.stdout is not None
            assert one.stdout.readline() == "reads\n"
        for name in cycle(NAMES):
            if all(one.poll() is not None for one in at_work):
                break
            if linked_release(models) != name:
                roll_back(models, name, reason="")
                swaps += 1
            if swaps % NEWS == 0:
                make_live(models, f"new-{swaps}", f"new {swaps}")
                (
                    models / "deployments.jsonl"
                ).unlink()  # its length is not what is tested, and each entry reads all of it
    finally:
        for one in at_work:
            one.kill()
    said = [json.loads(one.communicate()[0].splitlines()[-1]) for one in at_work]
    assert [row["failed"] for row in said] == [0, 0], said
    assert sum(row["reads"] for row in said) == 2 * reads
    assert swaps > NEWS
    for row in said:
        assert set(islice(NAMES, 4)) <= set(row["seen"]), "the readers saw the link at every version"
    print(f"{2 * reads} reads, {swaps} swaps, {len(set().union(*(row['seen'] for row in said)))} versions seen")
