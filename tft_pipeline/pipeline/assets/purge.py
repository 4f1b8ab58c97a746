"""What the purge is worth: the same walk forward without it, and with features and settings chosen on scored bars.

Only people start this asset: it fits every production fold again, and on request runs a whole experiment. Not here: those
runs (`pipeline.variants`), the paired difference (`domain.paired`), the command (`pipeline.comparison`).
"""

from concurrent.futures.process import BrokenProcessPool
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from tft_pipeline.domain.backtest import backtest
from tft_pipeline.domain.findings import PurgeComparison
from tft_pipeline.domain.paired import paired_sharpe_difference
from tft_pipeline.domain.planning import SliceChangedError
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.sharpe import annualise, kurtosis, sharpe_standard_error, skew
from tft_pipeline.domain.verdict import annual_sharpe_or_none
from tft_pipeline.pipeline.assets.evaluation import all_production_folds
from tft_pipeline.pipeline.driver import PipelineFailedError
from tft_pipeline.pipeline.equity_plots import ratio_picture
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.ledgers import ScoredPeriod, look_at
from tft_pipeline.pipeline.markdown import listing
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.partitions import planned_folds
from tft_pipeline.pipeline.variants import overlap_portfolio, refit_all_without_purge
from tft_pipeline.storage.fold_bundles import FoldBundle

WITH_PURGE, WITHOUT_PURGE, OVERLAP = "with_purge", "without_purge", "overlap"


class PurgeChoice(dg.Config):
    """What the launchpad shows."""

    overlap: bool = Field(
        default=False,
        description="also run the whole experiment with features and hyper-parameters chosen on production bars, as "
        "<name>_overlap; takes as long as a full run, counts as a look, and what is current is kept",
    )


