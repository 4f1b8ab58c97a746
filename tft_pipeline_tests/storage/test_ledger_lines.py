"""Ledgers that several machines share: one order, nothing lost, nothing counted twice."""

import json
import os
import threading
from pathlib import Path

import pytest

from tft_pipeline.storage.artifacts import IntegrityError, sha256_file
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.ledger_lines import Kind, add_line, only_looking, read_lines
from tft_pipeline.storage.looks import competing_looks, push_looks, record_look
from tft_pipeline.storage.object_store import StoreError, open_store
from tft_pipeline.storage.scopes import Scope
from tft_pipeline.storage.stored_versions import DamagedCopyWarning
from tft_pipeline.storage.trials import competing_trials, record_trials
from tft_pipeline_tests.object_stores import KINDS, STORES, requests_fail, use_store

PERIOD = {"symbols": ["AAA"], "interval": "1d", "first": "2021-01-01", "last": "2021-12-31"}
SCOPE = Scope.of(PERIOD, "a period")


def look(k: int, experiment: str = "small") -> dict:
    return {**PERIOD, "folds": {"f1": f"hash{k}"}, "experiment": experiment, "at": f"2025-01-01T00:00:{k:02d}"}


def machine(folder: Path, patch: pytest.MonkeyPatch, name: str) -> Path:
    patch.setenv("TFT_HOME", str(folder / name))
    return Layout(folder / name).looks_ledger


NUMBERS: Kind[int] = Kind(lambda line: int(line["n"]), "a line", "lines")


def numbers(ledger: Path) -> list[int]:
    return read_lines(ledger, NUMBERS)


@pytest.fixture(params=KINDS)
def ledger(request, tmp_path, monkeypatch) -> Path:
    use_store(monkeypatch, request.param, tmp_path)
    return Layout(tmp_path / "home").looks_ledger


@pytest.fixture(params=STORES)
def shared(request, tmp_path, monkeypatch) -> Path:
    use_store(monkeypatch, request.param, tmp_path)
    return Layout(tmp_path / "home").looks_ledger


def test_lines_are_read_in_the_order_they_were_written(ledger):
    assert numbers(ledger) == []
    for n in (3, 1, 2):
        add_line(ledger, {"n": n})
    assert numbers(ledger) == [3, 1, 2]
    assert [json.loads(line)["n"] for line in ledger.read_text().splitlines()] == [3, 1, 2]


def test_looks_of_two_machines_are_one_count(shared, tmp_path, monkeypatch):
    record_look(machine(tmp_path, monkeypatch, "a"), look(1))
    seen = record_look(machine(tmp_path, monkeypatch, "b"), look(2, "other"))
    assert [row["experiment"] for row in seen] == ["small", "other"]
    assert competing_looks(machine(tmp_path, monkeypatch, "a"), SCOPE) == seen
    assert competing_looks(machine(tmp_path, monkeypatch, "fresh"), SCOPE) == seen


def test_trials_of_two_machines_are_one_count(shared, tmp_path, monkeypatch):
    for name, trial in (("a", "t1"), ("b", "t2")):
        home = machine(tmp_path, monkeypatch, name).parent
        entry = {**PERIOD, "experiment": name, "study": "s", "trials": {trial: 0.1}, "at": ""}
        record_trials(Layout(home).trials_ledger, entry)
    home = machine(tmp_path, monkeypatch, "c").parent
    assert competing_trials(Layout(home).trials_ledger, SCOPE) == {"a": {"t1": 0.1}, "b": {"t2": 0.1}}


def test_lines_from_before_there_was_a_store_join_it_once(shared, tmp_path, monkeypatch):
    add_line(machine(tmp_path, monkeypatch, "a"), {"n": 1})
    with monkeypatch.context() as alone:
        alone.delenv("TFT_STORE")
        for n in (2, 1, 3):
            add_line(Layout(tmp_path / "b").looks_ledger, {"n": n})
    assert numbers(machine(tmp_path, monkeypatch, "b")) == [1, 2, 3]
    assert numbers(machine(tmp_path, monkeypatch, "b")) == [1, 2, 3]
    assert numbers(machine(tmp_path, monkeypatch, "a")) == [1, 2, 3]
    monkeypatch.delenv("TFT_STORE")
    assert sorted(numbers(Layout(tmp_path / "a").looks_ledger)) == [1, 2, 3]


