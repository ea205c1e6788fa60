"""Files of a remote: their entries in listings, their errors, and the names that are accepted."""

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

_LONGEST_PART, _LONGEST_NAME = 255, 2048  # bytes; what file systems take

#: The most bytes of a file that is read at once: the metadata of a dataset, its manifest, or an index.
SMALL_FILE_LIMIT = METADATA_LIMIT

#: Name of the file by which a dataset is known, in the directory of a dataset.
METADATA_NAME = "data/metadata.json"


class RemoteDatasetNotFoundError(RemoteError, DatasetNotFoundError):
    """The remote has no dataset of that id; a ``ValueError`` and a ``FileNotFoundError`` alike."""


class RemoteFileNotFoundError(RemoteError, FileNotFoundError):
    """The remote has no file of that name."""


class UnsafeNameError(RemoteError, UnsafePathError):
    """A file of a dataset on a remote has a name that cannot be used here."""


def check_size(content: bytes, limit: int, name: str) -> bytes:
    """Return a content that has no more bytes than are allowed.

    Raises:
        DatasetCorruptError: it has.
    """
    if len(content) > limit:
        raise too_large(name, limit)
    return content


def too_large(name: str, limit: int) -> DatasetCorruptError:
    """Return the error about a small file that is too large."""
    return DatasetCorruptError(
        f"{name} on the remote is larger than {limit:,} bytes, which no such file needs; whoever keeps it there should "
        "upload it again."
    )


def already_there(address: str, dataset_id: str) -> DatasetExistsError:
    """Return the error about an upload of a dataset that the remote has."""
    return DatasetExistsError(
        f"{address} has the dataset {dataset_id} already, and datasets are never overwritten; upload it as another "
        "version."
    )


class RemoteFile(NamedTuple):
    """A file in the listing of a remote.

    Attributes:
        name: relative to the root of the remote, its parts joined by ``/``.
        size: in bytes.
        checksum: of the content, where the store reports one.
        version: a value that changes whenever the file is written, where the store reports one.
    """

    name: str
    size: int
    checksum: Checksum | None = None
    version: str | None = None

    def holds(self, content: bytes) -> bool:
        """Return whether a content has the size of the file, and its checksum if there is one."""
        if self.size != len(content):
            return False
        if self.checksum is None or not can_compute(self.checksum.algorithm):
            return True
        return checksum_of(content, self.checksum.algorithm) == self.checksum


def is_hidden(name: str) -> bool:
    """Return whether the name of a file, or of a directory around it, begins with a dot.

    Such files stay on their machine. Names that lead upwards are not meant; :func:`file_within` refuses them.
    """
    return any(part.startswith(".") and part.strip(".") for part in name.split("/"))


def file_within(directory: Path, name: str) -> Path:
    """Return the path of a file of a dataset, by the name that it has on a remote.

    >>> file_within(Path("x-v0"), "data/metadata.json").parts
    ('x-v0', 'data', 'metadata.json')

    Args:
        directory: directory of the dataset.
        name: relative to that directory, its parts joined by ``/``.

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
        "nothing is copied until it has been renamed or taken out of the dataset."
    )


def refuse_bad_names(names: Iterable[str]) -> None:
    """Make sure that the files of a dataset can lie beside each other, on this and on every other system.

    Args:
        names: relative to the directory of the dataset, each once.

    Raises:
        UnsafeNameError: a name would lead out of the directory, two names are the same to some systems,
            or a file has the name of a directory.
    """
    taken: dict[tuple[str, ...], str] = {}
    for name in names:
        folded = tuple(unicodedata.normalize("NFC", part).casefold() for part in _parts(name))
        if folded in taken:
            raise UnsafeNameError(
                f"The dataset holds the files {shortened(taken[folded])} and {shortened(name)}, which are one to some "
                "systems; nothing is copied until one has been renamed."
            )
        taken[folded] = name
    for parts in taken:
        if any(parts[:end] in taken for end in range(1, len(parts))):
            raise UnsafeNameError(
                f"The dataset holds both a file {shortened(taken[parts])} and a file in place of its directory; "
                "nothing is copied until one has been renamed."
            )
