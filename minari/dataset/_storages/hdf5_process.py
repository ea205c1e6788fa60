"""Reading through HDF5 in another process, so that a damaged file can hang or crash that one only.

The process is started when it is needed, and started again after it was ended; a fork has its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
import numpy.typing as npt

from minari._base.json_text import parse_json, shortened
from minari.dataset._storages.thread_lock import ThreadLock
from minari.errors import DatasetCorruptError, MissingDependencyError, UnsafePathError
from minari.spaces import Column, object_column


_PROGRAM: Final = "import sys; sys.path[:] = sys.argv[1:]; from minari.dataset._storages.hdf5_child import main; main()"
_SECONDS: Final = 10  # of a processor, for a request
_BYTES_A_SECOND: Final = 20_000_000  # of the file, beside that
_PATIENCE: Final = 10  # times as long as it may take where nobody else uses the processor
_LONGEST_LINE: Final = 2**26
_MOST_EXPANDED: Final = 1032
_SIMPLE: Final = re.compile(r"[<>|=]?[biufcSV][0-9]{1,5}")

_T = TypeVar("_T")

_turn = ThreadLock()
_child: _Child | None = None


class _Failed(Exception):
    """The process has ended, or said what cannot be."""


class _Child:
    """The process."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-c", _PROGRAM, *sys.path]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=-1
        )

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], limit: int) -> Iterator[tuple[Any, list[npt.NDArray[Any]]]]:
        """Yield the parts of an answer: what it says, and arrays."""
        path = request["path"]
        seconds = _SECONDS + Path(path).stat().st_size // _BYTES_A_SECOND
        timer = threading.Timer(_PATIENCE * seconds, self._process.kill)
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # at the end of a program no more threads are started
            timer.start()
        try:
            stdin = cast("Any", self._process.stdin)
            stdin.write(json.dumps({**request, "seconds": seconds}).encode() + b"\n")
            stdin.flush()
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
        stdout = cast("Any", self._process.stdout)
        line = stdout.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("the process has ended")
        kind, content, forms = parse_json(line)
        arrays = []
        for descriptor, shape in forms:
            dtype = _dtype(descriptor)
            size = math.prod(map(_count, shape), start=dtype.itemsize)
            limit -= size
            if limit < 0:
                raise ValueError("more bytes than the file can hold")
            data = bytearray(size)
            if stdout.readinto(data) != size:
                raise ValueError("the process has ended")
            arrays.append(np.frombuffer(data, dtype).reshape(shape) if size else np.empty(shape, dtype))
        return kind, content, arrays

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self.forget()

    def forget(self) -> None:
        """Close this side of the pipes; where the other side waits, the process ends."""
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
        fields = [(str(field[0]), _dtype(field[1]), *map(tuple, field[2:3])) for field in descriptor]
        return np.dtype(fields)
    raise ValueError(f"{shortened(descriptor)} is no type of elements")


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
    global _child  # (the parent of a fork goes on using it)
    if _child is not None:
        _child.forget()
        _child = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@atexit.register
def end() -> None:
    """End the process; it is started again when it is needed."""
    global _child
    with _turn.current:
        if _child is not None:
            _child.end()
            _child = None


def _ask(path: Path, what: str, **further: Any) -> list[tuple[Any, list[npt.NDArray[Any]]]]:
    """All parts of the answer to a request."""
    global _child
    name = str(Path(path).absolute())
    with _turn.current:
        if _child is None or not _child.is_alive():
            _child = _Child()
        limit = _MOST_EXPANDED * max(Path(name).stat().st_size, 2**16)
        child, is_done = _child, False
        try:
            parts = list(child.ask({"path": name, "what": what, **further}, limit))
            is_done = True
        except (DatasetCorruptError, MissingDependencyError):
            is_done = True
            raise
        except _Failed as failure:
            raise _damaged(name, f"HDF5 crashed, hung or used too much memory: {failure}") from None
        finally:
            if not is_done:  # also where the user has interrupted it: what it would say next is no answer
                child.end()
                _child = None
    return parts


def count(path: Path) -> int:
    """Return how many episodes a file holds."""
    ((number, _),) = _ask(path, "count")
    return _checked(path, lambda: _count(number))


def root_attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a file."""
    ((described, arrays),) = _ask(path, "root_attributes")
    return _checked(path, lambda: dict(_attributes(described, arrays)))


def leaves(path: Path, index: int) -> tuple[int, list[tuple[str, int]]]:
    """Return the number of steps of an episode, and the name and the number of rows of each of its arrays."""
    ((content, _),) = _ask(path, "leaves", episode=index)
    return _checked(path, lambda: (_count(content[0]), [(str(name), _count(rows)) for name, rows in content[1]]))


def columns(path: Path, wanted: Sequence[tuple[int, Sequence[str]]]) -> list[dict[str, Column]]:
    """Return columns of episodes by their spelled names; those of no use are left out.

    Args:
        path: of the file.
        wanted: of each episode its number and the names.
    """
    parts = _ask(path, "columns", wanted=wanted)
    return _checked(path, lambda: [dict(_named(content[1], arrays)) for content, arrays in parts])


def metadata(path: Path, index: int) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Return the attributes of an episode, and of its rewards."""
    parts = _ask(path, "metadata", episode=index)
    return _checked(path, lambda: (_attributes(*parts[0]), _attributes(*parts[1])))


def _checked(path: Path, take: Callable[[], _T]) -> _T:
    try:
        return take()
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise _damaged(str(path), f"HDF5 said what cannot be: {error}") from None


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
