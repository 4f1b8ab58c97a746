"""Names of columns, symbols and experiments that mean something to HTML, Markdown, a shell, a path or a formula.

Each is refused in one sentence, or shown as the text it is. The report in a real browser is in `browser/`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tft_pipeline.domain.bars import BarsError, normalise_bars
from tft_pipeline.domain.experiment import ConfigurationError, parse_experiment
from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.domain.visible_text import LONGEST_NAME, shortened, shown, unseen
from tft_pipeline.pipeline.card import card_html, card_markdown
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.drift_plots import write_pictures
from tft_pipeline.pipeline.markdown import listing
from tft_pipeline.pipeline.plots import bar_picture, heat_picture, histogram_picture, interval_picture, line_picture
from tft_pipeline.pipeline.report.build import build_report
from tft_pipeline.storage.layout import PROJECT_ROOT
from tft_pipeline_tests.builders import raw_experiment
from tft_pipeline_tests.conftest import Workbench, random_bars
from tft_pipeline_tests.made_cards import completed, made_card
from tft_pipeline_tests.report_page import Parsed
from tft_pipeline_tests.report_records import made_records

pytestmark = pytest.mark.fault("hostile_names")
SHOWN = (
    "<script>alert(1)</script>",
    "../../x",
    "a|b,c...d",
    "=cmd()|' /C calc'!A0",
    "$x^{$ and $\\frac$",
    "![x](http://pictures.example/a.png)",
    "[x](javascript:alert(1))",
    "${TFT_HOME} `id` $(id) %s {0}",
    "x" * LONGEST_NAME,
)
"""Ugly, and allowed: shown as they are."""
REFUSED = {
    "NUL": "a\0b",
    "newline": "a\nb",
    "line separator": "a\u2028b",
    "terminal": "a\x1b[2Jb",
    "direction": "a\u202eb",
    "isolate": "a\u2066b",
    "zero width": "a\u200bb",
    "too long": "x" * (LONGEST_NAME + 1),
}
"""They would break a line or a table, or look like another name."""


def normalised(bars: pl.DataFrame) -> pl.DataFrame:
    return normalise_bars(bars, timezone=None, symbols=None, start=None, end=None, min_bars=1)


@pytest.mark.parametrize("what", REFUSED)
def test_a_column_or_symbol_that_hides_something_is_refused_and_the_message_hides_nothing(what: str) -> None:
    name, bars = REFUSED[what], random_bars(10)
    column = bars.with_columns(pl.lit(1.0).alias(name))
    symbol = bars.with_columns(symbol=pl.when(pl.col("symbol") == "AAA").then(pl.lit(name)).otherwise(pl.col("symbol")))
    for frame in (column, symbol):
        with pytest.raises(BarsError, match=r"cannot be seen|control character|longer than") as refused:
            normalised(frame)
        assert unseen(str(refused.value)) is None
        assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("name", SHOWN)
def test_any_other_column_and_symbol_is_kept_as_it_is(name: str) -> None:
    bars = random_bars(10).with_columns(pl.lit(1.0).alias(name), symbol=pl.lit(name) + pl.col("symbol").str.slice(0, 0))
    kept = normalised(bars.unique("timestamp"))
    assert kept.columns[-1] == name
    assert kept["symbol"].unique().to_list() == [name]


@pytest.mark.parametrize("name", [*SHOWN, "A", "a b", "a/b", "", "1a", "a\n", "é"])
def test_an_experiments_name_is_plain_or_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        parse_experiment(raw_experiment() | {"name": name}, origin="x.yaml")


def test_what_cannot_be_seen_is_written_out_for_a_terminal() -> None:
    assert shown("a\x1b[2J\u202eb\nc") == "a\\x1b[2J\\u202eb\nc"
    assert shown("a\nb", allowed="") == "a\\nb"
    assert shown("plain é 中 🙂") == "plain é 中 🙂"
    assert shortened("x" * 400, 10) == "xxxxxxxxxx... (400 characters)"


def test_pictures_show_names_as_they_are_and_none_is_read_as_a_formula() -> None:
    values = {name: float(k) for k, name in enumerate(SHOWN)}
    rows = [{"name": name, "value": 0.1, "low": None, "high": None, "standing": "kept"} for name in SHOWN]
    made = (
        bar_picture(values, title="t", label="l"),
        line_picture({name: ([0, 1], [0.0, 1.0]) for name in SHOWN}, title="t", label="l"),
        heat_picture([[1.0]] * len(SHOWN), SHOWN, ["c"], title="t", label="l"),
        histogram_picture([1.0, 2.0], title="t", label="l", marks=dict(list(values.items())[4:5])),
        interval_picture(rows, title="t", label="l"),
    )
    for picture in made:
        assert re.fullmatch(r"!\[t\]\(data:image/png;base64,[A-Za-z0-9+/=]+\)", str(picture.value))


def test_metadata_in_markdown_gains_no_link_picture_or_element() -> None:
    text = str(listing(SHOWN).value)
    assert len(text.splitlines()) == len(SHOWN), "one item a line"
    assert not re.search(r"(?<!\\)[<\[`|]", text)
    assert "://" not in text
    assert listing([]).value == "none"


def test_the_report_has_the_same_elements_whatever_features_and_symbols_are_called() -> None:
    def page(names: tuple[str, ...], symbols: tuple[str, ...]) -> Parsed:
        return Parsed(build_report(made_records(features=names, symbols=symbols)))

    tame = page(tuple(f"f{k}" for k in range(len(SHOWN))), ("AAA", "BBB"))
    nasty = page(SHOWN, SHOWN[:2])
    for element in ("script", "img", "a", "table", "tr", "section", "svg", "iframe", "b"):
        assert len(nasty.of(element)) == len(tame.of(element)), element


def test_the_card_has_the_same_lines_whatever_features_are_called() -> None:
    def lines(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
        card = completed(made_card(features=names, reasons=names))
        return card_markdown(card).split("\n---\n", 1)[1].splitlines(), re.findall(r"<(\w+)", card_html(card))

    tame, nasty = lines(tuple(f"f_{k}" for k in range(len(SHOWN)))), lines(SHOWN)
    assert len(nasty[0]) == len(tame[0])
    assert [line.count(" | ") for line in nasty[0]] == [line.count(" | ") for line in tame[0]], "no table grew a column"
    assert sorted(set(nasty[1])) == sorted(set(tame[1]))


def test_every_page_states_a_policy_before_anything_else_and_allows_no_network(tmp_path: Path) -> None:
    record: DriftRecord = replace_features(made_records().drift, SHOWN)
    pages = {
        "report": build_report(made_records()),
        "card": card_html(completed(made_card())),
        "drift": write_pictures(tmp_path / "drift.json", record).read_text(encoding="utf-8"),
    }
    for name, text in pages.items():
        (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
        before = text[: text.index("Content-Security-Policy")]
        assert not re.search(r"<(script|style|img|link|body)", before), name
        assert policy.replace("&#x27;", "'").startswith("default-src 'none'; "), name
        assert not re.search(r"https?:|\*|unsafe-eval", policy), name
        outside_scripts = re.sub(r"(?s)<script.*?</script>", "", text)
        assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", outside_scripts), name
        assert "<script>alert" not in text, name


def replace_features(record: DriftRecord, names: tuple[str, ...]) -> DriftRecord:
    """A record whose reasons and windows speak of these features."""
    over_time = {
        "window_bars": 5,
        "first": ["2024-01-01"] * 3,
        "last": ["2024-01-05"] * 3,
        "of_reference": [True, False, False],
        "psi": {name: [0.1, 0.2, 0.3] for name in names},
    }
    return record.model_copy(update={"reasons": names, "over_time": over_time})


def writers(suffix: str) -> set[str]:
    """Modules whose text holds `suffix`."""
    found = (PROJECT_ROOT / "tft_pipeline").rglob("*.py")
    return {str(path.relative_to(PROJECT_ROOT / "tft_pipeline")) for path in found if suffix in path.read_text()}


def test_nobody_else_writes_a_page_and_nobody_writes_a_csv_file_that_a_spreadsheet_would_run() -> None:
    pages = {"pipeline/report/page.py", "pipeline/card/html.py", "pipeline/drift_plots.py"}
    assert writers("<!doctype html") == pages, "a new page needs a Content-Security-Policy and a line in the test above"
    assert writers("write_csv") | writers("to_csv") | writers("csv.writer") == set()


def test_bars_with_ugly_names_are_frozen_and_described_inside_the_home(
    workbench: Callable[..., Workbench], tmp_path: Path
) -> None:
    symbols = dict(zip(("AAA", "BBB", "CCC", "DDD"), SHOWN[:3] + SHOWN[4:5], strict=True))
    bars = random_bars(150).with_columns(pl.col("close").alias(name) for name in SHOWN)
    bench = workbench(bars.with_columns(pl.col("symbol").replace(symbols)))
    for asset in ("snapshot", "feature_catalogue"):
        done = materialise_asset(bench.file, asset, partition=None, downstream=False, report=print)
        assert done["failed"] == [], done
    assert {path.name for path in tmp_path.iterdir()} == {"fresh"}
    assert {path.name for path in (tmp_path / "fresh").iterdir()} == {"bars.parquet", "small.yaml", "home"}
    with bench.instance() as instance:
        (record,) = instance.fetch_materializations(bench.graph.key("snapshot"), limit=1).records
    metadata: dict[str, Any] = dict(record.asset_materialization.metadata)  # type: ignore[union-attr]
    assert str(metadata["prices"].value).startswith("![close, first bar = 1 (first symbols)](data:image/png;base64,")
