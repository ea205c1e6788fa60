"""Checksums of file contents, with the algorithms that stores report."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minari._base.files import open_regular
from minari._base.lazy import LazyModule


__all__ = ["Checksum", "can_compute", "checksum_of", "checksums_of", "read_in_pieces"]

google_crc32c: Any = LazyModule("google_crc32c")  # comes with the client of the only store that reports crc32c

_READ_AT_ONCE = 1 << 20  # bytes


class Checksum(NamedTuple):
    """A checksum with its algorithm.

    Attributes:
        algorithm: ``"sha256"``, ``"md5"``, ``"crc32c"``, or ``"git-sha1"``, the name that git
            gives to a file with this content.
        value: lowercase hexadecimal digits.
    """

    algorithm: str
    value: str


def _plain(name: str) -> Callable[[int], Any]:
    return lambda size: hashlib.new(name, usedforsecurity=False)


_ALGORITHMS: dict[str, Callable[[int], Any]] = {
    "sha256": _plain("sha256"),
    "md5": _plain("md5"),
    "git-sha1": lambda size: hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False),
    "crc32c": lambda size: google_crc32c.Checksum(),
}


def can_compute(algorithm: str) -> bool:
    """Return whether checksums with this algorithm can be computed."""
    return algorithm in _ALGORITHMS


def checksum_of(content: bytes, algorithm: str) -> Checksum:
    """Return the checksum of some content.

    >>> checksum_of(b"", "git-sha1").value
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'

    Args:
        content: the whole content.
        algorithm: one for which :func:`can_compute` returns True.
    """
    return checksums_of([content], len(content), [algorithm])[algorithm]


def checksums_of(pieces: Iterable[bytes], size: int, algorithms: Iterable[str]) -> dict[str, Checksum]:
    """Return several checksums of the same content, computed in one pass.

    Args:
        pieces: the content, in order.
        size: size of the content in bytes.
        algorithms: the algorithms of the checksums.
    """
    running = {algorithm: _ALGORITHMS[algorithm](size) for algorithm in algorithms}
    for piece in pieces:
        for hasher in running.values():
            hasher.update(piece)
    return {algorithm: Checksum(algorithm, hasher.digest().hex()) for algorithm, hasher in running.items()}


def read_in_pieces(path: Path, size: int = _READ_AT_ONCE) -> Iterator[bytes]:
    """Yield the content of a regular file in pieces of ``size`` bytes."""
    with os.fdopen(open_regular(path), "rb") as file:
        while piece := file.read(size):
            yield piece
