"""Episodes into and out of an open HDF5 file, by way of h5py; where what lies is decided here.

One group an episode, ``episode_0``, ``episode_1``, ...; below it groups and datasets spell the paths
of the columns (a position in a ``Tuple`` is ``_index_0``), and attributes hold its metadata.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5p, h5s, h5t

from minari.dataset._storages.file_lock import is_locked
from minari.dataset._storages.hdf5_index import LeafPlace, Located
from minari.dataset._storages.hdf5_names import group_name, spell, unspell
from minari.errors import DatasetBusyError, DatasetCorruptError, EpisodeError
from minari.spaces import Column, EpisodeColumns, Path, has_flags, is_utf8_text, object_column, path_name


#: New objects are written so that every HDF5 library from 1.10 on can read them.
LIBRARY_VERSIONS = ("v110", "v110")

_JSON_SUFFIX = ":json"
_GROUPS = ("observations", "actions", "infos")


@dataclass(frozen=True, slots=True)
class PendingBytes:
    """An array that has its place in the file, and whose bytes have still to be written there."""

    offset: int
    array: Column

    def bytes(self) -> memoryview:
        """The bytes of the array, without a copy where it lies in one piece."""
        array: Any = np.ascontiguousarray(self.array).reshape(-1).view(np.uint8)
        return memoryview(array)


# HDF5 gives overlapping openings of a file one and the same view of it, which is then as old as the
# first of them. So threads take turns.
_turn = threading.RLock()


def _renew_turn() -> None:
    global _turn  # (a thread that held it at a fork does not exist in the child)
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_turn)


@contextmanager
def open_for_reading(path: FilePath) -> Iterator[h5py.File]:
    """Open a file as it is now, without a lock on it, so that reading never keeps anyone from writing.

    Raises:
        DatasetBusyError: another program is changing the file in place.
        DatasetCorruptError: the file is missing, not HDF5, or damaged.
    """
    with _turn, _opened(path) as file:
        yield file


def _opened(path: FilePath) -> h5py.File:
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
        raise DatasetCorruptError(
            f"{path} cannot be read as HDF5 ({error}); it is cut off, damaged or another kind of file, so "
            f"copy or download it again."
        ) from error


class EpisodeGroupWriter:
    """Writes episodes into an HDF5 file that is open for writing.

    Arrays get their place in the file at once; their bytes are handed back as
    :class:`PendingBytes`, to be written without HDF5 in between, which takes half the time.

    Args:
        file: the open file.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._groups = h5p.create(h5p.GROUP_CREATE)
        self._groups.set_attr_phase_change(64, 32)  # more than the usual 8 attributes stay cheap
        self._contiguous = h5p.create(h5p.DATASET_CREATE)
        self._contiguous.set_layout(h5d.CONTIGUOUS)
        self._contiguous.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        self._contiguous.set_fill_time(h5d.FILL_TIME_NEVER)
        self._contiguous.set_obj_track_times(False)
        self._scalar = h5s.create(h5s.SCALAR)
        self._types: dict[np.dtype[Any], h5t.TypeID] = {}

    def write(self, index: int, episode: EpisodeColumns) -> tuple[list[Located], list[PendingBytes]]:
        """Make the group of an episode.

        Returns:
            Where its leaves lie, and the bytes that are still to be written.
        """
        group = h5g.create(self._file.id, group_name(index).encode(), gcpl=self._groups)
        self._write_attributes(group, {"id": index, "total_steps": episode.total_steps, **episode.metadata})
        located, pending, made = [], [], {"": group}
        for name in _GROUPS:
            if (name,) not in episode.columns:
                made[name] = h5g.create(group, name.encode(), gcpl=self._groups)
        for path, column in episode.columns.items():
            try:
                leaf = self._write_column(self._parent(made, path), path, column)
            except ValueError as error:
                raise EpisodeError(
                    f"The {path_name(path)!r} cannot be written as HDF5 ({error}); the keys of a space must "
                    f"not be empty or '.', nor have slashes that make one the same as another."
                ) from error
            located.append(leaf)
            if leaf.place.dtype is not None and column.nbytes:
                pending.append(PendingBytes(leaf.offset, column))
        return located, pending

    def _parent(self, made: dict[str, h5g.GroupID], path: Path) -> h5g.GroupID:
        names = spell(path).split("/")
        for depth in range(1, len(names)):
            name = "/".join(names[:depth])
            if name not in made:
                parent = made["/".join(names[: depth - 1])]
                made[name] = h5g.create(parent, names[depth - 1].encode(), gcpl=self._groups)
        return made["/".join(names[:-1])]

    def _write_column(self, parent: h5g.GroupID, path: Path, column: Column) -> Located:
        name = spell(path).rsplit("/", 1)[-1].encode()
        if column.dtype != object:
            dataset = h5d.create(
                parent, name, self._type(column.dtype), h5s.create_simple(column.shape), self._contiguous
            )
            place = LeafPlace(path, column.dtype, column.shape[1:])
            return Located(place, dataset.get_offset() if column.nbytes else 0, len(column))
        _write_objects(h5py.Group(parent), name.decode(), column)
        return Located(LeafPlace(path, None, ()), 0, len(column))

    def _type(self, dtype: np.dtype[Any]) -> h5t.TypeID:
        if dtype not in self._types:
            self._types[dtype] = h5t.py_create(dtype, logical=True)
        return self._types[dtype]

    def _write_attributes(self, group: h5g.GroupID, metadata: Mapping[str, Any]) -> None:
        for name, value in flatten_metadata(metadata):
            if isinstance(value, (np.ndarray, str)):
                h5py.Group(group).attrs[name] = value
                continue
            number = np.asarray(value)
            attribute = h5a.create(group, name.encode(), self._type(number.dtype), self._scalar)
            attribute.write(number)

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        """Set attributes of an episode that is there."""
        attributes = self._file[group_name(index)].attrs
        for name in list(attributes):
            if name.removesuffix(_JSON_SUFFIX).split("/")[0] in metadata:
                del attributes[name]
        for name, value in flatten_metadata(metadata):
            attributes[name] = value


