"""`tft drift`: two files, and a frozen snapshot against the newest model; what passes, what fails, what cannot be used."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.drift import drift_report
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.drift_command import compare_files, compare_snapshot
from tft_pipeline.storage.frozen import write_frozen
from tft_pipeline_tests.conftest import N_BARS, Workbench, random_bars

LIMITS = {"psi_threshold": 0.25, "js_threshold": 0.3}
START = datetime(2024, 1, 1, tzinfo=UTC)


def minutes(n: int, *, after: int = 0, scale: float = 1.0, seed: int = 0) -> pl.DataFrame:
    """Two symbols' bars, one a minute."""
    random = np.random.default_rng([seed, after])
    stamps = [START + timedelta(minutes=after + k) for k in range(n)]
    frames = [
        pl.DataFrame(
            {"timestamp": stamps, "symbol": name, "ret": random.normal(size=n) * scale, "gap": random.normal(size=n)}
        )
        for name in ("BTC", "ETH")
    ]
    return pl.concat(frames)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is also the home."""
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    return tmp_path


def written(path: Path, frame: pl.DataFrame) -> Path:
    """A file of a frame."""
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path


def files(folder: Path, recent: pl.DataFrame, name: str = "recent.parquet", **given: Any) -> dict[str, Any]:
    """A comparison of 1,200 calm minutes with some others."""
    reference = written(folder / "reference.parquet", minutes(1200))
    return compare_files(reference, written(folder / name, recent), output=None, **(LIMITS | given))


def test_calm_files_pass_and_the_report_lies_in_the_home_under_the_date_of_the_newest_bar(folder: Path) -> None:
    found = files(folder, minutes(100, after=1200))
    assert found["verdict"] == "stable"
    assert found["gate"]["passed"]
    path = folder / "home" / "reports" / "drift_2024-01-01.json"
    assert found["report"] == str(path)
    assert json.loads(path.read_text()) == found["drift"]
    assert found["recent"] == "2024-01-01T20:00:00+00:00 to 2024-01-01T21:39:00+00:00, 100 bars"


def test_rows_of_one_timestamp_are_one_bar_in_any_order_of_rows_and_of_either_format(folder: Path) -> None:
    recent = minutes(100, after=1200, scale=3.0)
    found = files(folder, recent.sample(fraction=1.0, shuffle=True, seed=1), "recent.csv")
    wide = [
        {
            name: frame.pivot("symbol", index="timestamp", values=name).sort("timestamp").drop("timestamp").to_numpy()
            for name in ("ret", "gap")
        }
        for frame in (minutes(1200), recent)
    ]
    expected = drift_report(*wide)
    assert [row["psi"] for row in found["drift"]["features"]] == [row.psi for row in expected.features]
    assert found["verdict"] == expected.verdict == "retrain"
    assert not found["gate"]["passed"]
    assert found["most drifted"][0].startswith("ret: PSI ")
    assert "moved" in found["most drifted"][0]


def test_without_timestamps_the_order_of_rows_is_time(folder: Path) -> None:
    plain = [frame.drop("timestamp", "symbol") for frame in (minutes(1200), minutes(100, after=1200))]
    paths = [written(folder / f"{k}.csv", frame) for k, frame in enumerate(plain)]
    found = compare_files(*paths, output=folder / "deep" / "out.json", **LIMITS)
    expected = drift_report(*plain)
    assert [row["psi"] for row in found["drift"]["features"]] == [row.psi for row in expected.features]
    assert found["recent"] == "200 bars"
    assert (folder / "deep" / "out.json").is_file()


def test_columns_of_text_are_left_out_by_name(folder: Path) -> None:
    found = files(folder, minutes(100, after=1200).with_columns(venue=pl.lit("x")))
    assert found["left out"] == ["venue: string in --recent, not numbers"]


def test_thresholds_move_the_verdict(folder: Path) -> None:
    recent = minutes(100, after=1200, scale=1.8)
    assert files(folder, recent)["verdict"] == "retrain"
    loose = files(folder, recent, psi_threshold=5.0, js_threshold=0.9)
    assert loose["verdict"] == "investigate"
    assert loose["gate"]["passed"], "a person should look; nothing has to stop"


@pytest.mark.fault("short_window")
def test_too_few_bars_are_no_pass(folder: Path) -> None:
    found = files(folder, minutes(5, after=1200))
    assert found["verdict"] == "insufficient_data"
    assert not found["gate"]["passed"]


def test_files_that_overlap_are_said_to(folder: Path) -> None:
    assert "the files overlap: recent begins" in files(folder, minutes(100, after=1150))["notes"][0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda frame: frame.drop("gap"), "only --reference has numbers in gap"),
        (lambda frame: frame.with_columns(gap=pl.lit("a")), "only --reference has numbers in gap"),
        (lambda frame: frame.head(0), "has no rows"),
        (lambda frame: pl.concat([frame, frame]), "400 rows share timestamp and symbol"),
        (lambda frame: frame.filter(pl.col("symbol") == "BTC"), "--reference has the symbols BTC, ETH, --recent BTC"),
        (lambda frame: frame.drop("timestamp"), "a column symbol and none named timestamp"),
        (lambda frame: frame.drop("symbol"), "or add a column symbol"),
        (lambda frame: frame.with_columns(timestamp=pl.lit(5)), "timestamp holds 5, which is no time"),
        (
            lambda frame: frame.with_columns(timestamp=pl.when(pl.col("ret") > 0).then(pl.col("timestamp"))),
            "timestamp is null in",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(spoil: Any, words: str, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=words):
        files(folder, spoil(minutes(100, after=1200)))


def test_absent_damaged_and_numberless_files_and_impossible_thresholds_are_refused(folder: Path) -> None:
    reference = written(folder / "reference.parquet", minutes(1200))
    with pytest.raises(ConfigurationError, match=r"--recent .*none\.parquet: no such file"):
        compare_files(reference, folder / "none.parquet", output=None, **LIMITS)
    (folder / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigurationError, match=r"bad\.parquet: cannot be read"):
        compare_files(reference, folder / "bad.parquet", output=None, **LIMITS)
    text = written(folder / "text.parquet", pl.DataFrame({"venue": ["x"]}))
    with pytest.raises(ConfigurationError, match="no column of numbers"):
        compare_files(text, text, output=None, **LIMITS)
    with pytest.raises(ConfigurationError, match=r"--psi-threshold is -1\.0"):
        compare_files(reference, reference, output=None, psi_threshold=-1.0, js_threshold=0.3)
    (folder / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--output"):
        compare_files(reference, reference, output=folder / "file" / "out.json", **LIMITS)


def test_the_command_exits_with_3_on_a_retrain_and_with_0_on_stable(folder: Path) -> None:
    reference = written(folder / "reference.parquet", minutes(1200))
    for scale, code in ((1.0, 0), (3.0, 3)):
        recent = written(folder / "recent.parquet", minutes(100, after=1200, scale=scale))
        done = CliRunner().invoke(app, ["drift", "--reference", str(reference), "--recent", str(recent), "--json"])
        assert done.exit_code == code
        assert json.loads(done.stdout)["gate"]["passed"] == (code == 0)


def frozen(bench: Workbench, bars: pl.DataFrame, interval: str = "1d") -> str:
    """The id of a frozen snapshot of the small experiment's home."""
    ready = bars.with_columns(pl.col("timestamp").dt.cast_time_unit("us")).sort("symbol", "timestamp")
    _, snapshot = write_frozen(bench.layout, ready, interval=interval, source={"name": "made"})
    return snapshot.snapshot_id


