import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tft_pipeline.storage.atomic import (
    SWEEP_SECONDS,
    append_line,
    canonical_json,
    fsync_tree,
    replace_file,
    replace_link,
    same_file,
    stage_beside,
)


def test_a_stage_stands_beside_its_target_and_goes_when_it_is_not_renamed(tmp_path):
    with stage_beside(tmp_path / "a") as stage:
        assert stage.parent == tmp_path / "a"
        assert list(stage.iterdir()) == []
        (stage / "f").write_text("x")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_stage_that_was_renamed_away_stays(tmp_path):
    with stage_beside(tmp_path) as stage:
        (stage / "f").write_text("x")
        stage.rename(tmp_path / "kept")
    assert (tmp_path / "kept" / "f").read_text() == "x"


def test_a_failing_writer_leaves_no_stage(tmp_path):
    def write() -> None:
        with stage_beside(tmp_path) as stage:
            (stage / "f").write_text("x")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write()
    assert list(tmp_path.iterdir()) == []


def aged(path: Path, seconds: float = 2 * SWEEP_SECONDS) -> Path:
    os.utime(path, (time.time() - seconds,) * 2, follow_symlinks=False)
    return path


@pytest.mark.fault("kill_artifact")
def test_what_a_killed_writer_left_is_swept_by_the_next_one(tmp_path):
    (tmp_path / ".stage-dead" / "part").mkdir(parents=True)
    (tmp_path / ".stage-dead" / "f").write_text("x")
    (tmp_path / ".stage-current-dead").symlink_to("nowhere")
    (tmp_path / "v1").mkdir()
    for name in (".stage-dead", ".stage-current-dead", "v1"):
        aged(tmp_path / name)
    with stage_beside(tmp_path) as stage:
        assert {path.name for path in tmp_path.iterdir()} == {"v1", stage.name}


def test_a_stage_whose_writer_lives_is_not_swept_however_old_it_is(tmp_path):
    with stage_beside(tmp_path) as stage:
        (stage / "f").write_text("x")
        aged(stage)
        with stage_beside(tmp_path):
            pass
        assert (stage / "f").read_text() == "x"


def test_a_stage_that_was_just_made_is_not_swept(tmp_path):
    (tmp_path / ".stage-young").mkdir()
    with stage_beside(tmp_path):
        assert (tmp_path / ".stage-young").is_dir()


def test_two_stages_of_one_parent_do_not_meet(tmp_path):
    with stage_beside(tmp_path) as first, stage_beside(tmp_path) as second:
        assert first != second


def test_a_link_is_replaced_and_stays_relative(tmp_path):
    replace_link(tmp_path / "current", "one")
    replace_link(tmp_path / "current", "two")
    assert os.readlink(tmp_path / "current") == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


def test_a_link_that_cannot_be_replaced_leaves_nothing_behind(tmp_path):
    (tmp_path / "current" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="current"):
        replace_link(tmp_path / "current", "one")
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


@pytest.mark.fault("kill_deploy")
def test_a_reader_never_finds_the_link_missing(tmp_path):
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from tft_pipeline.storage.atomic import replace_link\n"
            "for k in range(300): replace_link(Path(sys.argv[1]) / 'current', str(k))",
            str(tmp_path),
        ]
    )
    while not (tmp_path / "current").is_symlink():
        assert writer.poll() is None
    seen = []
    while writer.poll() is None:
        seen.append(int(os.readlink(tmp_path / "current")))
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert os.readlink(tmp_path / "current") == "299"


def test_equal_values_give_equal_json_and_non_finite_ones_none():
    assert canonical_json({"b": 1, "a": "ü"}) == canonical_json({"a": "ü", "b": 1})
    assert json.loads(canonical_json({"a": [1.5, None]})) == {"a": [1.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_lines_of_processes_that_append_together_stay_whole(tmp_path):
    ledger = tmp_path / "new" / "ledger.jsonl"
    code = (
        "import sys; from pathlib import Path; from tft_pipeline.storage.atomic import append_line\n"
        "for k in range(60): append_line(Path(sys.argv[1]), {'who': sys.argv[2], 'k': k, 'text': 'x' * 3000})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(ledger), who]) for who in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    for who in ("a", "b"):
        assert [row["k"] for row in rows if row["who"] == who] == list(range(60))


def test_a_line_that_has_no_json_form_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_line(tmp_path / "ledger.jsonl", {"a": float("inf")})
    assert not (tmp_path / "ledger.jsonl").exists()


def test_a_tree_with_folders_can_be_made_durable(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_text("x")
    fsync_tree(tmp_path)
    with pytest.raises(FileNotFoundError):
        fsync_tree(tmp_path / "absent")


def test_a_file_is_replaced_whole_and_nothing_else_in_its_folder_is_touched(tmp_path):
    for name in (".stage-of-somebody-else", ".stage-data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("kept")
        aged(tmp_path / name)
    path = tmp_path / "a" / ("x" * 250 + ".txt")
    for text in ("one", "two"):
        replace_file(path, lambda staged, text=text: staged.write_text(text))
        replace_file(tmp_path / "f.txt", lambda staged, text=text: staged.write_text(text))
    assert path.read_text() == (tmp_path / "f.txt").read_text() == "two"
    assert {each.name for each in tmp_path.iterdir()} == {".stage-of-somebody-else", ".stage-data", "a", "f.txt"}
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert (tmp_path / ".stage-data" / "f").read_text() == "kept"


def test_a_writer_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("before")

    def write(staged: Path) -> None:
        staged.write_text("half")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        replace_file(path, write)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["f.txt"]


def test_a_folder_or_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match="no file"):
            replace_file(tmp_path / name, lambda staged: staged.write_text("x"))
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "folder").is_dir()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_is_the_same_however_it_is_spelled(tmp_path):
    (tmp_path / "d").mkdir()
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("1")
    other.write_text("1")
    (tmp_path / "link.csv").symlink_to(one)
    for spelled in (one, tmp_path / "d" / ".." / "one.csv", tmp_path / "link.csv"):
        assert same_file(spelled, [other, one]) == one
    assert same_file(tmp_path / "absent", [one, tmp_path / "absent"]) is None
    assert same_file(other, [one]) is None
    assert same_file(tmp_path / ("x" * 300), [one]) is None
