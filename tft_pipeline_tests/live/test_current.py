"""Following what is live: swaps between bars, a broken version, and answers while the link moves."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tft_pipeline.live import current
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.current import CurrentPredictor
from tft_pipeline.live.refusals import MissingFeatureError
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError
from tft_pipeline.storage.atomic import replace_link
from tft_pipeline_tests.live_models import bar_of, bars_of, predictor_of, release, signature_of, stepped
from tft_pipeline_tests.oracles.model_panels import random_panel, small_fit

PANEL = random_panel()


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fits() -> list[FittedFold]:
    return [small_fit(PANEL, epochs=1, seed=seed) for seed in (1, 2)]


@pytest.fixture
def models(fits: list[FittedFold], tmp_path: Path) -> Path:
    """Two versions, the first one live."""
    for name, fitted in zip(("two", "one"), reversed(fits), strict=True):
        release(tmp_path, name, fitted, signature_of(fitted, PANEL.symbols), forms=False)
    return tmp_path


def _link(models: Path, name: str) -> None:
    replace_link(models / "versions" / "current", name)


def test_nothing_live_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError):
        CurrentPredictor(tmp_path)


def test_a_deployment_between_two_bars_changes_the_model_and_keeps_the_positions(
    models: Path, fits: list[FittedFold]
) -> None:
    following = CurrentPredictor(models)
    state = following.warm(following.start(), bars_of(PANEL, range(108)))
    first, state = following.step(state, bar_of(PANEL, 108))
    _link(models, "two")
    before = state.positions
    second, state = following.step(state, bar_of(PANEL, 109))
    assert {signal.model_id for signal in first} == {"one"}
    assert {signal.model_id for signal in second} == {"two"}
    assert following.following == current.Following(model_id="two", linked="two", error=None, n_swaps=1)
    assert following.following.is_live
    # by hand: the second model on windows of its own, p carried over
    alone = predictor_of(fits[1], signature_of(fits[1], PANEL.symbols), model_id="two")
    own = alone.warm(alone.start(), bars_of(PANEL, range(109)))
    held = np.array([before[name] for name in PANEL.symbols])
    expected, _ = stepped(alone, replace(own, held=held), [bar_of(PANEL, 109)])
    np.testing.assert_allclose([signal.target_position for signal in second], expected[:, 0], atol=1e-6)


@pytest.mark.parametrize("damage", ["weights", "signature", "missing"])
def test_a_broken_version_leaves_the_old_one_answering_and_says_so(
    models: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = CurrentPredictor(models)
    folder = models / "versions" / "two"
    if damage == "weights":
        weights = bytearray((folder / "weights.safetensors").read_bytes())
        weights[-1] ^= 1
        (folder / "weights.safetensors").write_bytes(weights)
    elif damage == "signature":
        (folder / "signature.json").write_text("{}")
    else:
        (folder / "manifest.json").unlink()
    _link(models, "two")
    for _ in range(3):
        assert following.model_id == "one"
    told = following.following
    assert (told.model_id, told.linked, told.n_swaps, told.is_live) == ("one", "two", 0, False)
    assert told.error is not None
    assert "two is live and cannot be used" in told.error
    assert "one goes on answering" in told.error
    state = following.start()
    assert following.step(state, bar_of(PANEL, 40))[0][2].model_id == "one"
    _link(models, "one")
    assert following.model_id == "one"
    assert following.following.is_live
    _link(models, "two")
    with pytest.raises((IntegrityError, ValueError)):
        CurrentPredictor(models)


def test_a_version_that_did_not_load_is_tried_again_later(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    following, loads = CurrentPredictor(models), []
    right = CurrentPredictor._loaded

    def short_of_memory(self: CurrentPredictor) -> object:
        loads.append(1)
        raise MemoryError("no room")

    monkeypatch.setattr(CurrentPredictor, "_loaded", short_of_memory)
    _link(models, "two")
    for _ in range(5):
        assert following.model_id == "one"
    assert len(loads) == 1
    assert "no room" in (following.following.error or "")
    monkeypatch.setattr(CurrentPredictor, "_loaded", right)
    monkeypatch.setattr(current, "RETRY_S", -1.0)
    assert following.model_id == "two"
    assert following.following.error is None


def test_a_link_that_is_gone_is_said_and_nothing_stops(models: Path) -> None:
    following = CurrentPredictor(models)
    os.unlink(models / "versions" / "current")
    assert following.model_id == "one"
    assert "nothing is live any more" in (following.following.error or "")


def test_bars_of_the_model_before_are_refused_and_the_state_stays(models: Path, fits: list[FittedFold]) -> None:
    following = CurrentPredictor(models)
    state = following.warm(following.start(), bars_of(PANEL, range(60)))
    renamed = replace(PANEL, features=("f0", "f1", "f2", "g3"))
    other = small_fit(renamed, epochs=1)
    release(models, "three", other, signature_of(other, PANEL.symbols))
    before = state.to_bytes()
    with pytest.raises(MissingFeatureError, match="g3"):
        following.step(state, bar_of(PANEL, 60))
    assert state.to_bytes() == before
    signals, after = following.step(state, bar_of(renamed, 60))
    assert all(signal.target_position == 0.0 for signal in signals)
    assert after.wanting.tolist() == [14, 14, 14]


@pytest.mark.parametrize(("askers", "swaps"), [(1, 2), pytest.param(4, 6, marks=pytest.mark.slow)])
def test_an_answer_in_the_middle_of_swaps_is_of_the_model_it_names(
    models: Path, fits: list[FittedFold], askers: int, swaps: int
) -> None:
    following = CurrentPredictor(models)
    window = PANEL.values[2, 60:76]
    said = {
        name: predictor_of(fitted, signature_of(fitted, PANEL.symbols)).window(window, None, "S2")["raw_position"]
        for name, fitted in zip(("one", "two"), fits, strict=True)
    }
    assert said["one"] != said["two"]
    found: list[tuple[str, float]] = []
    stop = threading.Event()

    def ask() -> None:
        mine = []
        while not stop.is_set():
            answer = following.window(window, None, "S2")
            mine.append((answer["model_id"], answer["raw_position"]))
            stop.wait(0.001)  # the loader needs the interpreter too
        found.extend(mine)

    threads = [threading.Thread(target=ask) for _ in range(askers)]
    for thread in threads:
        thread.start()
    for k in range(swaps):
        _link(models, ("two", "one")[k % 2])
        wanted = following.following.n_swaps + 1
        for _ in range(2_000):
            if following.following.n_swaps >= wanted:
                break
            stop.wait(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    assert {name for name, _ in found} == {"one", "two"}
    assert all(position == said[name] for name, position in found)


def test_a_bar_is_decided_by_one_model_though_the_link_moves_meanwhile(models: Path) -> None:
    following = CurrentPredictor(models)
    predictor = following.predictor
    _link(models, "two")
    state = predictor.warm(predictor.start(), bars_of(PANEL, range(60)))
    assert {signal.model_id for signal in predictor.step(state, bar_of(PANEL, 60))[0]} == {"one"}
    nobody = BarFeatures(timestamp=PANEL.calendar[60], values={})
    assert following.step(state, nobody)[1].model_id == "two"


def test_what_is_released_is_stated_in_its_signature(models: Path) -> None:
    stored = json.loads((models / "versions" / "one" / "signature.json").read_text())
    assert CurrentPredictor(models).signature.to_dict() == stored
