"""Changes that a writer has committed but not finished, for readers and the next writer.

A reader finishes nothing. It sees the state after the change, through the files that contain it, until the
change is applied; see :mod:`journal` and :mod:`staged_directory`.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Final

from minari._base.locks import LOCK_NAME, is_locked
from minari.errors import DatasetCorruptError


__all__ = ["corrupt_change", "ignored_change", "wait_for_writer"]


_log = logging.getLogger(__name__)

_PATIENCE: Final = 1.0  # seconds to wait for a running writer, since applied changes are read faster
_PAUSE: Final = 0.002  # seconds
_MOST_LOGGED: Final = 10_000
_logged: set[str] = set()


def wait_for_writer(sign: Path) -> bool:
    """Wait briefly for a writer that is applying a change.

    Args:
        sign: the file or directory that exists until the change is applied.

    Returns:
        True if it has been applied.
    """
    deadline = time.monotonic() + _PATIENCE
    while os.path.lexists(sign):
        if time.monotonic() > deadline or not is_locked(sign.with_name(LOCK_NAME)):
            return False
        time.sleep(_PAUSE)
    return True


def ignored_change(sign: Path, reason: object) -> None:
    """Log, once, that a change is not valid, since no part of it has been applied."""
    if str(sign) in _logged:
        return
    if len(_logged) < _MOST_LOGGED:
        _logged.add(str(sign))
    _log.warning("%s is left alone and does not count (%s); `minari clean` can remove it.", sign, reason)


def corrupt_change(sign: Path, reason: object) -> DatasetCorruptError:
    """Return the error for a change that has been partly applied and cannot be completed."""
    return DatasetCorruptError(
        f"{sign.parent} has an interrupted change ({sign.name}) that is partly in place and cannot be completed "
        f"({reason}); copy or download the dataset again, or remove what is left of the change with "
        f"`minari clean --discard-changes` and look at what the dataset holds."
    )
