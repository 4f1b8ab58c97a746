"""The log of deployments beside the link: complete after any death, and the link is what it says."""

import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tft_pipeline.storage import deployments as module
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.deployment_log import ABANDONED, DONE, INTENT, LOG_FILE, entry_line
from tft_pipeline.storage.deployments import (
    FOUND,
    RELEASE,
    ROLLBACK,
    VERSIONS,
    deploy,
    deployment_lock,
    deployments,
    linked_release,
    live_since,
)

DYING = """
import os, signal, sys
from pathlib import Path
from tft_pipeline.storage import deployments as module

models, target, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
steps = 0

def dying(step_function):
    def run(*arguments, **named):
        global steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return step_function(*arguments, **named)
    return run

module.append_entry, module.replace_link = dying(module.append_entry), dying(module.replace_link)
with module.deployment_lock(models):
    module.deploy(models, target, action="rollback", reason="dies", verdict="GO", weights_sha256="w", card_sha256="c")
"""


def deployed(models: Path, target: str, action: str = RELEASE, reason: str = "") -> module.Deployment:
    (models / VERSIONS).mkdir(parents=True, exist_ok=True)
    with deployment_lock(models):
        return deploy(
            models,
            target,
            action=action,
            reason=reason,
            verdict="GO",
            weights_sha256=f"w-{target}",
            card_sha256=f"c-{target}",
        )


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for target in ("r1", "r2"):
        deployed(tmp_path / "models", target)
    return tmp_path / "models"


def lines(models: Path) -> list[dict]:
    return [json.loads(line) for line in (models / LOG_FILE).read_text().splitlines()]


def test_a_deployment_is_an_intent_then_an_outcome_with_the_same_words(models):
    rows = lines(models)
    assert [(row["sequence"], row["state"]) for row in rows] == [(1, INTENT), (1, DONE), (2, INTENT), (2, DONE)]
    assert rows[2] | {"state": DONE, "sha256": rows[3]["sha256"]} == rows[3]
    assert set(rows[3]) == {
        "sequence", "at", "action", "from", "to", "who", "reason", "verdict", "weights_sha256", "card_sha256", "state", "note",
        "gates", "manifest_sha256", "sha256",
    }  # fmt: skip
    assert (rows[3]["from"], rows[3]["to"]) == ("r1", "r2")
    assert [
        entry.to_dict() | {"sha256": row["sha256"]} for entry, row in zip(deployments(models), rows[1::2], strict=True)
    ] == [
        rows[1],
        rows[3],
    ]


def test_each_line_is_hashed_with_the_hash_before_it(models):
    previous = ""
    for line in (models / LOG_FILE).read_text().splitlines():
        row = json.loads(line)
        stated = row.pop("sha256")
        content = json.dumps(row, sort_keys=True)
        assert stated == hashlib.sha256((previous + content).encode()).hexdigest()
        previous = stated


@pytest.mark.fault("flipped_byte")
def test_any_flipped_bit_of_the_log_is_found_or_was_of_a_line_that_the_link_settles(models):
    log = models / LOG_FILE
    whole = log.read_bytes()
    for at in range(0, len(whole) - 1, 7):
        log.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(IntegrityError, match=r"deployments\.jsonl, line \d"):
            deployments(models)


def test_blank_lines_at_the_end_are_no_damage_and_the_next_entry_ends_them(models):
    log = models / LOG_FILE
    whole = log.read_text()
    log.write_text(whole + "\n \n")
    assert len(deployments(models)) == 2
    deployed(models, "r3")
    assert log.read_text().startswith(whole + "{")
    assert len(deployments(models)) == 3


def test_while_another_deploys_its_intent_is_neither_abandoned_nor_found(models, monkeypatch):
    seen = {}
    real = module.replace_link

    def looked_at(link: Path, target: str) -> None:
        seen["before"] = deployments(models)
        real(link, target)
        seen["after"] = deployments(models)

    monkeypatch.setattr(module, "replace_link", looked_at)
    deployed(models, "r3")
    assert [entry.state for entry in seen["before"]] == [DONE, DONE, INTENT]
    assert [(entry.state, entry.action, entry.target) for entry in seen["after"]][2:] == [(DONE, RELEASE, "r3")]


def test_what_changes_while_it_is_read_is_read_again(models, monkeypatch):
    real, calls = module.read_log, []

    def slow(folder: Path) -> list:
        found = real(folder)
        if not calls:
            calls.append(1)
            deployed(models, "r3")
            calls.append(2)
        return found

    monkeypatch.setattr(module, "read_log", slow)
    assert [(entry.action, entry.target, entry.state) for entry in deployments(models)] == [
        (RELEASE, target, DONE) for target in ("r1", "r2", "r3")
    ]


