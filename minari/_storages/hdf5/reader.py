"""Reader for the episodes of an untrusted HDF5 file, without an HDF5 library.

One group per episode, ``episode_0``, ``episode_1``, ...; groups and arrays in it have the paths of the
columns (a position in a ``Tuple`` is ``_index_0``), and attributes hold its metadata. An HDF5 library can
hang or crash on damaged files, so the few structures that this reader does not support are read by one in a
separate process.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from minari._base.data_file import DataFile
from minari._base.json_text import shortened
from minari._base.lazy import LazyModule
from minari._base.locks import is_locked
from minari._base.parallel import map_in_batches
from minari._storages.hdf5.attributes import nested_metadata
from minari._storages.hdf5.format.arrays import (
    FIXED_ARRAY,
    ArrayObject,
    chunks_of,
    decode_array,
    is_array,
    read_array,
    stored_column,
)
from minari._storages.hdf5.format.chunks import StoredColumn, has_table
from minari._storages.hdf5.format.codecs import MOST_EXPANDED
from minari._storages.hdf5.format.datatypes import Kind
from minari._storages.hdf5.format.groups import Link, is_group, members
from minari._storages.hdf5.format.headers import (
    Messages,
    attribute_names,
    decode_attribute,
    decode_space,
    read_attributes,
    read_messages,
    the_message,
)
from minari._storages.hdf5.format.objects import DATASPACE, UNDEFINED
from minari._storages.hdf5.format.source import NotUnderstood, ReadAt, Source, StoredElsewhere
from minari._storages.hdf5.format.superblock import Superblock, find_superblock
from minari._storages.hdf5.index import UNKNOWN, LeafPlace, PlacedEpisodes, Schema
from minari._storages.hdf5.names import from_hdf5_name, group_name, to_hdf5_name
from minari._storages.journal import pending_change
from minari.errors import DatasetBusyError, DatasetCorruptError, MinariError, UnsafePathError
from minari.spaces import AGENTS, FRAMES, STATE, Column, ColumnPath, has_no_space


if TYPE_CHECKING:
    from minari._storages.hdf5 import process
else:
    process = LazyModule("minari._storages.hdf5.process")  # for few files


#: The positions of leaves with more chunks are not stored: looking them up takes relatively little time.
_MOST_CHUNKS: Final = 64
_MOST_LEVELS: Final = 64  # of nested groups
_MOST_SOFT_LINKS: Final = 8  # followed in sequence
_EPISODE: Final = re.compile(r"episode_(0|[1-9][0-9]*)")
_LINKED_FILE: Final = re.compile(r"(?:\./)?(additional_data_[0-9]+\.hdf5)")
_TOTAL_STEPS: Final = "total_steps"
_NUMBERS: Final = (_TOTAL_STEPS, "seed")
_STEPS: Final = ("rewards", "terminations", "truncations")
_SPACES: Final = ("observations", "actions")
_INFOS: Final = "infos"
_TIMESTEPS: Final = "timesteps"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Object:
    """An object in one of the files.

    Attributes:
        file: the file that contains it.
        address: address of its header.
        messages: messages in its header.
        name: name below the group of its episode.
    """

    file: _File
    address: int
    messages: Messages
    name: str

    def array(self) -> ArrayObject:
        try:
            return decode_array(self.messages)
        except StoredElsewhere as error:
            raise UnsafePathError(
                f"The values of {shortened(self.name)} in {self.file.path} lie in other files, which are not opened; "
                f"put them into the file itself, or download the dataset from another place."
            ) from error

    def values(self, array: ArrayObject, path: ColumnPath) -> Column:
        """Return the values of an array as those of the column at a path."""
        return read_array(self.file.source, array, ascii_as_bytes=has_no_space(path), map_chunks=map_in_batches)

    def members(self) -> dict[str, Link]:
        if not is_group(self.messages):
            raise ValueError(f"{shortened(self.name)} is not a group")
        return members(self.file.source, self.messages)


def check_not_in_use(superblock: Superblock, path: Path) -> None:
    """Refuse a file that a program was writing in place when it was killed.

    Raises:
        DatasetCorruptError: the file has the mark of such a program.
    """
    if superblock.in_use:
        raise DatasetCorruptError(
            f"{path} was open for writing in another program that died, so it may be damaged; look at it and remove "
            f"the mark with h5clear --status, or copy or download it again."
        )


class _File:
    """A file whose objects are found by their links."""

    def __init__(self, path: Path, read_at: ReadAt, size: int, *, is_linked: bool = False) -> None:
        self.path, self.source = path, Source(read_at, size)
        try:
            superblock = find_superblock(self.source)
        except NotUnderstood:
            raise
        except ValueError as error:
            raise DatasetCorruptError(
                f"{path} cannot be read as HDF5; {error}, so copy or download it again."
            ) from error
        if superblock.in_use and is_locked(path):
            raise DatasetBusyError(f"{path} is being changed by another program; try again when that has closed it.")
        check_not_in_use(superblock, path)
        self._is_linked = is_linked
        self._others: dict[str, _File] = {}
        self.root = self.at(superblock.root, "/")
        self.members: dict[str, Link] | None = None  # of the root, read on demand

    def at(self, address: int, name: str, *, verified: bool = True) -> _Object:
        return _Object(self, address, read_messages(self.source, address, verified=verified), name)

    def root_members(self) -> dict[str, Link]:
        if self.members is None:
            self.members = self.root.members()
        return self.members

    def follow(self, link: Link, siblings: Mapping[str, Link], name: str, soft_links: int = 0) -> _Object:
        """Return the target of a link.

        Args:
            link: the link.
            siblings: the members of the group of the link.
            name: name of the link.
            soft_links: number of links followed so far.
        """
        if link.address is not None:
            return self.at(link.address, name)
        if link.file is not None:
            other = self._other(link.file, name)
            return other.find(link.path, other.root_members(), name, soft_links)
        if soft_links == _MOST_SOFT_LINKS:
            raise ValueError(f"the link {shortened(name)} leads to links without end")
        start = self.root_members() if link.path.startswith("/") else siblings
        return self.find(link.path, start, name, soft_links + 1)

    def find(self, path: str, start: Mapping[str, Link], name: str, soft_links: int = 0) -> _Object:
        """Return the object at a path."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or len(parts) > _MOST_LEVELS:
            raise ValueError(f"the link {shortened(name)} leads to no object")
        found: _Object | None = None
        for part in parts:
            group = start if found is None else found.members()
            if part not in group:
                raise ValueError(f"there is no {shortened(path)}")
            found = (found.file if found else self).follow(group[part], group, name, soft_links)
        if found is None:  # (there is at least one part)
            raise ValueError(f"there is no {shortened(path)}")
        return found

    def _other(self, file: str, name: str) -> _File:
        """Return a file beside this one, in which old releases stored combined episodes."""
        match = _LINKED_FILE.fullmatch(file)
        if match is None or self._is_linked:
            raise UnsafePathError(
                f"{shortened(name)} in {self.path} is a link to the file {shortened(file)}, and only links to "
                f"'additional_data_N.hdf5' beside it are followed; put what the file holds into the dataset itself."
            )
        if match[1] not in self._others:
            self._others[match[1]] = self._linked(self.path.with_name(match[1]))
        other = self._others[match[1]]
        other.source.renew()
        return other

    def _linked(self, path: Path) -> _File:
        def read_at(offset: int, size: int) -> bytes:  # (old datasets may have many such files: none stays open)
            with DataFile(path) as file:
                return file.read_at(offset, size)

        try:
            with DataFile(path) as file:
                size = file.size
            return _File(path, read_at, size, is_linked=True)
        except OSError as error:
            raise DatasetCorruptError(
                f"{self.path} has some of its episodes in {path}, which cannot be opened ({error.strerror}); copy or "
                f"download the dataset again."
            ) from None


