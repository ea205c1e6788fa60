"""Changes that a writer has committed and not finished: what readers and the next writer make of them.

A reader finishes nothing. It sees the state after the change, through the files that hold it, as long
as the change is not in place; see :mod:`transaction` and :mod:`folder_changes`.
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

_PATIENCE: Final = 1.0  # seconds for a writer that is alive, since what is in place is read faster
_PAUSE: Final = 0.002  # seconds
_MOST_LOGGED: Final = 10_000
_logged: set[str] = set()


def wait_for_writer(sign: Path) -> bool:
    """Wait for a moment for the writer that is putting a change into place.

    Args:
        sign: the file or directory that is there as long as the change is not in place.

    Returns:
        Whether it is in place now.
    """
    deadline = time.monotonic() + _PATIENCE
    while os.path.lexists(sign):
        if time.monotonic() > deadline or not is_locked(sign.with_name(LOCK_NAME)):
            return False
        time.sleep(_PAUSE)
    return True


def ignored_change(sign: Path, reason: object) -> None:
    """Log, once, that a change does not count, since nothing of it has been put into place."""
    if str(sign) in _logged:
        return
    if len(_logged) < _MOST_LOGGED:
        _logged.add(str(sign))
    _log.warning("%s is left alone and does not count (%s); `minari clean` can remove it.", sign, reason)


def corrupt_change(sign: Path, reason: object) -> DatasetCorruptError:
    """Return the error about a change that is half in place and cannot be completed."""
    return DatasetCorruptError(
        f"{sign.parent} has an interrupted change ({sign.name}) that is partly in place and cannot be completed "
        f"({reason}); copy or download the dataset again, or remove what is left of the change with "
        f"`minari clean --discard-changes` and look at what the dataset holds."
    )
