"""`--require-go`: exit code 3 for NO-GO, and only when it was asked for."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline import commands
from tft_pipeline.pipeline.driver import Driver
from tft_pipeline_tests.conftest import Workbench


@pytest.fixture
def nothing_to_compute(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """A finished run whose driver has nothing left to do."""
    monkeypatch.setattr(Driver, "run", lambda self: None)
    return finished


def test_no_go_is_a_result_unless_go_is_required(nothing_to_compute: Workbench) -> None:
    file = str(nothing_to_compute.file)
    plain, gated = (CliRunner().invoke(app, ["run", file, "--json", *more]) for more in ([], ["--require-go"]))
    assert (plain.exit_code, gated.exit_code) == (0, 3)
    answer = json.loads(gated.stdout)
    assert answer["verdict"] == "NO-GO"
    assert answer["gate"] == {"passed": False, "reasons": answer["reasons"]}
    assert "gate" not in json.loads(plain.stdout)


def test_go_passes(nothing_to_compute: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = commands.summary

    def good(graph: Any) -> dict[str, Any]:
        return honest(graph) | {"verdict": "GO", "reasons": []}

    monkeypatch.setattr(commands, "summary", good)
    done = CliRunner().invoke(app, ["run", str(nothing_to_compute.file), "--require-go"])
    assert done.exit_code == 0
    assert "gate: passed" in done.stdout


@pytest.mark.parametrize("option", [["--background"], ["--until", "features"]])
def test_a_run_that_ends_without_a_verdict_cannot_be_required_to_be_go(
    nothing_to_compute: Workbench, option: list[str]
) -> None:
    done = CliRunner().invoke(app, ["run", str(nothing_to_compute.file), "--require-go", *option])
    assert isinstance(done.exception, ConfigurationError)
    assert "--require-go" in str(done.exception)


def test_the_answer_of_a_run_says_how_well_the_direction_was_told(finished: Workbench) -> None:
    found = commands.summary(finished.graph)
    card = json.loads(Path(found["model_card"]).read_text())
    own = card["metrics"]["direction"]["tft"]
    assert found["accuracy"] == own["accuracy"]
    assert found["accuracy_ci"] == own["accuracy_ci"]
    assert found["base_rate"] == own["base_rate"]
    assert found["ece"] == own["ece"]
    assert found["n_rows"] == own["n"]
    assert len(found["class_balance"]) == 2


def test_a_network_without_probabilities_has_a_validation_loss_and_no_accuracy(finished: Workbench) -> None:
    card = json.loads(Path(commands.summary(finished.graph)["model_card"]).read_text())
    del card["metrics"]["direction"]["tft"]
    assert commands.direction_summary(card) == {"validation_loss": card["metrics"]["val_loss"]}