class EpisodeFile:
    """The episodes of a dataset in their file.

    Methods that read raise ``DatasetCorruptError`` if the file is damaged, and ``UnsafePathError`` if it
    refers to other files.

    Args:
        path: path of the file.
        size: size of the file.
        agents: the names of the agents, if there are many.

    Attributes:
        read_at: returns bytes of the file by offset and size, fewer at its end. To be set before each use.
    """

    def __init__(self, path: Path, size: int, agents: frozenset[str] = frozenset()) -> None:
        self._path, self._size, self._agents = path, size, agents
        self.read_at: ReadAt = lambda offset, size: b""
        self._main: _File | None = None

    def _file(self) -> _File:
        if self._main is None:
            self._main = _File(self._path, lambda offset, size: self.read_at(offset, size), self._size)
        self._main.source.renew()
        return self._main

    def _read(self, index: int | None, read: Callable[[], _T], through_hdf5: Callable[[], _T]) -> _T:
        """Return the result of a read, or else of HDF5 in another process; convert all failures for damaged files."""
        try:
            try:
                return read()
            except NotUnderstood:
                self._check_settled()
                return through_hdf5()
        except MinariError:
            raise
        except (ValueError, IndexError, OverflowError, struct.error, MemoryError) as error:
            whole = f"{self._path} cannot be read as HDF5"
            what = whole if index is None else f"Episode {index} in {self._path} cannot be read"
            raise DatasetCorruptError(
                f"{what} ({error}); the file is damaged or holds something else, so copy or download it again."
            ) from error

    def _check_settled(self) -> None:
        """Refuse to read through HDF5, which does not see changes that have not been applied."""
        if pending_change(self._path.parent, self._path.name) is not None:
            raise DatasetBusyError(
                f"An interrupted change to {self._path} is committed but not applied; `minari clean`, or the next "
                f"program that writes to the dataset, completes it."
            )

    # The whole file

    def count(self) -> int:
        """Return the number of episodes."""
        return self._read(
            None,
            lambda: sum(_EPISODE.fullmatch(name) is not None for name in self._file().root_members()),
            lambda: process.count(self._path),
        )

    def root_attributes(self) -> dict[str, Any]:
        """Return the attributes of the file, in which releases before 0.5 stored the metadata."""

        def read() -> dict[str, Any]:
            file = self._file()
            return dict(read_attributes(file.source, file.root.messages))

        return self._read(None, read, lambda: process.root_attributes(self._path))

    # Episodes

    def _episode(self, index: int, header: int = UNKNOWN) -> _Object:
        """Return the group of an episode; the index has a checksum of its own for the attributes in its long header."""
        file, name = self._file(), group_name(index)
        if header != UNKNOWN:
            return file.at(header, name, verified=False)
        found = file.root_members()
        if name not in found:
            raise ValueError(f"there is not a group {name}")
        address = found[name].address
        return file.follow(found[name], found, name) if address is None else file.at(address, name, verified=False)

    def _checked_episode(self, index: int, header: int) -> _Object:
        """Return the group of an episode, found by its name if the address in the index is that of another one."""
        if header != UNKNOWN:
            with suppress(ValueError, IndexError, OverflowError, struct.error):
                group = self._episode(index, header)
                attributes = attribute_names(group.file.source, group.messages)
                if decode_attribute(group.file.source, attributes.get("id", b"")) == index:
                    return group
        return self._episode(index)

    def locate(self, index: int, known: Mapping[str, ColumnPath]) -> PlacedEpisodes:
        """Return the positions of the leaves of an episode written by any program.

        Args:
            index: number of the episode.
            known: name in the file -> path, for the leaves of the spaces.
        """

        def through_hdf5() -> PlacedEpisodes:
            total_steps, found = process.leaves(self._path, index, self._agents, _further_members(known))
            paths = ((_path_of(name, known, self._agents), rows) for name, rows in found)
            leaves = [(LeafPlace(path, None, ()), rows, [0]) for path, rows in paths if path is not None]
            return _placed(index, total_steps, UNKNOWN, leaves)

        return self._read(index, lambda: self._locate(index, known), through_hdf5)

    def _locate(self, index: int, known: Mapping[str, ColumnPath]) -> PlacedEpisodes:
        group = self._episode(index)
        leaves = []
        rewards: _Object | None = None
        for item in _arrays(group, self._agents, _further_members(known)):
            path = _path_of(item.name, known, self._agents)
            if item.name == "rewards":
                rewards = item
            if path is not None and (place := self._place(path, item)) is not None:
                leaves.append(place)
        attributes = attribute_names(group.file.source, group.messages)
        if _TOTAL_STEPS in attributes:
            value = decode_attribute(group.file.source, attributes[_TOTAL_STEPS])
            total_steps = _as_number(_TOTAL_STEPS, value)
        else:
            total_steps = next((rows for leaf, rows, _ in leaves if leaf.path == ("rewards",)), 0)
        is_elsewhere = group.file is not self._main or group.file.source.base
        is_old = (
            rewards is not None
            and "rewards_sum" not in attributes
            and attribute_names(rewards.file.source, rewards.messages)
        )
        return _placed(index, total_steps, UNKNOWN if is_elsewhere or is_old else group.address, leaves)

    def _place(self, path: ColumnPath, item: _Object) -> tuple[LeafPlace, int, list[int]] | None:
        """Return the layout of a leaf, its number of rows, and the offsets of its pieces; None if it has no rows."""
        source = item.file.source
        shape, _ = decode_space(the_message(item.messages, DATASPACE) or b"")
        if not shape:
            return None
        if shape[0] > MOST_EXPANDED * source.size:
            raise ValueError(f"{shortened(item.name)} has {shape[0]} rows, in a file of {source.size} bytes")
        unplaced = LeafPlace(path, None, ()), shape[0], [0]
        try:
            array = item.array()
            is_number = isinstance(array.kind, np.dtype) and array.kind.kind in "biufc"
            found = _offsets(source, array) if is_number and item.file is self._main else None
        except NotUnderstood:
            return unplaced
        if found is None:
            return unplaced
        offsets, chunks, filters = found
        return LeafPlace(path, array.dtype, shape[1:], chunks, len(offsets), filters), shape[0], offsets

    def read_columns(
        self, wanted: Sequence[tuple[int, int, Sequence[ColumnPath]]]
    ) -> dict[int, dict[ColumnPath, Column]]:
        """Return columns of episodes by their numbers: text as ``str``, byte strings as ``bytes``, others as stored.

        Args:
            wanted: the number of each episode, the address of its group if known, and paths.
        """
        found: dict[int, dict[ColumnPath, Column]] = {index: {} for index, *_ in wanted}
        left: dict[int, list[ColumnPath]] = {}
        for index, header, paths in wanted:
            read = partial(self._read_here, index, header, paths, found[index])
            not_understood = self._read(index, read, lambda: list(paths))  # noqa: B023 (called at once)
            if not_understood:
                left[index] = not_understood
        if left:
            self._check_settled()
            names = [(index, list(map(to_hdf5_name, paths))) for index, paths in left.items()]
            read_columns = process.columns(self._path, names, self._agents)
            for (index, paths), others in zip(left.items(), read_columns, strict=True):
                found[index] |= {path: others[to_hdf5_name(path)] for path in paths if to_hdf5_name(path) in others}
        return found

    def _read_here(
        self, index: int, header: int, paths: Iterable[ColumnPath], columns: dict[ColumnPath, Column]
    ) -> list[ColumnPath]:
        """Read columns of an episode; return those that are not supported."""
        left = []
        group = self._checked_episode(index, header)
        siblings = group.members()
        for path in paths:
            try:
                item = group.file.find(to_hdf5_name(path), siblings, to_hdf5_name(path))
                columns[path] = read_array(
                    item.file.source, item.array(), ascii_as_bytes=has_no_space(path), map_chunks=map_in_batches
                )
            except NotUnderstood:
                left.append(path)
        return left

    def stored_columns(
        self, index: int, header: int, paths: Iterable[ColumnPath]
    ) -> dict[ColumnPath, Column | StoredColumn] | None:
        """Return columns in their stored form for copying; None if that is not possible.

        Args:
            index: number of the episode.
            header: the address of its group, if known.
            paths: paths of the columns.
        """

        def read() -> dict[ColumnPath, Column | StoredColumn]:
            found: dict[ColumnPath, Column | StoredColumn] = {}
            group = self._checked_episode(index, header)
            siblings = group.members()
            for path in paths:
                item = group.file.find(to_hdf5_name(path), siblings, to_hdf5_name(path))
                array = item.array()
                is_compressed = array.chunking is not None and array.chunking.filters
                stored: Column | StoredColumn | None = stored_column(item.file.source, array) if is_compressed else None
                if stored is None:
                    stored = read_array(
                        item.file.source, array, ascii_as_bytes=has_no_space(path), map_chunks=map_in_batches
                    )
                found[path] = stored
            return found

        return self._read(index, read, lambda: None)

    def read_metadata(self, index: int, header: int = UNKNOWN) -> dict[str, Any]:
        """Return the nested metadata of an episode.

        Args:
            index: number of the episode.
            header: the address of its group, if known and if its attributes are all of its metadata.
        """

        def read() -> dict[str, Any]:
            group = self._episode(index, header)
            attributes = read_attributes(group.file.source, group.messages)
            if header != UNKNOWN:
                return nested_metadata(attributes)
            return _with_old_statistics(attributes, lambda: _rewards_attributes(group))

        def through_hdf5() -> dict[str, Any]:
            attributes, of_rewards = process.metadata(self._path, index)
            return _with_old_statistics(attributes, lambda: of_rewards)

        return self._read(index, lambda: _with_numbers(read()), lambda: _with_numbers(through_hdf5()))

    def first_leaves(self) -> dict[str, tuple[Kind, tuple[int, ...]]]:
        """Return the kind of the values and the row shape of each array of the first episode, by its name."""

        def read() -> dict[str, tuple[Kind, tuple[int, ...]]]:
            arrays = {item.name: item.array() for item in _arrays(self._episode(0))}
            return {name: (array.kind, array.shape[1:]) for name, array in arrays.items() if array.shape}

        return self._read(0, read, lambda: dict(process.leaf_types(self._path, 0)))


