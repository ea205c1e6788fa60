"""Processes that replay episodes: a dataset is opened, and an environment made, in each of them."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from minari.errors import ArgumentTypeError, MinariError, VerificationError


__all__ = ["map_in_processes"]

_SECONDS_TO_END = 5

T = TypeVar("T")
R = TypeVar("R")


class _Failure:
    """An exception in another process, as text, since not every exception can be sent."""

    def __init__(self, error: BaseException) -> None:
        self.text = str(error) if isinstance(error, MinariError) else f"{type(error).__name__}: {error}"


def map_in_processes(
    start: Callable[..., Callable[[T], R]], arguments: tuple[Any, ...], items: Sequence[T], processes: int
) -> Generator[R, None, None]:
    """Yield the result of a function for each item, in any order, as soon as it is there.

    All processes are ended when the iterator is closed, also by Ctrl-C.

    Args:
        start: called once in each process; returns the function.
        arguments: arguments of ``start``.
        items: the items, none of which is None.
        processes: number of processes.

    Raises:
        VerificationError: a process has failed or died.
        ArgumentTypeError: something cannot be sent to another process.
    """
    try:
        pickle.dumps((start, arguments))
    except Exception as error:  # objects may raise anything
        raise ArgumentTypeError(
            f"The environment cannot be sent to other processes ({error}); give the name of its function, "
            f"'package.module:function', or processes=1."
        ) from error
    context = multiprocessing.get_context("spawn")  # a fork would copy locks, threads and simulators in use
    remaining = iter(items)
    workers: dict[Any, Any] = {}  # connection -> process
    try:
        for item in islice(remaining, processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, start, arguments), daemon=True)
            process.start()
            theirs.close()
            workers[ours] = process
            _send(ours, item, process)
        while workers:
            ready: list[Any] = wait(list(workers))
            for connection in ready:
                process = workers[connection]
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    raise _died(process) from None
                if isinstance(result, _Failure):
                    raise VerificationError(f"A process of the verification failed: {result.text}")
                yield result
                following = next(remaining, None)
                if following is None:
                    connection.close()  # ends the process
                    process.join(_SECONDS_TO_END)
                    if process.is_alive():
                        process.terminate()
                    del workers[connection]
                else:
                    _send(connection, following, process)
    finally:
        for process in workers.values():
            process.terminate()
        for process in workers.values():
            process.join()


def _send(connection: Any, item: object, process: Any) -> None:
    try:
        connection.send(item)
    except OSError:
        raise _died(process) from None


def _died(process: Any) -> VerificationError:
    process.join(1)
    return VerificationError(
        f"A process of the verification ended with the exit code {process.exitcode} before it was done, as when memory "
        f"runs out, or a script does not guard its calls with if __name__ == '__main__'; use fewer processes."
    )


def _work(connection: Connection, start: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """Answer each item with the result of a function for it, until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the first one ends the others
    function: Callable[[Any], Any] | None = None
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):  # the first process is gone
            return
        try:
            function = start(*arguments) if function is None else function
            result: Any = function(item)
        except Exception as error:
            result = _Failure(error)
        connection.send(result)
