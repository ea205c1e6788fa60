"""Errors of the operating system as errors of this library."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from minari.errors import MinariError, StorageError


__all__ = ["failures_logged", "storage_errors"]

_log = logging.getLogger(__name__)

_ROOM: Final = "make room on the disk and try again"
_PERMISSION: Final = "see that you may write there, or name another directory in MINARI_DATASETS_PATH"
_ADVICE: Final = {
    errno.ENOSPC: _ROOM,
    getattr(errno, "EDQUOT", errno.ENOSPC): _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: _PERMISSION,
}


@contextmanager
def storage_errors(path: str | os.PathLike[str], action: str = "written") -> Iterator[None]:
    """Convert errors of the operating system in the block into a :class:`StorageError`.

    Args:
        path: the affected path, for the message.
        action: the failed operation, as a participle.

    Raises:
        StorageError: the block raised an ``OSError`` that is not one of this library.
    """
    try:
        yield
    except MinariError:
        raise
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "see that the disk is mounted and sound, and try again")
        place = f" at {error.filename}" if error.filename and str(error.filename) != str(path) else ""
        raise StorageError(
            f"{path} cannot be {action} ({error.strerror or error}{place}), and is as it was before; {advice}.",
            error.errno,
            error.strerror,
            str(error.filename or path),
        ) from error


@contextmanager
def failures_logged(what: str) -> Iterator[None]:
    """Log failures in the block, after the moment at which a change counts as made.

    Args:
        what: the operation, for the log.
    """
    try:
        yield
    except (OSError, MinariError) as error:
        _log.warning("%s failed, which does not undo the change that was made before it: %s", what, error)
