"""Appending of episodes to an HDF5 file: values immediately, objects in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from minari._base.checksums import bytes_checksum, column_checksum, seed_of
from minari._base.lazy import LazyModule
from minari._base.parallel import map_in_batches
from minari._model.compression import Codec
from minari._storages.hdf5.attributes import flatten_metadata, metadata_checksums, text_checksum
from minari._storages.hdf5.format.chunks import StoredColumn, compressed, table_of, table_size
from minari._storages.hdf5.format.datatypes import BYTES, BYTES_AS_TEXT, TEXT, Kind, NoDatatype
from minari._storages.hdf5.format.filters import Chunking, chunking_of
from minari._storages.hdf5.format.objects import ALIGNMENT, GlobalHeap, aligned
from minari._storages.hdf5.format.template import AttributeKinds, EpisodeTemplate, NotWritable, episode_template
from minari._storages.hdf5.index import NO_CHECKSUM, LeafPlace, PlacedEpisodes, Schema
from minari._storages.hdf5.infos import with_own_types
from minari._storages.hdf5.names import to_hdf5_name
from minari.errors import EpisodeError, EpisodeTypeError, MetadataError
from minari.spaces import (
    Column,
    ColumnPath,
    EpisodeBatch,
    EpisodeColumns,
    has_no_space,
    object_column,
    path_name,
)


if TYPE_CHECKING:
    from minari._storages.hdf5 import plugins
else:
    plugins = LazyModule("minari._storages.hdf5.plugins")  # imports h5py, which most datasets do not need

#: Path, kind and row shape of each leaf of an episode, and its chunks, if any.
LeafKinds: TypeAlias = tuple[tuple[ColumnPath, Kind, tuple[int, ...], "Chunking | None"], ...]


#: Number of buffered bytes of values: enough to amortize a call, few enough to stay in the CPU cache. Larger
#: arrays are written directly.
_VALUES_AT_A_TIME: Final = 2**20
_EPISODES_AT_A_TIME: Final = 1024
_MANY: Final = 16  # episodes, from which on a batch is written together
_WORTHWHILE: Final = 64  # minimum size in bytes of an array that is compressed
_ALL_BITS: Final = 2**64 - 1
_MOST_INT64: Final = 2**63 - 1
_WHOLE_NUMBERS: Final = frozenset({"id", "total_steps", "seed"})
_SMALL: Final = 4096  # bytes; `tobytes` copies smaller arrays faster than a view is created


@dataclass(slots=True)
class _Waiting:
    """Episodes of one kind whose values have been placed, but whose objects have not."""

    template: EpisodeTemplate
    leaves: LeafKinds
    indices: list[int] = field(default_factory=list)
    total_steps: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # rows and offset of each leaf in turn
    checksums: list[int] = field(default_factory=list)  # of each leaf, unsigned
    attributes: list[Sequence[Any]] = field(default_factory=list)
    texts: list[list[np.uint64]] = field(default_factory=list)  # placeholder of each text attribute
    metadata_checksums: list[int] = field(default_factory=list)  # of those that are copied


@dataclass(slots=True)
class _WaitingBatches:
    """Batches of one kind of episodes, whose values have been placed, but whose objects have not.

    Each list has an array for each batch; see :meth:`EpisodeAppender._write_objects_of`.
    """

    indices: list[npt.NDArray[np.int64]] = field(default_factory=list)
    total_steps: list[npt.NDArray[np.int64]] = field(default_factory=list)
    places: list[npt.NDArray[np.int64]] = field(default_factory=list)
    checksums: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    attributes: list[Sequence[npt.NDArray[Any]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StoredEpisode:
    """An episode with columns in their stored form, compressed or not, which is kept.

    Attributes:
        total_steps, metadata: as in :class:`~minari.spaces.EpisodeColumns`.
        columns: the stored columns.
        checksums: checksums of the values when they were first written.
        metadata_checksum: checksum of the metadata when it was first written, if any.
    """

    total_steps: int
    columns: Mapping[ColumnPath, Column | StoredColumn]
    metadata: Mapping[str, Any]
    checksums: Mapping[ColumnPath, int]
    metadata_checksum: int = NO_CHECKSUM


class EpisodeAppender:
    """Writer of episodes as bytes, one after the other, starting at an address.

    Args:
        write_at: writes bytes at an offset of the file.
        end: the current end of the file.
        codec_for: returns the codec of a column of numbers by its path.
    """

    def __init__(
        self,
        write_at: Callable[[int, memoryview], None],
        end: int,
        codec_for: Callable[[ColumnPath], Codec | None] = lambda path: None,
    ) -> None:
        self._write_at = write_at
        self._codecs = _Codecs(codec_for)
        self._start = self._end = aligned(end)  # of the buffered values
        # One buffer for all values, since allocating memory costs more than copying.
        self._values = memoryview(bytearray(_VALUES_AT_A_TIME))
        self._texts: list[tuple[int, npt.NDArray[Any]]] = []  # elements to be written once all texts are placed
        self._heap = GlobalHeap()
        self._waiting: dict[tuple[LeafKinds, AttributeKinds, bool], _Waiting] = {}
        self._waiting_batches: dict[tuple[LeafKinds, AttributeKinds], _WaitingBatches] = {}
        self._waiting_episodes = 0
        self._plain: dict[tuple[Any, ...], AttributeKinds] = {}  # by the names and types of plain metadata
        self._placed: list[PlacedEpisodes] = []

    def add(self, index: int, episode: EpisodeColumns | StoredEpisode, *, counted: bool = False) -> None:
        """Write an episode; its arrays can be released afterwards.

        Args:
            index: its number.
            episode: the episode.
            counted: True if HDF5 is to link the group of the episode, and counts the references to it.

        Raises:
            EpisodeError: a leaf cannot be stored under its name.
            MetadataError: an attribute cannot be stored.
        """
        leaves, columns, known = self._leaves_of(episode)
        names, numbers, texts = self._attributes_of(
            {"id": index, "total_steps": episode.total_steps, **episode.metadata}
        )
        key = leaves, names, counted
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(template_of(leaves, names, counted=counted), leaves)
        waiting.indices.append(index)
        waiting.total_steps.append(episode.total_steps)
        places, checksums = waiting.places, waiting.checksums
        for (path, kind, _, _), column in zip(leaves, columns, strict=True):
            offset, data = self._put(kind, column)
            places += (column.shape[0], offset)
            if path in known:
                checksums.append(known[path] & _ALL_BITS)
            else:  # of the bytes just copied, which are in the CPU cache
                seed, is_plain = seed_of(column.dtype, column.shape)
                checksums.append(
                    bytes_checksum(data, seed) if is_plain else column_checksum(cast("Column", column)) & _ALL_BITS
                )
        waiting.attributes.append(numbers)
        waiting.texts.append(texts)
        waiting.metadata_checksums.append(
            episode.metadata_checksum if isinstance(episode, StoredEpisode) else NO_CHECKSUM
        )
        self._waiting_episodes += 1
        if self._heap.size >= _VALUES_AT_A_TIME:
            self._write_values()
        if self._waiting_episodes >= _EPISODES_AT_A_TIME:
            self._write_objects()

    def add_batch(self, first_index: int, batch: EpisodeBatch) -> None:
        """Write the episodes of a batch; the values of each leaf together, if they are numbers.

        Raises:
            EpisodeError: a leaf cannot be stored under its name.
        """
        columns, count = batch.columns, len(batch)
        is_plain = all(column.dtype.kind in "biufc" and column.dtype.isnative for column in columns.values())
        is_compressed = any(self._codecs[path] is not None for path in columns)
        if count < _MANY or not is_plain or is_compressed or ":" in "".join(batch.metadata):
            for index, episode in enumerate(batch, first_index):
                self.add(index, episode)
            return
        indices = np.arange(first_index, first_index + count)
        metadata = {"id": indices, "total_steps": batch.total_steps, **batch.metadata}
        names = tuple((name, values.dtype, values.shape[1:]) for name, values in metadata.items())
        leaves: LeafKinds = tuple((path, column.dtype, column.shape[1:], None) for path, column in columns.items())
        template_of(leaves, names)  # raises before anything is written
        places = np.empty((count, len(leaves), 2), np.int64)  # rows, and offset
        checksums = np.empty((count, len(leaves)), np.uint64)
        for number, (path, column) in enumerate(columns.items()):
            row_size, bounds = column.dtype.itemsize * math.prod(column.shape[1:]), batch.bounds(path)
            offset, _ = self._put(column.dtype, column)
            places[:, number, 0], places[:, number, 1] = np.diff(bounds), offset + bounds[:-1] * row_size
            checksums[:, number] = _checksums_of(column, bounds)
        waiting = self._waiting_batches.setdefault((leaves, names), _WaitingBatches())
        waiting.indices.append(indices)
        waiting.total_steps.append(batch.total_steps)
        waiting.places.append(places.reshape(count, -1))
        waiting.checksums.append(checksums)
        waiting.attributes.append([*metadata.values()])
        self._waiting_episodes += count
        if self._waiting_episodes >= _EPISODES_AT_A_TIME:
            self._write_objects()

    def _attributes_of(self, metadata: Mapping[str, Any]) -> tuple[AttributeKinds, list[Any], list[np.uint64]]:
        """Return the kinds of the attributes of an episode, their values, and the checksums of the text values."""
        key = (*metadata, *map(type, metadata.values()))
        known = self._plain.get(key)
        if known is not None and abs(metadata.get("seed", 0)) <= _MOST_INT64:
            return known, list(metadata.values()), []
        names, numbers, texts = [], [], []
        for name, value in flatten_metadata(metadata):
            if isinstance(value, str):
                names.append((name, TEXT, ()))
                encoded = value.encode()
                texts.append(text_checksum(encoded))
                numbers.append(self._heap.add([encoded]))
            else:
                names.append((name, value.dtype, value.shape))
                # (the owner of an array may modify it)
                numbers.append(value.copy() if isinstance(value, np.ndarray) else value)
        is_plain = all(
            type(value) is np.float64 or (type(value) is int and name in _WHOLE_NUMBERS)
            for name, value in metadata.items()
        )
        if is_plain and [name for name, _, _ in names] == [*metadata]:  # all values are stored unchanged
            self._plain[key] = tuple(names)
        return tuple(names), numbers, texts

    def _leaves_of(
        self, episode: EpisodeColumns | StoredEpisode
    ) -> tuple[LeafKinds, list[Column | StoredColumn], Mapping[ColumnPath, int]]:
        """Return the kinds of the leaves of an episode, their stored columns, and the known checksums.

        Missing checksums are computed while the bytes are written.
        """
        leaves, columns = [], []
        is_copied = isinstance(episode, StoredEpisode)
        known = dict(episode.checksums) if isinstance(episode, StoredEpisode) else {}
        for path, values in with_own_types(episode.columns).items():
            kind: Kind = values.dtype
            column: Column | StoredColumn = values
            chunking = None
            if isinstance(values, StoredColumn):
                chunking = values.chunking
            elif values.dtype == object:
                kind, column, as_read = _as_elements(values, path)
                if isinstance(kind, str) and path not in known:
                    known[path] = column_checksum(as_read)
            elif not is_copied and values.dtype.kind in "biufc":
                codec = self._codecs[path]
                if codec is not None and values.nbytes >= _WORTHWHILE:
                    wanted = chunking_of(codec.name, codec.level, values.shape, values.dtype)
                    column = (
                        plugins.compressed(values, codec)
                        if wanted is None
                        else compressed(values, wanted, map_in_batches)
                    )
                    chunking = column.chunking
                    known[path] = column_checksum(values)
            leaves.append((path, kind, column.shape[1:], chunking))
            columns.append(column)
        return tuple(leaves), columns, known

    def _put(self, kind: Kind, column: Column | StoredColumn) -> tuple[int, bytes | memoryview]:
        """Assign a position to an array and write it or buffer it.

        Returns:
            The position, and the bytes of the values if they are written unchanged.
        """
        if isinstance(column, StoredColumn):
            return self._put_chunks(column), b""
        if isinstance(kind, str):
            return self._put_texts(column.tolist()), b""
        size, offset = column.nbytes, self._end
        begin = offset - self._start
        if begin + size > _VALUES_AT_A_TIME:
            offset, data = self._reserve(size), bytes_of(column)
            self._fill(offset, data)
            return offset, data
        place = self._values[begin : begin + size]  # the most frequent case, without further calls
        place[:] = column.tobytes() if size < _SMALL else bytes_of(column)
        self._end = offset + size + -size % ALIGNMENT
        return offset, place

    def _put_chunks(self, column: StoredColumn) -> int:
        """Assign positions to chunks and then to their table, and return that of the table."""
        places = []
        for piece in column.pieces:
            places.append(self._reserve(len(piece.data)))
            self._fill(places[-1], piece.data)
        chunk_size = column.chunking.size(column.dtype)
        offset = self._reserve(table_size(len(places), chunk_size))
        self._fill(offset, table_of(offset, places, column.pieces, chunk_size))
        return offset

    def _fill(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes to the position just reserved for them."""
        if self._end == self._start:  # too large to buffer
            self._write_at(offset, memoryview(data))
        else:
            begin = offset - self._start
            self._values[begin : begin + len(data)] = data

    def _put_texts(self, values: list[bytes]) -> int:
        elements = self._heap.add(values)
        offset = self._reserve(elements.nbytes)
        self._texts.append((offset, elements))
        if self._end == self._start:
            self._write_values()
        return offset

    def _reserve(self, size: int) -> int:
        """Reserve a position for bytes, in the buffer if there is space."""
        if self._end + size > self._start + _VALUES_AT_A_TIME:
            self._write_values()
        offset = self._end
        self._end = aligned(offset + size)
        if size > _VALUES_AT_A_TIME:
            self._start = self._end
        return offset

    def _write_values(self) -> None:
        """Write the buffer; texts are written last, and their elements refer to them."""
        texts = self._heap.lay_out(self._end)
        for offset, elements in self._texts:
            if offset < self._start:  # too large to buffer
                self._write_at(offset, bytes_of(elements))
            else:
                begin = offset - self._start
                self._values[begin : begin + elements.nbytes] = bytes_of(elements)
        self._texts.clear()
        if self._end > self._start:
            self._write_at(self._start, self._values[: self._end - self._start])
        if texts:
            self._write_at(self._end, memoryview(texts))
        self._start = self._end = self._end + len(texts)

    def _write_objects(self) -> None:
        self._write_values()
        for (_, names, _), waiting in self._waiting.items():
            count = len(waiting.indices)
            self._write_objects_of(
                names,
                waiting,
                indices=np.array(waiting.indices, np.int64),
                total_steps=np.array(waiting.total_steps, np.int64),
                places=np.array(waiting.places, np.int64).reshape(count, -1),
                checksums=np.array(waiting.checksums, np.uint64).reshape(count, -1),
                attributes=[*zip(*waiting.attributes, strict=True)],
            )
        for (leaves, names), batches in self._waiting_batches.items():
            self._write_objects_of(
                names,
                _Waiting(template_of(leaves, names), leaves),
                indices=np.concatenate(batches.indices),
                total_steps=np.concatenate(batches.total_steps),
                places=np.concatenate(batches.places),
                checksums=np.concatenate(batches.checksums),
                attributes=[np.concatenate(values) for values in zip(*batches.attributes, strict=True)],
            )
        self._waiting.clear()
        self._waiting_batches.clear()
        self._waiting_episodes = 0

    def _write_objects_of(
        self,
        names: AttributeKinds,
        kinds: _Waiting,
        *,
        indices: npt.NDArray[np.int64],
        total_steps: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        checksums: npt.NDArray[np.uint64],
        attributes: Sequence[Sequence[Any] | npt.NDArray[Any]],
    ) -> None:
        """Write the objects of episodes of one kind, whose values have been written.

        Args:
            names: the kinds of their attributes.
            kinds: the template, the leaves, and what is only known of episodes that were added one by one.
            indices: the numbers of the episodes.
            total_steps: the numbers of their steps.
            places: for each episode the rows and the offset of each leaf.
            checksums: for each episode the checksum of each leaf.
            attributes: for each attribute the values of all episodes.
        """
        signed = checksums.view(np.int64)
        signed[signed == NO_CHECKSUM] = ~NO_CHECKSUM
        objects = kinds.template.fill(self._end, places[:, ::2], places[:, 1::2], attributes)
        self._write_at(self._end, bytes_of(objects))
        padding = bytes(-objects.nbytes % ALIGNMENT)
        if padding:
            self._write_at(self._end + objects.nbytes, memoryview(padding))
        headers = np.arange(len(objects), dtype=np.int64) * objects.itemsize + self._end + kinds.template.header
        self._start = self._end = self._end + objects.nbytes + len(padding)
        self._placed.append(
            PlacedEpisodes(
                schema=Schema(tuple(map(_place_of, kinds.leaves))),
                indices=indices,
                total_steps=total_steps,
                headers=headers,
                places=places,
                checksums=signed,
                metadata_checksums=_metadata_checksums(names, objects, kinds),
            )
        )

    def finish(self) -> tuple[list[PlacedEpisodes], int]:
        """Write the buffer; return the positions of all episodes and the end of the file."""
        self._write_objects()
        return self._placed, self._end


