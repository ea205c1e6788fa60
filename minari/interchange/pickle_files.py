"""Recognition of pickles, which are never loaded."""

from __future__ import annotations

from pathlib import Path


__all__ = ["is_pickle_of"]

_HEAD = 2**16  # bytes
_PROTOCOL = b"\x80"  # the first byte since protocol 2


def is_pickle_of(path: Path, module: str) -> bool:
    """Return whether a file begins like a pickle and names a module in its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return head.startswith(_PROTOCOL) and module.encode() in head