def _placed(
    index: int, total_steps: int, header: int, leaves: Sequence[tuple[LeafPlace, int, Sequence[int]]]
) -> PlacedEpisodes:
    if not leaves:
        raise ValueError("it has no arrays of an episode")
    places = [number for _, rows, offsets in leaves for number in (rows, *offsets)]
    return PlacedEpisodes(
        schema=Schema(tuple(leaf for leaf, _, _ in leaves)),
        indices=np.array([index]),
        total_steps=np.array([total_steps]),
        headers=np.array([header]),
        places=np.array([places], dtype=np.int64),
    )


def _path_of(name: str, known: Mapping[str, ColumnPath], agents: frozenset[str]) -> ColumnPath | None:
    """Return the path of a column by its name; None if it is not one of this library."""
    if agents and name not in known:
        agent, _, rest = name.partition("/")
        path = _path_of(rest, {}, frozenset()) if agent in agents else None
        if agent == STATE:
            return from_hdf5_name(name)
        return (AGENTS, agent, _TIMESTEPS) if rest == _TIMESTEPS else None if path is None else (AGENTS, agent, *path)
    first = name.partition("/")[0]
    if name in known or name in _STEPS:
        return known.get(name, (name,))
    return from_hdf5_name(name) if first == _INFOS and name != _INFOS else None


