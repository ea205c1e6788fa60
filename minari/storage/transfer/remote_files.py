"""The files of a remote: what is known of one before it is fetched, and which names are accepted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from minari.errors import DatasetExistsError, DatasetNotFoundError, RemoteError
from minari.storage.transfer.checksums import Checksum, can_compute, checksum_of


__all__ = [
    "METADATA_NAME",
    "RemoteDatasetNotFoundError",
    "RemoteFile",
    "RemoteFileNotFoundError",
    "already_there",
    "file_within",
    "is_hidden",
]

#: Of the file by which a dataset is known, in the folder of a dataset.
METADATA_NAME = "data/metadata.json"


class RemoteDatasetNotFoundError(RemoteError, DatasetNotFoundError):
    """The remote has no dataset of that id; a ``ValueError`` and a ``FileNotFoundError`` alike."""


class RemoteFileNotFoundError(RemoteError, FileNotFoundError):
    """The remote has no file of that name."""


def already_there(address: str, dataset_id: str) -> DatasetExistsError:
    """The error about a dataset that a remote has, and that was to be uploaded there."""
    return DatasetExistsError(
        f"{address} has the dataset {dataset_id} already, and datasets are never overwritten; upload it as another "
        "version."
    )


class RemoteFile(NamedTuple):
    """A file as the listing of a remote tells it.

    Attributes:
        name: relative to the root of the remote, its parts joined by ``/``.
        size: in bytes.
        checksum: of the content, where the store tells one.
        version: what changes whenever the file is written, where the store tells such a thing.
    """

    name: str
    size: int
    checksum: Checksum | None = None
    version: str | None = None

    def holds(self, content: bytes) -> bool:
        """Whether this content is the file's, as far as its size and checksum tell."""
        if self.size != len(content):
            return False
        if self.checksum is None or not can_compute(self.checksum.algorithm):
            return True
        return checksum_of(content, self.checksum.algorithm) == self.checksum


def is_hidden(name: str) -> bool:
    """Whether a file is nobody's but its machine's: its name, or that of a folder around it, begins with a dot.

    Such as lead upwards are not meant; :func:`file_within` refuses them.
    """
    return any(part.startswith(".") and part.strip(".") for part in name.split("/"))


def file_within(folder: Path, name: str) -> Path:
    """Where a file of a dataset belongs, by the name that it has on a remote.

    >>> file_within(Path("x-v0"), "data/metadata.json").parts
    ('x-v0', 'data', 'metadata.json')

    Args:
        folder: of the dataset.
        name: relative to that of the dataset, its parts joined by ``/``.

    Raises:
        RemoteError: the name would lead out of the folder, on this or on another system.
    """
    parts = name.split("/")
    if any(not part.strip(".") or any(letter in part for letter in "\\:\0") for part in parts):
        raise RemoteError(
            f"The dataset holds a file called {name!r}, which may not be the same file on every system; "
            "nothing is copied until it has been renamed or taken out of the dataset."
        )
    return folder.joinpath(*parts)
