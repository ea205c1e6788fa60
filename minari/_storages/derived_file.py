"""Values that are derived from a dataset, kept in a hidden file beside its data as long as the data stays the same."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any, Final

import xxhash

from minari._base.atomic import write_atomically
from minari._base.checksums import bytes_checksum
from minari._base.data_file import stamp_of
from minari._base.files import open_with_status, read_at, read_regular
from minari._base.json_text import parse_json
from minari._storages.core import StorageCore
from minari._storages.paths import is_remote
from minari.errors import UnsafePathError


__all__ = ["DerivedFile"]

_LARGEST: Final = 2**28  # bytes
_DIGEST_SIZE: Final = 16
_FEW_FILES: Final = 32
_ENDS: Final = 4096  # bytes


class DerivedFile:
    """A hidden file of values that were computed from the data, which is ignored if anything has changed since.

    The files of the data are compared by their names, identities, sizes, times of modification and of change, and, if
    they are few, their beginnings and ends, so that changes by other programs count too. Create it before the data is
    read: what another program changes in between then makes the file stale.

    Args:
        storage: of the dataset. That of one of many agents, or one that is not in a local directory, has no file.
        name: of the file, with a leading dot.
        key: what else the values depend on, as JSON: their version, the episodes.
    """

    def __init__(self, storage: StorageCore, name: str, *key: Any) -> None:
        is_part = bool(storage.full_path(()))
        self._path = None if is_remote(storage.data_path) or is_part else Path(storage.data_path, name)
        self._state: Any = None
        if self._path is not None:
            data = _stamp_of_files(str(storage.data_path))
            state = [storage.state, storage.total_episodes, storage.total_steps, data, *key]
            self._state = json.loads(json.dumps(state))

    @property
    def is_possible(self) -> bool:
        """Return whether the dataset has a place for the file."""
        return self._path is not None

    def read(self) -> Any:
        """Return the values; None if there are none, or they are of other data."""
        if self._path is not None:
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
                content = read_regular(self._path, _LARGEST)
                stored = parse_json(content[_DIGEST_SIZE:])
                if _digest(content[_DIGEST_SIZE:]) == content[:_DIGEST_SIZE] and stored["state"] == self._state:
                    return stored["values"]
        return None

    def write(self, values: Any) -> None:
        """Keep values, which JSON can represent; a directory that cannot be written to is not an error."""
        if self._path is None:
            return
        content = json.dumps({"state": self._state, "values": values}).encode()
        if len(content) <= _LARGEST - _DIGEST_SIZE:
            with contextlib.suppress(OSError):
                write_atomically(self._path, _digest(content) + content, durable=False)


def _digest(content: bytes) -> bytes:
    return f"{bytes_checksum(content):016x}".encode()


def _stamp_of_files(directory: str) -> str:
    """Return a checksum of what tells the files in a directory from others, hidden ones excepted."""
    stamps: list[tuple[str, str]] = []
    pending = [""]
    while pending:
        prefix = pending.pop()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{directory}/{prefix}") as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(f"{prefix}{entry.name}/")
                    else:
                        stamps.append((f"{prefix}{entry.name}", str(stamp_of(status))))
    stamps.sort()
    digest = xxhash.xxh3_64()
    for name, stamp in stamps:
        digest.update(os.fsencode(f"{name}\0{stamp}\0"))
        if len(stamps) <= _FEW_FILES:
            digest.update(_ends_of(Path(directory, name)))
    return digest.hexdigest()


def _ends_of(path: Path) -> bytes:
    """Return the beginning and the end of a file, which a change of times that was undone does not hide."""
    try:
        descriptor, status = open_with_status(path)
    except (OSError, UnsafePathError):
        return b""
    try:
        return read_at(descriptor, 0, _ENDS) + read_at(descriptor, max(0, status.st_size - _ENDS), _ENDS)
    finally:
        os.close(descriptor)
