"""Raw bars to target weights by the released model: bar history, predictor and strategy as one decider of the live loop.

What must survive a restart is the predictor's state and where the kept bars begin; the bars themselves come from the source
again. They are cut at set lengths, so that a decider that was restored computes from the very rows of one that was not.

Not here: any of the three, the kill switch.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import polars as pl

from tft_pipeline.domain.bars import TIMESTAMP, BarsError, utc_column
from tft_pipeline.domain.signal import Signal
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.loop_contract import Decision
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.predictor_state import PredictorState
from tft_pipeline.live.refusals import OtherStateError, UnusableBarsError
from tft_pipeline.live.signal_times import signal_times
from tft_pipeline.live.strategy import TFTStrategy

History = Callable[[datetime | None], pl.DataFrame]
"""Raw bars up to a moment; None is what was there before the first decision."""
LEAST_SPANS = 20
"""Spans of the volatility's average that are kept at least: what lies before them has a weight below 1e-17."""


class Following(Protocol):
    """`CurrentPredictor`, or something that stands for it."""

    @property
    def predictor(self) -> Predictor:
        """The model that answers now."""
        ...


class ModelDecider:
    """One model, or whichever is live, over raw bars."""

    def __init__(
        self,
        following: Following,
        history: History,
        *,
        keep_bars: int | None = None,
        opened_before: timedelta = timedelta(0),
    ) -> None:
        """Args:
        following: asked for its predictor once a bar.
        history: bars of the past, from the source.
        keep_bars: timestamps that are kept, at least; by default what the features' lookbacks and the volatility need.
        opened_before: as `BarHistory`.
        """
        self._following, self._past, self._opened_before = following, history, opened_before
        self._predictor = following.predictor
        self._keep = max(keep_bars or 0, _least(self._predictor.signature))
        self._frames: list[pl.DataFrame] = []
        self._history: BarHistory | None = None
        self._state = self._predictor.start()

    def take(self, bars: pl.DataFrame) -> Decision:
        """Decide on the bars of one timestamp.

        Raises:
            RefusedBarError: nothing was decided, and the predictor's state is as it was.
        """
        self._follow()
        at = _timestamp(bars, self._predictor.signature) + self._opened_before
        history = self._appended(bars)
        signals, state = self._step(history.features_at(at))
        volatility = history.volatility_at(at)
        signature = self._predictor.signature
        known, until = signal_times(at, signature)
        targets = TFTStrategy.of(signature).targets(known, signals, volatility)
        closes = bars.filter(pl.col("symbol").is_in(list(signature.symbols))).select("symbol", "close")
        self._state = state
        self._cut()
        return Decision(
            bar=at,
            due=until - timedelta(seconds=signature.calendar["step_s"]),
            until=until,
            weights=targets.fractions,
            closes={symbol: float(close) for symbol, close in closes.iter_rows()},
            model_id=self._predictor.model_id,
        )

    def to_bytes(self) -> bytes:
        """One line of JSON, then the predictor's state."""
        first = self._frames[0]["timestamp"][0] if self._frames else None
        about = {"first_bar": None if first is None else first.isoformat(), "moments": len(self._frames)}
        return json.dumps(about).encode() + b"\n" + self._state.to_bytes()

    def restore(self, data: bytes | None, last_bar: datetime | None) -> None:
        """Go on after a bar; without data, begin after what the source has of the past.

        Raises:
            OtherStateError: the state is damaged. RefusedBarError: the bars of the past cannot be used.
        """
        predictor = self._predictor
        if data is None:
            self._load(self._past(None), None)
            if self._history is not None:
                self._state = predictor.warm(predictor.start(), self._history.recent(predictor.signature.lookback + 1))
            return
        head, _, state = data.partition(b"\n")
        try:
            first = json.loads(head)["first_bar"]
            since = None if first is None else datetime.fromisoformat(first)
        except (ValueError, KeyError, TypeError) as error:
            raise OtherStateError(f"the decider's state is damaged ({error}); begin anew") from error
        self._state = predictor.adopt(PredictorState.from_bytes(state))
        if since is not None and last_bar is not None:
            self._load(self._past(last_bar - self._opened_before), since)

    def weights_sha256(self) -> str | None:
        """Of the model that answers."""
        return self._predictor.signature.weights_sha256

    def _load(self, bars: pl.DataFrame, since: datetime | None) -> None:
        if bars.is_empty():
            return
        frames = bars.sort("timestamp", maintain_order=True).partition_by("timestamp", maintain_order=True)
        if since is None:
            self._frames = frames[-self._keep :]
        else:
            self._frames = [frame for frame in frames if frame["timestamp"][0] >= since]
        if self._frames:
            self._history = self._made(pl.concat(self._frames, how="vertical_relaxed"))

    def _made(self, bars: pl.DataFrame) -> BarHistory:
        return BarHistory(self._predictor.signature, bars, opened_before=self._opened_before)

    def _appended(self, bars: pl.DataFrame) -> BarHistory:
        """The history with these bars; what refuses them leaves it as it was."""
        if self._history is None:
            history = self._made(bars)
        else:
            self._history.append(bars)
            history = self._history
        self._history = history
        self._frames.append(bars)
        return history

    def _step(self, bar: BarFeatures) -> tuple[list[Signal], PredictorState]:
        return self._predictor.step(self._predictor.adopt(self._state), bar)

    def _follow(self) -> None:
        """Take up the model that is live now: positions go on, its history is made of the same bars."""
        predictor = self._following.predictor
        if predictor is self._predictor:
            return
        history = None if self._history is None else self._history.of(predictor.signature)
        state = predictor.adopt(self._state)
        if history is not None and state.last is not None and state.wanting.any():
            fresh = predictor.warm(predictor.start(), history.recent(predictor.signature.lookback + 1))
            if fresh.last == state.last:
                state = replace(fresh, held=state.held)
        self._predictor, self._history, self._state = predictor, history, state
        self._keep = max(self._keep, _least(predictor.signature))

    def _cut(self) -> None:
        """Twice as many as are kept: keep the newest."""
        if len(self._frames) < 2 * self._keep:
            return
        self._frames = self._frames[-self._keep :]
        self._history = self._made(pl.concat(self._frames, how="vertical_relaxed"))


def _least(signature: Signature) -> int:
    return max(2 * (signature.max_lookback + signature.lookback), LEAST_SPANS * signature.volatility_span)


def _timestamp(bars: pl.DataFrame, signature: Signature) -> datetime:
    try:
        stamps = utc_column(bars["timestamp"], signature.timezone).cast(TIMESTAMP).unique()
    except (BarsError, pl.exceptions.PolarsError) as error:
        raise UnusableBarsError(str(error)) from error
    if len(stamps) != 1 or stamps[0] is None:
        raise UnusableBarsError(f"bars of {len(stamps)} moments at once: bring those of one timestamp together")
    found: datetime = stamps[0]
    return found
