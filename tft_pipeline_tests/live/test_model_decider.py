"""The released model as the loop's decider: a restart and a swap change no bit of the targets, and bad bars no state."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import torch

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.live import model_decider
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.current import CurrentPredictor
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.loop import LiveLoop
from tft_pipeline.live.loop_contract import Decision, Settings
from tft_pipeline.live.loop_state import load_state
from tft_pipeline.live.model_decider import ModelDecider
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.refusals import DuplicateBarError, UnknownSymbolError, UnusableBarsError
from tft_pipeline.live.replay_source import ReplaySource
from tft_pipeline.live.running import LiveOptions, run_live
from tft_pipeline.live.signal_times import signal_times
from tft_pipeline.live.strategy import TFTStrategy
from tft_pipeline.live.triggers import DrawdownLimit, ErrorLimit, Limits, StaleDataLimit
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.storage.atomic import replace_link
from tft_pipeline.storage.release_bundle import current_bundle
from tft_pipeline_tests.live.minute_release import minute_bars, minute_fit, release_minutes

PAST, PLAYED = 150, 45
BARS = minute_bars(PAST + PLAYED)
STAMPS = BARS["timestamp"].unique().sort().to_list()
START = STAMPS[PAST - 1]
WIDE = Limits(
    drawdown=DrawdownLimit(reduce_at=0.9, halt_at=0.95),
    stale_data=StaleDataLimit(reduce_after=500.0, halt_after=1000.0),
    error_rate=ErrorLimit(bars=100),
)
SETTINGS = Settings(step_s=60.0, validity_s=600.0, watchdog_deadline_s=None, limits=WIDE)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fits() -> list[FittedFold]:
    return [minute_fit(seed) for seed in (1, 2)]


@pytest.fixture
def models(tmp_path: Path, fits: list[FittedFold]) -> Path:
    for name, fitted in zip(("two", "one"), reversed(fits), strict=True):
        release_minutes(tmp_path / "models", name, fitted)
    return tmp_path / "models"


def decider_of(models: Path, source: ReplaySource) -> ModelDecider:
    return ModelDecider(CurrentPredictor(models), source.history)


def decisions(folder: Path, models: Path, parts: list[int], swap_at: int | None = None) -> list[Decision]:
    """What a loop decides that ends after each of some numbers of bars and begins again."""
    replace_link(models / "versions" / "current", "one")
    KillSwitch(folder).arm("tester", "a test")
    found: list[Decision] = []
    for stop in parts:
        source = ReplaySource(BARS.filter(pl.col("timestamp") <= STAMPS[PAST + stop - 1]), start=START)
        decider = decider_of(models, source)
        take = decider.take

        def noted(bars: pl.DataFrame, take: Callable[[pl.DataFrame], Decision] = take) -> Decision:
            if len(found) == swap_at:
                replace_link(models / "versions" / "current", "two")
            found.append(take(bars))
            return found[-1]

        decider.take = noted  # type: ignore[method-assign]
        LiveLoop(folder, source, decider, SETTINGS).run()
    return found


def test_restarts_swaps_and_cuts_of_the_history_change_no_bit(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history is cut within the bars that are played, and restarts stand right before, after and between."""
    monkeypatch.setattr(model_decider, "_least", lambda signature: 90)
    whole = decisions(tmp_path / "whole", models, [PLAYED], swap_at=20)
    cut = decisions(tmp_path / "cut", models, [1, 13, 20, 21, 29, 30, 31, PLAYED], swap_at=20)
    assert len(whole) == PLAYED
    assert whole == cut
    assert [decision.model_id for decision in whole] == ["one"] * 20 + ["two"] * (PLAYED - 20)
    assert len({tuple(decision.weights.values()) for decision in whole}) == PLAYED
    states = [load_state(tmp_path / name) for name in ("whole", "cut")]
    assert states[0] == states[1]


