"""Streams that write rows to the shards of an array, one shard at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._storages.zarr.arrays import ArrayForm, fitting


#: Writes a file to a store: its key, and its content in several parts.
Put: TypeAlias = Callable[[str, Sequence[memoryview]], None]


class RowStream:
    """The rows of one array, in order and possibly with gaps.

    The rows of a shard are kept in memory, and written as soon as it is complete.

    Args:
        put: writes shards.
        array: path of the array.
        form: form of the array.
        start: position of the first row.
        is_fixed: True if the chunk size must not change, even if only the first shard has rows.
    """

    def __init__(self, put: Put, array: str, form: ArrayForm, start: int, is_fixed: bool = False) -> None:
        self.array, self.form = array, form
        self._put = put
        self._shard, self._filled = divmod(start, form.shard_rows)
        self._is_fixed = is_fixed or self._shard > 0
        self._block: npt.NDArray[Any] = np.empty((form.shard_rows, *form.row_shape), form.dtype)
        self._block[: self._filled] = 0
        self._runs: list[list[int]] = []  # ranges of rows present in the block

    def restore(self, rows: npt.NDArray[Any]) -> None:
        """Restore the rows before the first one that share a shard with it."""
        self._block[: len(rows)] = rows
        self._runs = [[0, len(rows)]]

    def put(self, at: int, rows: npt.NDArray[Any]) -> None:
        """Add rows after all previous ones."""
        size = self.form.shard_rows
        while len(rows):
            shard, offset = divmod(at, size)
            if shard != self._shard:
                self.flush()
                self._shard, self._filled = shard, 0
            taken = min(len(rows), size - offset)
            if offset > self._filled:
                self._block[self._filled : offset] = 0
            self._block[offset : offset + taken] = rows[:taken]
            if self._runs and self._runs[-1][1] == offset:
                self._runs[-1][1] += taken
            else:
                self._runs.append([offset, offset + taken])
            self._filled = offset + taken
            if self._filled == size:
                self.flush()
                self._shard, self._filled = shard + 1, 0
            rows, at = rows[taken:], at + taken

    def flush(self) -> None:
        """Write the current shard if it has any rows."""
        if not self._runs or not self.form.has_data:
            return
        if not self._is_fixed:
            self.form = fitting(self.form, self._filled)
        self._is_fixed = True
        size = self.form.chunk_rows
        chunks = -(-self._filled // size)
        self._block[self._filled : chunks * size] = 0
        present = np.zeros(chunks, np.bool_)
        for start, stop in self._runs:
            present[start // size : -(-stop // size)] = True
        shard = self.form.shard(self._block[: chunks * size], present)
        self._put(f"{self.array}/{self.form.key(self._shard)}", shard)
        self._runs = []
