"""The report as text: what is in it, that it says what the records say, and that nothing in it loads or runs."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.findings import PurgeComparison, ResearchPaths
from tft_pipeline.domain.performance_targets import METRICS, absent_targets
from tft_pipeline.pipeline.figures import thinned
from tft_pipeline.pipeline.report.build import build_report, report_page
from tft_pipeline.pipeline.report.charts import MOST_POINTS
from tft_pipeline.pipeline.report.markup import DASH, MINUS, THIN_SPACE
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.equity import equity_section
from tft_pipeline.pipeline.report.sections.targets import targets_section
from tft_pipeline_tests.report_page import CHARTS, SECTIONS, Parsed
from tft_pipeline_tests.report_records import made_records, minute_stamps

HOSTILE = "<script>alert(1)</script><b>&\"'</b><!-- {{x}} %{y}"


@pytest.fixture(scope="module")
def records() -> ReportRecords:
    return made_records()


@pytest.fixture(scope="module")
def page(records: ReportRecords) -> Parsed:
    return Parsed(build_report(records))


def with_performance(records: ReportRecords, **changes: Any) -> ReportRecords:
    return replace(records, performance=records.performance.model_copy(update=changes))


def test_every_section_stands_in_its_order_and_the_contents_lead_to_it(page: Parsed) -> None:
    assert [text for _, text in page.of("h2")] == [f"{k} {name}" for k, name in enumerate(SECTIONS, start=1)]
    links = [attributes["href"] for attributes, _ in page.of("a")]
    assert links == [f"#{attributes['id']}" for attributes, _ in page.of("section")]


def test_every_chart_has_a_place_a_title_and_something_drawn(page: Parsed) -> None:
    places = [attributes["id"] for attributes, _ in page.of("div") if attributes.get("class") == "chart"]
    assert places == [chart["id"] for chart in page.charts] == CHARTS
    assert all(text for _, text in page.of("figcaption"))
    assert len(page.of("figcaption")) == len(CHARTS)
    assert all(chart["data"] for chart in page.charts)


def test_the_headline_table_says_what_the_records_say(page: Parsed, records: ReportRecords) -> None:
    net, research = records.performance.net, records.performance.research
    shown = {
        str(attributes["data-figure"]): (str(attributes["data-value"]), text)
        for attributes, text in page.of("span")
        if "data-figure" in attributes
    }
    sources = {"oos_performance.net": net, "oos_performance.research": research}
    assert [key.rpartition(".")[2] for key in shown] == [
        "sharpe_annual",
        "se_annual",
        "bootstrap_ci_annual",
        "n",
        "psr",
        "psr_after_looks",
        "min_trl",
        "n_trials_started",
        "dsr",
        "pbo",
        "probability_of_loss",
    ]
    for key, (stored, text) in shown.items():
        source, _, name = key.rpartition(".")
        value = sources[source][name]
        assert value is not None
        assert stored == repr(value)
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", text.replace(MINUS, "-").replace(THIN_SPACE, ""))]
        if name == "bootstrap_ci_annual":
            assert numbers == pytest.approx(value, abs=0.005)
        else:
            scale = 100.0 if "%" in text else 1.0
            digits = {"n": 0.5, "min_trl": 0.5, "n_trials_started": 0.5, "sharpe_annual": 0.005, "se_annual": 0.005}
            assert numbers[0] == pytest.approx(scale * value, abs=digits.get(name, 0.05 if scale > 1.0 else 0.0005))


def test_every_reason_and_note_is_a_sentence_of_the_page(page: Parsed, records: ReportRecords) -> None:
    items = [text for _, text in page.of("li")]
    for text in (*records.card.card["reasons"], *records.performance.notes):
        assert text + "." in items or text[0].upper() + text[1:] + "." in items
    assert "✗ NO-GO" in page.seen


def test_go_is_said_without_reasons(records: ReportRecords) -> None:
    card = records.card.model_copy(update={"card": {**records.card.card, "verdict": "GO", "reasons": []}})
    seen = Parsed(build_report(replace(records, card=card))).seen
    assert "✓ GO" in seen
    assert "NO-GO" not in seen


def test_tables_hold_one_row_a_fold_feature_symbol_trial_guard_and_look(page: Parsed, records: ReportRecords) -> None:
    heads = [text for attributes, text in page.of("th") if attributes.get("scope") == "row"]
    keys = [spec.key for spec in records.plan.specs]
    assert [heads.count(key) for key in keys] == [3] * len(keys)  # folds, inflation, hashes
    for row in records.selected.rows:
        assert heads.count(row["feature"]) == 2  # selection, drift
    for row in records.performance.symbols:
        assert heads.count(row["symbol"]) == 1
    for row in records.audit.rows:
        assert heads.count(row["guard"]) == 1
    for trial in records.tuned.trials:
        assert str(trial.number) in heads
    for look in records.performance.looks_seen:
        assert look["experiment"] in heads
    assert {"✓ pass", "✗ FAIL", "? not verifiable"} <= {text for _, text in page.of("td")}


def test_the_page_loads_nothing(page: Parsed) -> None:
    for name, attributes, _ in page.elements:
        assert not {"src", "srcset", "action", "background", "poster", "data"} & set(attributes), name
        if "href" in attributes:
            assert str(attributes["href"]).startswith("#") or attributes["href"] == "data:,"
        assert not any(key.startswith("on") for key in attributes), name
    (style,) = [text for _, text in page.of("style")]
    assert "url(" not in style
    assert "@import" not in style
    inline = " ".join(str(attributes.get("style", "")) for _, attributes, _ in page.elements)
    assert "url(" not in inline


def test_the_policy_lets_exactly_the_two_scripts_of_the_page_run(page: Parsed) -> None:
    (policy,) = [
        str(attributes["content"])
        for attributes, _ in page.of("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    executed = [text for attributes, text in page.of("script") if attributes.get("type") != "application/json"]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in executed]
    assert rules["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert len(executed) == 2
    assert "connect-src" not in rules
    assert page.page.index("Content-Security-Policy") < page.page.index("<script")


def test_hostile_names_are_shown_as_text_and_make_no_element() -> None:
    tame = made_records(features=["a_0", "b_1", "c_2", "d_3"], symbols=["A", "B"])
    names = [f"{name}_{HOSTILE}" for name in ("a", "b", "c", "d")]
    nasty = made_records(features=names, symbols=[f"S{k}{HOSTILE}" for k in range(2)])
    card = {**nasty.card.card, "reasons": [HOSTILE] * len(tame.card.card["reasons"])}
    nasty = replace(nasty, card=nasty.card.model_copy(update={"card": card}))
    nasty = with_performance(nasty, notes=(HOSTILE,), looks_seen=tuple({"experiment": HOSTILE} for _ in range(2)))
    guards = tuple({**row, "guard": HOSTILE, "detail": HOSTILE} for row in nasty.audit.rows)
    nasty = replace(nasty, audit=nasty.audit.model_copy(update={"rows": guards}))
    one, other = Parsed(build_report(tame)), Parsed(build_report(nasty))
    for name in ("script", "b", "section", "svg", "img", "style"):
        assert len(other.of(name)) == len(one.of(name)), name
    assert other.seen.count(HOSTILE) >= 4 + 2 + 2 + 3 + 3
    labels = json.dumps([chart["layout"]["yaxis"].get("ticktext") for chart in other.charts])
    assert "&lt;" in labels
    assert "<" not in labels
    texts = [t for chart in other.charts for trace in chart["data"] for t in _strings(trace.get("hovertext"))]
    assert any("alert(1)" in text for text in texts)
    assert not any("<" in text for text in texts)


def _strings(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def test_what_is_undefined_is_a_dash_with_its_reason(records: ReportRecords) -> None:
    performance = records.performance
    reason = "1 completed trial(s): the spread of trials is unknown"
    names = ("dsr", "pbo", "probability_of_loss", "degradation", "degradation_slope", "n_trials_effective")
    research = {k: v for k, v in performance.research.items() if k != "expected_max_sharpe_annual"}
    research |= dict.fromkeys(names) | {f"{name}_reason": reason for name in names}
    idle = dict.fromkeys(("sharpe", "sharpe_annual", "se_annual")) | {"reason": "it never held anything on these bars"}
    summary = {**research["inflation"], "n_with_validation": 0, "sentence": "none of 2 fold(s) has one."}
    folds = tuple(
        {**row, **dict.fromkeys(("validation_sharpe_annual", "null_probability", "within_noise", "oos_sharpe_annual"))}
        for row in performance.folds
    )
    changed = with_performance(
        records,
        net={**performance.net, "min_trl": None, "sharpe_annual_eta": None},
        research={**research, "inflation": summary},
        baselines={**performance.baselines, "macd": idle},
        costs={**performance.costs, "break_even_bps": None, "sharpe_annual_one_bar_late": None},
        folds=folds,
        track_record={**performance.track_record, "calmar": None},
        monthly=(*performance.monthly[:-1], {**performance.monthly[-1], "net_return": None}),
        superiority={**performance.superiority, "superior": ["long_only"]},
    )
    selected = records.selected.model_copy(update={"nogueira": None, "kendall_w": None})
    seen = Parsed(build_report(replace(changed, selected=selected))).seen
    assert seen.count(f"{DASH} {reason}") == 3 + len(names) + 1 + 1
    assert f"{DASH} not above zero: no record is long enough" in seen
    assert "It never held anything on these bars." in seen
    assert "Nothing was traded, so costs do not matter." in seen


@pytest.mark.parametrize("key", ["sharpe_annual", "se_annual", "bootstrap_ci_annual", "psr", "psr_after_looks", "n"])
def test_an_agreed_figure_that_is_absent_is_an_error_that_names_it(records: ReportRecords, key: str) -> None:
    net = {name: value for name, value in records.performance.net.items() if name != key}
    with pytest.raises((ValueError, KeyError), match=key):
        build_report(with_performance(records, net=net))


def test_a_baseline_without_its_column_is_an_error(records: ReportRecords) -> None:
    with pytest.raises(ValueError, match="ridge_net"):
        build_report(replace(records, portfolio=records.portfolio.drop("ridge_net")))


def test_a_long_series_is_thinned_and_the_page_says_so(records: ReportRecords) -> None:
    n = 12_001
    rng = np.random.default_rng(3)
    columns = {name: rng.normal(0.0, 1e-4, n) for name in records.portfolio.columns if name.endswith("net")}
    drawn = thinned(n, MOST_POINTS)
    assert 7000 not in drawn
    columns["net"][7000] = -0.5  # a single bar, which is not the last of its bucket
    columns["net"][7001] = 0.9
    frame = pl.DataFrame({"timestamp": pl.Series(minute_stamps(n), dtype=pl.Datetime("us", "UTC")), **columns})
    equity, drawdown, _ = equity_section(replace(records, portfolio=frame)).parts
    points = len(equity.figure["data"][0]["x"])
    assert points == len(drawn) <= MOST_POINTS
    assert f"{points} of {n} bars are drawn" in equity.note
    capital = np.cumprod(1.0 + columns["net"])
    assert equity.figure["data"][0]["y"][-1] == pytest.approx(capital[-1], rel=1e-5)
    deepest = 100.0 * (capital / np.maximum(np.maximum.accumulate(capital), 1.0) - 1.0).min()
    assert min(drawdown.figure["data"][0]["y"]) == pytest.approx(deepest, rel=1e-5)


def test_equity_is_compounded_as_the_track_record_is(page: Parsed, records: ReportRecords) -> None:
    line = next(chart for chart in page.charts if chart["id"] == "chart-equity")["data"][0]
    assert line["y"][-1] - 1.0 == pytest.approx(records.performance.track_record["total_return"], abs=1e-5)
    bars = 1.0
    for value in records.portfolio["net"]:
        bars *= 1.0 + value
    assert line["y"][-1] == pytest.approx(bars, rel=1e-5)


def test_optional_records_are_shown_when_they_are_there(records: ReportRecords, page: Parsed) -> None:
    assert "small/purge_comparison" in page.seen
    assert "has no section research_paths" in page.seen
    paths = ResearchPaths(
        groups=({"group": 0, "n_bars": 50},),
        splits=({"left_out": [0, 1], "n_train": 200, "best_epoch": 3},),
        paths=tuple({"path": k, "sharpe_annual": 0.1 * k - 0.2, "n_bars": 300} for k in range(5)),
        spread={"median": 0.0, "q05": -0.2, "q95": 0.2, "below_zero": 0.4},
        seconds=1.0,
    )
    purge = PurgeComparison(
        variants=({"name": "with_purge", "purge": 5}, {"name": "without_purge", "purge": 0}),
        differences=(
            {"name": "without_purge", "difference_annual": 0.3, "words": "without purge: Sharpe higher by 0.30"},
        ),
        plan_sha256=records.plan.content_sha256(),
    )
    shown = Parsed(build_report(replace(records, research_paths=paths, purge_comparison=purge)))
    assert "2 of 5 paths through the research period lost money" in shown.seen
    assert "Without purge: Sharpe higher by 0.30." in shown.seen
    assert len(shown.charts) == len(CHARTS) + 1


def test_a_comparison_of_another_plan_is_not_shown_as_if_it_were_of_this_run(records: ReportRecords) -> None:
    purge = PurgeComparison(
        variants=({"name": "with_purge", "purge": 5},),
        differences=({"name": "without_purge", "words": "without purge: Sharpe higher by 0.30"},),
        plan_sha256="0" * 64,
    )
    shown = Parsed(build_report(replace(records, purge_comparison=purge)))
    assert (
        "was made of another plan, so it is not shown; run it again: materialise small/purge_comparison" in shown.seen
    )
    assert "higher by 0.30" not in shown.seen


def test_every_performance_target_is_a_row_with_its_result(page: Parsed, records: ReportRecords) -> None:
    heads = [text for attributes, text in page.of("th") if attributes.get("scope") == "row"]
    cells = [text for _, text in page.of("td")]
    assert [row["metric"] for row in records.release.targets] == list(METRICS)
    for row in records.release.targets:
        assert row["metric"].replace("_", " ") in heads
        assert row["target"] in cells
    assert {"✓ pass", "✗ FAIL"} <= set(cells)
    assert "Of 6 performance targets" in page.seen


def test_a_target_that_is_not_known_is_no_pass_on_the_page(records: ReportRecords) -> None:
    unknown = records.release.model_copy(update={"targets": absent_targets("nothing was measured")})
    section = targets_section(replace(records, release=unknown))
    text = "".join(str(part) for part in section.parts)
    assert section.finding == "Of 5 performance targets 5 not known."
    assert "✓" not in text
    assert text.count("? not known") == 5
    none = records.release.model_copy(update={"targets": ()})
    assert targets_section(replace(records, release=none)).finding == "The release holds no performance targets."


def test_accuracy_stands_beside_its_break_even_and_an_interval_on_bars(page: Parsed) -> None:
    for words in ("break-even", "56.7", "44.0", "57.0", "the interval on bars is the one to believe"):
        assert words in page.seen.replace(" ", " ")


def test_times_and_latencies_do_not_change_the_identity_and_findings_do(records: ReportRecords) -> None:
    slower = records.latency.model_copy(update={"latency_ms": {**records.latency.latency_ms, "p95": 9.0}})
    card = records.card.model_copy(update={"card": {**records.card.card, "created_at": "2030-01-01T00:00:00+00:00"}})
    manifest = {**records.manifest, "snapshot_id": "2030-01-01T00-00-00Z-abc", "created_at": "2030-01-01"}
    again = replace(records, latency=slower, card=card, manifest=manifest)
    first, second = report_page(records), report_page(again)
    assert first.text != second.text
    assert first.content_sha256() == second.content_sha256()
    other = with_performance(records, verdict="GO")
    assert report_page(other).content_sha256() != first.content_sha256()
    moved = records.portfolio.with_columns(pl.col("net") + 1e-9)
    assert report_page(replace(records, portfolio=moved)).content_sha256() != first.content_sha256()
    assert report_page(records).text == first.text
