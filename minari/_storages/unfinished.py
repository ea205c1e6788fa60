"""Committed changes that their writer did not put into place, for readers and the next writer.

A reader completes nothing. As long as the change is not in place, it reads the files that hold the
change; see :mod:`~minari._storages.journal` and :mod:`~minari._storages.staged_directory`.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from minari._base.files import METADATA_FILE_NAME, METADATA_LIMIT, read_regular
from minari._base.lazy import LazyModule
from minari._base.locks import LOCK_NAME, is_locked
from minari.errors import DatasetCorruptError


if TYPE_CHECKING:
    import xxhash
else:
    xxhash = LazyModule("xxhash")  # lists of datasets do not need it


__all__ = ["change_of_older_version", "corrupt_change", "ignored_change", "metadata_digest", "wait_for_writer"]

_log = logging.getLogger(__name__)

_PATIENCE: Final = 1.0  # seconds to wait for a running writer, since applied changes are read faster
_PAUSE: Final = 0.002  # seconds
_MOST_LOGGED: Final = 10_000
_logged: set[str] = set()


def wait_for_writer(sign: Path) -> bool:
    """Wait for a moment for a writer that is putting a change into place.

    Args:
        sign: the file or directory that exists as long as the change is not in place.

    Returns:
        Whether the change is in place now.
    """
    deadline = time.monotonic() + _PATIENCE
    while os.path.lexists(sign):
        if time.monotonic() > deadline or not is_locked(sign.with_name(LOCK_NAME)):
            return False
        time.sleep(_PAUSE)
    return True


def ignored_change(sign: Path, reason: object) -> None:
    """Log, once, that a change is ignored, since nothing of it has been put into place."""
    if str(sign) in _logged:
        return
    if len(_logged) < _MOST_LOGGED:
        _logged.add(str(sign))
    _log.warning("%s is left alone and does not count (%s); `minari clean` can remove it.", sign, reason)


def corrupt_change(sign: Path, reason: object) -> DatasetCorruptError:
    """Return the error about a change that is partly in place and cannot be completed."""
    return DatasetCorruptError(
        f"{sign.parent} has an interrupted change ({sign.name}) that is partly in place and cannot be completed "
        f"({reason}); copy or download the dataset again, or remove what is left of the change with "
        f"`minari clean --discard-changes` and look at what the dataset holds."
    )


def change_of_older_version(sign: Path) -> DatasetCorruptError:
    """Return the error about a change without the checksums that completing it needs."""
    return DatasetCorruptError(
        f"{sign.parent} has an interrupted change that version 0.6.0 has left ({sign.name}), which is not "
        f"completed; complete it with that version, or remove it with `minari clean --discard-changes` and "
        f"look at what the dataset holds."
    )


def metadata_digest(data_path: Path) -> str | None:
    """Return the digest of the metadata of a dataset, by which a change knows what it was made for."""
    try:
        return xxhash.xxh3_128_hexdigest(read_regular(data_path / METADATA_FILE_NAME, METADATA_LIMIT, links=False))
    except FileNotFoundError:
        return None
