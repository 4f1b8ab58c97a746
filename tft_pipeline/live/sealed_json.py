"""A JSON record with its own hash, written in one step: read back whole, or refused. Standard library only.

    {"schema_version": 1, ..., "sha256": SHA-256 of the record without this key, keys sorted}

Not here: what the records mean.
"""

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from tft_pipeline.storage.atomic import fsync_folder

SCHEMA_VERSION = 1
SEAL = "sha256"
LARGEST = 4_000_000
"""Bytes of the largest record that is read: more is no record of ours."""


class DamagedRecordError(ValueError):
    """A file that is there and is not, byte for byte, what one of us wrote."""


def seal(record: dict[str, Any]) -> str:
    """Hash of a record without its own."""
    return hashlib.sha256(_text({key: value for key, value in record.items() if key != SEAL}).encode()).hexdigest()


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its version and its hash.

    Raises:
        ValueError: a number that JSON does not know.
    """
    versioned = {"schema_version": SCHEMA_VERSION} | record
    return versioned | {SEAL: seal(versioned)}


def checked(record: Any, *, name: str) -> dict[str, Any]:
    """The record itself, when it is one of ours.

    Raises:
        DamagedRecordError: another version, or content that its hash is not of.
    """
    if not isinstance(record, dict):
        raise DamagedRecordError(f"{name} holds no JSON object")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise DamagedRecordError(
            f"{name} has schema_version {record.get('schema_version')!r}, this program knows {SCHEMA_VERSION}"
        )
    try:
        right = record.get(SEAL) == seal(record)
    except RecursionError:  # writing takes more of the stack than reading did
        raise DamagedRecordError(f"{name} is nested too deeply") from None
    if not right:
        raise DamagedRecordError(f"{name}: its content is not what its hash was made of: damaged, or changed by hand")
    return record


def line_of(record: dict[str, Any]) -> str:
    """One line of a sealed record."""
    return _text(sealed(record)) + "\n"


def write_sealed(path: Path, record: dict[str, Any], *, durable: bool = True) -> None:
    """Replace a file by a sealed record in one step.

    Args:
        durable: whether it must outlast a power cut; without, what is read after one may be missing or damaged.
    Raises:
        OSError: it cannot be written; what was there stays.
    """
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
    try:
        stage_sealed(staged, record, durable=durable)
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    if durable:
        fsync_folder(path.parent)


def stage_sealed(staged: Path, record: dict[str, Any], *, durable: bool = True) -> None:
    """Write a new file that a rename will put into its place."""
    with staged.open("x", encoding="utf-8") as stream:
        stream.write(line_of(record))
        stream.flush()
        if durable:
            os.fsync(stream.fileno())


def read_sealed(path: Path) -> dict[str, Any]:
    """A sealed record.

    Raises:
        FileNotFoundError: there is none.
        DamagedRecordError: what is there is not one.
        OSError: it cannot be read, or is a folder.
    """
    with path.open("rb") as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DamagedRecordError(f"{path.name} has more than {LARGEST} bytes")
    return parsed(content, name=path.name)


def parsed(content: bytes, *, name: str) -> dict[str, Any]:
    """A sealed record from its text.

    Raises:
        DamagedRecordError: it is none.
    """
    try:
        record = json.loads(content)
    except ValueError as error:
        raise DamagedRecordError(f"{name} is not JSON: {error}") from None
    except RecursionError:
        raise DamagedRecordError(f"{name} is nested too deeply") from None
    return checked(record, name=name)


def _text(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, allow_nan=False)
