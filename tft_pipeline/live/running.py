"""The backend of `tft live`: the loop over the live model of an experiment, on a recording or on a file that grows.

Not here: options and printing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tft_pipeline.domain.bars import TIMESTAMP, BarsError, utc_column
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.current import CurrentPredictor
from tft_pipeline.live.engine import Form
from tft_pipeline.live.folder_lock import LockBusyError
from tft_pipeline.live.loop import LiveLoop, stop_on_signals
from tft_pipeline.live.loop_contract import Settings
from tft_pipeline.live.loop_state import LostStateError, load_state
from tft_pipeline.live.model_decider import ModelDecider
from tft_pipeline.live.raw_bars import refuse_strangers
from tft_pipeline.live.refusals import RefusedBarError
from tft_pipeline.live.replay_source import GrowingFile, ReplaySource
from tft_pipeline.live.switch_states import ACTIVE
from tft_pipeline.live.target_book import FencedError, read_targets
from tft_pipeline.live.triggers import DrawdownLimit, DriftLimit, ErrorLimit, Limits, StaleDataLimit
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError
from tft_pipeline.storage.sources import read_source

WATCHDOG_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """What `tft live` was told; see its options.

    Attributes:
        folder: the live folder. models: folder of releases. name: of the experiment.
        opened_before: what timestamps are earlier than the closes of their bars.
        drift_folder: nightly reports.
    """

    folder: Path
    models: Path
    name: str
    opened_before: timedelta
    drift_folder: Path
    replay: Path | None
    follow: Path | None
    start: datetime | None
    speed: float | None
    form: Form | None
    validity_s: float
    drawdown: tuple[float, float]
    stale: tuple[float, float]
    drift_nights: int
    error_bars: int
    watched: bool


def run_live(options: LiveOptions, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Until SIGTERM or the end of the recording; JSON-ready, with a gate that says whether the switch is ACTIVE.

    Raises:
        ConfigurationError: an option, the release, the file or the saved state cannot be used; nothing was held.
    """
    try:
        limits = Limits(
            drawdown=DrawdownLimit(reduce_at=options.drawdown[0], halt_at=options.drawdown[1]),
            stale_data=StaleDataLimit(reduce_after=options.stale[0], halt_after=options.stale[1]),
            drift=DriftLimit(nights=options.drift_nights or 1),
            error_rate=ErrorLimit(bars=options.error_bars),
        )
        following = CurrentPredictor(options.models, form=options.form)
        signature = following.signature
        source, others = _source(options, signature, following.model_id)
        settings = Settings(
            step_s=float(signature.calendar["step_s"]),
            validity_s=options.validity_s,
            watchdog_deadline_s=WATCHDOG_DEADLINE_S if options.watched else None,
            # a recording has no nights of its own
            drift_folder=None if options.replay is not None or options.drift_nights == 0 else options.drift_folder,
            limits=limits,
        )
        load_state(options.folder)
    except ArtifactMissingError as error:
        raise ConfigurationError(
            f"nothing is live in experiment {options.name}: there is no model to run; deploy a release (tft deploy)"
        ) from error
    except (BarsError, RefusedBarError, IntegrityError, ValueError, OSError, LostStateError) as error:
        raise ConfigurationError(str(error)) from error
    decider = ModelDecider(following, source.history, opened_before=options.opened_before)
    loop = LiveLoop(options.folder, source, decider, settings)
    reading = loop.switch.reading()
    say(f"kill switch {reading.state}: {reading.why}")
    if others:
        say(f"left out, the model does not know them: {', '.join(others)}")
    stop_on_signals(loop)
    try:
        state = loop.run()
    except (FencedError, LockBusyError) as error:
        raise ConfigurationError(f"{options.folder}: {error}") from error
    except RefusedBarError as error:  # bars of the past, or the state that was saved
        raise ConfigurationError(f"{options.replay or options.follow}: {error}") from error
    reading, targets = loop.switch.reading(), read_targets(options.folder)
    passed = reading.state == ACTIVE
    return {
        "experiment": options.name,
        "folder": str(options.folder),
        "model_id": state.model_id,
        "bars": state.bars,
        "last_bar": None if state.last_bar is None else state.last_bar.isoformat(),
        "equity": state.equity,
        "drawdown": 1.0 - state.equity / state.high_water_mark,
        **({"symbols_left_out": sorted(decider.left_out)} if decider.left_out else {}),
        "refused": state.refused,
        "refusals": [f"{kind} {n}" for kind, n in sorted((state.refused | state.failed).items())],
        "state": reading.state,
        "book": f"sequence {targets.sequence}" + (f", {targets.why}" if targets.why else ""),
        "targets": targets.weights,
        "holds": [f"{symbol} {weight:+.6f}" for symbol, weight in state.held.items() if weight],
        "gate": {
            "passed": passed,
            "reasons": [] if passed else [f"{reading.state} by {reading.trigger}: {reading.why}"],
        },
    }


def _source(options: LiveOptions, signature: Signature, model_id: str) -> tuple[ReplaySource | GrowingFile, list[str]]:
    """Where the bars come from, and which of a recording's symbols the model does not know."""
    timezone = signature.timezone
    if (options.replay is None) == (options.follow is None):
        raise ConfigurationError(
            "name the bars: --replay FILE plays a recording, --follow FILE.csv follows one that grows"
        )
    if options.follow is not None:
        if options.start is not None or options.speed is not None:
            raise ConfigurationError("--start and --speed only with --replay: a file that grows sets its own time")
        if not options.follow.is_file():
            raise ConfigurationError(f"--follow {options.follow}: no such file; begin it with a line of column names")
        return GrowingFile(options.follow, timezone=timezone, opened_before=options.opened_before), []
    assert options.replay is not None
    bars = read_source(options.replay, key="--replay")
    missing = [name for name in ("timestamp", "symbol", "close") if name not in bars.columns]
    if missing:
        raise ConfigurationError(f"--replay {options.replay}: no column {', '.join(missing)}; bring bars")
    bars = bars.with_columns(utc_column(bars["timestamp"], timezone).cast(TIMESTAMP).alias("timestamp"))
    start = None if options.start is None else options.start.replace(tzinfo=options.start.tzinfo or UTC)
    if start is not None and bars.filter(pl.col("timestamp") > start).is_empty():
        raise ConfigurationError(
            f"--start {start.isoformat()}: no bar comes after it; the last is {bars['timestamp'].max()!s}"
        )
    source = ReplaySource(bars, start=start, speed=options.speed, opened_before=options.opened_before)
    return source, refuse_strangers(bars, signature, model_id)