def test_a_snapshot_is_compared_with_what_the_newest_model_learned_from(finished: Workbench) -> None:
    bars = random_bars(N_BARS)
    named = frozen(finished, bars)
    told: list[str] = []
    found = compare_snapshot(
        str(finished.file),
        named,
        recent_days=16,
        output=finished.folder / "out.json",
        watch=lambda stage: told.append(stage.asset),
        **LIMITS,
    )
    assert told == [
        f"building features of {bars.height:,} bars of snapshot {named}",
        f"comparing the last 16 days with the training bars of fold {finished.folds()[-1]}",
    ]
    stored = json.loads((finished.layout.experiment("small") / "drift" / "drift_2021-08-10.json").read_text())
    report = found["drift"]
    assert (report["fold"], report["weights_sha256"]) == (stored["fold"], stored["weights_sha256"])
    assert report["reference"] == stored["reference"]
    assert report["recent"]["n_bars"] == 12, "16 days hold 12 weekdays"
    assert report["snapshot_id"] == named
    assert report["performance"]["measure"] == "log_loss"
    same = compare_snapshot(str(finished.file), named, recent_days=14, output=None, **LIMITS)["drift"]
    assert same["recent"] == stored["recent"], "14 days hold the 10 bars of drift.recent_bars"
    for row, before in zip(same["features"], stored["features"], strict=True):
        assert row["psi"] == pytest.approx(before["psi"], rel=1e-9), "the features of the asset, to the last digit"


