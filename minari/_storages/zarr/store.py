"""Zarr stores, local and remote, and the arrays in them, opened and read."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minari._base.lazy import LazyModule, cached_property
from minari._storages.paths import is_remote
from minari._storages.zarr.arrays import ArrayForm, is_as_written, parse_zarr_json
from minari._storages.zarr.shards import (
    Budget,
    Piece,
    ShardedArray,
    StoreDirectories,
    missing_shard,
    read_into,
    unreadable,
)
from minari.errors import ChecksumError, DatasetCorruptError, MinariError, UnsafePathError


if TYPE_CHECKING:
    from minari._storages.zarr import zarr_python
else:
    zarr_python = LazyModule(
        "minari._storages.zarr.zarr_python"
    )  # imports zarr-python, which most datasets do not need


_LARGEST_ROOT: Final = 64 << 20  # bytes of the zarr.json of the root, which has all columns and layouts
_LARGEST_JSON: Final = 1 << 20  # of any other


class Rows(NamedTuple):
    """Rows of an array, and their expected form.

    Attributes:
        array: path of the array in the store.
        start: the first row.
        stop: the row after the last one.
        dtype: of the values.
        row_shape: of one row.
    """

    array: str
    start: int
    stop: int
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...] = ()


class DirectoryStore:
    """A store of local directories, which is only read: a file is that of the first directory that has it.

    Files are opened only beneath the parents of the directories.

    Args:
        directories: that of a change that is not in place yet before the one that it changes.
    """

    def __init__(self, *directories: Path) -> None:
        self.directories = [(str(directory.parent), directory.name) for directory in directories]

    def __repr__(self) -> str:
        return "/".join(self.directories[-1])

    def opened(self) -> StoreDirectories:
        """Open the directories that exist."""
        return StoreDirectories(self.directories)

    def read_file(self, key: str, start: int | None = None, stop: int | None = None) -> npt.NDArray[np.uint8] | None:
        """Return the bytes of a file from start to stop, as in a slice; None if the file is missing."""
        with self.opened() as directories:
            return _read_file(directories, key, start, stop)

    def stored_size(self, array: str) -> int:
        """Return the number of bytes of an array."""
        files = (file for parts in self.directories for file in os.scandir("/".join([*parts, array])))
        return sum(file.stat(follow_symlinks=False).st_size for file in files if file.is_file(follow_symlinks=False))


def store_at(path: Path, staged: Path | None = None) -> DirectoryStore | zarr_python.RemoteStore:
    """Return the store in a directory, or at an address that fsspec knows.

    Args:
        path: of the store.
        staged: the directory of a change to it that is not in place yet.
    """
    if is_remote(path):
        return zarr_python.remote_store(path)
    return DirectoryStore(path) if staged is None else DirectoryStore(staged, path)


def _read_file(
    directories: StoreDirectories, key: str, start: int | None = None, stop: int | None = None
) -> npt.NDArray[np.uint8] | None:
    """Return the content of a file, or a part of it; None if the file is missing."""
    try:
        descriptor, size = directories.open_sized(key)
    except FileNotFoundError:
        return None
    try:
        first, end, _ = slice(start, stop).indices(size)
        content = np.empty(max(0, end - first), np.uint8)
        read_into(descriptor, content, first)
        return content
    except OSError as error:
        raise unreadable(error, key) from error
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class OpenedArray:
    """An array of a store, as its ``zarr.json`` describes it.

    Attributes:
        rows: their number.
        dtype: dtype of its values.
        row_shape: shape of a row.
        form: of the array, or how it differs from all that this library writes.
        metadata: of the array, for zarr-python; None if it is read without that.
        direct: the reader in that case.
        is_as_written: whether the checksum of the file is right; None if it has none.
    """

    rows: int
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    form: ArrayForm | str
    metadata: Any
    direct: ShardedArray | None
    is_as_written: bool | None

    @property
    def has_checksums(self) -> bool:
        """Return whether all of its chunks have checksums."""
        return isinstance(self.form, ArrayForm) and self.form.has_checksums


class Arrays:
    """The arrays of a store, each opened once.

    Args:
        store: of the arrays.
        verify: whether everything that is read is compared with its checksums, if there are any;
            otherwise only chunks most of which are read anyway.
    """

    def __init__(self, store: DirectoryStore | zarr_python.RemoteStore, verify: bool = False) -> None:
        self.store, self.verify = store, verify
        self._known: dict[str, OpenedArray] = {}

    @cached_property
    def _zarr_python(self) -> zarr_python.ZarrPython:
        return zarr_python.ZarrPython(self.store)

    def root(self) -> dict[str, Any]:
        """Return the content of the ``zarr.json`` of the root.

        Raises:
            FileNotFoundError: it is missing.
            ValueError: it is damaged.
        """
        with self._directories() as directories:
            (text,) = self._texts(directories, ["zarr.json"], _LARGEST_ROOT)
        if text is None:
            raise FileNotFoundError(f"The zarr.json of {self.store} is missing")
        return parse_zarr_json(text)

    def check_groups(self, groups: Sequence[str]) -> None:
        """Compare the ``zarr.json`` of groups with their checksums.

        Raises:
            ChecksumError: one differs from what was written.
        """
        keys = [f"{group}/zarr.json" for group in groups]
        with self._directories() as directories:
            for key, text in zip(keys, self._texts(directories, keys), strict=True):
                try:
                    is_sound = text is not None and is_as_written(parse_zarr_json(text))
                except ValueError:
                    is_sound = False
                if not is_sound:
                    raise self.changed_json(key)

    def open(self, array: str) -> OpenedArray:
        """Open an array.

        Raises:
            DatasetCorruptError: its ``zarr.json`` is missing or damaged.
        """
        if array not in self._known:
            with self._directories() as directories:
                self._open_all(directories, [array])
        return self._known[array]

    def read(self, wanted: Sequence[Rows], budget: Budget | None = None) -> list[npt.NDArray[Any]]:
        """Read rows of some arrays.

        Args:
            wanted: the rows of each.
            budget: for the memory.

        Raises:
            DatasetCorruptError: an array is missing, damaged, too short, or of another type.
        """
        with self.planned(wanted, budget) as read_into:
            read = [np.empty((rows.stop - rows.start, *rows.row_shape), rows.dtype) for rows in wanted]
            read_into([[rows] for rows in read])
        return read

    @contextmanager
    def planned(
        self, wanted: Sequence[Rows], budget: Budget | None = None
    ) -> Iterator[Callable[[Sequence[Sequence[npt.NDArray[Any]]]], None]]:
        """Find rows of some arrays, for which memory may then be allocated.

        Args:
            wanted: the rows of each.
            budget: for the memory.

        Yields:
            A function that reads the rows into several arrays for each of those wanted, which have the rows of one
            after those of another.

        Raises:
            DatasetCorruptError: an array is missing, damaged, too short, or of another type.
        """
        budget = budget or Budget()
        with self._directories() as directories:
            self._open_all(directories, [rows.array for rows in wanted])
            plans = [self._plan(directories, rows, budget) for rows in wanted]
            others = [rows for rows, plan in zip(wanted, plans, strict=True) if plan is None]
            found = iter(self._read_others(others) if others else ())

            def read_into(outs: Sequence[Sequence[npt.NDArray[Any]]]) -> None:
                for rows, plan, several in zip(wanted, plans, outs, strict=True):
                    if plan is None:
                        _copy_into(several, next(found))
                        continue
                    sharded, pieces = plan
                    try:
                        sharded.read(directories, pieces, several, self.verify)
                    except Exception as error:
                        raise self._damage(rows.array, error) from error

            yield read_into

    def _read_others(self, wanted: Sequence[Rows]) -> list[npt.NDArray[Any]]:
        through_zarr = [(rows.array, self._known[rows.array].metadata, slice(rows.start, rows.stop)) for rows in wanted]
        return self._zarr_python.read(through_zarr, self._damage)

    # The zarr.json files

    def _directories(self) -> StoreDirectories:
        """Open the directories of the store, none of a remote one."""
        return self.store.opened() if isinstance(self.store, DirectoryStore) else StoreDirectories(())

    def _texts(
        self, directories: StoreDirectories, keys: Sequence[str], limit: int = _LARGEST_JSON
    ) -> list[bytes | None]:
        """Read small files of the store; None for those that do not exist."""
        if isinstance(self.store, DirectoryStore):
            read = [_read_file(directories, key, 0, limit + 1) for key in keys]
            texts = [None if content is None else content.tobytes() for content in read]
        else:
            texts = self.store.texts(keys, limit + 1)
        for key, text in zip(keys, texts, strict=True):
            if text is not None and len(text) > limit:
                raise UnsafePathError(
                    f"{key} of {self.store} is larger than {limit:,} bytes, which no such file needs; copy or download "
                    f"the dataset again."
                )
        return texts

    def _open_all(self, directories: StoreDirectories, arrays: Sequence[str]) -> None:
        new = [array for array in dict.fromkeys(arrays) if array not in self._known]
        for array, text in zip(new, self._texts(directories, [f"{array}/zarr.json" for array in new]), strict=True):
            try:
                if text is None:
                    raise ValueError("the file is missing")
                opened = self._opened_array(array, parse_zarr_json(text))
            except ValueError as error:
                raise DatasetCorruptError(
                    f"The array {array} of {self.store} has no zarr.json, or a damaged one ({error}); copy or download "
                    f"the dataset again."
                ) from error
            if self.verify and not opened.is_as_written and (opened.has_checksums or opened.is_as_written is False):
                raise self.changed_json(f"{array}/zarr.json")
            self._known[array] = opened

    def _opened_array(self, array: str, value: dict[str, Any]) -> OpenedArray:
        form: ArrayForm | str
        try:
            form, rows = ArrayForm.from_zarr_json(value)
        except ValueError as error:
            form = str(error)
        else:
            if isinstance(self.store, DirectoryStore):
                direct = ShardedArray(array, form, rows)
                return OpenedArray(rows, form.dtype, form.row_shape, form, None, direct, is_as_written(value))
        metadata = zarr_python.metadata_of(value)
        rows, *row_shape = metadata.shape
        dtype = metadata.dtype.to_native_dtype()
        return OpenedArray(rows, dtype, tuple(row_shape), form, metadata, None, is_as_written(value))

    def changed_json(self, key: str) -> ChecksumError:
        """Return the error about a ``zarr.json`` that is not as it was written."""
        return ChecksumError(
            f"{key} of {self.store} is damaged: it does not say what its checksum was made of; copy or download the "
            f"dataset again."
        )

    # Rows

    @contextmanager
    def reading(self, array: str) -> Iterator[StoreDirectories]:
        """Open the directories of a local store to read from an array, with the errors of this library."""
        with self._directories() as directories:
            try:
                yield directories
            except Exception as error:
                raise self._damage(array, error) from error

    def checked(self, rows: Rows) -> OpenedArray:
        """Open an array, which must have some rows.

        Raises:
            DatasetCorruptError: it is missing, damaged, too short, or of another type.
        """
        opened = self.open(rows.array)
        self._check(opened, rows)
        return opened

    def _plan(
        self, directories: StoreDirectories, rows: Rows, budget: Budget
    ) -> tuple[ShardedArray, list[Piece]] | None:
        """Return an array and the chunks that have some rows; None if zarr-python has to read them."""
        array = self._known[rows.array]
        self._check(array, rows)
        try:
            if array.direct is not None:
                return array.direct, array.direct.pieces(directories, rows.start, rows.stop, budget)
            passing = zarr_python.passing_size(array.metadata, rows.start, rows.stop)
            size = (rows.stop - rows.start) * array.dtype.itemsize * math.prod(array.row_shape)
            budget.take(size, passing, lambda: self.store.stored_size(rows.array))
            return None
        except Exception as error:
            raise self._damage(rows.array, error) from error

    def _damage(self, array: str, error: Exception) -> Exception:
        """Return the error of this library about a damaged file, for whatever was raised because of it."""
        if isinstance(error, FileNotFoundError):
            return missing_shard(str(error), self.store)
        if isinstance(error, MinariError) and not isinstance(error, ChecksumError):
            return error
        kind = ChecksumError if isinstance(error, ChecksumError) else DatasetCorruptError
        return kind(
            f"A shard of the array {array} of {self.store} is damaged ({_first_line(error)}); copy or download the "
            f"dataset again."
        )

    def _check(self, array: OpenedArray, rows: Rows) -> None:
        if array.rows < rows.stop:
            raise DatasetCorruptError(
                f"The array {rows.array} of {self.store} has {array.rows} rows, expected {rows.stop} for the episodes "
                f"that the metadata claims; copy or download the dataset again."
            )
        if array.dtype != rows.dtype or array.row_shape != rows.row_shape:
            raise DatasetCorruptError(
                f"The array {rows.array} of {self.store} holds {array.dtype} values of the shape "
                f"{array.row_shape} a row, expected {rows.dtype} of {rows.row_shape}; copy or download the dataset "
                f"again."
            )


def _copy_into(outs: Sequence[npt.NDArray[Any]], rows: npt.NDArray[Any]) -> None:
    at = 0
    for out in outs:
        out[...] = rows[at : at + len(out)]
        at += len(out)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