@pytest.mark.fault("store_writers")
def test_writers_at_once_lose_no_line_and_agree_on_the_order(tmp_path, monkeypatch):
    use_store(monkeypatch, "file", tmp_path)
    # threads share TFT_HOME; each writes to a ledger of the home, and the folder's lock orders them: machines are made by hand
    from tft_pipeline.storage.shared_lines import SharedLines

    store = open_store()
    assert store is not None

    def write(name: str) -> None:
        lines = SharedLines(store, "production_looks", tmp_path / name)
        for k in range(12):
            lines.take()
            lines.add({"n": f"{name}{k}"})

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    seen = [
        [line["n"] for _, line in SharedLines(store, "production_looks", tmp_path / name).take()] for name in "abcd"
    ]
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert sorted(seen[0]) == sorted(f"{name}{k}" for name in "abc" for k in range(12))


@pytest.mark.fault("store_torn")
@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "swapped"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_lost_or_changed_line_is_an_error_and_never_one_look_fewer(shared, tmp_path, monkeypatch, damage, number):
    for k in range(1, 4):
        record_look(machine(tmp_path, monkeypatch, "a"), look(k))
    store, key = open_store(), f"production_looks/{number:08d}.json"
    assert store is not None
    sound = store.get(key)
    assert sound is not None
    if damage == "missing":
        store.remove(key)
    elif damage == "swapped":
        store.put(key, store.get(f"production_looks/{number % 3 + 1:08d}.json") or b"")
    else:
        store.put(key, sound.replace(b"hash", b"hush") if damage == "changed" else sound[:-9])
    if damage == "missing" and number == 3:  # the end is known to who has a copy of it
        with pytest.raises(IntegrityError, match=r"00000003\.json is a copy of it"):
            competing_looks(machine(tmp_path, monkeypatch, "a"), SCOPE)
        return
    with pytest.raises(IntegrityError, match=key):  # a machine that has copies of all sees it too
        competing_looks(machine(tmp_path, monkeypatch, "a"), SCOPE)
    with pytest.raises(IntegrityError, match=key):
        competing_looks(machine(tmp_path, monkeypatch, "fresh"), SCOPE)
    store.put(key, sound)
    assert len(competing_looks(machine(tmp_path, monkeypatch, "fresh"), SCOPE)) == 3


@pytest.mark.fault("store_torn")
def test_the_number_of_a_lost_line_that_another_machine_took_is_not_passed_over(shared, tmp_path, monkeypatch):
    for k in range(1, 4):
        record_look(machine(tmp_path, monkeypatch, "a"), look(k))
    store = open_store()
    assert store is not None
    store.remove("production_looks/00000003.json")
    record_look(machine(tmp_path, monkeypatch, "c"), look(9))
    with pytest.raises(IntegrityError, match=r"00000003\.json is another line than its copy .*`tft push`"):
        record_look(machine(tmp_path, monkeypatch, "a"), look(4))
    assert push_looks(machine(tmp_path, monkeypatch, "a")) == 1
    assert [row["at"][-1] for row in competing_looks(machine(tmp_path, monkeypatch, "c"), SCOPE)] == list("1293")
    assert len(competing_looks(machine(tmp_path, monkeypatch, "a"), SCOPE)) == 4


