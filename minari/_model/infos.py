"""Conversion between info dicts of any shape and columns.

Infos have no space, so the values determine how they are stored:

- numbers and arrays of one shape become an array with one row per step, strings become text, bytes byte
  strings, a dict becomes a group, and so does a key with slashes: ``a/b`` is the same as ``b`` in a dict
  ``a``, unless there is an ``a`` that is not a dict;
- dates, fixed-size bytes and structures become one column below the key, named ``_dtype=`` and the name of
  the dtype: dates as integers, the others as their bytes;
- if a key is missing in some steps, its rows there are filled (0, False or "") and a boolean mask ``_<key>``
  beside it marks the real rows, as in Gymnasium's vector environments, or ``_mask:<key>`` if there is an info
  of that name; the same applies if a key is None in some steps and has values without a JSON type in the
  others;
- arrays whose shape changes from step to step become two columns below the key, ``_ragged_values`` (all
  numbers concatenated) and ``_ragged_shapes``;
- anything else that JSON can represent, or :mod:`minari._base.plain_values` can convert to JSON (None, mixed
  types, lists of strings, texts that UTF-8 cannot represent), becomes one column below the key, ``_json``,
  with one JSON text per step.

Keys that are not text, or cannot be a name in a file, become ``_key:`` and their JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from minari._base.json_text import parse_json, shortened
from minari._base.plain_values import (
    TYPED_KINDS,
    Unkept,
    brief,
    dtype_from_name,
    from_json,
    name_of_dtype,
    plain_value,
    to_json,
    type_name,
)
from minari._model.episode import same_values
from minari.errors import DatasetCorruptError, EpisodeError, EpisodeTypeError
from minari.spaces.columns import Column, ColumnPath, Columns, has_flags, is_utf8_text, native, object_column, path_name


class _Absent:
    """Placeholder for a step without the key."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<absent>"

    def __reduce__(self) -> str:
        return "ABSENT"  # copies and pickles are the same object

    def __deepcopy__(self, memo: Any) -> _Absent:
        return self


ABSENT: Final = _Absent()

_NUMBERS = frozenset({bool, int, float} | {np.dtype(code).type for code in "?bhilqBHILQefdFD"})

#: Immutable types, whose values need no copy.
IMMUTABLE = _NUMBERS | {
    complex,
    str,
    bytes,
    type(None),
    _Absent,
    Unkept,
    np.str_,
    np.bytes_,
    np.datetime64,
    np.timedelta64,
}

#: Name of the column with the numbers of arrays of different shapes, which does not have one row per step.
RAGGED_VALUES: Final = "_ragged_values"
_RAGGED_SHAPES, _JSON = "_ragged_shapes", "_json"
_RESERVED = frozenset({RAGGED_VALUES, _RAGGED_SHAPES, _JSON})
#: Prefix of the name of a column of dates, bytes or structures; the dtype follows.
DTYPE: Final = "_dtype="
_KEY: Final = "_key:"  # prefix of an escaped key
_NUMERIC: Final = "biufc"  # kinds of dtypes
_LONGEST_NAME: Final = 30_000  # maximum length of the name of a dtype
_MOST_LEVELS = 128  # of nested dicts
_POSITION = re.compile(r"_index_\d+")  # name of a position in a tuple on disk


def append_info(
    infos: dict[str, Any],
    info: Mapping[str, Any],
    recorded: int,
    keep: Callable[[Any], Any] = lambda value: value,
) -> dict[str, Any]:
    """Append the info dict of one step to the infos of the steps before it, in place.

    Keys may be new, missing, or of another type than before.

    Args:
        infos: for each key a list of values, or nested infos.
        info: the info returned by the step.
        recorded: the number of steps in ``infos``.
        keep: function applied to a value before it is stored, such as copying it, unless its type is one of
            :data:`IMMUTABLE`.

    Returns:
        ``infos``.
    """
    for key in infos if infos.keys() == info.keys() else [*infos, *(key for key in info if key not in infos)]:
        values, value = infos.get(key), info.get(key, ABSENT)
        if isinstance(values, list):  # the most frequent case
            values.append(value if type(value) in IMMUTABLE else keep(value))
        elif isinstance(value, Mapping) and value and (values is None or isinstance(values, dict)):
            infos[key] = append_info({} if values is None else values, value, recorded, keep)
        elif value is ABSENT and isinstance(values, dict):
            append_info(values, {}, recorded, keep)
        else:
            infos[key] = [*rows_so_far(values, recorded), keep(value)]
    return infos


