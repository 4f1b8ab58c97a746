"""`tft kill-switch`, `tft watchdog` and `tft live` as people type them."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.live.target_book import written_targets


def typed(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def switch(folder: Path, *words: str) -> Result:
    return typed("kill-switch", *words, "--folder", str(folder), "--json")


def test_a_switch_is_armed_reduced_tripped_and_reset_and_tells_it(tmp_path: Path) -> None:
    folder = tmp_path / "live"
    fresh = switch(folder, "status")
    assert fresh.exit_code == 3
    assert json.loads(fresh.stdout)["trigger"] == "never armed"
    for words, state in (("arm", "ACTIVE"), ("reduce", "REDUCING"), ("trip", "HALTED"), ("reset", "ACTIVE")):
        done = switch(folder, words, "--why", f"to {words} it", "--who", "somebody")
        assert done.exit_code == 0
        assert json.loads(done.stdout)["state"] == state
        if words == "trip":
            book = written_targets(folder)
            assert book is not None
            assert book.flat
    found = switch(folder, "status")
    assert found.exit_code == 0
    assert "somebody" in json.loads(found.stdout)["history"][-1]
    assert len(json.loads(found.stdout)["history"]) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["arm", "--why", "again"], "armed once"),
        (["reset", "--why", "x"], "nothing to reset"),
        (["trip", "--why", "x", "--folder", "/proc/nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    folder = tmp_path / "live"
    switch(folder, "arm", "--why", "begin")
    given = words if "--folder" in words else [*words, "--folder", str(folder)]
    done = typed("kill-switch", *given)
    assert isinstance(done.exception, ConfigurationError)
    assert said in str(done.exception)


def test_a_trip_whose_targets_cannot_be_written_is_recorded_and_says_what_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "live"
    switch(folder, "arm", "--why", "begin")
    (folder / "targets.json").mkdir()
    done = switch(folder, "trip", "--why", "odd fills")
    assert done.exit_code == 1, done.exception
    said = json.loads(done.stdout)
    assert said["state"] == "HALTED"
    (sentence,) = said["failed"]
    assert sentence.startswith("HALTED is recorded, targets were not flattened: ")
    assert "targets.json" in sentence
    assert json.loads(switch(folder, "status").stdout)["state"] == "HALTED"
    (folder / "targets.json").rmdir()
    assert switch(folder, "trip", "--why", "again").exit_code == 0
    book = written_targets(folder)
    assert book is not None
    assert book.flat


@pytest.mark.parametrize("words", ["trip", "reduce"])
def test_tripping_a_folder_in_which_nothing_is_live_is_refused_and_makes_none(tmp_path: Path, words: str) -> None:
    switch(tmp_path / "live", "arm", "--why", "begin")
    mistyped = tmp_path / "lvie"
    done = switch(mistyped, words, "--why", "x")
    assert isinstance(done.exception, ConfigurationError)
    for said in (str(mistyped), "kill_switch.json", "heartbeat_loop.json", "targets.json", "nothing was tripped"):
        assert said in str(done.exception)
    assert not mistyped.exists()
    assert switch(tmp_path / "live", "status").exit_code == 0
    # a book alone, or a halt file, is enough
    mistyped.mkdir()
    (mistyped / "targets.json").touch()
    assert json.loads(switch(mistyped, words, "--why", "x").stdout)["state"] == "HALTED"


@pytest.mark.parametrize("seconds", ["inf", "1e300", "1e10"])
def test_a_validity_that_is_none_is_an_error_with_its_limits(tmp_path: Path, seconds: str) -> None:
    done = typed("live", "--folder", str(tmp_path), "--validity", seconds)
    assert done.exit_code == 2
    assert "86400" in done.output


def test_an_experiment_that_never_ran_has_no_live_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_HOME", str(tmp_path))
    for words in (["kill-switch", "status"], ["watchdog"], ["live", "--replay", "x.csv"]):
        done = typed(*words, "--experiment", "nobody")
        assert isinstance(done.exception, ConfigurationError)
        assert "nothing was run here" in str(done.exception)


def test_the_watchdog_becomes_the_light_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: started.append(words))
    typed("watchdog", "--folder", str(tmp_path), "--deadline", "9", "--grace", "20")
    (words,) = started
    assert words[1:4] == ["-m", "tft_pipeline.live.watchdog", str(tmp_path)]
    assert words[4:] == ["--deadline", "9.0", "--poll", "1.0", "--grace", "20.0"]
