"""Settings from environment variables: root of the local datasets, default remote, lock timeout.

The variables are read at each call, so programs can set them after the import.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from minari._base.json_text import shortened
from minari.errors import DatasetBusyError, StorageError


__all__ = [
    "checked_root",
    "name_of_root",
    "get_cache_root",
    "get_datasets_root",
    "get_default_remote",
    "get_listed_root",
    "get_lock_timeout",
    "is_remote_of_variable",
]

_ROOT_VARIABLE = "MINARI_DATASETS_PATH"
_CACHE_VARIABLE = "MINARI_CACHE_PATH"
_REMOTE_VARIABLE = "MINARI_REMOTE"
_TIMEOUT_VARIABLE = "MINARI_LOCK_TIMEOUT"
_USUAL_TIMEOUT = 60.0  # seconds


def get_datasets_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the directory of all local datasets; it is not created.

    Args:
        root: the directory; by default ``MINARI_DATASETS_PATH``, or ``~/.minari/datasets``.
    """
    chosen = root if root is not None else os.environ.get(_ROOT_VARIABLE) or "~/.minari/datasets"
    # Absolute, so that datasets stay open when the program changes its working directory.
    return Path(chosen).expanduser().absolute()


def get_cache_root() -> Path:
    """Return the directory of what is decoded once: ``MINARI_CACHE_PATH``, or ``~/.minari/cache``; not created."""
    return Path(os.environ.get(_CACHE_VARIABLE) or "~/.minari/cache").expanduser().absolute()


def get_listed_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the directory of all local datasets, checked before listing.

    Raises:
        StorageError: it is not a directory, or cannot be read. A missing one is not an error.
    """
    directory = checked_root(root)
    if directory.exists() and not os.access(directory, os.R_OK | os.X_OK):
        raise StorageError(f"{name_of_root(directory, root)}, which may not be read; expected a directory of datasets.")
    return directory


def checked_root(root: str | os.PathLike[str] | None) -> Path:
    directory = get_datasets_root(root)
    with suppress(PermissionError):
        if directory.exists() and not directory.is_dir():
            raise StorageError(f"{name_of_root(directory, root)}, which is a file; expected a directory of datasets.")
    return directory


def name_of_root(directory: Path, root: str | os.PathLike[str] | None) -> str:
    """Return the beginning of a message about the root, which names the variable if that is the cause."""
    is_variable = root is None and bool(os.environ.get(_ROOT_VARIABLE))
    return f"{_ROOT_VARIABLE} is {directory}" if is_variable else f"The root of the datasets is {directory}"


def get_default_remote() -> str:
    """Return the default remote: ``MINARI_REMOTE``, or the one of Farama."""
    return os.environ.get(_REMOTE_VARIABLE) or "hf://farama-minari"


def is_remote_of_variable(address: object) -> bool:
    """Return whether an address is that of ``MINARI_REMOTE``, so that messages name the variable."""
    return isinstance(address, str) and address == os.environ.get(_REMOTE_VARIABLE)


def get_lock_timeout() -> float:
    """Return how many seconds a writer waits for another one: ``MINARI_LOCK_TIMEOUT``, or 60.

    Raises:
        DatasetBusyError: the variable is not a nonnegative number.
    """
    text = os.environ.get(_TIMEOUT_VARIABLE, "").strip()
    try:
        seconds = float(text) if text else _USUAL_TIMEOUT
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise DatasetBusyError(
            f"{_TIMEOUT_VARIABLE} is {shortened(text)}, expected the number of seconds to wait for another writer, "
            f"from 0; correct or unset it."
        )
    return seconds
