"""Info dicts of any shape <-> columns.

Infos have no space, so what was given decides how it is kept:

- numbers and arrays of one shape become an array with one row a step, strings become text, a dict
  becomes a group, and so does a key with slashes: ``a/b`` is the same as ``b`` in a dict ``a``;
- where a key is absent from some steps, its rows there are filled (0, False or "") and a boolean
  mask ``_<key>`` beside it says which rows are real, as in Gymnasium's vector environments;
- arrays whose shape changes from step to step become two columns below the key, ``_ragged_values``
  (all numbers in a row) and ``_ragged_shapes``;
- whatever else JSON can hold (None, mixed types, lists of strings, texts that UTF-8 cannot hold)
  becomes one column below the key, ``_json``, of one JSON text a step.
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
from minari.dataset.episode_data import same_values
from minari.errors import DatasetCorruptError, EpisodeError, EpisodeTypeError
from minari.spaces.columns import Column, Columns, Path, has_flags, is_utf8_text, object_column, path_name


class _Absent:
    """Stands for a step that has no such key."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<absent>"

    def __reduce__(self) -> str:
        return "ABSENT"  # so that copies and pickles are the same object

    def __deepcopy__(self, memo: Any) -> _Absent:
        return self


ABSENT: Final = _Absent()

_NUMBERS = frozenset({bool, int, float} | {np.dtype(code).type for code in "?bhilqBHILQefdFD"})

#: Types of values that nobody can change, so that they need no copy.
IMMUTABLE = _NUMBERS | {complex, str, bytes, type(None), _Absent}

#: What the column is called that holds the numbers of arrays of different shapes, and has no row a step.
RAGGED_VALUES: Final = "_ragged_values"
_RAGGED_SHAPES, _JSON = "_ragged_shapes", "_json"
_RESERVED = frozenset({RAGGED_VALUES, _RAGGED_SHAPES, _JSON})
_MOST_LEVELS = 128  # of dicts in each other
_POSITION = re.compile(r"_index_\d+")  # how a position in a tuple is called on disk


def append_info(
    infos: dict[str, Any],
    info: Mapping[str, Any],
    recorded: int,
    keep: Callable[[Any], Any] = lambda value: value,
) -> dict[str, Any]:
    """Append the info dict of one step to the infos of the steps before it, in place.

    Keys that are new, missing, or of another kind than before are all fine.

    Args:
        infos: for each key a list of values, or nested infos.
        info: what the step returned.
        recorded: the number of steps that ``infos`` hold.
        keep: what is done to a value before it is kept, such as copying it, unless it is one of the
            :data:`IMMUTABLE` types.

    Returns:
        ``infos``.
    """
    for key in infos if infos.keys() == info.keys() else [*infos, *(key for key in info if key not in infos)]:
        values, value = infos.get(key), info.get(key, ABSENT)
        if isinstance(values, list):  # as nearly always
            values.append(value if type(value) in IMMUTABLE else keep(value))
        elif isinstance(value, Mapping) and value and (values is None or isinstance(values, dict)):
            infos[key] = append_info({} if values is None else values, value, recorded, keep)
        elif value is ABSENT and isinstance(values, dict):
            append_info(values, {}, recorded, keep)
        else:
            infos[key] = [*rows_so_far(values, recorded), keep(value)]
    return infos


def rows_so_far(values: Any, recorded: int) -> list[Any]:
    """The values of the steps so far as a list, whatever they were kept as: a list, a dict, or None."""
    if values is None:
        return [ABSENT] * recorded
    if isinstance(values, dict):
        parts = {key: rows_so_far(part, recorded) for key, part in values.items()}
        rows = ({k: v[row] for k, v in parts.items() if v[row] is not ABSENT} for row in range(recorded))
        return [row or ABSENT for row in rows]
    return list(values)


def discard_info(infos: dict[str, Any] | None, name: str) -> None:
    """Drop one info, by its keys joined by ``/``; a key that is no string is found by how it prints."""
    if not isinstance(infos, dict):
        return
    for key in [key for key in infos if str(key) == name]:
        del infos[key]
    outer, _, inner = name.partition("/")
    if inner:
        discard_info(infos.get(outer), inner)


def encode_infos(infos: Mapping[str, Any] | None, rows: int, path: Path = ("infos",)) -> dict[Path, Column]:
    """Make columns of infos.

    Args:
        infos: for each key a list or array with one value a step (:data:`ABSENT` where the step
            has none), or a dict of such infos, or a tuple of them.
        rows: the number of steps, T+1.
        path: where the columns go.

    Raises:
        EpisodeError: a key does not have ``rows`` values.
        EpisodeTypeError: a value can be neither an array, text nor JSON.
    """
    columns: dict[Path, Column] = {}
    _encode_infos(columns, infos or {}, rows, path)
    for column_path in columns:
        if len(column_path) > _MOST_LEVELS:
            raise EpisodeError(
                f"The infos are nested more than {_MOST_LEVELS} levels deep at {shortened(path_name(column_path))}; "
                f"change or drop it in a StepDataCallback."
            )
        for depth in range(len(path) + 1, len(column_path)):
            if column_path[:depth] in columns:
                raise EpisodeError(
                    f"The infos have both {path_name(column_path[:depth])!r} and {path_name(column_path)!r}, "
                    f"which would be a value and a dict in one place; rename one of the two."
                )
    return columns


