"""Primitives of an object store: find, read, write and delete objects by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from minari.errors import RemoteError
from minari.storage.transfer.meter import unreported
from minari.storage.transfer.remote_files import RemoteFile


__all__ = ["ABSENT", "ConflictError", "ObjectStore"]

#: Argument of :meth:`ObjectStore.put` if the object must not exist yet.
ABSENT = "absent"


class ConflictError(RemoteError):
    """An object does not have the version that was expected when it was written."""


class ObjectStore(ABC):
    """Objects with names and any content.

    Attributes:
        max_workers: number of concurrent requests.
    """

    max_workers: int

    @property
    @abstractmethod
    def address(self) -> str:
        """Address of the store, for messages."""

    @abstractmethod
    def find(self, prefix: str, ending: str = "") -> Iterable[RemoteFile]:
        """List all objects whose names begin with one text and end with another."""

    @abstractmethod
    def read_file(self, name: str) -> bytes:
        """Read a small object.

        Raises:
            RemoteFileNotFoundError: there is no object with that name.
        """

    @abstractmethod
    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read the bytes of an object from ``start`` up to ``stop``, fewer if it ends before.

        Raises:
            RemoteFileNotFoundError: there is no object with that name.
        """

    @abstractmethod
    def read_version(self, name: str) -> tuple[bytes, str | None]:
        """Read a small object, with its version for ``match`` of :meth:`put`; None if there are no versions.

        Raises:
            RemoteFileNotFoundError: there is no object with that name.
        """

    @abstractmethod
    def put(self, name: str, content: bytes, *, match: str | None = None) -> None:
        """Write a small object.

        Args:
            name: name of the object.
            content: content of the object.
            match: :data:`ABSENT` if the object must not exist, a version of :meth:`read_version` if it must still
                have that version, or None for any.

        Raises:
            ConflictError: the object has another version, or exists.
        """

    @abstractmethod
    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = unreported) -> RemoteFile:
        """Send a file.

        Args:
            name: name of the object.
            path: path of the file.
            sent: may be called from any thread with the numbers of bytes that were sent; bytes that are not
                reported count when the file is complete.

        Returns:
            The entry of the object in the store, with its checksum.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
