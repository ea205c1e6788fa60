"""Program that turns pickles into JSON and raw arrays, without running anything that they name.

It is started by :mod:`minari.interchange.pickles` as a process of its own (``python -I -S``), imports the standard
library only, and gives up its privileges before it reads: no new files, sockets or processes, little memory and time,
and no rights of a user. Numbers, strings, containers and NumPy arrays of numbers are built by functions of this file;
every other name in a pickle is refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import pickle
import struct
import sys
import zlib
from typing import Any


try:
    import ctypes
    import resource
except ImportError:  # Windows has no limits of this kind
    ctypes = resource = None  # type: ignore[assignment]


_NOBODY = 65534
_DEEPEST = 32
_LARGEST_LENGTH = 2**31  # of an array without values
_LARGEST_INTEGER = 64  # bits
_MOST_PER_BYTE = 256  # of compressed data
_ALWAYS = 2**26  # bytes
_SECONDS = 60
_NO_NEW_PRIVILEGES = 38
_NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_ALL_ACCESS = 2**13 - 1  # of Landlock's first version
_DTYPES = frozenset(f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248"}.items() for size in sizes)


class Refused(Exception):
    """A pickle holds something that is not allowed."""


class Array:
    """An array that is being unpickled: the text of its dtype, its shape, order and bytes."""

    def __init__(self, *_: object) -> None:
        self.dtype, self.shape, self.is_fortran, self.data = "", (), False, b""

    def __setstate__(self, state: object) -> None:
        """Take the state of an ndarray: version, shape, dtype, order and bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array has an unknown state")
        self.fill(state[1], state[2], state[3], state[4])

    def fill(self, shape: object, dtype: object, is_fortran: object, data: object) -> None:
        """Set the values, whose bytes must be there."""
        if isinstance(data, str):
            data = data.encode("latin1")
        if not isinstance(dtype, DType) or not isinstance(data, (bytes, bytearray)) or not isinstance(shape, tuple):
            raise Refused("an array has no bytes, but objects")
        size = int(dtype.text[2:])
        for length in shape:
            if type(length) is not int or not 0 <= length <= (len(data) or _LARGEST_LENGTH):
                raise Refused("an array has another size than its bytes")
            size *= length
        if size != len(data) or len(shape) > 32:
            raise Refused("an array has another size than its bytes")
        self.dtype, self.shape, self.is_fortran, self.data = dtype.text, shape, bool(is_fortran), bytes(data)


class DType:
    """A dtype that is being unpickled, as text such as ``"<f4"``."""

    def __init__(self, name: object = "", *_: object) -> None:
        if isinstance(name, str) and name in _DTYPES:
            self.text = f"<{name}"
        elif name == "b1":
            self.text = "|b1"
        else:
            raise Refused(f"an array has the dtype {str(name)[:20]!r}")

    def __setstate__(self, state: object) -> None:
        """Take the state of a dtype, of which the byte order is of interest."""
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("an array has a structured dtype")
        if state[1] == ">":
            self.text = f">{self.text[1:]}"


class NDArray:
    """The name numpy.ndarray, of which no object is made."""

    def __init__(self, *_: object) -> None:
        raise Refused("an array is made in an unusual way")


def reconstruct(*_: object) -> Array:
    """Take the place of numpy's function of that name, which allocates memory."""
    return Array()


def scalar(dtype: object, data: object = b"") -> Array:
    """Return a NumPy number."""
    array = Array()
    array.fill((), dtype, False, data)
    return array


def frombuffer(data: Any, dtype: object, shape: object, order: object, *_: object) -> Array:
    """Return an array of protocol 5."""
    array = Array()
    array.fill(shape, dtype, order == "F", data)
    return array