def purge_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`purge_comparison`."""
    experiment = graph.experiment

    @dg.asset(
        key=graph.key("purge_comparison"),
        ins={"plan": dg.AssetIn(graph.key("production_plan")), "folds": all_production_folds(graph)},
        io_manager_key="reports",
        code_version=graph.code_version("2", "production.folds.window", "data.interval"),
    )
    @guarded(graph, "purge_comparison", measured=False)
    def purge_comparison(
        context: dg.AssetExecutionContext, config: PurgeChoice, plan: FoldPlanReport, folds: dict[str, FoldBundle]
    ) -> dg.Output[PurgeComparison]:
        """What leaving out the purge would have shown: the production folds with and without it on the same bars. On request
        only; look at the paired difference. One row a variant."""
        window = experiment.production.folds.window
        predictions = [fold.predictions for fold in planned_folds(plan, folds).values()]
        try:
            refitted = refit_all_without_purge(graph, plan.specs, window, context.log.info)
            unpurged = [with_positions(frame, refitted[frame["fold"][0]]) for frame in predictions]
            books = {WITH_PURGE: _book(plan, predictions), WITHOUT_PURGE: _book(plan, unpurged)}
            book = books[WITHOUT_PURGE]
            # a scoring of the production period like any other
            look_at(graph, ScoredPeriod.of(pl.concat(unpurged), book), book, name=f"{graph.name}, without purge")
            if config.overlap:
                books[OVERLAP] = overlap_portfolio(
                    graph, context.instance, parent_run_id=context.run.run_id, log=context.log.info
                )
            record = comparison_of(books, plan, seed=experiment.seed)
        except (ValueError, FloatingPointError, SliceChangedError, BrokenProcessPool, PipelineFailedError) as error:
            raise dg.Failure(f"purge comparison: {error}", allow_retries=False) from error
        return content_output(record, _metadata(record))

    return [purge_comparison]


def with_positions(predictions: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """A fold's predictions with the raw positions of another fit of it.

    Raises:
        ValueError: the two do not hold the same bars and symbols.
    """
    keys = ("fold", "timestamp", "symbol")
    if not predictions.select(keys).equals(other.select(keys)):
        raise ValueError(
            f"fold {predictions['fold'][0]}: the stored predictions ({predictions.height} rows) and those of the refit "
            f"({other.height}) are of other bars or symbols: their difference would not be paired; materialise the fold "
            "again"
        )
    return predictions.with_columns(other["raw_position"])


def comparison_of(books: dict[str, pl.DataFrame], plan: FoldPlanReport, *, seed: int) -> PurgeComparison:
    """Sharpe ratios of the books' net returns, and the paired differences to the first of them on common bars.

    `label_overlap_bars` counts the bars at the end of train (and of validation) whose labels share returns with the first
    label that is scored after them: max(horizon - 1 - gap, 0). A horizon of one bar has none even without a purge.
    """
    newest = plan.specs[-1]
    bars_per_year, horizon = newest.bars_per_year, newest.horizon
    variants, differences = [], []
    first = next(iter(books))
    for name, book in books.items():
        net, purge = book["net"].to_numpy(), 0 if name == WITHOUT_PURGE else plan.purge
        sharpe = annual_sharpe_or_none(net, bars_per_year)
        error = None
        if sharpe is not None:
            per_bar = sharpe / annualise(1.0, bars_per_year)
            error = annualise(
                sharpe_standard_error(per_bar, len(net), skew=skew(net), kurtosis=kurtosis(net)), bars_per_year
            )
        variants.append(
            {
                "name": name,
                "purge": purge,
                "label_overlap_bars": max(horizon - 1 - purge, 0),
                "n_bars": len(net),
                "sharpe_annual": sharpe,
                "se_annual": error,
            }
        )
        if name != first:
            row = _difference(name, book, books[first], bars_per_year, seed)
            if name == WITHOUT_PURGE and variants[-1]["label_overlap_bars"] == 0:
                row["words"] += (
                    f"; no label overlaps at horizon {horizon}: the difference is newer training bars and chance"
                )
            differences.append(row)
    return PurgeComparison(variants=tuple(variants), differences=tuple(differences), plan_sha256=plan.content_sha256())


def _difference(
    name: str, book: pl.DataFrame, reference: pl.DataFrame, bars_per_year: float, seed: int
) -> dict[str, Any]:
    both = book.select("timestamp", "net").join(
        reference.select("timestamp", reference="net"), on="timestamp", how="inner", maintain_order="left"
    )
    net, other = both["net"].to_numpy(), both["reference"].to_numpy()
    named = name.replace("_", " ")
    row: dict[str, Any] = {"name": name, "n_bars": both.height}
    if any(annual_sharpe_or_none(series, bars_per_year) is None for series in (net, other)):
        undefined = dict.fromkeys(("difference_annual", "low_annual", "high_annual", "p_value", "correlation"))
        return row | undefined | {"words": f"{named}: no difference, one of the two never earned or lost anything"}
    found = paired_sharpe_difference(net, other, bars_per_year=bars_per_year, seed=seed)
    return row | {
        "difference_annual": found.difference_annual,
        "low_annual": found.low_annual,
        "high_annual": found.high_annual,
        "p_value": found.p_value,
        "correlation": found.correlation,
        "words": f"{named}: {found.words()}",
    }


def _book(plan: FoldPlanReport, predictions: list[pl.DataFrame]) -> pl.DataFrame:
    """The portfolio of `oos_portfolio`'s rules."""
    newest = plan.specs[-1]
    return backtest(
        pl.concat(predictions),
        newest.position,
        target_volatility=newest.target_volatility,
        bars_per_year=newest.bars_per_year,
    )


def _metadata(record: PurgeComparison) -> dict[str, Any]:
    return {
        "finding": listing(str(row["words"]) for row in record.differences),
        "variants": table([dict(row) for row in record.variants]),
        "differences": table([dict(row) for row in record.differences]),
        "picture": ratio_picture(
            [_with_error(row) for row in record.variants],
            title="net out-of-sample Sharpe ratio of each variant, with one standard error",
            label="Sharpe ratio a year",
        ),
        "differences_picture": ratio_picture(
            [
                {
                    "name": row["name"],
                    "value": row["difference_annual"],
                    "low": row["low_annual"],
                    "high": row["high_annual"],
                }
                for row in record.differences
            ],
            title="difference to with_purge on the same bars, with its 95 % interval",
            label="difference of the Sharpe ratios a year",
        ),
    }


def _with_error(row: dict[str, Any]) -> dict[str, Any]:
    value, error = row["sharpe_annual"], row["se_annual"]
    known = value is not None and error is not None
    return {
        "name": row["name"],
        "value": value,
        "low": value - error if known else None,
        "high": value + error if known else None,
    }