@pytest.mark.fault("kill_deploy")
@pytest.mark.parametrize(
    ("step", "state", "live"),
    [
        (1, None, "r2"),  # before the intent: it never began
        (2, ABANDONED, "r2"),  # between the intent and the link
        (3, DONE, "r1"),  # between the link and the outcome
    ],
)
def test_a_deployer_killed_between_two_steps_is_reconciled_by_whoever_comes_next(models, step, state, live):
    before = lines(models)
    done = subprocess.run([sys.executable, "-c", DYING, str(models), "r1", str(step)], check=False)
    assert done.returncode == -9
    assert linked_release(models) == live
    entries = deployments(models)
    assert [entry.state for entry in entries] == [DONE, DONE, *([state] if state else [])]
    newest = live_since(entries)
    assert newest is not None
    assert newest.target == live
    left = (models / LOG_FILE).read_bytes()
    deployments(models)
    assert (models / LOG_FILE).read_bytes() == left, "looking writes nothing"
    deployed(models, "r3", reason="after the crash")
    rows = lines(models)
    assert rows[: len(before)] == before, "the log only grows"
    assert [(row["sequence"], row["state"]) for row in rows[len(before) :]] == [
        *([(3, INTENT), (3, state)] if state else []),
        (4 if state else 3, INTENT),
        (4 if state else 3, DONE),
    ]
    assert rows[-1]["from"] == live
    if state:
        assert "ended before it was written down" in rows[len(before) + 1]["note"]


def log_of(models: Path, rows: list[dict]) -> None:
    """Write the log anew with whole hashes."""
    text, previous = "", ""
    for row in rows:
        line = entry_line({key: value for key, value in row.items() if key != "sha256"}, previous)
        text, previous = text + line, json.loads(line)["sha256"]
    (models / LOG_FILE).write_text(text)


@pytest.mark.parametrize("change", [{"sequence": 9}, {"more": 1}, {"at": "2025-10-10T12:00:00"}])
def test_an_entry_whose_hash_holds_and_that_is_none_of_this_log_is_refused(models, change):
    rows = lines(models)
    log_of(models, rows)
    assert len(deployments(models)) == 2
    log_of(models, [rows[0], rows[1], rows[2] | change])
    with pytest.raises(IntegrityError, match="line 3"):
        deployments(models)


def test_a_link_that_was_moved_by_hand_is_an_entry_of_its_own(models):
    link = models / VERSIONS / "current"
    link.unlink()
    link.symlink_to("r1")
    newest = live_since(deployments(models))
    assert newest is not None
    assert (newest.action, newest.source, newest.target, newest.who) == (FOUND, "r2", "r1", "unknown")
    assert newest.weights_sha256 == "w-r1"
    deployed(models, "r3")
    assert [(row["action"], row["from"], row["to"]) for row in lines(models)[4:]] == [
        (FOUND, "r2", "r1"),
        (RELEASE, "r1", "r3"),
        (RELEASE, "r1", "r3"),
    ]


def test_a_link_that_is_gone_means_that_nothing_is_live(models):
    (models / VERSIONS / "current").unlink()
    newest = live_since(deployments(models))
    assert newest is not None
    assert newest.target is None


def test_what_was_live_before_the_log_began_is_found(tmp_path):
    versions = tmp_path / "models" / VERSIONS
    versions.mkdir(parents=True)
    (versions / "current").symlink_to("old")
    (entry,) = deployments(tmp_path / "models")
    assert (entry.sequence, entry.action, entry.target) == (1, FOUND, "old")
    deployed(tmp_path / "models", "new")
    assert [row["from"] for row in lines(tmp_path / "models")] == [None, "old", "old"]


def test_without_anything_there_is_no_entry(tmp_path):
    assert deployments(tmp_path / "models") == []
    assert live_since([]) is None


@pytest.mark.fault("kill_deploy")
@pytest.mark.parametrize("length", [1, 20, 200])
def test_a_torn_last_line_never_was_an_entry(models, length):
    log = models / LOG_FILE
    whole = log.read_text()
    log.write_text(whole + whole.splitlines()[-1][:length])
    assert len(deployments(models)) == 2
    deployed(models, "r3")
    assert log.read_text().startswith(whole)
    assert [entry.target for entry in deployments(models)] == ["r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        (2, "not JSON"),
        (2, "[]"),
        (2, json.dumps({"sequence": 1})),
        (3, None),  # an entry is missing
    ],
)
def test_a_line_that_is_no_entry_is_refused_by_file_and_number(models, line, changed):
    log = models / LOG_FILE
    rows = log.read_text().splitlines()
    if changed is None:
        del rows[0:2]
        line = 1
    else:
        rows[line - 1] = changed
    log.write_text("\n".join(rows) + "\n")
    with pytest.raises(IntegrityError, match=rf"deployments\.jsonl, line {line}: "):
        deployments(models)
    with pytest.raises(IntegrityError):
        deployed(models, "r3")
    assert linked_release(models) == "r2"


@pytest.mark.fault("disk_full")
def test_a_disk_that_takes_half_a_line_gets_none_and_the_link_stays(models, monkeypatch):
    class HalfAFile:
        def __init__(self, real):
            self.real = real

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.real.close()

        def __getattr__(self, name):
            return getattr(self.real, name)

        def write(self, data):
            return self.real.write(data[: len(data) // 2])

    opened = Path.open

    def half(path, mode="r", **named):
        real = opened(path, mode, **named)
        return HalfAFile(real) if path.name == LOG_FILE and mode == "ab" else real

    before = (models / LOG_FILE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", half)
        with pytest.raises(OSError, match="No space left") as caught:
            deployed(models, "r3")
    assert caught.value.errno == errno.ENOSPC
    assert (models / LOG_FILE).read_bytes() == before
    assert linked_release(models) == "r2"
    assert deployed(models, "r3", ROLLBACK).sequence == 3


def test_a_user_without_a_name_is_a_number(models, monkeypatch):
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(module.getpass, "getuser", nameless)
    assert deployed(models, "r3").who.startswith("uid ")
