"""Minutes and exogenous tables through the assets `snapshot`, `feature_catalogue` and `features`, with the real IO managers."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.features import resolve_features
from tft_pipeline.domain.minutes import MINUTE_COLUMNS
from tft_pipeline.pipeline.assets.audit import minute_rows
from tft_pipeline.pipeline.assets.features import feature_assets
from tft_pipeline.pipeline.assets.snapshot import snapshot_assets, sources_sha256, taken_bars
from tft_pipeline.pipeline.io_managers import io_managers
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline.storage.snapshots import MANIFEST_FILE, Snapshot, read_snapshot
from tft_pipeline.storage.sources import source_sha256
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.oracles.minute_bars import as_minutes, daily_bars, minute_bars
from tft_pipeline_tests.oracles.minutes import in_bar, variation

N = 60
SYMBOLS = ("AAA", "BBB")
BARS = daily_bars(N)
MINUTES = minute_bars(N, every=15)
CLOSES = BARS.filter(pl.col("symbol") == "AAA")["timestamp"]
VIX = pl.DataFrame({"timestamp": CLOSES, "available_at": CLOSES + timedelta(minutes=15), "level": np.arange(N) + 10.0})
FLOWS = pl.concat(
    [
        pl.DataFrame(
            {
                "timestamp": CLOSES,
                "symbol": symbol,
                "available_at": CLOSES - timedelta(hours=1),
                "net": sign * np.arange(N),
            }
        )
        for symbol, sign in (("AAA", 1.0), ("BBB", -1.0))
    ]
)
SOURCES: dict[str, Any] = {
    "data.min_bars": 20,
    "data.minute_source": "minutes",
    "data.tables": [
        {"source": "vix.csv", "prefix": "vix"},
        {"source": "flows.parquet", "prefix": "pvol", "max_age_days": 5.0},
    ],
    "features.groups": ["intra", "micro"],
    "features.names": ["ret_1"],
}


def write_sources(
    folder: Path, minutes: pl.DataFrame = MINUTES, vix: pl.DataFrame = VIX, flows: pl.DataFrame = FLOWS
) -> None:
    (folder / "minutes").mkdir(exist_ok=True)
    half = minutes.height // 2
    minutes.head(half).write_parquet(folder / "minutes" / "1.parquet")
    minutes.tail(-half).write_parquet(folder / "minutes" / "2.parquet")
    vix.write_csv(folder / "vix.csv", datetime_format="%Y-%m-%dT%H:%M:%S%z")
    flows.write_parquet(folder / "flows.parquet")


def materialised(bench: Workbench, *assets: str) -> dg.ExecuteInProcessResult:
    made = [*snapshot_assets(bench.graph), *feature_assets(bench.graph)]
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            made,
            selection=[bench.graph.key(asset) for asset in assets],
            resources=dict(io_managers(bench.layout)),
            instance=instance,
            raise_on_error=False,
        )


def test_minutes_and_tables_become_frozen_bars_and_features(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(BARS, SOURCES)
    write_sources(bench.folder)
    done = materialised(bench, "snapshot", "feature_catalogue", "features")
    assert done.success
    frozen = read_snapshot(read_artifact(bench.layout.artifact("small", "snapshot"))).bars
    assert frozen.columns == ["timestamp", "symbol", "close", *MINUTE_COLUMNS, "vix_level", "pvol_net"]
    aaa, bbb = (frozen.filter(pl.col("symbol") == symbol) for symbol in SYMBOLS)
    assert aaa["vix_level"].to_list() == bbb["vix_level"].to_list() == [None, *VIX["level"].to_list()[:-1]]
    assert aaa["pvol_net"].to_list() == [float(k) for k in range(N)]
    assert bbb["pvol_net"].to_list() == [-float(k) for k in range(N)]

    features = pl.read_parquet(bench.artifact("features") / "data.parquet")
    shown = [name for name in features.columns if name.startswith(("intra_", "micro_"))]
    assert len(shown) >= 24
    assert features.columns[-2:] == ["vix_level", "pvol_net"]
    row = features.filter((pl.col("symbol") == "BBB") & (pl.col("timestamp") == CLOSES[40])).row(0, named=True)
    inside = in_bar(as_minutes(MINUTES, "BBB"), CLOSES[39], CLOSES[40])
    assert row["intra_rvol_1min"] == pytest.approx((252 * variation(inside)) ** 0.5, rel=1e-5)
    assert row["vix_level"] == 49.0
    missing = features[shown].null_count().row(0, named=True)
    assert all(count >= 2 * (21 if name.endswith("_z21") else 1) for name, count in missing.items())
    assert max(missing.values()) < 2 * 40, "one bar without a range is missing in 21 scores"
    checks = {check.check_name: check.passed for check in done.get_asset_check_evaluations()}
    assert checks == {"bars_look_plausible": True, "features_do_not_see_later_bars": True}
    assert_lists_every_source(bench)


def assert_lists_every_source(bench: Workbench) -> None:
    """The manifest names each source and what was used of it."""
    found = dict(json.loads((bench.artifact("snapshot") / MANIFEST_FILE).read_text()))
    assert (found["source"]["name"], found["source"]["rows"], found["source"]["files"]) == ("bars.parquet", 2 * N, 1)
    minutes = found["minute_source"]
    assert (minutes["name"], minutes["files"], minutes["rows"]) == ("minutes", 2, MINUTES.height)
    first_day = MINUTES.filter(pl.col("timestamp") <= CLOSES[0]).height
    assert minutes["rows_used"] == MINUTES.height - first_day
    assert minutes["bars_with_minutes"] == 2 * (N - 1)
    assert minutes["left_out"] == {}
    vix, flows = found["tables"]
    assert (vix["prefix"], vix["name"], vix["rows"], vix["by_symbol"]) == ("vix", "vix.csv", N, False)
    assert (flows["prefix"], flows["rows"], flows["by_symbol"]) == ("pvol", 2 * N, True)
    assert vix["last_available_at"] == (CLOSES[N - 2] + timedelta(minutes=15)).isoformat()
    assert flows["first_available_at"] == (CLOSES[0] - timedelta(hours=1)).isoformat()
    assert vix["bars_without_value"] == {"vix_level": 2}
    hashes = [found["source"], minutes, vix, flows]
    assert len({row["sha256"] for row in hashes}) == 4
    assert str(bench.folder) not in json.dumps(found)
    assert found["columns"]["minute_orb_width"] == "Float64"
    assert set(found["quality"]["nulls"]) == {"vix_level", "pvol_net"}


def test_new_minutes_and_rows_are_a_new_version_and_leave_earlier_bars_as_they_were(
    workbench: Callable[..., Workbench],
) -> None:
    bench = workbench(BARS, SOURCES)
    cut = CLOSES[N - 30]
    known = pl.col("timestamp") <= cut
    published = pl.col("available_at") <= cut
    prices = pl.col("open", "high", "low", "close")
    versions, frames = set(), []
    for minutes, vix, flows in (
        (MINUTES, VIX, FLOWS),
        (MINUTES.with_columns(pl.when(known).then(prices).otherwise(prices * 1.5).name.keep()), VIX, FLOWS),
        (MINUTES, VIX.with_columns(level=pl.when(published).then(pl.col("level")).otherwise(0.0)), FLOWS),
        (MINUTES, VIX, FLOWS.with_columns(net=pl.when(published).then(pl.col("net")).otherwise(0.0))),
    ):
        write_sources(bench.folder, minutes, vix, flows)
        file = read_experiment(bench.file)
        versions.add(sources_sha256(file))
        frames.append(taken_bars(file).bars)
    assert len(versions) == 4
    before = frames[0].filter(known)
    for changed in frames[1:]:
        assert not changed.equals(frames[0])
        assert changed.filter(known).equals(before)


def test_the_observed_version_is_that_of_the_bars_alone_where_nothing_is_joined(
    workbench: Callable[..., Workbench],
) -> None:
    bench = workbench(BARS, {"data.min_bars": 20})
    file = read_experiment(bench.file)
    assert sources_sha256(file) == source_sha256(file.source)
    bars = next(asset for asset in snapshot_assets(bench.graph) if asset.key == bench.graph.key("bars"))
    with dg.DagsterInstance.ephemeral() as instance:
        look = dg.Definitions(assets=[bars], jobs=[dg.define_asset_job("look", selection=[bars.key])])
        assert look.resolve_job_def("look").execute_in_process(instance=instance).success
        (seen,) = instance.fetch_observations(bench.graph.key("bars"), limit=5).records
    assert seen.asset_observation is not None
    assert seen.asset_observation.data_version == sources_sha256(file)[:16]


def test_minutes_without_volume_leave_out_what_needs_it_and_say_so(
    workbench: Callable[..., Workbench], capfd: pytest.CaptureFixture[str]
) -> None:
    bench = workbench(BARS, SOURCES)
    write_sources(bench.folder, MINUTES.drop("volume"))
    assert materialised(bench, "snapshot").success
    assert "the minute bars have no volume: left out are minute_vwap_gap" in capfd.readouterr().err
    first = bench.artifact("snapshot")
    frozen = read_snapshot(read_artifact(bench.layout.artifact("small", "snapshot"))).bars
    chosen = resolve_features(frozen.columns, groups=["intra", "micro"], names=None, has_market=False)
    assert dict(chosen.skipped)["micro_amihud_1min"] == "the bars have no column minute_amihud"
    assert "intra_rvol_1min" in chosen.names

    assert materialised(bench, "snapshot").success
    assert bench.artifact("snapshot") == first, "equal sources are the same snapshot"


def test_a_traded_symbol_without_rows_in_a_table_is_told_and_an_untraded_one_is_not(
    workbench: Callable[..., Workbench], capfd: pytest.CaptureFixture[str]
) -> None:
    bars = daily_bars(N, ("AAA", "BBB", "SPX"))
    bench = workbench(bars, SOURCES | {"data.minute_source": None, "data.market_symbol": "SPX"})
    write_sources(bench.folder, flows=FLOWS.filter(pl.col("symbol") == "BBB"))
    assert materialised(bench, "snapshot").success
    assert "table 'pvol' has no rows of AAA: their pvol is missing" in capfd.readouterr().err


def test_context_markets_stay_beside_the_symbols_and_an_absent_one_is_refused(
    workbench: Callable[..., Workbench],
) -> None:
    bars = daily_bars(N, ("AAA", "BBB", "SPX", "BTC"))
    chosen = {
        "data.min_bars": 20,
        "data.symbols": ["BBB"],
        "data.market_symbol": "SPX",
        "data.cross_markets": {"btc": "BTC"},
        "features.groups": None,
    }
    bench = workbench(bars, chosen)
    assert taken_bars(read_experiment(bench.file)).bars["symbol"].unique().sort().to_list() == ["BBB", "BTC", "SPX"]
    for changes, message in (
        ({"data.cross_markets": {"oil": "CL"}}, r"data\.cross_markets oil: 'CL' has no bars in the source"),
        ({"data.market_symbol": "DAX"}, r"data\.market_symbol 'DAX' has no bars in the source"),
        (
            {"data.symbols": None, "data.cross_markets": {"btc": "BTC", "a": "AAA", "b": "BBB"}},
            r"data\.market_symbol and data\.cross_markets name all symbols there are \(AAA, BBB, BTC, SPX\).*never traded",
        ),
        ({"data.symbols": ["ZZZ"]}, r"symbols \['ZZZ'\] of data\.symbols are not in the source"),
    ):
        refused = workbench(bars, chosen | changes)
        with pytest.raises(BarsError, match=message):
            taken_bars(read_experiment(refused.file))


def naive(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    return frame.with_columns(pl.col(column).dt.replace_time_zone(None))


BAD: dict[str, tuple[dict[str, pl.DataFrame], str]] = {
    "no publication": ({"flows": FLOWS.drop("available_at")}, r"table 'pvol' has no column available_at"),
    "naive publication": ({"flows": naive(FLOWS, "available_at")}, r"table 'pvol': available_at has no time zone"),
    "naive minutes": ({"minutes": naive(MINUTES, "timestamp")}, r"minute bars: timestamp has no time zone"),
    "duplicate rows": ({"vix": pl.concat([VIX, VIX.head(1)])}, r"table 'vix': 1 duplicate"),
    "duplicate minutes": (
        {"minutes": pl.concat([MINUTES, MINUTES.head(1)])},
        r"have the \(timestamp, symbol\) of another",
    ),
    "ends early": ({"vix": VIX.head(40)}, r"table 'vix' ends early.*max_age_days"),
    "empty minutes": ({"minutes": MINUTES.clear()}, r"the source has no rows; put the minutes there"),
    "text in a table": ({"vix": VIX.with_columns(mood=pl.lit("calm"))}, r"column 'mood' has type String"),
    "text in minutes": ({"minutes": MINUTES.with_columns(volume=pl.lit("many"))}, r"volume has type String"),
    "no common symbol": (
        {"flows": FLOWS.with_columns(pl.col("symbol") + "Z")},
        r"table 'pvol' speaks of \['AAAZ', 'BBBZ'\]",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_minutes_and_tables_are_refused_with_one_clear_error(
    case: str, workbench: Callable[..., Workbench]
) -> None:
    changed, message = BAD[case]
    bench = workbench(BARS, SOURCES)
    write_sources(bench.folder, **changed)
    with pytest.raises(BarsError, match=message):
        taken_bars(read_experiment(bench.file))


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("minutes", r"minutes: no such file or folder; correct data\.minute_source, which is relative"),
        ("vix.csv", r"vix\.csv: no such file or folder; correct data\.tables, which is relative"),
    ],
)
def test_a_source_that_is_not_there_is_named_with_its_key(
    gone: str, message: str, workbench: Callable[..., Workbench]
) -> None:
    bench = workbench(BARS, SOURCES)
    write_sources(bench.folder)
    (bench.folder / gone).rename(bench.folder / "elsewhere")
    with pytest.raises(BarsError, match=message):
        taken_bars(read_experiment(bench.file))
    with pytest.raises(BarsError, match=message):
        sources_sha256(read_experiment(bench.file))


def test_minutes_stamped_with_their_openings_give_the_bars_of_their_closes(workbench: Callable[..., Workbench]) -> None:
    """The key has an effect on every column that it should, the manifest tells it, and the guards read as the snapshot does."""
    bars = BARS.with_columns(pl.col("timestamp") - timedelta(minutes=85))  # where the next minute follows at once
    bench = workbench(bars, SOURCES | {"data.minute_stamp": "open"})
    write_sources(bench.folder, MINUTES.with_columns(pl.col("timestamp") - timedelta(minutes=1)))
    by_opening = taken_bars(bench.graph.file)
    snapshot = Snapshot(
        bars=by_opening.bars, manifest={"source": by_opening.source, "minute_source": by_opening.minute_source}
    )
    read = minute_rows(bench.graph, snapshot)
    assert read is not None
    inside = read(by_opening.bars)
    bench = workbench(bars, SOURCES)
    assert not taken_bars(bench.graph.file).bars.equals(by_opening.bars), "openings taken for closes"
    write_sources(bench.folder)
    by_close = taken_bars(bench.graph.file)
    assert by_opening.bars.equals(by_close.bars)
    assert by_opening.minute_source is not None
    assert by_close.minute_source is not None
    assert (by_opening.minute_source["stamp"], by_close.minute_source["stamp"]) == ("open", "close")
    first, last = bars["timestamp"].min(), bars["timestamp"].max()
    expected = MINUTES.filter((pl.col("timestamp") > first) & (pl.col("timestamp") <= last))
    assert inside.sort("symbol", "timestamp").equals(expected.sort("symbol", "timestamp"))


def test_a_damaged_minute_file_is_refused(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(BARS, SOURCES)
    write_sources(bench.folder)
    file = bench.folder / "minutes" / "2.parquet"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BarsError, match=r"2\.parquet: cannot be read"):
        taken_bars(read_experiment(bench.file))


def test_a_refusal_is_one_failure_of_the_asset_and_leaves_nothing_behind(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(BARS, SOURCES)
    write_sources(bench.folder, flows=FLOWS.drop("available_at"))
    done = materialised(bench, "snapshot")
    assert not done.success
    (event,) = [event for event in done.all_events if event.is_step_failure]
    told = event.step_failure_data.user_failure_data
    assert told is not None
    assert re.match(
        r"snapshot refused: table 'pvol' has no column available_at: without the time", str(told.description)
    )
    assert not (bench.layout.experiment("small") / "snapshot" / "current").exists()
    assert not list(bench.layout.home.rglob(".stage-*"))
