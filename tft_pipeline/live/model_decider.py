"""Raw bars to target weights by the released model: bar history, predictor and strategy as one decider of the live loop.

What must survive a restart is the predictor's state and where the kept bars begin; the bars themselves come from the source
again. They are cut at set lengths, so that a decider that was restored computes from the very rows of one that was not. As many
bars of each symbol are kept as matter (`BarHistory.enough`): all of them where a feature never forgets.

Symbols that the model neither trades nor reads are left out of every bar, and named in `left_out`.

Not here: any of the three, the kill switch.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import polars as pl

from tft_pipeline.domain.bars import TIMESTAMP, BarsError, utc_column
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.loop_contract import Decision
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.predictor_state import PredictorState
from tft_pipeline.live.raw_bars import own_symbols
from tft_pipeline.live.refusals import OtherStateError, UnusableBarsError
from tft_pipeline.live.signal_times import next_due, signal_times
from tft_pipeline.live.strategy import TFTStrategy

History = Callable[[datetime | None], pl.DataFrame]
"""Raw bars up to a moment; None is what was there before the first decision."""


class Following(Protocol):
    """`CurrentPredictor`, or something that stands for it."""

    @property
    def predictor(self) -> Predictor:
        """The model that answers now."""
        ...


class ModelDecider:
    """One model, or whichever is live, over raw bars.

    Attributes:
        left_out: symbols of the bars so far that the model does not know.
    """

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
        keep_bars: bars of each symbol that are kept, at least; by default what features and volatility need.
        opened_before: as `BarHistory`.
        """
        self._following, self._past, self._opened_before = following, history, opened_before
        self._predictor = following.predictor
        self._least = keep_bars or 0
        self._history: BarHistory | None = None
        self._state = self._predictor.start()
        self.left_out: set[str] = set()

    def take(self, bars: pl.DataFrame) -> Decision | None:
        """Decide on the bars of one timestamp.

        Returns:
            None where no traded symbol has a bar: bars of an index or of another market wait for those they stand beside.
        Raises:
            RefusedBarError: nothing was decided or taken; the corrected bars may follow.
        """
        self._follow()
        predictor = self._predictor
        signature = predictor.signature
        own, others = own_symbols(bars, signature)
        self.left_out.update(others)
        if others and own.is_empty():
            return None
        at = _timestamp(own, signature) + self._opened_before
        history = self._history.appended(own) if self._history is not None else self._first(own)
        if not history.traded_in(own):
            self._history = history
            return None
        signals, state = predictor.step(self._state, history.features_at(at))
        known, until = signal_times(at, signature)
        targets = TFTStrategy.of(signature).targets(known, signals, history.volatility_at(at))
        closes = own.filter(pl.col("symbol").is_in(list(signature.symbols))).select("symbol", "close")
        self._history, self._state = history, state
        return Decision(
            bar=at,
            due=next_due(at, signature),
            until=until,
            weights=targets.fractions,
            closes={symbol: float(close) for symbol, close in closes.iter_rows()},
            model_id=predictor.model_id,
        )

    def to_bytes(self) -> bytes:
        """One line of JSON, then the predictor's state."""
        about = {"least": self._least, "bars": None if self._history is None else self._history.marks}
        return json.dumps(about).encode() + b"\n" + self._state.to_bytes()

    def restore(self, data: bytes | None, last_bar: datetime | None) -> None:
        """Go on after a bar; without data, begin after what the source has of the past.

        Raises:
            OtherStateError: the state is damaged. RefusedBarError: the bars of the past cannot be used.
        """
        predictor = self._predictor
        if data is None:
            self._history = self._loaded(None, None)
            if self._history is not None:
                self._state = predictor.warm(predictor.start(), self._history.recent(predictor.signature.lookback + 1))
            return
        head, _, state = data.partition(b"\n")
        try:
            about = json.loads(head)
            self._least, marks = int(about["least"]), about["bars"]
        except (ValueError, KeyError, TypeError) as error:
            raise OtherStateError(f"the decider's state is damaged ({error}); begin anew") from error
        stored = PredictorState.from_bytes(state)
        if marks is not None and last_bar is not None:
            self._history = self._loaded(last_bar, marks)
        self._state = predictor.adopt(stored, self._history)

    def weights_sha256(self) -> str | None:
        """Of the model that answers."""
        return self._predictor.signature.weights_sha256

    def _first(self, bars: pl.DataFrame) -> BarHistory:
        return self._bounded(BarHistory(self._predictor.signature, bars, opened_before=self._opened_before))

    def _loaded(self, last_bar: datetime | None, marks: Mapping[str, Any] | None) -> BarHistory | None:
        """The history that the source has up to a bar, from the marks on where these suffice; None where it has no bar."""
        signature = self._predictor.signature
        own, others = own_symbols(self._past(None if last_bar is None else last_bar - self._opened_before), signature)
        self.left_out.update(others)
        if own.is_empty():
            return None
        history = BarHistory(signature, own, opened_before=self._opened_before, marks=marks)
        if self._too_short(history):
            history = BarHistory(signature, own, opened_before=self._opened_before)
        return self._bounded(history)

    def _bounded(self, history: BarHistory) -> BarHistory:
        """A history that keeps what matters, and never less than for the models before it."""
        enough = history.enough
        self._least = max(self._least, enough or 0)
        history.keep(None if enough is None else self._least)
        return history

    def _too_short(self, history: BarHistory) -> bool:
        """Whether bars that its model looks back at were forgotten."""
        return history.forgot and (history.enough is None or history.enough > self._least)

    def _follow(self) -> None:
        """Take up the model that is live now: positions go on, its history is made of the same bars."""
        predictor, before = self._following.predictor, self._predictor
        if predictor is before:
            return
        self._predictor = predictor
        try:
            history = None if self._history is None else self._read_by_other(self._history, before.signature)
            state = predictor.adopt(self._state, history)
        except BaseException:
            self._predictor = before  # the next bar tries again
            raise
        self._history, self._state = history, state

    def _read_by_other(self, history: BarHistory, before: Signature) -> BarHistory | None:
        """The bars for the new model; from the source where too few are kept, or symbols were left out that it knows."""
        signature = self._predictor.signature
        known = {*signature.symbols, *signature.untraded} <= {*before.symbols, *before.untraded}
        if known and (not history.forgot or self._least >= signature.max_lookback + signature.lookback):
            other = history.of(signature)
            if not self._too_short(other):
                return self._bounded(other)
        return self._loaded(history.newest, None)


def _timestamp(bars: pl.DataFrame, signature: Signature) -> datetime:
    try:
        stamps = utc_column(bars["timestamp"], signature.timezone).cast(TIMESTAMP).unique()
    except (BarsError, pl.exceptions.PolarsError) as error:
        raise UnusableBarsError(str(error)) from error
    if len(stamps) != 1 or stamps[0] is None:
        raise UnusableBarsError(f"bars of {len(stamps)} moments at once: bring those of one timestamp together")
    found: datetime = stamps[0]
    return found
