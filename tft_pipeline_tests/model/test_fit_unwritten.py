"""A training state that cannot be written: training goes on to the same bits, tries again, and says so each time."""

import errno
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tft_pipeline.domain.panel import Panel
from tft_pipeline.model.checkpoint import read_state, write_state
from tft_pipeline.model.fit import FittedFold
from tft_pipeline_tests.model.test_checkpoint import _state
from tft_pipeline_tests.oracles.model_panels import random_panel, small_fit


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel()


@pytest.fixture(scope="module")
def whole(panel: Panel) -> FittedFold:
    return small_fit(panel, epochs=4)


@contextmanager
def files_no_longer_than(n_bytes: int) -> Iterator[None]:
    """A real write beyond the limit fails with EFBIG; the limit is of this process, and taken back."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def same_bits(one: FittedFold, other: FittedFold) -> bool:
    return one.history == other.history and all(torch.equal(one.state[name], other.state[name]) for name in one.state)


@pytest.mark.fault("unwritable_checkpoint")
def test_a_folder_that_is_a_file_ends_no_fit_and_every_epoch_is_told(
    panel: Panel, whole: FittedFold, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("not a folder")
    told: list[str] = []
    fitted = small_fit(panel, epochs=4, checkpoint=tmp_path / "taken" / "state", on_unwritten=told.append)
    assert same_bits(fitted, whole)
    written = [sentence for sentence in told if "could not be written" in sentence]
    assert [f"after epoch {k} could" in one for k, one in enumerate(written)] == [True] * 4
    assert all(str(tmp_path) not in sentence for sentence in told)
    assert f"{tmp_path / 'taken' / 'state'}: the training state after epoch 0" in caplog.text


@pytest.mark.fault("unwritable_checkpoint", "disk_full")
def test_a_disk_that_is_full_for_a_while_costs_those_states_only(
    panel: Panel, whole: FittedFold, tmp_path: Path
) -> None:
    path, told, kept = tmp_path / "states" / "fold", [], []

    def listen(row: dict[str, object]) -> None:
        # called before the state of its epoch is written: it sees what the epoch before left
        kept.append(path.stat().st_mtime_ns if path.exists() else None)
        soft = 4096 if row["epoch"] in (0, 2) else before[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with files_no_longer_than(before[0]):
        fitted = small_fit(panel, epochs=4, checkpoint=path, on_epoch=listen, on_unwritten=told.append)
    assert same_bits(fitted, whole)
    assert len(told) == 2
    assert "after epoch 0 could not be written: File too large" in told[0]
    assert "after epoch 2" in told[1]
    assert kept[0] is None
    assert kept[1] is None
    assert kept[2] is not None
    assert kept[3] == kept[2]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.fault("unwritable_checkpoint", "disk_full")
def test_a_write_that_fails_leaves_the_state_before_it_and_no_partial_file(tmp_path: Path) -> None:
    path, first = tmp_path / "state", _state()
    write_state(path, first, "inputs")
    with files_no_longer_than(512), pytest.raises(OSError, match=r"File too large") as caught:
        write_state(path, _state(best_epoch=2), "inputs")
    assert caught.value.errno == errno.EFBIG
    assert [one.name for one in tmp_path.iterdir()] == ["state"]
    again = read_state(path, "inputs")
    assert again is not None
    assert again.best_epoch == first.best_epoch


@pytest.mark.fault("unwritable_checkpoint", "resume_equals")
def test_a_fit_killed_after_a_failed_write_goes_on_from_the_state_before_it(
    panel: Panel, whole: FittedFold, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, told = tmp_path / "state", []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class KilledError(Exception):
        pass

    def listen(row: dict[str, object]) -> None:
        if row["epoch"] == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        if row["epoch"] == 2:
            raise KilledError

    with files_no_longer_than(before[0]), pytest.raises(KilledError):
        small_fit(panel, epochs=4, checkpoint=path, on_epoch=listen, on_unwritten=told.append)
    assert len(told) == 1
    with caplog.at_level("INFO", "tft_pipeline"):
        again = small_fit(panel, epochs=4, checkpoint=path, on_unwritten=told.append)
    assert "goes on after epoch 0" in caplog.text
    assert same_bits(again, whole)
    assert len(told) == 1


def test_whatever_else_goes_wrong_with_a_state_still_ends_the_fit(panel: Panel, tmp_path: Path) -> None:
    def listen(row: dict[str, object]) -> None:
        row["train_loss"] = float("nan")  # no JSON: a fault of ours, not of the disk

    with pytest.raises(ValueError, match="not JSON compliant"):
        small_fit(panel, epochs=1, checkpoint=tmp_path / "state", on_epoch=listen)


@pytest.mark.fault("unwritable_checkpoint", "corrupt_checkpoint")
def test_a_state_that_can_neither_be_read_nor_replaced_costs_states_and_no_fit(
    panel: Panel, whole: FittedFold, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state" / "a folder where the file should be").mkdir(parents=True)
    told: list[str] = []
    fitted = small_fit(panel, epochs=4, checkpoint=tmp_path / "state", on_unwritten=told.append)
    assert same_bits(fitted, whole)
    assert "cannot be read" in caplog.text
    assert [f"after epoch {k} could not be written" in one for k, one in enumerate(told)] == [True] * 4
