"""The primitives of a store of objects: each is found, read, written whole and deleted by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from minari.errors import RemoteError
from minari.storage.transfer.meter import unreported
from minari.storage.transfer.remote_files import RemoteFile


__all__ = ["ABSENT", "ConflictError", "ObjectStore"]

#: Passed to :meth:`ObjectStore.put` where there must be no object yet.
ABSENT = "absent"


class ConflictError(RemoteError):
    """An object is not, or no longer, of the version that was expected when it was written."""


class ObjectStore(ABC):
    """Objects under names, whatever they hold.

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
        """List the objects whose names begin with one text and end with another, however many there are."""

    @abstractmethod
    def read_file(self, name: str) -> bytes:
        """Read a small object.

        Raises:
            RemoteFileNotFoundError: there is none of that name.
        """

    @abstractmethod
    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read the bytes of an object from ``start`` up to ``stop``, fewer where it ends before.

        Raises:
            RemoteFileNotFoundError: there is none of that name.
        """

    @abstractmethod
    def read_version(self, name: str) -> tuple[bytes, str | None]:
        """Read a small object with the value that :meth:`put` takes as ``match``; None where versions do not exist.

        Raises:
            RemoteFileNotFoundError: there is none of that name.
        """

    @abstractmethod
    def put(self, name: str, content: bytes, *, match: str | None = None) -> None:
        """Write a small object.

        Args:
            name: of the object.
            content: its whole content.
            match: :data:`ABSENT` where there must be none yet, what :meth:`read_version` has returned where it must
                still be of that version; None where that does not matter.

        Raises:
            ConflictError: it is not so.
        """

    @abstractmethod
    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = unreported) -> RemoteFile:
        """Send a file.

        Args:
            name: of the object.
            path: of the file.
            sent: may be called with numbers of bytes as they are sent, from any thread; bytes that are not reported
                count when the file is there.

        Returns:
            What the store reports of the object now, its checksum above all.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete an object; nothing happens where there is none."""
