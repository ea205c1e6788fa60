"""Upload of local datasets and namespaces to any remote."""

from __future__ import annotations

import os

from minari._base.files import NAMESPACE_METADATA_FILENAME, NAMESPACE_METADATA_LIMIT, read_regular
from minari._catalog.layout import get_dataset_path
from minari.errors import NamespaceError
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.meter import transfer_progress
from minari.storage.transfer.port import Remote
from minari.storage.transfer.upload_snapshot import take_snapshot


__all__ = ["upload_dataset", "upload_namespace"]


def upload_dataset(
    remote: Remote, dataset_id: str, *, root: str | os.PathLike[str] | None = None, force: bool = False
) -> None:
    """Send a single local dataset, which appears on the remote when it is complete.

    Args:
        remote: the destination.
        dataset_id: id of the dataset.
        root: directory of the local datasets; by default that of ``MINARI_DATASETS_PATH``.
        force: True to replace an unfinished upload of other data.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: there is no such local dataset.
        DatasetExistsError: the remote already has the dataset.
        DatasetBusyError: another program is changing the dataset.
        RemoteError: the remote cannot store it.
    """
    remote.check_writable()
    snapshot = take_snapshot(dataset_id, root=root, algorithms=remote.CHECKSUMS)
    with transfer_progress(f"uploading {dataset_id}", snapshot.size, snapshot.count) as advance:
        remote.send_snapshot(snapshot, advance, force=force)


def upload_namespace(remote: Remote, namespace: str, *, root: str | os.PathLike[str] | None = None) -> None:
    """Send the metadata of a local namespace, replacing that of the remote.

    Args:
        remote: the destination.
        namespace: a namespace such as ``"D4RL/door"``; its parents are not sent.
        root: directory of the local datasets; by default that of ``MINARI_DATASETS_PATH``.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: there is no such local namespace.
        RemoteError: the remote cannot store it.
    """
    remote.check_writable()
    file = get_dataset_path(namespace, root=root) / NAMESPACE_METADATA_FILENAME
    if not file.is_file():
        raise NamespaceError(f"Namespace {namespace!r} does not exist locally; create it before the upload.")
    content = read_regular(file, NAMESPACE_METADATA_LIMIT)
    with_retries(lambda: remote.write_file(f"{namespace}/{NAMESPACE_METADATA_FILENAME}", content))
