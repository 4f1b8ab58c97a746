"""The ledger of usage: what is written is read, what is torn is passed over, what is strange is refused."""

from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.storage.usage import KEYS, read_usage, record_usage


def row(**more: Any) -> dict[str, Any]:
    return dict.fromkeys(KEYS, 1) | more


def test_rows_come_back_in_their_order(tmp_path: Path) -> None:
    ledger = tmp_path / "a" / "usage.jsonl"
    assert read_usage(ledger) == ()
    record_usage(ledger, row(asset="one"))
    record_usage(ledger, row(asset="two"))
    assert [found["asset"] for found in read_usage(ledger)] == ["one", "two"]


@pytest.mark.fault("kill_run")
def test_a_line_that_was_cut_off_by_a_crash_is_passed_over_and_swallows_no_later_one(tmp_path: Path) -> None:
    ledger = tmp_path / "usage.jsonl"
    record_usage(ledger, row(asset="one"))
    with ledger.open("a") as stream:
        stream.write('{"asset": "tw')
    assert [found["asset"] for found in read_usage(ledger)] == ["one"]
    record_usage(ledger, row(asset="three"))
    assert [found["asset"] for found in read_usage(ledger)] == ["one", "three"]


@pytest.mark.parametrize("line", ["[]\n", '{"asset": "one"}\n'])
def test_a_strange_line_is_refused_with_its_number(line: str, tmp_path: Path) -> None:
    ledger = tmp_path / "usage.jsonl"
    record_usage(ledger, row())
    with ledger.open("a") as stream:
        stream.write(line)
    with pytest.raises(ValueError, match="line 2"):
        read_usage(ledger)


def test_a_row_with_other_keys_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected"):
        record_usage(tmp_path / "usage.jsonl", {"asset": "one"})
    assert not (tmp_path / "usage.jsonl").exists()