def rows_so_far(values: Any, recorded: int) -> list[Any]:
    """Return the values of the steps so far as a list; they may be stored as a list, a dict, or None."""
    if values is None:
        return [ABSENT] * recorded
    if isinstance(values, dict):
        parts = {key: rows_so_far(part, recorded) for key, part in values.items()}
        rows = ({k: v[row] for k, v in parts.items() if v[row] is not ABSENT} for row in range(recorded))
        return [row or ABSENT for row in rows]
    return list(values)


def discard_info(infos: dict[str, Any] | None, name: str) -> None:
    """Drop one info, by its keys joined by ``/``; a key that is not a string is identified by its text."""
    if not isinstance(infos, dict):
        return
    for key in list(infos):
        if str(key) == name:
            del infos[key]
        elif name.startswith(f"{key}/"):
            discard_info(infos[key], name[len(str(key)) + 1 :])


def columns_of_info(columns: Columns, name: str) -> set[ColumnPath]:
    """Return the columns of an info that :func:`discard_info` would drop.

    Args:
        columns: the columns of an episode.
        name: the keys of the info, joined by ``/``.
    """
    found: dict[ColumnPath, ColumnPath] = {}  # the columns, and the path of the info they belong to
    for path in columns:
        for depth in range(2, len(path) + 1) if path[0] == "infos" else ():
            part = path[depth - 1]
            if type(part) is not str or _is_marker(part):  # below it are the parts of a value
                break
            if info_name(path[:depth]) == name:
                found[path] = path[:depth]
                break
    masks = {_mask_of(place, columns) for place in found.values()}
    return {*found, *(mask for mask in masks if mask is not None)}


def info_name(path: ColumnPath) -> str:
    """Return the keys of the info at a path, joined by ``/``."""
    return path_name(tuple(map(_key_of, path[1:])))


def _shown(path: ColumnPath) -> str:
    """Return a path below ``infos`` in the form for :func:`discard_info`."""
    return f"{path[0]}/{info_name(path)}"


def _mask_of(place: ColumnPath, columns: Columns) -> ColumnPath | None:
    """Return the path of the mask of an info; None if it has none."""
    mask: ColumnPath | None = None
    key, name = _key_of(place[-1]), mask_name(_key_of(place[-1]))
    while True:
        path = (*place[:-1], _mask_part(name, place[:-1]))
        column = columns.get(path)
        if column is None:
            break
        mask = path
        name = second_mask_name(key if name == mask_name(key) else name)
    return mask if mask is not None and _can_be_mask(columns[mask], columns.get(place)) else None


def _can_be_mask(mask: Column, column: Column | None) -> bool:
    """Return whether a column marks missing, filled rows; an info may have the name of a mask."""
    if mask.dtype != np.bool_ or mask.ndim != 1 or mask.all():
        return False
    if column is None or column.dtype == object:
        return True
    return len(column) == len(mask) and not np.any(column[~mask])


def encode_infos(infos: Mapping[str, Any] | None, rows: int, path: ColumnPath = ("infos",)) -> dict[ColumnPath, Column]:
    """Return the columns of infos.

    Args:
        infos: for each key, a list or array with one value per step (:data:`ABSENT` for a missing one), or a
            dict of such infos, or a tuple of them.
        rows: the number of steps, T+1.
        path: prefix of the paths of the columns.

    Raises:
        EpisodeError: a key does not have ``rows`` values, or two keys have the same name in a file.
        EpisodeTypeError: a value cannot be represented as an array, text, bytes or JSON; or a key has a type
            that cannot be written.
    """
    columns: dict[ColumnPath, Column] = {}
    _encode_infos(columns, infos or {}, rows, path)
    for column_path in columns:
        if len(column_path) > _MOST_LEVELS:
            raise EpisodeError(
                f"The infos are nested more than {_MOST_LEVELS} levels deep at {shortened(path_name(column_path))}; "
                f"change or drop it in a StepDataCallback."
            )
    return columns


