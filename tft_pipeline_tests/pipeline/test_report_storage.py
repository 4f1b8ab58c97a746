"""Where the report's page is kept: a version behind a lasting link, attached to MLflow as well as it goes."""

import json
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
import pytest
from mlflow import MlflowClient

from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.io_managers import PAGE_FILE, PageIOManager
from tft_pipeline.pipeline.report.page import HtmlPage
from tft_pipeline.pipeline.tracking import attach_file, mirror_waiting
from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.report_page import SECTIONS, Parsed
from tft_pipeline_tests.report_records import SNAPSHOT


def store(home: Workbench, text: str) -> dg.ExecuteInProcessResult:
    """Store a page as the asset does."""

    @dg.asset(key=["small", "report"], io_manager_key="pages")
    def report() -> HtmlPage:
        return HtmlPage(
            text=text, content="c", subject=f"report {SNAPSHOT}", figures={"psr": 0.5}, tags={"verdict": "NO-GO"}
        )

    manager = PageIOManager(home=str(home.layout.home))
    return dg.materialize([report], resources={"pages": manager}, instance=dg.DagsterInstance.ephemeral())


def attached(home: Workbench, name: str) -> list[str]:
    """SHA-256 of the pages in MLflow's runs of a name."""
    client = MlflowClient(tracking_uri=f"sqlite:///{home.layout.mlflow_database}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = [run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == name]
    # the copied database names the folder of the run it was copied from
    return [sha256_file(Path(unquote(urlsplit(run.info.artifact_uri).path)) / PAGE_FILE) for run in runs]


def test_a_page_is_stored_as_a_version_behind_a_lasting_link_and_attached_to_mlflow(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (event,) = store(finished, "<p>one</p>").asset_materializations_for_node("small__report")
    path = event.metadata["report"].value
    page = finished.artifact("report") / PAGE_FILE
    assert str(path).endswith("report/current/report.html")
    assert page.read_text() == "<p>one</p>"
    assert event.metadata["open"].value == f"file://{path}"
    assert attached(finished, f"report {SNAPSHOT}") == [sha256_file(page)]

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert store(finished, "<p>two</p>").success
    assert (finished.layout.artifact("small", "report") / "current" / PAGE_FILE).read_text() == "<p>two</p>"
    assert page.read_text() == "<p>one</p>"
    assert len(list(finished.layout.tracking("small").glob("file-*.jsonl"))) == 1

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert mirror_waiting(finished.layout, "small") is None
    assert len(attached(finished, f"report {SNAPSHOT}")) == 2


def test_a_waiting_page_whose_version_was_removed_holds_nothing_up(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = finished.layout.experiment("small") / "page.html"
    told = {"name": "gone", "run_id": "12345678", "metrics": {}, "tags": {}}
    with pytest.raises(FileNotFoundError, match=r"page\.html"):
        attach_file(finished.layout, "small", page, **told)  # type: ignore[arg-type]
    page.write_text("x")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "no-such-scheme://nowhere")
    assert attach_file(finished.layout, "small", page, **told) is not None  # type: ignore[arg-type]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    page.unlink()
    assert mirror_waiting(finished.layout, "small") is None
    assert attached(finished, "gone") == []


def test_a_finished_run_has_a_page_of_its_own_records(finished: Workbench) -> None:
    result = materialise_asset(finished.file, "report", partition=None, downstream=False, report=print)
    assert not result["failed"]
    page = Parsed((finished.artifact("report") / PAGE_FILE).read_text())
    assert [text for _, text in page.of("h2")] == [f"{k} {name}" for k, name in enumerate(SECTIONS, start=1)]
    performance = json.loads((finished.artifact("oos_performance") / "report.json").read_text())
    stored = [
        a["data-value"] for a, _ in page.of("span") if a.get("data-figure") == "oos_performance.net.sharpe_annual"
    ]
    assert stored == [repr(performance["net"]["sharpe_annual"])]
    assert sha256_file(finished.artifact("report") / PAGE_FILE) in attached(
        finished, f"report {performance['snapshot_id']}"
    )
