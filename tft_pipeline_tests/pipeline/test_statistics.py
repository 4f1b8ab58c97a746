"""`tft stats`: the numbers are those of the library, and what cannot be used is one clear line and exit code 2."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.sharpe import describe_returns
from tft_pipeline.pipeline.statistics import describe_file, statistics_in_words
from tft_pipeline_tests.builders import noise

PROMISED = {
    "n", "sharpe", "sharpe_annual", "se", "se_annual", "skew", "kurtosis", "psr", "dsr", "expected_max_sharpe", "min_trl",
    "bootstrap_ci", "eta", "min_btl_years", "t_newey_west", "newey_west_lag", "sharpe_annual_eta", "autocorrelation_1",
    "annualised_by",
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "r.csv"
    np.savetxt(path, noise(500, 1, mean=0.001))
    return path


def test_the_record_holds_what_the_library_finds(file: Path) -> None:
    found = describe_file(file, bars_per_year=252.0, trials=100, trial_variance=0.002, benchmark_sharpe=0.01, seed=4)
    expected = describe_returns(
        np.loadtxt(file), bars_per_year=252.0, n_trials=100, trial_variance=0.002, benchmark_sharpe=0.01, seed=4
    )
    assert set(found) >= PROMISED
    assert {name: found[name] for name in expected} == json.loads(json.dumps(expected, allow_nan=False))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_without_a_variance_the_trials_are_taken_to_have_no_skill(file: Path) -> None:
    found = describe_file(file, bars_per_year=252.0, trials=20)
    assert found["trial_variance"] == 1.0 / 500
    assert found["dsr"] < found["psr"]


def test_numbers_that_do_not_exist_are_null_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "loss.csv"
    np.savetxt(path, noise(100, 2, mean=-0.001))
    found = describe_file(path, bars_per_year=252.0, trials=3)
    assert found["min_trl"] is found["min_btl_years"] is None
    assert "no record is long enough" in found["min_trl_reason"]
    assert "not above 0" in found["min_btl_years_reason"]
    words = "\n".join(statistics_in_words(found))
    assert f"none: {found['min_trl_reason']}" in words
    np.savetxt(path, np.where(np.arange(60) % 2, 0.01, -0.009) + noise(60, 0) * 0.01)
    swing = describe_file(path, bars_per_year=252.0)
    assert swing["eta"] is swing["sharpe_annual_eta"] is None
    assert "too noisy" in swing["eta_reason"]
    assert f"none: {swing['sharpe_annual_eta_reason']}" in "\n".join(statistics_in_words(swing))


def test_the_words_say_each_number_once_and_end_with_a_verdict(file: Path) -> None:
    found = describe_file(file, bars_per_year=252.0, trials=100, trial_variance=0.002)
    *lines, empty, verdict = statistics_in_words(found)
    assert empty == ""
    starts = {len(line) - len(line[18:].lstrip()) for line in lines}
    assert len(starts) == 1  # aligned
    assert verdict == found["verdict"]
    assert verdict.startswith(
        f"The Sharpe ratio is {found['sharpe_annual']:.2f} +- {found['se_annual']:.2f} a year; probability that it is above 0: "
    )
    assert f"after 100 trials: {found['dsr']:.2f}" in verdict
    single = statistics_in_words(describe_file(file, bars_per_year=252.0))
    assert "trials" not in single[-1]
    assert not any(line.startswith("DSR") for line in single)


def test_a_certainty_is_never_printed(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    np.savetxt(path, noise(2000, 3, mean=0.005))
    assert "above 0: above 0.9999." in describe_file(path, bars_per_year=252.0)["verdict"]
    np.savetxt(path, noise(2000, 3, mean=-0.005))
    assert "above 0: below 0.0001." in describe_file(path, bars_per_year=252.0)["verdict"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("bars_per_year", 0.0, "--bars-per-year 0"),
        ("bars_per_year", math.nan, "--bars-per-year nan"),
        ("trials", 0.0, "--trials 0"),
        ("trial_variance", -1.0, "--trial-variance -1"),
        ("benchmark_sharpe", math.inf, "--benchmark-sharpe inf"),
    ],
)
def test_options_that_cannot_be_are_refused(file: Path, option: str, value: float, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        describe_file(file, **{"bars_per_year": 252.0, option: value})


def test_a_series_that_never_moves_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "flat.csv"
    np.savetxt(path, np.zeros(20))
    with pytest.raises(ConfigurationError, match=r"flat\.csv: the returns have zero variance"):
        describe_file(path, bars_per_year=252.0)


def test_the_command_prints_json_or_words(file: Path) -> None:
    arguments = ["stats", str(file), "--bars-per-year", "252", "--trials", "100", "--trial-variance", "0.002"]
    arguments += ["--benchmark-sharpe", "0.01", "--seed", "4"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    expected = describe_file(file, bars_per_year=252.0, trials=100, trial_variance=0.002, benchmark_sharpe=0.01, seed=4)
    assert json.loads(done.stdout) == expected
    spoken = CliRunner().invoke(app, arguments)
    assert spoken.stdout.splitlines() == statistics_in_words(expected)


def test_a_bad_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tft_pipeline", "stats", str(tmp_path / "none.csv"), "--bars-per-year", "252"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    sentence = f"{tmp_path / 'none.csv'}: no such file; name a .csv or .parquet file of returns"
    assert (done.returncode, json.loads(done.stdout)["error"]) == (2, sentence)
    assert done.stderr.splitlines()[-1] == f"error: {sentence}"  # progress may stand before it
