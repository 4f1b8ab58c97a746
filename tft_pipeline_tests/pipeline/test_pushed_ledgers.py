"""`tft push` carries the ledgers of looks and trials, into a store that is new or another than before."""

import pytest

from tft_pipeline.pipeline.sharing import push
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.looks import competing_looks, record_look
from tft_pipeline.storage.scopes import Scope
from tft_pipeline.storage.trials import competing_trials, record_trials
from tft_pipeline_tests.object_stores import use_store

PERIOD = {"symbols": ["AAA"], "interval": "1d", "first": "2021-01-01", "last": "2021-12-31"}
SCOPE = Scope.of(PERIOD, "a period")


def test_pushing_carries_the_ledgers_and_says_so(tmp_path, monkeypatch):
    use_store(monkeypatch, "none", tmp_path)
    layout = Layout(tmp_path / "home")
    layout.experiment("small").mkdir(parents=True)
    for k in "12":
        record_look(layout.looks_ledger, {**PERIOD, "folds": {"f": k}, "experiment": "small", "at": k})
    record_trials(layout.trials_ledger, {**PERIOD, "experiment": "small", "study": "s", "trials": {"t": 0.1}, "at": ""})
    for name in ("one", "two"):  # the second is another store than the one that the machine worked with
        monkeypatch.setenv("TFT_STORE", f"file://{tmp_path / name}")
        if name == "two":
            with pytest.raises(IntegrityError, match="`tft push` puts back"):
                competing_looks(layout.looks_ledger, SCOPE)
        said = push("small")
        assert (said["failed"], said["put"]) == ([], ["lines of production_looks: 2", "lines of research_trials: 1"])
        assert push("small")["put"] == "nothing: the store has all of it"
        monkeypatch.setenv("TFT_HOME", str(tmp_path / f"fresh-{name}"))
        fresh = Layout(tmp_path / f"fresh-{name}")
        assert len(competing_looks(fresh.looks_ledger, SCOPE)) == 2
        assert competing_trials(fresh.trials_ledger, SCOPE) == {"small": {"t": 0.1}}
        monkeypatch.setenv("TFT_HOME", str(layout.home))


def test_a_damaged_ledger_is_not_pushed_and_named(tmp_path, monkeypatch):
    use_store(monkeypatch, "none", tmp_path)
    layout = Layout(tmp_path / "home")
    layout.experiment("small").mkdir(parents=True)
    record_look(layout.looks_ledger, {**PERIOD, "folds": {"f": "1"}, "experiment": "small", "at": "1"})
    layout.looks_ledger.write_text(layout.looks_ledger.read_text().replace("AAA", "AAB"))
    monkeypatch.setenv("TFT_STORE", f"file://{tmp_path / 'store'}")
    (failed,) = push("small")["failed"]
    assert "production_looks.jsonl:1 is not the line that was written there" in failed
    assert not list((tmp_path / "store").rglob("production_looks/*.json"))
