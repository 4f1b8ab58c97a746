"""`--json` where a command refuses: one object on standard output, the sentence on standard error, exit code 2."""

import json
import sys

import pytest

from tft_pipeline.__main__ import main


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
