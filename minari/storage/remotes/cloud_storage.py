"""What a remote does: it lists datasets and moves them, and decides nothing."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from minari._base.addresses import without_credentials
from minari._base.atomic import write_atomically
from minari._base.files import NAMESPACE_METADATA_FILENAME, NAMESPACE_METADATA_LIMIT, read_regular
from minari._base.lazy import LazyModule
from minari._catalog.layout import get_dataset_path, publish_directory, refuse_nested, refuse_taken
from minari._model.dataset_id import DatasetId, dataset_id_sort_key, parse_namespace
from minari._model.metadata_json import parse_metadata, with_id_of_place
from minari.errors import DatasetCorruptError, DatasetExistsError, MinariError, NamespaceError, RemoteError
from minari.storage.transfer.download_plan import plan_download
from minari.storage.transfer.downloading import fetch_files
from minari.storage.transfer.outgoing import OutgoingDataset, gather_dataset
from minari.storage.transfer.pace import Limits
from minari.storage.transfer.remote_files import (
    METADATA_NAME,
    SMALL_FILE_LIMIT,
    RemoteDatasetNotFoundError,
    RemoteFile,
    RemoteFileNotFoundError,
    already_there,
    check_size,
)
from minari.storage.transfer.retries import retrying
from minari.storage.transfer.under_way import folder_under_way
from minari.storage.transfer.workers import Advance, transfer_progress


if TYPE_CHECKING:
    from minari._storages import base as minari_storage
else:
    minari_storage = LazyModule("minari._storages.base")  # listing does without Gymnasium

__all__ = ["MAX_WORKERS", "CloudStorage"]

_log = logging.getLogger(__name__)

#: How many requests are under way at the same time, where nothing else is said.
MAX_WORKERS = 16


class CloudStorage(ABC):
    """One remote, that is a bucket, an organization or a folder, of which datasets are the contents.

    Which versions are wanted, what belongs to a dataset and what is here already is the affair of
    :mod:`minari.storage.hosting`. A remote moves exactly what it is told to, whole or not at all, and
    reports through :mod:`minari.progress`. Its methods are called from several threads at once.

    To bring a kind of remote of your own, inherit from this class, or from
    :class:`minari.storage.remotes.object_storage.ObjectStorage` where it is a store of objects under
    names, fill in the abstract methods, and register it under the scheme of its addresses
    (:func:`minari.storage.remotes.register_remote`, or an entry point). Names of files are relative to
    the root of the remote, their parts joined by ``/``: the files of the dataset ``a/x-v0`` are
    ``a/x-v0/data/metadata.json`` and so on.

    Every method raises :class:`RemoteError` where the remote cannot do what it is asked:
    :class:`RemoteUnreachableError` where it does not answer, :class:`RemoteAccessError` where it does
    not let this user do it; and :class:`DatasetIdError` for a malformed id or namespace. The abstract
    methods are asked again after a :class:`RemoteUnreachableError`; they need not try themselves.

    Args:
        name: what follows ``scheme://`` in the address.
        token: for those remotes that ask for one.
        scheme: what stands before ``://`` in the address, where a class serves several.
        max_workers: how many requests may run at the same time.
        private: whether what is uploaded is for those only who are let in.

    Raises:
        RemoteError: the name means nothing, or the remote has nothing that is private.
    """

    #: What stands before ``://`` in addresses, unless the constructor is told otherwise.
    SCHEME: ClassVar[str] = ""
    #: Whether single datasets, or groups of them, can be private.
    PRIVATE: ClassVar[bool] = False
    #: Whether people move datasets there with the tools of the system, so that a manifest may name another id.
    MOVABLE: ClassVar[bool] = False
    #: The checksums that the store tells of its files, which are computed of what is sent.
    CHECKSUMS: ClassVar[tuple[str, ...]] = ()
    #: How slow an answer may be before the remote counts as out of reach.
    LIMITS: ClassVar[Limits] = Limits()

    def __init__(
        self,
        name: str,
        token: str | None = None,
        *,
        scheme: str | None = None,
        max_workers: int = MAX_WORKERS,
        private: bool = False,
    ) -> None:
        if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
            raise RemoteError(f"max_workers must be a number from 1, got {max_workers!r}.")
        self.scheme = self.SCHEME if scheme is None else scheme
        self.name = name
        self.token = token
        self.max_workers = max_workers
        self.private = private
        self._begin()
        if private and not self.PRIVATE:
            raise RemoteError(
                f"{self.address} cannot keep single datasets private: who may read it is set up there, for all of it."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({without_credentials(self.address).partition('://')[2]!r})"

    @property
    def address(self) -> str:
        """Of the remote, ``scheme://name``."""
        return f"{self.scheme}://{self.name}"

    @classmethod
    def split_location(cls, location: str) -> tuple[str, str]:
        """The name of the remote and the dataset id in the address of a dataset.

        Args:
            location: what follows ``scheme://``, without slashes at the end.
        """
        name, _, dataset_id = location.partition("/")
        return name, dataset_id

    # What a kind of remote fills in.

    def _begin(self) -> None:  # noqa: B027 (not every kind has something to look at)
        """Look at the name and the token, and make what is kept for later; no request yet.

        Raises:
            RemoteError: the name means nothing.
            RemoteAccessError: the token can be none.
        """

    @abstractmethod
    def survey(self, prefix: str | None = None) -> Mapping[str, bytes | None]:
        """The datasets that are complete, with their metadata where these can be had together.

        Args:
            prefix: only ids that begin with this text; it may end inside a part.

        Returns:
            Id -> the content of ``metadata.json``, or None where it has to be asked for.
        """

    @abstractmethod
    def list_namespaces(self) -> Iterable[str]:
        """The namespaces that have metadata."""

    @abstractmethod
    def list_files(self, folder: str) -> Iterable[RemoteFile]:
        """All files below a folder, at any depth; none where there is no such folder.

        Args:
            folder: exactly this one: ``x-v1`` does not mean ``x-v10``.
        """

    @abstractmethod
    def read_file(self, name: str) -> bytes:
        """A small file; of one that is larger than :data:`SMALL_FILE_LIMIT`, no more than that is held in memory.

        Raises:
            RemoteFileNotFoundError: there is none of that name.
            DatasetCorruptError: it is larger.
        """

    @abstractmethod
    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """The bytes of a file from ``start`` up to ``stop``, fewer where it ends before, and never more.

        Raises:
            RemoteFileNotFoundError: there is none of that name.
        """

    @abstractmethod
    def write_file(self, name: str, content: bytes) -> None:
        """Write a small file, in the place of the one that may be there."""

    @abstractmethod
    def send_dataset(self, outgoing: OutgoingDataset, advance: Advance, *, force: bool) -> None:
        """Send the files of a dataset with its manifest; the others see it when it is complete.

        What an earlier call has left of the same dataset is not sent again. The implementation calls
        ``outgoing.check_unchanged()`` before the last step.

        Args:
            outgoing: what is sent.
            advance: is told what has been sent, from this thread.
            force: whether to take the place of an upload of other data that was never finished.

        Raises:
            DatasetExistsError: the remote has it already.
            DatasetBusyError: it is changed meanwhile, or an upload of other data was never finished.
        """

    # What is done with them.

    def list_datasets(self, prefix: str | None = None) -> list[str]:
        """The ids of the datasets, sorted, those that begin with a prefix where one is given."""
        return sorted(retrying(lambda: self.survey(prefix)), key=dataset_id_sort_key)

    def has_dataset(self, dataset_id: str) -> bool:
        """Whether there is a dataset of this id, complete."""
        return self._has_file(f"{DatasetId.parse(dataset_id)}/{METADATA_NAME}")

    def has_namespace(self, namespace: str) -> bool:
        """Whether there is a namespace of this name that has metadata."""
        parse_namespace(namespace)
        return self._has_file(f"{namespace}/{NAMESPACE_METADATA_FILENAME}")

    def _has_file(self, name: str) -> bool:
        try:
            self._read_small(name)
        except RemoteFileNotFoundError:
            return False
        return True

    def _read_small(self, name: str, limit: int = SMALL_FILE_LIMIT) -> bytes:
        """A file of no more than so many bytes."""
        return check_size(retrying(lambda: self.read_file(name)), limit, name)

    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        """The metadata of a dataset as they are stored, under the id that it has on the remote.

        Spaces and environment specs are JSON strings.

        Raises:
            RemoteDatasetNotFoundError: there is no such dataset.
            DatasetCorruptError: its metadata are damaged.
        """
        name = f"{DatasetId.parse(dataset_id)}/{METADATA_NAME}"
        try:
            content = self._read_small(name)
        except RemoteFileNotFoundError:
            raise self._no_dataset(dataset_id) from None
        return with_id_of_place(parse_metadata(content, f"{name} of {self.address}"), dataset_id)

    def _no_dataset(self, dataset_id: str) -> RemoteDatasetNotFoundError:
        return RemoteDatasetNotFoundError(f"There is no dataset {dataset_id} in {self.address}; check the spelling.")

    def download_dataset(self, dataset_id: str, path: Path) -> None:
        """Bring a dataset, and nothing but that, without the metadata of its namespace.

        Args:
            dataset_id: of the dataset.
            path: a root of datasets; the dataset is to be ``path/dataset_id/data``, and appears there
                when it is complete and checked. When the download fails, what has come is kept out of
                sight, and the next call goes on with it.

        Raises:
            RemoteDatasetNotFoundError: there is no such dataset.
            DatasetCorruptError: its files are incomplete, or come damaged again and again.
            DatasetExistsError: there is something in its place in ``path``.
            DatasetBusyError: someone is changing it on the remote.
        """
        destination = path.joinpath(*parse_namespace(str(DatasetId.parse(dataset_id))))
        refuse_taken(destination)
        with self.downloading(dataset_id, destination) as folder:
            refuse_taken(destination)  # another program may have brought it, which was waited for
            publish_directory(self.fetch_dataset(dataset_id, folder), destination)

    def downloading(self, dataset_id: str, destination: Path) -> AbstractContextManager[Path]:
        """The hidden folder beside its destination that a dataset is fetched into; see `folder_under_way`."""
        refuse_nested(destination)
        return folder_under_way(destination.with_name(f".{destination.name}.download"), f"downloading {dataset_id}")

    def fetch_dataset(self, dataset_id: str, folder: Path, like: Path | None = None) -> Path:
        """Bring the files of a dataset into a folder, checked; they need not be fetched in one go.

        Args:
            dataset_id: of the dataset.
            folder: that nobody else works in; what an earlier call has left there is used.
            like: the folder of a dataset that may hold some of the files already; these are copied.

        Returns:
            The folder of the files, inside the folder.

        Raises:
            RemoteDatasetNotFoundError: there is no such dataset.
            DatasetCorruptError: its files are incomplete, or come damaged again and again.
            DatasetBusyError: someone is changing it on the remote.
        """
        plan = plan_download(self, str(DatasetId.parse(dataset_id)), moved=self.MOVABLE)
        if not any(file.name == METADATA_NAME for file in plan.files):
            if self._has_file(f"{dataset_id}/{METADATA_NAME}"):
                raise DatasetCorruptError(
                    f"The manifest of {dataset_id} in {self.address} leaves out {METADATA_NAME}, which is there; "
                    "whoever uploaded the dataset should delete it there and upload it again."
                )
            if not self.has_dataset(dataset_id):
                raise self._no_dataset(dataset_id)  # half of it has been uploaded
        fetched = fetch_files(self, plan, folder, like)
        if all(file.checksum is not None for file in plan.files):
            _add_checksums(fetched / "data")
        return fetched

    def upload_dataset(
        self, dataset_id: str, *, root: str | os.PathLike[str] | None = None, force: bool = False
    ) -> None:
        """Send a local dataset, and nothing but that; the others see it when it is complete.

        Args:
            dataset_id: of the dataset.
            root: of the local datasets; by default that of ``MINARI_DATASETS_PATH``.
            force: whether to take the place of an upload of other data that was never finished.

        Raises:
            DatasetNotFoundError: there is no such dataset here.
            DatasetExistsError: the remote has it already.
            DatasetBusyError: another program is changing it.
        """
        outgoing = gather_dataset(dataset_id, root=root, algorithms=self.CHECKSUMS)
        with transfer_progress(f"uploading {dataset_id}", outgoing.size, outgoing.count) as advance:
            self.send_dataset(outgoing, advance, force=force)

    def already_has(self, dataset_id: str) -> DatasetExistsError:
        """The error about a dataset that is there."""
        return already_there(self.address, dataset_id)

    def download_namespace_metadata(self, namespace: str, path: Path) -> None:
        """Bring the metadata of a namespace, as they are.

        Args:
            namespace: such as ``"D4RL/door"``; those around it are not brought.
            path: a root of datasets; the metadata are to be ``path/namespace/namespace_metadata.json``,
                and replace those that are there.

        Raises:
            NamespaceError: the remote has no such namespace.
        """
        parts = parse_namespace(namespace)
        try:
            content = self._read_small(f"{namespace}/{NAMESPACE_METADATA_FILENAME}", NAMESPACE_METADATA_LIMIT)
        except RemoteFileNotFoundError:
            raise NamespaceError(f"Namespace {namespace!r} does not exist in {self.address}.") from None
        folder = path.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NAMESPACE_METADATA_FILENAME, content)

    def upload_namespace(self, namespace: str, *, root: str | os.PathLike[str] | None = None) -> None:
        """Send the metadata of a local namespace, in the place of those that the remote may have.

        Args:
            namespace: such as ``"D4RL/door"``; those around it are not sent.
            root: of the local datasets; by default that of ``MINARI_DATASETS_PATH``.

        Raises:
            NamespaceError: there is no such namespace here.
        """
        file = get_dataset_path(namespace, root=root) / NAMESPACE_METADATA_FILENAME
        if not file.is_file():
            raise NamespaceError(f"Namespace {namespace!r} does not exist locally; create it before it is uploaded.")
        content = read_regular(file, NAMESPACE_METADATA_LIMIT)
        retrying(lambda: self.write_file(f"{namespace}/{NAMESPACE_METADATA_FILENAME}", content))


def _add_checksums(data_path: Path) -> None:
    """Give checksums to those values that have none, while it is known that their bytes are as they were uploaded.

    No file that was downloaded is changed for it.
    """
    try:
        storage = minari_storage.MinariStorage.read(data_path)
        if storage.HIDDEN_CHECKSUMS:
            storage._add_missing_checksums()
    except (MinariError, OSError) as error:  # which whoever opens the dataset is going to be told
        _log.info("No checksums are made of the values in %s: %s", data_path, error)
