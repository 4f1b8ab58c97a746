"""`--json` where a command refuses or fails: one object on standard output, the sentence on standard error."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tft_pipeline.__main__ import main
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.published import PublishError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "absent.yaml"], "no such experiment file"),
        (["train", "--snapshot", "2020-01-01T00-00-00Z"], "none was frozen yet"),
        (["drift"], "name --snapshot ID"),
        (["train", "--snapshot", "x", "--hidden", "0"], "--hidden"),
        (["no-such-command"], "No such command"),
    ],
    ids=["file", "snapshot", "options", "range", "command"],
)
def test_a_refusal_is_one_json_object_when_json_was_asked_for_and_a_sentence_always(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    monkeypatch.setenv("TFT_HOME", str(tmp_path_factory.mktemp("home")))
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["tft", *arguments, *more])
        with pytest.raises(SystemExit) as leaving:
            main()
        assert leaving.value.code == 2
        out, err = capsys.readouterr()
        assert sentence in err
        if not more:
            assert not out
            continue
        answer = json.loads(out)
        assert sentence in answer["error"]
        assert answer["failed"] == [answer["error"]]


def damaged(*_: object, **__: object) -> None:
    raise IntegrityError("research_trials.jsonl:2 is not the line that was written there")


def away(*_: object, **__: object) -> None:
    raise PublishError("s3://b/p: the store did not answer")


@pytest.mark.parametrize(
    ("arguments", "backend"),
    [
        (["tune", "small.yaml"], "tft_pipeline.pipeline.tuning_worker.work_on_study"),
        (["run", "small.yaml"], "tft_pipeline.pipeline.commands.run_experiment"),
    ],
    ids=["tune", "run"],
)
@pytest.mark.parametrize("failure", [damaged, away])
def test_what_is_damaged_and_a_store_that_is_away_are_one_sentence_and_exit_code_1(
    arguments: list[str],
    backend: str,
    failure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(backend, failure)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").touch()
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["tft", *arguments, *more])
        with pytest.raises(SystemExit) as leaving:
            main()
        assert leaving.value.code == 1
        out, err = capsys.readouterr()
        assert err.splitlines()[-1].startswith("error: ")
        assert bool(out) == bool(more)
        if more:
            answer = json.loads(out)
            assert answer["failed"] == [answer["error"]]
            assert f"error: {answer['error']}" in err
