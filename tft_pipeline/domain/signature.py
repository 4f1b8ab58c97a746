"""What live code must know of a released model besides its weights: what goes in, what comes out, how bars follow each other.

Only the standard library and numpy: a process that decides from an exported form imports nothing heavier. Not here: making
one (`pipeline.bundling`), the file (`storage.release_bundle`), running a form (`model.onnx_decision`).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from typing import Any, Self

from tft_pipeline.domain.calendar_record import check_calendar
from tft_pipeline.domain.scaling import Scaler

SCHEMA_VERSION = 1
INTERVALS = ("1m", "5m", "15m", "1h", "1d")
LOSSES = ("sharpe", "joint_mle", "joint_quantile", "bce")
FORMS = ("eager", "onnx_window", "onnx_stream", "compiled")
STAMPS = ("close", "open")
STORED_FORMS = ("onnx_window", "onnx_stream")
"""Forms with a file of their own; the others run from the weights."""
QUANTILES = "forecast_quantiles"
"""The one output that is a row of values, one a level."""
_FILE = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The contract between a released model and what feeds it.

    A window is the last `lookback` bars of one symbol, (T, V), unscaled, in the order of `features`, NaN where a value is
    missing; a bar at which the symbol has no row, or fewer than `max_lookback` bars behind it, counts as not observed.

    Attributes:
        experiment: its name.
        features: (V,) inputs, in order.
        feature_versions: version of the formula of each catalogue feature among them.
        user_columns: those that the source brings ready-made; no formula of ours makes them.
        raw_columns: columns of bars, beside timestamp and symbol, that the catalogue features are computed from.
        max_lookback: bars a symbol needs, its own included, before it is observed: the longest of all built features.
        lookback: T, bars of a window.
        horizon: bars that a forecast looks ahead.
        interval: length of a bar, by name.
        timezone: of naive timestamps and of the calendar features; None where the data had none.
        calendar: how bars follow each other in the whole snapshot, as `domain.calendar_record` says.
        symbols: traded ones of the training data.
        static_symbols: those with a level of their own, in its order, from 1; empty without a static symbol. Others are
            level 0.
        untraded: context only; they get no position.
        market_symbol: index whose bars the features of the market read.
        cross_markets: prefix of feature names to symbol, other markets that features read.
        loss_mode: what trained the network, and so which outputs there are.
        outputs: names of what the network forecasts, as an exported form calls them.
        quantile_levels: of the quantiles among them, rising; empty where there are none.
        forms: file of each exported form.
        left_out: why a form that could have a file has none.
        form: the one that the latency gate judged.
        scaler: mean and deviation of the training bars; its names are `features`.
        max_position, position_smooth: from a raw position to a held one, `positions.hold_positions`.
        target_volatility: annual, of a full position.
        volatility_span: of the EWM deviation that a position is divided by, bars.
        max_weight: largest |weight| of a symbol, a multiple of the capital.
        bars_per_year: for annualising.
        weights_sha256: hash of the file of weights that the forms were made from.
        production_start: first date scored as production.
        stamp: what the timestamps of the source name, "close" or "open"; None where it was not recorded.
        history_start: first bar of the snapshot, ISO 8601 with its zone; None where it was not recorded.
        recursive_features: those whose value rests on all bars since `history_start`; None where it was not recorded.
        point_in_time: whether the source's own columns came with `available_at` and were used as they were published; None
            where it was not recorded.
    """

    experiment: str
    features: tuple[str, ...]
    feature_versions: Mapping[str, str]
    user_columns: tuple[str, ...] = ()
    raw_columns: tuple[str, ...] = ("close",)
    max_lookback: int
    lookback: int
    horizon: int
    interval: str
    timezone: str | None
    calendar: Mapping[str, Any]
    symbols: tuple[str, ...]
    static_symbols: tuple[str, ...] = ()
    untraded: tuple[str, ...] = ()
    market_symbol: str | None = None
    cross_markets: Mapping[str, str] = field(default_factory=dict)
    loss_mode: str
    outputs: tuple[str, ...]
    quantile_levels: tuple[float, ...] = ()
    forms: Mapping[str, str]
    left_out: Mapping[str, str]
    form: str
    scaler: Scaler
    max_position: float
    position_smooth: float
    target_volatility: float
    volatility_span: int
    max_weight: float
    bars_per_year: float
    weights_sha256: str
    production_start: str
    stamp: str | None = None
    history_start: str | None = None
    recursive_features: tuple[str, ...] | None = None
    point_in_time: bool | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for the first thing that cannot be."""
        if self.features != self.scaler.names:
            raise ValueError(
                f"features are {len(self.features)} names and the scaler has {len(self.scaler.names)}, in another order or of "
                "another kind: each input would be scaled as another"
            )
        for name, least in (("lookback", 1), ("max_lookback", 1), ("horizon", 1), ("volatility_span", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, less than {least}")
        for name in ("target_volatility", "max_weight", "bars_per_year"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}, not positive")
        if not 0.0 < self.max_position <= 1.0 or not 0.0 <= self.position_smooth < 1.0:
            raise ValueError(
                f"max_position {self.max_position} or position_smooth {self.position_smooth} is outside (0, 1] or [0, 1)"
            )
        for name, known in (("interval", INTERVALS), ("loss_mode", LOSSES), ("form", FORMS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, none of {', '.join(known)}")
        self._check_names()
        self._check_forms()
        check_calendar(self.calendar, self.interval)
        if not _SHA256.fullmatch(self.weights_sha256):
            raise ValueError(f"weights_sha256 is {self.weights_sha256!r}, no SHA-256")
        try:
            date.fromisoformat(self.production_start)
        except ValueError as error:
            raise ValueError(f"production_start is {self.production_start!r}, no date") from error
        if self.stamp is not None and self.stamp not in STAMPS:
            raise ValueError(f"stamp is {self.stamp!r}, none of {', '.join(STAMPS)}")
        strange = sorted(set(self.recursive_features or ()) - set(self.features))
        if strange:
            raise ValueError(f"recursive_features are no features of the model: {strange}")
        if self.history_start is not None and not _is_moment(self.history_start):
            raise ValueError(f"history_start is {self.history_start!r}, no time with a zone")

    def _check_names(self) -> None:
        if not self.symbols or not self.outputs:
            raise ValueError("symbols or outputs is empty: there is nothing to take a position in, or nothing answered")
        if (QUANTILES in self.outputs) != bool(self.quantile_levels):
            raise ValueError(
                f"outputs are {self.outputs} and quantile_levels {self.quantile_levels}: one without the other"
            )
        made = set(self.feature_versions) | set(self.user_columns)
        if made != set(self.features) or set(self.feature_versions) & set(self.user_columns):
            raise ValueError(
                f"features without a formula's version that are no user columns, or the reverse: "
                f"{sorted(made ^ set(self.features)) or sorted(set(self.feature_versions) & set(self.user_columns))}"
            )

    def _check_forms(self) -> None:
        strange = [name for name in (*self.forms, *self.left_out) if name not in STORED_FORMS]
        both = sorted(set(self.forms) & set(self.left_out))
        absent = [name for name in STORED_FORMS if name not in self.forms and name not in self.left_out]
        if strange or both or absent:
            raise ValueError(
                f"forms and left_out must name each of {', '.join(STORED_FORMS)} once: unknown {strange}, twice {both}, "
                f"in neither {absent}"
            )
        bad = [name for name in self.forms.values() if not _FILE.fullmatch(name)]
        if bad or len(set(self.forms.values())) != len(self.forms):
            raise ValueError(f"forms have the files {list(self.forms.values())}: each needs a plain name of its own")
        if self.form in self.left_out:
            raise ValueError(f"form is {self.form}, which was left out: {self.left_out[self.form]}")

    @property
    def inputs(self) -> dict[str, list[Any]]:
        """What a stored form is fed with: shape of each input, one window at a time; `symbol` with a static symbol only."""
        symbol = {"symbol": [1]} if self.static_symbols else {}
        T, V = self.lookback, len(self.features)
        shapes: dict[str, dict[str, list[Any]]] = {
            "onnx_window": {"values": [1, T, V], "observed": [1, T], **symbol},
            "onnx_stream": {
                "values": [1, V],
                "observed": [1],
                "selected": [1, T - 1, "H"],
                "seen": [1, T - 1],
                **symbol,
            },
        }
        return {f"{form}.{name}": shape for form in self.forms for name, shape in shapes[form].items()}

    @property
    def dated(self) -> bool:
        """Whether daily bars are stamped with their dates alone: such a bar is over when its day ends."""
        return bool(self.calendar.get("dated", False))

    @property
    def opened_before(self) -> timedelta | None:
        """What the source's timestamps are earlier than the closes of their bars; None where that was not recorded."""
        if self.stamp is None:
            return None
        return timedelta(seconds=self.calendar["step_s"]) if self.stamp == "open" else timedelta(0)

    def level(self, symbol: str) -> int:
        """Level of a symbol as a static input; 0 for one the network was not trained on."""
        return self.static_symbols.index(symbol) + 1 if symbol in self.static_symbols else 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` gives back an equal signature."""
        plain: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "inputs": self.inputs}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, Mapping):
                value = dict(value)
            elif isinstance(value, Scaler):
                value = value.to_dict()
            plain[each.name] = value
        return plain

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ValueError: another schema, a key that is missing, unknown or of another kind, or values that cannot be.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"a signature is an object, this is a {type(record).__name__}")
        version = record.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {version!r}, this code reads {SCHEMA_VERSION}: read it with the code that wrote it"
            )
        known = {each.name for each in fields(cls)}
        given = set(record) - {"schema_version", "inputs"}
        if given - known or known - given - set(ADDED_LATER):
            missing = sorted(known - given - set(ADDED_LATER))
            raise ValueError(f"missing keys {missing}, unknown keys {sorted(given - known)}")
        return cls(
            **{
                each.name: _READERS[str(each.type)](each.name, record[each.name])
                for each in fields(cls)
                if each.name in record
            }
        )


ADDED_LATER = ("stamp", "history_start", "recursive_features", "point_in_time")
"""Keys that files written before them lack; they are None then."""


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        return False


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {value!r}, no text")
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f"{name} is no list of texts")
    if len(set(value)) != len(value):
        raise ValueError(f"{name} names something twice")
    return tuple(value)


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list of numbers")
    return tuple(_number(name, one) for one in value)


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, no whole number")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, no finite number")
    return float(value)


def _by_name(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} is no object")
    return value


def _texts_by_name(name: str, value: Any) -> dict[str, str]:
    return {key: _text(f"{name}.{key}", one) for key, one in _by_name(name, value).items()}


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, neither true nor false")
    return value


def _scaler(name: str, value: Any) -> Scaler:
    try:
        return Scaler.from_dict(_by_name(name, value))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name} cannot be read: {error!r}") from error


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    str(str): _text,
    str(int): _count,
    str(float): _number,
    str(Scaler): _scaler,
    str(str | None): lambda name, value: None if value is None else _text(name, value),
    str(bool | None): lambda name, value: None if value is None else _flag(name, value),
    str(tuple[str, ...] | None): lambda name, value: None if value is None else _texts(name, value),
    str(tuple[str, ...]): _texts,
    str(tuple[float, ...]): _numbers,
    str(Mapping[str, str]): _texts_by_name,
    str(Mapping[str, Any]): _by_name,
}
"""How each kind of field is read back."""
