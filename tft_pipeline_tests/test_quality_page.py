"""docs/quality.md says what docs/quality.json says, and its shares and intervals are those of the counts.

Not here: coverage and mutants themselves; `make coverage` and `make mutants` measure them.
"""

import importlib
import math
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = {
    "tft_pipeline.domain.sharpe.x_sharpe_ratio__mutmut_3": "survived",
    "tft_pipeline.domain.folds.xǁFoldǁlast__mutmut_1": "survived",
    "tft_pipeline.domain.sharpe.x_annualise__mutmut_1": "survived",
    "tft_pipeline.domain.sharpe.x_unused__mutmut_1": "no tests",
    "tft_pipeline.domain.features.ranges.x_true_range__mutmut_9": "timeout",
    **{f"tft_pipeline.domain.features.ranges.x_true_range__mutmut_{k}": "killed" for k in range(20, 40)},
}
CHANGES = {
    "tft_pipeline.domain.sharpe.x_sharpe_ratio__mutmut_3": {"before": ["if n < 2:"], "after": ["if n <= 2:"]},
    "tft_pipeline.domain.folds.xǁFoldǁlast__mutmut_1": {"before": ["a | b"], "after": ["a & b"]},
    "tft_pipeline.domain.sharpe.x_annualise__mutmut_1": {
        "before": ['raise ValueError("Bars")'],
        "after": ['raise ValueError("XXbarsXX")'],
    },
    "tft_pipeline.domain.sharpe.x_unused__mutmut_1": {"before": ["return 1"], "after": ["return 2"]},
}
MUTANTS = {"date": "2026-01-02", "mutmut": "3", "population": 9000, "seed": 4, "outcomes": NAMES, "changes": CHANGES}


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("quality")


def rows(text: str, opening: str) -> list[list[str]]:
    """Cells of the table rows that begin with a word."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {opening}")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_page_has_the_tables_of_the_stored_figures(quality: ModuleType) -> None:
    page = quality.PAGE.read_text(encoding="utf-8")
    assert quality.inserted(page, quality.render(quality.read())) == page, "run: python benchmarks/quality.py"


def test_the_stored_run_covers_what_is_promised(quality: ModuleType) -> None:
    measured = quality.read()["coverage"]["layers"]
    assert measured.keys() == set(quality.LAYERS)
    for counts in measured.values():
        run, known, taken, there = (counts[key] for key in quality.COVERED_COUNTS)
        assert 100 * (run + taken) / (known + there) >= quality.LEAST_PERCENT


def test_the_limit_on_the_page_is_the_one_that_is_enforced_and_no_line_asks_to_be_left_out(quality: ModuleType) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]
    assert settings["report"]["fail_under"] == quality.LEAST_PERCENT
    assert settings["run"]["source"] == [f"tft_pipeline/{layer}" for layer in quality.LAYERS]
    assert not settings["report"].keys() & {"exclude_lines", "exclude_also", "omit"}
    asking = [path for path in (ROOT / "tft_pipeline").rglob("*.py") if "pragma: no" in path.read_text()]
    assert not asking


@pytest.mark.parametrize(("caught", "tried"), [(0, 7), (21, 25), (300, 300), (1, 2)])
def test_the_interval_is_wilsons(quality: ModuleType, caught: int, tried: int) -> None:
    z, share = 1.959963984540054, caught / tried
    middle = (share + z * z / (2 * tried)) / (1 + z * z / tried)
    half = z / (1 + z * z / tried) * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    assert quality.interval(caught, tried) == pytest.approx((middle - half, middle + half), abs=1e-12)


def test_the_score_counts_what_was_caught_of_all_that_were_drawn_and_judgements_raise_no_score(
    quality: ModuleType,
) -> None:
    judged = [{"where": "folds.Fold.last", "before": ["a | b"], "after": ["a & b"], "why": "both are the same here"}]
    for known in ([], judged):
        text = quality.render({"mutants": MUTANTS, "judged": known})
        (whole,) = rows(text, "`domain` |")
        assert whole[1:8] == ["25", "20", "1", "3", "1", str(len(known)), "**84.0%**"]
        (features,) = rows(text, "`domain/features`")
        assert features[1:8] == ["21", "20", "1", "0", "0", "0", "**100.0%**"]
        assert "25 mutants of 9,000, seed 4" in text


def test_every_mutant_that_was_not_caught_is_named_with_its_change_and_a_judgement_of_that_change(
    quality: ModuleType,
) -> None:
    judged = [
        {"where": "folds.Fold.last", "before": ["a | b"], "after": ["a & b"], "why": "both are the same here"},
        {"where": "sharpe.sharpe_ratio", "before": ["if n < 3:"], "after": ["if n <= 3:"], "why": "of an older line"},
        {"where": "sharpe.annualise", "before": ["if n < 2:"], "after": ["if n <= 2:"], "why": "of another function"},
    ]
    text = quality.render({"mutants": MUTANTS, "judged": judged})
    named = {row[0]: row[1:] for opening in ("`sharpe", "`folds") for row in rows(text, opening)}
    assert named == {
        "`sharpe.sharpe_ratio`": ["`` if n < 2: ``", "`` if n <= 2: ``", "not caught"],
        "`folds.Fold.last`": ["`` a \\| b ``", "`` a & b ``", "equivalent: both are the same here"],
        "`sharpe.annualise`": [
            '`` raise ValueError("Bars") ``',
            '`` raise ValueError("XXbarsXX") ``',
            "words of a text",
        ],
        "`sharpe.unused`": ["`` return 1 ``", "`` return 2 ``", "no test reaches it"],
    }


def test_coverage_is_summed_by_layer_and_files_below_the_limit_are_named(quality: ModuleType) -> None:
    def one(*counts: int) -> dict[str, Any]:
        percent = 100 * (counts[0] + counts[2]) / (counts[1] + counts[3])
        return {"summary": {**dict(zip(quality.COVERED_COUNTS, counts, strict=True)), "percent_covered": percent}}

    report = {
        "meta": {"version": "7"},
        "files": {
            "tft_pipeline/domain/a.py": one(10, 10, 4, 4),
            "tft_pipeline/domain/features/b.py": one(8, 10, 1, 4),
            "tft_pipeline/model/c.py": one(100, 100, 0, 0),
            "tft_pipeline/storage/d.py": one(19, 20, 8, 10),
        },
    }
    found = quality.coverage_of(report)
    assert found["below"] == {"tft_pipeline/domain/features/b.py": 64.3}
    text = quality.render({"coverage": found})
    assert rows(text, "`domain`") == [["`domain`", "90.0% of 20", "62.5% of 8", "82.1% of 28"]]
    assert rows(text, "`model`") == [["`model`", "100.0% of 100", "none", "100.0% of 100"]]
    assert rows(text, "all three") == [["all three", "97.9% of 140", "72.2% of 18", "94.9% of 158"]]
    assert "Files below 90 %: `tft_pipeline/domain/features/b.py` 64.3 %." in text


@pytest.mark.parametrize("page", ["", "<!-- measured -->", "<!-- /measured --> <!-- measured -->"])
def test_a_page_without_a_place_for_the_tables_is_refused(quality: ModuleType, page: str) -> None:
    with pytest.raises(ValueError, match="the tables have no place"):
        quality.inserted(page, "new")