def template_of(leaves: LeafKinds, attributes: AttributeKinds, *, counted: bool = False) -> EpisodeTemplate:
    """Return the template for episodes with these leaves and attributes; see :func:`episode_template`.

    Raises:
        EpisodeError: HDF5 cannot represent such an episode.
        MetadataError: HDF5 cannot represent an attribute.
    """
    try:
        named = tuple([(to_hdf5_name(path), *kind) for path, *kind in leaves])
        return episode_template(named, attributes, counted=counted)
    except NoDatatype as error:
        raise EpisodeTypeError(f"{error}.") from None
    except NotWritable as error:
        if error.attribute is not None:
            raise MetadataError(
                f"The episode metadata {error.attribute!r} cannot be written as HDF5: {error}."
            ) from None
        what = "episode" if error.leaf is None else repr(path_name(leaves[error.leaf][0]))
        raise EpisodeError(f"The {what} cannot be written as HDF5; {error}.") from None


def _metadata_checksums(
    attributes: AttributeKinds, objects: npt.NDArray[Any], waiting: _Waiting
) -> npt.NDArray[np.int64]:
    """Return the checksums of the metadata of episodes with the same kinds of attributes."""
    texts = iter(np.array(waiting.texts, np.uint64).reshape(len(objects), -1).T)
    values = [
        next(texts) if isinstance(kind, str) else objects[f"attribute {number}"]
        for number, (_, kind, _) in enumerate(attributes)
    ]
    if not waiting.metadata_checksums:
        return metadata_checksums(attributes, values)
    known = np.array(waiting.metadata_checksums, np.int64)
    return np.where(known == NO_CHECKSUM, metadata_checksums(attributes, values), known)


