"""Stores and arrays read through zarr-python: those of remote datasets, and arrays that another program has written.

Importing zarr-python takes longer than reading many a dataset, so this module is imported when it is first needed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from zarr import AsyncArray
from zarr.abc.store import ByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.core.sync import sync
from zarr.storage import FsspecStore, StorePath, WrapperStore

from minari._base.files import relative_parts
from minari._storages.zarr.foreign import metadata_of, passing_size
from minari._storages.zarr.shards import missing_shard
from minari.errors import MinariError, RemoteAccessError, RemoteUnreachableError


__all__ = ["RemoteStore", "ZarrPython", "metadata_of", "passing_size", "remote_store", "store_errors"]

_SHARD: Final = re.compile(r".*/c\.[0-9.]+")


class Files(Protocol):
    """The files of a local store."""

    def read_file(self, key: str, start: int | None = None, stop: int | None = None) -> npt.NDArray[np.uint8] | None:
        """Return the bytes of a file from start to stop; None if the file is missing."""

    def stored_size(self, array: str) -> int:
        """Return the number of bytes of an array."""


class _LocalStore(Store):
    """A read-only store of local files for zarr-python.

    Unlike the local store of zarr-python it reads without another thread, which would take several times
    as long as reading what the system has in memory.

    Args:
        files: the files.
    """

    def __init__(self, files: Files) -> None:
        super().__init__(read_only=True)
        self.files = files

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _LocalStore) and self.files is other.files

    def __repr__(self) -> str:
        return repr(self.files)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        start = getattr(byte_range, "offset", None)
        stop = None
        if isinstance(byte_range, RangeByteRequest):
            start, stop = byte_range.start, byte_range.end
        elif isinstance(byte_range, SuffixByteRequest):
            start = -byte_range.suffix
        content = self.files.read_file(key, start, stop)
        if content is None:
            _refuse_shard(self, key)
            return None
        found: Buffer = prototype.buffer.from_array_like(content)
        return found

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return self.files.read_file(key, 0, 0) is not None

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


class RemoteStore(WrapperStore[Any]):
    """A store of fsspec with the errors of this library.

    A missing shard is damage, and not one full of zeros.
    """

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        relative_parts(key)
        with store_errors(self):
            content: Buffer | None = await super().get(key, prototype, byte_range)
        if content is None:
            _refuse_shard(self, key)
        return content

    async def getsize_prefix(self, prefix: str) -> int:
        with store_errors(self):  # in fewer requests than one for each file
            return int(await self._store.fs._du(f"{self._store.path}/{prefix}"))

    async def _text(self, key: str, limit: int) -> bytes | None:
        content = await self.get(key, default_buffer_prototype(), RangeByteRequest(0, limit))
        return None if content is None else content.to_bytes()

    def texts(self, keys: Sequence[str], limit: int) -> list[bytes | None]:
        """Read the first bytes of files concurrently; None for those that do not exist."""

        async def all_texts() -> list[bytes | None]:
            return await asyncio.gather(*(self._text(key, limit) for key in keys))

        found: list[bytes | None] = sync(all_texts())
        return found

    def stored_size(self, array: str) -> int:
        """Return the number of bytes of an array."""
        size: int = sync(self.getsize_prefix(array))
        return size


def remote_store(path: Path) -> RemoteStore:
    """Return the store at an address that fsspec knows."""
    options = dict(getattr(path, "storage_options", {}))
    return RemoteStore(FsspecStore.from_url(str(path), storage_options=options, read_only=True))


@contextmanager
def store_errors(place: object) -> Iterator[None]:
    """Turn the errors of a store of fsspec into those of this library."""
    try:
        yield
    except MinariError:
        raise
    except PermissionError as error:
        raise RemoteAccessError(
            f"{place} refuses access ({_first_line(error)}); give credentials that may read and write there."
        ) from error
    except Exception as error:  # every client of a store has its own exceptions
        raise RemoteUnreachableError(
            f"{place} does not answer as expected ({_first_line(error)}); try again later, or look at the address."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _refuse_shard(store: Store, key: str) -> None:
    if _SHARD.fullmatch(key):
        raise missing_shard(key, store)


class ZarrPython:
    """The arrays of a store, each opened once.

    Args:
        store: a remote store, or the files of a local one.
    """

    def __init__(self, store: RemoteStore | Files) -> None:
        self._store = store if isinstance(store, RemoteStore) else _LocalStore(store)
        self._opened: dict[str, AsyncArray[Any]] = {}

    def read(
        self, wanted: Sequence[tuple[str, ArrayV3Metadata, slice]], damage: Callable[[str, Exception], Exception]
    ) -> list[npt.NDArray[Any]]:
        """Read rows of some arrays concurrently.

        Args:
            wanted: the path of each array, its metadata, and the rows.
            damage: returns the error about a damaged array for what was raised because of it.
        """

        async def read_all() -> list[npt.NDArray[Any]]:
            return await asyncio.gather(*(self._read(*one, damage) for one in wanted))

        found: list[npt.NDArray[Any]] = sync(read_all())
        return found

    async def _read(
        self, array: str, metadata: ArrayV3Metadata, rows: slice, damage: Callable[[str, Exception], Exception]
    ) -> npt.NDArray[Any]:
        shape = (rows.stop - rows.start, *metadata.shape[1:])
        if 0 in shape:
            return np.empty(shape, metadata.dtype.to_native_dtype())
        try:
            if array not in self._opened:
                self._opened[array] = AsyncArray(metadata, StorePath(self._store, array))
            return np.asarray(await self._opened[array].getitem(rows))
        except Exception as error:  # zarr-python may raise anything for damaged bytes
            raise damage(array, error) from error
