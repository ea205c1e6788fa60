"""Layout of an episode as an Arrow table.

The table of an episode of T steps has T+1 rows and the columns ``observations``, ``actions``,
``rewards``, ``terminations``, ``truncations`` and, where there are any, ``infos``. Columns with T values
are padded with one more row. A ``Dict`` is a struct with its keys, a ``Tuple`` a struct with ``"0"``,
``"1"``, ...; a dict among the infos whose keys look like that carries the field metadata ``kind`` =
``"dict"``. A column with one number a step is plain, except that of a ``Box`` without dimensions, which
is lists of one; arrays are lists of fixed size, flattened.

Field metadata says what the Arrow type does not: ``shape``, that of one row, as ``"d1,d2"``, and
``dtype``, the NumPy name of the type of the values. With them, a binary column of fixed size has an array of
bytes in each row, as Parquet stores frames. So a column may be stored with the type that
its neighbors have (a ``Discrete`` as int64, rewards as float64) if that holds every value. Complex
numbers are stored as two real ones, in one more dimension.

Columns without a row for each step (the elements of a ``Sequence``, arrays that change in shape) and
arrays without elements are in one more column, ``ragged``: a struct nested like the table itself. All columns of
many agents are there, below ``agents`` and the name of each, the global state below ``state``, and the frames of
stacks below ``frames``.
Its fields are lists, of which the first row has the whole column and all others are empty. Arrays
without elements are nulls there.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from minari._base.lazy import LazyModule
from minari._base.plain_values import numeric_dtype
from minari._storages.arrow.library import Array, DataType, Field, Schema, Table, pa
from minari._storages.arrow.templates import Values
from minari.spaces import (
    ANY_ROWS,
    FRAMES,
    Column,
    ColumnPath,
    Columns,
    EpisodeColumns,
    Leaf,
    SpaceCodec,
    object_column,
)
from minari.spaces.codecs import DictCodec, TupleCodec
from minari.spaces.ragged import GraphCodec, OneOfCodec, SequenceCodec


if TYPE_CHECKING:
    from minari._storages.arrow import conversions as conversions
else:
    conversions = LazyModule("minari._storages.arrow.conversions")  # for values that are rarely stored

FIELDS: Final = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
RAGGED: Final = "ragged"

_WITH_FIRST_ROW = ("observations", "infos")  # T+1 rows
_RAGGED_INFO = "_ragged_values"  # all elements of an info whose shape changes
_MOST_ELEMENTS = 2**31 - 1  # of a list, and bytes of text, with Arrow's default offsets

#: NumPy numeric types by the id of the Arrow type.
_DTYPES: Final = {
    pa.from_numpy_dtype(name).id: np.dtype(name)
    for name in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}

#: An array, and the metadata of its field.
_Part: TypeAlias = tuple[Array, dict[str, str]]


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """An array of a table that is not a struct.

    Attributes:
        path: path of its column.
        metadata: metadata of its field.
        array: array with all rows of the table.
    """

    path: ColumnPath
    metadata: dict[bytes, bytes]
    array: Array


class TableLayout:
    """Columns of episodes <-> tables.

    Args:
        codecs: codecs of the observation space and of the action space.
        frames: the paths of columns of bytes of which each row is one binary value.
    """

    def __init__(self, codecs: Iterable[SpaceCodec], frames: Container[ColumnPath] = ()) -> None:
        self._frames = frames
        codecs = tuple(codecs)
        self._leaves = {leaf.path: leaf for codec in codecs for leaf in codec.leaves()}
        paths = [path for codec in codecs for path in codec.paths()]
        self._paths = {tuple(map(str, path)): path for path in (*paths, *((FRAMES, *path) for path in paths))}
        self._elements = {path for codec in codecs for path in _paths_of_elements(codec)}

    # Columns into a table

    def encode(self, episode: EpisodeColumns, like: Schema = None) -> Table:
        """Return the table of an episode.

        Args:
            episode: the episode.
            like: the schema of another episode of the dataset. The fields take its order, and its types
                if these hold the values, since other programs read the tables of all episodes as one.
        """
        rows = episode.total_steps + 1
        tree: dict[str | int, Any] = {}
        for path, column in episode.columns.items():
            is_ragged = (
                path in self._elements or path[0] in ANY_ROWS or (path[0] == "infos" and path[-1] == _RAGGED_INFO)
            )
            count = rows if path[0] in _WITH_FIRST_ROW else rows - 1
            has_rows = not is_ragged and len(column) == count and 0 not in column.shape[1:]
            *parents, name = path if has_rows else (RAGGED, *path)
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = column
        model = None if like is None else pa.struct(list(like))
        names = [name for name in (*FIELDS, RAGGED) if name in tree]
        parts = [self._encode((name,), tree[name], rows, _child(model, name)) for name in names]
        return pa.Table.from_arrays([array for array, _ in parts], schema=pa.schema(_fields(names, parts)))

    def _encode(self, place: ColumnPath, node: Any, rows: int, like: DataType) -> _Part:
        if not isinstance(node, dict):
            if place[0] == RAGGED:
                return _whole(node, rows, as_bytes=place[1:] in self._frames)
            return self._by_row(place, node, rows, like)
        names = sorted(node)
        if like is not None and pa.types.is_struct(like):
            names.sort(key=lambda name: like.get_field_index(str(name)) % (like.num_fields + 1))  # new ones last
        parts = [self._encode((*place, name), node[name], rows, _child(like, name)) for name in names]
        struct = pa.StructArray.from_arrays([array for array, _ in parts], fields=_fields(names, parts))
        is_ambiguous = isinstance(names[0], str) and _are_positions(names)
        return struct, {"kind": "dict"} if is_ambiguous else {}

    def _by_row(self, path: ColumnPath, column: Column, rows: int, like: DataType) -> _Part:
        missing = rows - len(column)
        if column.dtype == object:
            return _objects([*column, *[None] * missing]), {}
        leaf = self._leaves.get(path)
        is_box = leaf is not None and leaf.low is not None
        dtype = leaf.dtype if leaf is not None else None  # with which other programs store this column
        if path == ("rewards",):
            dtype = np.dtype(np.float64)
        elif leaf is not None and not is_box and not leaf.shape and leaf.dtype.kind in "iu":
            dtype = np.dtype(np.int64)
        stored = _stored(column, _dtype_of(like) or dtype)
        if missing:
            stored = np.concatenate([stored, np.zeros((missing, *stored.shape[1:]), stored.dtype)])
        if path in self._frames and _are_bytes(stored):
            return _byte_strings(stored)
        as_lists = is_box or stored.ndim > 1 or (like is not None and pa.types.is_fixed_size_list(like))
        return _numbers(stored, column.dtype, as_lists)

    # A table into columns

    def leaves(self, table: Table) -> list[StoredLeaf]:
        """Return the arrays of a table that are not structs, in the order of the files.

        Raises:
            ValueError: an array is in pieces that are too big for one, or a struct is missing.
        """
        leaves: list[StoredLeaf] = []
        for field, column in zip(table.schema, table.columns, strict=True):
            if field.name == RAGGED and not pa.types.is_struct(field.type):
                raise ValueError(f"the column {RAGGED!r} is of the type {field.type}, expected a struct")
            place: ColumnPath = () if field.name == RAGGED else (field.name,)
            leaves += self._leaves_below(place, field, column.chunks)
        return leaves

    def _leaves_below(self, place: ColumnPath, field: Field, chunks: list[Array]) -> Iterator[StoredLeaf]:
        if not pa.types.is_struct(field.type):
            array = chunks[0] if len(chunks) == 1 else _in_one_piece(field.type, chunks)
            yield StoredLeaf(self._paths.get(tuple(map(str, place)), place), field.metadata or {}, array)
            return
        metadata = field.metadata or {}
        fields = [field.type[i] for i in range(field.type.num_fields)]
        is_tuple = metadata.get(b"kind") != b"dict" and _are_positions([child.name for child in fields])
        for i, child in enumerate(fields):
            name = int(child.name) if is_tuple else child.name
            yield from self._leaves_below((*place, name), child, [chunk.field(i) for chunk in chunks])

    def decode(self, leaves: Iterable[StoredLeaf]) -> dict[ColumnPath, Column]:
        """Return the columns of an episode, as views of the table if its values are stored as they are.

        A view of a file is not writable; nothing else refers to the memory of a writable column.

        Args:
            leaves: of a table that has been validated in full.

        Raises:
            ValueError, TypeError: the shape or type of the values is not the expected one.
        """
        columns: dict[ColumnPath, Column] = {}
        for leaf in leaves:
            array = leaf.array
            if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
                array = _flattened(array)
            elif leaf.path[0] not in _WITH_FIRST_ROW:
                array = array.slice(0, len(array) - 1)
            columns[leaf.path] = _column(leaf.metadata, array, self._leaves.get(leaf.path))
        return columns


def values_of(
    leaves: Sequence[StoredLeaf], columns: Columns, places: Sequence[tuple[int, np.dtype[Any] | None]]
) -> list[Values]:
    """Return the places of the values of leaves for which :func:`are_plain` holds.

    Args:
        leaves: of the table.
        columns: that they hold.
        places: where their values begin, and their type in the file if it differs from that in the table.
    """
    values = []
    for leaf, (offset, stored) in zip(leaves, places, strict=True):
        column, dtype = columns[leaf.path], _dtype_of(leaf.array.type) if stored is None else stored
        if dtype is not None:
            shape = (len(leaf.array), *column.shape[1:])
            values.append(Values(leaf.path, offset, shape, dtype, len(column), column.dtype))
    return values


def are_plain(leaves: Iterable[StoredLeaf], columns: Columns) -> bool:
    """Return whether every leaf has the same number of numbers in each row, of types that NumPy has too."""
    return all(
        _dtype_of(leaf.array.type) is not None and _base(columns[leaf.path].dtype) == columns[leaf.path].dtype
        for leaf in leaves
    )


def _paths_of_elements(codec: SpaceCodec) -> Iterator[ColumnPath]:
    """Yield the columns of the elements of spaces whose values differ in size."""
    if isinstance(codec, DictCodec | TupleCodec):
        parts: Iterable[SpaceCodec] = codec.codecs.values() if isinstance(codec, DictCodec) else codec.codecs
        for part in parts:
            yield from _paths_of_elements(part)
    elif isinstance(codec, SequenceCodec):
        yield from codec.element.paths()
    elif isinstance(codec, GraphCodec | OneOfCodec):
        for part in codec.codecs.values() if isinstance(codec, GraphCodec) else codec.options:
            yield from part.paths()


def _are_positions(names: list[Any]) -> bool:
    return bool(names) and set(names) == set(map(str, range(len(names))))


def _child(like: DataType, name: str | int) -> DataType:
    """Return the type of a field of a struct type; None without either."""
    if like is None or not pa.types.is_struct(like):
        return None
    position = like.get_field_index(str(name))
    return None if position < 0 else like[position].type


def _fields(names: Iterable[str | int], parts: Iterable[_Part]) -> list[Field]:
    return [
        pa.field(str(name), array.type, metadata=metadata or None)
        for name, (array, metadata) in zip(names, parts, strict=True)
    ]


# Types of values, of Arrow, and of other episodes.


def _base(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type that Arrow has: the NumPy type itself, or one that it can be viewed as several of."""
    if dtype.kind == "c" and dtype.itemsize <= 16:
        return np.dtype(f"f{dtype.itemsize // 2}")
    return np.dtype(np.uint8) if dtype.itemsize > 8 else dtype  # extended precision differs between systems


