"""Handling of unsaved episodes when their collector is dropped or the program ends.

They are written to disk, and at the end of the program one line on standard error explains how to continue,
unless a warning has done so before. The library installs no signal handler: Ctrl-C and uncaught exceptions
end here too.
"""

from __future__ import annotations

import atexit
import os
import sys
import warnings
import weakref
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from minari._base.warnings import warn
from minari.data_collector import flush_timer
from minari.data_collector.episode_queue import EpisodeQueue


class RunningEpisodes(Protocol):
    """The episodes in progress of a collector."""

    def __len__(self) -> int:
        """Return the number of steps."""

    def finish(self, queue: EpisodeQueue) -> None:
        """End the episodes that have a step, truncated unless they have terminated, and add them to a queue."""

    def discard_info(self, name: str) -> None:
        """Drop one info."""


#: The collectors that exist, each with its finished episodes and those in progress.
_alive: weakref.WeakKeyDictionary[object, tuple[EpisodeQueue, RunningEpisodes]] = weakref.WeakKeyDictionary()
_dropped: deque[tuple[EpisodeQueue, RunningEpisodes]] = deque()
_untold: list[tuple[EpisodeQueue, str]] = []  # sentences not shown yet, with their queue
_watching: set[int] = set()  # processes whose end is handled


def watch(collector: object, queue: EpisodeQueue, running: RunningEpisodes) -> None:
    """Save the episodes of a collector when it is garbage-collected or the program ends.

    Args:
        collector: the collector.
        queue: its finished episodes.
        running: its episodes in progress.
    """
    _alive[collector] = queue, running
    weakref.finalize(collector, _drop, queue, running).atexit = False
    if os.getpid() not in _watching:
        _watching.add(os.getpid())
        process: Any = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            # Processes of multiprocessing exit without calling atexit functions.
            sys.modules["multiprocessing.util"].Finalize(None, _leave_all, exitpriority=0)


def leave(running: RunningEpisodes, queue: EpisodeQueue, how: str) -> str | None:
    """Write all episodes in memory, including those in progress, which end here.

    Args:
        running: the episodes in progress.
        queue: queue of the finished ones.
        how: how the program leaves them, as a phrase.

    Returns:
        A sentence that explains how to continue, if there are unsaved episodes.
    """
    if queue.is_inherited and not len(running):
        return None
    running.finish(queue)
    return queue.leave(how)


def warn_unsaved(queue: EpisodeQueue, sentence: str) -> None:
    """Warn, and keep the sentence for the end of the program if warnings are not shown."""
    if _is_ignored(sentence):
        _untold.append((queue, sentence))
    warn(sentence)


def _is_ignored(sentence: str) -> bool:
    """Return whether a filter for all modules hides the warning."""
    for action, message, category, module, line in warnings.filters:
        if issubclass(UserWarning, category) and (message is None or message.match(sentence)):
            return action == "ignore" and module is None and line == 0
    return False


def _drop(queue: EpisodeQueue, running: RunningEpisodes) -> None:
    """Hand the episodes of a garbage-collected collector to another thread, as this one may be in any state."""
    if queue.total_episodes or len(running):
        _dropped.append((queue, running))
        flush_timer.flush_timer.call_later(_leave_dropped)


def _leave_dropped() -> None:
    while _dropped:
        with suppress(IndexError):  # the other thread, or the end of the program, was faster
            queue, running = _dropped.popleft()
            _leave_silently(running, queue, "the collector was dropped")


def _leave_silently(running: RunningEpisodes, queue: EpisodeQueue, how: str) -> None:
    with suppress(Exception):  # nobody can catch it, and others have to be written
        sentence = leave(running, queue, how)
        if sentence is not None:
            _untold.append((queue, sentence))


def _leave_all() -> None:
    """Write all episodes in memory at the end of the program, and print one line on how to continue."""
    for queue, running in list(_alive.values()):
        _leave_silently(running, queue, "the program ended")
    _leave_dropped()
    sentences = [sentence for queue, sentence in _untold if queue.is_left_behind() or queue.total_episodes]
    _untold.clear()
    if not sentences:
        return
    more = f" In all, {len(sentences)} recordings were not saved; see `minari recover`." if len(sentences) > 1 else ""
    with suppress(Exception):  # the stream may be closed or missing
        sys.stderr.write(f"minari: {sentences[0]}{more}\n")
        sys.stderr.flush()


def _forget() -> None:
    _dropped.clear()  # written by the parent
    _untold.clear()


atexit.register(_leave_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
