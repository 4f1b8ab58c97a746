"""What the command `tft stats` does: any series of returns described as our own are. Not here: options and printing."""

from pathlib import Path
from typing import Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.series_record import refusal_of_settings, series_record
from tft_pipeline.storage.returns import ReturnSeries, read_returns

OPTIONS = ("--bars-per-year", "--trials", "--trial-variance", "--benchmark-sharpe")


def describe_file(
    path: Path,
    *,
    bars_per_year: float,
    column: str | None = None,
    trials: float = 1.0,
    trial_variance: float | None = None,
    benchmark_sharpe: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Statistics of a file of returns, ready for JSON.

    Args:
        trials: N, trials the series was chosen from, itself included.
        trial_variance: V of the trials' per-bar Sharpe ratios; 1/n, that of trials without skill, when not given.
        benchmark_sharpe: per bar; psr and min_trl are against it.
        seed: of the bootstrap.
    Returns:
        the keys of `sharpe.describe_returns`; file, column, first, last, left_out, warnings of the file; bars_per_year, trials,
        trial_variance, benchmark_sharpe as used; verdict, one sentence. A number that does not exist is None and says why in
        `<name>_reason`.
    Raises:
        ConfigurationError: a file or an option that cannot be used.
    """
    if refusal := refusal_of_settings(bars_per_year, trials, trial_variance, benchmark_sharpe, OPTIONS):
        raise ConfigurationError(refusal)
    series = read_returns(path, column=column)
    try:
        record = series_record(
            series.values,
            bars_per_year=bars_per_year,
            trials=trials,
            trial_variance=trial_variance,
            benchmark_sharpe=benchmark_sharpe,
            seed=seed,
        )
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return {**record, **_origin(path, series)}


def statistics_in_words(result: dict[str, Any]) -> list[str]:
    """The record of `describe_file` as aligned lines, the sentence last."""
    dates = "" if result["first"] is None else f", {result['first']} to {result['last']}"
    low, high = result["bootstrap_ci_annual"]
    versus = f"a Sharpe ratio above {result['benchmark_sharpe']:g} a bar"
    drift = "significant" if result["autocorrelated"] else "not significant"
    rows = [
        (
            "returns",
            f"{result['column']} of {result['file']}: {result['n']} bars{dates}, {result['bars_per_year']:g} a year",
        ),
        ("Sharpe ratio", f"{result['sharpe_annual']:.3f} +- {result['se_annual']:.3f} a year (square root rule)"),
        ("  per bar", f"{result['sharpe']:.5f} +- {result['se']:.5f}"),
        (
            "  95 % interval",
            f"{low:.3f} to {high:.3f} a year (stationary bootstrap, blocks of {result['block_length']:.1f} bars)",
        ),
        ("  Lo's rule", _or_reason(result, "sharpe_annual_eta", "{:.3f} a year, allowing for autocorrelation")),
        (
            "autocorrelation",
            f"{result['autocorrelation_1']:.3f} at one bar; {drift} over {result['ljung_box_lags']} bars "
            f"(Ljung-Box p {result['ljung_box_p']:.3f})",
        ),
        ("t of the mean", f"{result['t_newey_west']:.2f} (Newey-West, {result['newey_west_lag']} lags)"),
        ("moments", f"skew {result['skew']:.2f}, kurtosis {result['kurtosis']:.2f} (normal 0 and 3)"),
        ("PSR", f"{result['psr']:.4f} probability of {versus}"),
        ("MinTRL", _or_reason(result, "min_trl", f"{{:.0f}} bars are needed to be 95 % sure of {versus}")),
    ]
    if result["trials"] > 1.0:
        length = _or_reason(
            result, "min_btl_years", "{:.1f} years, below which such trials show this ratio without skill"
        )
        rows += [
            ("DSR", f"{result['dsr']:.4f} probability of one above 0, being the best of {result['trials']:g} trials"),
            ("  to beat", f"{result['expected_max_sharpe']:.5f} a bar, expected best of these trials without skill"),
            ("MinBTL", length),
        ]
    rows += [("left out", ", ".join(result["left_out"]))] if result["left_out"] else []
    rows += [("warning", warning) for warning in result["warnings"]]
    width = max(len(name) for name, _ in rows) + 2
    return [*(f"{name:<{width}}{words}" for name, words in rows), "", result["verdict"]]


def _origin(path: Path, series: ReturnSeries) -> dict[str, Any]:
    return {
        "file": str(path),
        "column": series.column,
        "first": series.first,
        "last": series.last,
        "left_out": list(series.left_out),
        "warnings": list(series.warnings),
    }


def _or_reason(result: dict[str, Any], name: str, words: str) -> str:
    value = result[name]
    return f"none: {result[name + '_reason']}" if value is None else words.format(value)