def _dtype_of(arrow_type: DataType) -> np.dtype[Any] | None:
    if arrow_type is not None and pa.types.is_fixed_size_list(arrow_type):
        arrow_type = arrow_type.value_type
    return None if arrow_type is None else _DTYPES.get(arrow_type.id)


def _stored(column: Column, wanted: np.dtype[Any] | None) -> Column:
    """Return the column with a type that Arrow has, if possible the one wanted."""
    column = np.ascontiguousarray(column, column.dtype.newbyteorder("="))
    base = _base(column.dtype)
    if base != column.dtype:
        return column.reshape(*column.shape, 1).view(base)
    return column if wanted is None or not _holds(wanted, column) else column.astype(wanted, copy=False)


def _holds(dtype: np.dtype[Any], column: Column) -> bool:
    """Return whether a type holds every value of the column."""
    if column.dtype.kind in "iu" and dtype.kind in "iuf":
        most = 2 ** (np.finfo(dtype).nmant + 1) if dtype.kind == "f" else np.iinfo(dtype).max
        least = -most if dtype.kind == "f" else np.iinfo(dtype).min
        return bool(least <= column.min() and column.max() <= most)
    return np.can_cast(column.dtype, dtype)


# Arrow arrays of columns.


def _numbers(stored: Column, dtype: np.dtype[Any], as_lists: bool) -> _Part:
    metadata = {"dtype": dtype.name}
    values = _plain(stored.reshape(-1))
    if not as_lists:
        return values, metadata
    shape = stored.shape[1:]
    metadata["shape"] = ",".join(map(str, shape))
    return pa.FixedSizeListArray.from_arrays(values, math.prod(shape)), metadata


