"""Settings from environment variables: the root of the local datasets, the default remote, how long writers wait.

The variables are read at each call, so that a program may set them after the import.
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
    "get_datasets_root",
    "get_default_remote",
    "get_listed_root",
    "get_lock_timeout",
    "is_remote_of_variable",
]

_ROOT_VARIABLE = "MINARI_DATASETS_PATH"
_REMOTE_VARIABLE = "MINARI_REMOTE"
_TIMEOUT_VARIABLE = "MINARI_LOCK_TIMEOUT"
_USUAL_TIMEOUT = 60.0  # seconds


def get_datasets_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds all local datasets; it is not created.

    Args:
        root: the folder; by default the variable ``MINARI_DATASETS_PATH``, or else
            ``~/.minari/datasets``.
    """
    chosen = root if root is not None else os.environ.get(_ROOT_VARIABLE) or "~/.minari/datasets"
    # Absolute, so that open datasets stay open when the program changes its folder.
    return Path(chosen).expanduser().absolute()


def get_listed_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of all local datasets, as :func:`get_datasets_root` gives it, to be listed.

    Raises:
        StorageError: something else is in its place, or it may not be read. A missing one is not an error.
    """
    folder = checked_root(root)
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        raise StorageError(f"{name_of_root(folder, root)}, which may not be read; expected a directory of datasets.")
    return folder


def checked_root(root: str | os.PathLike[str] | None) -> Path:
    folder = get_datasets_root(root)
    with suppress(PermissionError):
        if folder.exists() and not folder.is_dir():
            raise StorageError(f"{name_of_root(folder, root)}, which is a file; expected a directory of datasets.")
    return folder


def name_of_root(folder: Path, root: str | os.PathLike[str] | None) -> str:
    """The beginning of a sentence about the root, which names the variable where that is at fault."""
    is_variable = root is None and bool(os.environ.get(_ROOT_VARIABLE))
    return f"{_ROOT_VARIABLE} is {folder}" if is_variable else f"The root of the datasets is {folder}"


def get_default_remote() -> str:
    """The remote that is asked when none is named: ``MINARI_REMOTE``, or else Farama's."""
    return os.environ.get(_REMOTE_VARIABLE) or "hf://farama-minari"


def is_remote_of_variable(address: object) -> bool:
    """Whether an address is that of ``MINARI_REMOTE``, which a message about it should name."""
    return isinstance(address, str) and address == os.environ.get(_REMOTE_VARIABLE)


def get_lock_timeout() -> float:
    """For how many seconds a writer waits for another one: ``MINARI_LOCK_TIMEOUT``, or else 60.

    Raises:
        DatasetBusyError: the variable is no number from 0.
    """
    text = os.environ.get(_TIMEOUT_VARIABLE, "").strip()
    try:
        seconds = float(text) if text else _USUAL_TIMEOUT
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise DatasetBusyError(
            f"{_TIMEOUT_VARIABLE} is {shortened(text)}, expected for how many seconds to wait for another writer, "
            f"from 0; correct or unset it."
        )
    return seconds
