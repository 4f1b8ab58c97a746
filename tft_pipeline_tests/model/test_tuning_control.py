import json
import threading
import time

import pytest

from tft_pipeline.model.tuning_control import ControlFileError, ends, read_control, read_control_log


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[1]", "holds list; expected an object"),
        ('{"max_trails": 3}', "max_trails = 3 is not understood; keys are"),
        ('{"max_trials": "3"}', "max_trials = '3'"),
        ('{"max_trials": 2.5}', r"max_trials = 2\.5"),
        ('{"max_trials": true}', "max_trials = True"),
        ('{"max_trials": -1}', "max_trials = -1 is negative"),
        ('{"deadline": false}', "deadline = False"),
        ('{"stop": 1}', "stop = 1"),
        ('{"pause": "no"}', "pause = 'no'"),
        ('{"deadline": NaN}', "deadline = nan is no time from 1970 to 2200"),
        ('{"deadline": Infinity}', "deadline = inf is no time"),
        ('{"deadline": -1}', "deadline = -1 is no time"),
        ('{"deadline": 1700000000000}', "deadline = 1700000000000 is no time"),
        ('{"deadline": 1' + "0" * 400 + "}", r"deadline = 1000000000\d*\.\.\. is no time"),
        ('{"stop": true, "stop": false}', "stop stands there twice"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_control_file_that_is_not_understood_is_refused_by_key_and_value(tmp_path, text, match):
    path = tmp_path / "control.json"
    path.write_text(text)
    with pytest.raises(ControlFileError, match=match) as caught:
        read_control(path)
    assert str(path) in str(caught.value)


def test_a_file_that_stays_half_written_is_refused_and_one_that_is_finished_soon_is_read(tmp_path):
    path = tmp_path / "control.json"
    path.write_text('{"max_')
    with pytest.raises(ControlFileError, match="is not JSON"):
        read_control(path)
    writer = threading.Timer(0.1, lambda: path.write_text('{"max_trials": 3}'))
    writer.start()
    assert read_control(path) == {"max_trials": 3}
    writer.join()


def test_an_absent_control_file_sets_nothing_and_every_key_is_read(tmp_path):
    assert read_control(tmp_path / "absent.json") == {}
    settings = {"max_trials": 3, "deadline": 1.5, "pause": False, "stop": True}
    (tmp_path / "control.json").write_text(json.dumps(settings))
    assert read_control(tmp_path / "control.json") == settings


def test_a_study_ends_by_stop_or_by_a_deadline_that_has_passed():
    assert ends({}) is None
    assert ends({"stop": False, "pause": True, "max_trials": 0, "deadline": time.time() + 60}) is None
    assert ends({"stop": True}) == "stop"
    assert ends({"deadline": time.time() - 1}) == "deadline"


def test_a_directory_in_place_of_the_control_file_is_named(tmp_path):
    with pytest.raises(ControlFileError, match=r"cannot be read \(Is a directory\)"):
        read_control(tmp_path)


def test_lines_of_the_log_that_are_no_changes_are_passed_over(tmp_path):
    change = {"at": "2026-01-01T00:00:00+00:00", "study": "s", "worker": "w", "before": {}, "after": {"stop": True}}
    lines = ["123", "{}", '{"after": 3}', "null", "[" * 100_000, json.dumps(change), '{"at": "2026']
    (tmp_path / "log").write_text("\n".join(lines))
    assert read_control_log(tmp_path / "log") == [change]
    (tmp_path / "log").write_bytes(b"\xff\xfe\n" + json.dumps(change).encode() + b"\n")
    assert read_control_log(tmp_path / "log") == [change]


def test_a_log_that_is_absent_is_empty(tmp_path):
    assert read_control_log(tmp_path / "absent.jsonl") == []
