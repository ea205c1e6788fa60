"""Changes that a killed writer has committed and not finished: whoever opens the dataset next does."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path

from minari.errors import DatasetBusyError, DatasetCorruptError


def finish_change(sign: Path, finish: Callable[[], None], timeout: float) -> None:
    """Finish a change, or wait for the writer that is at it and alive.

    Args:
        sign: the file or folder that is there as long as the change is not finished.
        finish: takes the lock of the writer and makes the change.
        timeout: how long to wait for a writer, in seconds.

    Raises:
        DatasetBusyError: the writer is still at it.
        DatasetCorruptError: the change cannot be made for want of permission.
    """
    deadline = time.monotonic() + timeout
    while sign.exists():
        try:
            finish()
        except DatasetBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise DatasetCorruptError(
                f"{sign.parent} has an unfinished change ({sign.name}), which must be applied before it is "
                f"read; open the dataset once as a user who may write to it."
            ) from error