def encode(text: object, encoding: object = "latin1") -> bytes:
    """Return bytes that Python 2 or protocol 2 has written as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("a text has an unusual encoding")
    return text.encode("latin1")


def ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    """Return a dict; the items follow in opcodes of their own, or are a list of pairs."""
    return dict(pairs)


def values(items: Any = ()) -> list[Any]:
    """Return the values of a set, which older protocols make of a list."""
    return list(items) if isinstance(items, list) else []


def no_bytes() -> bytes:
    """Return bytes without any, as older protocols write them."""
    return b""


ALLOWED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): NDArray,
    ("numpy", "dtype"): DType,
    ("_codecs", "encode"): encode,
    ("collections", "OrderedDict"): ordered_dict,
    **{(builtins, name): values for builtins in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    **{(builtins, "bytes"): no_bytes for builtins in ("builtins", "__builtin__")},
}


class Unpickler(pickle.Unpickler):
    """Unpickler that knows nothing but the functions above."""

    def find_class(self, module: str, name: str) -> object:
        """Return one of the functions above."""
        found = ALLOWED.get((module, name))
        if found is None:
            raise Refused(f"it names {module}.{name}"[:200])
        return found

    def persistent_load(self, pid: object) -> object:
        """Refuse references to other objects."""
        raise Refused("it refers to objects outside of it")


class Encoder:
    """Values as JSON, with arrays as places in a buffer of bytes.

    Shared parts are written again wherever they occur, within a bound.
    """

    def __init__(self, most: int) -> None:
        self.buffer, self.left = io.BytesIO(), most

    def take(self, count: int) -> None:
        """Count bytes of the answer."""
        self.left -= count
        if self.left < 0:
            raise Refused("it expands to far more than its bytes")

    def encode(self, value: Any, depth: int = 0) -> object:
        """Return a value in the form for JSON."""
        self.take(8)
        if depth > _DEEPEST:
            raise Refused("it is nested too deeply")
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int:
            if value.bit_length() > _LARGEST_INTEGER:
                raise Refused("it has a number of too many digits")
            return value
        if type(value) is str:
            self.take(len(value))
            return value
        if type(value) is Array and value.dtype:
            return {"array": [value.dtype, list(value.shape), value.is_fortran, *self.place(value.data)]}
        if type(value) in (bytes, bytearray):
            return {"bytes": self.place(bytes(value))}
        if type(value) is dict:
            return {
                "dict": [[self.encode(key, depth + 1), self.encode(part, depth + 1)] for key, part in value.items()]
            }
        if type(value) in (list, tuple, set, frozenset):
            return {"list": [self.encode(part, depth + 1) for part in value]}
        raise Refused(f"it has a value of the type {type(value).__name__}")

    def place(self, data: bytes) -> list[int]:
        """Append bytes to the buffer, and return their place and length."""
        self.take(len(data))
        start = self.buffer.tell()
        self.buffer.write(data)
        return [start, len(data)]


def give_up_privileges() -> None:
    """Let this process open, start and write nothing from here on, except to the pipes that are open."""
    if resource is None:
        return
    os.chdir("/")
    library = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        except OSError:  # a user namespace without that user
            pass
    if sys.platform == "linux":  # each may be refused in a container, or by an old kernel
        library.unshare(_NEW_USER_AND_NETWORK)
        library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        forbid_files(library)
    limits = {"RLIMIT_NOFILE": 3, "RLIMIT_NPROC": 0, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_CPU": _SECONDS}
    for name, limit in limits.items():
        if hasattr(resource, name):
            resource.setrlimit(getattr(resource, name), (limit, limit))


def forbid_files(library: Any) -> None:
    """Forbid this process everything in the file system, by Landlock."""
    handled = ctypes.c_uint64(_ALL_ACCESS)
    rules = library.syscall(_LANDLOCK_CREATE, ctypes.byref(handled), ctypes.c_size_t(8), 0)
    if rules >= 0:
        library.syscall(_LANDLOCK_RESTRICT, rules, 0)
        os.close(rules)


def limit_memory(size: int) -> None:
    """Bound the memory of this process by the bytes that there are."""
    if resource is not None and hasattr(resource, "RLIMIT_AS") and sys.platform == "linux":
        limit = 2**29 + 64 * size
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def expanded(data: bytes) -> bytes:
    """Return data without its compression."""
    opened: Any
    if data[:2] == b"\x1f\x8b":
        opened = gzip.GzipFile(fileobj=io.BytesIO(data))
    elif data[:3] == b"BZh":
        opened = bz2.BZ2File(io.BytesIO(data))
    else:
        return data
    most = _ALWAYS + _MOST_PER_BYTE * len(data)
    content: bytes = opened.read(most + 1)
    if len(content) > most:
        raise Refused("it expands to far more than its bytes")
    return content


def converted(parts: list[bytes]) -> bytes:
    """Return the values of pickles as the length of a JSON text, the text, and the bytes of arrays.

    A pickle that is refused is an object with the reason.
    """
    contents = [attempted(expanded, part) for part in parts]
    size = sum(len(content) for content in contents if isinstance(content, bytes))
    limit_memory(size)
    encoder = Encoder(_ALWAYS + 32 * size)
    values = [
        attempted(lambda content: encoder.encode(Unpickler(io.BytesIO(content), encoding="latin1").load()), content)
        if isinstance(content, bytes)
        else content
        for content in contents
    ]
    text = json.dumps(values).encode()
    return struct.pack("<Q", len(text)) + text + encoder.buffer.getvalue()


def attempted(function: Any, content: bytes) -> Any:
    """Return what a function makes of bytes, or why it does not."""
    try:
        return function(content)
    except Exception as error:  # whatever a pickle causes
        return {"refused": (str(error) or type(error).__name__)[:500]}


def main() -> int:
    """Read pickles from standard input, each after its length, and write their values."""
    give_up_privileges()
    source, parts = sys.stdin.buffer, []
    while head := source.read(8):
        parts.append(source.read(struct.unpack("<Q", head)[0]))
    try:
        answer = b"\1" + converted(parts)
    except Exception as error:  # whatever a pickle causes
        answer = b"\0" + (str(error) or type(error).__name__).encode("utf-8", "replace")[:500]
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    return 0


_ = zlib  # imported while files can be opened

if __name__ == "__main__":
    os._exit(main())  # what was unpickled is not taken apart
