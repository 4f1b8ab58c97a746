"""Three panels of noise and three with a planted signal, through the whole pipeline: the first of the twenty of each kind that
`benchmarks/power.py` runs for the documents.
"""

import importlib
import json
from pathlib import Path

import pytest

from tft_pipeline.model.processes import THREAD_VARIABLES
from tft_pipeline.storage.layout import PROJECT_ROOT

BENCHMARKS = PROJECT_ROOT / "benchmarks"
PANELS, JOBS = 3, 2
FOUND_AT_LEAST = 2
BEST_RANKS = 3


@pytest.mark.slow
def test_what_is_there_is_found_and_nothing_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    power = importlib.import_module("power")
    rows, failures = power.judge_all(PANELS, JOBS, tmp_path)
    assert failures == []
    assert len(rows) == 2 * PANELS
    noise, planted = ([row for row in rows if row["kind"] == kind] for kind in ("noise", "planted"))
    assert [row["verdict"] for row in noise] == ["NO-GO"] * PANELS
    assert all(row["reasons"] for row in noise)
    assert sum(row["verdict"] == "GO" for row in planted) >= FOUND_AT_LEAST, json.dumps(planted, indent=1)
    assert max(row["signal_rank"] for row in planted) <= BEST_RANKS


def test_a_panel_is_a_function_of_its_seed_and_its_oracle_earns_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    panels = importlib.import_module("power_panels")
    planted, again, noise = panels.panel("planted", 5), panels.panel("planted", 5), panels.panel("noise", 5)
    assert planted.equals(again)
    assert not planted.equals(panels.panel("planted", 6))
    assert planted.drop("close").equals(noise.drop("close"))  # only the returns know the signal
    earned = {}
    for name, frame in (("planted", planted), ("noise", noise)):
        wide = frame.pivot(on="symbol", index="timestamp", values=["close", "x_signal"]).sort("timestamp")
        symbols = frame["symbol"].unique(maintain_order=True)
        close = wide.select(f"close_{symbol}" for symbol in symbols).to_numpy()
        signal = wide.select(f"x_signal_{symbol}" for symbol in symbols).to_numpy()
        returns = close[1:] / close[:-1] - 1.0
        scaled = (signal[:-1].clip(-1.0, 1.0) * returns / returns.std(axis=0)).mean(axis=1)[-panels.PRODUCTION_BARS :]
        earned[name] = float(scaled.mean() / scaled.std(ddof=1) * 252**0.5)
    assert earned["planted"] == pytest.approx(panels.ORACLE_SHARPE, abs=0.1)
    assert abs(earned["noise"]) < 1.2


def test_the_table_counts_verdicts_and_the_page_is_written_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    power = importlib.import_module("power")
    figures = {
        "sharpe_annual": 1.0,
        "se_annual": 0.3,
        "gross_annual": 1.1,
        "psr": 0.9,
        "ridge_annual": 0.5,
        "signal_rank": 2,
    }
    rows = [
        {
            "kind": kind,
            "seed": seed,
            "verdict": verdict,
            "dsr": dsr,
            "reasons": [] if verdict == "GO" else ["r"],
            **figures,
            "ridge_annual": None if kind == "noise" else 0.5,
        }
        for kind, seed, verdict, dsr in (
            ("noise", 0, "NO-GO", None),
            ("planted", 0, "GO", 0.99),
            ("planted", 1, "NO-GO", 0.9),
        )
    ]
    text = power.lines(rows)
    assert text[0].startswith("* noise: NO-GO on 1 of 1 panels (expected: 20 of 20)")
    assert text[1].startswith("* planted: GO on 1 of 2 panels (expected: 16 of 20)")
    (noise,) = (line for line in text if line.startswith("| noise 0"))
    assert noise == "| noise 0 | NO-GO | 1.00 +- 0.30 | 1.10 | none | 0.900 | none | 2 | r |"
    page = tmp_path / "power.md"
    page.write_text(f"before\n{power.BEGIN}\nold\n{power.END}\nafter\n")
    monkeypatch.setattr(power, "PAGE", page)
    power.write_page(text)
    assert page.read_text() == "\n".join(["before", power.BEGIN, *text, power.END, "after\n"])
    page.write_text("no marks")
    with pytest.raises(ValueError, match="no place for the table"):
        power.write_page(text)


def test_a_panel_that_fails_is_named_costs_no_other_row_and_leaves_the_page_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    power = importlib.import_module("power")

    def verdict_or_failure(kind: str, seed: int, folder: Path) -> dict[str, object]:
        if (kind, seed) == ("planted", 1):
            raise RuntimeError("planted panel 1: disk full")
        figures = dict.fromkeys(("sharpe_annual", "se_annual", "gross_annual", "dsr", "psr", "ridge_annual"))
        return {
            "kind": kind,
            "seed": seed,
            "verdict": "NO-GO",
            "reasons": ["r"],
            "signal_rank": 1,
            "seconds": 1.0,
        } | figures

    page, rows = tmp_path / "power.md", tmp_path / "rows.jsonl"
    page.write_text(f"{power.BEGIN}\nold\n{power.END}\n")
    monkeypatch.setattr(power, "PAGE", page)
    monkeypatch.setattr(power, "PANELS", 2)
    monkeypatch.setattr(power, "judge", verdict_or_failure)
    rows.write_text('{"kind": "of an earlier run"}\n')
    assert power.main(["--panels", "2", "--jobs", "2", "--rows", str(rows)]) == 1
    assert page.read_text() == f"{power.BEGIN}\nold\n{power.END}\n"
    shown = capsys.readouterr()
    assert "* planted: GO on 0 of 1 panels" in shown.out
    assert "planted 1: no verdict, RuntimeError('planted panel 1: disk full')" in shown.err
    assert "1 of 4 panels have no verdict: nothing is written" in shown.err
    kept = [json.loads(line) for line in rows.read_text().splitlines()]
    assert sorted((row["kind"], row["seed"]) for row in kept[1:]) == [("noise", 0), ("noise", 1), ("planted", 0)]

    monkeypatch.setattr(power, "PANELS", 1)
    assert power.main(["--panels", "1", "--jobs", "1"]) == 0
    assert "old" not in page.read_text()
    assert "| planted 0 | NO-GO | none +- none |" in page.read_text()