def _further_members(known: Mapping[str, ColumnPath]) -> list[str]:
    """Return the members of an episode that only some datasets have: the frames of stacks."""
    return [FRAMES] if any(path[0] == FRAMES for path in known.values()) else []


def _arrays(
    group: _Object,
    agents: frozenset[str] = frozenset(),
    further: Sequence[str] = (),
    prefix: str = "",
    above: tuple[int, ...] = (),
) -> Iterator[_Object]:
    """Yield the arrays of an episode in the order of their names; ignore members that do not belong to an episode."""
    siblings = group.members()
    for name in sorted(siblings, key=str.encode):
        if not prefix and agents and name not in agents and name != STATE:
            raise ValueError(f"it has {shortened(name)}, which is none of its agents")
        if not prefix and not agents and name not in (*_STEPS, *_SPACES, _INFOS, *further):
            continue
        item = group.file.follow(siblings[name], siblings, prefix + name)
        if is_array(item.messages):
            yield item
        elif is_group(item.messages):
            if item.address in above or len(above) == _MOST_LEVELS:
                raise ValueError(f"the group {shortened(item.name)} is within itself")
            yield from _arrays(item, agents, further, f"{prefix}{name}/", (*above, item.address))


def _offsets(
    source: Source, array: ArrayObject
) -> tuple[list[int], tuple[int, ...] | None, tuple[Any, ...] | None] | None:
    """Return the positions of the bytes of an array, the chunk shape, and the filters; None if it has to be read."""
    chunking = array.chunking
    if array.nbytes == 0:
        return [0], None, None
    if chunking is None:
        if array.address == UNDEFINED or array.data:
            return None
        offset = source.base + array.address
        if offset + array.nbytes > source.size:
            raise ValueError(f"an array ends at byte {offset + array.nbytes} of {source.size}")
        return [offset], None, None
    if chunking.filters:
        is_table = array.index == FIXED_ARRAY and not source.base and array.most == array.shape
        if is_table and has_table(source.read, array.address, array.shape, array.dtype, chunking):
            return [array.address], chunking.shape, chunking.filters
        return None
    if chunking.count(array.shape) > _MOST_CHUNKS:
        return None
    chunks = chunks_of(source, array)
    if len(chunks) != chunking.count(array.shape):
        return None  # some were never written, and have no position
    if any(source.base + chunk.address + chunk.size > source.size for chunk in chunks):
        raise ValueError("a chunk of an array lies beyond the end of the file")
    return (
        [source.base + chunk.address for chunk in chunks],
        None if chunking.shape == array.shape else chunking.shape,
        None,
    )


