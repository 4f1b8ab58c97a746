"""Champion against challenger: the live model and a new one on bars that neither was trained, stopped or chosen on.

    D = SR(challenger) - SR(champion)    net, a year, paired on the same bars (`paired.paired_sharpe_difference`)

The Sharpe ratio, not the mean return: of two models that say the same and differ in how much they hold, the larger book would
win by its leverage alone. Each is held by its own clip and smoothing, as it would be live; volatility target, cap and costs are
those of the new run for both, and both start flat.

Not here: reading the live version and asking it (`pipeline.champion`), the limit (`release_gates`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.backtest import backtest
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.paired import PairedDifference, paired_sharpe_difference
from tft_pipeline.domain.reports import FeatureCatalogue
from tft_pipeline.domain.sections import PositionSection
from tft_pipeline.domain.sharpe import FLAT
from tft_pipeline.domain.signature import Signature

CHAMPION = "champion_position"
"""Column of the champion's raw positions, beside the challenger's `raw_position`."""


@dataclass(frozen=True, kw_only=True)
class ChallengerFinding:
    """What came of the comparison.

    Attributes:
        champion: release id of the live version; None where nothing is live.
        weights_sha256: of its weights; None where nothing is live or it cannot be read.
        applies: there was something to compare with.
        why: where there is no difference, why; else what was compared, in words.
        difference: challenger less champion.
        n_bars: common bars, whether or not they were enough.
        first, last: of them; "" without any.
    """

    champion: str | None
    applies: bool
    why: str
    difference: PairedDifference | None = None
    n_bars: int = 0
    first: str = ""
    last: str = ""
    weights_sha256: str | None = None


def reasons_incomparable(champion: Signature, *, experiment: Experiment, catalogue: FeatureCatalogue) -> list[str]:
    """Why the live model cannot be asked on this run's features, in sentences; empty where it can.

    A feature that is gone, has another formula now, or is computed from another market or in another time zone is not the one
    the model learned from: what it would say of it would be no forecast of its.
    """
    if champion.experiment != experiment.name:
        return [f"the live version is of the experiment {champion.experiment!r}, not of {experiment.name!r}"]
    versions: dict[str, str | None] = {row.name: row.version for row in catalogue.used}
    versions |= dict.fromkeys(catalogue.user_columns)
    reasons = []
    gone = [name for name in champion.features if name not in versions]
    if gone:
        reasons.append(f"features that it reads are not built any more: {_few(gone)}")
    other = [
        f"{name} ({champion.feature_versions.get(name, 'a user column')} -> {versions[name] or 'a user column'})"
        for name in champion.features
        if name not in gone and champion.feature_versions.get(name) != versions[name]
    ]
    if other:
        reasons.append(f"formulas of features that it reads have changed: {_few(other)}")
    data = experiment.data
    for key, then, now in (
        ("data.interval", champion.interval, data.interval),
        ("data.timezone", champion.timezone, data.timezone),
        ("data.market_symbol", champion.market_symbol, data.market_symbol),
        ("data.cross_markets", dict(champion.cross_markets), data.cross_markets),
    ):
        if then != now:
            reasons.append(f"{key} was {then!r} and is {now!r}: its features mean something else now")
    return reasons


def last_bar_seen(card: Mapping[str, Any]) -> datetime:
    """Last bar that had a part in a model's training or choice: of train, validation and test of all folds of its run, and of
    the bars that its features and settings were chosen on.

    Its own test bars count: it went live because of what it earned there, so there it looks better than it is.

    Raises:
        ValueError: the card names no folds, or no last bar of the choice.
    """
    try:
        dates = [str(fold[part]["last"]) for fold in card["train"]["folds"] for part in ("train", "validation", "test")]
        seen = max(datetime.fromisoformat(one) for one in dates)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the live version's card does not say on which bars it was trained and scored ({error}): bars that it has not "
            "seen cannot be told"
        ) from error
    chosen = card["train"].get("research_last")
    try:
        return max(seen, datetime.fromisoformat(chosen))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the live version's card does not say up to which bar its features and settings were chosen ({chosen!r}): bars "
            "that had no part in them cannot be told"
        ) from error


def first_common_bar(calendar: Sequence[datetime], seen: datetime, *, horizon: int, test_start: int) -> int:
    """First bar that both are compared on: of the challenger's test, and late enough that no label or return that the champion
    was scored on reaches it.

        max(test_start, 1 + last bar seen + horizon - 1)

    Args:
        calendar: sorted; its length where all of it was seen.
        horizon: the champion's, bars.
        test_start: first test bar of the challenger, a place in `calendar`.
    """
    after = sum(stamp <= seen for stamp in calendar)
    return max(test_start, after + horizon - 1)


def compared_returns(
    rows: pl.DataFrame,
    *,
    challenger: PositionSection,
    champion: PositionSection,
    target_volatility: float,
    bars_per_year: float,
) -> pl.DataFrame:
    """Net returns of both on the same bars: timestamp, challenger, champion; one row a bar at which some symbol could be held.

    Args:
        rows: out-of-sample predictions of the challenger's fold, as `backtest.backtest` takes them, with the raw positions of
            the other in `CHAMPION`; null, where it says nothing, is flat.
        challenger: clip, smoothing, cap and costs.
        champion: its clip and smoothing; cap and costs are the challenger's.
    """
    own = champion.model_dump(include={"max_position", "position_smooth"})
    held = challenger.model_copy(update=own)

    def net(frame: pl.DataFrame, position: PositionSection) -> pl.DataFrame:
        series = backtest(frame, position, target_volatility=target_volatility, bars_per_year=bars_per_year)
        return series.select("timestamp", "net")

    other = net(rows.with_columns(raw_position=pl.col(CHAMPION)), held)
    both = net(rows, challenger).rename({"net": "challenger"})
    return both.join(other.rename({"net": "champion"}), on="timestamp", how="left", maintain_order="left")


def paired_finding(
    returns: pl.DataFrame, *, champion: str, min_bars: int, bars_per_year: float, seed: int
) -> ChallengerFinding:
    """The difference, or why there is none.

    Args:
        returns: of `compared_returns`.
        champion: release id of the live version.
    """
    n = returns.height
    first, last = (str(returns["timestamp"][k].isoformat()) if n else "" for k in (0, -1))
    one, other = returns["challenger"].to_numpy(), returns["champion"].to_numpy()
    named = (("the new model", one), ("the live one", other))
    still = [name for name, series in named if n and series.std() <= FLAT * np.abs(series).max()]

    def finding(why: str, difference: PairedDifference | None = None) -> ChallengerFinding:
        return ChallengerFinding(
            champion=champion, applies=True, why=why, difference=difference, n_bars=n, first=first, last=last
        )

    if n < min_bars:
        return finding(
            f"{champion} has {n} bar(s) in common with the new model on which neither was trained or chosen, and "
            f"gates.challenger_min_bars asks for {min_bars}: wait for new bars, lower it (20 at least), or set "
            "gates.challenger to off"
        )
    if still:
        return finding(
            f"{' and '.join(still)} earned the same on each of {n} common bars (nothing, where nothing was held): there is no "
            "Sharpe ratio to compare"
        )
    difference = paired_sharpe_difference(one, other, bars_per_year=bars_per_year, seed=seed)
    return finding(f"against {champion} on {n} common bars, {first} to {last}: {difference.words()}", difference)


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
