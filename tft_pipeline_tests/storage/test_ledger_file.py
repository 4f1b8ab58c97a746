"""A ledger's file on one machine: whatever bit changes, and however it is cut, no line is lost from the count unsaid."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tft_pipeline.storage import ledger_file
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.ledger_lines import Kind, add_line, read_lines

NUMBERS: Kind[int] = Kind(lambda line: int(line["n"]), "a line", "lines")


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TFT_STORE", raising=False)
    return tmp_path / "home" / "ledger.jsonl"


def head_of(ledger: Path) -> Path:
    return ledger.with_name("ledger.jsonl.head")


def numbers(ledger: Path) -> list[int]:
    return read_lines(ledger, NUMBERS)


def old_lines(ledger: Path, n: int) -> None:
    """From before lines had hashes."""
    ledger.parent.mkdir(parents=True)
    ledger.write_text("".join(json.dumps({"n": k}) + "\n" for k in range(n)))


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("n_old", [0, 2])
def test_any_changed_bit_of_the_file_is_an_error(ledger, n_old):
    old_lines(ledger, n_old)
    for n in range(n_old, 3):
        add_line(ledger, {"n": n})
    whole = ledger.read_bytes()
    for place in range(len(whole)):
        ledger.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        with pytest.raises(IntegrityError, match=r"ledger\.jsonl.*restore the ledger"):
            numbers(ledger)
    ledger.write_bytes(whole)
    assert numbers(ledger) == [0, 1, 2]


@pytest.mark.fault("flipped_byte")
def test_a_changed_bit_of_the_head_is_an_error_or_changes_nothing(ledger):
    for n in range(3):
        add_line(ledger, {"n": n})
    head = head_of(ledger)
    whole, refused = head.read_bytes(), 0
    for place in range(len(whole)):
        head.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        try:
            assert numbers(ledger) == [0, 1, 2]
        except IntegrityError:
            refused += 1
    assert refused > len(whole) - 12, "only white space and the number that is one less may pass"


@pytest.mark.fault("flipped_byte")
def test_a_file_that_is_cut_anywhere_is_an_error(ledger):
    for n in range(3):
        add_line(ledger, {"n": n})
    whole = ledger.read_bytes()
    for length in range(len(whole)):
        ledger.write_bytes(whole[:length])
        with pytest.raises(IntegrityError, match="lines long, and 3 were written"):
            numbers(ledger)
        with pytest.raises(IntegrityError):
            add_line(ledger, {"n": 3})
    ledger.unlink()
    with pytest.raises(IntegrityError, match="0 lines long, and 3 were written"):
        numbers(ledger)


@pytest.mark.parametrize("damage", ["doubled", "swapped", "foreign", "unsealed", "first gone"])
def test_lines_that_stand_where_they_were_not_written_are_an_error(ledger, damage):
    for n in range(3):
        add_line(ledger, {"n": n})
    one, two, three = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(
        {
            "doubled": one + two + two,
            "swapped": two + one + three,
            "foreign": one + two + three + three,
            "unsealed": one + two + three + b'{"n": 3}\n',
            "first gone": two + three,
        }[damage]
    )
    with pytest.raises(IntegrityError, match="not the line that was written there"):
        numbers(ledger)


def test_lines_from_before_there_were_hashes_are_read_and_go_on(ledger):
    old_lines(ledger, 2)
    before = ledger.read_bytes()
    assert numbers(ledger) == [0, 1]
    assert not head_of(ledger).exists(), "looking writes nothing"
    add_line(ledger, {"n": 2})
    assert numbers(ledger) == [0, 1, 2]
    assert ledger.read_bytes().startswith(before)


def test_a_file_without_its_head_says_what_to_write_there(ledger):
    for n in range(2):
        add_line(ledger, {"n": n})
    sound = head_of(ledger).read_bytes()
    head_of(ledger).unlink()
    with pytest.raises(IntegrityError, match=r"without its head .* that 2 are all, write") as caught:
        numbers(ledger)
    head_of(ledger).write_text(str(caught.value).partition("write ")[2].partition(" there")[0])
    assert numbers(ledger) == [0, 1]
    add_line(ledger, {"n": 2})
    assert json.loads(sound)["lines"] == 2


@pytest.mark.fault("kill_run")
@pytest.mark.parametrize("n", [0, 2])
@pytest.mark.parametrize("torn", [False, True])
def test_who_is_killed_between_line_and_head_blocks_nobody(ledger, n, torn, monkeypatch):
    for k in range(n):
        add_line(ledger, {"n": k})

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(ledger_file, "append_line", lambda path, row: write_and_die(path, row, 9 if torn else 0))
            with pytest.raises(KeyboardInterrupt):
                add_line(ledger, {"n": n})
        assert numbers(ledger) == list(range(n + (not torn)))
        n += not torn
    add_line(ledger, {"n": n})
    assert numbers(ledger) == list(range(n + 1))
    assert json.loads(head_of(ledger).read_bytes())["lines"] == n + 1


def write_and_die(path: Path, row: dict, lost: int) -> None:
    line = (json.dumps(row, sort_keys=True) + "\n").encode()
    with path.open("ab") as stream:
        stream.write(line[: len(line) - lost])
    raise KeyboardInterrupt


@pytest.mark.fault("two_writers")
def test_two_processes_that_append_and_read_at_once_lose_no_line(ledger):
    code = (
        "import sys; from pathlib import Path\n"
        "from tft_pipeline.storage.ledger_lines import Kind, add_line, read_lines\n"
        "ledger, who = Path(sys.argv[1]), sys.argv[2]\n"
        "for k in range(30):\n"
        "    add_line(ledger, {'n': k, 'who': who})\n"
        "    assert read_lines(ledger, Kind(dict, 'a', 'b'))[-1]\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(ledger), who]) for who in "ab"]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    rows = read_lines(ledger, Kind(dict, "a line", "lines"))
    assert {who: [row["n"] for row in rows if row["who"] == who] for who in "ab"} == {
        "a": [*range(30)],
        "b": [*range(30)],
    }