def _are_bytes(column: Column) -> bool:
    return column.dtype == np.uint8 and 0 < math.prod(column.shape[1:]) <= _MOST_ELEMENTS


def _byte_strings(stored: Column) -> _Part:
    """Return an array of binary values, one for each row of bytes."""
    size = math.prod(stored.shape[1:])
    values = pa.Array.from_buffers(pa.binary(size), len(stored), [None, pa.py_buffer(stored.reshape(-1))])
    return values, {"dtype": stored.dtype.name, "shape": ",".join(map(str, stored.shape[1:]))}


def _plain(values: Column) -> Array:
    """Return an array of numbers in the memory of a one-dimensional column, if that has them as Arrow does."""
    data = np.packbits(values, bitorder="little") if values.dtype.kind == "b" else values
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(data)])


def _objects(values: list[Any]) -> Array:
    """Return an array of text or byte strings, with nulls for None."""
    is_given = np.array([value is not None for value in values], bool)
    is_bytes = bool(is_given.any()) and isinstance(values[int(is_given.argmax())], bytes)
    parts = [b"" if value is None else value if is_bytes else value.encode() for value in values]
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    is_large = int(offsets[-1]) > _MOST_ELEMENTS
    kind = (
        (pa.large_binary() if is_large else pa.binary())
        if is_bytes
        else (pa.large_string() if is_large else pa.string())
    )
    validity = None if is_given.all() else pa.py_buffer(np.packbits(is_given, bitorder="little"))
    places = pa.py_buffer(offsets if is_large else offsets.astype(np.int32))
    return pa.Array.from_buffers(kind, len(parts), [validity, places, pa.py_buffer(b"".join(parts))])