@pytest.mark.parametrize("other", ["empty", "with lines", "lost one", "nothing of it here"])
def test_pushing_puts_this_machines_lines_into_another_store_and_loses_none(shared, tmp_path, monkeypatch, other):
    ledger = machine(tmp_path, monkeypatch, "a")
    for k in range(1, 4):
        record_look(ledger, look(k))
    store, expected, n = open_store(), list("123"), 3
    assert store is not None
    if other == "lost one":
        store.remove("production_looks/00000002.json")
        n = 1
    elif other == "nothing of it here":
        ledger, n = machine(tmp_path, monkeypatch, "b"), 0
    else:
        monkeypatch.setenv("TFT_STORE", f"{os.environ['TFT_STORE']}-other")
        if other == "with lines":
            record_look(machine(tmp_path, monkeypatch, "b"), look(7))
            expected = list("7123")
            machine(tmp_path, monkeypatch, "a")
    if n:
        with pytest.raises(IntegrityError, match="`tft push`"):
            competing_looks(ledger, SCOPE)
    assert push_looks(ledger) == n
    assert push_looks(ledger) == 0
    for name in ("a", "fresh"):
        seen = competing_looks(machine(tmp_path, monkeypatch, name), SCOPE)
        assert [row["at"][-1] for row in seen] == expected


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("damage", ["changed", "cut", "half", "gone", "no head"])
def test_a_damaged_file_gives_the_store_nothing_and_is_made_again_from_it(tmp_path, monkeypatch, damage):
    use_store(monkeypatch, "file", tmp_path)
    ledger = machine(tmp_path, monkeypatch, "a")
    for k in range(1, 4):
        record_look(ledger, look(k))
    sound, head = ledger.read_bytes(), ledger.with_name(f"{ledger.name}.head")
    if damage in ("changed", "no head"):
        ledger.write_bytes(sound.replace(b"hash2", b"hush2"))
    elif damage == "cut":
        ledger.write_bytes(sound[: sound.index(b"\n") + 1])
    elif damage == "half":
        ledger.write_bytes(sound + b'{"symbols": ["A')
    else:
        ledger.unlink()
    if damage == "no head":
        head.unlink()
        with pytest.raises(IntegrityError, match=r"jsonl:2 is not the line .* it is not made again"):
            competing_looks(ledger, SCOPE)
    elif damage == "half":  # nobody was told that it was written
        assert len(competing_looks(ledger, SCOPE)) == 3
    else:
        with pytest.warns(DamagedCopyWarning, match="set aside as .* and made again"):
            assert len(competing_looks(ledger, SCOPE)) == 3
        assert ledger.read_bytes() == sound
        assert len(competing_looks(ledger, SCOPE)) == 3
        assert len(list(ledger.parent.glob("production_looks.jsonl.damaged-*"))) == (damage != "gone")
    assert len(competing_looks(machine(tmp_path, monkeypatch, "fresh"), SCOPE)) == 3


@pytest.mark.fault("flipped_byte")
def test_a_damaged_file_with_lines_that_the_store_lacks_is_refused(tmp_path, monkeypatch):
    use_store(monkeypatch, "file", tmp_path)
    ledger = machine(tmp_path, monkeypatch, "a")
    record_look(ledger, look(1))
    with monkeypatch.context() as alone:
        alone.delenv("TFT_STORE")
        record_look(ledger, look(2))
    record_look(machine(tmp_path, monkeypatch, "b"), look(3))
    sound = ledger.read_bytes()
    ledger.write_bytes(sound.replace(b"hash2", b"hush2"))
    machine(tmp_path, monkeypatch, "a")
    with pytest.raises(IntegrityError, match="which may lack some of its lines"):
        competing_looks(ledger, SCOPE)
    ledger.write_bytes(sound)
    assert len(competing_looks(ledger, SCOPE)) == 3


