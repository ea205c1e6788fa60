"""Conversion of episodes to Arrow tables and back: the columns and their types.

The table of an episode of T steps has T+1 rows and the columns ``observations``, ``actions``, ``rewards``,
``terminations``, ``truncations`` and, if there are any, ``infos``. Columns of T values are padded with one
more row. A ``Dict`` is a struct with its keys, a ``Tuple`` a struct with ``"0"``, ``"1"``, ...; a dict in the
infos whose keys look like that has the field metadata ``kind`` = ``"dict"``. Scalar numbers are plain, except
that those of a ``Box`` without dimensions are lists of one; arrays are flattened lists of fixed size.

Field metadata records what the Arrow type does not: ``shape``, that of one row, as ``"d1,d2"``, and
``dtype``, the original NumPy type of the values. A column can thus be stored with the type of its neighbors
(a ``Discrete`` as int64, rewards as float64) if that represents every value. Complex numbers are stored as
two real ones, in an additional dimension.

Values that do not have one row per step (the elements of a ``Sequence``, arrays whose shape changes), and
arrays without elements, are in one more column, ``ragged``: a struct nested like the table itself. Its fields
are lists; the first row has the whole column and all others are empty. Arrays without elements are nulls
there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute

from minari._base.plain_values import numeric_dtype
from minari._storages.arrow.templates import Values
from minari.spaces import Column, Columns, EpisodeColumns, Leaf, Path, SpaceCodec
from minari.spaces.codecs import DictCodec, TupleCodec
from minari.spaces.ragged import GraphCodec, OneOfCodec, SequenceCodec


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

# The first conversions import `pyarrow.compute` and, if installed, pandas. Done here, this is part of the
# import of this module, which a fork waits for (see `minari._base.lazy`); later, a forked child might hang.
for _first in (np.zeros(1, np.bool_), [""]):
    pa.array(_first).to_numpy(zero_copy_only=False)

#: An Arrow array, and the metadata of its field.
_Part: TypeAlias = tuple[Any, dict[str, str]]


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """An array of a table that is not a struct.

    Attributes:
        path: path of its column.
        metadata: metadata of its field.
        array: array with all rows of the table.
    """

    path: Path
    metadata: dict[bytes, bytes]
    array: Any


class TableLayout:
    """Converter between the columns of episodes and tables.

    Args:
        codecs: codecs of the observation space and of the action space.
    """

    def __init__(self, codecs: Iterable[SpaceCodec]) -> None:
        codecs = tuple(codecs)
        self._leaves = {leaf.path: leaf for codec in codecs for leaf in codec.leaves()}
        self._paths = {tuple(map(str, path)): path for codec in codecs for path in codec.paths()}
        self._elements = {path for codec in codecs for path in _paths_of_elements(codec)}

    # Columns into a table

    def encode(self, episode: EpisodeColumns, like: Any = None) -> Any:
        """Return the table of an episode.

        Args:
            episode: the episode.
            like: the schema of another episode of the dataset. The fields are put in its order, and take its
                types if these represent the values, since other programs read the tables of all episodes as
                one.
        """
        rows = episode.total_steps + 1
        tree: dict[str | int, Any] = {}
        for path, column in episode.columns.items():
            *parents, name = path if self._has_rows(path, column, rows) else (RAGGED, *path)
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = column
        model = None if like is None else pa.struct(list(like))
        names = [name for name in (*FIELDS, RAGGED) if name in tree]
        parts = [self._encode((name,), tree[name], rows, _child(model, name)) for name in names]
        return pa.Table.from_arrays([array for array, _ in parts], schema=pa.schema(_fields(names, parts)))

    def _has_rows(self, path: Path, column: Column, rows: int) -> bool:
        """Return whether a column has elements, and one row of them for each step."""
        is_ragged = path in self._elements or (path[0] == "infos" and path[-1] == _RAGGED_INFO)
        count = rows if path[0] in _WITH_FIRST_ROW else rows - 1
        return not is_ragged and len(column) == count and 0 not in column.shape[1:]

    def _encode(self, place: Path, node: Any, rows: int, like: Any) -> _Part:
        if not isinstance(node, dict):
            return _whole(node, rows) if place[0] == RAGGED else self._by_row(place, node, rows, like)
        names = sorted(node)
        if like is not None and pa.types.is_struct(like):
            names.sort(key=lambda name: like.get_field_index(str(name)) % (like.num_fields + 1))  # new ones last
        parts = [self._encode((*place, name), node[name], rows, _child(like, name)) for name in names]
        struct = pa.StructArray.from_arrays([array for array, _ in parts], fields=_fields(names, parts))
        is_ambiguous = isinstance(names[0], str) and _are_positions(names)
        return struct, {"kind": "dict"} if is_ambiguous else {}

    def _by_row(self, path: Path, column: Column, rows: int, like: Any) -> _Part:
        missing = rows - len(column)
        if column.dtype == object:
            return _objects([*column, *[None] * missing]), {}
        leaf = self._leaves.get(path)
        stored = _stored(column, _dtype_of(like) or _usual_dtype(path, leaf))
        if missing:
            stored = np.concatenate([stored, np.zeros((missing, *stored.shape[1:]), stored.dtype)])
        is_box = leaf is not None and leaf.low is not None
        as_lists = is_box or stored.ndim > 1 or (like is not None and pa.types.is_fixed_size_list(like))
        return _numbers(stored, column.dtype, as_lists)

    # A table into columns

    def leaves(self, table: Any) -> list[StoredLeaf]:
        """Return the arrays of a table that are not structs, in the order of the files.

        Raises:
            ValueError: an array is split because it is too large, or a struct is missing.
        """
        leaves: list[StoredLeaf] = []
        for field, chunks in zip(table.schema, table.columns, strict=True):
            array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
            if field.name == RAGGED and not pa.types.is_struct(array.type):
                raise ValueError(f"the column {RAGGED!r} is of the type {array.type}, expected a struct")
            place: Path = () if field.name == RAGGED else (field.name,)
            leaves += self._leaves_below(place, field, array)
        return leaves

    def _leaves_below(self, place: Path, field: Any, array: Any) -> Iterator[StoredLeaf]:
        if not pa.types.is_struct(array.type):
            yield StoredLeaf(self._paths.get(tuple(map(str, place)), place), field.metadata or {}, array)
            return
        metadata = field.metadata or {}
        fields = [array.type[i] for i in range(array.type.num_fields)]
        is_tuple = metadata.get(b"kind") != b"dict" and _are_positions([child.name for child in fields])
        for i, child in enumerate(fields):
            name = int(child.name) if is_tuple else child.name
            yield from self._leaves_below((*place, name), child, array.field(i))

    def decode(self, leaves: Iterable[StoredLeaf]) -> dict[Path, Column]:
        """Return the columns of an episode, as views of the table if its values are stored unchanged.

        Views of a file are read-only; the memory of writable columns is not shared.

        Args:
            leaves: leaves of a table that was checked completely.

        Raises:
            ValueError, TypeError: the shape or type of the values is not the expected one.
        """
        columns: dict[Path, Column] = {}
        for leaf in leaves:
            array = leaf.array
            if _is_list(array.type):
                array = array.flatten()
            elif leaf.path[0] not in _WITH_FIRST_ROW:
                array = array.slice(0, len(array) - 1)
            columns[leaf.path] = _column(leaf.metadata, array, self._leaves.get(leaf.path))
        return columns


def values_of(
    leaves: Sequence[StoredLeaf], columns: Columns, places: Sequence[tuple[int, np.dtype[Any] | None]]
) -> list[Values]:
    """Return the positions of the values of leaves in a file for which :func:`are_plain` is true.

    Args:
        leaves: leaves of the table.
        columns: their columns.
        places: positions of their values, and their type in the file if it differs from the table.
    """
    values = []
    for leaf, (offset, stored) in zip(leaves, places, strict=True):
        column, dtype = columns[leaf.path], _dtype_of(leaf.array.type) if stored is None else stored
        if dtype is not None:
            shape = (len(leaf.array), *column.shape[1:])
            values.append(Values(leaf.path, offset, shape, dtype, len(column), column.dtype))
    return values


def are_plain(leaves: Iterable[StoredLeaf], columns: Columns) -> bool:
    """Return whether every leaf consists of numbers, as many in each row, in a type that NumPy shares with Arrow."""
    return all(
        _dtype_of(leaf.array.type) is not None and _base(columns[leaf.path].dtype) == columns[leaf.path].dtype
        for leaf in leaves
    )


def _paths_of_elements(codec: SpaceCodec) -> Iterator[Path]:
    """Return the columns below a space whose values differ in size, except those with counts."""
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


def _child(like: Any, name: str | int) -> Any:
    """Return the type of a field of a struct type, None if there is none."""
    if like is None or not pa.types.is_struct(like):
        return None
    position = like.get_field_index(str(name))
    return None if position < 0 else like[position].type


def _fields(names: Iterable[str | int], parts: Iterable[_Part]) -> list[Any]:
    return [
        pa.field(str(name), array.type, metadata=metadata or None)
        for name, (array, metadata) in zip(names, parts, strict=True)
    ]


# Types: of the values, of Arrow, and of other episodes.


def _base(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that Arrow stores for a NumPy type: the type itself, or one that it can be viewed as."""
    if dtype.kind == "c" and dtype.itemsize <= 16:
        return np.dtype(f"f{dtype.itemsize // 2}")
    return np.dtype(np.uint8) if dtype.itemsize > 8 else dtype  # extended precision differs between systems


