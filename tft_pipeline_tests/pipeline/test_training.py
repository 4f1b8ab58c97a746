"""`tft train`: the file it writes, what it refuses, and that its whole graph runs."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.drift import drift_report
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline import training
from tft_pipeline.pipeline.training import drift_days, train_on_snapshot
from tft_pipeline.storage.experiments import claim_name, read_experiment
from tft_pipeline.storage.frozen import write_frozen
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.locks import RunLockedError, run_lock
from tft_pipeline_tests.minute_experiment import frozen, minutes, write_template

FLAGS: dict[str, Any] = {"lookback": 24, "hidden": 8, "epochs": 2, "patience": 1, "name": "tft_prod"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that the commands use."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TFT_HOME", str(folder))
    monkeypatch.setenv("TFT_WORKERS", "1")
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster"))
    return folder


@pytest.fixture
def only_written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that would have been run."""
    files: list[Path] = []

    def run(path: Path, **_options: Any) -> dict[str, Any]:
        files.append(path)
        return {"failed": []}

    monkeypatch.setattr(training, "run_experiment", run)
    monkeypatch.setattr(training, "next_steps", lambda *_: [])
    return files


def trained(snapshot: str, template: Path, **changes: Any) -> dict[str, Any]:
    return train_on_snapshot(snapshot, template=template, report=str, **(FLAGS | changes))


def test_a_snapshot_is_trained_on_to_a_released_model_and_the_answer_says_what_came_of_it(
    home: Path, tmp_path: Path
) -> None:
    snapshot = frozen(home, minutes(2, edge=0.3))
    flags = ["--seq-len", "24", "--hidden", "8", "--max-epochs", "2", "--patience", "1", "--json", "--require-go"]
    arguments = ["train", "--snapshot", snapshot, "--template", str(write_template(tmp_path)), *flags]
    done = CliRunner().invoke(app, arguments)
    answer = json.loads(done.stdout)
    assert done.exit_code == 3, done.output  # no model of two epochs is a GO
    assert answer["gate"] == {"passed": False, "reasons": answer["reasons"]}
    assert answer["verdict"] == "NO-GO"
    card = json.loads(Path(answer["model_card"]).read_text())
    assert card["train"]["snapshot_content_sha256"] == manifest_of(home, snapshot)["content_sha256"]
    assert card["architecture"]["seq_len"] == 24
    assert card["architecture"]["hidden_size"] == 8
    own = card["metrics"]["direction"]["tft"]
    for key in ("accuracy", "accuracy_ci", "accuracy_ci_bars", "base_rate", "log_loss", "ece"):
        assert answer[key] == own[key] is not None
    assert answer["accuracy"] == card["metrics"]["accuracy"]
    assert answer["accuracy_ci"][0] < answer["accuracy"] < answer["accuracy_ci"][1]
    assert answer["validation_loss"] == card["metrics"]["val_loss"]
    balance = card["train"]["class_balance"]
    assert f"train: {balance['pos']:,} up, {balance['neg']:,} not" in answer["class_balance"]
    assert answer["latency_p95_ms"] == card["latency_ms"]["p95"]
    assert answer["drift"] == card["drift"]["verdict"]
    assert Path(answer["report"]).is_file()
    assert any(line.startswith("tft drift") and f"{snapshot} --recent-days 1" in line for line in answer["next"])
    assert "production_fold" in done.stderr
    file = read_experiment(Path(answer["experiment_file"])).experiment
    assert len(card["train"]["folds"]) == 3
    assert file.production.epochs == 2
    assert file.training.patience == 1


def manifest_of(home: Path, snapshot: str) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((Layout(home).frozen / snapshot / "snapshot.json").read_text())
    return manifest


def test_the_written_file_is_an_experiment_of_its_own_and_says_what_made_it(
    home: Path, tmp_path: Path, only_written: list[Path]
) -> None:
    snapshot = frozen(home, minutes(3))
    answer = trained(snapshot, write_template(tmp_path))
    path = home / "trained" / "tft_prod.yaml"
    assert only_written == [path]
    assert answer["experiment_file"] == str(path)
    text = path.read_text()
    assert text.startswith(f'# Made by `tft train` from "template.yaml" for snapshot "{snapshot}": ')
    file = read_experiment(path)
    experiment = file.experiment
    assert file.source == home / "snapshots" / snapshot / "bars.parquet"
    assert experiment.name == "tft_prod"
    assert experiment.data.symbols == ("AAA", "BBB")
    assert (experiment.training.lookback, experiment.training.warmup_bars, experiment.training.patience) == (24, 6, 1)
    assert experiment.network.hidden == 8
    assert experiment.periods.production_start == date(2025, 10, 13)
    assert list(experiment.tuning.space) == ["training.learning_rate"]  # network.hidden is a flag
    assert [path.name for path in path.parent.iterdir()] == ["tft_prod.yaml"]


