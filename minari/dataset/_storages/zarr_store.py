"""Stores of Zarr that are read: a folder, or several laid over one another; and the arrays in them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from zarr import AsyncArray
from zarr.abc.store import ByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, StorePath, WrapperStore

from minari.dataset._storages import zarr_shards
from minari.dataset._storages.zarr_arrays import ArrayForm
from minari.dataset._storages.zarr_shards import ShardedArray, missing_shard
from minari.dataset.data_paths import is_remote
from minari.errors import DatasetCorruptError


#: Rows of an array: its path in the store, the first row, and the one behind the last.
Rows: TypeAlias = tuple[str, int, int]

_SHARD = re.compile(r".*/c\.[0-9.]+")


class FolderStore(Store):
    """Folders as one store that is read: a file is that of the first folder that has it.

    Unlike the store of zarr-python it reads without handing over to another thread, since the time
    that takes is a multiple of that of reading what the system has in memory.

    Args:
        folders: those of changes that are not in place yet before the one that they are changes to.
    """

    def __init__(self, *folders: Path) -> None:
        super().__init__(read_only=True)
        self.folders = [str(folder) for folder in folders]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FolderStore) and self.folders == other.folders

    def __repr__(self) -> str:
        return self.folders[-1]

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        content = self.text(key, byte_range)
        if content is None:
            _refuse_shard(self, key)
            return None
        found: Buffer = prototype.buffer.from_bytes(content)
        return found

    def text(self, key: str, byte_range: ByteRequest | None = None) -> bytes | None:
        """The content of a file, or a part of it; None where there is none."""
        for folder in self.folders:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return _content(f"{folder}/{key}", byte_range)
        return None

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return any(Path(folder, key).exists() for folder in self.folders)

    @property
    def supports_writes(self) -> bool:
        return False

    @property
    def supports_deletes(self) -> bool:
        return False

    @property
    def supports_listing(self) -> bool:
        return False

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    def list(self) -> AsyncIterator[str]:
        raise NotImplementedError

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError


def store_at(path: Path) -> Store:
    """The store in a folder, or in a place that fsspec knows."""
    if not is_remote(path):
        return FolderStore(path)
    options = dict(getattr(path, "storage_options", {}))
    return StrictStore(FsspecStore.from_url(str(path), storage_options=options, read_only=True))


class StrictStore(WrapperStore[Any]):
    """A store that takes a shard that is missing for damage, and not for one full of zeros."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        content: Buffer | None = await super().get(key, prototype, byte_range)
        if content is None:
            _refuse_shard(self, key)
        return content


def _refuse_shard(store: Store, key: str) -> None:
    if _SHARD.fullmatch(key):
        raise missing_shard(key, store)


def _content(path: str, byte_range: ByteRequest | None) -> bytes:
    if isinstance(byte_range, RangeByteRequest):
        return zarr_shards.read_bytes(path, byte_range.start, byte_range.end)
    if isinstance(byte_range, SuffixByteRequest):
        return zarr_shards.read_bytes(path, -byte_range.suffix)
    return zarr_shards.read_bytes(path, 0 if byte_range is None else byte_range.offset)


class Arrays:
    """The arrays of a store, each opened once.

    Args:
        store: where they lie.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._direct: dict[str, ShardedArray | None] = {}
        self._opened: dict[str, AsyncArray[Any]] = {}

    def text(self, key: str) -> bytes | None:
        """The content of a small file of the store, None where there is none."""
        return self.store.text(key) if isinstance(self.store, FolderStore) else sync(self._text(key))

    async def _text(self, key: str) -> bytes | None:
        content = await StorePath(self.store, key).get()
        return None if content is None else content.to_bytes()

    def read(self, wanted: Sequence[Rows]) -> list[npt.NDArray[Any]]:
        """Rows of some arrays, all read at the same time.

        Raises:
            DatasetCorruptError: an array is missing, damaged, or has fewer rows.
        """
        read: list[Any] = [self._read_directly(*rows) for rows in wanted]
        others = [number for number, found in enumerate(read) if found is None]
        if others:
            for number, found in zip(others, sync(self._read_all([wanted[n] for n in others])), strict=True):
                read[number] = found
        return read

    def length(self, array: str) -> int:
        """The number of rows that an array has."""
        direct = self._direct_array(array)
        return sync(self._length(array)) if direct is None else direct.rows

    def _read_directly(self, array: str, start: int, stop: int) -> npt.NDArray[Any] | None:
        """The rows, or None where it takes zarr-python to read them."""
        direct = self._direct_array(array)
        if direct is None:
            return None
        self._check_length(array, direct.rows, stop)
        return direct.read(start, stop)

    def _direct_array(self, array: str) -> ShardedArray | None:
        if array not in self._direct:
            store = self.store
            self._direct[array] = self._find_directly(array, store.folders) if isinstance(store, FolderStore) else None
        return self._direct[array]

    def _find_directly(self, array: str, folders: Sequence[str]) -> ShardedArray | None:
        text = self.text(f"{array}/zarr.json")
        try:
            form = ArrayForm.from_zarr_json(text or b"")
            rows = json.loads(text or b"")["shape"][0]
        except (ValueError, KeyError, TypeError, IndexError):
            return None  # what is wrong with it, if anything is, zarr-python knows
        return ShardedArray(folders, array, form, rows)

    def _check_length(self, array: str, rows: int, stop: int) -> None:
        if rows < stop:
            raise DatasetCorruptError(
                f"The array {array} of {self.store} has {rows} rows, expected {stop} for the episodes that the "
                f"metadata speak of; copy or download the dataset again."
            )

    # By way of zarr-python

    async def _length(self, array: str) -> int:
        return int((await self._open(array)).shape[0])

    async def _read_all(self, wanted: Sequence[Rows]) -> list[npt.NDArray[Any]]:
        return await asyncio.gather(*(self._read(*rows) for rows in wanted))

    async def _read(self, array: str, start: int, stop: int) -> npt.NDArray[Any]:
        opened = await self._open(array)
        self._check_length(array, opened.shape[0], stop)
        if start == stop or 0 in opened.shape:
            return np.empty((stop - start, *opened.shape[1:]), opened.dtype)
        try:
            return np.asarray(await opened.getitem(slice(start, stop)))
        except DatasetCorruptError:
            raise
        except Exception as error:  # whatever a library makes of bytes that are damaged
            raise DatasetCorruptError(
                f"A shard of the array {array} of {self.store} is damaged ({_first_line(error)}); copy or download "
                f"the dataset again."
            ) from error

    async def _open(self, array: str) -> AsyncArray[Any]:
        if array not in self._opened:
            try:
                self._opened[array] = await AsyncArray.open(StorePath(self.store, array), zarr_format=3)
            except Exception as error:  # likewise
                raise DatasetCorruptError(
                    f"The array {array} of {self.store} has no zarr.json, or a damaged one ({_first_line(error)}); "
                    f"copy or download the dataset again."
                ) from error
        return self._opened[array]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
