import math
import re
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tft_pipeline.domain.phases import EvaluationSection
from tft_pipeline.domain.reports import TrialRow, TunedHyperparameters
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline.domain.sharpe import describe_returns, probabilistic_sharpe_ratio, sharpe_ratio
from tft_pipeline.domain.verdict import (
    annual_sharpe_or_none,
    deflated_by_looks,
    json_ready,
    notes_on,
    reasons_against,
    research_evidence,
)
from tft_pipeline_tests.builders import noise

YEAR = 252.0


def trial(number: int, returns: np.ndarray | None, state: str = "complete") -> TrialRow:
    done = state == "complete"
    return TrialRow(
        number=number,
        state=state,
        params={},
        sharpe_annual=1.0 if done else None,
        fold_sharpes=(),
        returns=() if returns is None else tuple(float(value) for value in returns),
    )


def tuned(trials: list[TrialRow], *, best: int = 0, started: int | None = None) -> TunedHyperparameters:
    return TunedHyperparameters(
        network=NetworkSection(),
        training=TrainingSection(),
        position=PositionSection(),
        best_trial=best,
        best_sharpe_annual=1.0,
        study="s",
        n_trials_started=len(trials) if started is None else started,
        n_pruned=0,
        fold_keys=("f1",),
        trials=tuple(trials),
        seconds=1.0,
    )


def null_trials(n: int, n_bars: int = 500, seed: int = 0) -> list[TrialRow]:
    return [trial(k, np.random.default_rng([seed, k]).normal(0, 0.01, n_bars)) for k in range(n)]


def best_of(trials: list[TrialRow]) -> int:
    return max((t for t in trials if t.returns), key=lambda t: sharpe_ratio(np.array(t.returns))).number


def verdict_on(
    production: np.ndarray,
    research: dict[str, Any],
    *,
    looks: int = 1,
    rival: float = -1.0,
    name: str = "long_only",
    superior: tuple[str, ...] = (),
    contaminated: bool = False,
) -> tuple[str, ...]:
    statistics = describe_returns(production, bars_per_year=YEAR, seed=1)
    baseline = describe_returns(noise(production.size, 99, rival * 0.01 / math.sqrt(YEAR)), bars_per_year=YEAR, seed=1)
    return reasons_against(
        leaks=(),
        statistics=statistics,
        psr_after_looks=deflated_by_looks(statistics, looks),
        looks=looks,
        research=research,
        baselines={name: baseline},
        superior=superior,
        contaminated=contaminated,
        limits=EvaluationSection(),
    )


def good_research() -> dict[str, Any]:
    skill = [trial(k, noise(1000, k, mean=0.0015 + 0.0001 * k)) for k in range(6)]
    return research_evidence(tuned(skill, best=best_of(skill)), bars_per_year=YEAR)


def test_skill_in_research_and_in_production_leaves_no_reason_against_it():
    research = good_research()
    assert research["dsr"] > 0.99
    assert research["probability_of_loss"] < 0.05
    assert verdict_on(noise(1000, 5, mean=0.0012), research) == ()


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_no_go_and_its_reasons_name_the_numbers(seed):
    trials = null_trials(12, seed=seed)
    research = research_evidence(tuned(trials, best=best_of(trials)), bars_per_year=YEAR)
    production = np.random.default_rng([77, seed]).normal(0, 0.01, 500)
    reasons = verdict_on(production, research)
    assert any(reason.startswith("research: deflated Sharpe ratio") for reason in reasons)
    named = next(reason for reason in reasons if "deflated" in reason)
    assert f"{research['dsr']:.3f}" in named
    assert "below 0.95" in named
    assert "12 trials started" in named


def test_each_condition_that_fails_gives_its_own_reason_with_its_figures():
    weak = noise(500, 3, mean=0.0002)
    statistics = describe_returns(weak, bars_per_year=YEAR, seed=1)
    (reason,) = verdict_on(weak, good_research(), looks=4)
    assert "after 4 look(s)" in reason
    assert f"Sharpe {statistics['sharpe_annual']:.2f} +- {statistics['se_annual']:.2f} a year, n 500" in reason
    assert f"PSR {deflated_by_looks(statistics, 4):.3f}" in reason

    (reason,) = verdict_on(noise(1000, 5, mean=0.0012), good_research(), rival=9.0)
    assert "the model does not beat long_only" in reason
    assert re.search(r"long_only 9\.0\d\)$", reason)

    (reason,) = verdict_on(noise(1000, 5, mean=0.0012), good_research() | {"degradation": 0.61})
    assert "loses 61% of its Sharpe ratio out of sample, more than 50%" in reason
    (reason,) = verdict_on(noise(1000, 5, mean=0.0012), good_research() | {"degradation": None})
    assert "earns nothing in sample" in reason

    lossy = good_research() | {"probability_of_loss": 0.31}
    (reason,) = verdict_on(noise(1000, 5, mean=0.0012), lossy)
    assert "probability of loss 0.31" in reason
    assert "above 0.25" in reason