def _with_numbers(metadata: dict[str, Any]) -> dict[str, Any]:
    for key in _NUMBERS:
        if metadata.get(key) is not None:
            metadata[key] = _as_number(key, metadata[key])
    return metadata


def _as_number(key: str, value: Any) -> int:
    """Return a number of the metadata, which may be text in files of old releases."""
    content = value.item() if isinstance(value, (np.ndarray, np.generic)) and value.size == 1 else value
    if not isinstance(content, (int, str, bytes)):
        raise ValueError(f"its {key} is {shortened(value)}, expected a number")
    number = int(content)
    if key == _TOTAL_STEPS and not 0 <= number < 2**63:
        raise ValueError(f"its {key} is {shortened(value)}")
    return number


# Statistics were attributes of the rewards before 0.5.


def _rewards_attributes(group: _Object) -> list[tuple[str, Any]]:
    siblings = group.members()
    if "rewards" not in siblings:
        return []
    rewards = group.file.follow(siblings["rewards"], siblings, "rewards")
    return read_attributes(rewards.file.source, rewards.messages)


def _with_old_statistics(
    attributes: list[tuple[str, Any]], of_rewards: Callable[[], list[tuple[str, Any]]]
) -> dict[str, Any]:
    metadata = nested_metadata(attributes)
    if "rewards_sum" not in dict(attributes):
        metadata.update({f"rewards_{name}": value for name, value in of_rewards()})
    return metadata


@contextmanager
def open_episodes(path: Path) -> Iterator[EpisodeFile]:
    """Open a file whose episodes are read once.

    Raises:
        DatasetCorruptError: there is no such file.
    """
    try:
        file = DataFile(path)
    except FileNotFoundError:
        raise DatasetCorruptError(
            f"The file {path} with the episodes is missing; copy or download the dataset again."
        ) from None
    with file:
        episodes = EpisodeFile(path, file.size)
        episodes.read_at = file.read_at
        yield episodes