def everything(folder: Path) -> dict[str, str]:
    return {str(path): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_who_only_looks_sees_the_lines_of_file_and_store_and_writes_to_neither(tmp_path, monkeypatch):
    use_store(monkeypatch, "file", tmp_path)
    ledger = machine(tmp_path, monkeypatch, "a")
    record_look(ledger, look(1))
    with monkeypatch.context() as alone:
        alone.delenv("TFT_STORE")
        record_look(ledger, look(2))
    record_look(machine(tmp_path, monkeypatch, "b"), look(3))
    machine(tmp_path, monkeypatch, "a")
    with only_looking():
        assert [row["at"][-1] for row in competing_looks(ledger, SCOPE)] == list("132")
        before = everything(tmp_path)  # with the copies of the store's lines, which are a cache
        assert len(competing_looks(ledger, SCOPE)) == 3
    assert everything(tmp_path) == before
    assert len(ledger.read_text().splitlines()) == 2
    assert not (tmp_path / "store/production_looks/00000003.json").exists()


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("known", [True, False])
def test_who_only_looks_at_a_damaged_file_sees_what_would_be_made_again_and_else_is_refused(
    tmp_path, monkeypatch, known
):
    use_store(monkeypatch, "file", tmp_path)
    ledger = machine(tmp_path, monkeypatch, "a")
    for k in range(1, 4):
        record_look(ledger, look(k))
    if not known:
        with monkeypatch.context() as alone:
            alone.delenv("TFT_STORE")
            record_look(ledger, look(4))
    ledger.write_bytes(ledger.read_bytes().replace(b"hash2", b"hush2"))
    before = everything(tmp_path)
    with only_looking():
        if known:
            assert [row["at"][-1] for row in competing_looks(ledger, SCOPE)] == list("123")
        else:
            with pytest.raises(IntegrityError, match="which may lack some of its lines"):
                competing_looks(ledger, SCOPE)
    assert everything(tmp_path) == before


def test_lines_without_hashes_are_known_by_the_head_once_the_store_has_them(tmp_path, monkeypatch):
    use_store(monkeypatch, "file", tmp_path)
    ledger = machine(tmp_path, monkeypatch, "a")
    ledger.parent.mkdir()
    ledger.write_text("".join(json.dumps(look(k)) + "\n" for k in (1, 2, 3)))
    assert len(competing_looks(ledger, SCOPE)) == 3
    ledger.write_text(ledger.read_text().replace("hash2", "hush2"))
    with pytest.warns(DamagedCopyWarning):
        assert len(competing_looks(ledger, SCOPE)) == 3


def test_on_s3_reading_again_asks_for_the_listing_the_last_line_and_the_one_after_it(tmp_path, monkeypatch):
    use_store(monkeypatch, "s3", tmp_path)
    ledger = machine(tmp_path, monkeypatch, "a")
    for k in range(1, 6):
        record_look(ledger, look(k))
    seen: list[str] = []
    with requests_fail(first=99, seen=seen):
        competing_looks(ledger, SCOPE)
    gets = [line for line in seen if line.startswith("get_object")]
    assert [line[-7:] for line in gets] == ["05.json", "06.json"]
    assert len(seen) == 3


def test_a_damaged_copy_here_is_read_from_the_store(shared, tmp_path, monkeypatch):
    for n in (1, 2):
        add_line(shared, {"n": n})
    (shared.with_suffix("") / "00000001.json").write_text("{}")
    assert numbers(shared) == [1, 2]


def test_a_line_that_says_nothing_is_refused_and_named_wherever_it_lies(shared, tmp_path, monkeypatch):
    add_line(machine(tmp_path, monkeypatch, "a"), {"other": 1})
    with pytest.raises(ValueError, match=r"00000001\.json is not a look .*looks would be lost"):
        competing_looks(machine(tmp_path, monkeypatch, "b"), SCOPE)


@pytest.mark.fault("store_down")
@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_look_that_the_store_did_not_take_is_not_shown_and_is_counted_once_afterwards(tmp_path, monkeypatch, after):
    use_store(monkeypatch, "s3", tmp_path)
    ledger = Layout(tmp_path / "home").looks_ledger
    record_look(ledger, look(1))
    for first in range(20):
        try:
            with requests_fail(first=first, after=after):
                record_look(ledger, look(2))
        except StoreError:
            assert len(ledger.read_text().splitlines()) in ({1, 2} if after else {1})
            continue
        break
    else:
        pytest.fail("it never went through")
    assert first > 3
    assert len(competing_looks(ledger, SCOPE)) == 2
    assert len(competing_looks(machine(tmp_path, monkeypatch, "b"), SCOPE)) == 2
