"""`load_bundle` and `predict`: what the backtest held on the same bars, by name or folder; and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline import ConfigurationError, IntegrityError, RefusedBarError, ReleasedModel, load_bundle
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline_tests.conftest import Workbench, random_bars
from tft_pipeline_tests.live_models import release, signature_of
from tft_pipeline_tests.oracles.model_panels import random_panel, small_fit
from tft_pipeline_tests.stored import stored_fold, stored_report

N = 12


def test_the_positions_are_those_that_the_backtest_held(finished: Workbench) -> None:
    model = load_bundle("small", release="newest", form="torch")
    newest = stored_report(finished, FoldPlanReport, "production_plan").specs[-1]
    stored = stored_fold(finished, newest.key).predictions.sort("timestamp", "symbol")
    last = stored["timestamp"].unique().sort()[-1]
    bars = pl.read_parquet(finished.folder / "bars.parquet").filter(pl.col("timestamp") <= last)
    found = model.predict(bars, n_bars=N)
    expected = stored.filter(pl.col("timestamp") >= stored["timestamp"].unique().sort()[-N])
    assert newest.position.position_smooth == 0.0
    assert found.frame.select("timestamp", "symbol").equals(expected.select("timestamp", "symbol"))
    held = expected["raw_position"].clip(-newest.position.max_position, newest.position.max_position)
    np.testing.assert_allclose(found.frame["position"], held, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.frame["mean"], expected["mean"], rtol=1e-5, atol=1e-6)
    assert found.frame["observed"].all()
    assert found.model_id == model.model_id
    assert model.symbols == ("AAA", "BBB", "CCC", "DDD")
    assert set(model.features) <= {*newest.features}
    single = model.predict(bars)
    assert single.frame.equals(found.frame.tail(4)), "bars before do not depend on how many are asked for"


def test_a_name_a_folder_of_releases_and_a_version_are_one_model(finished: Workbench) -> None:
    models = finished.layout.models("small")
    newest = load_bundle("small", release="newest")
    ways = [load_bundle(models, release=newest.model_id), load_bundle(models / "versions" / newest.model_id)]
    assert {one.model_id for one in ways} == {newest.model_id}
    bars = pl.read_parquet(finished.folder / "bars.parquet")
    assert all(one.predict(bars).frame.equals(newest.predict(bars).frame) for one in ways)
    with pytest.raises(ConfigurationError, match="is one version, and release 'newest' was asked for"):
        load_bundle(models / "versions" / newest.model_id, release="newest")
    with pytest.raises(ConfigurationError, match="has no release 'x'; there are"):
        load_bundle("small", release="x")
    (models / "versions" / "current").unlink(missing_ok=True)
    with pytest.raises(ConfigurationError, match=r'is live; deploy a release .* with release="newest"'):
        load_bundle("small")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that reads columns of the user's own, live."""
    panel = random_panel()
    fitted = small_fit(panel, epochs=1)
    folder = tmp_path_factory.mktemp("models")
    release(folder, "one", fitted, signature_of(fitted, panel.symbols))
    return folder


@pytest.fixture
def model(models: Path) -> ReleasedModel:
    return load_bundle(models)


def own_bars(model: ReleasedModel, n: int) -> pl.DataFrame:
    """Bars of a model's symbols with its columns."""
    bars = random_bars(n, tuple(model.symbols))
    return bars.with_columns(pl.col("close").log().alias(name) for name in model.features)


def test_what_an_old_signature_did_not_record_must_be_said(model: ReleasedModel) -> None:
    bars = own_bars(model, 40)
    with pytest.raises(ConfigurationError, match='give stamp="close" or stamp="open"'):
        model.predict(bars)
    by_close = model.predict(bars, stamp="close").frame
    by_open = model.predict(bars, stamp="open").frame
    assert (by_open["timestamp"] - by_close["timestamp"]).dt.total_days().unique().to_list() == [1]


def test_too_few_bars_and_bad_ones_are_refused_by_kind(model: ReleasedModel) -> None:
    bars = own_bars(model, 40)
    with pytest.raises(ConfigurationError, match="n_bars 0 < 1"):
        model.predict(bars, n_bars=0, stamp="close")
    with pytest.raises(RefusedBarError, match="41 bars are asked for and there are 40") as refused:
        model.predict(bars, n_bars=41, stamp="close")
    assert refused.value.kind == "unusable_bars"
    lookback = model.signature.lookback
    with pytest.raises(RefusedBarError, match=f"{lookback - 1} bars with features, a window has {lookback}"):
        model.predict(bars, n_bars=40 - lookback + 2, stamp="close")
    with pytest.raises(RefusedBarError, match="the bars have no column f0, which the model reads as it is") as refused:
        model.predict(bars.drop("f0"), stamp="close")
    assert refused.value.kind == "missing_feature"


def test_arguments_of_another_kind_are_told_at_the_entrance(model: ReleasedModel) -> None:
    bars, x, lazy, half, number = own_bars(model, 40), *list[Any](("x", pl.LazyFrame(), 1.5, 5))
    with pytest.raises(ConfigurationError, match="stamp is 'x': timestamps name the close or the opening"):
        model.predict(bars, stamp=x)
    with pytest.raises(ConfigurationError, match=r"n_bars is 1\.5: expected a whole number of at least 1"):
        model.predict(bars, n_bars=half, stamp="close")
    with pytest.raises(RefusedBarError, match=r"bars are a polars\.LazyFrame") as refused:
        model.predict(lazy, stamp="close")
    assert refused.value.kind == "unusable_bars"
    with pytest.raises(ConfigurationError, match="where is 5: expected the name of an experiment"):
        load_bundle(number)


def test_symbols_it_does_not_know_are_left_out_and_named(model: ReleasedModel) -> None:
    bars = own_bars(model, 40)
    stranger = bars.filter(pl.col("symbol") == model.symbols[0]).with_columns(symbol=pl.lit("ZZZ"))
    found = model.predict(pl.concat([bars, stranger]), stamp="close")
    assert found.symbols_left_out == ("ZZZ",)
    assert found.frame.equals(model.predict(bars, stamp="close").frame)


def test_places_without_a_release_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_HOME", str(tmp_path))
    for text in ("nothing", "data/experiments/demo/models"):
        with pytest.raises(ConfigurationError, match=r"is no experiment that was run below .*pass a pathlib.Path"):
            load_bundle(text)
    with pytest.raises(ConfigurationError, match="holds no release"):
        load_bundle(tmp_path)


def test_a_changed_file_and_an_absent_form_are_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no form onnx_stream .*take form torch"):
        load_bundle(models, form="onnx_stream")
    version = models / "versions" / "one"
    copied = tmp_path / "one"
    copied.mkdir()
    for path in version.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    assert load_bundle(copied).model_id == "one"
    (copied / "signature.json").write_text(json.dumps({}))
    with pytest.raises(IntegrityError, match=r"signature\.json"):
        load_bundle(copied)
