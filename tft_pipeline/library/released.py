"""A released model, loaded by name or folder, and what it says of a frame of bars. Not here: asking it bar by bar (`live`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.library.arguments import refusal_of_frame, refuse_no_whole_number

if TYPE_CHECKING:
    import polars as pl

    from tft_pipeline.domain.intervals import Stamp
    from tft_pipeline.domain.signal import Signal
    from tft_pipeline.domain.signature import Signature
    from tft_pipeline.live.bar_features import BarFeatures
    from tft_pipeline.live.engine import Form
    from tft_pipeline.live.predictor import Predictor
    from tft_pipeline.storage.release_bundle import ReleaseBundle

CURRENT, NEWEST = "current", "newest"


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What a model decides on the newest bars of a frame.

    Attributes:
        frame: one row a bar and symbol of the model, in the order of time: timestamp; symbol; observed (the symbol has the bar
            and enough history; else it is flat); position in [-1, 1], the signed share of the risk budget that is held after
            the bar, before volatility scaling; mean and scale of the label in units of expected risk, probability of a label
            above 0 (null where the loss trains none); valid_from, valid_until.
        model_id: release that decided.
        history_short: why the numbers may differ from those of the whole history, a sentence a cause; empty where they do not.
        symbols_left_out: names in the frame that the model does not know.
    """

    frame: "pl.DataFrame"
    model_id: str
    history_short: tuple[str, ...]
    symbols_left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReleasedModel:
    """One released model in one form; it never changes, and threads may share it.

    Attributes:
        model_id: its release. signature: what goes in and comes out: features in order, lookback, interval, symbols, calendar.
        predictor: the same model bar by bar (docs/live.md).
    """

    model_id: str
    signature: "Signature"
    predictor: "Predictor"

    @property
    def symbols(self) -> tuple[str, ...]:
        """What it trades."""
        return self.signature.symbols

    @property
    def features(self) -> tuple[str, ...]:
        """What it reads, in order."""
        return self.signature.features

    def predict(self, bars: "pl.DataFrame", *, n_bars: int = 1, stamp: "Stamp | None" = None) -> Decisions:
        """Positions after each of the newest bars of a frame, which brings the history before them too.

        Features are computed from the raw columns by the formulas that the model was trained on. Nothing is written and nothing
        is remembered: the book is flat before the history that is read.

        Args:
            bars: timestamp (UTC, or naive where the model's data had a time zone), symbol, close, and the other raw columns
                that its features are made of; one row a bar and symbol, in any order.
            n_bars: newest bars of the calendar to decide on.
            stamp: what the timestamps name, "close" or "open" of their bars; by default what the model's source named.
        Raises:
            RefusedBarError: no frame of Polars, rows that the pipeline would not have taken, or too few of them; `kind` says
                which.
            ConfigurationError: n_bars below 1, another stamp than the two, or none given to a model whose source's was not
                recorded.
        Example:
            >>> decisions = load_bundle("demo", release="newest").predict(bars, n_bars=5)  # doctest: +SKIP
        """
        from datetime import timedelta

        from tft_pipeline.live.last_bars import last_bars
        from tft_pipeline.live.refusals import UnusableBarsError

        if refusal := refusal_of_frame(bars):
            raise UnusableBarsError(refusal)
        refuse_no_whole_number("n_bars", n_bars, 1, "nothing is asked for; ask for one bar at least")
        if stamp not in (None, "close", "open"):
            raise ConfigurationError(
                f'stamp is {stamp!r}: timestamps name the close or the opening of their bars; give stamp="close" or '
                'stamp="open"'
            )
        opened_before = self.signature.opened_before
        if stamp is not None:
            opened_before = timedelta(seconds=self.signature.calendar["step_s"]) if stamp == "open" else timedelta(0)
        if opened_before is None:
            raise ConfigurationError(
                f"{self.model_id} does not say whether timestamps name the close or the opening of their bars: decisions could "
                'be one bar off; give stamp="close" or stamp="open"'
            )
        found = last_bars(self.predictor, bars, opened_before=opened_before, n_bars=n_bars)
        return Decisions(
            frame=_frame(found.bars, found.signals),
            model_id=self.model_id,
            history_short=tuple(each["why"] for each in found.history_short),
            symbols_left_out=tuple(found.symbols_left_out),
        )


