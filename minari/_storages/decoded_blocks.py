"""Blocks of rows that were decoded last, kept in one array up to a number of bytes.

A block of HDF5 is the part of an episode in the chunks that begin at the same row, and one of Zarr is a chunk. All
blocks that are kept lie in one array, so that a batch of them is one indexing operation of NumPy. The array is a ring:
a new block takes the place of that which was decoded first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.locks import ThreadLock
from minari.spaces import Column


__all__ = ["KEPT_BYTES", "DecodedBlocks", "MemoryBudget"]

#: Bytes of the decoded rows of a dataset that are kept for the next batches.
KEPT_BYTES = 2**28

_SMALLEST: Final = 2**12  # bytes of a block; keeping smaller ones costs more than it saves
_LEAST: Final = 4  # blocks that must fit

Positions = npt.NDArray[np.int64]


class MemoryBudget:
    """Bytes that several objects share, each of which takes its part when it is made.

    Args:
        size: the number of bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, most: int) -> int:
        """Return the number of bytes that are left, up to what is asked for, and take them."""
        taken = min(most, self._left)
        self._left -= taken
        return taken


class DecodedBlocks:
    """The blocks of one leaf, or of an array of one, that were decoded last; safe to use from several threads.

    Args:
        count: the number of all blocks.
        height: the greatest number of rows of a block.
        shape: the shape of a row.
        dtype: of the rows.
        budget: of memory.
    """

    def __init__(
        self, count: int, height: int, shape: tuple[int, ...], dtype: np.dtype[Any], budget: MemoryBudget
    ) -> None:
        self._height = height
        size = height * math.prod(shape, start=dtype.itemsize)
        capacity = 0 if size < _SMALLEST else budget.take(count * size) // size
        self._capacity = capacity if capacity >= min(_LEAST, count) else 0
        self._places = np.full(count if self._capacity else 0, -1)  # of each block in the ring
        self._blocks = np.full(self._capacity, -1)  # at each place
        self._next = 0
        self._rows: Column = np.empty((self._capacity * height, *shape), dtype)
        self._lock = ThreadLock()

    def gather(
        self,
        blocks: Positions,
        rows: Positions,
        target: Column,
        decode: Callable[[Positions, Positions, Column], None],
    ) -> bool:
        """Write rows of blocks to an array, after decoding the blocks that are not kept.

        Args:
            blocks: the number of the block of each row.
            rows: the number of each row in its block.
            target: the rows, shape (N, ...), contiguous.
            decode: writes blocks to an array, given their numbers and the positions of their first rows.

        Returns:
            False if the blocks are too many to keep; then nothing is done.
        """
        if not self._capacity:
            return False
        with self._lock.current:
            missing, kept = self._missing(blocks)
            if len(missing) + len(kept) > self._capacity:
                return False
            if len(missing):
                places = self._free(len(missing), kept)
                decode(missing, places * self._height, self._rows)
                self._places[missing], self._blocks[places] = places, missing
            at = self._places[blocks] * self._height + rows
            self._rows.take(at, axis=0, out=target, mode="clip")  # ("clip" makes no copy of the target)
        return True

    def _missing(self, blocks: Positions) -> tuple[Positions, Positions]:
        """Return the blocks that are not kept, each once, and the places of those that are."""
        is_needed = np.zeros(len(self._places), bool)
        is_needed[blocks] = True
        needed = np.flatnonzero(is_needed)
        places = self._places[needed]
        return needed[places < 0], places[places >= 0]

    def _free(self, count: int, kept: Positions) -> Positions:
        """Return places for new blocks, of which the former blocks are forgotten, except those that are needed."""
        is_kept = np.zeros(self._capacity, bool)
        is_kept[kept] = True
        order = (self._next + np.arange(self._capacity)) % self._capacity
        places: Positions = order[~is_kept[order]][:count]
        former = self._blocks[places]
        self._places[former[former >= 0]] = -1
        self._blocks[places] = -1
        self._next = int(places[-1] + 1) % self._capacity
        return places
