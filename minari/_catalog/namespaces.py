"""Namespaces: the folders that datasets are grouped in, each with metadata of its own."""

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
from minari.errors import DatasetCorruptError, MetadataError, NamespaceError, UnsafePathError


__all__ = [
    "NAMESPACE_METADATA_FILENAME",
    "create_namespace",
    "delete_namespace",
    "get_namespace_metadata",
    "list_local_namespaces",
    "namespace_hierarchy",
    "update_namespace_metadata",
    "validate_namespace",
]

Root = str | os.PathLike[str] | None

#: What a program leaves that is killed while it writes the metadata.
_UNFINISHED = re.compile(rf"\.{re.escape(NAMESPACE_METADATA_FILENAME)}\.[0-9a-f]{{12}}\.partial")


def validate_namespace(namespace: str | None) -> None:
    """Make sure that a namespace follows the grammar: parts of letters, digits, ``_`` and ``-``.

    Raises:
        DatasetIdError: it does not; where it is not a string, the error is a ``TypeError`` too.
    """
    parse_namespace(namespace)  # type: ignore[arg-type]  # None is what it checks for


def namespace_hierarchy(namespace: str | None) -> Iterator[str]:
    """The namespace with those around it, the outermost first; none of None.

    >>> list(namespace_hierarchy("D4RL/door"))
    ['D4RL', 'D4RL/door']

    Raises:
        DatasetIdError: the namespace is malformed.
    """
    parts = () if namespace is None else parse_namespace(namespace)
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end])


def create_namespace(namespace: str, description: str | None = None, *, root: Root = None, **kwargs: Any) -> None:
    """Make a local namespace, and those around it where missing.

    Args:
        namespace: such as ``"D4RL/door"``.
        description: kept in its metadata.
        root: the folder of the local datasets, where it is not the usual one.
        **kwargs: further metadata, of types that JSON holds.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it exists, or a dataset has its name.
        MetadataError: JSON cannot hold the metadata; nothing is made.
    """
    folder = _folder(namespace, root)
    if _metadata_file(folder).exists():
        raise NamespaceError(f"Namespace {namespace!r} already exists; update its metadata instead.")
    if dataset_exists(folder):
        raise NamespaceError(f"{namespace!r} is a dataset and cannot be a namespace; choose another name.")
    warn_about_mistyped(kwargs, known=("description",))
    metadata = dict(kwargs) if description is None else {**kwargs, "description": description}
    text = _metadata_text(metadata)
    ensure_namespace_directories(get_datasets_root(root), namespace, text)


def update_namespace_metadata(
    namespace: str, description: str | None = None, *, root: Root = None, **kwargs: Any
) -> None:
    """Replace all metadata of a local namespace.

    Args:
        namespace: one that exists.
        description: what it holds; None is written as such.
        root: the folder of the local datasets, where it is not the usual one.
        **kwargs: further metadata, of types that JSON holds.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it does not exist.
        MetadataError: JSON cannot hold the metadata; the old are kept.
        StorageError: they cannot be written; the old are kept.
    """
    file = _existing_metadata_file(namespace, root)
    warn_about_mistyped(kwargs, known=("description",))
    with storage_errors(file):
        write_atomically(file, _metadata_text({**kwargs, "description": description}))


def get_namespace_metadata(namespace: str, *, root: Root = None) -> dict[str, Any]:
    """The metadata of a local namespace.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it does not exist.
        DatasetCorruptError: its metadata file is damaged.
    """
    return _read_metadata(_existing_metadata_file(namespace, root))


def delete_namespace(namespace: str, *, root: Root = None) -> None:
    """Delete a local namespace that holds nothing but its metadata.

    Warns:
        UserWarning: it does not exist.

    Raises:
        DatasetIdError: the namespace is malformed.
        NamespaceError: it holds datasets, namespaces or other files.
        StorageError: the directory cannot be deleted; the namespace is as before.
    """
    folder = _folder(namespace, root)
    file = _metadata_file(folder)
    if not file.exists():
        warn(f"Namespace {namespace!r} does not exist; there is nothing to delete.")
        return
    inside = {path.name for path in folder.iterdir()} - {NAMESPACE_METADATA_FILENAME}
    unfinished = {name for name in inside if _UNFINISHED.fullmatch(name)}
    others = sorted(inside - unfinished)
    if others:
        raise NamespaceError(
            f"The namespace {namespace!r} is not empty, it holds {', '.join(others)}; delete these first."
        )
    with storage_errors(folder, "deleted"):
        text = read_regular(file, NAMESPACE_METADATA_LIMIT)
        for name in unfinished:
            (folder / name).unlink(missing_ok=True)
        file.unlink()
        try:
            folder.rmdir()
        except OSError:  # something arrived meanwhile, and belongs to the namespace
            write_atomically(file, text)
            raise


def list_local_namespaces(*, root: Root = None) -> list[str]:
    """The local namespaces, sorted."""
    return sorted(folder.id for folder in walk_catalog(get_listed_root(root)) if folder.is_namespace)


def _folder(namespace: str, root: Root) -> Path:
    validate_namespace(namespace)
    return get_dataset_path(namespace, root=root)


def _metadata_file(folder: Path) -> Path:
    return folder / NAMESPACE_METADATA_FILENAME


def _existing_metadata_file(namespace: str, root: Root) -> Path:
    file = _metadata_file(_folder(namespace, root))
    if not file.exists():
        raise NamespaceError(
            f"Namespace {namespace!r} does not exist locally; create it or download its metadata first."
        )
    return file


def _read_metadata(file: Path) -> dict[str, Any]:
    try:
        metadata = parse_json(read_regular(file, NAMESPACE_METADATA_LIMIT))
    except UnsafePathError:
        raise
    except ValueError as error:
        raise DatasetCorruptError(f"The metadata file {file} is damaged, it is not valid JSON: {error}.") from error
    if not isinstance(metadata, dict):
        raise DatasetCorruptError(f"The metadata file {file} must hold a JSON object, got {shortened(metadata)}.")
    return metadata


def _metadata_text(metadata: dict[str, Any]) -> str:
    try:
        return json.dumps({key: json_value(value, key) for key, value in metadata.items()})
    except RecursionError:
        raise MetadataError("The metadata of a namespace are nested too deeply; store them flatter.") from None
