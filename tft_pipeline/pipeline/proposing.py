"""`tft init`: what is in a file of bars, what looks wrong in it, and a first experiment file for it.

Not here: the rules (`domain.proposal`, `domain.plausible_bars`), reading the file (`strange_files`), the copy that `--convert`
writes (`conversion`), options and printing.
"""

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.experiment import ConfigurationError, Experiment
from tft_pipeline.domain.experiment_features import catalogue_of, computed_targets
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.intervals import Stamp
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.planning import production_folds, research_folds
from tft_pipeline.domain.plausibility import listed
from tft_pipeline.domain.plausible_bars import implausible_bars
from tft_pipeline.domain.proposal import AboutBars, proposed
from tft_pipeline.domain.proposal_doubts import doubts
from tft_pipeline.domain.proposal_text import proposal_text
from tft_pipeline.domain.snapshot_plan import SnapshotCalendar
from tft_pipeline.domain.time_text import DateOrder
from tft_pipeline.pipeline.conversion import converted_bars, write_copy
from tft_pipeline.pipeline.converted_times import PLACED
from tft_pipeline.pipeline.strange_files import ReadBars, read_bars, shown_path, usable_bars
from tft_pipeline.storage.atomic import replace_file
from tft_pipeline.storage.experiments import read_experiment

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MOST_SYMBOLS = 10
"""Symbols that are listed for people."""


