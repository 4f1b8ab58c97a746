"""Object stores for tests: an S3 server on loopback, one a process, folders, and requests that fail."""

import itertools
import logging
import os
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

KINDS = ("none", "file", "s3")
STORES = ("file", pytest.param("s3", marks=pytest.mark.slow))
"""The contract itself is held on both at every run; what is finer, on S3 among the slow tests."""
SECRET = "a-secret-that-nobody-may-print"
BUCKET = "tests"


@cache
def s3_endpoint() -> str:
    """A server that lives as long as this process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT"), timeout=60).close()
    return endpoint


def store_environment(kind: str, folder: Path) -> dict[str, str]:
    """Variables that name a fresh, empty store."""
    if kind == "none":
        return {}
    if kind == "file":
        return {"TFT_STORE": f"file://{folder / 'store'}"}
    return {
        "TFT_STORE": f"s3://{BUCKET}/{uuid.uuid4().hex}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_endpoint(),
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def use_store(patch: pytest.MonkeyPatch, kind: str, folder: Path) -> None:
    """Work with a fresh store of a kind, in the home `folder/home`."""
    patch.delenv("TFT_STORE", raising=False)
    patch.setenv("TFT_HOME", str(folder / "home"))
    for name, value in store_environment(kind, folder).items():
        patch.setenv(name, value)


@contextmanager
def requests_fail(*, first: int, after: bool = False, seen: list[str] | None = None) -> Iterator[None]:
    """From the n-th request to S3 on, counted from 0, the server is gone.

    Args:
        after: the first of these is still carried out, and its answer is lost.
        seen: collects what was asked.
    """
    from botocore.exceptions import EndpointConnectionError
    from s3fs import S3FileSystem

    original, count = S3FileSystem._call_s3, itertools.count()

    async def call(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        number = next(count)
        if seen is not None:
            seen.append(f"{method} {kwargs.get('Key', kwargs.get('Prefix', ''))}")
        if number == first and after:
            with suppress(FileNotFoundError):  # an answer, which is lost like any other
                await original(self, method, *args, **kwargs)
        if number >= first:
            raise EndpointConnectionError(endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        return await original(self, method, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3FileSystem, "_call_s3", call)
        yield


def writer(files: dict[str, bytes]) -> Callable[[Path], None]:
    """Fills a version."""

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return fill
