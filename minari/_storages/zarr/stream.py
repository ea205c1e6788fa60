"""Rows on their way into the shards of an array, a shard at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._storages.zarr.arrays import ArrayForm, fitting


#: Puts a file into a store: its key, and its content in several parts.
Put: TypeAlias = Callable[[str, Sequence[memoryview]], None]


class RowStream:
    """The rows of one array, which come in order and may leave out some.

    The rows of one shard are kept in memory, and written as soon as there are all of them.

    Args:
        put: where shards go.
        array: the path of the array.
        form: what it is like.
        start: where the first row may come.
        is_fixed: whether the chunks must stay as they are, even where no shard but the first has any.
    """

    def __init__(self, put: Put, array: str, form: ArrayForm, start: int, is_fixed: bool = False) -> None:
        self.array, self.form = array, form
        self._put = put
        self._shard, self._filled = divmod(start, form.shard_rows)
        self._is_fixed = is_fixed or self._shard > 0
        self._block: npt.NDArray[Any] = np.empty((form.shard_rows, *form.row_shape), form.dtype)
        self._block[: self._filled] = 0
        self._runs: list[list[int]] = []  # rows of the block that have come, from and to

    def restore(self, rows: npt.NDArray[Any]) -> None:
        """The rows before the first one that may come, which share a shard with it."""
        self._block[: len(rows)] = rows
        self._runs = [[0, len(rows)]]

    def put(self, at: int, rows: npt.NDArray[Any]) -> None:
        """Take rows that lie behind those that came before."""
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
        """Write the shard that is being filled, where anything has come for it."""
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
