import numpy as np
import pytest

from tft_pipeline.domain.resolved import checked_bars, resolved_rows


@pytest.mark.parametrize("horizon", [1, 2, 5, 12])
def test_the_rows_left_are_those_whose_label_is_known_at_the_first_decision(horizon):
    rng = np.random.default_rng(horizon)
    bars = [np.sort(rng.choice(np.arange(first, first + 10), 30)) for first in (0, 10, 23)]
    labels = [np.zeros(30)] * 3
    for k in (1, 2):
        masks = resolved_rows(k, labels, bars, horizon - 1)
        assert len(masks) == k
        for mask, earlier in zip(masks, bars, strict=False):
            assert mask.tolist() == [bar + horizon <= bars[k].min() for bar in earlier.tolist()]


def test_without_bars_every_row_is_known():
    labels = [np.zeros(3), np.zeros(2)]
    assert checked_bars(None, labels, 0) is None
    assert [mask.tolist() for mask in resolved_rows(1, labels, None, 0)] == [[True] * 3]
