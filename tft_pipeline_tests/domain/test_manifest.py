import json
import re
from datetime import UTC, datetime, timedelta

import polars as pl

from tft_pipeline.domain.content import frame_sha256
from tft_pipeline.domain.manifest import snapshot_manifest
from tft_pipeline_tests.builders import ragged_bars
from tft_pipeline_tests.conftest import business_days

TAKEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def manifest(bars: pl.DataFrame, created_at: datetime = TAKEN, interval: str = "1d") -> dict:
    return snapshot_manifest(
        bars, created_at=created_at, interval=interval, source={"name": "bars.parquet"}, environment={"python": "3"}
    )


def test_the_id_is_made_of_time_and_identity_and_is_a_plain_name():
    bars = ragged_bars()
    found = manifest(bars)
    assert found["snapshot_id"] == f"2024-05-06T07-08-09Z-{found['identity_sha256'][:12]}"
    assert re.fullmatch(r"[A-Za-z0-9][\w.-]{0,127}", found["snapshot_id"])
    assert found["content_sha256"] == frame_sha256(bars)


def test_the_identity_follows_the_bars_and_their_length_and_nothing_else():
    bars = ragged_bars()
    same = manifest(bars, TAKEN + timedelta(days=1))["identity_sha256"]
    others = [manifest(ragged_bars(430)), manifest(bars, interval="1h"), manifest(bars.reverse())]
    assert manifest(bars)["identity_sha256"] == same
    assert len({same, *(other["identity_sha256"] for other in others)}) == 4


def test_the_content_does_not_depend_on_when_it_was_taken():
    bars = ragged_bars()
    later = manifest(bars, TAKEN + timedelta(days=1))
    assert later["content_sha256"] == manifest(bars)["content_sha256"]
    assert later["snapshot_id"] != manifest(bars)["snapshot_id"]


def test_the_manifest_describes_the_bars():
    stamps = business_days(420)
    found = manifest(ragged_bars())
    assert found["event_range"] == {"start": stamps[0].isoformat(), "end": stamps[-1].isoformat()}
    assert found["as_of"] == found["knowledge_time_max"] == stamps[-1].isoformat()
    assert found["symbols"] == ["AAA", "BBB", "CCC", "DDD"]
    assert found["rows"] == 4 * 420 - 40 - 30 - 9 - 1
    assert found["quality"]["gaps_per_symbol"] == {"AAA": 0, "BBB": 0, "CCC": 9, "DDD": 1}
    assert found["tz"] == "UTC"
    assert found["columns"]["close"] == "Float64"


def test_the_latest_knowledge_is_the_last_publication_where_there_is_one():
    bars = ragged_bars().with_columns(available_at=pl.col("timestamp") + pl.duration(hours=7))
    assert manifest(bars)["knowledge_time_max"] == (business_days(420)[-1] + timedelta(hours=7)).isoformat()


def test_minutes_and_tables_are_listed_beside_the_bars_and_count_through_their_columns_alone():
    bars = ragged_bars()
    given = {"created_at": TAKEN, "interval": "1d", "source": {"name": "bars.parquet"}, "environment": {}}
    listed = snapshot_manifest(bars, **given, minute_source={"name": "minutes"}, tables=({"prefix": "vix"},))
    plain = snapshot_manifest(bars, **given)
    assert (listed["minute_source"], listed["tables"]) == ({"name": "minutes"}, [{"prefix": "vix"}])
    assert (plain["minute_source"], plain["tables"]) == (None, [])
    assert listed["identity_sha256"] == plain["identity_sha256"]
    joined = snapshot_manifest(bars.with_columns(vix_level=1.0), **given)
    assert joined["identity_sha256"] != plain["identity_sha256"]


def test_the_manifest_is_json():
    found = manifest(ragged_bars().with_columns(score=pl.lit(float("inf"))))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["quality"]["non_finite"] == {"score": found["rows"]}
