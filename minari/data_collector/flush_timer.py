"""A thread that writes the episodes of collectors in time, whatever their programs are doing."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable


#: Maximum number of seconds for which a finished episode is only in memory.
FLUSH_AFTER = 5.0


class FlushTimer:
    """Timer that calls functions after some seconds.

    Its thread exists only while there are pending calls, and does not keep the program alive.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may call in the middle of a call
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._thread: threading.Thread | None = None

    def call_later(self, function: Callable[[], None]) -> bool:
        """Call a function after :data:`FLUSH_AFTER` seconds, in another thread.

        Args:
            function: it must not raise.

        Returns:
            True if it will be called; False if the system has no more threads.
        """
        with self._lock:
            self._waiting.append((time.monotonic() + FLUSH_AFTER, function))
            if self._thread is not None and self._thread.is_alive():
                return True
            self._thread = threading.Thread(target=self._run, name="minari-flush", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._waiting.clear()
                return False
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                due, function = self._waiting.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            function()


flush_timer = FlushTimer()


def _renew() -> None:
    global flush_timer  # (the thread does not exist in a forked child)
    flush_timer = FlushTimer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