def load_bundle(where: str | Path, *, release: str = "current", form: "Form | None" = None) -> ReleasedModel:
    """A released model; every file is verified against its manifest before a byte of it is parsed.

    Torch is set to one thread for the whole process where the form is torch: its results then do not depend on the machine.

    Args:
        where: name of an experiment whose releases lie below `TFT_HOME`; or, as a `pathlib.Path`, a folder of releases
            (`models`) or the folder of one version.
        release: "current", the live one; "newest", live or not; or an id. A version's folder has but itself.
        form: "torch", "onnx_window" or "onnx_stream"; by default the one that the latency gate judged.
    Raises:
        ConfigurationError: no such experiment, folder, release or form; nothing is live.
        IntegrityError: a file is missing, unlisted or not the bytes that were written.
    Example:
        >>> model = load_bundle("demo", release="newest")  # doctest: +SKIP

    Source: docs/bundle.md.
    """
    from tft_pipeline.live.predictor import Predictor

    if not isinstance(where, str | Path):
        raise ConfigurationError(f"where is {where!r}: expected the name of an experiment, or a folder as pathlib.Path")
    bundle = _bundle(where, release)
    try:
        predictor = Predictor.load(bundle, form)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return ReleasedModel(model_id=bundle.model_id, signature=bundle.signature, predictor=predictor)


def _bundle(where: str | Path, release: str) -> "ReleaseBundle":
    from tft_pipeline.storage.artifacts import MANIFEST, ArtifactMissingError
    from tft_pipeline.storage.release_bundle import VERSIONS, current_bundle, read_release_bundle
    from tft_pipeline.storage.releases import release_ids

    if isinstance(where, Path) and (where / MANIFEST).is_file():
        if release != CURRENT:
            raise ConfigurationError(
                f"{where} is one version, and release {release!r} was asked for; leave release out"
            )
        return read_release_bundle(where.resolve())
    models = where if isinstance(where, Path) else _models_of(where)
    known = release_ids(models)
    if not known:
        raise ConfigurationError(
            f"{models} holds no release: run `tft run` or `tft train` first, or name another folder"
        )
    try:
        if release == CURRENT:
            return current_bundle(models)
    except ArtifactMissingError as error:
        raise ConfigurationError(
            f"nothing in {models} is live; deploy a release with `tft deploy`, or take the newest, {known[-1]}, with "
            f'release="{NEWEST}"'
        ) from error
    wanted = known[-1] if release == NEWEST else release
    if wanted not in known:
        raise ConfigurationError(f"{models} has no release {release!r}; there are {', '.join(known)}")
    return read_release_bundle(models / VERSIONS / wanted)


def _models_of(experiment: str) -> Path:
    from tft_pipeline.storage.layout import default_layout

    layout = default_layout()
    plain = experiment.replace("_", "").isalnum()
    if not plain or not layout.experiment(experiment).is_dir():
        raise ConfigurationError(
            f"{experiment!r} is no experiment that was run below {layout.home}: a text names an experiment; for a folder pass "
            "a pathlib.Path, and for another home set TFT_HOME"
        )
    return layout.models(experiment)


def _frame(bars: tuple["BarFeatures", ...], signals: tuple[list["Signal"], ...]) -> "pl.DataFrame":
    """One row a signal."""
    import polars as pl

    moment = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        [
            {
                "timestamp": signal.ts,
                "symbol": signal.symbol,
                "observed": signal.symbol in bar.values,
                "position": signal.target_position,
                "mean": signal.mu,
                "scale": signal.sigma,
                "probability": signal.probability,
                "valid_from": signal.valid_from,
                "valid_until": signal.valid_until,
            }
            for bar, said in zip(bars, signals, strict=True)
            for signal in said
        ],
        schema={
            "timestamp": moment,
            "symbol": pl.String,
            "observed": pl.Boolean,
            "position": pl.Float64,
            "mean": pl.Float64,
            "scale": pl.Float64,
            "probability": pl.Float64,
            "valid_from": moment,
            "valid_until": moment,
        },
    )