def _encode_infos(columns: dict[ColumnPath, Column], infos: Mapping[Any, Any], rows: int, path: ColumnPath) -> None:
    taken: dict[ColumnPath, bool | None] = {}  # paths of infos: True for dicts; None for those created by slashes
    masks = []
    names = {key: (_parts_of(key) if type(key) is str else None) or (_escaped(key, path),) for key in infos}
    for key in sorted(infos, key=lambda key: len(names[key])):
        values, parts = infos[key], names[key]
        place = (*path, *parts)
        if len(parts) > 1:  # another key may have the path of a key with slashes, or its parents may not be dicts
            above = [taken.get(place[:depth]) for depth in range(1, len(place))]
            is_written = True in above and any(other[: len(place)] == place for other in columns)
            if place in taken or False in above or is_written:
                place = (*path, _escaped(key, path))
        if place in taken:
            raise EpisodeError(
                f"The infos give {path_name(place)!r} twice, by keys with one name in a file; rename one of the two."
            )
        for depth in range(len(path) + 1, len(place)):
            taken.setdefault(place[:depth], None)
        taken[place] = isinstance(values, Mapping)
        mask = _encode_key(columns, place, values, rows)
        if mask is not None:
            is_whole = len(place) == len(path) + 1
            masks.append((place[:-1], str(key) if is_whole else parts[-1], mask))
    for parent, key, mask in masks:  # last, since an info may have the usual name of a mask
        _put_mask(columns, taken, parent, key, mask)


def _put_mask(
    columns: dict[ColumnPath, Column],
    taken: Mapping[ColumnPath, bool | None],
    parent: ColumnPath,
    key: str,
    mask: Column,
) -> None:
    """Add the mask of an info, unless the same one was already given."""
    name = mask_name(key)
    while True:
        place = (*parent, _mask_part(name, parent))
        there = columns.get(place)
        if there is not None and same_values(there, mask):
            return
        if there is None and place not in taken:
            columns[place] = mask
            return
        name = second_mask_name(key if name == mask_name(key) else name)


def _mask_part(name: str, parent: ColumnPath) -> str:
    return name if _parts_of(name) == (name,) else _escaped(name, parent)


def mask_name(key: Any) -> str:
    """Return the name of the mask of an info, unless there is another info of that name."""
    return f"_{key}"


def second_mask_name(key: Any) -> str:
    """Return the name of the mask of an info if there is another info of the usual name."""
    return f"_mask:{key}"


def _encode_key(columns: dict[ColumnPath, Column], path: ColumnPath, values: Any, rows: int) -> Column | None:
    """Add the columns of a key.

    Returns:
        Mask of the steps that have the key; None if all do.
    """
    if isinstance(values, Mapping) and values:
        _encode_infos(columns, values, rows, path)
        return _presence(values, rows)
    if isinstance(values, Mapping):  # an empty dict in every step
        values = [{}] * rows
    if isinstance(values, tuple) and values and all(isinstance(part, (list, np.ndarray)) for part in values):
        for position, part in enumerate(values):
            columns.update(_encode_values(part, rows, (*path, position))[0])
        return None
    encoded, mask = _encode_values(values, rows, path)
    columns.update(encoded)
    return mask


# Keys


@lru_cache(maxsize=1024)  # every episode has the same keys
def _parts_of(key: str) -> tuple[str, ...] | None:
    """Return the parts of a key between slashes; None for a key that has to be escaped."""
    parts = tuple(key.split("/"))
    is_reserved = any(
        not part.strip(".") or _is_marker(part) or part.startswith(_KEY) or _POSITION.fullmatch(part) for part in parts
    )
    return parts if is_utf8_text(key) and not is_reserved else None


