"""Faults of the machine that no command expects: a closed folder, a full disk, a damaged database. One sentence each.

Not here: faults that a command expects, and those of this program, which keep their traceback.
"""

import errno

REMEDIES = {
    errno.EACCES: "give this user the right, or set TFT_HOME to another folder, or name another file",
    errno.EPERM: "give this user the right, or set TFT_HOME to another folder",
    errno.EROFS: "the disk is read-only: set TFT_HOME to a folder that can be written",
    errno.ENOSPC: "the disk is full: make room (`tft clean --dry-run` says what may go) and start again with --resume",
    errno.EDQUOT: "the quota of this user is used up: make room and start again with --resume",
    errno.ENOTDIR: "a file stands where a folder is expected: move it away, or set TFT_HOME to another folder",
    errno.EISDIR: "a folder stands where a file is expected: name the file",
    errno.EIO: "the disk does not read or write any more: look at the system's log",
    errno.EMFILE: "too many files are open: raise the limit with `ulimit -n`",
}
OF_DATABASES = ("DatabaseError", "OperationalError", "DagsterInstanceMigrationRequired")
"""Classes of sqlite3, SQLAlchemy and Dagster, which are not imported for this. A wrong call and a broken constraint are of
other classes below `DatabaseError`, and faults of this program."""


def fault_of_the_machine(error: BaseException) -> str | None:
    """What happened and what to do, of an error or of what it says it came from; None where the program itself may be wrong.

    An error raised while another was handled is its own: only `raise ... from` says that it tells of the other.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in REMEDIES:
            where = "" if seen.filename is None else f"{seen.filename}: "
            return f"{where}{seen.strerror}; {REMEDIES[seen.errno]}; `tft doctor` looks at the rest"
        if type(seen).__name__ in OF_DATABASES:
            return f"a database cannot be used ({_first_line(seen)}); `tft doctor` says which, and what to do"
        seen = seen.__cause__
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
