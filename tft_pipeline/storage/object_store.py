"""The object store that `TFT_STORE` names: whole objects, put and got by key. fsspec does the work and is imported here only.

A put is complete or absent: on S3 because the server makes it so, on `file://` because it is staged beside its place and
renamed (fsspec's own local write is neither). No credentials here: fsspec and the store's library read them from the
environment. Not here: what the objects mean (`stored_versions`, `shared_lines`, `published`).
"""

import errno
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.atomic import fsync_folder, replace_file

VARIABLE = "TFT_STORE"
_KEY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_LOCK = ".put.lock"
PRECONDITION = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
"""Codes of a conditional put that was refused because the object is there, or is another one."""
REFUSED = {
    "memory": "it ends with the process, and no other one sees it",
    "http": "nothing can be written there",
    "https": "nothing can be written there",
}
"""Protocols of fsspec that keep nothing."""
PASSING_ERRNOS = frozenset(
    {
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EBUSY,  # s3fs says so for 503 and SlowDown
        errno.EREMOTEIO,  # and so for 500
    }
)
PASSING_NAMES = frozenset(
    {
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ConnectionClosedError",
        "ResponseStreamingError",
        "ClientConnectionError",
        "ClientPayloadError",
    }
)
"""Classes of botocore and aiohttp, which are not imported for this: a server that is away, or hung up."""
T = TypeVar("T")


class StoreError(RuntimeError):
    """The store did not answer, or refused; what it holds is not known.

    Attributes:
        may_pass: it could not be reached, gave no answer in time or was busy, so the same may work next time; not where it
            refused this bucket, user or request.
        put: whether an object that was being put is there is not known: the answer was lost.
    """

    def __init__(self, message: str, *, may_pass: bool = False, put: bool = False) -> None:
        super().__init__(message)
        self.may_pass, self.put = may_pass, put


class MovedError(RuntimeError):
    """An object is not what it was expected to be: another machine wrote it meanwhile."""


