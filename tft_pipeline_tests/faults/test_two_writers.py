"""Two runs want the same partition: one computes it, the other is told who does, and the lock goes with its process."""

import io
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tft_pipeline.pipeline.io_managers import FrameIOManager
from tft_pipeline.pipeline.reaping import reap
from tft_pipeline.pipeline.runs import QUIET, failure_of, materialise, open_instance
from tft_pipeline.storage.artifacts import Artifact
from tft_pipeline.storage.frames import write_frames
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.locks import LockLostError, WriterLockedError, writer_lock
from tft_pipeline_tests.faults.scripted_run import KEY, scripted_definitions
from tft_pipeline_tests.faults.scripted_runs import ScriptedRun

pytestmark = pytest.mark.fault("two_writers")


def _stored(home: Path, partition: str) -> pl.DataFrame | None:
    file = Layout(home).artifact("small", "thing", partition) / "current" / "data.parquet"
    return pl.read_parquet(file) if file.exists() else None


@pytest.mark.fault("kill_run")
@pytest.mark.slow
@pytest.mark.parametrize("how", [("tft", "child"), ("worker",)], ids=["a run of tft", "a run worker of the daemon"])
def test_one_computes_the_other_is_told_who_and_a_kill_leaves_no_lock_no_slot_and_no_running_run(
    how: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFT_WORKERS", "1")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    definitions = scripted_definitions(tmp_path)
    first = ScriptedRun(tmp_path, "a", *how)
    child = 0
    try:
        first.says("computes")
        child = int(first.says("child")) if "child" in how else 0
        with open_instance(Layout(tmp_path)) as instance:
            assert reap(instance) == []  # it lives
            refused = materialise(definitions, instance, [KEY], partition="a")
            assert not refused.ok
            for word in (f"process {first.pid}", f"on {socket.gethostname()}", "since 2", "Wait for the other one"):
                assert word in refused.reason
            events = instance.all_logs(refused.run_id)
            assert not any(event.dagster_event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY for event in events)
            assert _stored(tmp_path, "a") is None
            first.dies()
            if child:
                os.kill(child, 0)  # what it started lives, and holds neither lock nor slot
            (line,) = reap(instance)
            assert "small/thing [a]" in line or "work [a]" in line
            (run,) = instance.get_runs(filters=dg.RunsFilter(tags={"tft/pid": str(first.pid)}))
            assert run.status is dg.DagsterRunStatus.FAILURE
            again = materialise(definitions, instance, [KEY], partition="a")
    finally:
        first.close()
        if child:
            os.kill(child, signal.SIGKILL)
    assert again.ok, again.reason
    kept = _stored(tmp_path, "a")
    assert kept is not None
    assert kept["by"].to_list() == [os.getpid()]


class Looks(FrameIOManager):
    """Says whether the lock is held while it stores."""

    breaks: bool = False

    def _store(self, root: Path, value: Any) -> tuple[Artifact, dict[str, Any]]:
        with pytest.raises(WriterLockedError, match=f"process {os.getpid()}"):
            writer_lock(Layout(Path(self.home)).writer_lock("small", "thing", "a")).__enter__()
        if self.breaks:
            raise RuntimeError("the disk broke")
        return super()._store(root, value)


def _run(home: Path, monkeypatch: pytest.MonkeyPatch, during: Callable[[], None], *, breaks: bool = False) -> Any:
    class Says:
        def readline(self) -> str:
            during()
            return ""

    monkeypatch.setattr("sys.stdin", Says())
    definitions = scripted_definitions(home)
    (thing,) = definitions.assets or ()
    assert isinstance(thing, dg.AssetsDefinition)
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [thing],
            instance=instance,
            partition_key="a",
            resources={"frames": Looks(home=str(home), breaks=breaks)},
            run_config=QUIET,
            raise_on_error=False,
        )