def _whole(column: Column, rows: int, as_bytes: bool) -> _Part:
    """Return an array of lists, of which the first has the whole column, each row as one binary value if requested."""
    if column.dtype == object:
        values, metadata = _objects(column.tolist()), {}
    elif 0 in column.shape[1:]:
        values = pa.nulls(len(column))
        metadata = {"dtype": column.dtype.name, "shape": ",".join(map(str, column.shape[1:]))}
    elif as_bytes and _are_bytes(column):
        values, metadata = _byte_strings(np.ascontiguousarray(column))
    else:
        stored = _stored(column, None)
        values, metadata = _numbers(stored, column.dtype, as_lists=stored.ndim > 1)
    offsets = np.full(rows + 1, len(values), np.int64)
    offsets[0] = 0
    if len(values) > _MOST_ELEMENTS:
        return pa.LargeListArray.from_arrays(_plain(offsets), values), metadata
    return pa.ListArray.from_arrays(_plain(offsets.astype(np.int32)), values), metadata


# Conversion of Arrow arrays to columns


def _in_one_piece(arrow_type: DataType, chunks: list[Array]) -> Array:
    """Return the elements of several arrays as one array, in new memory that may be written to."""
    dtype, is_list = _dtype_of(arrow_type), pa.types.is_fixed_size_list(arrow_type)
    parts = [_flattened(chunk) for chunk in chunks] if is_list else chunks
    if dtype is None or dtype.kind == "b" or any(one.null_count for one in (*chunks, *parts)):
        return pa.chunked_array(chunks, arrow_type).combine_chunks()
    values = _plain(np.concatenate([np.empty(0, dtype), *map(_values, parts)]))
    return pa.FixedSizeListArray.from_arrays(values, arrow_type.list_size) if is_list else values