def _is_marker(part: str) -> bool:
    return part in _RESERVED or part.startswith(DTYPE)


def _escaped(key: Any, path: ColumnPath) -> str:
    """Return the escaped name of a key of any type; a slash would start another level."""
    plain = _plain_key(key)
    if plain is ABSENT:
        raise EpisodeTypeError(
            f"The infos under {path_name(path)!r} have the key {brief(key)} ({type(key).__name__}), expected text, a "
            f"number, None or a tuple of these; rename it in a StepDataCallback."
        )
    return _KEY + json.dumps(plain).replace("/", "\\u002f")


def _plain_key(key: Any) -> Any:
    """Return the key as JSON represents it, a tuple as a list; ABSENT if it cannot."""
    if key is None:
        return None
    key = plain_value(key)
    if isinstance(key, np.generic) and key.dtype.kind in "biuf":
        key = key.item()
    if isinstance(key, tuple):
        parts = [_plain_key(part) for part in key]
        return ABSENT if any(part is ABSENT for part in parts) else parts
    for kind in (bool, int, float, str):
        if isinstance(key, kind):
            return kind(key)
    return ABSENT


def _key_of(name: Any) -> Any:
    """Return the key for a name in a file."""
    if not isinstance(name, str) or not name.startswith(_KEY):
        return name
    try:
        key = _hashable(parse_json(name[len(_KEY) :]))
    except ValueError:
        return name
    return name if isinstance(key, dict) else key


def _hashable(key: Any) -> Any:
    if isinstance(key, dict):
        raise ValueError("no key of an info is a dict")
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


# Values


def _presence(values: Any, rows: int) -> Column | None:
    """Return the mask of the steps that have the key, for a dict those with any part of it; None if all have it."""
    if isinstance(values, Mapping):
        parts = [_presence(part, rows) for part in values.values()]
        masks = [part for part in parts if part is not None]
        mask = np.logical_or.reduce(masks) if masks and len(masks) == len(parts) else None
        return None if mask is None or mask.all() else mask
    if isinstance(values, (np.ndarray, tuple)) or _Absent not in set(map(type, values)):
        return None
    return np.fromiter((value is not ABSENT for value in values), dtype=np.bool_, count=rows)


def _encode_values(values: Any, rows: int, path: ColumnPath) -> tuple[dict[ColumnPath, Column], Column | None]:
    """Return the columns of the values of a key, and the mask of those present; None if all are."""
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
        raise EpisodeTypeError(
            f"The info {_shown(path)!r} is {brief(values)}, expected a list or array with one value a step."
        )
    if len(values) != rows:
        raise EpisodeError(
            f"The info {_shown(path)!r} has {len(values)} values, expected {rows}: one for the "
            f"reset and one for each step."
        )
    if isinstance(values, np.ndarray) and values.dtype.kind in _NUMERIC:
        return {path: native(values)}, None
    column = _of_one_type(values)
    if column is not None:
        return {path: column}, None
    plain = [value if type(value) in IMMUTABLE else plain_value(value) for value in values]
    return _encode_plain(values, plain, path)


def _encode_plain(values: Any, plain: list[Any], path: ColumnPath) -> tuple[dict[ColumnPath, Column], Column | None]:
    present = [value for value in plain if value is not ABSENT]
    mask = _mask_without(ABSENT, plain) if len(present) < len(plain) else None
    if present and all(isinstance(value, str) and is_utf8_text(value) for value in present):
        texts = [str(value) if value is not ABSENT else "" for value in plain]
        return {path: object_column(texts)}, mask
    if not all(value is None for value in present) and all(value is None or _is_typed(value) for value in present):
        plain = [ABSENT if value is None else value for value in plain]  # JSON would lose the type of the others
        present = [value for value in plain if value is not ABSENT]
        mask = _mask_without(ABSENT, plain) if len(present) < len(plain) else None
    if present and all(type(value) is bytes for value in present):
        return {path: object_column([b"" if value is ABSENT else value for value in plain])}, mask
    arrays = _as_arrays(present)
    if arrays is not None:
        return _encode_arrays(plain, arrays, path), mask
    lengths = {len(value) if type(value) is tuple else 0 for value in present}
    if len(lengths) == 1 and lengths != {0}:  # tuples, which are not equal to a JSON list
        columns: dict[ColumnPath, Column] = {}
        for position in range(lengths.pop()):
            part = [value if value is ABSENT else value[position] for value in plain]
            columns.update(_encode_values(part, len(part), (*path, position))[0])
        return columns, mask
    return {(*path, _JSON): object_column(_json_texts(values, path))}, mask


