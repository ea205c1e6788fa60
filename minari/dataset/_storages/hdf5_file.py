"""HDF5 files by way of h5py: opening them, and reading, finding and changing what is in them.

One group an episode, ``episode_0``, ``episode_1``, ...; below it groups and datasets spell the paths
of the columns (a position in a ``Tuple`` is ``_index_0``), and attributes hold its metadata.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path as FilePath
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5o, h5r, h5s, h5t

from minari.dataset._storages.file_lock import is_locked
from minari.dataset._storages.hdf5_attributes import flatten_metadata, is_of, nested_metadata
from minari.dataset._storages.hdf5_chunks import ReadAt, has_table
from minari.dataset._storages.hdf5_filters import MOST_EXPANDED, Chunking
from minari.dataset._storages.hdf5_headers import read_table_address
from minari.dataset._storages.hdf5_index import UNKNOWN, LeafPlace, PlacedEpisodes, Schema
from minari.dataset._storages.hdf5_names import group_name, spell, unspell
from minari.dataset._storages.hdf5_plugins import filters_of, require_filters
from minari.dataset._storages.thread_lock import ThreadLock
from minari.dataset._storages.transaction import Overlay, pending_change
from minari.errors import DatasetBusyError, DatasetCorruptError, MinariError
from minari.spaces import Column, Path, object_column


#: New objects are written so that every HDF5 library from 1.10 on can read them.
LIBRARY_VERSIONS = ("v110", "v110")

#: Of a leaf with more chunks not each is looked up: what HDF5 does for each counts little then.
_MOST_CHUNKS = 64

# HDF5 gives overlapping openings of a file one and the same view of it, which is then as old as the
# first of them. So threads take turns.
_turn = ThreadLock()


@contextmanager
def open_for_reading(path: FilePath) -> Iterator[h5py.File]:
    """Open a file as it is now, without a lock on it, so that reading never keeps anyone from writing.

    Raises:
        DatasetBusyError: another program is changing the file in place.
        DatasetCorruptError: the file is missing, not HDF5, or damaged.
    """
    with _turn.current, _opened(path) as file:
        yield file


def _opened(path: FilePath) -> h5py.File:
    change = pending_change(path.parent, path.name)
    if change is not None:
        try:
            return h5py.File(_ChangedFile(path, change), "r")
        except OSError as error:
            raise _damaged(path, error) from error
    try:
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise DatasetCorruptError(
            f"The metadata speak of episodes, and the file {path} that should hold them is missing; "
            f"copy or download the dataset again."
        ) from None
    except OSError as error:
        # What this process has open through h5py already has to be opened in the same way again.
        with suppress(OSError):
            return h5py.File(path, "r")
        if is_locked(path):
            raise DatasetBusyError(
                f"{path} is being changed by another program; try again when that has closed it."
            ) from error
        raise _damaged(path, error) from error


def _damaged(path: FilePath, error: Exception) -> DatasetCorruptError:
    return DatasetCorruptError(
        f"{path} cannot be read as HDF5 ({error}); it is cut off, damaged or another kind of file, so copy or download "
        f"it again."
    )


class _ChangedFile(io.RawIOBase):
    """A file as it is after a change that is not in place."""

    def __init__(self, path: FilePath, change: Overlay) -> None:
        super().__init__()
        self._file, self._change, self._position = path.open("rb"), change, 0

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._change.end}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._change.read_at(self._file.fileno(), self._position, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_for_writing(file: Any, name: str) -> h5py.File:
    """Open a file, or what behaves like one, to change what is in it.

    Raises:
        DatasetCorruptError: it is not HDF5, or damaged.
    """
    try:
        return h5py.File(file, "r+", libver=LIBRARY_VERSIONS, locking=False)
    except OSError as error:
        raise DatasetCorruptError(
            f"{name} cannot be read as HDF5 ({error}); it is cut off, damaged or another kind of file, so copy or "
            f"download it again."
        ) from error


def link_objects(file: h5py.File, addresses: Iterable[int], names: Iterable[str]) -> None:
    """Make the objects at these addresses members of the root group.

    HDF5 goes from an address to an object by way of references, which are read from a file of
    references in memory.
    """
    values = np.array(list(addresses), dtype=np.uint64)
    if not len(values):
        return
    with h5py.File("references", "w", driver="core", backing_store=False) as memory:
        references = h5d.create(memory.id, b"references", h5t.STD_REF_OBJ, h5s.create_simple(values.shape))
        references.write(h5s.ALL, h5s.ALL, values, h5t.STD_REF_OBJ)
        for reference, name in zip(memory["references"][:], names, strict=True):
            h5o.link(h5r.dereference(reference, file.id), file.id, name.encode())


def can_copy(source: FilePath, index: int) -> bool:
    """Whether an episode, once it is copied as it is, can be read by every HDF5 library that ours can."""
    memory = {"driver": "core", "backing_store": False, "libver": LIBRARY_VERSIONS}
    with open_for_reading(source) as opened, h5py.File("copy", "w", **memory) as file:
        try:
            h5o.copy(opened.id, group_name(index).encode(), file.id, b"copy")
        except RuntimeError:
            return False
    return True


def copy_episodes(
    source: FilePath,
    numbers: Sequence[tuple[int, int]],
    file: h5py.File,
    known: Mapping[str, Path],
    read_at: ReadAt,
) -> list[PlacedEpisodes]:
    """Copy episodes from another file as they are stored there.

    Args:
        source: where they come from.
        numbers: of each episode there, and in ``file``.
        file: where they go to.
        known: as for :func:`locate`.
        read_at: gives bytes of ``file``.
    """
    with open_for_reading(source) as opened:
        for old, new in numbers:
            h5o.copy(opened.id, group_name(old).encode(), file.id, group_name(new).encode())
            group = file[group_name(new)]
            group.attrs.modify("id", new)
    file.flush()
    return [locate(new, file[group_name(new)], known, read_at) for _, new in numbers]


def read_metadata(group: h5py.Group) -> dict[str, Any]:
    """The metadata of an episode, nested again."""
    metadata = nested_metadata(group.attrs.items())
    if _has_old_statistics(group):
        metadata.update({f"rewards_{name}": value for name, value in group["rewards"].attrs.items()})
    return metadata


def _header_address(group: h5py.Group, file_name: str) -> int:
    address: int = h5o.get_info(group.id).addr
    is_elsewhere = group.file.filename != file_name or group.file.userblock_size
    return UNKNOWN if is_elsewhere or _has_old_statistics(group) else address


def _has_old_statistics(group: h5py.Group) -> bool:
    """Whether the statistics are attributes of the rewards, as they were before 0.5."""
    rewards = group.get("rewards")
    return isinstance(rewards, h5py.Dataset) and "rewards_sum" not in group.attrs and len(rewards.attrs) > 0


def update_metadata(group: h5py.Group, metadata: Mapping[str, Any]) -> None:
    """Set metadata of an episode, leaving its other keys as they are."""
    for name in list(group.attrs):
        if is_of(name, metadata):
            del group.attrs[name]
    for name, value in flatten_metadata(metadata):
        group.attrs[name] = value


def locate(
    index: int, group: h5py.Group, known: Mapping[str, Path], read_at: ReadAt, file: FilePath | None = None
) -> PlacedEpisodes:
    """Where the leaves of an episode lie, whoever wrote it.

    Args:
        index: of the episode.
        group: of the episode.
        known: spelled name -> path, for the leaves that the spaces tell about.
        read_at: gives bytes of the file, by offset and number.
        file: that has the episode, or only a link to it in another file.
    """
    file_name = group.file.filename if file is None else str(file)
    total_steps = group.attrs.get("total_steps")
    if total_steps is None:
        total_steps = len(group["rewards"])
    leaves = [
        _locate(known.get(name) or unspell(name), dataset, file_name, read_at) for name, dataset in _datasets(group)
    ]
    places = [number for _, rows, offsets in leaves for number in (rows, *offsets)]
    return PlacedEpisodes(
        schema=Schema(tuple(leaf for leaf, _, _ in leaves)),
        indices=np.array([index]),
        total_steps=np.array([int(total_steps)]),
        headers=np.array([_header_address(group, file_name)]),
        places=np.array([places], dtype=np.int64),
    )


def _datasets(group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    for name, item in group.items():
        if item is None:
            raise KeyError(f"{prefix}{name} cannot be opened")
        if isinstance(item, h5py.Dataset):
            yield prefix + name, item
        else:
            yield from _datasets(item, f"{prefix}{name}/")


def _locate(path: Path, dataset: h5py.Dataset, file_name: str, read_at: ReadAt) -> tuple[LeafPlace, int, list[int]]:
    """What a leaf is like, its number of rows, and the offsets of its pieces."""
    rows, dtype = dataset.shape[0] if dataset.shape else 0, dataset.dtype
    if dtype.kind in "biufc" and dataset.shape and dataset.file.filename == file_name:
        filtered = _locate_table(path, dataset, read_at)
        if filtered is not None:
            return filtered[0], rows, [filtered[1]]
        offsets = _offsets(dataset) if dataset.size else [0]
        if offsets:
            is_whole = dataset.chunks in (None, dataset.shape) or not dataset.size
            chunks = None if is_whole else dataset.chunks
            return LeafPlace(path, dtype, dataset.shape[1:], chunks, len(offsets)), rows, offsets
    return LeafPlace(path, None, ()), rows, [0]


def _locate_table(path: Path, dataset: h5py.Dataset, read_at: ReadAt) -> tuple[LeafPlace, int] | None:
    """What a compressed leaf is like and where the table of its chunks lies; None where that is not like ours."""
    properties = dataset.id.get_create_plist()
    if properties.get_layout() != h5d.CHUNKED or not properties.get_nfilters() or dataset.file.userblock_size:
        return None
    chunking = Chunking(dataset.chunks, filters_of(dataset))
    table = read_table_address(read_at, h5o.get_info(dataset.id).addr)
    if table is None or not has_table(read_at, table, dataset.shape, dataset.dtype, chunking):
        return None
    return LeafPlace(path, dataset.dtype, dataset.shape[1:], chunking.shape, filters=chunking.filters), table


def _offsets(dataset: h5py.Dataset) -> list[int]:
    """Where the bytes of an array lie as they are: all, or each chunk in turn; empty where they do not."""
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5d.CONTIGUOUS and properties.get_external_count() == 0:
        offset = dataset.id.get_offset()
        return [] if offset is None else [int(offset)]
    if properties.get_layout() != h5d.CHUNKED or properties.get_nfilters() > 0:
        return []
    if dataset.file.userblock_size:  # which HDF5 1.12 leaves out of the places of chunks
        return []
    count = dataset.id.get_num_chunks()
    sides = zip(dataset.shape, dataset.chunks, strict=True)
    if count > _MOST_CHUNKS or count != math.prod(-(-side // chunk) for side, chunk in sides):
        return []  # some were never written, and have no place
    found = [dataset.id.get_chunk_info(number) for number in range(count)]
    return [int(chunk.byte_offset) for chunk in sorted(found, key=lambda chunk: chunk.chunk_offset)]


def read_column(group: h5py.Group, path: Path) -> Column:
    """Read one leaf through HDF5: text as ``str``, anything else as it is stored."""
    dataset = group[spell(path)]
    require_filters(dataset)
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return object_column(dataset.asstr()[:].tolist())
    most = MOST_EXPANDED * dataset.file.id.get_filesize()
    if max(dataset.nbytes, math.prod(dataset.chunks or (), start=dataset.dtype.itemsize)) > most:
        raise OSError(f"its {dataset.nbytes} bytes of {spell(path)} cannot come from so small a file")
    column: Column = dataset[()]
    return column


def count_episodes(path: FilePath) -> int:
    """How many episodes a file holds.

    Raises:
        DatasetCorruptError: the file is damaged.
    """
    with open_for_reading(path) as file:
        try:
            return len(file)
        except (OSError, RuntimeError) as error:
            raise DatasetCorruptError(
                f"{path} cannot be read as HDF5 ({error}); it is damaged, so copy or download it again."
            ) from error


def read_root_attributes(path: FilePath) -> dict[str, Any]:
    """The metadata of releases before 0.5, which wrote them into the HDF5 file."""
    with open_for_reading(path) as file:
        return dict(file.attrs)


def with_episode_groups(path: FilePath, indices: Iterable[int], read: Callable[[int, h5py.Group], Any]) -> list[Any]:
    """What ``read`` returns for the group of each episode; the file is closed again afterwards."""
    with open_for_reading(path) as file:
        results = []
        for index in indices:
            try:
                results.append(read(index, file[group_name(index)]))
            except MinariError:
                raise
            except Exception as error:  # HDF5 and h5py have many ways to fail at a damaged file
                raise DatasetCorruptError(f"Episode {index} in {path} cannot be read ({error}).") from error
        return results
