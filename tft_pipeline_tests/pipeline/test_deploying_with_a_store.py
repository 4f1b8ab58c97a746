"""`tft deploy`, `tft rollback` and `tft pull` on a machine that does not know yet what another one deployed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline import deploying, releasing
from tft_pipeline.pipeline.deploying import make_live
from tft_pipeline.pipeline.release_jobs import _live
from tft_pipeline.pipeline.releasing import go_back
from tft_pipeline.pipeline.sharing import pull
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.deployment_log import LOG_FILE
from tft_pipeline.storage.deployments import linked_release
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.object_store import ObjectStore
from tft_pipeline_tests.object_stores import use_store
from tft_pipeline_tests.released import candidate

EARLIER, BEFORE, LIVE, WAITING = (f"2025-01-0{day}T00-00-00Z-a" for day in (1, 2, 3, 4))


@pytest.fixture
def behind(tmp_path, monkeypatch) -> Layout:
    """A machine that pulled `BEFORE`; since then another one made `LIVE` live. `WAITING` is a candidate of this one."""
    use_store(monkeypatch, "file", tmp_path)
    for module in (deploying, releasing):
        monkeypatch.setattr(module, "asked_once", lambda version: (0.5, ["eager"]))
        monkeypatch.setattr(module, "told", lambda layout, name: "follows")

    def machine(name: str) -> Path:
        monkeypatch.setenv("TFT_HOME", str(tmp_path / name))
        return default_layout().models("small")

    one = machine("a")
    for release_id in (EARLIER, BEFORE):
        candidate(one, release_id, release_id)
        deploy_release(one, release_id, reason="earlier")
    machine("b")
    assert pull("small")["failed"] == []
    one = machine("a")
    candidate(one, LIVE, LIVE)
    deploy_release(one, LIVE, reason="later")
    candidate(machine("b"), WAITING, WAITING)
    return default_layout()


def back(layout: Layout, to: str) -> dict[str, Any]:
    return go_back("small", layout, to, model="tft", reason="it loses money")


def test_who_names_no_release_is_refused_and_told_which_one_it_would_be(behind):
    with pytest.raises(ConfigurationError, match=f"{LIVE} is live in the store.*{WAITING} is the newest candidate"):
        make_live("small", behind, reason="better")
    with pytest.raises(
        ConfigurationError, match=f"{LIVE} is live in the store.*the one before it is {BEFORE}: name it"
    ):
        back(behind, "previous")
    with pytest.raises(ConfigurationError, match=f"{LIVE}, which is live already in the store, and {BEFORE} here"):
        back(behind, LIVE)
    assert linked_release(behind.models("small")) == BEFORE


def test_the_page_of_the_release_names_what_is_live_in_the_store_and_that_it_is_not_here(behind, monkeypatch):
    graph = SimpleNamespace(layout=behind, name="small")
    assert _live(graph) == f"{LIVE} in the store, and {BEFORE} here: `tft pull` takes it"

    def away(self: ObjectStore, key: str, *_: object) -> bytes:
        raise self._error("read", key, ConnectionResetError("away"))

    monkeypatch.setattr(ObjectStore, "get", away)
    assert _live(graph) == f"{BEFORE} here; the store could not be asked: `tft doctor` says why"


def test_who_names_one_has_it_live_everywhere_even_if_it_was_not_here(behind):
    done = back(behind, EARLIER[:-1])
    assert (done["from"], done["to"], done["failed"]) == (LIVE, EARLIER, [])
    done = make_live("small", behind, LIVE[:-1], reason="it was not the model")
    assert (done["from"], done["to"], done["failed"]) == (EARLIER, LIVE, [])


def test_a_deployment_that_the_store_did_not_learn_of_says_that_it_is_written_down_here(behind, monkeypatch):
    put = ObjectStore.put

    def away(self: ObjectStore, key: str, content: bytes) -> None:
        if "/log/" in key:
            raise self._error("write", key, ConnectionResetError("away"))
        put(self, key, content)

    monkeypatch.setattr(ObjectStore, "put", away)
    done = make_live("small", behind, WAITING, reason="better")
    assert done["live"] == WAITING
    (said,) = done["failed"]
    assert f"{WAITING} is live on this machine and its log says so, but the store was not told" in said
    assert "writes down" not in said


def test_a_pull_over_a_damaged_log_says_where_it_is_now(behind):
    log = behind.models("small") / LOG_FILE
    log.write_bytes(log.read_bytes().replace(b"earlier", b"eArlier"))
    done = pull("small")
    (aside,) = log.parent.glob(f"{LOG_FILE}.damaged-*")
    assert f"it is {aside.name} now" in done["note"]
    assert done["live"] == LIVE