def _mask_without(missing: Any, values: list[Any]) -> Column:
    return np.fromiter((value is not missing for value in values), dtype=np.bool_, count=len(values))


def _is_typed(value: Any) -> bool:
    """Return whether a value has a type that JSON does not have."""
    return type(value) is bytes or (
        isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in _NUMERIC + TYPED_KINDS
    )


def _of_one_type(values: Any) -> Column | None:
    """Return the column of values of one type, dtype and shape; None for values that need closer inspection.

    Same result as :func:`_as_arrays` and :func:`_encode_arrays`, at a tenth of the cost.
    """
    kinds = set(map(type, values))
    if kinds == {np.ndarray}:
        dtype, shape = values[0].dtype, values[0].shape
        if dtype.kind in _NUMERIC and all(value.dtype == dtype and value.shape == shape for value in values):
            return np.array(values, dtype if dtype.isnative else dtype.newbyteorder("="))
    elif len(kinds) == 1 and kinds <= _NUMBERS:
        column = np.array(values)
        if kinds != {int} or column.dtype == np.int64:  # larger ones have no fixed size
            return column
    return None


def _as_arrays(present: list[Any]) -> list[Column] | None:
    """Return the values as arrays of one dtype, or None if one of them is not such an array."""
    arrays = []
    for value in present:
        if type(value) is bytes:  # an array would lose trailing zeros
            return None
        try:
            array = np.asarray(value)
        except ValueError:
            return None
        is_list = isinstance(value, (list, tuple))
        kinds = _NUMERIC + ("Mm" if is_list else TYPED_KINDS)  # (lists of bytes would lose trailing zeros)
        if array.dtype.kind not in kinds or (array.dtype.kind in TYPED_KINDS and not _has_name(array.dtype)):
            return None
        if is_list and (array.size == 0 or (array.dtype.kind != "b" and has_flags(value))):
            return None  # True and 1 are different things
        arrays.append(native(array))
    if not arrays:
        return None
    dtypes = {array.dtype for array in arrays}
    return arrays if len(dtypes) == 1 else _of_common_dtype(arrays, dtypes)


def _has_name(dtype: np.dtype[Any]) -> bool:
    try:
        return bool(name_of_column(dtype.newbyteorder("=")))
    except ValueError:  # it contains objects, or nothing
        return False


def _of_common_dtype(arrays: list[Column], dtypes: set[np.dtype[Any]]) -> list[Column] | None:
    kinds = {dtype.kind for dtype in dtypes}
    if len(kinds) > 1 and not kinds <= set(_NUMERIC):
        return None
    if "V" in kinds or ("b" in kinds and not kinds <= set("bf")):
        return None  # True and 1 are distinct; among floats True becomes 1
    common = np.result_type(*dtypes)
    converted = [array.astype(common) for array in arrays]
    return converted if all(map(_same_values, converted, arrays)) else None


def _same_values(a: Column, b: Column) -> bool:
    if a.dtype.kind == b.dtype.kind == "S":
        return True
    if a.dtype.kind in "Mm" or (a.dtype.kind in "fc" and b.dtype.kind in "fc"):
        return np.array_equal(a, b, equal_nan=True)
    return bool(a.tolist() == b.tolist())  # as Python numbers, since NumPy would round large integers


