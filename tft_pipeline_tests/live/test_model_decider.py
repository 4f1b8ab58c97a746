"""The released model as the loop's decider: a restart and a swap change no bit of the targets, and bad bars no state."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.current import CurrentPredictor
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.loop import LiveLoop
from tft_pipeline.live.loop_contract import Decision, Settings
from tft_pipeline.live.loop_state import load_state
from tft_pipeline.live.model_decider import ModelDecider
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.refusals import DuplicateBarError, NotFiniteError, UnusableBarsError
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


def begun(models: Path, source: ReplaySource) -> ModelDecider:
    """A decider that took in the past of a source, whose next bar is the first to be decided on."""
    decider = decider_of(models, source)
    decider.restore(None, None)
    source.seek(None)
    return decider


def taken(decider: ModelDecider, source: ReplaySource, n: int) -> list[Decision]:
    """The decisions of the next bars."""
    found = []
    for _ in range(n):
        bars = source.next(0.0)
        assert bars is not None
        decision = decider.take(bars)
        assert decision is not None
        found.append(decision)
    return found


def decisions(folder: Path, models: Path, parts: list[int], swap_at: int | None = None) -> list[Decision]:
    """What a loop decides that ends after each of some numbers of bars and begins again."""
    replace_link(models / "versions" / "current", "one")
    KillSwitch(folder).arm("tester", "a test")
    found: list[Decision] = []
    for stop in parts:
        source = ReplaySource(BARS.filter(pl.col("timestamp") <= STAMPS[PAST + stop - 1]), start=START)
        decider = decider_of(models, source)
        take = decider.take

        def noted(bars: pl.DataFrame, take: Callable[[pl.DataFrame], Decision | None] = take) -> Decision:
            if len(found) == swap_at:
                replace_link(models / "versions" / "current", "two")
            decision = take(bars)
            assert decision is not None
            found.append(decision)
            return decision

        decider.take = noted  # type: ignore[method-assign]
        LiveLoop(folder, source, decider, SETTINGS).run()
    return found


def test_restarts_swaps_and_cuts_of_the_history_change_no_bit(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history is cut within the bars that are played, and restarts stand right before, after and between."""
    monkeypatch.setattr(BarHistory, "enough", property(lambda history: 90))
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
    decider = begun(models, source)
    predictor = Predictor.load(current_bundle(models))
    signature = predictor.signature
    history = BarHistory(signature, source.history(None))
    state = predictor.warm(predictor.start(), history.recent(signature.lookback + 1))
    strategy = TFTStrategy.of(signature)
    for _ in range(12):
        bars = source.next(0.0)
        assert bars is not None
        ours = decider.take(bars)
        assert ours is not None
        history.append(bars)
        signals, state = predictor.step(state, history.features_at(ours.bar))
        known, until = signal_times(ours.bar, signature)
        theirs = strategy.targets(known, signals, history.volatility_at(ours.bar))
        assert dict(ours.weights) == theirs.fractions
        assert (ours.until, ours.due) == (until, until - timedelta(minutes=1))
        held = any(ours.weights.values())
    assert held


def test_bad_bars_are_refused_and_leave_the_next_good_one_as_it_would_have_been(models: Path) -> None:
    def next_three(spoil: bool) -> list[Decision]:
        source = ReplaySource(BARS, start=START)
        decider = begun(models, source)
        found = []
        for _ in range(3):
            bars = source.next(0.0)
            assert bars is not None
            if spoil:
                later = pl.col("timestamp") + timedelta(minutes=1)
                strangers = bars.with_columns(later, symbol=pl.lit("XYZ")).head(1)
                assert decider.take(strangers) is None
                assert decider.left_out == {"XYZ"}
                with pytest.raises(UnusableBarsError):
                    decider.take(bars.with_columns(later, close=-1.0))
                with pytest.raises(UnusableBarsError, match="of 2 moments"):
                    decider.take(pl.concat([bars, bars.with_columns(later)]))
            decision = decider.take(bars)
            assert decision is not None
            found.append(decision)
            if spoil:
                with pytest.raises(DuplicateBarError):
                    decider.take(bars)
        return found

    assert next_three(spoil=True) == next_three(spoil=False)


