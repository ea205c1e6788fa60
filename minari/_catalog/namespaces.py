"""Namespaces: directories that group datasets, each with its own metadata."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minari._base.atomic import write_atomically
from minari._base.files import NAMESPACE_METADATA_FILENAME, NAMESPACE_METADATA_LIMIT, read_regular
from minari._base.json_text import parse_json, shortened
from minari._base.settings import get_datasets_root, get_listed_root
from minari._base.system_errors import storage_errors
from minari._base.warnings import warn
from minari._catalog.layout import dataset_exists, ensure_namespace_directories, get_dataset_path
from minari._catalog.listing import walk_catalog
from minari._model.dataset_id import parse_namespace
from minari._model.metadata import json_value, warn_about_mistyped
from minari.errors import DatasetCorruptError, MetadataError, NamespaceError


__all__ = [
    "NAMESPACE_METADATA_FILENAME",
    "create_namespace",
    "delete_namespace",
    "existing_namespace_file",
    "get_namespace_metadata",
    "list_local_namespaces",
    "namespace_file",
    "namespace_hierarchy",
    "namespace_metadata_text",
    "parse_namespace_metadata",
    "update_namespace_metadata",
    "validate_namespace",
]

Root = str | os.PathLike[str] | None

#: Left behind by a program that is killed while it writes the metadata.
_UNFINISHED = re.compile(rf"\.{re.escape(NAMESPACE_METADATA_FILENAME)}\.[0-9a-f]{{12}}\.partial")


def validate_namespace(namespace: str | None) -> None:
    """Raise unless a namespace follows the grammar: parts of letters, digits, ``_`` and ``-``.

    Raises:
        DatasetIdError: it does not; if it is not a string, the error is also a ``TypeError``.
    """
    parse_namespace(namespace)  # type: ignore[arg-type]  # None is what it checks for


def namespace_hierarchy(namespace: str | None) -> Iterator[str]:
    """Yield the namespace and its parents, the outermost first; nothing for None.

    >>> list(namespace_hierarchy("D4RL/door"))
    ['D4RL', 'D4RL/door']

    Raises:
        DatasetIdError: the namespace is malformed.
    """
    parts = () if namespace is None else parse_namespace(namespace)
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end])


def create_namespace(namespace: str, description: str | None = None, *, root: Root = None, **kwargs: Any) -> None:
    """Create a local namespace and its missing parents.

    Args:
        namespace: a namespace such as ``"D4RL/door"``.
        description: description for its metadata.
        root: the directory of the local datasets, if it is not the default one.
        **kwargs: further metadata, of types that JSON supports.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it exists, or a dataset has its name.
        MetadataError: JSON cannot represent the metadata; nothing is created.
    """
    file = namespace_file(namespace, root)
    if file.exists():
        raise NamespaceError(f"Namespace {namespace!r} already exists; update its metadata instead.")
    if dataset_exists(file.parent):
        raise NamespaceError(f"{namespace!r} is a dataset and cannot be a namespace; choose another name.")
    warn_about_mistyped(kwargs, known=("description",))
    metadata = dict(kwargs) if description is None else {**kwargs, "description": description}
    text = namespace_metadata_text(metadata)
    ensure_namespace_directories(get_datasets_root(root), namespace, text)


def update_namespace_metadata(
    namespace: str, description: str | None = None, *, root: Root = None, **kwargs: Any
) -> None:
    """Replace all metadata of a local namespace.

    Args:
        namespace: an existing namespace.
        description: its description; None is stored as such.
        root: the directory of the local datasets, if it is not the default one.
        **kwargs: further metadata, of types that JSON supports.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it does not exist.
        MetadataError: JSON cannot represent the metadata; the old metadata is kept.
        StorageError: the metadata cannot be written; the old metadata is kept.
    """
    file = existing_namespace_file(namespace, root)
    warn_about_mistyped(kwargs, known=("description",))
    with storage_errors(file):
        write_atomically(file, namespace_metadata_text({**kwargs, "description": description}))


def get_namespace_metadata(namespace: str, *, root: Root = None) -> dict[str, Any]:
    """Return the metadata of a local namespace.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it does not exist.
        DatasetCorruptError: its metadata file is damaged.
    """
    file = existing_namespace_file(namespace, root)
    content = read_regular(file, NAMESPACE_METADATA_LIMIT)
    return parse_namespace_metadata(content, f"The metadata file {file}")


def delete_namespace(namespace: str, *, root: Root = None) -> None:
    """Delete a local namespace that contains nothing but its metadata.

    Warns:
        UserWarning: it does not exist.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it contains datasets, namespaces or other files.
        StorageError: the directory cannot be deleted; the namespace is unchanged.
    """
    file = namespace_file(namespace, root)
    directory = file.parent
    if not file.exists():
        warn(f"Namespace {namespace!r} does not exist; there is nothing to delete.")
        return
    inside = {path.name for path in directory.iterdir()} - {NAMESPACE_METADATA_FILENAME}
    unfinished = {name for name in inside if _UNFINISHED.fullmatch(name)}
    others = sorted(inside - unfinished)
    if others:
        raise NamespaceError(
            f"The namespace {namespace!r} is not empty, it holds {', '.join(others)}; delete these first."
        )
    with storage_errors(directory, "deleted"):
        text = read_regular(file, NAMESPACE_METADATA_LIMIT)
        for name in unfinished:
            (directory / name).unlink(missing_ok=True)
        file.unlink()
        try:
            directory.rmdir()
        except OSError:  # an entry was added in the meantime
            write_atomically(file, text)
            raise


def list_local_namespaces(*, root: Root = None) -> list[str]:
    """Return the sorted local namespaces."""
    return sorted(entry.id for entry in walk_catalog(get_listed_root(root)) if entry.is_namespace)


def namespace_file(namespace: str, root: Root) -> Path:
    """Return the path of the metadata file of a namespace, which need not exist.

    Raises:
        DatasetIdError: the namespace is malformed.
    """
    validate_namespace(namespace)
    return get_dataset_path(namespace, root=root) / NAMESPACE_METADATA_FILENAME


def existing_namespace_file(namespace: str, root: Root) -> Path:
    """Return the path of the metadata file of a namespace.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it does not exist.
    """
    file = namespace_file(namespace, root)
    if not file.exists():
        raise NamespaceError(
            f"Namespace {namespace!r} does not exist locally; create it or download its metadata first."
        )
    return file


def parse_namespace_metadata(content: bytes, source: str) -> dict[str, Any]:
    """Return the metadata of a namespace.

    Args:
        content: of its metadata file.
        source: where that comes from, for messages.

    Raises:
        DatasetCorruptError: it is not a JSON object.
    """
    try:
        metadata = parse_json(content)
    except ValueError as error:
        raise DatasetCorruptError(f"{source} is damaged, it is not valid JSON: {error}.") from error
    if not isinstance(metadata, dict):
        raise DatasetCorruptError(f"{source} must hold a JSON object, got {shortened(metadata)}.")
    return metadata


def namespace_metadata_text(metadata: dict[str, Any]) -> str:
    """Return the content of the metadata file of a namespace.

    Raises:
        MetadataError: JSON cannot hold the metadata.
    """
    try:
        return json.dumps({key: json_value(value, key) for key, value in metadata.items()})
    except RecursionError:
        raise MetadataError("The metadata of a namespace is nested too deeply; flatten it.") from None
