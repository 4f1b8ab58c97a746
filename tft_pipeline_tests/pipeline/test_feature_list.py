"""What `tft features` says: the whole catalogue, or one experiment's share of it."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.features import catalogue
from tft_pipeline.pipeline.feature_list import features_in_words, list_features
from tft_pipeline.storage.layout import PROJECT_ROOT
from tft_pipeline_tests.conftest import random_bars, small_experiment


def test_without_an_experiment_the_whole_catalogue_is_listed() -> None:
    found = json.loads(CliRunner().invoke(app, ["features", "--json"]).stdout)
    assert [row["name"] for row in found["features"]] == [feature.name for feature in catalogue()]
    assert set(found["features"][0]) >= {"name", "group", "formula", "lookback", "inputs", "units", "lag"}
    assert sum(group["features"] for group in found["groups"]) == len(catalogue())


def test_bars_of_closes_alone_leave_out_what_needs_more_and_say_so(tmp_path: Path) -> None:
    path = small_experiment(tmp_path, changes={"features.groups": ["vlm", "ret"], "features.names": None})
    found = list_features(path)
    assert {row["group"] for row in found["features"]} == {"ret"}
    assert "volume" in found["left_out"]["vlm_z_21"]


def test_own_columns_are_listed(tmp_path: Path) -> None:
    bars = random_bars().with_columns(alt_score=pl.lit(1.0))
    assert list_features(small_experiment(tmp_path, bars))["user_columns"] == ["alt_score"]


def test_the_shipped_sample_has_closes_and_an_index_only() -> None:
    printed = CliRunner().invoke(app, ["features", str(PROJECT_ROOT / "experiments" / "demo.yaml")]).stdout
    assert "xs_ret_5: rank over symbols" in printed
    assert "left out, " in printed
    assert "xs_range_21" in printed.partition("left out, ")[2]


def test_without_minutes_their_features_are_left_out_in_one_line(tmp_path: Path) -> None:
    path = small_experiment(tmp_path, changes={"features.groups": ["intra", "micro", "ret"], "features.names": None})
    found = list_features(path)
    reasons = {reason for name, reason in found["left_out"].items() if name.startswith(("intra", "micro"))}
    assert reasons == {"there are no minute bars (data.minute_source)"}
    (line,) = (line for line in features_in_words(found) if line.startswith("left out, "))
    assert f"({len(found['left_out'])})" in line


def test_a_column_named_like_a_feature_is_refused(tmp_path: Path) -> None:
    bars = random_bars().with_columns(ret_1=pl.lit(1.0))
    with pytest.raises(ConfigurationError, match=r"ret_1.*rename"):
        list_features(small_experiment(tmp_path, bars))


def test_an_experiment_without_bars_is_one_line(tmp_path: Path) -> None:
    path = small_experiment(tmp_path)
    (tmp_path / "bars.parquet").unlink()
    with pytest.raises(ConfigurationError, match=r"data\.source"):
        list_features(path)
