"""The rows of the fault matrix: what goes wrong, what is promised, how a test makes it go wrong.

A test names the rows it shows with `@pytest.mark.fault("kill_run")`. docs/faults.md is made from these rows and those tests.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        fault: what goes wrong.
        promise: what is true then.
        injected: how a test makes it go wrong.
    """

    fault: str
    promise: str
    injected: str


ROWS: dict[str, Row] = {
    "kill_run": Row(
        "The process of a run is killed (`kill -9`)",
        "Finished folds are kept, the run is recorded as failed, the next one goes on; no child writes on",
        "the recorded process is sent SIGKILL while folds are being trained",
    ),
    "kill_fold_worker": Row(
        "A process that trains a fold is killed",
        "The fold fails or is trained again, the others are kept, and the next run goes on from its last epoch",
        "the worker's process is sent SIGKILL in the middle of a fold",
    ),
    "two_writers": Row(
        "Two runs compute one fold at once",
        "One computes it, the other is told at once who does, and writes nothing",
        "two processes ask for the same asset and partition",
    ),
    "kill_snapshot": Row(
        "The process that freezes bars is killed",
        "The snapshot is there whole or not at all; what is left over is swept and the next attempt succeeds",
        "SIGKILL by `strace` at each call that moves a name or makes bytes durable",
    ),
    "kill_artifact": Row(
        "The process that stores a result is killed",
        "The version before or the new one is current, whole; the next write succeeds",
        "SIGKILL by `strace` at each call that moves a name or makes bytes durable",
    ),
    "kill_deploy": Row(
        "The process that makes a release live is killed",
        "The old or the new release is live, whole; the log says the same, and the next deployment settles it",
        "SIGKILL by `strace` at each system call of a deployment that changes the disk",
    ),
    "disk_full": Row(
        "The disk is full",
        "A clear error, nothing half written is reported as saved, and what was there stays",
        "a file system of a few kilobytes in memory; ENOSPC by `strace`",
    ),
    "eio": Row(
        "The disk cannot make bytes durable",
        "A clear error, and what was there stays",
        "EIO by `strace` at each `fsync`",
    ),
    "flipped_byte": Row(
        "A byte of a stored file changes",
        "A version, a ledger or a log of deployments is refused by name before anything is made of it, and `--resume` computes "
        "a version again; files that carry no hash, databases among them, are listed in the test, with what becomes of them",
        "one bit is changed in every kind of file with a hash that a finished run leaves in its home; in a ledger, each bit",
    ),
    "bad_manifest": Row(
        "A manifest is cut, invalid or does not match its folder",
        "The version is refused by name: cut, not a number, a file missing or too many, a path out of the folder, a link",
        "the manifest is cut at every 64 bytes, and rewritten by hand",
    ),
    "corrupt_checkpoint": Row(
        "The last training state is damaged",
        "Training starts from its first epoch, the log says why, and the result is the same to the bit",
        "a byte of the stored state is changed, or the file is cut",
    ),
    "unwritable_checkpoint": Row(
        "Training states cannot be written",
        "Training goes on, the fold says `checkpoint_status: failed`, and its release is not deployed",
        "the folder of states is made a file; the disk is full",
    ),
    "bad_bars": Row(
        "Bars are wrong",
        "A named error or a stated policy for each kind; the order of rows changes no byte of a result",
        "NaN, infinity, doubles, disorder, a missing symbol, gaps, times without a zone, a change of the clock, "
        "a constant target, one class, no variance",
    ),
    "short_window": Row(
        "The recent window is short or empty",
        "`insufficient_data` instead of a figure, and an exit code that is not zero",
        "the recent bars are taken away",
    ),
    "nan_loss": Row(
        "A fold's loss stops being a number",
        "This fold fails and says so, the others go on, and nothing is released",
        "a batch of one fold is made infinite",
    ),
    "failed_fold": Row(
        "A fold fails",
        "The other folds stay usable; what needs all folds refuses and names the missing ones",
        "one fold's training raises",
    ),
    "ui_restart": Row(
        "The web server or the daemon is started again",
        "A run that is under way is not touched",
        "its process is ended and started again by its id",
    ),
    "mlflow_down": Row(
        "MLflow does not answer",
        "Training goes on and its results are the same; what was not logged is logged later",
        "a port that nobody listens on; a listener that never answers",
    ),
    "optuna_locked": Row(
        "The database of trials is locked",
        "The worker waits, then gives a clear error; no finished trial is lost",
        "another connection holds an exclusive transaction",
    ),
    "kill_tuning": Row(
        "A process that tunes is killed",
        "Finished trials are kept; the one that was running is tried once more",
        "SIGKILL in the middle of a trial",
    ),
    "sigterm": Row(
        "A run is asked to stop (SIGTERM)",
        "It stops within seconds at a training state, nothing is released, and the next run goes on from there",
        "SIGTERM to the run's process while a fold is trained",
    ),
    "kill_switch": Row(
        "A run or a live strategy is told to stop by a flag",
        "It stops at the next bar or trial, and no order or release follows",
        "the flag file is written by another process, killed or repeated at bad moments",
    ),
    "out_of_memory": Row(
        "Memory runs out in training",
        "The fold fails and says so, its states stay, and the next run goes on from them",
        "a process whose address space is limited (`RLIMIT_AS`)",
    ),
    "clock_jump": Row(
        "The clock jumps back",
        "The order of deployments is their sequence, not their time",
        "the clock that stamps a deployment is set back a year",
    ),
    "resume_equals": Row(
        "A run is killed and resumed",
        "Its result is equal to an uninterrupted one's, byte for byte (on a CPU, one thread)",
        "SIGKILL or SIGTERM after an epoch, then `--resume`",
    ),
    "stale_run": Row(
        "A run's process is gone and the record says it runs",
        "The run, and what was nested in it, is marked as failed, and its place in the queue is free",
        "a run is recorded as started by a process that is no more; Dagster's queue is asked what it would launch",
    ),
    "transient_fault": Row(
        "A fault that passes",
        "It is tried again; a fault that stays, such as a leak or bad input, is not",
        "an error that appears once; one that appears always",
    ),
    "store_down": Row(
        "The object store does not answer",
        "A clear error, local results stay, and nothing is reported as stored",
        "a server that is stopped or refuses requests",
    ),
    "store_torn": Row(
        "A write to the object store stops half-way",
        "Readers see the version before or the new one, whole",
        "the writer is stopped between any two requests",
    ),
    "store_writers": Row(
        "Two machines write to the object store at once",
        "Each version is whole, and the pointer names one of them",
        "two writers with homes of their own on one store",
    ),
    "broker_worker_killed": Row(
        "One of two workers behind a broker is killed in a fold",
        "The other goes on, and the killed one's fold is recovered",
        "two worker processes on Redis, one of them sent SIGKILL",
    ),
    "hostile_names": Row(
        "A name holds markup, a path or a control character",
        "It is refused or shown as text; no file is written outside its folder",
        "experiments, features, symbols and folds with such names",
    ),
    "hostile_files": Row(
        "A file is made to harm its reader",
        "It is refused: pickles, YAML tags, links, paths out of the folder",
        "such files are put where the program reads",
    ),
}
"""Every fault by its id, in the order of the page."""
