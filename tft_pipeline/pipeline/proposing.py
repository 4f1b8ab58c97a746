"""`tft init`: what is in a file of bars, what looks wrong in it, and a first experiment file for it.

Not here: the rules (`domain.proposal`, `domain.plausible_bars`), the copy that `--convert` writes (`conversion`), options and
printing.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.bars import REQUIRED, BarsError, normalise_bars, publish_in_time, user_columns
from tft_pipeline.domain.experiment import ConfigurationError, Experiment
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.intervals import (
    BAR_LENGTHS,
    Interval,
    Stamp,
    common_spacing,
    refusal_of_openings,
    refusal_of_stamp,
    symbols_of_another_interval,
)
from tft_pipeline.domain.market_days import MarketDays, market_days
from tft_pipeline.domain.number_text import number_form
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.planning import production_folds, research_folds
from tft_pipeline.domain.plausibility import Finding, listed
from tft_pipeline.domain.plausible_bars import implausible_bars
from tft_pipeline.domain.proposal import AboutBars, Proposal, proposed
from tft_pipeline.domain.proposal_text import proposal_text
from tft_pipeline.domain.snapshot_plan import SnapshotCalendar
from tft_pipeline.domain.source_columns import source_columns
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.domain.time_text import DateOrder, time_form
from tft_pipeline.pipeline.conversion import FIELDS, convert_bars
from tft_pipeline.pipeline.feature_list import catalogue_of
from tft_pipeline.storage.atomic import replace_file
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline.storage.sources import read_source

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
FEW_SYMBOLS = 4
SURVIVORS, SURVIVED_YEARS = 5, 3.0
"""Symbols, and years of them, from which it is odd that not one ended."""
NO_ZONE = ", with a time zone, or say which with --timezone (UTC suits daily bars that carry a date alone)"
MOST_SYMBOLS = 10
"""Symbols that are listed for people."""
KNOWN_INTERVALS = ", ".join(BAR_LENGTHS)


@dataclass(frozen=True, slots=True)
class ReadBars:
    """Bars of a file that can be used, and what they are."""

    bars: pl.DataFrame
    interval: Interval
    days: MarketDays


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
        convert: write a copy of the bars there first, and use it; `dates`, `symbol`, `upper` belong to it.
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
        changes = convert_bars(source, convert, timezone=timezone, dates=dates, symbol=symbol, upper=upper, force=force)
        source = convert
    read = read_bars(source, timezone=timezone, stamp=stamp)
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
    warnings = [*(one.sentence for one in findings), *_doubts(read, about, proposal, stamp)]
    found = _found(source, read)
    text = proposal_text(proposal, about, found=found, warnings=_most_important(findings, warnings))
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
        "next": [f"tft plan {_shown(path)}", f"tft run {_shown(path)}"],
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


def read_bars(source: Path, *, timezone: str | None, stamp: Stamp) -> ReadBars:
    """Bars of a file, checked as a run checks them, with their interval and calendar.

    Raises:
        ConfigurationError: they cannot be used as they stand; all that is wrong with columns, times and numbers at once.
    """
    try:
        raw = read_source(source, key="DATA")
    except BarsError as error:
        raise ConfigurationError(_for_init(str(error), source)) from error
    wrong = wrong_as_it_stands(raw, timezone)
    if wrong:
        raise ConfigurationError(
            f"{source} cannot be used as it stands:\n"
            + "\n".join(f"  - {sentence}" for sentence in wrong)
            + f"\nwrite it so, or let `{_conversion(source, raw, timezone)}` write a copy and list what it changed; the file stays "
            "as it is"
        )
    try:
        bars = normalise_bars(raw, timezone=timezone, symbols=None, start=None, end=None, min_bars=1)
        interval = _interval(bars)
        if stamp == "open":
            _refuse_openings(bars, interval)
            bars = bars.with_columns(pl.col("timestamp") + BAR_LENGTHS[interval])
        bars = publish_in_time(bars)
        return ReadBars(bars, interval, market_days(bars["timestamp"], interval, timezone=timezone))
    except (BarsError, ValueError) as error:
        raise ConfigurationError(_for_init(f"{source}: {error}", source)) from error


def wrong_as_it_stands(raw: pl.DataFrame, timezone: str | None) -> list[str]:
    """What keeps a table from being read as bars: names and shape of columns, form of times, text in place of numbers."""
    if raw.is_empty():
        return [f"it has columns {', '.join(raw.columns)} and no rows: put the bars there"]
    columns = source_columns(raw.schema)
    named = {columns.renaming.get(name, name): name for name in raw.columns}
    absent = [name for name in REQUIRED if name not in raw.columns]
    wrong = []
    if absent:
        wrong.append(
            f"columns {', '.join(absent)} are missing among {', '.join(map(repr, raw.columns[:12]))}: "
            + (columns.sentence or "rename yours")
        )
    time = named.get("timestamp")
    if time is not None and (raw.schema[time] == pl.String or raw.schema[time].is_integer()):
        form = time_form(raw[time])
        if form.form != "aware" and not (form.form == "naive" and timezone is not None):
            zone = "" if timezone or form.form in ("naive", "epoch", "mixed", "unreadable") else NO_ZONE
            wrong.append(form.sentence + zone)
    elif time is not None and getattr(raw.schema[time], "time_zone", None) is None and timezone is None:
        wrong.append(f"{time} has no time zone (first {raw[time][0]}): say which with --timezone")
    for name in raw.columns:
        wanted = columns.renaming.get(name, name) in FIELDS or name in columns.wide
        if raw.schema[name] == pl.String and name not in (time, named.get("symbol")) and (wanted or not absent):
            wrong.append(number_form(raw[name]).sentence(name))
    return [sentence.replace("with data.timezone", "with --timezone") for sentence in wrong]


def _conversion(source: Path, raw: pl.DataFrame, timezone: str | None) -> str:
    """The command that would write a usable copy, with what only a person can say as it is most often meant."""
    columns = source_columns(raw.schema)
    time = next((name for name in raw.columns if columns.renaming.get(name, name) == "timestamp"), None)
    zone, order = timezone or "UTC", ""
    if time is not None and (raw.schema[time] == pl.String or raw.schema[time].is_integer()):
        form = time_form(raw[time]).form
        zone = "" if form in ("aware", "epoch") else zone
        order = " --dates day-first" if form == "either" else ""
    said = f" --timezone {zone}" if zone else ""
    return f"tft init {_shown(source)} --convert {_shown(source.with_suffix('.parquet'))}{said}{order}"


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


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _for_init(message: str, source: Path) -> str:
    """A refusal that names keys of an experiment file, in terms of the command."""
    message = message.replace("correct DATA, which is relative to the experiment file", "correct the path")
    message = message.replace("set data.timezone", "use --timezone").replace(
        "put the files of DATA there", "put the bars there"
    )
    return message.replace("tft init DATA", f"tft init {_shown(source)}")


def _interval(bars: pl.DataFrame) -> Interval:
    spacing = common_spacing(bars)
    if spacing is None:
        raise BarsError("no symbol has two bars, so nothing shows their interval; bring more bars")
    fitting = [name for name, length in BAR_LENGTHS.items() if length == spacing]
    if not fitting and timedelta(hours=23) <= spacing <= timedelta(hours=25):
        fitting = ["1d"]
    if not fitting:
        middle = bars.select(pl.col("timestamp").diff().over("symbol").median())["timestamp"][0]
        raise BarsError(
            f"bars of a symbol stand {spacing} apart most often (median {middle}), which is none of {KNOWN_INTERVALS}: make "
            "bars of "
            "one of these lengths"
        )
    return fitting[0]


def _refuse_openings(bars: pl.DataFrame, interval: Interval) -> None:
    refusal = refusal_of_stamp("open", interval) or refusal_of_openings(bars, interval)
    if refusal:
        raise BarsError(f"--stamp open: {refusal}")


def _calendar(draft: Experiment, bars: pl.DataFrame) -> tuple[SnapshotCalendar, int]:
    """The common calendar, its first bar with features and a label, and the number of features."""
    catalogue = catalogue_of(draft, bars.columns)
    targets = _targets(draft, bars)
    stamps = targets["timestamp"].unique().sort()
    labelled = targets.filter(pl.col("label").is_not_null())["timestamp"]
    if labelled.is_empty():
        raise ConfigurationError(
            f"not one of {len(stamps)} bars has a label: a label needs {draft.target.volatility_span} bars before it and "
            "prices that "
            "move; bring more bars, or look at the prices"
        )
    first = max(int((stamps < labelled.min()).sum()), catalogue.max_lookback)
    dates = stamps.dt.date().to_numpy().astype("datetime64[D]")
    return SnapshotCalendar(dates=dates, first=min(first, len(stamps))), len(catalogue.used)


def _targets(experiment: Experiment, bars: pl.DataFrame) -> pl.DataFrame:
    return build_targets(
        bars,
        horizon=experiment.target.horizon,
        volatility_span=experiment.target.volatility_span,
        bars_per_year=experiment.data.bars_per_year,
        untraded=experiment.data.untraded,
    )


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
    targets = _targets(experiment, bars)
    catalogue = catalogue_of(experiment, bars.columns)
    keys = targets.select("timestamp", "symbol", nothing=pl.lit(np.float32(0.0), dtype=pl.Float32))
    return build_panel(keys, targets, names=("nothing",), min_history=catalogue.max_lookback)


def _doubts(read: ReadBars, about: AboutBars, proposal: Proposal, stamp: Stamp) -> list[str]:
    """What cannot be seen in single bars, and limits what a result can say."""
    said = []
    first, last = read.bars["timestamp"].min(), read.bars["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    if read.interval != "1d" and stamp == "close":
        ends = [at.hour == at.minute == 0 for at in (first, last + BAR_LENGTHS[read.interval])]
        told = f"they go from {first:%H:%M} to {last:%H:%M}, as openings do; " if all(ends) else ""
        said.append(
            f"timestamps are taken as closes, and whether they are cannot be seen in them: {told}exchanges write openings. "
            "If these "
            "are, each bar would be known one bar early: run again with --stamp open"
        )
    strange = symbols_of_another_interval(read.bars, read.interval)
    if strange:
        said.append(
            f"the interval is {read.interval}, and {'; '.join(strange[:5])}: a horizon lasts longer there; leave these "
            "symbols out with "
            "data.symbols, or bring bars of one interval"
        )
    if proposal.left_out:
        said.append(
            f"{', '.join(proposal.left_out)} left out by data.symbols: too few bars for one window; leaving out what ended "
            "early "
            "flatters the rest (survivorship)"
        )
    n = len(about.traded)
    if n < FEW_SYMBOLS:
        said.append(
            f"{n} symbol{'s' * (n > 1)}: a verdict rests on few independent decisions; more markets would say more"
        )
    ends = read.bars.group_by("symbol").agg(pl.col("timestamp").max())["timestamp"]
    if n >= SURVIVORS and read.days.years > SURVIVED_YEARS and bool((ends == last).all()):
        said.append(
            f"all {len(ends)} symbols have bars to the last day, over {read.days.years:.0f} years: were those that ended "
            "left out? Then "
            "holding any of them looks better than it was (survivorship)"
        )
    absent = [name for name in ("open", "high", "low", "volume") if name not in about.columns]
    if absent:
        said.append(f"no column {', '.join(absent)}: features that need them are left out; nothing else is lost")
    own = user_columns(about.columns)
    if own:
        said.append(
            f"columns {', '.join(own)} become features of your own as they are: each value must be known when its bar "
            "closes; drop "
            "the others, such as row numbers and closes of tomorrow"
        )
    if read.days.years < 1.0 and read.interval == "1d":
        said.append(f"{read.days.years:.1f} years of daily bars show one state of the market")
    return said


def _most_important(findings: Sequence[Finding], warnings: Sequence[str]) -> list[str]:
    """For the head of the file: three, and how many more."""
    shown = list(warnings[:3])
    return shown if len(warnings) <= 3 else [*shown, f"and {len(warnings) - 3} more, which `tft init` lists"]


def _found(source: Path, read: ReadBars) -> str:
    first, last = read.bars["timestamp"].min(), read.bars["timestamp"].max()
    form = "%Y-%m-%d" if read.interval == "1d" else "%Y-%m-%d %H:%M"
    n = read.bars["symbol"].n_unique()
    return (
        f"{source.name} holds {read.bars.height:,} bars of {read.interval}, {n} symbol{'s' * (n > 1)}, {first:{form}} to "
        f"{last:{form}} "
        f"UTC; {read.days.words}; {read.days.bars_per_year:g} bars a year"
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
