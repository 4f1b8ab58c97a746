"""A released model as live code asks it: one immutable object, bar by bar or window by window. It never learns.

    state = predictor.warm(predictor.start(), history.recent(...))      bars it takes in without deciding
    signals, state = predictor.step(state, bar)                         one calendar bar

A refused bar raises and leaves everything as it was. Positions are held by the rule of the backtest, one bar at a time. Not
here: following what is deployed (`current`), features from raw bars (`bar_history`), the forms (`torch_predictor`,
`onnx_forms`), volatility scaling.

Axes: S symbols, n of them observed at a bar, T lookback, V features, K values of a bar that a form keeps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tft_pipeline.domain.positions import RAW_ROUNDING, hold_positions
from tft_pipeline.domain.signal import Signal
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.bar_features import BarFeatures, TakenBar, accepted, aware, refuse_infinite
from tft_pipeline.live.engine import FORMS, Engine, Form, Outputs
from tft_pipeline.live.predictor_state import PredictorState, formula_versions
from tft_pipeline.live.refusals import NaiveTimeError, NoForecastError, OtherStateError, WrongShapeError
from tft_pipeline.live.signal_times import signal_times

if TYPE_CHECKING:
    from tft_pipeline.live.bar_history import BarHistory
    from tft_pipeline.storage.release_bundle import ReleaseBundle

ANY_TIME = datetime.min
"""For networks that do not read the time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictor:
    """One model in one form; safe to share between threads, for nothing in it changes.

    Attributes:
        model_id: the release. signature: what it reads. form: what it runs as. engine: the network.
    """

    model_id: str
    signature: Signature
    form: Form
    engine: Engine

    @classmethod
    def load(cls, bundle: "ReleaseBundle", form: Form | None = None) -> Self:
        """The model of a verified bundle.

        Torch is set to one thread, for the whole process and for good: its results then do not depend on the machine.

        Args:
            form: by default the one that the latency gate judged; "torch" for eager and compiled. Torch runs folded on cached
                tokens where the network has tokens (tft, also with a context set), else on whole windows.
        Raises:
            ValueError: no such form, or the bundle has none.
        """
        signature = bundle.signature
        judged: Form = signature.form if signature.form in FORMS else "torch"
        chosen = judged if form is None else form
        if chosen == "torch":
            from tft_pipeline.live.torch_predictor import torch_engine

            return cls(
                model_id=bundle.artifact.version,
                signature=signature,
                form=chosen,
                engine=torch_engine(bundle.fitted()),
            )
        if chosen not in FORMS:
            raise ValueError(f"form {chosen!r} is none of {', '.join(FORMS)}; choose one")
        if chosen not in signature.forms:
            why = signature.left_out.get(chosen, "it was not stored")
            raise ValueError(f"release {bundle.artifact.version} has no form {chosen} ({why}); take form torch")
        from tft_pipeline.live.onnx_forms import onnx_engine

        return cls(
            model_id=bundle.artifact.version,
            signature=signature,
            form=chosen,
            engine=onnx_engine(bundle.onnx(chosen), chosen, signature),
        )

    def window(
        self, window: np.ndarray, observed: np.ndarray | None = None, symbol: str = "", at: datetime | None = None
    ) -> dict[str, Any]:
        """What the network says of one window; nothing is remembered.

        Args:
            window: (T, V) unscaled features in the signature's order, NaN where missing.
            observed: (T,) bool, the last of them True; all by default.
            symbol: whose window it is; one that was not trained on is legal and has level 0.
            at: close of the last bar; needed with a context set, of which what was resolved before may be chosen.
        Returns:
            raw_position, mean, scale, probability (None where the loss trains none), model_id.
        Raises:
            WrongShapeError, NotFiniteError, NaiveTimeError, NoForecastError.
        """
        T, V = self.signature.lookback, len(self.signature.features)
        values = np.asarray(window, dtype=np.float32)
        seen = np.ones(T, dtype=bool) if observed is None else np.asarray(observed, dtype=bool)
        if values.shape != (T, V) or seen.shape != (T,) or not seen[-1]:
            raise WrongShapeError(
                f"window {values.shape}, observed {seen.shape}, last bar observed {bool(seen.size and seen.flat[-1])}: the "
                f"model reads {(T, V)} and {(T,)} and decides on bars that are observed; bring its last {T} bars"
            )
        if at is None and self.engine.reads_time:
            raise NaiveTimeError(
                f"model {self.model_id} chooses a context by time and none was given: one that was resolved after the window "
                "would tell its future; give the close of its last bar as `at`"
            )
        refuse_infinite(values[seen], self.signature, [symbol] * int(seen.sum()), str(at))
        kept = np.zeros((1, T - 1, self.engine.width), dtype=np.float32)
        before = seen[:-1]
        if before.any():
            kept[0, before] = self.engine.rows(values[:-1][before], [symbol] * int(before.sum()))
        outputs, _ = self.engine.step(values[-1:], kept, before[None], [symbol], ANY_TIME if at is None else aware(at))
        self._refuse_no_forecast(outputs, [symbol], str(at))
        return {
            "raw_position": float(outputs.raw_position[0]),
            "mean": _or_none(outputs.mean[0]),
            "scale": _or_none(outputs.scale[0]),
            "probability": _or_none(outputs.probability[0]),
            "model_id": self.model_id,
        }

    def start(self) -> PredictorState:
        """Flat, before the first bar of all: windows are padded with bars that are not observed, as in the backtest.

        Where there are bars before the first that counts, `warm` takes them in.
        """
        return PredictorState.empty(self.signature, model_id=self.model_id, form=self.form, width=self.engine.width)

    def warm(self, state: PredictorState, bars: Iterable[BarFeatures]) -> PredictorState:
        """Take bars in without deciding: windows move on, held positions stay.

        Raises:
            RefusedBarError: a bar that cannot be used; `state` is as it was.
        """
        self._refuse_other_state(state)
        for bar in bars:
            taken = accepted(bar, self.signature, state.last)
            symbols = [self.signature.symbols[place] for place in taken.place]
            new = self.engine.rows(taken.values, symbols) if symbols else self._no_rows()
            state = self._moved(state, bar, taken, new)
        return state

    def step(self, state: PredictorState, bar: BarFeatures) -> tuple[list[Signal], PredictorState]:
        """Decide on one calendar bar.

        A symbol of the signature that is not in the bar is not observed there: flat, and its recursion starts again from 0. A
        bar without any symbol moves windows on and decides nothing: no signals, and p stays, as in the backtest, which has
        no such bar. A symbol whose window is not yet one that the backtest could have seen (`PredictorState.wanting`) is
        flat too.

        Returns:
            One signal a symbol of the signature, in its order, and the state after the bar.
        Raises:
            RefusedBarError: of the kind that says why; `state` is as it was.
        """
        self._refuse_other_state(state)
        taken = accepted(bar, self.signature, state.last)
        if not len(taken.place):
            return [], self._moved(state, bar, taken, self._no_rows())
        symbols = [self.signature.symbols[place] for place in taken.place]
        outputs, new = self.engine.step(
            taken.values, state.rows[taken.place], state.seen[taken.place], symbols, bar.timestamp
        )
        self._refuse_no_forecast(outputs, symbols, bar.timestamp.isoformat())
        decided = state.wanting[taken.place] == 0
        raw = np.full((len(self.signature.symbols), 1), np.nan)
        raw[taken.place[decided], 0] = outputs.raw_position[decided]
        held = hold_positions(
            raw,
            max_position=self.signature.max_position,
            position_smooth=self.signature.position_smooth,
            previous=state.held,
        )[:, 0]
        after = self._moved(state, bar, taken, new, held)
        return self._signals(bar.timestamp, taken.place[decided], held, outputs, decided), after

    def adopt(self, state: PredictorState, history: "BarHistory | None" = None) -> PredictorState:
        """A state of another model, or of another form, as this one's: what the book holds does not change with the model.

        Held positions carry over by symbol. Windows are made anew from the kept bars where these hold all features, of the
        same formulas; else they are empty, and so are those of symbols that the other model did not have. `wanting` of the
        result says how many bars each symbol still needs: it is flat until then. With a history it need not wait: windows
        are then made of its bars, also those of a state of its own that was waiting.

        Args:
            history: bars of any model up to the state's last one at least; one that ends before changes nothing.
        Raises:
            RefusedBarError: bars of the history that this model cannot read.
        """
        adopted = state if self._is_own(state) else self._carried(state)
        if history is None or adopted.last is None or not adopted.wanting.any():
            return adopted
        own = history if history.signature is self.signature else history.of(self.signature)
        until = adopted.last + timedelta(microseconds=1)
        fresh = self.warm(self.start(), own.recent(self.signature.lookback + 1, before=until))
        return replace(fresh, held=adopted.held) if fresh.last == adopted.last else adopted

    def _carried(self, state: PredictorState) -> PredictorState:
        """A state of another model with its positions, and with windows as far as its bars serve this one."""
        S, T = len(self.signature.symbols), self.signature.lookback
        fresh = self.start()
        held, raw, rows = fresh.held.copy(), fresh.raw.copy(), fresh.rows.copy()
        seen, taken, behind = fresh.seen.copy(), fresh.taken.copy(), np.full(S, state.last is not None)
        columns = self._columns_of(state)
        n = min(T - 1, state.seen.shape[1])  # bars that both keep
        for s, symbol in enumerate(self.signature.symbols):
            if symbol not in state.symbols:
                continue
            o = state.symbols.index(symbol)
            held[s] = state.held[o]
            if columns is None:
                continue
            behind[s] = bool(state.behind[o]) or state.taken[o] > state.seen.shape[1]
            taken[s] = min(int(state.taken[o]), state.seen.shape[1])
            seen[s, T - 1 - n :] = state.seen[o, state.seen.shape[1] - n :]
            raw[s, T - 1 - n :] = state.raw[o, state.raw.shape[1] - n :][:, columns]
            if seen[s].any():
                rows[s, seen[s]] = self.engine.rows(raw[s, seen[s]], [symbol] * int(seen[s].sum()))
        return replace(fresh, last=state.last, held=held, raw=raw, rows=rows, seen=seen, taken=taken, behind=behind)

    def _columns_of(self, state: PredictorState) -> list[int] | None:
        """Where each feature stands in the state's; None where one is not there, or of another formula."""
        there = {
            name: (place, version)
            for place, (name, version) in enumerate(zip(state.features, state.versions, strict=True))
        }
        found = [there.get(name) for name in self.signature.features]
        wanted = formula_versions(self.signature)
        if any(each is None or each[1] != version for each, version in zip(found, wanted, strict=True)):
            return None
        return [each[0] for each in found if each is not None]

    def _moved(
        self,
        state: PredictorState,
        bar: BarFeatures,
        taken: TakenBar,
        new: np.ndarray,
        held: np.ndarray | None = None,
    ) -> PredictorState:
        """The state one bar later, with new rows (n, K) of the observed symbols."""
        S = len(self.signature.symbols)
        raw = np.full((S, 1, len(self.signature.features)), np.nan, dtype=np.float32)
        rows = np.zeros((S, 1, self.engine.width), dtype=np.float32)
        seen = np.zeros((S, 1), dtype=bool)
        raw[taken.place, 0], rows[taken.place, 0], seen[taken.place, 0] = taken.values, new, True

        def later(kept: np.ndarray, one: np.ndarray) -> np.ndarray:
            return np.concatenate((kept, one), axis=1)[:, 1:]

        return replace(
            state,
            last=bar.timestamp,
            held=state.held if held is None else held,
            raw=later(state.raw, raw),
            rows=later(state.rows, rows),
            seen=later(state.seen, seen),
            taken=state.taken + 1,
        )

    def _signals(
        self, at: datetime, place: np.ndarray, held: np.ndarray, outputs: Outputs, decided: np.ndarray
    ) -> list[Signal]:
        """One a symbol: place (m,) of the decided ones, of whom `outputs` speak where `decided` (n,)."""
        valid_from, valid_until = signal_times(at, self.signature)
        said = {int(s): i for s, i in zip(place, np.flatnonzero(decided), strict=True)}

        def of(values: np.ndarray, s: int) -> float | None:
            return _or_none(values[said[s]]) if s in said else None

        return [
            Signal(
                ts=at,
                symbol=symbol,
                target_position=float(held[s]),
                mu=of(outputs.mean, s),
                sigma=of(outputs.scale, s),
                probability=of(outputs.probability, s),
                model_id=self.model_id,
                valid_from=valid_from,
                valid_until=valid_until,
            )
            for s, symbol in enumerate(self.signature.symbols)
        ]

    def _no_rows(self) -> np.ndarray:
        return np.empty((0, self.engine.width), dtype=np.float32)

    def _is_own(self, state: PredictorState) -> bool:
        own = (self.model_id, self.form, self.signature.symbols, self.signature.features, self.signature.lookback - 1)
        return own == (state.model_id, state.form, state.symbols, state.features, state.seen.shape[1])

    def _refuse_other_state(self, state: PredictorState) -> None:
        if not self._is_own(state):
            raise OtherStateError(
                f"the state is of model {state.model_id} in form {state.form}, this is {self.model_id} in form {self.form}: "
                "what it keeps means nothing here; pass it through adopt() first"
            )

    def _refuse_no_forecast(self, outputs: Outputs, symbols: Sequence[str], at: str) -> None:
        sound = np.abs(outputs.raw_position) <= 1.0 + RAW_ROUNDING
        if not sound.all():
            bad = int(np.argmin(sound))
            raise NoForecastError(
                f"model {self.model_id} answers {outputs.raw_position[bad]} for {symbols[bad]} at {at}, outside [-1, 1]: it is "
                "no position; verify the release (tft status), or roll it back"
            )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
