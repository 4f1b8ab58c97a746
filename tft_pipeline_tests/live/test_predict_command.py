"""`tft predict`: the live model's word on the last bar of a file, or one line that says why not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.__main__ import main
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.features import build_features, resolve_features
from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.live.predict_command import predict_last
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.inference import predict
from tft_pipeline_tests.conftest import random_bars
from tft_pipeline_tests.live_models import held_in_a_backtest, release, signature_of
from tft_pipeline_tests.oracles.model_panels import small_fit

NAMES = ("ret_1", "sma_20_gap", "z_21")
BARS = random_bars(200, ("AAA", "BBB", "CCC")).filter(
    (pl.col("symbol") != "CCC") | (pl.col("timestamp") < pl.lit("2020-09-01").str.to_datetime(time_zone="UTC"))
)


@pytest.fixture(scope="module")
def panel() -> Panel:
    chosen = resolve_features(BARS.columns, groups=(), names=NAMES, has_market=False)
    features = build_features(BARS.sort("symbol", "timestamp"), chosen, market_symbol=None, bars_per_year=252.0)
    targets = build_targets(
        BARS.sort("symbol", "timestamp"), horizon=1, volatility_span=20, bars_per_year=252.0, untraded=()
    )
    return build_panel(features, targets, names=chosen.names, min_history=chosen.max_lookback)


@pytest.fixture(scope="module")
def fitted(panel: Panel) -> FittedFold:
    return small_fit(panel, epochs=1)


@pytest.fixture
def models(panel: Panel, fitted: FittedFold, tmp_path: Path) -> Path:
    stated: dict[str, Any] = {
        "feature_versions": dict.fromkeys(panel.features, "1"),
        "user_columns": (),
        "max_lookback": 61,
        "calendar": {"kind": "observed", "step_s": 86400},
    }
    release(tmp_path / "models", "one", fitted, signature_of(fitted, panel.symbols, stated))
    return tmp_path / "models"


def _file(tmp_path: Path, bars: pl.DataFrame, name: str = "bars.parquet") -> Path:
    path = tmp_path / name
    if name.endswith(".csv"):
        bars.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(path)
    else:
        bars.write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv"])
def test_it_says_what_a_backtest_would_hold_after_the_last_bar(
    models: Path, panel: Panel, fitted: FittedFold, tmp_path: Path, name: str
) -> None:
    found = predict_last(models, _file(tmp_path, BARS, name), experiment="x", form=None)
    predicted = predict(fitted, panel, Span(100, panel.n_bars))
    held = held_in_a_backtest(predicted.raw_position, signature_of(fitted, panel.symbols))[:, -1]
    assert [row["symbol"] for row in found["signals"]] == ["AAA", "BBB", "CCC"]
    np.testing.assert_allclose([row["target_position"] for row in found["signals"]], held, rtol=0, atol=1e-6)
    assert [row["observed"] for row in found["signals"]] == [True, True, False]
    assert found["signals"][2]["mu"] is None
    assert found["bar"] == panel.calendar[-1].isoformat()
    assert (found["model_id"], found["bars_in_shortest_window"], found["lookback"]) == ("one", 16, 16)
    json.dumps(found, allow_nan=False)


def test_symbols_the_model_does_not_know_are_left_out_and_named(models: Path, tmp_path: Path) -> None:
    more = pl.concat([BARS, random_bars(200, ("ZZZ",))])
    found = predict_last(models, _file(tmp_path, more), experiment="x", form="torch")
    assert found["symbols_left_out"] == ["ZZZ"]
    assert found["signals"] == predict_last(models, _file(tmp_path, BARS), experiment="x", form=None)["signals"]


def test_what_the_history_is_too_short_for_is_said_by_cause(panel: Panel, fitted: FittedFold, tmp_path: Path) -> None:
    stated: dict[str, Any] = {
        "feature_versions": dict.fromkeys(panel.features, "1"),
        "user_columns": (),
        "max_lookback": 61,
        "calendar": {"kind": "observed", "step_s": 86400},
        "position_smooth": 0.6,
    }
    release(tmp_path / "models", "one", fitted, signature_of(fitted, panel.symbols, stated))

    def causes(bars: pl.DataFrame) -> list[str]:
        found = predict_last(tmp_path / "models", _file(tmp_path, bars), experiment="x", form=None)
        return [each["cause"] for each in found["history_short"]]

    long = random_bars(1_400, ("AAA", "BBB"))
    assert causes(long) == []
    assert causes(BARS) == ["recursive features"]
    row = pl.int_range(pl.len()).over("symbol")
    assert causes(BARS.filter((row >= 10) | (pl.col("symbol") != "BBB"))) == ["recursive features"]
    assert causes(BARS.filter((row >= 130) | (pl.col("symbol") != "BBB"))) == ["lookback", "recursive features"]
    first_window = 61 + fitted.training.lookback - 1
    short = random_bars(first_window, ("AAA", "BBB"))
    assert causes(short) == ["smoothing", "recursive features"]
    with pytest.raises(ConfigurationError, match=r"15 bars with features, a window has 16.*bring 1 bars more"):
        causes(short.filter(row > 0))


def test_an_index_that_is_not_in_the_file_is_one_line(panel: Panel, fitted: FittedFold, tmp_path: Path) -> None:
    stated: dict[str, Any] = {
        "feature_versions": dict.fromkeys(panel.features, "1"),
        "user_columns": (),
        "max_lookback": 61,
        "calendar": {"kind": "observed", "step_s": 86400},
        "untraded": ("INDEX",),
        "market_symbol": "INDEX",
    }
    release(tmp_path / "models", "one", fitted, signature_of(fitted, panel.symbols, stated))
    with pytest.raises(ConfigurationError, match=r"INDEX.*bring its bars"):
        predict_last(tmp_path / "models", _file(tmp_path, BARS), experiment="x", form=None)


REFUSED = {
    "no such file": (None, "no such file"),
    "no traded symbol": (BARS.with_columns(symbol=pl.lit("ZZZ")).unique("timestamp"), "not one of its symbols"),
    "too few bars": (BARS.sort("timestamp").tail(30), "bring more bars"),
    "twice the same bar": (pl.concat([BARS, BARS.tail(1)]), "duplicate"),
    "a price of zero": (BARS.with_columns(close=pl.col("close") * 0.0), "not positive"),
    "no time zone": (BARS.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), "no time zone"),
    "no close": (BARS.drop("close"), "close"),
    "no rows": (BARS.head(0), "no rows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bars_that_cannot_be_used_are_one_line(models: Path, tmp_path: Path, case: str) -> None:
    bars, said = REFUSED[case]
    path = tmp_path / "nowhere.parquet" if bars is None else _file(tmp_path, bars)
    with pytest.raises(ConfigurationError, match=said) as refused:
        predict_last(models, path, experiment="x", form=None)
    assert "\n" not in str(refused.value)
    assert "--bars" in str(refused.value)


def test_nothing_live_and_a_damaged_release_are_said(models: Path, tmp_path: Path) -> None:
    path = _file(tmp_path, BARS)
    with pytest.raises(ConfigurationError, match="nothing is live in experiment x"):
        predict_last(tmp_path / "empty", path, experiment="x", form=None)
    with pytest.raises(ConfigurationError, match="no form onnx_window"):
        predict_last(models, path, experiment="x", form="onnx_window")
    (models / "versions" / "one" / "network.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="SHA-256"):
        predict_last(models, path, experiment="x", form=None)


def test_the_command_line_refuses_in_one_line_and_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TFT_HOME", str(tmp_path))
    for words, said in ((["--form", "eager"], "--form eager is none of"), ([], "no experiment file")):
        monkeypatch.setattr(
            "sys.argv", ["tft", "predict", "--experiment", "absent", "--bars", "x.csv", *words, "--json"]
        )
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        assert left.value.code == 2
        assert said in json.loads(told.out)["error"]
        assert len(told.err.strip().splitlines()) == 1
