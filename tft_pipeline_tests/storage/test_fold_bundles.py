import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.planning import production_folds
from tft_pipeline.model.fit import FittedFold, fit_fold
from tft_pipeline.model.inference import predict
from tft_pipeline.storage.artifacts import Artifact, IntegrityError, write_artifact
from tft_pipeline.storage.fold_bundles import (
    FoldBundle,
    read_fitted,
    read_fold_bundle,
    weights_sha256,
    write_fold_bundle,
)
from tft_pipeline_tests.builders import ragged_bars, small, toy_panel
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit


def fit() -> FittedFold:
    experiment = small()
    panel = toy_panel(ragged_bars(), experiment)
    return fit_fold(
        panel,
        production_folds(panel, experiment)[0],
        network=experiment.network,
        training=experiment.training,
        position=experiment.position,
        target_volatility=0.15,
        horizon=1,
        bars_per_year=252.0,
        epochs=1,
        seed=5,
    )


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    return fit()


def bundle(fitted: FittedFold, **changes: Any) -> FoldBundle:
    predictions = pl.DataFrame(
        {"fold": ["f1"] * 2, "symbol": ["A", "B"], "raw_position": [0.25, None], "mean": [0.1, -0.0]}
    )
    values: dict[str, Any] = {
        "key": "f1",
        "spec_sha256": "ab",
        "fitted": fitted,
        "class_balance": {"pos": 3, "neg": 4},
        "boosting": "tree\nversion=v4\n",
        "predictions": predictions,
        "seconds": 1.25,
    }
    return FoldBundle(**values | changes)


def stored(root: Path, value: FoldBundle) -> Artifact:
    return write_artifact(root, lambda folder: write_fold_bundle(value, folder))


def assert_same_fit(first: FittedFold, second: FittedFold) -> None:
    for field in dataclasses.fields(FittedFold):
        if field.name != "state":
            assert getattr(first, field.name) == getattr(second, field.name), field.name
    assert first.state.keys() == second.state.keys()
    for name, weights in first.state.items():
        assert weights.dtype == second.state[name].dtype
        assert torch.equal(weights, second.state[name])


def test_a_bundle_read_back_is_the_one_that_was_written(fitted, tmp_path):
    written = bundle(fitted)
    found = read_fold_bundle(stored(tmp_path, written))
    assert_same_fit(found.fitted, fitted)
    assert found.predictions.equals(written.predictions)
    for name in ("key", "spec_sha256", "class_balance", "boosting", "seconds"):
        assert getattr(found, name) == getattr(written, name)
    assert found.content_sha256() == written.content_sha256()


def test_a_network_read_back_predicts_the_same_bits(fitted, tmp_path):
    experiment = small()
    panel = toy_panel(ragged_bars(), experiment)
    test = production_folds(panel, experiment)[0].test
    found = read_fitted(stored(tmp_path, bundle(fitted)))
    for name in ("raw_position", "mean", "scale", "probability"):
        np.testing.assert_array_equal(
            getattr(predict(found, panel, test), name), getattr(predict(fitted, panel, test), name)
        )


def test_symbols_and_context_sequences_come_back_with_the_weights(tmp_path):
    fitted = small_fit(
        random_panel(), network=NETWORK.model_copy(update={"static_symbol": True, "n_context": 3, "context_bars": 6})
    )
    written = bundle(fitted)
    found = read_fold_bundle(stored(tmp_path, written))
    assert found.fitted.symbols == fitted.symbols != ()
    for name, value in fitted.context.tensors().items():
        assert torch.equal(found.fitted.context.tensors()[name], value)
    assert found.content_sha256() == written.content_sha256()
    one, other = (predict(each, random_panel(), Span(108, 138)).raw_position for each in (found.fitted, fitted))
    np.testing.assert_array_equal(one, other)
    moved = dataclasses.replace(fitted.context, next_return=fitted.context.next_return + 1.0)
    assert bundle(dataclasses.replace(fitted, context=moved)).content_sha256() != written.content_sha256()


def test_the_folder_holds_no_pickle(fitted, tmp_path):
    artifact = stored(tmp_path, bundle(fitted))
    assert set(artifact.files) == {*FoldBundle.files, "fold.json"}
    for name in artifact.files:
        head = artifact.path(name).read_bytes()[:2]
        assert head[:1] != b"\x80"
        assert head != b"PK"


def test_a_second_fit_of_the_same_fold_has_the_same_content(fitted):
    assert bundle(fit(), seconds=99.0).content_sha256() == bundle(fitted).content_sha256()


def other_weights(fitted: FittedFold) -> FittedFold:
    name = next(iter(fitted.state))
    changed = fitted.state[name].clone()
    changed.view(-1)[0] = torch.nextafter(changed.view(-1)[0], torch.tensor(9.0))
    return dataclasses.replace(fitted, state={**fitted.state, name: changed})


@pytest.mark.parametrize("what", ["weights", "epoch", "key", "spec", "trees", "predictions"])
def test_everything_but_the_duration_is_content(fitted, what):
    base = bundle(fitted)
    changed = {
        "weights": lambda: bundle(other_weights(fitted)),
        "epoch": lambda: bundle(dataclasses.replace(fitted, best_epoch=7)),
        "key": lambda: bundle(fitted, key="f2"),
        "spec": lambda: bundle(fitted, spec_sha256="cd"),
        "trees": lambda: bundle(fitted, boosting="tree\n"),
        "predictions": lambda: bundle(fitted, predictions=base.predictions.head(1)),
    }[what]()
    assert changed.content_sha256() != base.content_sha256()
    assert bundle(fitted, seconds=2.5).content_sha256() == base.content_sha256()


def test_the_hash_of_the_weights_is_that_of_their_file(fitted, tmp_path):
    assert weights_sha256(fitted) == stored(tmp_path, bundle(fitted)).files["weights.safetensors"]
    assert weights_sha256(other_weights(fitted)) != weights_sha256(fitted)


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "network.json", "lightgbm.txt", "predictions.parquet", "fold.json"]
)
def test_a_file_that_the_manifest_does_not_list_is_not_parsed(fitted, tmp_path, name):
    artifact = stored(tmp_path, bundle(fitted))
    unlisted = dataclasses.replace(artifact, files={k: v for k, v in artifact.files.items() if k != name})
    with pytest.raises(IntegrityError, match="is not listed"):
        read_fold_bundle(unlisted)


def test_an_infinite_figure_in_the_history_is_not_stored(fitted, tmp_path):
    broken = dataclasses.replace(fitted, history=({"epoch": 0, "train_loss": float("inf")},))
    with pytest.raises(ValueError, match="not JSON compliant"):
        stored(tmp_path, bundle(broken))
    assert list(tmp_path.iterdir()) == []


def test_the_stored_settings_are_validated_when_they_are_read(fitted, tmp_path):
    artifact = stored(tmp_path, bundle(fitted))
    path = artifact.path("network.json")
    content = json.loads(path.read_text())
    content["network"]["dropout"] = 3.0
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="less than 1"):
        read_fitted(artifact)
