"""Namespaces of remotes: listed, downloaded and uploaded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from minari._base.settings import get_datasets_root
from minari._base.system_errors import storage_errors
from minari._base.warnings import warn
from minari._catalog.namespaces import (
    NAMESPACE_METADATA_FILENAME,
    Root,
    find_namespace,
    install_namespace_metadata,
    namespace_hierarchy,
    namespace_metadata_path,
)
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.retries import retrying


__all__ = ["download_namespace_metadata", "list_remote_namespaces", "upload_namespace"]


def list_remote_namespaces(*, remote: str | None = None, token: str | None = None) -> list[str]:
    """The namespaces of a remote, sorted.

    Args:
        remote: its address; by default that of ``MINARI_REMOTE``.
        token: of a Hub, or the path of a service-account key, for what is not public.

    Raises:
        RemoteError: the remote is unknown, or does not answer.
    """
    storage = get_cloud_storage(remote, token)
    return retrying(lambda: sorted(storage.list_namespaces()))


def download_namespace_metadata(
    namespace: str,
    overwrite: bool = False,
    *,
    remote: str | None = None,
    root: Root = None,
    token: str | None = None,
) -> None:
    """Fetch the metadata of a remote namespace; the local namespace is made where missing.

    Args:
        namespace: one that the remote has.
        overwrite: whether to replace local metadata.
        remote: its address; by default that of ``MINARI_REMOTE``.
        root: the folder of the local datasets, where it is not the usual one.
        token: of a Hub, or the path of a service-account key, for what is not public.

    Warns:
        UserWarning: there are local metadata, which are kept.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: the remote does not have it.
        DatasetCorruptError: what the remote sent is no metadata.
        RemoteError: the remote is unknown, or does not answer.
        StorageError: they cannot be written; the namespace is as before.
    """
    file = namespace_metadata_path(namespace, root)
    if file.exists() and not overwrite:
        warn(f"The namespace {namespace!r} has local metadata, which are kept; overwrite=True replaces them.")
        return
    storage = get_cloud_storage(remote, token)
    datasets_root = get_datasets_root(root)
    with (
        storage_errors(file.parent, "downloaded"),
        tempfile.TemporaryDirectory(prefix=".namespace.", dir=datasets_root) as received,
    ):
        storage.download_namespace_metadata(namespace, Path(received))
        install_namespace_metadata(namespace, Path(received, namespace, NAMESPACE_METADATA_FILENAME), root)


def upload_namespace(
    namespace: str, token: str | None = None, *, remote: str | None = None, root: Root = None, private: bool = False
) -> None:
    """Send a local namespace to a remote, with those around it that the remote does not have.

    Args:
        namespace: one that exists here.
        token: of the Hub, or the path of a service-account key; by default what the client of the
            remote finds by itself, in its environment or from its login.
        remote: its address; by default that of ``MINARI_REMOTE``.
        root: the folder of the local datasets, where it is not the usual one.
        private: whether it is for those only who are let in; a Hub can do that.

    Warns:
        UserWarning: the remote has it, and nothing is done.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it does not exist here.
        RemoteError: the remote is unknown, or does not answer.
    """
    find_namespace(namespace, root)
    storage = get_cloud_storage(remote, token, private=private)
    if storage.has_namespace(namespace):
        warn(f"The remote has the namespace {namespace!r} already; nothing is uploaded.")
        return
    for level in namespace_hierarchy(namespace):
        if level == namespace or not storage.has_namespace(level):
            storage.upload_namespace(level, root=root)
