"""Values of pickles, read by a process that runs nothing, see :mod:`minari.interchange.restricted_pickle`."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minari._base.json_text import parse_json, shortened
from minari.errors import InterchangeError
from minari.spaces import native


__all__ = ["RefusedPickle", "read_pickles"]

_PROGRAM = Path(__file__).with_name("restricted_pickle.py")
_PATIENCE = 120.0  # seconds
_DTYPES = frozenset(
    f"{order}{kind}{size}"
    for order in "<>"
    for kind, sizes in {"f": "248", "i": "1248", "u": "1248"}.items()
    for size in sizes
) | {"|b1"}
_ENVIRONMENT = "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"  # without which Python does not start


@dataclass(frozen=True, slots=True)
class RefusedPickle:
    """Place of a value that was not read.

    Attributes:
        reason: of the refusal.
    """

    reason: str


def read_pickles(parts: Sequence[bytes], where: object, required: int | None = None) -> list[Any]:
    """Return the values of pickles, which may be compressed with gzip or bzip2.

    They are None, numbers, strings, bytes, NumPy arrays and numbers, and lists and dicts of these; tuples and sets are
    lists.

    Args:
        parts: the bytes of each pickle.
        where: the file, for messages.
        required: the number of the first pickles that must be read; by default all. Others that are damaged or name
            anything else are :class:`RefusedPickle`.

    Raises:
        InterchangeError: one of those is damaged, or names anything else.
    """
    message = b"".join(piece for part in parts for piece in (struct.pack("<Q", len(part)), part))
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", str(_PROGRAM)],
            input=message,
            capture_output=True,
            env=environment,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(where, f"it takes more than {_PATIENCE:.0f} seconds") from error
    answer = done.stdout
    if done.returncode or not answer:
        raise _refused(where, f"its reader ended with the status {done.returncode}")
    if answer[0] != 1:
        raise _refused(where, answer[1:].decode("utf-8", "replace"))
    try:
        (length,) = struct.unpack_from("<Q", answer, 1)
        data = memoryview(answer)[9 + length :]
        values = [_decoded(value, data) for value in parse_json(answer[9 : 9 + length])]
    except (ValueError, LookupError, TypeError, struct.error) as error:
        raise _refused(where, error) from error
    for value in values[:required]:
        if isinstance(value, RefusedPickle):
            raise _refused(where, value.reason)
    return values


def _refused(where: object, why: object) -> InterchangeError:
    return InterchangeError(
        f"The pickle {where} cannot be read ({shortened(' '.join(str(why).split()))[1:-1]}), expected numbers, texts, "
        f"containers and NumPy arrays; it is damaged or not what it claims to be."
    )


def _decoded(value: Any, data: memoryview) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "list":
        return [_decoded(part, data) for part in content]
    if kind == "dict":
        return {_key(key): _decoded(part, data) for key, part in content}
    if kind == "refused":
        return RefusedPickle(str(content))
    if kind == "bytes":
        start, length = content
        return bytes(data[start : start + length])
    dtype, shape, is_fortran, start, length = content
    if dtype not in _DTYPES:
        raise ValueError(f"an array has the dtype {dtype!r}")
    flat = np.frombuffer(data[start : start + length], dtype)
    return native(flat.reshape(shape, order="F" if is_fortran else "C").copy())


def _key(key: Any) -> Any:
    if isinstance(key, dict):
        raise ValueError("a dict has keys that are no numbers or texts")
    return key
