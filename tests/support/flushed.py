"""Episodes on disk, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable

from minari._catalog.recordings import list_recordings


def written() -> int:
    """The number of episodes on disk."""
    return sum(recording.episodes for recording in list_recordings())


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so, which other threads see to."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came about")
