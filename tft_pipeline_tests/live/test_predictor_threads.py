"""One predictor, many threads: every answer is that of a single thread."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tft_pipeline.live.engine import Form
from tft_pipeline.live.predictor import Predictor
from tft_pipeline_tests.live_models import bar_of, bars_of, predictor_of, signature_of
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit

PANEL = random_panel()
T, THREADS = 16, 8


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["torch", "onnx_window"])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    form: Form = request.param
    fitted = small_fit(PANEL, network=NETWORK.model_copy(update={"static_symbol": True}), epochs=1)
    return predictor_of(fitted, signature_of(fitted, PANEL.symbols), form=form)


def _answers(predictor: Predictor, asked: np.ndarray) -> np.ndarray:
    """(n,) raw positions of windows asked (n, 2): symbol and last bar."""
    found = np.empty(len(asked))
    for k, (s, bar) in enumerate(asked):
        cut = slice(bar + 1 - T, bar + 1)
        said = predictor.window(PANEL.values[s, cut], PANEL.observed[s, cut], PANEL.symbols[s], PANEL.calendar[bar])
        found[k] = said["raw_position"]
    return found


def _in_threads(predictor: Predictor, calls: int) -> None:
    places = np.argwhere(PANEL.observed)
    places = places[places[:, 1] >= T]
    expected = dict(zip(map(tuple, places.tolist()), _answers(predictor, places), strict=True))
    asked = [places[np.random.default_rng(k).integers(len(places), size=calls)] for k in range(THREADS)]
    found: list[np.ndarray] = [np.empty(0)] * THREADS
    together = threading.Barrier(THREADS)

    def ask(k: int) -> None:
        together.wait()
        found[k] = _answers(predictor, asked[k])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for windows, positions in zip(asked, found, strict=True):
        np.testing.assert_array_equal(positions, [expected[tuple(place)] for place in windows.tolist()])


def test_eight_threads_answer_as_one(predictor: Predictor) -> None:
    _in_threads(predictor, 50)


@pytest.mark.slow
def test_eight_threads_of_ten_thousand_answer_as_one(predictor: Predictor) -> None:
    _in_threads(predictor, 10_000)


def test_threads_that_step_from_one_state_end_in_the_same_state(predictor: Predictor) -> None:
    state = predictor.warm(predictor.start(), bars_of(PANEL, range(60)))
    ends: list[bytes] = [b""] * THREADS

    def walk(k: int) -> None:
        after = state
        for bar in range(60, 75):
            _, after = predictor.step(after, bar_of(PANEL, bar))
        ends[k] = after.to_bytes()

    threads = [threading.Thread(target=walk, args=(k,)) for k in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ends)) == 1
