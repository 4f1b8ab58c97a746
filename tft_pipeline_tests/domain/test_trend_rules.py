"""The MACD blend against pandas, and what it may know."""

import numpy as np
import pandas as pd
import pytest

from tft_pipeline.domain.trend_rules import MACD_BARS, macd_positions, response


def prices(n_symbols: int = 3, n_bars: int = 700, seed: int = 0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0.0004, 0.015, (n_symbols, n_bars))
    return 50.0 * np.exp(np.cumsum(steps, axis=1))


def with_pandas(close: np.ndarray) -> np.ndarray:
    """The paper's formula, word by word, on one symbol."""
    price = pd.Series(close)
    blend = []
    for short, long in ((8, 24), (16, 48), (32, 96)):
        fast, slow = (
            price.ewm(halflife=np.log(0.5) / np.log(1.0 - 1.0 / s), min_periods=s).mean() for s in (short, long)
        )
        q = (fast - slow) / price.rolling(63).std()
        y = q / q.rolling(252).std()
        blend.append(y * np.exp(-(y**2) / 4.0) / 0.89)
    return sum(blend).div(3.0).clip(-1.0, 1.0).fillna(0.0).to_numpy()


def test_the_blend_equals_that_of_pandas() -> None:
    close = prices()
    found = macd_positions(close)
    np.testing.assert_allclose(found, [with_pandas(row) for row in close], atol=1e-9)
    assert 0.2 < np.abs(found[:, MACD_BARS:]).mean() < 1.0


def test_the_first_position_is_at_the_fewest_bars_stated() -> None:
    found = macd_positions(prices())
    assert not found[:, : MACD_BARS - 1].any()
    assert found[:, MACD_BARS - 1].all()


def test_a_price_that_is_not_there_yet_changes_no_bit() -> None:
    close = prices()
    whole = macd_positions(close)
    for stop in (MACD_BARS, 500, 699):
        noise = close.copy()
        noise[:, stop:] *= np.random.default_rng(stop).uniform(0.5, 2.0, noise[:, stop:].shape)
        assert np.array_equal(macd_positions(noise)[:, :stop], whole[:, :stop])
        assert np.array_equal(macd_positions(close[:, :stop]), whole[:, :stop])


def test_a_symbol_is_read_on_its_own_bars_and_flat_where_it_has_none() -> None:
    close = prices(2)
    gappy = close.copy()
    gappy[0, 400:410] = np.nan
    gappy[1] = np.nan
    found = macd_positions(gappy)
    own = np.delete(close[0], slice(400, 410))
    np.testing.assert_allclose(np.delete(found[0], slice(400, 410)), with_pandas(own), atol=1e-9)
    assert not found[0, 400:410].any()
    assert not found[1].any()


def test_a_steady_trend_that_starts_is_followed_and_its_mirror_sold() -> None:
    steps = np.random.default_rng(1).normal(0.0, 0.01, 600)
    steps[450:] += 0.004
    up, down = macd_positions(np.exp(np.cumsum([steps, -steps], axis=1)))
    assert up[480:520].mean() > 0.3
    assert down[480:520].mean() < -0.3


def test_the_unit_of_the_price_does_not_matter() -> None:
    close = prices()
    np.testing.assert_allclose(macd_positions(close * 1e-6), macd_positions(close), atol=1e-9)


def test_the_response_is_odd_and_falls_beyond_the_root_of_two() -> None:
    y = np.linspace(-8.0, 8.0, 1601)
    phi = response(y)
    np.testing.assert_allclose(phi, -phi[::-1], atol=1e-15)
    assert y[phi.argmax()] == pytest.approx(np.sqrt(2.0), abs=0.01)
    assert phi.max() == pytest.approx(np.sqrt(2.0 / np.e) / 0.89, abs=1e-4)


def test_a_price_that_does_not_move_has_no_position() -> None:
    assert not macd_positions(np.full((1, 600), 7.0)).any()


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.inf])
def test_a_price_without_meaning_is_refused(wrong: float) -> None:
    close = prices(1, 50)
    close[0, 20] = wrong
    with pytest.raises(ValueError, match="infinite or not positive"):
        macd_positions(close)


def test_one_row_of_prices_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        macd_positions(prices(1)[0])