def test_other_flags_under_the_same_name_replace_the_file(home: Path, tmp_path: Path, only_written: list[Path]) -> None:
    snapshot, template = frozen(home, minutes(3)), write_template(tmp_path)
    trained(snapshot, template)
    trained(snapshot, template, hidden=4, epochs=1)
    assert len(set(only_written)) == 1
    experiment = read_experiment(only_written[0]).experiment
    assert (experiment.network.hidden, experiment.production.epochs) == (4, 1)


def test_the_shipped_template_fits_the_snapshot_of_a_week(home: Path, only_written: list[Path]) -> None:
    snapshot = frozen(home, minutes(7))
    train_on_snapshot(snapshot, report=str, **(FLAGS | {"lookback": 64, "hidden": 128}))
    shipped, made = read_experiment(training.TEMPLATE).experiment, read_experiment(only_written[0]).experiment
    assert made.features == shipped.features
    assert made.target == shipped.target
    assert made.tuning.space == shipped.tuning.space
    assert made.exploration.folds.train < shipped.exploration.folds.train


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        ({"data.interval": "1d"}, {}, "is for bars of 1d and snapshot .* holds bars of 1m"),
        ({"data.market_symbol": "SP500"}, {}, "names SP500 as context"),
        ({"production.folds.window": "sliding"}, {}, "sliding"),
        ({"tuning.space": {"network.hidden": {"choices": [4, 8]}}}, {}, "nothing is left to tune"),
        ({"features.names": ["ret_1m", "no_such"]}, {}, r"snapshot .*no_such"),
        ({}, {"hidden": 7}, "heads 2 does not divide hidden 7"),
        ({}, {"name": "Tft-1"}, "lower-case letters"),
        ({}, {"lookback": 300}, "never stretched"),
    ],
    ids=["daily", "market", "sliding", "searched", "unknown_feature", "heads", "name", "lookback"],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    home: Path,
    tmp_path: Path,
    only_written: list[Path],
    changes: dict[str, Any],
    flags: dict[str, Any],
    message: str,
) -> None:
    snapshot = frozen(home, minutes(2))
    with pytest.raises(ConfigurationError, match=message):
        trained(snapshot, write_template(tmp_path, changes), **flags)
    assert not only_written
    assert not (home / "trained").exists()


def test_a_snapshot_that_is_too_short_is_refused_with_the_bars_that_are_needed(
    home: Path, tmp_path: Path, only_written: list[Path]
) -> None:
    snapshot = frozen(home, minutes(1))
    with pytest.raises(ConfigurationError, match=r"has \d+ bars of a symbol and \d+ are needed for a lookback of 24"):
        trained(snapshot, write_template(tmp_path))
    assert not only_written


