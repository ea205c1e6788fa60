"""What a remote does: it lists datasets and moves them, and decides nothing."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minari.errors import DatasetNotFoundError, RemoteError


__all__ = ["CloudStorage", "RemoteDatasetNotFoundError", "file_within"]


class RemoteDatasetNotFoundError(RemoteError, DatasetNotFoundError):
    """The remote has no dataset of that id; a ``ValueError`` and a ``FileNotFoundError`` alike."""


class CloudStorage(ABC):
    """One remote, that is a bucket, an organisation or a folder, of which datasets are the contents.

    Which versions are wanted, what belongs to a dataset and what is here already is the affair of
    :mod:`minari.storage.hosting`. A remote moves exactly what it is told to, whole or not at all, and
    reports through :func:`minari.progress.track`. Its methods are called from several threads at once.

    To bring a kind of remote of your own, inherit from this class and register it under the scheme of
    its addresses (:func:`minari.storage.remotes.register_remote`, or an entry point).

    Every method raises :class:`RemoteError` where the remote does not answer, and
    :class:`DatasetIdError` for a malformed id or namespace.

    Args:
        name: what follows ``scheme://`` in the address.
        token: for those remotes that ask for one.

    Raises:
        RemoteError: the name means nothing, or the remote is out of reach.
    """

    def __init__(self, name: str, token: str | None = None) -> None:
        self.name = name
        self.token = token

    @classmethod
    def split_location(cls, location: str) -> tuple[str, str]:
        """The name of the remote and the dataset id in the address of a dataset.

        Args:
            location: what follows ``scheme://``, without slashes at the end.
        """
        name, _, dataset_id = location.partition("/")
        return name, dataset_id

    @abstractmethod
    def list_datasets(self, prefix: str | None = None) -> Iterable[str]:
        """The ids of the datasets, those that begin with a prefix where one is given."""

    @abstractmethod
    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        """The metadata of a dataset as they are stored, spaces and environment specs being JSON strings.

        Raises:
            RemoteDatasetNotFoundError: there is no such dataset.
            DatasetCorruptError: its metadata are damaged.
        """

    @abstractmethod
    def download_dataset(self, dataset_id: str, path: Path) -> None:
        """Bring a dataset, and nothing but that, without the metadata of its namespace.

        Args:
            dataset_id: of the dataset.
            path: a root of datasets; the dataset is to be ``path/dataset_id/data``. Nothing is left
                there when the download fails.

        Raises:
            RemoteDatasetNotFoundError: there is no such dataset.
            DatasetExistsError: there is something in its place in ``path``.
            DatasetBusyError: someone is changing it on the remote.
        """

    @abstractmethod
    def upload_dataset(self, dataset_id: str, *, root: str | os.PathLike[str] | None = None) -> None:
        """Send a local dataset, and nothing but that; the others see it when it is complete.

        Args:
            dataset_id: of the dataset.
            root: of the local datasets; by default that of ``MINARI_DATASETS_PATH``.

        Raises:
            DatasetNotFoundError: there is no such dataset here.
            DatasetExistsError: the remote has it already.
            DatasetBusyError: another program is changing it.
        """

    @abstractmethod
    def list_namespaces(self) -> Iterable[str]:
        """The namespaces that have metadata."""

    @abstractmethod
    def download_namespace_metadata(self, namespace: str, path: Path) -> None:
        """Bring the metadata of a namespace, as they are.

        Args:
            namespace: such as ``"D4RL/door"``; those around it are not brought.
            path: a root of datasets; the metadata are to be ``path/namespace/namespace_metadata.json``,
                and replace those that are there.

        Raises:
            NamespaceError: the remote has no such namespace.
        """

    @abstractmethod
    def upload_namespace(self, namespace: str, *, root: str | os.PathLike[str] | None = None) -> None:
        """Send the metadata of a local namespace, in the place of those that the remote may have.

        Args:
            namespace: such as ``"D4RL/door"``; those around it are not sent.
            root: of the local datasets; by default that of ``MINARI_DATASETS_PATH``.

        Raises:
            NamespaceError: there is no such namespace here.
        """


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
    if any(part in ("", ".", "..") or any(letter in part for letter in "\\:\0") for part in parts):
        raise RemoteError(
            f"The dataset holds a file called {name!r}, which may not be the same file on every system; "
            "nothing is copied until it has been renamed or taken out of the dataset."
        )
    return folder.joinpath(*parts)