def _encode_arrays(values: Any, arrays: list[Column], path: ColumnPath) -> dict[ColumnPath, Column]:
    if arrays[0].dtype.kind in TYPED_KINDS:
        path = (*path, name_of_column(arrays[0].dtype))
        arrays = list(map(raw_of, arrays))
    dtype, shapes = arrays[0].dtype, {array.shape for array in arrays}
    present = iter(arrays)
    if len(shapes) == 1:
        column = np.zeros((len(values), *shapes.pop()), dtype=dtype)
        for row, value in enumerate(values):
            if value is not ABSENT:
                column[row] = next(present)
        return {path: column}
    depth = max(map(len, shapes))
    dims = np.full((len(values), depth), -1, dtype=np.int64)  # -1 for a missing dimension
    for row, value in enumerate(values):
        shape = (0,) if value is ABSENT else next(present).shape
        dims[row, : len(shape)] = shape
    flat = np.concatenate([array.ravel() for array in arrays])
    return {(*path, RAGGED_VALUES): flat, (*path, _RAGGED_SHAPES): dims}


def raw_of(array: Column) -> Column:
    """Return dates as integers, other typed values as their bytes, in an additional dimension."""
    if array.dtype.kind in "Mm":
        return array.astype(np.int64) if array.ndim == 0 else np.ascontiguousarray(array).view(np.int64)
    plain = np.zeros(array.shape, array.dtype)  # fills the padding of structures with zeros
    plain[...] = array
    return plain.reshape(-1).view(np.uint8).reshape(*array.shape, array.dtype.itemsize)


def typed_of(raw: Any, dtype: np.dtype[Any]) -> Column:
    """Return the array that was passed to :func:`raw_of`.

    Raises:
        ValueError: it is not such an array.
    """
    if dtype.kind in "Mm":
        if raw.dtype != np.int64:
            raise ValueError(f"{raw.dtype} values are not dates")
        dates: Column = raw.view(dtype)
        return dates
    if raw.dtype != np.uint8 or raw.shape[-1:] != (dtype.itemsize,):
        raise ValueError(f"{raw.dtype} values of the shape {raw.shape} are not values of {dtype.itemsize} bytes")
    values: Column = np.ascontiguousarray(raw).view(dtype).reshape(raw.shape[:-1])
    return values


def _json_texts(values: Any, path: ColumnPath) -> list[str]:
    texts = []
    for row, value in enumerate(values):
        try:
            texts.append(to_json(None if value is ABSENT else value))
        except (TypeError, ValueError) as error:
            problem = (
                f"The info {_shown(path)!r} at step {row} is {brief(value)} ({type_name(value)}), which is or contains "
                f"a value that cannot be stored ({error})"
            )
            name = info_name(path)
            raise EpisodeTypeError(
                f"{problem}; change or drop it in a StepDataCallback, or call discard_info({name!r}) on the collector.",
                info_path=name,
                problem=problem,
            ) from error
    return texts