@dataclass(frozen=True)
class ObjectStore:
    """Objects below one URL.

    Attributes:
        url: as `TFT_STORE` says; it holds no credentials.
        fs: the fsspec file system. root: where in it the objects lie.
    """

    url: str
    fs: Any
    root: str

    def where(self, key: str) -> str:
        """An object's address, for messages."""
        return f"{self.url}/{key}"

    def get(self, key: str) -> bytes | None:
        """An object's bytes; None where there is none.

        Raises:
            StoreError: the store does not answer.
        """
        one = {"max_concurrency": 1} if self._s3 else {}  # one request: s3fs would ask for the size first
        try:
            return self._asked("read", key, lambda path: bytes(self.fs.cat_file(path, **one)))
        except FileNotFoundError:
            return None

    def fetch(self, key: str, path: Path) -> bool:
        """Write an object's bytes to a local file; whether there was one.

        Raises:
            StoreError: the store does not answer.
        """
        try:
            self._asked("read", key, lambda there: self.fs.get_file(there, str(path)))
        except FileNotFoundError:
            return False
        return True

    def put_file(self, key: str, path: Path) -> None:
        """Put a local file; an object of this name is replaced.

        Raises:
            StoreError: the store does not take it; the object is the old one, or wholly the new one.
        """
        if self._local:
            self._asked("write", key, lambda there: replace_file(Path(there), partial(shutil.copyfile, path)))
        else:
            self._asked("write", key, lambda there: self.fs.put_file(str(path), there))

    def put(self, key: str, content: bytes) -> None:
        """Put bytes in one step; the last of two writers wins.

        Raises:
            StoreError: as `put_file`.
        """
        if self._local:
            self._asked("write", key, lambda path: replace_file(Path(path), _writes(content)))
        else:
            self._asked("write", key, lambda path: self.fs.pipe_file(path, content))

    def create(self, key: str, content: bytes) -> bool:
        """Put bytes where there is no object; whether this call did. Of two writers one wins.

        On S3 by `If-None-Match`, on `file://` by a hard link; elsewhere by fsspec's `mode="create"`.

        Raises:
            StoreError: as `put_file`.
        """
        try:
            if self._local:
                self._asked("write", key, lambda path: _linked(Path(path), content))
            else:
                self._asked("write", key, lambda path: self.fs.pipe_file(path, content, mode="create"))
        except FileExistsError:
            return False
        return True

    def replace(self, key: str, content: bytes, *, expected: bytes | None) -> None:
        """Put bytes where the object still is what was read.

        On S3 by `If-Match`, on `file://` under a lock of the machine; elsewhere it is compared and then put, and a writer in
        between is lost. Where the answer to a put was lost, the object is asked: it may be there all the same.

        Args:
            expected: bytes of the object as it was read; None: there was none.
        Raises:
            MovedError: it is another one by now; nothing was put.
            StoreError: as `put_file`; where it is not known whether it was put, `put` says so.
        """
        try:
            self._replaced(key, content, expected)
        except MovedError:
            if self.get(key) != content:  # else our own: the library asked again after a lost answer
                raise
        except StoreError as error:
            if not error.put or not self._holds(key, content):
                raise

    def _replaced(self, key: str, content: bytes, expected: bytes | None) -> None:
        if expected is None:
            if not self.create(key, content):
                raise MovedError(f"{self.where(key)} was made by another machine meanwhile")
            return
        if self._local:
            folder = Path(self._path(key)).parent
            with (folder / _LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._unmoved(key, expected)
                self.put(key, content)
            return
        tag: dict[str, str] = {}
        if self._s3:  # asked before the bytes: one who writes in between is found out by the server
            tag["IfMatch"] = str(self._asked("read", key, self.fs.info)["ETag"])
        self._unmoved(key, expected)
        try:
            self._asked("write", key, lambda path: self.fs.pipe_file(path, content, **tag))
        except FileExistsError as error:
            raise MovedError(f"{self.where(key)} was replaced by another machine meanwhile") from error

    def names(self, folder: str) -> dict[str, Any]:
        """Every object below a folder, by its key, with what the store says of it. For looking only: a listing may lag."""
        found = self._asked("list", folder, lambda path: self.fs.find(path, detail=True))
        start = len(self.fs._strip_protocol(self._path(folder))) + 1
        keys = {f"{folder}/{name[start:]}": about for name, about in found.items() if len(name) >= start}
        return {key: about for key, about in keys.items() if _KEY.fullmatch(key)}  # no locks and no stages of `file://`

    def remove(self, key: str) -> None:
        """Remove an object; none is no error."""
        try:
            self._asked("remove", key, self.fs.rm_file)
        except FileNotFoundError:
            return

    def holds(self, folder: Path) -> bool:
        """Whether the store lies inside a local folder, or the folder inside the store."""
        if not self._local:
            return False
        mine, other = Path(self.root).resolve(), folder.resolve()
        return mine.is_relative_to(other) or other.is_relative_to(mine)

    def _holds(self, key: str, content: bytes) -> bool:
        """Whether an object is these bytes; False where nobody answers."""
        try:
            return self.get(key) == content
        except StoreError:
            return False

    @property
    def _local(self) -> bool:
        return "file" in _protocols(self.fs)

    @property
    def _s3(self) -> bool:
        return "s3" in _protocols(self.fs)

    def _path(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key of an object: plain names with / between them")
        return f"{self.root}/{key}"

    def _unmoved(self, key: str, expected: bytes) -> None:
        if self.get(key) != expected:
            raise MovedError(f"{self.where(key)} was replaced by another machine meanwhile")

    def _asked(self, what: str, key: str, ask: Callable[[str], T]) -> T:
        """Ask the store; absent and present objects are answers, everything else is one error with address and cause."""
        path = self._path(key)
        try:
            return ask(path)
        except (FileNotFoundError, FileExistsError) as answer:
            if _refusal(answer) == "NoSuchBucket":
                raise self._error(what, key, answer) from answer
            raise
        except Exception as error:  # each store has errors of its own; none is hidden
            if _refusal(error) in PRECONDITION:
                raise FileExistsError(key) from error
            raise self._error(what, key, error) from error

    def _error(self, what: str, key: str, error: Exception) -> StoreError:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return StoreError(
            f"{self.where(key)}: the store did not {what} it ({said}): what it holds is not known, so nothing else is taken in "
            f"its place; see that the store answers and its credentials are set, and try again, or unset {VARIABLE} to work on "
            "this machine alone",
            may_pass=_passes(error),
            put=what == "write",
        )


def store_url() -> str | None:
    """What `TFT_STORE` says; None where nothing is kept but on this machine."""
    return os.environ.get(VARIABLE) or None


def open_store() -> ObjectStore | None:
    """The store that `TFT_STORE` names; None where it names none. Nothing is asked yet.

    Raises:
        ConfigurationError: it is no URL, holds credentials, or its library is not installed.
    """
    url = store_url()
    if url is None:
        return None
    url = url.rstrip("/")
    _check(url)
    try:
        import fsspec

        # listings are never kept: one that another machine has outdated would be believed
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"{VARIABLE} {url!r} cannot be used ({error}): nothing would be stored there; install `tft-pipeline[distributed]` "
            "for S3, or the fsspec library of your store"
        ) from error
    return ObjectStore(url=url, fs=fs, root=str(root).rstrip("/"))


def _check(url: str) -> None:
    if "@" in url:  # not printed: what stands before it may be a password
        raise ConfigurationError(
            f"{VARIABLE} holds an @, so it may hold credentials, which would stand in messages; give them in the environment "
            "of the store's library, such as AWS_ACCESS_KEY_ID"
        )
    parts = urlsplit(url)
    if not parts.scheme or "://" not in url or "::" in url or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{VARIABLE} {url!r} is no URL of a store: write s3://bucket/prefix or file:///folder, without caches, queries and "
            "fragments"
        )
    if parts.scheme in REFUSED:
        raise ConfigurationError(
            f"{VARIABLE} {url!r} is no store: {REFUSED[parts.scheme]}; write s3://bucket/prefix or file:///folder"
        )
    if parts.scheme == "file" and (parts.netloc or len(parts.path) < 2):
        raise ConfigurationError(f"{VARIABLE} {url!r} is no folder: write file:///folder, three slashes")


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _writes(content: bytes) -> Callable[[Path], int]:
    return lambda path: path.write_bytes(content)


def _linked(path: Path, content: bytes) -> None:
    """Make a file that is not there yet, with all of its content or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.parent / f".tft-{uuid.uuid4().hex}"
    try:
        with staged.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    fsync_folder(path.parent)


def _passes(error: BaseException | None) -> bool:
    """Whether an error, or one it was raised from, is of a server that is away or busy."""
    while error is not None:
        if isinstance(error, TimeoutError | ConnectionError) or getattr(error, "errno", None) in PASSING_ERRNOS:
            return True
        if PASSING_NAMES & {one.__name__ for one in type(error).__mro__}:
            return True
        error = error.__cause__
    return False


def _refusal(error: BaseException) -> str:
    """The code by which an S3 server refused, "" where none did."""
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