def test_a_baseline_that_is_equally_good_is_not_beaten():
    series = noise(1000, 5, mean=0.0012)
    statistics = describe_returns(series, bars_per_year=YEAR, seed=1)
    reasons = reasons_against(
        leaks=(),
        statistics=statistics,
        psr_after_looks=0.99,
        looks=1,
        research=good_research(),
        baselines={"momentum": statistics},
        superior=(),
        contaminated=False,
        limits=EvaluationSection(),
    )
    assert len(reasons) == 1
    assert "does not beat momentum" in reasons[0]


def test_a_learned_peer_vetoes_only_when_a_test_names_it_superior():
    research, series = good_research(), noise(1000, 5, mean=0.0012)
    assert verdict_on(series, research, rival=9.0, name="ridge") == ()
    (reason,) = verdict_on(series, research, rival=9.0, name="ridge", superior=("ridge",))
    assert reason.startswith("production: ridge is superior at the 5% level")
    notes = notes_on(
        statistics=describe_returns(series, bars_per_year=YEAR, seed=1),
        research=research,
        baselines={
            "ridge": {**describe_returns(noise(1000, 99, 0.006), bars_per_year=YEAR, seed=1), "held_share": 1.0}
        },
        superior=(),
        unverified=("columns_are_computed_here: mood",),
    )
    assert notes[0] == "the leakage audit could not verify columns_are_computed_here: mood"
    assert "it is not shown that the network is needed" in notes[1]


def test_a_baseline_that_never_held_anything_is_noted_and_not_beaten_for_free():
    research = good_research()
    idle = {"macd": {"sharpe": None, "reason": "it never held anything on these bars"}}
    statistics = describe_returns(noise(1000, 5, mean=0.0012), bars_per_year=YEAR, seed=1)
    notes = notes_on(statistics=statistics, research=research, baselines=idle, superior=(), unverified=())
    assert "baseline macd: it never held anything on these bars" in notes


def test_autocorrelated_returns_are_noted_with_the_ratio_that_allows_for_them():
    white = noise(1000, 5, mean=0.0012)
    slow = np.convolve(white, np.full(5, 0.2), mode="valid")
    notes = {}
    for name, series in (("white", white), ("slow", slow)):
        statistics = describe_returns(series, bars_per_year=YEAR, seed=1)
        notes[name] = notes_on(
            statistics=statistics, research=good_research(), baselines={}, superior=(), unverified=()
        )
    assert not any("autocorrelated" in note for note in notes["white"])
    assert f"is {statistics['sharpe_annual_eta']:.2f} instead of {statistics['sharpe_annual']:.2f}" in notes["slow"][0]


def test_features_chosen_on_scored_bars_can_never_be_go():
    (reason,) = verdict_on(noise(1000, 5, mean=0.0012), good_research(), contaminated=True)
    assert reason.startswith("contaminated: features or settings were chosen on bars that are scored")


def test_trials_of_other_studies_on_the_same_bars_deflate_too():
    trials = [trial(k, noise(1000, k, mean=0.0004 + 0.0002 * k)) for k in range(4)]
    others = {f"t{k}": None if k == 0 else 0.01 * (k % 7) for k in range(50)}
    alone = research_evidence(tuned(trials, best=3), bars_per_year=YEAR)
    shared = research_evidence(tuned(trials, best=3), bars_per_year=YEAR, others=others)
    assert (shared["n_trials_started"], shared["n_other_trials"]) == (54, 50)
    assert shared["dsr"] < alone["dsr"]
    statistics = describe_returns(noise(1000, 5, mean=0.0012), bars_per_year=YEAR, seed=1)
    notes = notes_on(statistics=statistics, research=shared, baselines={}, superior=(), unverified=())
    assert notes[0].startswith("50 of the 54 trials")


def test_a_study_of_trials_that_resemble_each_other_is_deflated_by_the_spread_of_all():
    """Copies of an experiment, each with a tiny search space, would otherwise deflate nothing."""
    alike = [trial(k, noise(756, 0, mean=0.0011 + 1e-6 * k)) for k in range(6)]
    others = {f"t{k}": float(ratio) for k, ratio in enumerate(np.random.default_rng(0).normal(0.0, 756**-0.5, 500))}
    alone = research_evidence(tuned(alike, best=5), bars_per_year=YEAR)
    shared = research_evidence(tuned(alike, best=5), bars_per_year=YEAR, others=others)
    assert alone["dsr"] > 0.95
    assert shared["dsr"] < 0.6