def decode_infos(columns: Columns) -> dict[str, Any]:
    """Return infos nested as they were given, each leaf with one row a step.

    Text, ragged and JSON infos are object arrays, so that a mask can select the real rows.

    Raises:
        DatasetCorruptError: the columns were not created by :func:`encode_infos`.
    """
    tree: dict[str | int, Any] = {}
    for path, column in columns.items():
        if path[0] != "infos":
            continue
        if not 1 < len(path) <= _MOST_LEVELS:
            raise _damaged(path, "is nested too deeply" if len(path) > 1 else "is not a dict")
        node = tree
        for part in path[1:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise _damaged(path, "lies below a value")
        if path[-1] in node:
            raise _damaged(path, "is both a value and a dict")
        node[path[-1]] = column
    return {
        name if name[:5] != _KEY else _key_of(name): node
        if type(node) is not dict
        else _decode_node(node, ("infos", name))
        for name, node in tree.items()
        if type(name) is str
    }


def _damaged(path: ColumnPath, reason: str) -> DatasetCorruptError:
    return DatasetCorruptError(
        f"The info {shortened(path_name(path))} {reason}, so that the episode is damaged; copy or download the dataset "
        f"again."
    )


def _decode_node(node: Any, path: ColumnPath) -> Any:
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        (name,) = node
        if name == _JSON:
            return _decoded_json(node[name], path)
        if isinstance(name, str) and name.startswith(DTYPE) and (dtype := _dtype_of(name)) is not None:
            return _decoded_typed(_decode_node(node[name], (*path, name)), dtype, path)
    if node.keys() == {RAGGED_VALUES, _RAGGED_SHAPES}:
        return object_column(_ragged_rows(node[RAGGED_VALUES], node[_RAGGED_SHAPES], path))
    decoded = {_key_of(name): _decode_node(child, (*path, name)) for name, child in node.items()}
    if node.keys() == set(range(len(node))):
        return tuple(decoded[position] for position in range(len(decoded)))
    return decoded


@lru_cache(maxsize=256)
def _dtype_of(name: str) -> np.dtype[Any] | None:
    """Return the dtype in the name of a column; None if it is not such a name."""
    try:
        return dtype_from_name(name[len(DTYPE) :])
    except ValueError:
        return None


def name_of_column(dtype: np.dtype[Any]) -> str:
    """Return the name of the column with the bytes or integers of values of a dtype.

    Raises:
        ValueError: the dtype has no such name.
    """
    name = name_of_dtype(dtype).replace("/", "\\u002f")
    if len(name) > _LONGEST_NAME or not is_utf8_text(name):
        raise ValueError(f"values of dtype {shortened(name)} have too many parts")
    return DTYPE + name


def dtype_of_column(path: ColumnPath) -> np.dtype[Any] | None:
    """Return the dtype of the values stored as bytes or integers in a column of infos; None for other columns."""
    name = path[-1]
    return _dtype_of(name) if path[0] == "infos" and isinstance(name, str) and name.startswith(DTYPE) else None


def _decoded_typed(raw: Any, dtype: np.dtype[Any], path: ColumnPath) -> Column:
    try:
        if isinstance(raw, np.ndarray) and raw.dtype == object:
            if dtype.kind not in "Mm":  # a step without the key has an empty row
                raw = [row.reshape(0, dtype.itemsize) if row.shape == (0,) else row for row in raw]
            return object_column([typed_of(row, dtype) for row in raw])
        return typed_of(raw, dtype)
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, f"does not hold {dtype} values ({error})") from error


def _decoded_json(texts: Any, path: ColumnPath) -> Column:
    if not isinstance(texts, np.ndarray) or texts.ndim != 1:
        raise _damaged(path, "has no texts of JSON")
    try:
        return object_column([from_json(text) for text in texts])
    except (TypeError, ValueError) as error:
        raise _damaged(path, f"has a text that is not JSON ({error})") from error


def _ragged_rows(flat: Any, dims: Any, path: ColumnPath) -> list[Column]:
    """Return the concatenated arrays of different shapes as one array per step."""
    if not all(isinstance(part, np.ndarray) for part in (flat, dims)) or (flat.ndim, dims.ndim) != (1, 2):
        raise _damaged(path, "has no arrays and their shapes")
    if dims.dtype.kind not in "iu":
        raise _damaged(path, f"has shapes of {dims.dtype}")
    shapes = [tuple(dim for dim in row if dim >= 0) for row in dims.tolist()]
    sizes = [math.prod(shape) for shape in shapes]
    if sum(sizes) != len(flat):
        raise _damaged(path, f"has {len(flat)} values, and shapes for {sum(sizes)}")
    rows = []
    start = 0
    try:
        for shape, size in zip(shapes, sizes, strict=True):
            rows.append(flat[start : start + size].reshape(shape))
            start += size
    except (ValueError, OverflowError) as error:  # more dimensions than NumPy supports, or a size beyond 64 bits
        raise _damaged(path, f"has a shape that no array has ({shortened(str(error))})") from error
    return rows