def test_prices_that_stand_still_are_refused_for_they_have_no_label(
    home: Path, tmp_path: Path, only_written: list[Path]
) -> None:
    still = minutes(3).with_columns(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close"))
    with pytest.raises(ConfigurationError, match=r"not one of \d+ bars has a label"):
        trained(frozen(home, still), write_template(tmp_path))
    assert not only_written


def test_an_unknown_snapshot_is_one_line_and_exit_code_two(home: Path) -> None:
    done = CliRunner().invoke(app, ["train", "--snapshot", "2020-01-01T00-00-00Z"])
    assert isinstance(done.exception, ConfigurationError)
    assert "none was frozen yet" in str(done.exception)


def test_the_templates_own_paths_and_dates_do_not_reach_the_file(
    home: Path, tmp_path: Path, only_written: list[Path]
) -> None:
    """A table's path is relative to the template, and data.start would cut the snapshot."""
    changes = {
        "data.start": date(2019, 1, 1),
        "data.stamp": "open",
        "data.tables": [{"source": "t.csv", "prefix": "t"}],
    }
    trained(frozen(home, minutes(3)), write_template(tmp_path, changes))
    data = yaml.safe_load(only_written[0].read_text())["data"]
    assert not {"start", "stamp", "minute_source"} & set(data)
    assert data["tables"][0]["source"] == str((tmp_path / "t.csv").resolve())


GATE_OFF = "B\nlatency: {max_p95_ms: 100000.0}\n#"


def test_a_symbol_that_breaks_a_line_is_no_configuration(home: Path, tmp_path: Path, only_written: list[Path]) -> None:
    """A folder of a snapshot may come from elsewhere: the file's text is guarded too, not the bars alone."""
    bars = normalise_bars(minutes(3), timezone=None, symbols=None, start=None, end=None, min_bars=1)
    bars = bars.with_columns(pl.col("symbol").replace("BBB", GATE_OFF)).sort("symbol", "timestamp")
    snapshot = write_frozen(Layout(home), bars, interval="1m", source={"name": "made up"})[1].snapshot_id
    template = write_template(tmp_path)
    trained(snapshot, template)
    made = yaml.safe_load(only_written[0].read_text())
    assert GATE_OFF in made["data"]["symbols"]
    assert made["latency"] == yaml.safe_load(template.read_text())["latency"]
    assert made["seed"] == 3


def test_text_that_would_be_read_as_another_experiment_is_not_written(
    home: Path, tmp_path: Path, only_written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_comment", lambda *_: "latency: {max_p95_ms: 100000.0}\n")
    template = write_template(tmp_path)
    content = yaml.safe_load(template.read_text())
    del content["latency"]  # the key is stated once
    template.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigurationError, match="read as another experiment"):
        trained(frozen(home, minutes(3)), template)
    assert not only_written
    assert not list((home / "trained").iterdir())


def test_the_file_of_an_experiment_that_is_running_is_left_alone(
    home: Path, tmp_path: Path, only_written: list[Path]
) -> None:
    snapshot, template = frozen(home, minutes(3)), write_template(tmp_path)
    trained(snapshot, template)
    before = only_written[0].read_bytes()
    with run_lock(Layout(home).run_lock("tft_prod")), pytest.raises(ConfigurationError, match="another run works on"):
        trained(snapshot, template, hidden=4)
    assert only_written[0].read_bytes() == before
    assert len(only_written) == 1


def test_the_lock_is_held_from_the_writing_to_the_end_of_the_run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []

    def run(_path: Path, **options: Any) -> dict[str, Any]:
        with pytest.raises(RunLockedError), run_lock(Layout(home).run_lock("tft_prod")):
            pass
        told.append(options)
        return {"failed": ["stop here"]}

    monkeypatch.setattr(training, "run_experiment", run)
    trained(frozen(home, minutes(3)), write_template(tmp_path))
    assert told[0]["held"] is not None


def test_a_name_under_which_another_file_has_results_is_refused_before_anything_is_written(
    home: Path, tmp_path: Path, only_written: list[Path]
) -> None:
    template = write_template(tmp_path)
    claim_name(Layout(home).experiment("tft_prod"), template)
    with pytest.raises(ConfigurationError, match="carries the same name"):
        trained(frozen(home, minutes(3)), template)
    assert not only_written
    assert not (home / "trained").exists()


@pytest.mark.parametrize("train_days", [4, 9, 14, 27, 60])
def test_the_proposed_recent_days_are_the_most_that_the_drift_report_can_judge(train_days: int) -> None:
    """Hourly bars; all ten days after the training are there."""
    start = datetime.fromisoformat("2025-01-01T01:00:00+00:00")
    stamps = pl.Series([start + timedelta(hours=hour) for hour in range((train_days + 10) * 24)])
    days = drift_days(stamps, stamps[0], stamps[train_days * 24 - 1], needed=19)

    def judged(days: int) -> bool:
        values = pl.Series(range(len(stamps))).shuffle(seed=1).to_numpy().astype(float)
        report = drift_report({"x": values[: train_days * 24]}, {"x": values[-days * 24 :]}, n_bins=2)
        return report.verdict != "insufficient_data"

    assert days == max((n for n in range(1, 8) if judged(n)), default=1)


def test_fewer_bars_after_the_training_than_the_days_ask_for_are_what_counts() -> None:
    start = datetime.fromisoformat("2025-01-01T01:00:00+00:00")
    stamps = pl.Series([start + timedelta(hours=hour) for hour in range(12 * 24)])
    assert drift_days(stamps, stamps[0], stamps[11 * 24 - 1], needed=19) == 7