def _encode_infos(columns: dict[Path, Column], infos: Mapping[str, Any], rows: int, path: Path) -> None:
    for key, values in infos.items():
        *outer, name = _checked_key(key, path)
        parent = (*path, *outer)
        _encode_key(columns, (*parent, name), values, rows)
        mask = _presence(values, rows)
        if mask is not None:
            _put(columns, (*parent, f"_{name}"), mask)


def _put(columns: dict[Path, Column], path: Path, column: Column) -> None:
    """Add a column where there is none, or the same one: infos may bring their masks along."""
    there = columns.setdefault(path, column)
    if there is not column and not same_values(there, column):
        raise EpisodeError(
            f"The infos give {path_name(path)!r} twice, with slashes and nested, or as a value and as the "
            f"mask that says which steps have {str(path[-1])[1:]!r}; rename one of the two."
        )


def _encode_key(columns: dict[Path, Column], path: Path, values: Any, rows: int) -> None:
    if isinstance(values, Mapping) and values:
        _encode_infos(columns, values, rows, path)
        return
    if isinstance(values, Mapping):  # an empty dict in every step
        values = [{}] * rows
    parts = {path: values}
    if isinstance(values, tuple) and values and all(isinstance(part, (list, np.ndarray)) for part in values):
        parts = {(*path, position): part for position, part in enumerate(values)}
    for part_path, part in parts.items():
        for column_path, column in _encode_values(part, rows, part_path).items():
            _put(columns, column_path, column)


def _checked_key(key: Any, path: Path) -> tuple[str, ...]:
    """The key at its slashes."""
    parts = _parts_of(key) if isinstance(key, str) else None
    if parts is None:
        raise EpisodeTypeError(
            f"The infos under {path_name(path)!r} have the key {key!r}, expected a string that, also "
            f"between slashes, is not empty, '.', '..', '_index_' with a number, or one of "
            f"{sorted(_RESERVED)}; rename it in a StepDataCallback."
        )
    return parts


@lru_cache(maxsize=1024)  # every episode brings the same keys
def _parts_of(key: str) -> tuple[str, ...] | None:
    """The key at its slashes; None for one that cannot be stored."""
    parts = tuple(key.split("/"))
    return parts if is_utf8_text(key) and not any(map(_is_reserved, parts)) else None


def _is_reserved(part: str) -> bool:
    return not part.strip(".") or part in _RESERVED or _POSITION.fullmatch(part) is not None


def _presence(values: Any, rows: int) -> Column | None:
    """Which steps have the key: for a dict, those in which any part of it is there; None where all have it."""
    if isinstance(values, Mapping):
        parts = [_presence(part, rows) for part in values.values()]
        masks = [part for part in parts if part is not None]
        mask = np.logical_or.reduce(masks) if masks and len(masks) == len(parts) else None
        return None if mask is None or mask.all() else mask
    if isinstance(values, (np.ndarray, tuple)) or _Absent not in set(map(type, values)):
        return None
    return np.fromiter((value is not ABSENT for value in values), dtype=np.bool_, count=rows)


def _encode_values(values: Any, rows: int, path: Path) -> dict[Path, Column]:
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
        raise EpisodeTypeError(
            f"The info {path_name(path)!r} is {values!r}, expected a list or array with one value a step."
        )
    if len(values) != rows:
        raise EpisodeError(
            f"The info {path_name(path)!r} has {len(values)} values, expected {rows}: one for the "
            f"reset and one for each step."
        )
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufc":
        return {path: values}
    column = _of_one_type(values)
    if column is not None:
        return {path: column}
    present = [value for value in values if value is not ABSENT]
    if present and all(isinstance(value, str) and is_utf8_text(value) for value in present):
        return {path: object_column([str(value) if value is not ABSENT else "" for value in values])}
    arrays = _as_arrays(present)
    if arrays is not None:
        return _encode_arrays(values, arrays, path)
    texts = [_to_json(None if value is ABSENT else value, row, path) for row, value in enumerate(values)]
    return {(*path, _JSON): object_column(texts)}


def _of_one_type(values: Any) -> Column | None:
    """The column of numbers, or arrays, of one type, dtype and shape; None for values that take a closer look.

    It is what :func:`_as_arrays` and :func:`_encode_arrays` make of them one by one, at a tenth of the cost.
    """
    kinds = set(map(type, values))
    if kinds == {np.ndarray}:
        dtype, shape = values[0].dtype, values[0].shape
        if dtype.kind in "biufc" and all(value.dtype == dtype and value.shape == shape for value in values):
            return np.array(values, dtype)
    elif len(kinds) == 1 and kinds <= _NUMBERS:
        column = np.array(values)
        if kinds != {int} or column.dtype == np.int64:  # larger ones are no number of one size
            return column
    return None


