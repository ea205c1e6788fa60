"""Reading through HDF5 in a separate process, the only one that a damaged file can hang or crash.

The process is started on demand, and restarted after it ended; a forked process has its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
import numpy.typing as npt

from minari._base.json_text import parse_json, shortened
from minari._base.locks import ThreadLock
from minari.errors import DatasetCorruptError, MissingDependencyError, UnsafePathError
from minari.spaces import Column, object_column


PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from minari._storages.hdf5.child import main; main()"
_SECONDS: Final = 5  # of CPU time, for a request
_BYTES_A_SECOND: Final = 20_000_000  # of the file, in addition
MOMENT: float = 1.0  # seconds for a process to exit after it closed its output
_MOST_FAILURES: Final = 3  # of requests for a file, after which no more are made
PATIENCE: float = 10  # factor on the limits of CPU time, for a busy machine
_LENGTH: Final = 8  # size in bytes of a length prefix
_LONGEST_HEADER: Final = 2**26
_MOST_EXPANDED: Final = 1032
_SIMPLE: Final = re.compile(r"[<>|=]?[biufcSV][0-9]{1,5}")

_T = TypeVar("_T")

_turn = ThreadLock()
_child: _Child | None = None
failures: Counter[tuple[str, int, int]] = Counter()  # by path, size and time of the file


class _Failed(DatasetCorruptError):
    """The process has ended, or returned an invalid answer."""


class _Child:
    """The process."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-c", PROGRAM, *sys.path]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )

    @property
    def process_id(self) -> int:
        """The id of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether the process is running."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], limit: int) -> Iterator[tuple[Any, list[npt.NDArray[Any]]]]:
        """Yield the parts of an answer: its text, and arrays."""
        path = request["path"]
        seconds = _SECONDS + Path(path).stat().st_size // _BYTES_A_SECOND
        timer = threading.Timer(PATIENCE * seconds, self._process.kill)
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # no more threads can be started while the program exits
            timer.start()
        try:
            self._send(json.dumps({**request, "seconds": seconds}).encode() + b"\n")
            while True:
                kind, content, arrays = self._receive(limit)
                if kind == "part":
                    yield content, arrays
                elif kind == "done":
                    return
                else:
                    raise _error(str(kind), str(content), path)
        except (OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
            if isinstance(error, DatasetCorruptError):
                raise
            raise _Failed(str(error)) from error
        finally:
            timer.cancel()

    def _receive(self, limit: int) -> tuple[Any, Any, list[npt.NDArray[Any]]]:
        length = int.from_bytes(self._read(_LENGTH), "little")
        if length > _LONGEST_HEADER:
            raise ValueError("an answer of that length")
        line = self._read(length)
        kind, content, forms = parse_json(bytes(line))
        arrays = []
        for descriptor, shape in forms:
            dtype = _dtype(descriptor)
            size = math.prod(map(_count, shape), start=dtype.itemsize)
            limit -= size
            if limit < 0:
                raise ValueError("more bytes than the file can hold")
            data = self._read(size)
            arrays.append(np.frombuffer(data, dtype).reshape(shape) if size else np.empty(shape, dtype))
        return kind, content, arrays

    # The pipes have no buffers, whose locks a forked child might inherit locked.

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[cast("Any", self._process.stdin).write(view) :]

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = cast("Any", self._process.stdout).readinto(view)
            if not count:
                raise ValueError("it ended")
            view = view[count:]
        return data

    def how_it_ended(self) -> str | None:
        """Return what happened to the process; None if it is running."""
        try:
            code = self._process.wait(MOMENT)
        except subprocess.TimeoutExpired:
            return None
        took_too_long = -code in (signal.SIGTERM, getattr(signal, "SIGKILL", 0), getattr(signal, "SIGXCPU", 0))
        return "HDF5 took too long for it" if took_too_long else f"HDF5 crashed at it with status {code}"

    def end(self) -> None:
        """Kill the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self.forget()

    def forget(self) -> None:
        """Close this side of the pipes; the process ends unless another process has them too."""
        if self._process.returncode is None:
            self._process.returncode = 0  # a child of the parent process is not waited for
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, ValueError):
                cast("Any", pipe).close()


def _count(number: Any) -> int:
    if not isinstance(number, int) or not 0 <= number < 2**63:
        raise ValueError(f"{shortened(number)} is no number of rows")
    return number


def _dtype(descriptor: Any) -> np.dtype[Any]:
    if isinstance(descriptor, str) and _SIMPLE.fullmatch(descriptor):
        return np.dtype(descriptor)
    if isinstance(descriptor, list) and len(descriptor) < 100:  # a structure of such
        return _structure(descriptor)
    raise ValueError(f"{shortened(descriptor)} is no type of elements")


def _structure(descriptor: list[Any]) -> np.dtype[Any]:
    """Return the dtype of a structure, in which parts without a name are padding."""
    names, formats, offsets, size = [], [], [], 0
    for name, base, *shape in descriptor:
        part = np.dtype((_dtype(base), tuple(shape[0]))) if shape else _dtype(base)
        if name:
            names.append(str(name))
            formats.append(part)
            offsets.append(size)
        size += part.itemsize
    description: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    structure: np.dtype[Any] = np.dtype(description)
    return structure


