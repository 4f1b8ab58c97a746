"""What `tft status --at` says, of made-up releases whose log is dated by hand."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.release_history import describe_moment, parse_moment
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.deployment_log import LOG_FILE
from tft_pipeline.storage.experiments import claim_name
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.rollback import roll_back
from tft_pipeline_tests.released import CARDS, at, candidate, released

NOW = datetime(2025, 10, 20, 9, tzinfo=UTC)
DAYS = ["2025-10-10T12:00:00+00:00", "2025-10-12T12:00:00+00:00", "2025-10-14T12:00:00+00:00"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """r1 from the 10th on, r2 by an override from the 12th, back to r1 on the 14th, at noon."""
    layout = Layout(tmp_path)
    file = tmp_path / "small.yaml"
    file.write_text("")
    models = layout.models("small")
    released(models, "r1", "one", "GO")
    candidate(models, "r2", "two", failed=["sharpe_lower_bound"])
    deploy_release(models, "r2", reason="", override="the exchange closes", cards=CARDS)
    roll_back(models, "r1", reason="drawdown")
    at(models, DAYS)
    claim_name(layout.experiment("small"), file)
    return layout


def said(layout: Layout, moment: str) -> dict:
    return describe_moment("small", moment, layout=layout)


@pytest.mark.parametrize(
    ("moment", "live", "action", "until"),
    [
        ("2025-10-10", "r1", "release", "deploy of r2-override"),
        ("2025-10-10T12:00:00Z", "r1", "release", "deploy of r2-override"),
        ("2025-10-12T11:59:59", "r1", "release", "deploy of r2-override"),
        ("2025-10-12T12:00:00", "r2-override", "deploy", "rollback of r1"),
        ("2025-10-12T13:30+01:00", "r2-override", "deploy", "rollback of r1"),
        ("2025-10-12T12:30+01:00", "r1", "release", "deploy of r2-override"),
        ("2025-10-14", "r1", "rollback", "now"),
        ("2025-11-01 08:00", "r1", "rollback", "now"),
    ],
)
def test_what_was_live_at_a_time_is_answered_from_the_log(layout, moment, live, action, until):
    answer = said(layout, moment)
    assert (answer["live"], answer["action"], answer["failed"]) == (live, action, [])
    assert until in answer["until"]


def test_the_answer_has_verdict_gates_who_why_and_hashes(layout):
    answer = said(layout, "2025-10-13")
    assert answer["since"] == DAYS[1]
    assert (answer["verdict"], answer["gates"]) == ("NO-GO", "override: the exchange closes")
    assert answer["why"] == "the exchange closes"
    assert answer["who"]
    assert answer["weights"].endswith(answer["details"]["weights_sha256"])
    assert answer["version"].endswith("byte for byte what was deployed")
    assert answer["details"]["to"] == "r2-override"
    assert answer["at"] == "2025-10-13T23:59:59.999999+00:00"


def test_before_the_first_deployment_nothing_was_live(layout):
    answer = said(layout, "2025-10-09")
    assert (answer["live"], answer["failed"]) == ("nothing", [])
    assert answer["why"] == f"the first release was made live {DAYS[0]}"


def test_where_nothing_was_ever_deployed_that_is_the_answer(tmp_path):
    layout = Layout(tmp_path)
    (tmp_path / "small.yaml").write_text("")
    claim_name(layout.experiment("small"), tmp_path / "small.yaml")
    assert said(layout, "2025-10-09")["why"] == "nothing was ever made live"


def test_a_link_that_was_taken_away_means_that_nothing_was_live_from_then_on(layout):
    (layout.models("small") / "versions" / "current").unlink()
    candidate(layout.models("small"), "r3", "three")
    deploy_release(layout.models("small"), "r3", reason="", automatic=True)
    at(layout.models("small"), [*DAYS, "2025-10-16T12:00:00+00:00", "2025-10-18T12:00:00+00:00"])
    answer = said(layout, "2025-10-17")
    assert (answer["live"], answer["why"]) == ("nothing", "the link was taken away at 2025-10-16T12:00:00+00:00")
    assert said(layout, "2025-10-18")["live"] == "r3"


def test_a_version_that_is_gone_damaged_or_another_one_is_told(layout):
    folder = layout.models("small") / "versions" / "r2-override"
    path = folder / "weights.safetensors"
    path.chmod(0o644)
    path.write_text("other")
    assert "damaged since" in said(layout, "2025-10-13")["version"]
    folder.rename(folder.with_name(".gone"))
    assert "is not there any more" in said(layout, "2025-10-13")["version"]


def test_a_clock_that_went_back_is_told_and_the_sequence_counts(layout):
    at(layout.models("small"), [DAYS[0], "2025-10-19T12:00:00+00:00", DAYS[2]])
    answer = said(layout, "2025-10-15")
    assert (answer["live"], answer["action"]) == ("r1", "rollback")
    assert "the clock went back before entry 3" in answer["note"]


def test_a_damaged_log_cannot_tell(layout):
    log = layout.models("small") / LOG_FILE
    log.write_bytes(log.read_bytes().replace(b"verdict", b"Verdict", 1))
    answer = said(layout, "2025-10-13")
    assert answer["live"] == "not known"
    assert "line 1" in answer["failed"][0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-10-14", datetime(2025, 10, 14, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2025-10-20", NOW),
        ("2025-10-20T09:00", NOW),
        ("2025-10-20T08:59:59Z", datetime(2025, 10, 20, 8, 59, 59, tzinfo=UTC)),
        ("2025-10-20T10:00+02:00", datetime(2025, 10, 20, 8, tzinfo=UTC)),
    ],
)
def test_a_date_is_its_end_and_a_time_without_a_zone_is_utc(text, expected):
    assert parse_moment(text, now=NOW) == expected


@pytest.mark.parametrize("text", ["2025-10-21", "2025-10-20T09:00:01", "2025-10-20T09:30+00:00", "9999-12-31"])
def test_the_future_is_not_known(text):
    with pytest.raises(ConfigurationError, match=r"has not come yet, it is 2025-10-20T09:00:00\+00:00"):
        parse_moment(text, now=NOW)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2025-02-30", "20251014", "2025-W42-3", "14.10.2025", "2025-10-14T25:00", "0001-01-01T00:00+01:00"],
)
def test_what_is_no_time_is_refused_with_how_to_write_one(text):
    with pytest.raises(ConfigurationError, match=r"is no time .* write a date, YYYY-MM-DD, or a time such as"):
        parse_moment(text, now=NOW)
