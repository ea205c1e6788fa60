"""HDF5 files of other programs, read without an HDF5 library, which a damaged file could hang or crash."""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from minari._base.data_file import DataFile
from minari._storages.hdf5.format.arrays import (
    ArrayObject,
    Chunk,
    checked_chunks,
    decode_array,
    is_array,
    read_array,
)
from minari._storages.hdf5.format.chunks import Piece, fill_from_chunks
from minari._storages.hdf5.format.groups import Link, is_group, members
from minari._storages.hdf5.format.headers import Messages, read_attributes, read_messages
from minari._storages.hdf5.format.objects import UNDEFINED
from minari._storages.hdf5.format.source import NotUnderstood, Source, StoredElsewhere
from minari._storages.hdf5.format.superblock import find_superblock
from minari.errors import InterchangeError
from minari.interchange.damage import DAMAGE
from minari.spaces import native


__all__ = ["Hdf5Array", "Hdf5File", "is_hdf5"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_LEVELS = 32  # of nested groups
_MOST_OBJECTS = 10_000_000
_LARGEST_ROW_GROUP = 2**30  # bytes of the chunks of one row of chunks, decoded

P = ParamSpec("P")
R = TypeVar("R")


def is_hdf5(path: Path) -> bool:
    """Return whether a path is that of an HDF5 file, by its first bytes."""
    if not path.is_file():
        return False
    with DataFile(path) as file:
        return file.read_at(0, len(_SIGNATURE)) == _SIGNATURE


class Hdf5File:
    """The groups, attributes and arrays of a file, by their paths, such as ``"data/demo_1/obs"``.

    Links to other files and external storage are refused. Every read is bounded by the size of the file.

    Args:
        path: path of the file.

    Raises:
        InterchangeError: it is not HDF5, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise InterchangeError(f"{path} is a directory, expected an HDF5 file; give the path of the file.")
        self._file = DataFile(path)
        weakref.finalize(self, self._file.close)
        self.source = Source(self._file.read_at, self._file.size)
        self._known: dict[str, tuple[int, Messages]] = {}
        self._members: dict[str, dict[str, Link]] = {}
        self._open()

    def __getstate__(self) -> Any:
        raise TypeError(f"{self.path} is open, which cannot be pickled; open it again in the other process.")

    def damaged(self, why: object) -> InterchangeError:
        """Return the error for a file that cannot be read."""
        return InterchangeError(
            f"{self.path} cannot be read as HDF5 ({why}); it is damaged or incomplete, so copy or download it again."
        )

    def _open(self) -> None:
        try:
            found = find_superblock(self.source)
            if found.in_use:
                raise ValueError("a program has marked it as being written and has not closed it")
            self._known[""] = found.root, read_messages(self.source, found.root)
        except (ValueError, LookupError, OverflowError, struct.error) as error:
            raise self.damaged(error) from error

    def rows_at(self, begin: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return the values at an offset, which is in the file."""
        return self._file.new_array(begin, shape, dtype)

    def names(self, group: str = "") -> list[str]:
        """Return the names of the members of a group, in the order of the file; empty if there is no such group."""
        if not self.is_group(group):
            return []
        return list(self._links(group))

    def __contains__(self, path: str) -> bool:
        parent, _, name = path.rpartition("/")
        return not path or (self.is_group(parent) and name in self._links(parent))

    def is_group(self, path: str) -> bool:
        """Return whether there is a group with that path."""
        return path in self and is_group(self._messages(path))

    def is_array(self, path: str) -> bool:
        """Return whether there is an array with that path."""
        return path in self and is_array(self._messages(path))

    def attributes(self, path: str = "") -> dict[str, Any]:
        """Return the attributes of an object, texts as ``str``."""
        return dict(self.guarded(read_attributes, self._messages(path)))

    def array(self, path: str) -> Hdf5Array:
        """Return an array, of which nothing has been read.

        Raises:
            InterchangeError: there is none with that path, or it has an unusual type.
        """
        if not self.is_array(path):
            raise InterchangeError(f"{self.path} has no array {path!r}, expected one; is it another kind of file?")
        return Hdf5Array(
            self, path, self.guarded(lambda source, messages: decode_array(messages), self._messages(path))
        )

    def arrays(self, group: str = "") -> Iterator[tuple[str, Hdf5Array]]:
        """Yield the paths of the arrays in a group and the groups in it, relative to the group, and the arrays."""
        pending = [("", 0)]
        for _ in range(_MOST_OBJECTS):
            if not pending:
                return
            inner, level = pending.pop()
            path = "/".join(filter(None, [group, inner]))
            if self.is_array(path):
                yield inner, self.array(path)
            elif level > _MOST_LEVELS:
                raise self.damaged(f"the groups in {shown(path)} are nested deeper than {_MOST_LEVELS} levels")
            else:
                names = sorted(self.names(path), reverse=True)
                pending += [("/".join(filter(None, [inner, name])), level + 1) for name in names]

    def tree(self, path: str) -> Any:
        """Return an array, or those in a group and the groups in it as nested dicts; groups without any are left out.

        Raises:
            InterchangeError: there is nothing with that path, or an array has an unusual type.
        """
        if not self.is_group(path):
            return self.array(path)
        found: dict[str, Any] = {}
        for inner, array in self.arrays(path):
            *outer, last = inner.split("/")
            place = found
            for part in outer:
                place = place.setdefault(part, {})
            place[last] = array
        return found

    def _links(self, group: str) -> dict[str, Link]:
        if group not in self._members:
            self._members[group] = self.guarded(members, self._messages(group))
        return self._members[group]

    def _messages(self, path: str) -> Messages:
        if path not in self._known:
            parent, _, name = path.rpartition("/")
            link = self._links(parent).get(name)
            if link is None:
                raise InterchangeError(f"{self.path} has no {shown(path)}, expected one; is it another kind of file?")
            if link.address is None:
                raise InterchangeError(
                    f"{shown(path)} of {self.path} is a link that leads elsewhere, expected the data itself; write "
                    f"the file again without links."
                )
            if any(self._known[above][0] == link.address for above in ancestors(path) if above in self._known):
                raise self.damaged(f"{shown(path)} contains itself")
            self._known[path] = link.address, self.guarded(read_messages, link.address)
        return self._known[path][1]

    def guarded(self, function: Callable[Concatenate[Source, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that reads the file, within new limits, and raise its failures as errors of this library."""
        self.source.renew()
        try:
            return function(self.source, *args, **kwargs)
        except NotUnderstood as error:
            raise InterchangeError(
                f"{self.path} uses a feature of HDF5 that is not supported ({error}); write it again, with the default "
                f"options of h5py."
            ) from error
        except StoredElsewhere as error:
            raise InterchangeError(
                f"{self.path} refers to other files ({error}), which are not read; write the data into the file."
            ) from error
        except DAMAGE as error:
            raise self.damaged(error) from error


def shown(path: str) -> str:
    """Return a path in a file for a message."""
    return repr(path[:100])


def ancestors(path: str) -> list[str]:
    """Return the paths of the groups around an object.

    >>> ancestors("data/demo_1/obs")
    ['', 'data', 'data/demo_1']
    """
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts))]


class Hdf5Array:
    """An array of a file, read by rows.

    Args:
        file: the file.
        path: its path there.
        array: its description.
    """

    def __init__(self, file: Hdf5File, path: str, array: ArrayObject) -> None:
        self.file, self.path, self._array = file, path, array
        self.shape = array.shape
        self._chunks: list[Chunk] | None = None
        self._decoded: tuple[int, int, npt.NDArray[Any]] | None = None  # first and last row, and the rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the values, in native byte order; object for texts and bytes."""
        return np.dtype(object) if isinstance(self._array.kind, str) else self._array.dtype.newbyteorder("=")

    @property
    def ndim(self) -> int:
        """Return the number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def numbers(self) -> Hdf5Array:
        """Return the array itself, for chaining.

        Raises:
            InterchangeError: it has other values than numbers, or no dimension.
        """
        if self.dtype.kind not in "biuf" or not self.ndim:
            raise InterchangeError(
                f"{self.path} of {self.file.path} has {self.dtype} values of shape {self.shape}, expected numbers with "
                f"a row for each step."
            )
        return self

    def read(self) -> npt.NDArray[Any]:
        """Return all values; of a scalar, an array without dimensions."""
        is_text = isinstance(self._array.kind, str) and not self.shape
        values = self.file.guarded(read_array, replace(self._array, shape=(1,)) if is_text else self._array)
        return native(values.reshape(self.shape))

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        """Return consecutive rows, as a new array."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"step is {step}, expected consecutive rows")
        count = max(0, stop - start)
        if not count or not all(self.shape):
            return np.empty((count, *self.shape[1:]), self.dtype)
        if isinstance(self._array.kind, str) or self._is_small():
            if self._decoded is None:
                self._decoded = 0, len(self), self.read()
            copied: npt.NDArray[Any] = self._decoded[2][start:stop].copy()
            return copied
        if self._array.chunking is None:
            return native(self.file.guarded(self._contiguous_rows, start, count))
        return native(self._chunked_rows(start, stop))

    def _is_small(self) -> bool:
        """Return whether the array is compact, or was never written."""
        return self._array.chunking is None and (bool(self._array.data) or self._array.address == UNDEFINED)

    def _contiguous_rows(self, source: Source, start: int, count: int) -> npt.NDArray[Any]:
        row = self._array.nbytes // self.shape[0]
        begin = source.base + self._array.address + start * row
        if not 0 <= begin <= begin + count * row <= source.size:
            raise ValueError(f"it refers to bytes {begin} to {begin + count * row} of {source.size}")
        return self.file.rows_at(begin, (count, *self.shape[1:]), self._array.dtype)

    def _chunked_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        chunking = self._array.chunking
        length = chunking.shape[0]  # type: ignore[union-attr]
        parts = []
        for first in range(start // length * length, stop, length):
            if self._decoded is None or self._decoded[0] != first:
                self._decoded = first, first + length, self.file.guarded(self._row_of_chunks, first, length)
            parts.append(self._decoded[2][max(0, start - first) : stop - first])
        return np.concatenate(parts)

    def _row_of_chunks(self, source: Source, first: int, length: int) -> npt.NDArray[Any]:
        array, chunking = self._array, self._array.chunking
        if chunking is None:
            raise ValueError("an array without chunks")
        if self._chunks is None:
            self._chunks = checked_chunks(source, array, chunking)
        here = [chunk for chunk in self._chunks if chunk.corner[0] == first]
        shape = (min(length, len(self) - first), *array.shape[1:])
        size = int(np.prod(shape, dtype=np.float64)) * array.dtype.itemsize
        if size > max(_LARGEST_ROW_GROUP, 4 * source.size):
            raise ValueError(f"a row of chunks of {size} bytes")
        values = np.zeros(shape, array.dtype)
        if len(array.fill) == array.dtype.itemsize:
            values[...] = np.frombuffer(array.fill, array.dtype)[0]
        pieces = [Piece(source.read(chunk.address, chunk.size), chunk.skipped) for chunk in here]
        corners = [(0, *chunk.corner[1:]) for chunk in here]
        fill_from_chunks(values, chunking, zip(corners, pieces, strict=True), _one_by_one)
        return values


def _one_by_one(function: Any, items: Any, at_a_time: int) -> list[Any]:
    return [function(item) for item in items]