def propose_experiment(
    source: Path,
    *,
    output: Path | None = None,
    name: str | None = None,
    timezone: str | None = None,
    stamp: Stamp = "close",
    horizon: int = 1,
    convert: Path | None = None,
    dates: DateOrder | None = None,
    symbol: str | None = None,
    upper: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Read a file of bars, say what it holds, and write an experiment for it.

    Args:
        source: Parquet or CSV file, or a folder of them.
        output: the experiment file; experiments/<name>.yaml without it.
        name: of the experiment; made of the file's without it.
        timezone: of timestamps that state none.
        stamp: what timestamps name.
        horizon: bars a label looks ahead.
        convert: write a copy of the bars there, and use it; `dates`, `symbol`, `upper` belong to it.
        force: replace files that are there.
    Returns:
        What was found, changed, proposed, and what to look at.
    Raises:
        ConfigurationError: the file cannot be used as it stands, too few bars, or a file is there already.
    """
    _refuse_options(convert, dates, symbol, upper, horizon)
    name = _name(source) if name is None else name
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"--name {name!r}: use up to 40 lower-case letters, digits and _, a letter first; it names assets and folders"
        )
    path = (Path("experiments") / f"{name}.yaml" if output is None else output).resolve()
    if path.suffix not in (".yaml", ".yml") or path.is_dir():
        raise ConfigurationError(f"--output {output}: name a file that ends in .yaml")
    if path.exists() and not force:
        raise ConfigurationError(
            f"{path} is there already: choose another --name or --output, or replace it with --force"
        )
    changes: tuple[str, ...] = ()
    if convert is not None:
        copy = converted_bars(source, convert, timezone=timezone, dates=dates, symbol=symbol, upper=upper, force=force)
        source, changes = convert, copy.changes
        read = usable_bars(copy.bars, source, timezone=timezone, stamp=stamp)
        if read.interval == "1d" and timezone is not None:  # dates that keep their day in UTC, where the copy has them
            timezone, read = None, usable_bars(copy.bars, source, timezone=None, stamp=stamp)
    else:
        copy, read = None, read_bars(source, timezone=timezone, stamp=stamp)
    about = AboutBars(
        name=name,
        source=_as_named(source.resolve(), path.parent),
        interval=read.interval,
        stamp=stamp,
        timezone=None if convert is not None else timezone,
        bars_per_year=read.days.bars_per_year,
        bars_a_day=read.days.bars_a_day,
        columns=read.bars.columns,
        bars_per_symbol={
            row["symbol"]: row["len"] for row in read.bars.group_by("symbol").len().sort("symbol").to_dicts()
        },
        horizon=horizon,
    )
    traded = read.bars.filter(pl.col("symbol").is_in(about.traded))
    proposal = proposed(about, traded["timestamp"].n_unique(), lambda draft: _calendar(draft, read.bars))
    folds = _planned(proposal.experiment, read.bars)
    findings = listed(implausible_bars(read.bars, read.interval, timezone=timezone, now=datetime.now(UTC)))
    placed = read.placed or any(change.startswith(PLACED) for change in changes)
    assumed = [_assumed_zone(traded, timezone)] if placed and timezone is not None and read.interval != "1d" else []
    warnings = [*assumed, *(one.sentence for one in findings), *doubts(read.bars, read.days, about, proposal)]
    found = _found(source, read)
    text = proposal_text(proposal, about, found=found, warnings=_first_three(warnings))
    if convert is not None and copy is not None:
        write_copy(convert, copy.bars)
    _write(path, text, proposal.experiment)
    return {
        "experiment": name,
        "experiment_file": str(path),
        "source": str(source),
        "found": found,
        "symbols": _symbols_in_words(read.bars),
        "columns": ", ".join(read.bars.columns),
        **({"changed": list(changes)} if convert is not None else {}),
        "features": f"{proposal.n_features} of the catalogue",
        "lookback": proposal.experiment.training.lookback,
        "production_start": proposal.experiment.periods.production_start.isoformat(),
        "folds": [_folds_in_words(phase, found) for phase, found in folds.items()],
        "warnings": warnings,
        "next": [f"tft plan {shown_path(path)}", f"tft run {shown_path(path)}"],
        "details": {
            "interval": read.interval,
            "calendar": read.days.words,
            "bars_per_year": read.days.bars_per_year,
            "findings": [
                {"kind": one.kind, "symbol": one.symbol, "at": one.at and one.at.isoformat(), "bars": one.bars}
                for one in findings
            ],
            "bars_per_symbol": about.bars_per_symbol,
        },
    }


def _refuse_options(
    convert: Path | None, dates: DateOrder | None, symbol: str | None, upper: bool, horizon: int
) -> None:
    given = {"--dates": dates, "--symbol": symbol, "--upper": upper or None}
    idle = [option for option, value in given.items() if value is not None]
    if convert is None and idle:
        raise ConfigurationError(
            f"{' and '.join(idle)} say how a copy is written: add --convert bars.parquet, or drop them"
        )
    if horizon < 1:
        raise ConfigurationError(f"--horizon {horizon}: a label looks at least one bar ahead")


def _name(source: Path) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", source.stem.lower()).strip("_")[:40]
    return plain if NAME.fullmatch(plain) else f"bars_{plain}"[:40].rstrip("_")


def _as_named(source: Path, folder: Path) -> str:
    """Relative where the bars lie near the experiment file, so that both can be moved together; else absolute."""
    relative = os.path.relpath(source, folder)
    return str(source) if relative.startswith("../../") else relative


def _calendar(draft: Experiment, bars: pl.DataFrame) -> tuple[SnapshotCalendar, int]:
    """The common calendar, its first bar with features and a label, and the number of features."""
    catalogue = catalogue_of(draft, bars.columns)
    targets = computed_targets(draft, bars)
    stamps = targets["timestamp"].unique().sort()
    labelled = targets.filter(pl.col("label").is_not_null())["timestamp"]
    if labelled.is_empty():
        raise ConfigurationError(
            f"not one of {len(stamps)} bars has a label: a label needs {draft.target.volatility_span} bars before it and "
            "prices that move; bring more bars, or look at the prices"
        )
    first = max(int((stamps < labelled.min()).sum()), catalogue.max_lookback)
    dates = stamps.dt.date().to_numpy().astype("datetime64[D]")
    return SnapshotCalendar(dates=dates, first=min(first, len(stamps))), len(catalogue.used)


def _planned(experiment: Experiment, bars: pl.DataFrame) -> dict[str, tuple[list[str], Sequence[Fold]]]:
    """The folds that a run would plan, by the planner that a run asks: on a panel without features."""
    kept = (
        bars
        if experiment.data.symbols is None
        else bars.filter(pl.col("symbol").is_in([*experiment.data.symbols, *experiment.data.untraded]))
    )
    panel = _panel(experiment, kept)
    stamps = [f"{stamp:%Y-%m-%d}" for stamp in panel.calendar]
    try:
        return {
            "exploration": (stamps, research_folds(panel, experiment, experiment.exploration.folds)),
            "tuning": (stamps, research_folds(panel, experiment, experiment.tuning.folds)),
            "production": (stamps, production_folds(panel, experiment)),
        }
    except ValueError as error:
        raise ConfigurationError(f"folds do not fit these bars: {error}") from error


def _panel(experiment: Experiment, bars: pl.DataFrame) -> Panel:
    targets = computed_targets(experiment, bars)
    catalogue = catalogue_of(experiment, bars.columns)
    keys = targets.select("timestamp", "symbol", nothing=pl.lit(np.float32(0.0), dtype=pl.Float32))
    return build_panel(keys, targets, names=("nothing",), min_history=catalogue.max_lookback)


def _first_three(warnings: Sequence[str]) -> list[str]:
    """For the head of the file: those that are said first, and how many more."""
    shown = list(warnings[:3])
    return shown if len(warnings) <= 3 else [*shown, f"and {len(warnings) - 3} more, which `tft init` lists"]


def _found(source: Path, read: ReadBars) -> str:
    first, last = read.bars["timestamp"].min(), read.bars["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    form = "%Y-%m-%d" if read.interval == "1d" else "%Y-%m-%d %H:%M"
    n = read.bars["symbol"].n_unique()
    return (
        f"{source.name} holds {read.bars.height:,} rows of {read.interval} bars, {n} symbol{'s' * (n > 1)}, {first:{form}} to "
        f"{last:{form}} UTC; {read.days.words}; {read.days.bars_per_year:g} bars a year"
    )


def _assumed_zone(bars: pl.DataFrame, timezone: str) -> str:
    """What nothing in bars shorter than a day shows; wrong by hours, each would be known early or late beside other sources."""
    first = bars["timestamp"].min()
    assert isinstance(first, datetime)
    return (
        f"times without a zone were taken as {timezone}, because --timezone says so (the first bar closes "
        f"{first:%Y-%m-%d %H:%M} UTC): "
        "nothing in the file shows their zone, and in another one every bar stands hours early or late; ask the source"
    )


def _symbols_in_words(bars: pl.DataFrame) -> list[str]:
    stamp = pl.col("timestamp")
    rows = bars.group_by("symbol").agg(bars=pl.len(), first=stamp.min(), last=stamp.max()).sort("symbol").to_dicts()
    told = [f"{row['symbol']}: {row['bars']} bars, {row['first']:%Y-%m-%d} to {row['last']:%Y-%m-%d}" for row in rows]
    return told if len(told) <= MOST_SYMBOLS else [*told[:MOST_SYMBOLS], f"and {len(told) - MOST_SYMBOLS} more"]


def _folds_in_words(phase: str, found: tuple[list[str], Sequence[Fold]]) -> str:
    stamps, folds = found
    one, last = folds[0], folds[-1]
    return (
        f"{phase}: {len(folds)} folds of {one.test.n_bars} scored bars, trained on {one.train.n_bars} or more, scored "
        f"{stamps[one.test.start]} to {stamps[last.test.stop - 1]}"
    )


def _write(path: Path, text: str, experiment: Experiment) -> None:
    """Write the file, once it is known to be read as the experiment that was checked."""

    def checked(staged: Path) -> None:
        staged.write_text(text, encoding="utf-8")
        found = read_experiment(staged).experiment
        if found != experiment:
            raise ConfigurationError(
                f"{path}: the text would be read as another experiment than was checked; not written"
            )

    try:
        replace_file(path, checked)
    except OSError as error:
        raise ConfigurationError(f"--output {path} cannot be written: {error}") from error
