"""Namespaces of remotes: listed, downloaded and uploaded."""

from __future__ import annotations

from minari._base.atomic import write_atomically
from minari._base.settings import get_datasets_root
from minari._base.system_errors import storage_errors
from minari._base.warnings import warn
from minari._catalog.layout import ensure_namespace_directories
from minari._catalog.namespaces import (
    Root,
    existing_namespace_file,
    namespace_file,
    namespace_hierarchy,
    namespace_metadata_text,
    parse_namespace_metadata,
)
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer import uploader
from minari.storage.transfer.installer import fetch_namespace_metadata
from minari.storage.transfer.limits import with_retries


__all__ = ["download_namespace_metadata", "list_remote_namespaces", "upload_namespace"]


def list_remote_namespaces(*, remote: str | None = None, token: str | None = None) -> list[str]:
    """Return the sorted namespaces of a remote.

    Args:
        remote: address of the remote; by default that of ``MINARI_REMOTE``.
        token: token of a Hub, or path of a service-account key, for private data.

    Raises:
        RemoteError: the remote is unknown, or does not respond.
    """
    storage = get_cloud_storage(remote, token)
    return with_retries(lambda: sorted(storage.list_namespaces()))


def download_namespace_metadata(
    namespace: str,
    overwrite: bool = False,
    *,
    remote: str | None = None,
    root: Root = None,
    token: str | None = None,
) -> None:
    """Download the metadata of a remote namespace; create the local namespace if it is missing.

    Args:
        namespace: a namespace on the remote.
        overwrite: True to replace local metadata.
        remote: address of the remote; by default that of ``MINARI_REMOTE``.
        root: the directory of the local datasets, if it is not the default one.
        token: token of a Hub, or path of a service-account key, for private data.

    Warns:
        UserWarning: there is local metadata, which is kept.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: the remote does not have it.
        DatasetCorruptError: the remote sent invalid metadata.
        RemoteError: the remote is unknown, or does not respond.
        StorageError: the metadata cannot be written; the namespace is unchanged.
    """
    file = namespace_file(namespace, root)
    if file.exists() and not overwrite:
        warn(
            f"The namespace {namespace!r} has local metadata, which is kept; overwrite=True replaces it.",
        )
        return
    storage = get_cloud_storage(remote, token)
    with storage_errors(file.parent, "downloaded"):
        content = fetch_namespace_metadata(storage, namespace)
        source = f"The metadata of the namespace {namespace} in {storage.address}"
        text = namespace_metadata_text(parse_namespace_metadata(content, source))
        if file.exists():
            write_atomically(file, text)
        else:
            ensure_namespace_directories(get_datasets_root(root), namespace, text)


def upload_namespace(
    namespace: str, token: str | None = None, *, remote: str | None = None, root: Root = None, private: bool = False
) -> None:
    """Upload a local namespace to a remote, with its parents that are missing there.

    Args:
        namespace: an existing local namespace.
        token: token of a Hub, or path of a service-account key; by default the credentials that the client of
            the remote finds in its environment or login.
        remote: address of the remote; by default that of ``MINARI_REMOTE``.
        root: the directory of the local datasets, if it is not the default one.
        private: True to restrict access to members; supported by a Hub.

    Warns:
        UserWarning: the remote already has it, and nothing is done.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it does not exist locally.
        RemoteError: the remote is unknown, or does not respond.
    """
    existing_namespace_file(namespace, root)
    storage = get_cloud_storage(remote, token, private=private)
    if storage.has_namespace(namespace):
        warn(
            f"The remote has the namespace {namespace!r} already; nothing is uploaded.",
        )
        return
    for level in namespace_hierarchy(namespace):
        if level == namespace or not storage.has_namespace(level):
            uploader.upload_namespace(storage, level, root=root)
