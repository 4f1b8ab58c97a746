"""What survives a restart, and that nothing damaged does."""

from datetime import UTC, datetime

import numpy as np
import pytest

from tft_pipeline.live.predictor_state import KINDS, PredictorState
from tft_pipeline.live.refusals import OtherStateError

RANDOM = np.random.default_rng(0)


def _state(last: datetime | None = datetime(2024, 1, 5, 21, 30, 0, 250, tzinfo=UTC), T: int = 5) -> PredictorState:
    raw = RANDOM.standard_normal((2, T - 1, 3)).astype(np.float32)
    raw[0, :1] = np.nan
    return PredictorState(
        model_id="2024-01-01T00-00-00Z-abcdef12",
        form="torch",
        symbols=("AAA", "B B"),
        features=("x", "y", "z"),
        versions=("1", "", "2"),
        last=last,
        held=np.array([0.1, -1.0 / 3.0]),
        raw=raw,
        rows=RANDOM.standard_normal((2, T - 1, 8)),
        seen=RANDOM.random((2, T - 1)) > 0.5,
        taken=np.array([3, 700]),
        behind=np.array([True, False]),
    )


@pytest.mark.parametrize("state", [_state(), _state(None), _state(T=1)])
def test_bytes_give_back_the_same_bits(state: PredictorState) -> None:
    again = PredictorState.from_bytes(state.to_bytes())
    for name in ("model_id", "form", "symbols", "features", "versions", "last"):
        assert getattr(again, name) == getattr(state, name)
    for name, kind in KINDS.items():
        one, other = getattr(again, name), getattr(state, name)
        assert one.dtype == kind
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()
        assert not one.flags.writeable
    assert again.to_bytes() == state.to_bytes()
    assert b"pickle" not in state.to_bytes()


def test_any_changed_or_missing_byte_is_noticed() -> None:
    stored = _state().to_bytes()
    for place in range(0, len(stored), 3):
        damaged = bytearray(stored)
        damaged[place] ^= 1 << (place % 8)
        if bytes(damaged[:8]) == stored[:8] and damaged == stored:
            continue
        try:
            found = PredictorState.from_bytes(bytes(damaged))
        except OtherStateError:
            continue
        # a blank of the header's padding may be another blank
        assert found.to_bytes() == stored
    for length in (0, 7, 8, 100, len(stored) - 1):
        with pytest.raises(OtherStateError, match="warm up with the newest bars"):
            PredictorState.from_bytes(stored[:length])


def test_a_state_of_other_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tft_pipeline.live.predictor_state.SCHEMA_VERSION", 2)
    stored = _state().to_bytes()
    monkeypatch.undo()
    with pytest.raises(OtherStateError, match="reads version 1"):
        PredictorState.from_bytes(stored)


def test_what_a_window_still_wants() -> None:
    assert _state().wanting.tolist() == [1, 0]
    assert _state().positions == {"AAA": 0.1, "B B": -1.0 / 3.0}
