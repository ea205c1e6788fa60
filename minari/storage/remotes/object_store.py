"""What is asked of a store of objects: each is found, read, written whole, and taken away by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from minari.errors import RemoteError
from minari.storage.transfer.remote_files import RemoteFile
from minari.storage.transfer.workers import untold


__all__ = ["ABSENT", "ConflictError", "ObjectStore"]

#: What :meth:`ObjectStore.put` is told where there must be no object yet.
ABSENT = "absent"


class ConflictError(RemoteError):
    """An object is not, or no longer, what it was to be when it was written."""


class ObjectStore(ABC):
    """Objects under names; what is done with these methods is none of their affair.

    Attributes:
        max_workers: how many requests may run at the same time.
    """

    max_workers: int

    @property
    @abstractmethod
    def address(self) -> str:
        """Of the store, for messages."""

    @abstractmethod
    def read_file(self, name: str) -> bytes:
        """A small object.

        Raises:
            RemoteFileNotFoundError: there is none of that name.
        """

    @abstractmethod
    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """The bytes of an object from ``start`` up to ``stop``, fewer where it ends before.

        Raises:
            RemoteFileNotFoundError: there is none of that name.
        """

    @abstractmethod
    def find(self, prefix: str, ending: str = "") -> Iterable[RemoteFile]:
        """The objects whose names begin with one text and end with another, however many there are."""

    @abstractmethod
    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = untold) -> RemoteFile:
        """Send a file.

        Args:
            name: of the object.
            path: of the file.
            sent: may be told of bytes as they are sent, from any thread; what it is not told of counts when
                the file is there.

        Returns:
            What the store says of the object now, its checksum above all.
        """

    @abstractmethod
    def put(self, name: str, content: bytes, *, match: str | None = None) -> None:
        """Send a small object.

        Args:
            name: of the object.
            content: its whole content.
            match: :data:`ABSENT` where there must be none yet, what :meth:`read_version` has told where
                it must still be that; None where that does not matter.

        Raises:
            ConflictError: it is not so.
        """

    @abstractmethod
    def read_version(self, name: str) -> tuple[bytes, str | None]:
        """A small object, and what :meth:`put` takes as ``match``; None where the store cannot compare.

        Raises:
            RemoteFileNotFoundError: there is none of that name.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Take an object away; nothing happens where there is none."""