def test_a_pruned_trial_widens_the_spread_that_deflates():
    trials = [trial(k, noise(1000, k, mean=0.0004 + 0.0002 * k)) for k in range(4)]
    bad = trial(4, noise(400, 9, mean=-0.004), "pruned")
    without = research_evidence(tuned(trials, best=3, started=5), bars_per_year=YEAR)
    within = research_evidence(tuned([*trials, bad], best=3, started=5), bars_per_year=YEAR)
    assert within["expected_max_sharpe_annual"] > 1.5 * without["expected_max_sharpe_annual"]
    assert within["n_completed"] == 4


def test_the_limits_are_those_of_the_experiment_and_only_stricter_ones_are_taken():
    series, research = noise(1000, 5, mean=0.0012), good_research()
    statistics = describe_returns(series, bars_per_year=YEAR, seed=1)
    arguments: dict[str, Any] = {"statistics": statistics, "psr_after_looks": 0.96, "looks": 1, "baselines": {}}
    arguments |= {"superior": (), "contaminated": False, "leaks": (), "research": research}
    assert reasons_against(**arguments, limits=EvaluationSection()) == ()
    strict = EvaluationSection(min_psr=0.97, max_probability_of_loss=0.0, max_degradation=0.001)
    assert len(reasons_against(**arguments, limits=strict)) >= 2
    for looser in ({"min_psr": 0.5}, {"min_dsr": 0.0}, {"max_probability_of_loss": 1.0}, {"max_degradation": 9.0}):
        with pytest.raises(ValidationError, match=next(iter(looser))):
            EvaluationSection(**looser)


def test_a_leak_is_the_first_reason():
    statistics = describe_returns(noise(1000, 5, mean=0.0012), bars_per_year=YEAR, seed=1)
    (reason,) = reasons_against(
        leaks=("a_guard failed, at noon",),
        statistics=statistics,
        psr_after_looks=0.99,
        looks=1,
        research=good_research(),
        baselines={},
        superior=(),
        contaminated=False,
        limits=EvaluationSection(),
    )
    assert reason == "leakage audit: a_guard failed, at noon"


def test_a_baseline_that_is_mostly_flat_is_noted():
    statistics = describe_returns(noise(1000, 5, mean=0.0012), bars_per_year=YEAR, seed=1)
    rarely = {"macd": {**statistics, "sharpe": 0.0, "held_share": 0.16}, "momentum": {**statistics, "held_share": 0.9}}
    notes = notes_on(statistics=statistics, research=good_research(), baselines=rarely, superior=(), unverified=())
    assert [note for note in notes if "easy to beat" in note] == [
        "baseline macd held a position on 16% of the scored bars only: it is easy to beat"
    ]


def test_one_look_leaves_the_probability_that_sharpe_is_positive():
    statistics = describe_returns(noise(500, 3, mean=0.0006), bars_per_year=YEAR, seed=1)
    assert deflated_by_looks(statistics, 1) == statistics["psr"]


def test_more_looks_lower_it_further_and_further():
    statistics = describe_returns(noise(500, 3, mean=0.0006), bars_per_year=YEAR, seed=1)
    seen = [deflated_by_looks(statistics, looks) for looks in (1, 2, 3, 10, 100)]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 5
    assert seen[0] > 0.9 > seen[-1]


def test_looks_are_counted_as_null_series_of_the_same_length():
    statistics = describe_returns(noise(500, 3, mean=0.0006), bars_per_year=YEAR, seed=1)
    draws = np.random.default_rng(0).normal(0.0, 1.0 / math.sqrt(500), (200_000, 10)).max(axis=1).mean()
    by_simulation = probabilistic_sharpe_ratio(
        statistics["sharpe"],  # type: ignore[arg-type]
        500,
        benchmark_sharpe=float(draws),
        skew=statistics["skew"],  # type: ignore[arg-type]
        kurtosis=statistics["kurtosis"],  # type: ignore[arg-type]
    )
    assert deflated_by_looks(statistics, 10) == pytest.approx(by_simulation, abs=0.03)


