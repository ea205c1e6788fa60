"""Rows out of the shards of an array in a folder, without zarr-python, which takes a millisecond an array.

This is for arrays as :mod:`zarr_arrays` writes them. Others, and those that lie elsewhere than in a
folder, are read through zarr-python (see :mod:`zarr_store`).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from gzip import BadGzipFile
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari.dataset._storages.thread_pool import in_threads
from minari.dataset._storages.zarr_arrays import ABSENT, ArrayForm, checksum, codec_of, decoded_size
from minari.errors import DatasetCorruptError


_ALONE: Final = 1 << 20  # bytes of chunks that are not worth a thread


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a chunk, on their way out of it.

    Attributes:
        path: of the shard.
        offset, size: of the chunk in it.
        start, stop: of the rows in the chunk.
        out: where they go.
    """

    path: str
    offset: int
    size: int
    start: int
    stop: int
    out: npt.NDArray[Any]


@dataclass(slots=True)
class ShardedArray:
    """An array in a folder.

    Attributes:
        folders: that may have its shards; the first that has one is the one that counts.
        name: the path of the array in them.
        form: what it is like.
        rows: how many it has.
    """

    folders: Sequence[str]
    name: str
    form: ArrayForm
    rows: int
    _indices: dict[int, tuple[str, npt.NDArray[np.uint64]]] = field(default_factory=dict)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The rows from one to before another.

        Raises:
            DatasetCorruptError: a shard with some of them is missing or damaged.
        """
        out = np.empty((stop - start, *self.form.row_shape), self.form.dtype)
        if out.size == 0:
            return out
        try:
            pieces = list(self._pieces(start, stop, out))
            if len(pieces) == 1 or out.nbytes < _ALONE or self.form.codec is None:
                for piece in pieces:
                    self._take(piece)
            else:
                in_threads(self._take, pieces, at_a_time=1)
        except FileNotFoundError as error:  # it was there when its index was read
            raise missing_shard(self.name, self.folders[-1]) from error
        except (ValueError, RuntimeError, EOFError, IndexError, zlib.error, BadGzipFile) as error:
            if isinstance(error, DatasetCorruptError):
                raise
            raise DatasetCorruptError(
                f"A shard of the array {self.name} of {self.folders[-1]} is damaged ({error}); copy or download the "
                f"dataset again."
            ) from error
        return out

    def _pieces(self, start: int, stop: int, out: npt.NDArray[Any]) -> Iterator[Piece]:
        """The chunks with these rows; those that a shard does not have are zeros."""
        form, at = self.form, start
        while at < stop:
            shard, row = divmod(at, form.shard_rows)
            chunk, first = divmod(row, form.chunk_rows)
            taken = min(stop - at, form.chunk_rows - first)
            path, index = self._index(shard)
            offset, size = index[chunk]
            rows = out[at - start : at - start + taken]
            if offset == ABSENT:
                rows[...] = 0
            else:
                yield Piece(path, int(offset), int(size), first, first + taken, rows)
            at += taken

    def _index(self, shard: int) -> tuple[str, npt.NDArray[np.uint64]]:
        """The file of a shard, and the place of each of its chunks."""
        if shard not in self._indices:
            key = f"{self.name}/{self.form.key(shard)}"
            size = 16 * (self.form.shard_rows // self.form.chunk_rows) + 4
            for folder in self.folders:
                try:
                    content = read_bytes(f"{folder}/{key}", -size)
                except FileNotFoundError:
                    continue
                if len(content) != size or checksum(content[:-4]) != content[-4:]:
                    raise ValueError("its index is not what its checksum says")
                index = np.frombuffer(content[:-4], "<u8").reshape(-1, 2)
                self._indices[shard] = f"{folder}/{key}", index
                break
            else:
                raise missing_shard(key, self.folders[-1])
        return self._indices[shard]

    def _take(self, piece: Piece) -> None:
        form = self.form
        row_size = piece.out.nbytes // len(piece.out)
        if form.codec is None:
            if piece.size != row_size * form.chunk_rows:
                raise ValueError(f"a chunk has {piece.size} bytes, expected {row_size * form.chunk_rows}")
            start, stop = (piece.offset + row * row_size for row in (piece.start, piece.stop))
            content = read_bytes(piece.path, start, stop)
            if len(content) != stop - start:
                raise ValueError("it ends too early")
            piece.out[...] = np.frombuffer(content, form.dtype).reshape(piece.out.shape)
            return
        whole = len(piece.out) == form.chunk_rows
        chunk = piece.out if whole else np.empty((form.chunk_rows, *form.row_shape), form.dtype)
        content = read_bytes(piece.path, piece.offset, piece.offset + piece.size)
        size = decoded_size(form.codec, content)
        if size is not None and size != chunk.nbytes:  # what is too short would leave the rest as it was in memory
            raise ValueError(f"a chunk has {size} bytes, expected {chunk.nbytes}")
        decoded: Any = chunk.reshape(-1).view(np.uint8)
        codec_of(form.codec).decode(content, decoded)
        if not whole:
            piece.out[...] = chunk[piece.start : piece.stop]


def read_bytes(path: str, start: int, stop: int | None = None) -> bytes:
    """Bytes of a file, fewer where it ends before; a negative start counts from its end."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a path object takes longer than the reading)
        if start < 0:
            start = max(0, file.seek(0, os.SEEK_END) + start)
        file.seek(start)
        return file.read(-1 if stop is None else stop - start)


def missing_shard(key: str, store: object) -> DatasetCorruptError:
    """The error about a shard that there is not."""
    return DatasetCorruptError(f"The shard {key} of {store} is missing; copy or download the dataset again.")
