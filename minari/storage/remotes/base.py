"""Base class of remotes, with their construction from an address."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from minari._base.addresses import without_credentials
from minari.errors import RemoteError
from minari.storage.transfer.installer import fetch_namespace_metadata, install_dataset, write_namespace_metadata
from minari.storage.transfer.limits import Limits
from minari.storage.transfer.port import Remote
from minari.storage.transfer.uploader import upload_dataset, upload_namespace


__all__ = ["MAX_WORKERS", "CloudStorage"]

#: Default number of concurrent requests.
MAX_WORKERS = 16


class CloudStorage(Remote):
    """Base class of remotes with an address ``scheme://name``.

    To add a kind of remote, inherit from this class, or from :class:`minari.storage.remotes.ObjectStorage` for an
    object store, implement the abstract methods, and register it under the scheme of its addresses
    (:func:`minari.storage.remotes.register_remote`, or an entry point). The constructor checks the name and the
    token, and sends no request.

    ``upload_dataset``, ``download_dataset``, ``upload_namespace`` and ``download_namespace_metadata`` are shorthands
    for :mod:`minari.storage.transfer`, which is the same for all remotes; they need not be overridden.

    Args:
        name: part of the address after ``scheme://``.
        token: credentials, for remotes that need them.
        scheme: scheme of the address, for a class that supports several.
        max_workers: number of concurrent requests.
        private: True to make uploaded datasets private.

    Raises:
        RemoteError: the name is invalid, or the remote does not support private datasets.
    """

    #: Scheme of addresses, unless the constructor is given another one.
    SCHEME: ClassVar[str] = ""
    #: True if ``token`` is the text of a token, False if it is the path of a file with a key or options.
    TOKEN_IS_TEXT: ClassVar[bool] = False
    #: Limits of the duration of a response, after which the remote counts as unreachable.
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
        if private and not self.PRIVATE:
            raise RemoteError(
                f"{without_credentials(self.address)} cannot keep single datasets private: access is configured there "
                "for the whole remote."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({without_credentials(self.address).partition('://')[2]!r})"

    @property
    def address(self) -> str:
        """Address of the remote, ``scheme://name``."""
        return f"{self.scheme}://{self.name}"

    @classmethod
    def split_location(cls, location: str) -> tuple[str, str]:
        """Return the name of the remote and the dataset id in the address of a dataset, from the text alone.

        Args:
            location: part of the address after ``scheme://``, without trailing slashes.
        """
        name, _, dataset_id = location.partition("/")
        return name, dataset_id

    @classmethod
    def find_location(cls, location: str) -> tuple[str, str]:
        """Return the same as :meth:`split_location`, but look at the remote if the text is ambiguous."""
        return cls.split_location(location)

    def list_community(self, prefix: str | None = None) -> dict[str, dict[str, Any]]:
        """Return the datasets of all owners on the service to which this remote belongs.

        Args:
            prefix: only ids that begin with this text, without the owner.

        Returns:
            Full address -> metadata as it is stored, sorted.

        Raises:
            RemoteError: remotes of this kind do not belong to such a service.
        """
        raise RemoteError(
            f"{without_credentials(self.address)} does not list the datasets of other owners; hf:// does, the Hugging "
            f"Face Hub."
        )

    def upload_dataset(
        self, dataset_id: str, *, root: str | os.PathLike[str] | None = None, force: bool = False
    ) -> None:
        """Upload a local dataset; see :func:`minari.storage.transfer.uploader.upload_dataset`."""
        upload_dataset(self, dataset_id, root=root, force=force)

    def download_dataset(self, dataset_id: str, path: Path) -> None:
        """Download a single dataset to ``path/dataset_id``, which must not exist.

        See :func:`minari.storage.transfer.installer.install_dataset`, which can download namespaces as well.
        """
        install_dataset(self, dataset_id, path, existing="refuse", namespaces=False)

    def upload_namespace(self, namespace: str, *, root: str | os.PathLike[str] | None = None) -> None:
        """Upload a local namespace; see :func:`minari.storage.transfer.uploader.upload_namespace`."""
        upload_namespace(self, namespace, root=root)

    def download_namespace_metadata(self, namespace: str, path: Path) -> None:
        """Download the metadata of a namespace to ``path/namespace``, replacing existing metadata."""
        write_namespace_metadata(path, namespace, fetch_namespace_metadata(self, namespace))