def _usual_dtype(path: Path, leaf: Leaf | None) -> np.dtype[Any] | None:
    """Return the type with which other programs store this column."""
    if leaf is not None:
        is_discrete = leaf.low is None and not leaf.shape and leaf.dtype.kind in "iu"
        return np.dtype(np.int64) if is_discrete else leaf.dtype
    return np.dtype(np.float64) if path == ("rewards",) else None


def _dtype_of(arrow_type: Any) -> np.dtype[Any] | None:
    if arrow_type is not None and pa.types.is_fixed_size_list(arrow_type):
        arrow_type = arrow_type.value_type
    return None if arrow_type is None else _DTYPES.get(arrow_type.id)


def _stored(column: Column, wanted: np.dtype[Any] | None) -> Column:
    """Return the column with a type that Arrow supports, if possible the requested one."""
    column = np.ascontiguousarray(column, column.dtype.newbyteorder("="))
    base = _base(column.dtype)
    if base != column.dtype:
        return column.reshape(*column.shape, 1).view(base)
    return column if wanted is None or not _holds(wanted, column) else column.astype(wanted, copy=False)


def _holds(dtype: np.dtype[Any], column: Column) -> bool:
    """Return whether that type can represent every value of the column."""
    if column.dtype.kind in "iu" and dtype.kind in "iuf":
        most = 2 ** (np.finfo(dtype).nmant + 1) if dtype.kind == "f" else np.iinfo(dtype).max
        least = -most if dtype.kind == "f" else np.iinfo(dtype).min
        return bool(least <= column.min() and column.max() <= most)
    return np.can_cast(column.dtype, dtype)