def _as_arrays(present: list[Any]) -> list[Column] | None:
    """The values as numeric arrays of one dtype, or None where one of them is not such a thing."""
    arrays = []
    for value in present:
        try:
            array = np.asarray(value)
        except ValueError:
            return None
        is_list = isinstance(value, (list, tuple))
        if array.dtype.kind not in "biufc" or (is_list and (array.size == 0 or _rounds_flags(array, value))):
            return None
        arrays.append(array)
    if not arrays:
        return None
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) > 1:
        common = np.result_type(*dtypes)
        if {dtype.kind == "b" for dtype in dtypes} == {True, False}:
            return None  # True and 1 are different things
        converted = [array.astype(common) for array in arrays]
        if not all(map(_same_values, converted, arrays)):
            return None
        arrays = converted
    return arrays


def _rounds_flags(array: Column, value: Any) -> bool:
    return array.dtype.kind != "b" and has_flags(value)  # True and 1 are different things


def _same_values(a: Column, b: Column) -> bool:
    if a.dtype.kind in "fc" and b.dtype.kind in "fc":
        return np.array_equal(a, b, equal_nan=True)
    return bool(a.tolist() == b.tolist())  # as Python numbers, since NumPy would round large integers


def _encode_arrays(values: Any, arrays: list[Column], path: Path) -> dict[Path, Column]:
    dtype, shapes = arrays[0].dtype, {array.shape for array in arrays}
    present = iter(arrays)
    if len(shapes) == 1:
        column = np.zeros((len(values), *shapes.pop()), dtype=dtype)
        for row, value in enumerate(values):
            if value is not ABSENT:
                column[row] = next(present)
        return {path: column}
    depth = max(map(len, shapes))
    dims = np.full((len(values), depth), -1, dtype=np.int64)  # -1: no such dimension
    for row, value in enumerate(values):
        shape = (0,) if value is ABSENT else next(present).shape
        dims[row, : len(shape)] = shape
    flat = np.concatenate([array.ravel() for array in arrays])
    return {(*path, RAGGED_VALUES): flat, (*path, _RAGGED_SHAPES): dims}


def _to_json(value: Any, row: int, path: Path) -> str:
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError) as error:
        raise EpisodeTypeError(
            f"The info {path_name(path)!r} at step {row} is {value!r} ({type(value).__name__}), which "
            f"is neither a number, an array, text nor JSON; change or drop it in a StepDataCallback, or "
            f"call discard_info({path_name(path[1:])!r}) on the collector."
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError


def decode_infos(columns: Columns) -> dict[str, Any]:
    """Return infos nested as they were given, each leaf with one row a step.

    Text, ragged and JSON infos are object arrays, so that a mask can pick the rows that are real.

    Raises:
        DatasetCorruptError: the columns are not such as :func:`encode_infos` makes.
    """
    tree: dict[str | int, Any] = {}
    for path, column in columns.items():
        if path[0] != "infos":
            continue
        if not 1 < len(path) <= _MOST_LEVELS:
            raise _damaged(path, "is nested too deeply" if len(path) > 1 else "is no dict")
        node = tree
        for part in path[1:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise _damaged(path, "lies below a value")
        if path[-1] in node:
            raise _damaged(path, "is both a value and a dict")
        node[path[-1]] = column
    return {key: _decode_node(node, ("infos", key)) for key, node in tree.items() if isinstance(key, str)}


def _damaged(path: Path, reason: str) -> DatasetCorruptError:
    return DatasetCorruptError(
        f"The info {shortened(path_name(path))} {reason}, so that the episode is damaged; copy or download the dataset "
        f"again."
    )


def _decode_node(node: Any, path: Path) -> Any:
    if not isinstance(node, dict):
        return node
    if node.keys() == {_JSON}:
        return _decoded_json(node[_JSON], path)
    if node.keys() == {RAGGED_VALUES, _RAGGED_SHAPES}:
        return object_column(_ragged_rows(node[RAGGED_VALUES], node[_RAGGED_SHAPES], path))
    decoded = {key: _decode_node(child, (*path, key)) for key, child in node.items()}
    if decoded.keys() == set(range(len(decoded))):
        return tuple(decoded[position] for position in range(len(decoded)))
    return decoded


def _decoded_json(texts: Any, path: Path) -> Column:
    if not isinstance(texts, np.ndarray) or texts.ndim != 1:
        raise _damaged(path, "has no texts of JSON")
    try:
        return object_column([parse_json(text) for text in texts])
    except (TypeError, ValueError) as error:
        raise _damaged(path, f"has a text that is not JSON ({error})") from error


def _ragged_rows(flat: Any, dims: Any, path: Path) -> list[Column]:
    """The arrays of different shapes, one a step, that lie in a row."""
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
    except (ValueError, OverflowError) as error:  # more dimensions than NumPy has, or an extent beyond 64 bits
        raise _damaged(path, f"has a shape that no array has ({shortened(str(error))})") from error
    return rows
