"""Paths of datasets: local directories, and addresses that fsspec knows (``s3://bucket/data``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

from minari._base.atomic import write_atomically
from minari._base.json_text import shortened
from minari.errors import ArgumentTypeError, DataPathError, MissingDependencyError


PathLike: TypeAlias = str | os.PathLike[str]

_LOCAL = ("", "file", "local")


def as_data_path(path: PathLike) -> Path:
    """Return a path as an object with the methods of :class:`pathlib.Path`.

    >>> as_data_path("directory/data").name
    'data'

    Args:
        path: of a directory, or an address with a protocol.

    Raises:
        MissingDependencyError: it is an address, and a package for it is not installed.
        ArgumentTypeError: it is neither text nor a path.
        DataPathError: fsspec does not know the protocol.
    """
    if not isinstance(path, (str, os.PathLike)) and not is_remote(path):
        raise ArgumentTypeError(f"A data path is {shortened(path)}, expected the path of a directory.")
    if not isinstance(path, str) or "://" not in path:
        return path if is_remote(path) else Path(path)  # type: ignore[return-value]
    try:
        from upath import UPath  # noqa: PLC0415 (optional)

        found: Any = UPath(path)
        if found.protocol in _LOCAL:
            if path.partition("://")[0] not in _LOCAL:
                raise ValueError("it is none of those that are installed")
            return Path(found.path)
        found.fs  # noqa: B018 (imports the packages for the protocol)
    except ImportError as error:
        raise MissingDependencyError(
            f'Reading {path} needs {error.name or error}, which is not installed; run pip install "minari[zarr]", and '
            f"what fsspec asks for the protocol."
        ) from error
    except ValueError as error:
        raise DataPathError(
            f"The data path {path} has a protocol that fsspec does not know ({error}); expected a directory, or an "
            f"address such as s3://bucket/data."
        ) from error
    return found  # type: ignore[no-any-return]


def is_remote(path: object) -> bool:
    """Return whether a path is an address for fsspec, and not a local one."""
    return not isinstance(path, (str, Path)) and hasattr(path, "fs")


def put_file(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write a small file so that a reader finds either the old content or the new one; its directory is made."""
    if is_remote(path):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content, durable=durable)
