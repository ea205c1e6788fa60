"""Digest of the values of an episode, by which equal episodes are found without comparing all pairs."""

from __future__ import annotations

import numpy as np
import xxhash

from minari._base.checksums import column_checksum
from minari.spaces import Columns, path_name


__all__ = ["content_digest"]


def content_digest(columns: Columns) -> str:
    """Return a digest of the values of an episode, which does not depend on how they are stored.

    Episodes with the same columns, dtypes, shapes and values have the same digest in every format, with any
    compression; the order of the columns and the byte order do not matter. NaN equals NaN of the same bits.

    >>> steps = {("rewards",): np.ones(3), ("actions",): np.arange(3)}
    >>> content_digest(steps) == content_digest({("actions",): np.arange(3, dtype=">i8"), ("rewards",): np.ones(3)})
    True
    >>> content_digest(steps) == content_digest({**steps, ("rewards",): np.ones(3, np.float32)})
    False

    Args:
        columns: the columns of the episode, with frames decoded and stacks rebuilt.

    Returns:
        128 bits in hexadecimal.
    """
    digest = xxhash.xxh3_128()
    for path, column in sorted(columns.items(), key=lambda item: path_name(item[0])):
        name = path_name(path).encode("utf-8", "surrogatepass")
        digest.update(f"{len(name)}:".encode() + name + np.int64(column_checksum(column)).tobytes())
    return digest.hexdigest()
