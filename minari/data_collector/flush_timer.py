"""A thread that writes what collectors hold back, whatever their programs do meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable


#: For how many seconds a finished episode may be in memory only.
FLUSH_AFTER = 5.0


class FlushTimer:
    """Calls functions some seconds later.

    Its thread exists while there is something to wait for, and does not keep the program alive.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # as the garbage collector may call in the middle of a call
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._thread: threading.Thread | None = None

    def call_later(self, function: Callable[[], None]) -> bool:
        """Call a function after :data:`FLUSH_AFTER` seconds, in another thread.

        Args:
            function: it must not raise.

        Returns:
            Whether it will be called; False where the system has no more threads.
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
    global flush_timer  # (the thread does not exist in the child of a fork)
    flush_timer = FlushTimer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
