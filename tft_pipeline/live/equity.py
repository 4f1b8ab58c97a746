"""The loop's own equity, marked at closes: what the drawdown is told from. Standard library only.

    E <- E (1 + sum_i w_i (c_i / c'_i - 1)), summed over the symbols that bring a close

c'_i is the close that symbol i brought last, w_i what was held of it since then. Targets count as filled, at the close they
were decided on, before costs. What happens between two closes of a symbol (its bar is refused or missing, targets run out, the
switch is halted) takes nothing out of its w: the loss of the whole way is marked when its next close comes, as if held until
then. Not here: what the broker really holds.
"""

from collections.abc import Collection, Mapping

from tft_pipeline.live.loop_state import LoopState


def mark(state: LoopState, closes: Mapping[str, float]) -> None:
    """New closes: earn what was held of their symbols since the last ones."""
    earned = sum(
        state.unmarked.get(symbol, 0.0) * (close / state.closes[symbol] - 1.0)
        for symbol, close in closes.items()
        if symbol in state.closes
    )
    state.equity *= 1.0 + earned
    state.high_water_mark = max(state.high_water_mark, state.equity)
    state.closes |= closes
    _open(state, state.held, closes)


def fill(state: LoopState, weights: Mapping[str, float], *, at: Collection[str] = ()) -> None:
    """Targets were written.

    Args:
        at: symbols whose close was marked just now. Of others what was held before counts until their next close; where that
            was nothing, the new weight since the close before.
    """
    state.held = dict(weights)
    _open(state, weights, {*at, *(symbol for symbol in weights if not state.unmarked.get(symbol))})


def _open(state: LoopState, weights: Mapping[str, float], symbols: Collection[str]) -> None:
    for symbol in symbols:
        state.unmarked[symbol] = weights.get(symbol, 0.0)
