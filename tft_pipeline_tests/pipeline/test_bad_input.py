"""Bad input: a clear error that names value, limit and remedy; nothing half-written; a non-zero exit."""

import json
import re
from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app, main
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline_tests.conftest import Workbench, random_bars


def with_value(column: str, value: float) -> pl.DataFrame:
    bars = random_bars()
    return bars.with_columns(pl.when(pl.arange(0, pl.len()) == 7).then(value).otherwise(pl.col(column)).alias(column))


def mixed_zones() -> pl.DataFrame:
    text = pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S")
    return random_bars().with_columns(
        timestamp=pl.when(pl.arange(0, pl.len()) % 2 == 0).then(text + "+00:00").otherwise(text)
    )


NAIVE = random_bars().with_columns(pl.col("timestamp").dt.replace_time_zone(None))
CASES: dict[str, tuple[pl.DataFrame | None, dict[str, Any], str, str]] = {
    "missing column": (random_bars().drop("close"), {}, "snapshot", r"columns \['close'\] are missing.*rename"),
    "naive time zone": (NAIVE, {}, "snapshot", r"timestamp has no time zone.*set data\.timezone"),
    "mixed time zones": (mixed_zones(), {}, "snapshot", r"timestamp mixes time zones.*give every timestamp an offset"),
    "duplicate key": (
        pl.concat([random_bars(), random_bars().head(1)]),
        {},
        "snapshot",
        r"1 duplicate \(timestamp, symbol\) keys.*AAA.*keep one row",
    ),
    "infinite price": (with_value("close", float("inf")), {}, "snapshot", r"close is missing, non-finite.*value inf"),
    "price of nan": (with_value("close", float("nan")), {}, "snapshot", r"close is missing, non-finite.*value nan"),
    "negative price": (with_value("close", -1.0), {}, "snapshot", r"not positive in 1 of 1680 rows.*value -1\.0"),
    "price of zero": (with_value("close", 0.0), {}, "snapshot", r"not positive in 1 of 1680 rows.*value 0\.0"),
    "too few bars of a symbol": (
        pl.concat([random_bars(), random_bars(50, ("EEE",))]),
        {},
        "snapshot",
        r"too few bars: EEE 50; data\.min_bars is 100",
    ),
    "empty period": (
        None,
        {"data.start": "2050-01-01", "periods.production_start": "2051-01-01"},
        "snapshot",
        r"no bar between 2050-01-01 and the end",
    ),
    "missing market": (None, {"data.market_symbol": "SPX"}, "snapshot", r"data\.market_symbol 'SPX' has no bars"),
    "too few bars for one fold": (
        None,
        {"exploration.folds.train": 5000},
        "prefiltered_features",
        r"too few bars for one fold.*train 5000",
    ),
    "too few production bars": (
        None,
        {"periods.production_start": "2021-08-02"},
        "production_plan",
        r"too few bars for one fold.*40 scored bars",
    ),
}


@pytest.mark.fault("bad_bars")
@pytest.mark.parametrize("case", list(CASES))
def test_bad_bars_or_settings_are_refused_by_name(case: str, workbench: Callable[..., Workbench]) -> None:
    bars, changes, asset, message = CASES[case]
    changes = {key: _date(value) for key, value in changes.items()}
    bench = workbench(bars, changes)

    done = CliRunner().invoke(app, ["run", str(bench.file), "--json"])

    assert done.exit_code == 1
    (failed,) = json.loads(done.stdout)["failed"]
    assert failed["asset"] == f"small/{asset}"
    assert failed["partition"] is None
    assert re.search(message, failed["reason"], re.DOTALL), failed["reason"]
    assert "--resume" in json.loads(done.stdout)["resume"]
    written = bench.layout.experiment("small")
    assert not (written / asset / "current").exists()
    assert not list(written.rglob(".stage-*")), "nothing half-written"


def test_a_missing_source_is_refused(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    (bench.folder / "bars.parquet").unlink()
    done = CliRunner().invoke(app, ["run", str(bench.file), "--json"])
    assert done.exit_code == 1
    (failed,) = json.loads(done.stdout)["failed"]
    assert "bars.parquet: no such file or folder; correct data.source" in failed["reason"]
    assert not (bench.layout.experiment("small") / "snapshot").exists()


def test_an_asset_without_its_upstream_says_what_to_materialise_first(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    done = CliRunner().invoke(app, ["materialize", str(bench.file), "prefiltered_features", "--json"])
    assert done.exit_code == 1
    assert "materialise this asset first" in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pruning.min_stabilty": 0.3}, r"pruning\.min_stabilty: unknown key"),
        ({"periods.purge": 1, "target.horizon": 3}, r"periods\.purge 1 < target\.horizon 3"),
        ({"tuning.n_trials": "ten"}, r"tuning\.n_trials: .*integer.*'ten'"),
        ({"network.heads": 3}, r"heads 3 does not divide hidden 4"),
        ({"training.warmup_bars": 16}, r"warmup_bars 16 >= lookback 16"),
        ({"exploration.seeds": 2}, r"exploration\.seeds: .*greater than or equal to 3.*value 2"),
        ({"tuning.space": {"network.width": {"low": 1, "high": 2}}}, r"'network\.width' is not tunable"),
    ],
)
def test_a_bad_experiment_file_is_refused_before_anything_runs(
    changes: dict[str, Any], message: str, workbench: Callable[..., Workbench]
) -> None:
    bench = workbench(None, changes)
    done = CliRunner().invoke(app, ["run", str(bench.file)])
    assert isinstance(done.exception, ConfigurationError)
    assert re.search(message, str(done.exception)), str(done.exception)
    assert not bench.layout.home.exists()


def test_without_json_a_failure_is_told_in_words(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    (bench.folder / "bars.parquet").unlink()
    done = CliRunner().invoke(app, ["run", str(bench.file)])
    assert done.exit_code == 1
    assert re.search(
        r"^  - small/snapshot: snapshot refused: .*no such file or folder.* \(run \w{8}\)$", done.stdout, re.M
    )
    assert f"resume: tft run {bench.file} --resume" in done.stdout


def test_the_command_exits_with_2_and_one_message_for_a_bad_experiment_file(
    workbench: Callable[..., Workbench], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = workbench(None, {"pruning.min_stabilty": 0.3})
    monkeypatch.setattr("sys.argv", ["tft", "run", str(bench.file)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "pruning.min_stabilty: unknown key" in shown
    assert "Traceback" not in shown


def test_an_unknown_asset_or_fold_is_refused_with_the_choices(finished: Workbench) -> None:
    for arguments, message in (
        (["productoin_fold"], "did you mean production_fold? choose from"),
        (["production_fold"], "name one with --partition"),
        (["production_fold", "--partition", "f1999-01-01"], "is not a partition"),
        (["release", "--partition", "f2021-01-15"], "leave --partition out"),
    ):
        done = CliRunner().invoke(app, ["materialize", str(finished.file), *arguments])
        assert isinstance(done.exception, ConfigurationError)
        assert message in str(done.exception)


def _date(value: Any) -> Any:
    return date.fromisoformat(value) if isinstance(value, str) and value[:2] == "20" else value