@pytest.mark.parametrize("breaks", [False, True])
def test_the_lock_is_held_until_the_value_is_stored_and_no_longer(
    breaks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _run(tmp_path, monkeypatch, lambda: None, breaks=breaks)
    assert result.success is not breaks
    assert not breaks or "the disk broke" in failure_of(result, "")[1]
    assert (_stored(tmp_path, "a") is None) is breaks
    with writer_lock(Layout(tmp_path).writer_lock("small", "thing", "a")) as held:
        held.check()


@pytest.mark.fault("transient_fault")
def test_a_lock_server_that_is_away_is_asked_again_three_times_and_nothing_is_computed_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tft_pipeline.pipeline.transient.FIRST_WAIT_SECONDS", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens on it
        monkeypatch.setenv("TFT_LOCKS", f"postgresql://u:s3cret@127.0.0.1:{taken.getsockname()[1]}/db")
        result = _run(tmp_path, monkeypatch, lambda: pytest.fail("computed without a lock"))
    kinds = [event.event_type_value for event in result.all_events]
    assert (kinds.count("STEP_UP_FOR_RETRY"), kinds.count("STEP_FAILURE")) == (3, 1)
    assert "nothing is computed without it" in failure_of(result, "")[1]


@pytest.mark.fault("transient_fault")
@pytest.mark.parametrize(
    ("error", "computed"), [(ConnectionRefusedError("nobody listens"), 4), (ValueError("bad bars"), 1)], ids=repr
)
def test_a_fault_that_passes_is_tried_again_three_times_and_another_never(
    error: Exception, computed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def goes_wrong() -> None:
        tries.append(1)
        raise error

    monkeypatch.setattr("tft_pipeline.pipeline.transient.FIRST_WAIT_SECONDS", 0.01)
    result = _run(tmp_path, monkeypatch, goes_wrong)
    assert not result.success
    assert len(tries) == computed
    assert failure_of(result, "")[1] == f"{type(error).__name__}: {error}"


@pytest.mark.fault("transient_fault")
def test_a_fault_that_has_passed_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def goes_wrong_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise TimeoutError

    monkeypatch.setattr("tft_pipeline.pipeline.transient.FIRST_WAIT_SECONDS", 0.01)
    assert _run(tmp_path, monkeypatch, goes_wrong_once).success
    assert len(tries) == 2
    assert _stored(tmp_path, "a") is not None


@pytest.mark.fault("transient_fault")
def test_a_fault_while_storing_is_tried_again_without_computing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    store = Looks._store

    def fails_once(manager: Looks, root: Path, value: Any) -> tuple[Artifact, dict[str, Any]]:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionResetError
        return store(manager, root, value)

    monkeypatch.setattr("tft_pipeline.pipeline.transient.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(Looks, "_store", fails_once)
    computed: list[int] = []
    assert _run(tmp_path, monkeypatch, lambda: computed.append(1)).success
    assert (len(tries), len(computed)) == (2, 1)
    assert _stored(tmp_path, "a") is not None


@pytest.mark.fault("transient_fault")
def test_a_fault_of_storing_that_stays_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def fails(_manager: Looks, _root: Path, _value: Any) -> tuple[Artifact, dict[str, Any]]:
        tries.append(1)
        raise ConnectionResetError("the store hung up")

    monkeypatch.setattr("tft_pipeline.pipeline.transient.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(Looks, "_store", fails)
    computed: list[int] = []
    result = _run(tmp_path, monkeypatch, lambda: computed.append(1))
    assert failure_of(result, "")[1] == "ConnectionResetError: the store hung up"
    assert (len(tries), len(computed)) == (4, 1)


def test_a_frame_that_came_as_a_file_can_be_stored_again(tmp_path: Path) -> None:
    value = write_frames(tmp_path / "made.parquet", [pl.DataFrame({"a": [1, 2]})])
    manager = FrameIOManager(home=str(tmp_path))
    versions = {manager._store(tmp_path / "small" / "features", value)[0].version for _ in range(2)}
    assert len(versions) == 1


def test_a_lock_whose_file_was_removed_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Layout(tmp_path).writer_lock("small", "thing", "a")
    result = _run(tmp_path, monkeypatch, lock.unlink)
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "was removed while it was held" in str(failed.step_failure_data.user_failure_data)
    assert _stored(tmp_path, "a") is None


def test_a_new_file_in_place_of_the_lock_is_not_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "small" / "locks" / "thing.lock"
    with writer_lock(lock) as held:
        lock.rename(tmp_path / "aside")
        lock.touch()
        with pytest.raises(LockLostError):
            held.check()


def test_an_earlier_holder_that_died_is_not_named(tmp_path: Path) -> None:
    lock = tmp_path / "small" / "locks" / "thing.lock"
    with writer_lock(lock):
        text = lock.read_text().replace(str(os.getpid()), "99999999")
        lock.write_text(text)
        with pytest.raises(WriterLockedError, match="process unknown"), writer_lock(lock):
            pass