def _checksums_of(column: Column, bounds: npt.NDArray[np.int64]) -> list[int]:
    """Return the unsigned checksums of consecutive parts of a column of numbers."""
    data, row_size = bytes_of(column), column.dtype.itemsize * math.prod(column.shape[1:])
    rows, ends = np.diff(bounds).tolist(), (bounds * row_size).tolist()
    seeds = {count: seed_of(column.dtype, (count, *column.shape[1:]))[0] for count in set(rows)}
    return [
        bytes_checksum(data[begin:end], seeds[count])
        for begin, end, count in zip(ends[:-1], ends[1:], rows, strict=True)
    ]


class _Codecs(dict[ColumnPath, "Codec | None"]):
    """Cache of the codec of each column."""

    def __init__(self, codec_for: Callable[[ColumnPath], Codec | None]) -> None:
        super().__init__()
        self._codec_for = codec_for

    def __missing__(self, path: ColumnPath) -> Codec | None:
        self[path] = codec = self._codec_for(path)
        return codec


def bytes_of(array: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of an array, without a copy if it is contiguous."""
    try:
        return array.data.cast("B")
    except (TypeError, ValueError):  # empty, not contiguous, or with a dtype that only NumPy has
        flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return memoryview(flat)


def _as_elements(column: Column, path: ColumnPath) -> tuple[Kind, Column, Column]:
    """Return the stored form of texts and byte strings, as they are read.

    Texts are stored as their bytes. Frames of one length are stored as a matrix. Byte strings in infos are
    stored as ASCII texts, as other programs store and read them, unless they contain zeros, which would
    terminate such a text.
    """
    if len(column) == 0 or isinstance(column[0], str):
        return TEXT, object_column([text.encode() for text in column]), object_column(list(map(str.__str__, column)))
    if has_no_space(path):
        return BYTES if any(b"\0" in value for value in column) else BYTES_AS_TEXT, column, column
    if len({len(row) for row in column}) == 1:
        matrix = np.stack([np.frombuffer(row, np.uint8) for row in column])
        return np.dtype(np.uint8), matrix, matrix
    return BYTES, column, column


def _place_of(leaf: tuple[Any, Kind, tuple[int, ...], Chunking | None]) -> LeafPlace:
    path, kind, shape, chunking = leaf
    if isinstance(kind, str) or kind.kind not in "biufc":
        return LeafPlace(path, None, ())
    if chunking is None:
        return LeafPlace(path, kind, shape)
    return LeafPlace(path, kind, shape, chunking.shape, filters=chunking.filters)