def _error(kind: str, text: str, path: str) -> Exception:
    if kind == "missing":
        return MissingDependencyError(text[:500])
    if kind == "unsafe":
        return UnsafePathError(
            f"{path} cannot be read, since {text:.200}; put it into the file itself, or download the dataset from "
            f"another place."
        )
    return _damaged(path, text)


def _damaged(path: str, text: str) -> DatasetCorruptError:
    return DatasetCorruptError(
        f"{path} cannot be read as HDF5 ({text:.300}); it is damaged or holds something else, so copy or download it "
        f"again."
    )


def _forget() -> None:
    global _child  # (the parent process continues to use it)
    if _child is not None:
        _child.forget()
        _child = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def process_id() -> int | None:
    """Return the id of the process; None if there is none."""
    return None if _child is None else _child.process_id


@atexit.register
def end() -> None:
    """Kill the process; it is restarted on demand."""
    global _child
    with _turn.current:
        if _child is not None:
            _child.end()
            _child = None


def _ask(path: Path, what: str, **further: Any) -> list[tuple[Any, list[npt.NDArray[Any]]]]:
    """Return all parts of the answer to a request."""
    global _child
    name, status = str(Path(path).absolute()), Path(path).stat()
    identity = name, status.st_size, status.st_mtime_ns
    if failures[identity] >= _MOST_FAILURES:
        raise _damaged(name, f"HDF5 has failed on it {_MOST_FAILURES} times")
    with _turn.current:
        if _child is not None and not _child.is_alive():
            _child.end()
            _child = None
        if _child is None:
            _child = _Child()
        child, is_done = _child, False
        try:
            parts = list(
                child.ask({"path": name, "what": what, **further}, _MOST_EXPANDED * max(status.st_size, 2**16))
            )
            is_done = True
        except _Failed as failure:
            failures[identity] += 1
            raise _damaged(name, child.how_it_ended() or f"HDF5 returned an invalid answer: {failure}") from None
        except (DatasetCorruptError, MissingDependencyError):
            is_done = True
            raise
        finally:
            if not is_done:  # also after an interrupt by the user: its next output would not be an answer
                child.end()
                _child = None
    return parts


def count(path: Path) -> int:
    """Return the number of episodes in a file."""
    ((number, _),) = _ask(path, "count")
    return _checked(path, lambda: _count(number))


def root_attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a file."""
    ((described, arrays),) = _ask(path, "root_attributes")
    return _checked(path, lambda: dict(_attributes(described, arrays)))


def leaves(
    path: Path, index: int, agents: Iterable[str] = (), further: Iterable[str] = ()
) -> tuple[int, list[tuple[str, int]]]:
    """Return the number of steps of an episode, and the name and the number of rows of each of its arrays.

    Args:
        path: path of the file.
        index: number of the episode.
        agents: the names of the agents, if there are many.
        further: names of members of the episode that only some datasets have.
    """
    ((content, _),) = _ask(path, "leaves", episode=index, agents=sorted(agents), further=list(further))
    return _checked(
        path, lambda: (_count(content[0]), [(str(name), _count(shape[0])) for name, shape, _ in content[1]])
    )


def leaf_types(path: Path, index: int) -> list[tuple[str, tuple[np.dtype[Any], tuple[int, ...]]]]:
    """Return the name of each array of numbers of an episode, its dtype, and the shape of a row."""
    ((content, _),) = _ask(path, "leaves", episode=index)
    return _checked(
        path,
        lambda: [
            (str(name), (_dtype(dtype), tuple(map(_count, shape[1:]))))
            for name, shape, dtype in content[1]
            if dtype is not None
        ],
    )


def columns(
    path: Path, wanted: Sequence[tuple[int, Sequence[str]]], agents: Iterable[str] = ()
) -> list[dict[str, Column]]:
    """Return columns of episodes by their names in the file; omit those of unsupported types.

    Args:
        path: path of the file.
        wanted: the number of each episode and the names.
        agents: the names of the agents, if there are many.
    """
    parts = _ask(path, "columns", wanted=wanted, agents=sorted(agents))
    return _checked(path, lambda: [dict(_named(content[1], arrays)) for content, arrays in parts])


def metadata(path: Path, index: int) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Return the attributes of an episode, and of its rewards."""
    parts = _ask(path, "metadata", episode=index)
    return _checked(path, lambda: (_attributes(*parts[0]), _attributes(*parts[1])))


def _checked(path: Path, take: Callable[[], _T]) -> _T:
    try:
        return take()
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise _damaged(str(path), f"HDF5 returned an invalid answer: {error}") from None


def _named(described: Any, arrays: list[npt.NDArray[Any]]) -> Iterator[tuple[str, Column]]:
    remaining = iter(arrays)
    for name, kind in described:
        if kind == "array":
            yield str(name), next(remaining)
            continue
        lengths, data = next(remaining), next(remaining).tobytes()
        values: list[Any] = []
        position = 0
        for length in lengths.tolist():
            value = data[position : position + _count(length)]
            values.append(value if kind == "bytes" else value.decode())
            position += length
        yield str(name), object_column(values)


def _attributes(described: Any, arrays: list[npt.NDArray[Any]]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, kind, value in described:
        content: Any = None
        if kind == "text":
            content = str(value)
        elif kind == "texts":
            content = object_column([str(text) for text in value[1]]).reshape(value[0])
        elif kind == "array":
            content = arrays[value][()]
        found.append((str(name), content))
    return found
