"""Files of a remote: entries of listings, errors, and checks of names."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from minari._base.files import METADATA_LIMIT, relative_parts
from minari._base.json_text import shortened
from minari.errors import DatasetCorruptError, DatasetExistsError, DatasetNotFoundError, RemoteError, UnsafePathError
from minari.storage.transfer.checksums import Checksum, can_compute, checksum_of


__all__ = [
    "METADATA_NAME",
    "SMALL_FILE_LIMIT",
    "RemoteDatasetNotFoundError",
    "RemoteFile",
    "RemoteFileNotFoundError",
    "UnsafeNameError",
    "already_there",
    "check_size",
    "file_within",
    "is_hidden",
    "refuse_bad_names",
    "too_large",
]

_LONGEST_PART, _LONGEST_NAME = 255, 2048  # bytes; the limit of file systems

#: Maximum size of a file that is read as a whole: the metadata of a dataset, its manifest, or an index.
SMALL_FILE_LIMIT = METADATA_LIMIT

#: Path, in the directory of a dataset, of the file that identifies it as a dataset.
METADATA_NAME = "data/metadata.json"


class RemoteDatasetNotFoundError(RemoteError, DatasetNotFoundError):
    """The remote has no dataset with that id; also a ``ValueError`` and a ``FileNotFoundError``."""


class RemoteFileNotFoundError(RemoteError, FileNotFoundError):
    """The remote has no file with that name."""


class UnsafeNameError(RemoteError, UnsafePathError):
    """The name of a file on a remote cannot be used locally."""


def check_size(content: bytes, limit: int, name: str) -> bytes:
    """Return the content, unless it is larger than a limit.

    Raises:
        DatasetCorruptError: it is larger.
    """
    if len(content) > limit:
        raise too_large(name, limit)
    return content


def too_large(name: str, limit: int) -> DatasetCorruptError:
    """Return the error for a small file that is too large."""
    return DatasetCorruptError(
        f"{name} on the remote is larger than {limit:,} bytes, which no such file needs; its owner should upload it "
        "again."
    )


def already_there(address: str, dataset_id: str) -> DatasetExistsError:
    """Return the error for the upload of a dataset that the remote already has."""
    return DatasetExistsError(
        f"{address} already has the dataset {dataset_id}, and datasets are never overwritten; upload it as another "
        "version."
    )


class RemoteFile(NamedTuple):
    """Entry of a file in the listing of a remote.

    Attributes:
        name: relative to the root of the remote, its parts joined by ``/``.
        size: in bytes.
        checksum: checksum of the content, if the store reports one.
        version: a value that changes whenever the file is written, if the store reports one.
    """

    name: str
    size: int
    checksum: Checksum | None = None
    version: str | None = None

    def holds(self, content: bytes) -> bool:
        """Return whether the content has the size of the file, and its checksum if there is one."""
        if self.size != len(content):
            return False
        if self.checksum is None or not can_compute(self.checksum.algorithm):
            return True
        return checksum_of(content, self.checksum.algorithm) == self.checksum


def is_hidden(name: str) -> bool:
    """Return whether the name of a file, or of a directory that contains it, begins with a dot.

    Such files are not transferred. Names with ``..`` do not count; :func:`file_within` rejects them.
    """
    return any(part.startswith(".") and part.strip(".") for part in name.split("/"))


def file_within(directory: Path, name: str) -> Path:
    """Return the local path of a file of a dataset, given its name on a remote.

    >>> file_within(Path("x-v0"), "data/metadata.json").parts
    ('x-v0', 'data', 'metadata.json')

    Args:
        directory: directory of the dataset.
        name: path relative to that directory, with parts joined by ``/``.

    Raises:
        UnsafeNameError: the name would lead out of the directory, on this or on another system.
    """
    return directory.joinpath(*_parts(name))


def _parts(name: str) -> tuple[str, ...]:
    try:
        parts = relative_parts(name)
        is_short = len(os.fsencode(name)) <= _LONGEST_NAME
        if is_short and all(len(os.fsencode(part)) <= _LONGEST_PART for part in parts):
            return parts
    except UnsafePathError:
        pass
    raise UnsafeNameError(
        f"The dataset holds a file called {shortened(name)}, which may not be the same file on every system; "
        "nothing is copied until it is renamed or removed from the dataset."
    )


def refuse_bad_names(names: Iterable[str]) -> None:
    """Check that the files of a dataset can exist together on every operating system.

    Args:
        names: distinct paths relative to the directory of the dataset.

    Raises:
        UnsafeNameError: a name would lead out of the directory, two names are equal on some systems,
            or a file has the name of a directory.
    """
    taken: dict[tuple[str, ...], str] = {}
    for name in names:
        folded = tuple(unicodedata.normalize("NFC", part).casefold() for part in _parts(name))
        if folded in taken:
            raise UnsafeNameError(
                f"The dataset holds the files {shortened(taken[folded])} and {shortened(name)}, which are the same "
                "file on some systems; nothing is copied until one is renamed."
            )
        taken[folded] = name
    for parts in taken:
        if any(parts[:end] in taken for end in range(1, len(parts))):
            raise UnsafeNameError(
                f"The dataset holds both a file {shortened(taken[parts])} and a file in place of its directory; "
                "nothing is copied until one is renamed."
            )
