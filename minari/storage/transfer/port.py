"""The port of remotes: seven primitives that move bytes and names, and the look-ups that are built on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._model.dataset_id import DatasetId, dataset_id_sort_key, parse_namespace
from minari._model.metadata_json import parse_metadata, with_id_of_place
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.meter import Advance
from minari.storage.transfer.remote_files import (
    METADATA_NAME,
    SMALL_FILE_LIMIT,
    RemoteDatasetNotFoundError,
    RemoteFile,
    RemoteFileNotFoundError,
    check_size,
)
from minari.storage.transfer.upload_snapshot import UploadSnapshot


__all__ = ["Remote"]


class Remote(ABC):
    """Bucket, organization or directory from which datasets are shared.

    A remote knows nothing of local directories and their content: :mod:`minari.storage.transfer` decides what is
    transferred and verifies it. Names of files are relative to the root of the remote, with parts joined by ``/``:
    the files of the dataset ``a/x-v0`` are ``a/x-v0/data/metadata.json`` and so on.

    The seven abstract methods are the primitives. They are called from several threads concurrently, and are called
    again after a :class:`RemoteUnreachableError`, so that they need not retry. Each raises a :class:`RemoteError` on
    failure: :class:`RemoteUnreachableError` if the remote does not respond, :class:`RemoteAccessError` if it denies
    access.

    Attributes:
        max_workers: number of concurrent requests.
    """

    #: True if single datasets, or groups of them, can be private.
    PRIVATE: ClassVar[bool] = False
    #: True if users may move datasets there with system tools, so that a manifest may name another id.
    MOVABLE: ClassVar[bool] = False
    #: Algorithms of the checksums that the store reports, which are computed for the files that are sent.
    CHECKSUMS: ClassVar[tuple[str, ...]] = ()

    max_workers: int

    @property
    @abstractmethod
    def address(self) -> str:
        """Address of the remote, ``scheme://name``."""

    # Primitives

    @abstractmethod
    def list_with_metadata(self, prefix: str | None = None) -> Mapping[str, bytes | None]:
        """List the complete datasets, with their metadata if it can be listed as well.

        Args:
            prefix: return only ids that begin with this text, which may end inside a part.

        Returns:
            Id -> the content of ``metadata.json``, or None if it has to be requested.
        """

    @abstractmethod
    def list_namespaces(self) -> Iterable[str]:
        """List the namespaces that have metadata."""

    @abstractmethod
    def list_files(self, directory: str) -> Iterable[RemoteFile]:
        """List all files below a directory, at any depth; none if there is no such directory.

        Args:
            directory: the exact directory: ``x-v1`` does not mean ``x-v10``.
        """

    @abstractmethod
    def read_file(self, name: str) -> bytes:
        """Read a small file, holding at most :data:`SMALL_FILE_LIMIT` bytes in memory.

        Raises:
            RemoteFileNotFoundError: there is no file with that name.
            DatasetCorruptError: the file is larger.
        """

    @abstractmethod
    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read the bytes of a file from ``start`` up to ``stop``, fewer if it ends before, and never more.

        Raises:
            RemoteFileNotFoundError: there is no file with that name.
        """

    @abstractmethod
    def write_file(self, name: str, content: bytes) -> None:
        """Write a small file, replacing an existing one."""

    @abstractmethod
    def send_snapshot(self, snapshot: UploadSnapshot, advance: Advance, *, force: bool) -> None:
        """Send the files of a dataset with its manifest; the dataset appears when it is complete.

        Files of the same dataset from an earlier call are not sent again. The implementation calls
        ``snapshot.check_unchanged()`` before the last step.

        Args:
            snapshot: the dataset.
            advance: called with the progress, in this thread.
            force: True to replace an unfinished upload of other data.

        Raises:
            DatasetExistsError: the remote already has the dataset.
            DatasetBusyError: it was changed during the upload, or there is an unfinished upload of other data.
        """

    # Queries, which a remote may override if it needs fewer requests

    def list_datasets(self, prefix: str | None = None) -> list[str]:
        """Return the ids of the datasets, sorted; optionally only those that begin with a prefix."""
        return sorted(with_retries(lambda: self.list_with_metadata(prefix)), key=dataset_id_sort_key)

    def has_dataset(self, dataset_id: str) -> bool:
        """Return whether there is a complete dataset with this id."""
        return self.has_file(f"{DatasetId.parse(dataset_id)}/{METADATA_NAME}")

    def has_namespace(self, namespace: str) -> bool:
        """Return whether there is a namespace with this name that has metadata."""
        parse_namespace(namespace)
        return self.has_file(f"{namespace}/{NAMESPACE_METADATA_FILENAME}")

    def has_file(self, name: str) -> bool:
        """Return whether there is a small file with this name."""
        try:
            self.read_small(name)
        except RemoteFileNotFoundError:
            return False
        return True

    def read_small(self, name: str, limit: int = SMALL_FILE_LIMIT) -> bytes:
        """Read a file of at most ``limit`` bytes, with retries.

        Raises:
            RemoteFileNotFoundError: there is no file with that name.
            DatasetCorruptError: the file is larger.
        """
        return check_size(with_retries(lambda: self.read_file(name)), limit, name)

    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        """Return the stored metadata of a dataset, with its id on the remote.

        Spaces and environment specs are JSON strings.

        Raises:
            DatasetIdError: the id is malformed.
            RemoteDatasetNotFoundError: there is no such dataset.
            DatasetCorruptError: its metadata is damaged.
        """
        name = f"{DatasetId.parse(dataset_id)}/{METADATA_NAME}"
        try:
            content = self.read_small(name)
        except RemoteFileNotFoundError:
            raise self.missing_dataset(dataset_id) from None
        return with_id_of_place(parse_metadata(content, f"{name} of {self.address}"), dataset_id)

    def missing_dataset(self, dataset_id: str) -> RemoteDatasetNotFoundError:
        """Return the error for a missing dataset."""
        return RemoteDatasetNotFoundError(f"There is no dataset {dataset_id} in {self.address}; check the spelling.")

    def unchanged(self, dataset_id: str) -> AbstractContextManager[None]:
        """Raise if a dataset changes while its files are read in the block.

        On most remotes datasets never change, and nothing is checked.

        Raises:
            DatasetBusyError: it has changed.
        """
        return nullcontext()

    def check_writable(self) -> None:
        """Raise if remotes of this kind are read-only.

        Raises:
            RemoteError: they are read-only.
        """
        return None