def test_a_model_that_changed_while_nobody_ran_decides_at_once(
    tmp_path: Path, fits: list[FittedFold], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads other features, so its windows are made of the bars; by a restart as by a swap between two bars."""
    models = tmp_path / "models"
    release_minutes(models, "one", fits[0])
    release_minutes(models, "two", fits[1], ("ret_1", "z_21", "sma_20_gap", "ret_5"))
    for cut in (False, True):
        if cut:
            monkeypatch.setattr(BarHistory, "enough", property(lambda history: 90))
        found = []
        for restarted in (False, True):
            replace_link(models / "versions" / "current", "one")
            source = ReplaySource(BARS, start=START)
            decider = begun(models, source)
            before = taken(decider, source, 10)
            replace_link(models / "versions" / "current", "two")
            if restarted:
                stored, source = decider.to_bytes(), ReplaySource(BARS, start=START)
                decider = decider_of(models, source)
                decider.restore(stored, before[-1].bar)
                source.seek(before[-1].bar)
            found.append(before + taken(decider, source, 20))
        assert found[0] == found[1]
        assert [decision.model_id for decision in found[0]] == ["one"] * 10 + ["two"] * 20
        moved = [decision.weights != before[-1].weights for decision in found[0][10:]]
        assert all(moved)
        assert any(abs(weight) > 1e-3 for weight in found[0][10].weights.values())


def test_a_bar_that_the_predictor_refuses_is_not_there_and_the_corrected_one_is_taken(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ReplaySource(BARS, start=START)
    plain = taken(begun(models, source), source, 6)
    source = ReplaySource(BARS, start=START)
    decider = begun(models, source)
    found = taken(decider, source, 2)
    bars, before = source.next(0.0), decider.to_bytes()
    assert bars is not None
    with monkeypatch.context() as patched:
        features_at = BarHistory.features_at

        def infinite(history: BarHistory, at: datetime) -> BarFeatures:
            bar = features_at(history, at)
            return replace(bar, values={name: row * np.inf for name, row in bar.values.items()})

        patched.setattr(BarHistory, "features_at", infinite)
        with pytest.raises(NotFiniteError):
            decider.take(bars)
    assert decider.to_bytes() == before
    corrected = decider.take(bars)
    assert corrected is not None
    assert [*found, corrected, *taken(decider, source, 3)] == plain


def test_a_thin_symbol_and_one_that_never_forgets_hold_what_they_would_over_all_bars(
    tmp_path: Path, fits: list[FittedFold]
) -> None:
    """One bar in 12 of CCC: by bars of all symbols it would have lost its lookback. The first start comes after a long past."""
    thin = pl.col("timestamp").dt.minute() % 12 == 0
    bars = minute_bars(1_500).filter((pl.col("symbol") != "CCC") | thin)
    start = bars["timestamp"].unique().sort()[1_459]
    for name, forgets in (("sma_20_gap", True), ("dd_since_start", False)):
        names = ("dd_63", "z_21", name, "mom_rsi_14")
        release_minutes(tmp_path / name, "one", fits[0], names)
        source = ReplaySource(bars, start=start)
        decider = begun(tmp_path / name, source)
        predictor = Predictor.load(current_bundle(tmp_path / name))
        signature = predictor.signature
        history = BarHistory(signature, source.history(None))
        state = predictor.warm(predictor.start(), history.recent(signature.lookback + 1))
        held = set()
        for decision in taken(decider, source, 36):
            history.append(bars.filter(pl.col("timestamp") == decision.bar))
            signals, state = predictor.step(state, history.features_at(decision.bar))
            known, _ = signal_times(decision.bar, signature)
            theirs = TFTStrategy.of(signature).targets(known, signals, history.volatility_at(decision.bar))
            for symbol, weight in decision.weights.items():
                assert weight == pytest.approx(theirs.fractions[symbol], abs=1e-9)
            held |= {symbol for symbol, weight in decision.weights.items() if weight}
        assert held == {"AAA", "BBB", "CCC"}
        assert decider._history is not None
        assert decider._history.forgot is forgets


def test_bars_of_context_alone_are_taken_and_decide_nothing(tmp_path: Path, fits: list[FittedFold]) -> None:
    index = minute_bars(PAST + PLAYED, seed=9).filter(pl.col("symbol") == "AAA").with_columns(symbol=pl.lit("INDEX"))
    index = index.with_columns(pl.col("timestamp") - timedelta(seconds=20))
    names = ("ret_1", "z_21", "sma_20_gap", "mkt_ret_1")
    release_minutes(tmp_path, "one", fits[0], names, market="INDEX")
    both = pl.concat([BARS, index])
    found = []
    for restarted in (False, True):
        source = ReplaySource(both, start=START)
        decider, decided = begun(tmp_path, source), []
        for _ in range(20):
            bars = source.next(0.0)
            assert bars is not None
            decision = decider.take(bars)
            assert (decision is None) == (set(bars["symbol"]) == {"INDEX"})
            decided += [] if decision is None else [decision]
            if restarted and decision is None and len(decided) == 5:
                stored, source = decider.to_bytes(), ReplaySource(both, start=START)
                decider = decider_of(tmp_path, source)
                decider.restore(stored, decided[-1].bar)
                source.seek(decided[-1].bar)
                restarted = False
        found.append(decided[:9])
    assert found[0] == found[1]
    assert any(found[0][-1].weights.values())


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
    given.drift_folder.mkdir()
    (given.drift_folder / f"drift_{START.date()}.json").write_text('{"verdict": "ok"}')
    longer = minute_bars(PAST + PLAYED + 5)
    longer.write_parquet(tmp_path / "bars.parquet")
    found = run_live(given, say=lambda _: None)
    assert (found["bars"], found["model_id"], found["state"]) == (PLAYED + 5, "one", "ACTIVE")
    assert found["holds"]
    assert found["gate"]["passed"] is True


def test_strangers_of_a_recording_are_left_out_and_named_and_a_past_that_cannot_be_used_is_a_sentence(
    tmp_path: Path, models: Path
) -> None:
    replay = tmp_path / "bars.parquet"
    said: list[str] = []
    strange = BARS.filter(pl.col("symbol") == "AAA").with_columns(symbol=pl.lit("ZZZ"))
    pl.concat([BARS, strange]).write_parquet(replay)
    found = run_live(options(tmp_path, models, replay), say=said.append)
    assert (found["symbols_left_out"], found["bars"], found["refused"]) == (["ZZZ"], PLAYED, {})
    assert any("left out" in line and "ZZZ" in line for line in said)
    strange.write_parquet(replay)
    with pytest.raises(ConfigurationError, match="not one of its symbols"):
        run_live(options(tmp_path, models, replay), say=said.append)
    BARS.with_columns(close=-pl.col("close")).write_parquet(replay)
    with pytest.raises(ConfigurationError, match="not positive"):
        run_live(replace(options(tmp_path, models, replay), folder=tmp_path / "other"), say=said.append)


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