def test_it_decides_what_predictor_and_strategy_decide_by_hand(models: Path) -> None:
    source = ReplaySource(BARS, start=START)
    decider = decider_of(models, source)
    decider.restore(None, None)
    source.seek(None)
    predictor = Predictor.load(current_bundle(models))
    signature = predictor.signature
    history = BarHistory(signature, source.history(None))
    state = predictor.warm(predictor.start(), history.recent(signature.lookback + 1))
    strategy = TFTStrategy.of(signature)
    for _ in range(12):
        bars = source.next(0.0)
        assert bars is not None
        ours = decider.take(bars)
        history.append(bars)
        signals, state = predictor.step(state, history.features_at(ours.bar))
        known, until = signal_times(ours.bar, signature)
        theirs = strategy.targets(known, signals, history.volatility_at(ours.bar))
        assert dict(ours.weights) == theirs.fractions
        assert (ours.until, ours.due) == (until, until - timedelta(minutes=1))
    assert any(ours.weights.values())


def test_bad_bars_are_refused_and_leave_the_next_good_one_as_it_would_have_been(models: Path) -> None:
    def next_three(spoil: bool) -> list[Decision]:
        source = ReplaySource(BARS, start=START)
        decider = decider_of(models, source)
        decider.restore(None, None)
        source.seek(None)
        found = []
        for _ in range(3):
            bars = source.next(0.0)
            assert bars is not None
            if spoil:
                later = pl.col("timestamp") + timedelta(minutes=1)
                with pytest.raises(UnknownSymbolError):
                    decider.take(bars.with_columns(later, symbol=pl.col("symbol").replace("AAA", "XYZ")))
                with pytest.raises(UnusableBarsError):
                    decider.take(bars.with_columns(later, close=-1.0))
                with pytest.raises(UnusableBarsError, match="of 2 moments"):
                    decider.take(pl.concat([bars, bars.with_columns(later)]))
            found.append(decider.take(bars))
            if spoil:
                with pytest.raises(DuplicateBarError):
                    decider.take(bars)
        return found

    assert next_three(spoil=True) == next_three(spoil=False)


def options(tmp_path: Path, models: Path, replay: Path | None, follow: Path | None = None) -> LiveOptions:
    return LiveOptions(
        folder=tmp_path / "live",
        models=models,
        name="small",
        opened_before=timedelta(0),
        drift_folder=tmp_path / "drift",
        replay=replay,
        follow=follow,
        start=START,
        speed=None,
        form=None,
        validity_s=60.0,
        drawdown=(0.5, 0.9),
        stale=(500.0, 1000.0),
        drift_nights=3,
        error_bars=60,
        watched=False,
    )


def test_a_recording_is_played_through_the_command_and_says_what_it_holds(tmp_path: Path, models: Path) -> None:
    BARS.write_parquet(tmp_path / "bars.parquet")
    given = options(tmp_path, models, tmp_path / "bars.parquet")
    found = run_live(given, say=lambda _: None)
    assert found["gate"]["passed"] is False
    assert not found["holds"]
    KillSwitch(given.folder).arm("tester", "a test")
    longer = minute_bars(PAST + PLAYED + 5)
    longer.write_parquet(tmp_path / "bars.parquet")
    found = run_live(given, say=lambda _: None)
    assert (found["bars"], found["model_id"], found["state"]) == (PLAYED + 5, "one", "ACTIVE")
    assert found["holds"]
    assert found["gate"]["passed"] is True


def test_what_cannot_be_run_is_a_sentence(tmp_path: Path, models: Path) -> None:
    nothing = options(tmp_path, models, None)
    with pytest.raises(ConfigurationError, match="name the bars"):
        run_live(nothing, say=lambda _: None)
    with pytest.raises(ConfigurationError, match="nothing is live"):
        run_live(options(tmp_path, tmp_path / "none", tmp_path / "bars.csv"), say=lambda _: None)
    with pytest.raises(ConfigurationError, match="no such file"):
        run_live(options(tmp_path, models, tmp_path / "bars.csv"), say=lambda _: None)
    with pytest.raises(ConfigurationError, match="only with --replay"):
        run_live(options(tmp_path, models, None, tmp_path / "bars.csv"), say=lambda _: None)