# Arrow arrays of columns.


def _numbers(stored: Column, dtype: np.dtype[Any], as_lists: bool) -> _Part:
    metadata = {"dtype": dtype.name}
    values = pa.array(stored.reshape(-1))
    if not as_lists:
        return values, metadata
    shape = stored.shape[1:]
    metadata["shape"] = ",".join(map(str, shape))
    return pa.FixedSizeListArray.from_arrays(values, math.prod(shape)), metadata


def _objects(values: list[Any]) -> Any:
    """Return text or byte strings; None for missing ones."""
    given = [value for value in values if value is not None]
    size = sum(map(len, given))
    if given and isinstance(given[0], bytes):
        return pa.array(values, pa.binary() if size <= _MOST_ELEMENTS else pa.large_binary())
    return pa.array(values, pa.string() if 4 * size <= _MOST_ELEMENTS else pa.large_string())


def _whole(column: Column, rows: int) -> _Part:
    """Return a list with the whole column in its first row."""
    if column.dtype == object:
        values, metadata = _objects(column.tolist()), {}
    elif 0 in column.shape[1:]:
        values = pa.nulls(len(column))
        metadata = {"dtype": column.dtype.name, "shape": ",".join(map(str, column.shape[1:]))}
    else:
        stored = _stored(column, None)
        values, metadata = _numbers(stored, column.dtype, as_lists=stored.ndim > 1)
    offsets = np.full(rows + 1, len(values), np.int64)
    offsets[0] = 0
    if len(values) > _MOST_ELEMENTS:
        return pa.LargeListArray.from_arrays(pa.array(offsets), values), metadata
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values), metadata


# Conversion of Arrow arrays to columns


def _column(metadata: dict[bytes, bytes], array: Any, leaf: Leaf | None) -> Column:
    if _is_text_or_bytes(array.type):
        texts: Column = array.to_numpy(zero_copy_only=False)
        return texts
    dtype = numeric_dtype(metadata[b"dtype"].decode()) if b"dtype" in metadata else None
    if pa.types.is_null(array.type):
        return _empty(array, _shape(metadata.get(b"shape", b""), 0), dtype)
    values = array
    shape: tuple[int, ...] = ()
    if pa.types.is_fixed_size_list(array.type):
        size, values = array.type.list_size, array.flatten()
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


def _empty(array: Any, shape: tuple[int, ...], dtype: np.dtype[Any] | None) -> Column:
    """Return the column of nulls: arrays without elements, or, for an info of other programs, None in each step."""
    if 0 in shape and dtype is not None:
        return np.empty((len(array), *shape), dtype)
    return np.full(len(array), None, object)


def _values(array: Any) -> Column:
    """Return the values of an array that is not nested, as a view if possible."""
    dtype = _dtype_of(array.type)
    if dtype is None or dtype.kind == "b" or array.null_count or not len(array):
        values: Column = array.to_numpy(zero_copy_only=False)
        return values
    return np.frombuffer(array.buffers()[-1], dtype, len(array), array.offset * dtype.itemsize)


def _is_list(arrow_type: Any) -> bool:
    return bool(pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type))


def _is_text_or_bytes(arrow_type: Any) -> bool:
    types = pa.types
    return bool(
        types.is_string(arrow_type)
        or types.is_large_string(arrow_type)
        or types.is_binary(arrow_type)
        or types.is_large_binary(arrow_type)
    )


def _shape(text: bytes, size: int) -> tuple[int, ...]:
    """Return the shape of a row of that many numbers: as text, or, in 0.5.0 and 0.5.1, one byte per dimension."""
    try:
        shape = tuple(int(length) for length in text.split(b",") if length)
    except ValueError:
        return tuple(text)
    return shape if math.prod(shape) == size else tuple(text)