def test_the_deflated_sharpe_counts_every_trial_that_was_started():
    trials = [trial(k, noise(1000, k, mean=0.0004 + 0.0002 * k)) for k in range(4)]
    few = research_evidence(tuned(trials, best=3), bars_per_year=YEAR)
    with_failures = [
        *trials,
        trial(4, None, "fail"),
        trial(5, trials[0].returns and np.array(trials[0].returns), "pruned"),
    ]
    more = research_evidence(tuned(with_failures, best=3), bars_per_year=YEAR)
    many = research_evidence(tuned(trials, best=3, started=500), bars_per_year=YEAR)
    assert (few["n_trials_started"], more["n_trials_started"], many["n_trials_started"]) == (4, 6, 500)
    assert (more["n_completed"], more["n_left_out"]) == (4, 2)
    assert few["dsr"] > more["dsr"] > many["dsr"]
    assert few["expected_max_sharpe_annual"] < more["expected_max_sharpe_annual"] < many["expected_max_sharpe_annual"]
    assert few["pbo"] == more["pbo"]


def test_the_deflated_sharpe_is_that_of_the_chosen_trial():
    trials = [trial(k, noise(1000, k, mean=0.0002 * k)) for k in range(6)]
    found = [research_evidence(tuned(trials, best=best), bars_per_year=YEAR) for best in (1, 5)]
    assert found[0]["dsr"] < found[1]["dsr"]
    assert found[1]["sharpe_annual"] == pytest.approx(sharpe_ratio(np.array(trials[5].returns)) * math.sqrt(YEAR))
    assert found[1]["n_bars"] == 1000


def test_a_single_completed_trial_cannot_be_deflated_and_says_so():
    only = [trial(0, noise(500, 0, mean=0.002)), trial(1, None, "fail")]
    research = research_evidence(tuned(only), bars_per_year=YEAR)
    assert research["dsr"] is None
    assert research["probability_of_loss_reason"] == "1 completed trial(s): the spread of trials is unknown"
    reasons = verdict_on(noise(1000, 5, mean=0.0012), research)
    assert reasons == ("research: no deflated Sharpe ratio, 1 completed trial(s): the spread of trials is unknown",)


@pytest.mark.parametrize("n_bars", [8, 20, 40, 130])
def test_cross_validation_uses_fewer_blocks_where_bars_are_few(n_bars):
    trials = null_trials(3, n_bars=n_bars)
    research = research_evidence(tuned(trials, best=best_of(trials)), bars_per_year=YEAR)
    assert 0.0 <= research["pbo"] <= 1.0


def test_what_json_cannot_say_becomes_null_and_the_rest_stays():
    value = {
        "a": np.float64(1.5),
        "b": (np.int64(2), math.nan, [math.inf, None]),
        3: np.array([1.0, -np.inf]),
        "flag": np.bool_(True),
        "text": "x",
    }
    assert json_ready(value) == {"a": 1.5, "b": [2, None, [None, None]], "3": [1.0, None], "flag": True, "text": "x"}
    assert type(json_ready(np.float64(1.5))) is float


def test_an_undefined_sharpe_is_none_and_any_other_is_annual():
    returns = noise(50, 1, mean=0.001)
    expected = sharpe_ratio(returns) * math.sqrt(YEAR)
    assert annual_sharpe_or_none(np.append(returns, math.nan), YEAR) == pytest.approx(expected)
    for undefined in ([], [0.1], [0.1, 0.1, 0.1], [0.0] * 5, [math.nan, 0.1]):
        assert annual_sharpe_or_none(np.array(undefined, dtype=float), YEAR) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"psr_after_looks": math.nan}, "PSR nan"),
        ({"dsr": math.nan}, "deflated Sharpe ratio nan"),
        ({"probability_of_loss": math.nan}, "probability of loss nan"),
        ({"probability_of_loss": None}, "probability of loss of the best trial is not known"),
        ({"degradation": math.nan}, "the best trial loses nan%"),
        ({"sharpe": math.nan}, "does not beat momentum"),
    ],
)
def test_what_is_not_a_number_is_a_reason(changes, words):
    statistics = describe_returns(noise(1000, 5, mean=0.0012), bars_per_year=YEAR, seed=1)
    research = {"dsr": 0.99, "probability_of_loss": 0.1, "degradation": 0.1, "n_trials_started": 3}
    own = {key: value for key, value in changes.items() if key in statistics}
    (reason,) = reasons_against(
        leaks=(),
        statistics=statistics | own,
        psr_after_looks=changes.get("psr_after_looks", 0.99),
        looks=1,
        research=research | {key: value for key, value in changes.items() if key in research},
        baselines={"momentum": {"sharpe": 0.0, "sharpe_annual": 0.0}},
        superior=(),
        contaminated=False,
        limits=EvaluationSection(),
    )
    assert words in reason
