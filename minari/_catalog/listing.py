"""Listing of local datasets from their metadata alone, without opening them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._base.json_text import shortened
from minari._base.settings import get_listed_root
from minari._base.suggestions import did_you_mean
from minari._base.warnings import warn
from minari._model.dataset_id import (
    dataset_id_sort_key,
    is_dataset_id,
    is_part,
    parse_dataset_id,
)
from minari._model.format_version import is_compatible
from minari._model.metadata_json import with_id_of_place
from minari._storages.metadata_file import read_raw_metadata, with_measured_size
from minari.errors import ArgumentTypeError, MinariError


__all__ = [
    "CatalogEntry",
    "catalog_entries",
    "did_you_mean_local",
    "has_prefix",
    "list_local_datasets",
    "newest_versions",
    "read_catalog",
    "walk_catalog",
]


def list_local_datasets(
    latest_version: bool = False,
    compatible_minari_version: bool = False,
    prefix: str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the local datasets.

    Args:
        latest_version: True to return only the newest version of each.
        compatible_minari_version: True to return only those whose format version this release can read.
        prefix: only datasets in this namespace, or the dataset with this id.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        Id -> stored metadata, sorted by namespace, name and version.

    Warns:
        UserWarning: a dataset is damaged; it is omitted.
    """
    if prefix is not None and not isinstance(prefix, str):
        raise ArgumentTypeError(f"prefix is {shortened(prefix)}, expected a namespace such as 'D4RL/door'.")
    found: dict[str, dict[str, Any]] = {}
    for dataset_id, metadata in read_catalog(prefix, root):
        if isinstance(metadata, Exception):
            warn(f"The dataset {dataset_id} is left out, it cannot be read: {metadata}")
        elif not compatible_minari_version or is_compatible(metadata.get("minari_version")):
            found[dataset_id] = metadata
    return newest_versions(found) if latest_version else found


def read_catalog(
    prefix: str | None = None, root: str | os.PathLike[str] | None = None
) -> Iterator[tuple[str, dict[str, Any] | Exception]]:
    """Yield the ids of the local datasets with their stored metadata, or with the reason why it cannot be read.

    Args:
        prefix: only datasets in this namespace, or the dataset with this id.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Raises:
        StorageError: the root is not a directory, or cannot be read.
    """
    directories = {
        entry.id: entry.path
        for entry in walk_catalog(get_listed_root(root))
        if entry.is_dataset and (not prefix or has_prefix(entry.id, prefix))
    }
    for dataset_id in sorted(directories, key=dataset_id_sort_key):
        try:
            data_path = f"{directories[dataset_id]}{os.sep}data"
            metadata = with_measured_size(read_raw_metadata(data_path), data_path)
        except (MinariError, OSError) as error:
            if os.path.lexists(directories[dataset_id]):  # otherwise it was deleted in the meantime
                yield dataset_id, error
        else:
            yield dataset_id, with_id_of_place(metadata, dataset_id)


def did_you_mean_local(dataset_id: str, root: str | os.PathLike[str] | None = None) -> str:
    """Return a question about the local dataset whose id is most similar to a missing one; empty if none is."""
    with warnings.catch_warnings(), suppress(OSError):
        warnings.simplefilter("ignore")
        known = (entry.id for entry in walk_catalog(get_listed_root(root)) if entry.is_dataset)
        return did_you_mean(dataset_id, known)
    return ""


def has_prefix(dataset_id: str, prefix: str) -> bool:
    """Return whether an id begins with these whole parts: ``D4RL/door``, ``D4RL/door/`` or all of it."""
    return f"{dataset_id}/".startswith(f"{prefix.rstrip('/')}/")


def newest_versions(datasets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the newest of datasets that differ only in their version, which is the last in a sorted list."""
    newest = {parse_dataset_id(dataset_id)[:2]: dataset_id for dataset_id in datasets}
    kept = set(newest.values())
    return {dataset_id: metadata for dataset_id, metadata in datasets.items() if dataset_id in kept}


_MOST_LEVELS = 100  # of nested namespaces


class CatalogEntry(NamedTuple):
    """A directory below a root that can be a dataset or a namespace.

    Attributes:
        id: id of the dataset or namespace.
        path: path of the directory, as text: most entries of a long list are never used as a path.
        is_dataset: True for the directory of a dataset.
        is_namespace: True if it has the metadata of a namespace.
    """

    id: str
    path: str
    is_dataset: bool
    is_namespace: bool


def walk_catalog(root: Path) -> Iterator[CatalogEntry]:
    """Yield every directory below a root that can be a dataset or a namespace, in no particular order.

    Each is opened once. Hidden directories and the content of datasets are skipped. A link to a directory
    inside the root is followed, but not links in its target. Directories that are removed concurrently are
    omitted.

    Warns:
        UserWarning: directories cannot be read, or links lead out of the root; they are omitted.

    Raises:
        OSError: the root cannot be read.
    """
    pending: list[tuple[str, str, bool]] = []
    if root.is_dir():
        pending.append(("", str(root), True))
    base = ""
    left_out: list[tuple[str, str]] = []
    while pending:
        directory_id, path, follows = pending.pop()
        directories: dict[str, tuple[str, bool]] = {}
        is_namespace = False
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        base = base or os.path.realpath(root)
                        if not entry.is_dir() or not (entry.name == "data" or is_part(entry.name)):
                            continue
                        target = os.path.realpath(entry.path)
                        if target != base and not target.startswith(base.rstrip(os.sep) + os.sep):
                            left_out.append((entry.path, "a link that leads out of the root"))
                        elif follows:
                            directories[entry.name] = entry.path, False
                    elif entry.is_dir():
                        directories[entry.name] = entry.path, follows
                    elif entry.name == NAMESPACE_METADATA_FILENAME:
                        is_namespace = entry.is_file()
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed in the meantime
        except OSError as error:
            if not directory_id:
                raise
            left_out.append((path, str(error.strerror)))
            continue
        is_dataset = "data" in directories and is_dataset_id(directory_id or root.name)
        if is_dataset:
            del directories["data"]
        if directory_id:
            yield CatalogEntry(directory_id, path, is_dataset, is_namespace)
        if directory_id.count("/") < _MOST_LEVELS:
            prefix = f"{directory_id}/" if directory_id else ""
            pending += [(f"{prefix}{name}", *inner) for name, inner in directories.items() if is_part(name)]
    if left_out:
        others = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        path, reason = left_out[0]
        warn(f"{path} is left out ({reason}){others}.")


def catalog_entries(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the ids and paths of :func:`walk_catalog`."""
    return ((entry.id, Path(entry.path)) for entry in walk_catalog(root))
