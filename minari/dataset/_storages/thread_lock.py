"""A lock between threads that a fork does not leave locked."""

from __future__ import annotations

import os
import threading
import weakref


_locks: weakref.WeakSet[ThreadLock] = weakref.WeakSet()


class ThreadLock:
    """Lets one thread at a time do something: ``with lock.current: ...``.

    Attributes:
        current: the lock, which a thread may take several times. In the child of a fork it is another
            one, since the thread that held it does not exist there.
    """

    def __init__(self) -> None:
        self.current = threading.RLock()
        _locks.add(self)


def _renew() -> None:
    for lock in list(_locks):
        lock.current = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
