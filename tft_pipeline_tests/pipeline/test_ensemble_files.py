"""The command `tft ensemble` on anybody's files."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from sklearn import metrics
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.ensemble import ensemble_weights
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.ensemble_files import blend_files
from tft_pipeline_tests.conftest import business_days

EXAMPLE = {"lgbm": [0.9, 0.5, 0.1, 0.5], "tft": [0.5, 0.9, 0.5, 0.1], "y": [1, 1, 0, 0]}


def keyed(folder: Path, columns: dict[str, Any], symbols: tuple[str, ...] = ("A",)) -> dict[str, Path]:
    """One CSV a column, rows in order of time and symbol; `y` holds labels."""
    n_bars = len(columns["y"]) // len(symbols)
    stamps = [stamp.isoformat() for stamp in business_days(n_bars) for _ in symbols]
    paths = {}
    for name, values in columns.items():
        value = "y_true" if name == "y" else "proba"
        paths[name] = folder / f"{name}.csv"
        frame = pl.DataFrame({"symbol": list(symbols) * n_bars, "timestamp": stamps, value: values})
        frame.write_csv(paths[name])
    return paths


def views(n_bars: int = 150, n_symbols: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Two sources that know a little, and labels."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(0.0, 1.0, n_bars * n_symbols)
    y = (rng.uniform(size=signal.size) < expit(signal)).astype(int)
    return {
        "lgbm": expit(signal + rng.normal(0, 0.8, y.size)),
        "tft": expit(signal + rng.normal(0, 1.2, y.size)),
        "y": y,
    }


def blend(paths: dict[str, Path], **options: Any) -> dict[str, Any]:
    files = {name: paths.get(name) for name in ("lgbm", "tft", "sentiment")}
    return blend_files(files, paths["y"], **options)


def test_the_worked_example_comes_to_equal_weights_through_the_command_in_the_guides_form(tmp_path):
    paths = keyed(tmp_path, EXAMPLE)
    target = tmp_path / "models" / "ensemble.json"
    options = ["--lgbm-proba", paths["lgbm"], "--tft-proba", paths["tft"], "--y-true", paths["y"], "--output", target]
    done = CliRunner().invoke(app, ["ensemble", *map(str, options)])
    assert done.exit_code == 0, done.output
    found = json.loads(target.read_text())
    assert found["weights"] == pytest.approx({"lgbm": 0.5, "tft": 0.5, "sentiment": 0.0}, abs=1e-6)
    assert found["available"] == {"lgbm": True, "tft": True, "sentiment": False}
    assert {"accuracy", "f1", "auc_roc"} <= set(found["metrics"])
    assert found["metrics"]["accuracy"] is None
    assert "a blend cannot be scored on bars it was not fitted to" in found["metrics"]["reason"]
    assert found["metrics_on_fitted_rows"]["accuracy"] == 1.0
    assert "lgbm 0.500, tft 0.500, sentiment 0.000 (not given)" in done.output
    assert "no measure of what comes" in done.output


def test_metrics_are_of_blocks_that_the_weights_had_not_seen(tmp_path):
    columns = views()
    found = blend(keyed(tmp_path, columns, ("A", "B")))
    assert found["n"]["folds"] == 7  # 150 bars in blocks of 20 or more
    assert next(iter(found["folds"])) == "bars 23 to 44"
    stops = np.cumsum([2 * block.size for block in np.array_split(np.arange(150), 7)])
    table = np.stack([columns["lgbm"], columns["tft"]], axis=1)
    out = []
    for start, stop in pairwise(stops):
        past = {name: columns[name][:start] for name in ("lgbm", "tft")}
        out.append(table[start:stop] @ list(ensemble_weights(past, columns["y"][:start]).weights.values()))
    y, p = columns["y"][stops[0] :], np.concatenate(out)
    assert found["metrics"]["n"] == y.size
    assert found["metrics"]["log_loss"] == pytest.approx(metrics.log_loss(y, p))
    assert found["metrics"]["auc_roc"] == pytest.approx(metrics.roc_auc_score(y, p))
    assert found["metrics"]["accuracy"] == pytest.approx(metrics.accuracy_score(y, p >= 0.5))
    assert found["calibration"]["tft"] == {"slope": 1.0, "intercept": 0.0}


def test_rows_fit_by_their_keys_whatever_their_order_and_format(tmp_path):
    paths = keyed(tmp_path, views(), ("A", "B"))
    plain = blend(paths)
    shuffled = tmp_path / "shuffled.parquet"
    frame = pl.read_csv(paths["tft"]).sample(fraction=1.0, shuffle=True, seed=1)
    frame.with_columns(pl.col("timestamp").str.to_datetime(time_zone="UTC")).write_parquet(shuffled)
    assert blend(paths | {"tft": shuffled}) == plain
    by_row = tmp_path / "by_row.csv"
    frame.write_csv(by_row)
    assert blend(paths | {"tft": by_row}) == plain
    assert blend(paths | {"tft": by_row}, by_row=True)["weights"] != plain["weights"]


def test_by_row_takes_columns_without_keys_and_counts_each_row_as_a_bar(tmp_path):
    columns = views(200, 1)
    for name, values in columns.items():
        np.savetxt(tmp_path / f"{name}.csv", values, fmt="%.17g")
    paths = {name: tmp_path / f"{name}.csv" for name in columns}
    found = blend(paths, by_row=True)
    keys = blend(keyed(tmp_path, columns))
    assert found["weights"] == pytest.approx(keys["weights"])
    assert found["metrics"]["log_loss"] == pytest.approx(keys["metrics"]["log_loss"])
    assert found["n"]["bars"] == 200
    assert "Rows count as bars of their own" in found["summary"][-1]
    (tmp_path / "y.csv").write_text("1\n0\n")
    with pytest.raises(ConfigurationError, match=r"lgbm.csv has 200 rows and .*y.csv has 2"):
        blend(paths, by_row=True)


def test_calibration_is_asked_for_and_then_learned_on_earlier_blocks(tmp_path):
    columns = views(400, 2, seed=3)
    columns["tft"] = expit(4.0 * np.log(columns["tft"] / (1.0 - columns["tft"])))  # far too sure
    paths = keyed(tmp_path, columns, ("A", "B"))
    raw, ready = blend(paths), blend(paths, calibrate=True)
    assert (raw["calibrated"], ready["calibrated"]) == (False, True)
    assert ready["calibration"]["tft"]["slope"] < 0.5
    assert ready["sources"]["tft"]["log_loss"] < raw["sources"]["tft"]["log_loss"] - 0.1
    assert "nothing is calibrated" in raw["measured_on"]
    assert "calibration and weights" in ready["measured_on"]


def test_a_pull_and_a_horizon_change_what_they_say(tmp_path):
    paths = keyed(tmp_path, views(), ("A", "B"))
    plain = blend(paths)
    assert blend(paths, l2=1e3)["weights"]["tft"] == pytest.approx(0.5, abs=1e-3)
    later = blend(paths, horizon=10)
    assert later["weights"] == plain["weights"]
    assert later["folds"] != plain["folds"]
    assert min(later["intervals"]["block_bars"].values()) >= 10
    with pytest.raises(ConfigurationError, match="--l2 -1"):
        blend(paths, l2=-1.0)
    with pytest.raises(ConfigurationError, match="--horizon 0"):
        blend(paths, horizon=0)
    with pytest.raises(ConfigurationError, match="shorten the horizon"):
        blend(paths, horizon=150)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"y": [1, 1, 1, 1]}, ["y.csv", "all 4 labels are 1", "both classes"]),
        ({"y": [1, 2, 0, 0]}, ["y.csv", "neither 0 nor 1 in 1 of 4", "first 2"]),
        ({"lgbm": [0.9, 1.5, -0.1, 0.5]}, ["lgbm.csv", "outside [0, 1] in 2 of 4 rows", "first 1.5"]),
        ({"tft": [0.9, float("nan"), 0.1, 0.5]}, ["tft.csv", "no finite number in 1 of 4 rows", "row 2"]),
    ],
)
def test_values_that_cannot_be_blended_are_refused_by_file(tmp_path, changed, words):
    with pytest.raises(ConfigurationError) as caught:
        blend(keyed(tmp_path, EXAMPLE | changed))
    assert all(word in str(caught.value) for word in words), caught.value


def test_files_of_other_rows_are_refused_with_counts_and_examples(tmp_path):
    paths = keyed(tmp_path, EXAMPLE)
    frame = pl.read_csv(paths["tft"])
    frame.head(3).write_csv(paths["tft"])
    with pytest.raises(
        ConfigurationError, match=r"do not hold the same rows: 1 of 4 rows stand in .*y.csv only \(first A 2020"
    ):
        blend(paths)
    frame.with_columns(symbol=pl.lit("B")).write_csv(paths["tft"])
    with pytest.raises(
        ConfigurationError, match=r"4 of 4 rows stand in .*tft.csv only \(first B .*; 4 of 4 rows stand in .*y.csv"
    ):
        blend(paths)
    frame.with_columns(pl.col("timestamp").str.slice(0, 10)).write_csv(paths["tft"])
    with pytest.raises(ConfigurationError, match=r"tft.csv are written as naive, those of .*y.csv as offset"):
        blend(paths)


@pytest.mark.parametrize("name", ["lgbm", "tft", "y"])
def test_an_output_that_is_an_input_is_refused_and_the_input_stays(tmp_path, name):
    paths = keyed(tmp_path, EXAMPLE)
    before = paths[name].read_bytes()
    (tmp_path / "d").mkdir()
    (tmp_path / "link.json").symlink_to(paths[name])
    for spelled in (paths[name], tmp_path / "d" / ".." / f"{name}.csv", tmp_path / "link.json"):
        with pytest.raises(ConfigurationError, match=rf"--output .* would replace .*{name}.csv, which is read"):
            blend(paths, output=spelled)
    assert paths[name].read_bytes() == before


@pytest.mark.parametrize("pull", [float("inf"), float("nan"), 1e300, -1.0])
def test_a_pull_that_is_no_pull_is_refused_by_its_value(tmp_path, pull):
    with pytest.raises(
        ConfigurationError, match=f"--l2 {pull:g}, --horizon 1: expected a pull of 0 to 1e".replace("+", r"\+")
    ):
        blend(keyed(tmp_path, EXAMPLE), l2=pull)


def test_no_source_at_all_is_refused(tmp_path):
    paths = keyed(tmp_path, EXAMPLE)
    with pytest.raises(ConfigurationError, match="name at least one of --lgbm-proba, --tft-proba, --sentiment-proba"):
        blend({"y": paths["y"]})


def test_one_source_or_all_three_are_blended(tmp_path):
    columns = views()
    paths = keyed(tmp_path, columns | {"sentiment": np.full(300, 0.5)}, ("A", "B"))
    alone = blend({"tft": paths["tft"], "y": paths["y"]})
    assert alone["weights"] == {"lgbm": 0.0, "tft": 1.0, "sentiment": 0.0}
    three = blend(paths)
    assert three["available"] == dict.fromkeys(("lgbm", "tft", "sentiment"), True)
    assert set(three["intervals"]["weights"]) == {"lgbm", "tft", "sentiment"}


def test_what_is_printed_for_machines_is_what_is_written(tmp_path):
    paths = keyed(tmp_path, views(), ("A", "B"))
    target = tmp_path / "ensemble.json"
    options = ["--lgbm-proba", paths["lgbm"], "--tft-proba", paths["tft"], "--y-true", paths["y"], "--output", target]
    done = CliRunner().invoke(app, ["ensemble", *map(str, options), "--json"])
    told, written = json.loads(done.stdout), json.loads(target.read_text())
    assert {key: told[key] for key in written if key != "folds"} == {k: v for k, v in written.items() if k != "folds"}
    assert list(told["folds"].values()) == written["folds"]