def _write_objects(group: h5py.Group, name: str, column: Column) -> None:
    """Write text, or encoded frames: as a matrix where all are of one length, else row by row."""
    if len(column) and isinstance(column[0], bytes):
        rows = [np.frombuffer(row, dtype=np.uint8) for row in column]
        if len({row.size for row in rows}) == 1:
            group.create_dataset(name, data=np.stack(rows), track_times=False)
            return
        dataset = group.create_dataset(name, (len(rows),), h5py.vlen_dtype(np.uint8), track_times=False)
        dataset[:] = object_column(rows)
        return
    dataset = group.create_dataset(name, (len(column),), h5py.string_dtype(), track_times=False)
    if len(column):
        dataset[:] = column


def flatten_metadata(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Metadata as names and values of attributes: numbers, arrays and strings as they are.

    Nested keys are joined by ``/``. What HDF5 has no type for, and JSON has, becomes a JSON text
    under a name that ends in ``:json``.
    """
    for key, value in metadata.items():
        name = f"{prefix}{key}"
        as_it_is = None if name.endswith(_JSON_SUFFIX) else _attribute_value(value)
        if isinstance(value, Mapping) and value:
            yield from flatten_metadata(value, f"{name}/")
        elif as_it_is is not None:
            yield name, as_it_is
        else:
            yield name + _JSON_SUFFIX, json.dumps(value, default=lambda item: item.tolist())


def _attribute_value(value: Any) -> Any:
    """What an attribute holds for a value, None where it would not come back as it was."""
    if isinstance(value, str):
        return str(value) if is_utf8_text(value) else None
    if isinstance(value, (float, np.generic, np.ndarray)):
        return np.asarray(value)[()]
    if isinstance(value, (int, list, tuple)):
        try:
            array = np.asarray(value)
        except (ValueError, OverflowError):
            return None
        is_exact = array.dtype.kind in "biuf" and array.size and array.tolist() == _as_list(value)
        rounds_flags = array.dtype.kind != "b" and has_flags(value)
        return array[()] if is_exact and not rounds_flags else None
    return None


def _as_list(value: Any) -> Any:
    return [_as_list(item) for item in value] if isinstance(value, (list, tuple)) else value


def read_metadata(group: h5py.Group) -> dict[str, Any]:
    """The metadata of an episode, nested again."""
    metadata: dict[str, Any] = {}
    for name, value in group.attrs.items():
        if name.endswith(_JSON_SUFFIX):
            name, value = name.removesuffix(_JSON_SUFFIX), json.loads(value)
        *parents, key = name.split("/")
        node: Any = metadata
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node[key] = value
        else:  # another program has written both a value and something below it
            metadata[name] = value
    if "rewards_sum" not in metadata and isinstance(group.get("rewards"), h5py.Dataset):
        # Before 0.5 the statistics were attributes of the rewards.
        metadata.update({f"rewards_{name}": value for name, value in group["rewards"].attrs.items()})
    return metadata


def locate(group: h5py.Group, known: Mapping[str, Path]) -> list[Located]:
    """Where the leaves of an episode lie, whoever wrote it.

    Args:
        group: of the episode.
        known: spelled name -> path, for the leaves that the spaces tell about.
    """
    return [
        _locate_dataset(known.get(name) or unspell(name), dataset, group.file) for name, dataset in _datasets(group)
    ]


def _datasets(group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    for name, item in group.items():
        if item is None:
            raise KeyError(f"{prefix}{name} cannot be opened")
        if isinstance(item, h5py.Dataset):
            yield prefix + name, item
        else:
            yield from _datasets(item, f"{prefix}{name}/")


def _locate_dataset(path: Path, dataset: h5py.Dataset, file: h5py.File) -> Located:
    through_hdf5 = Located(LeafPlace(path, None, ()), 0, dataset.shape[0] if dataset.shape else 0)
    dtype = dataset.dtype
    if dtype.kind not in "biufc" or not dataset.shape or dataset.file.id != file.id:
        return through_hdf5
    if dataset.size == 0:
        return Located(LeafPlace(path, dtype, dataset.shape[1:]), 0, dataset.shape[0])
    offset = _byte_offset(dataset)
    return through_hdf5 if offset is None else Located(LeafPlace(path, dtype, dataset.shape[1:]), offset, len(dataset))


def _byte_offset(dataset: h5py.Dataset) -> int | None:
    """Where the bytes of an array lie in one piece, as they are; None where they do not."""
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5d.CONTIGUOUS and properties.get_external_count() == 0:
        offset: int | None = dataset.id.get_offset()
        return offset
    is_plain_chunk = properties.get_layout() == h5d.CHUNKED and properties.get_nfilters() == 0
    if is_plain_chunk and dataset.chunks == dataset.shape and dataset.id.get_num_chunks() == 1:
        return int(dataset.id.get_chunk_info(0).byte_offset)
    return None


def read_column(group: h5py.Group, path: Path) -> Column:
    """Read one leaf through HDF5: text as ``str``, anything else as it is stored."""
    dataset = group[spell(path)]
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return object_column(dataset.asstr()[:].tolist())
    column: Column = dataset[()]
    return column


def count_episodes(path: FilePath) -> int:
    """How many episodes a file holds."""
    with open_for_reading(path) as file:
        return len(file)


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
            except (KeyError, OSError, RuntimeError) as error:
                raise DatasetCorruptError(f"Episode {index} in {path} cannot be read ({error}).") from error
        return results