def _column(metadata: dict[bytes, bytes], array: Array, leaf: Leaf | None) -> Column:
    if _is_text_or_bytes(array.type):
        return _texts(array)
    dtype = numeric_dtype(metadata[b"dtype"].decode()) if b"dtype" in metadata else None
    if pa.types.is_null(array.type):
        shape = _shape(metadata.get(b"shape", b""), 0)
        has_no_elements = 0 in shape and dtype is not None  # otherwise infos of other programs, None in each step
        return np.empty((len(array), *shape), dtype) if has_no_elements else np.full(len(array), None, object)
    if dtype is not None and pa.types.is_fixed_size_binary(array.type):
        return _bytes_of(array, dtype, metadata.get(b"shape", b""))
    values, shape = array, ()
    if pa.types.is_fixed_size_list(array.type):
        size, values = array.type.list_size, _flattened(array)
        shape = _shape(metadata[b"shape"], size) if b"shape" in metadata else leaf.shape if leaf else (size,)
    elif dtype is None and leaf is not None:
        dtype = leaf.dtype  # the first releases stored a Discrete as int32, whatever its type
    if pa.types.is_nested(values.type) or (values.null_count and (dtype is not None or leaf is not None)):
        raise ValueError(f"a column of the type {array.type} has {values.null_count} nulls, expected numbers")
    numbers = _values(values).reshape(len(array), *shape)
    if dtype is None or numbers.dtype == dtype:
        return numbers
    if _base(dtype) != dtype:
        return numbers.view(dtype).reshape(numbers.shape[:-1])
    return numbers.astype(dtype)


def _bytes_of(array: Array, dtype: np.dtype[Any], shape: bytes) -> Column:
    """Return the numbers in binary values of one size, each of which is a row of a shape."""
    size = array.type.byte_width
    sizes = _shape(shape, size)
    if dtype != np.uint8 or array.null_count or math.prod(sizes) != size:
        raise ValueError(f"a column of the type {array.type} has {array.null_count} nulls, expected bytes of a shape")
    if not len(array):
        return np.empty((0, *sizes), dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array) * size, array.offset * size).reshape(-1, *sizes)


def _flattened(array: Array) -> Array:
    """Return the elements of all lists, one after the other.

    ``flatten`` would call a compute function of Arrow. The registry of these has a lock, and a child that is forked
    while another thread holds it would wait forever.
    """
    if array.null_count:
        return array.flatten()
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return array.values.slice(array.offset * size, len(array) * size)
    if not len(array):
        return array.values.slice(0, 0)
    start, stop = (array.offsets[place].as_py() for place in (0, len(array)))
    return array.values.slice(start, stop - start)


def _values(array: Array) -> Column:
    """Return the values of an array that is not nested, in its own memory if possible."""
    dtype = _dtype_of(array.type)
    if dtype is None or array.null_count:
        return conversions.as_numpy(array)
    if not len(array):
        return np.empty(0, dtype)
    data = array.buffers()[-1]
    if dtype.kind == "b":
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=array.offset + len(array), bitorder="little")
        return bits[array.offset :].view(np.bool_)
    return np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)


def _texts(array: Array) -> Column:
    """Return the values of an array of text or byte strings, with None for nulls."""
    if array.null_count:
        return conversions.as_numpy(array)
    if not len(array):
        return np.empty(0, object)
    _, places, data = array.buffers()
    is_large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    offset = np.int64 if is_large else np.int32
    ends: list[int] = np.frombuffer(places, offset, array.offset + len(array) + 1)[array.offset :].tolist()
    content = b"" if data is None else memoryview(data)[ends[0] : ends[-1]].tobytes()
    parts: list[Any] = [content[begin - ends[0] : end - ends[0]] for begin, end in pairwise(ends)]
    is_text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    return object_column([part.decode() for part in parts] if is_text else parts)


def _is_text_or_bytes(arrow_type: DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(arrow_type)
        or types.is_large_string(arrow_type)
        or types.is_binary(arrow_type)
        or types.is_large_binary(arrow_type)
    )


def _shape(text: bytes, size: int) -> tuple[int, ...]:
    """Return the shape of a row of that many numbers: text, or, in 0.5.0 and 0.5.1, one byte a dimension."""
    try:
        shape = tuple(int(length) for length in text.split(b",") if length)
    except ValueError:
        return tuple(text)
    return shape if math.prod(shape) == size else tuple(text)