def test_snapshots_that_do_not_fit_the_model_are_refused_by_name(finished: Workbench) -> None:
    given: dict[str, Any] = {"recent_days": 16, "output": None, **LIMITS}
    with pytest.raises(ConfigurationError, match=r"would replace .*, which is read"):
        compare_snapshot(str(finished.file), frozen(finished, random_bars()), **(given | {"output": finished.file}))
    with pytest.raises(ConfigurationError, match="holds bars of 1h, experiment small was made for 1d"):
        compare_snapshot(str(finished.file), frozen(finished, random_bars(), interval="1h"), **given)
    late = frozen(finished, random_bars().filter(pl.col("timestamp") > datetime(2021, 4, 1, tzinfo=UTC)))
    early = frozen(finished, random_bars().filter(pl.col("timestamp") <= datetime(2021, 3, 11, tzinfo=UTC)))
    fewer = frozen(finished, random_bars().filter(pl.col("symbol") != "AAA"))
    unseen = frozen(finished, random_bars(seed=1))
    refused = [
        (late, "does not hold what"),
        (early, "does not hold what"),
        (fewer, "no bars of AAA"),
        (unseen, "have content"),
    ]
    for named, words in refused:
        with pytest.raises(ConfigurationError, match=words):
            compare_snapshot(str(finished.file), named, **given)
    with pytest.raises(ConfigurationError, match="neither an id below"):
        compare_snapshot(str(finished.file), "2020-01-01T00-00-00Z-000000000000", **given)
    with pytest.raises(ConfigurationError, match="nothing was run here under this name"):
        compare_snapshot("tft_prod", frozen(finished, random_bars()), **given)


def test_a_span_that_reaches_into_training_is_cut_and_said(finished: Workbench) -> None:
    found = compare_snapshot(
        str(finished.file), frozen(finished, random_bars()), recent_days=200, output=None, **LIMITS
    )
    assert "only the" in found["notes"][0]
    assert found["drift"]["recent"]["first"] > found["drift"]["reference"]["last"]


def test_an_output_that_is_an_input_is_refused_and_the_input_stays(folder: Path) -> None:
    days = folder / "days"
    days.mkdir()
    reference = written(days / "reference.parquet", minutes(1200))
    before = reference.read_bytes()
    for given in (reference, days):  # a file, and a folder that it is in
        with pytest.raises(ConfigurationError, match=r"--output .* would replace .*reference.parquet, which is read"):
            compare_files(given, given, output=days / ".." / "days" / "reference.parquet", **LIMITS)
    assert reference.read_bytes() == before


def test_files_in_reversed_order_are_said_to_be(folder: Path) -> None:
    reference = written(folder / "reference.parquet", minutes(1200, after=1000))
    recent = written(folder / "recent.parquet", minutes(100))
    (note,) = compare_files(reference, recent, output=None, **LIMITS)["notes"]
    assert note.startswith("recent is older than reference: it ends 2024-01-01T01:39")


@pytest.mark.parametrize("side", ["--reference", "--recent"])
def test_numbers_too_large_to_be_squared_are_refused_by_the_name_of_their_column(side: str, folder: Path) -> None:
    frames = {"--reference": minutes(1200), "--recent": minutes(100, after=1200)}
    frames[side] = frames[side].with_columns(gap=pl.col("gap").sign() * 1e308)
    paths = [written(folder / f"{name}.parquet", frame) for name, frame in frames.items()]
    with pytest.raises(ConfigurationError, match=f"{side}: gap has values beyond 1e.150"):
        compare_files(*paths, output=None, **LIMITS)


@pytest.mark.fault("short_window")
def test_columns_without_any_value_are_no_evidence_and_alone_no_pass(folder: Path) -> None:
    def without(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
        return frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in names)

    reference = written(folder / "some.parquet", without(minutes(1200), "gap"))
    found = compare_files(
        reference, written(folder / "r.parquet", without(minutes(100, after=1200), "gap")), output=None, **LIMITS
    )
    assert found["verdict"] == "stable"
    assert {row["feature"]: row["verdict"] for row in found["drift"]["features"]}["gap"] == "insufficient_data"
    reference = written(folder / "none.parquet", without(minutes(1200), "gap", "ret"))
    recent = written(folder / "r.parquet", without(minutes(100, after=1200), "gap", "ret"))
    assert compare_files(reference, recent, output=None, **LIMITS)["verdict"] == "insufficient_data"


def test_a_page_of_pictures_lies_beside_the_report_and_their_numbers_in_it(folder: Path) -> None:
    found = files(folder, minutes(100, after=1200))
    page = Path(found["pictures"])
    assert page == Path(found["report"]).with_suffix(".html")
    assert page.read_text().count("data:image/png;base64,") == 3
    assert [shape["feature"] for shape in found["drift"]["shapes"]]
    assert set(found["drift"]["over_time"]["psi"]) == {"ret", "gap"}


@pytest.mark.parametrize("given", [["--recent-days", "7"], ["--experiment", "tft_prod"]])
def test_options_of_a_snapshot_are_refused_beside_two_files(given: list[str], folder: Path) -> None:
    path = str(written(folder / "reference.parquet", minutes(1200)))
    done = CliRunner().invoke(app, ["drift", "--reference", path, "--recent", path, *given])
    assert isinstance(done.exception, ConfigurationError) or done.exit_code == 2
    assert given[0] in str(done.exception) + done.output
