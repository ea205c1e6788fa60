"""The values of one info as columns: typed ones, arrays of different shapes, and JSON for everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from minari._base.json_text import shortened
from minari._base.plain_values import TYPED_KINDS, Unkept, brief, from_json, plain_value, to_json, type_name
from minari._model.infos.keys import (
    JSON_TEXTS,
    RAGGED_SHAPES,
    RAGGED_VALUES,
    damaged_info,
    info_name,
    name_of_column,
    shown_info,
)
from minari.errors import EpisodeError, EpisodeTypeError
from minari.spaces.columns import Column, ColumnPath, has_flags, is_utf8_text, native, object_column


class _Absent:
    """Placeholder for a step without the key."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<absent>"

    def __reduce__(self) -> str:
        return "ABSENT"  # copies and pickles are the same object

    def __deepcopy__(self, memo: Any) -> _Absent:
        return self


#: Value of an info in a step that does not have it.
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

_NUMERIC: Final = "biufc"  # kinds of dtypes


def encode_values(values: Any, rows: int, path: ColumnPath) -> tuple[dict[ColumnPath, Column], Column | None]:
    """Return the columns of the values of a key, and the mask of those present; None if all are."""
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
        raise EpisodeTypeError(
            f"The info {shown_info(path)!r} is {brief(values)}, expected a list or array with one value a step."
        )
    if len(values) != rows:
        raise EpisodeError(
            f"The info {shown_info(path)!r} has {len(values)} values, expected {rows}: one for the "
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
            columns.update(encode_values(part, len(part), (*path, position))[0])
        return columns, mask
    return {(*path, JSON_TEXTS): object_column(_json_texts(values, path))}, mask


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
    return {(*path, RAGGED_VALUES): flat, (*path, RAGGED_SHAPES): dims}


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
                f"The info {shown_info(path)!r} at step {row} is {brief(value)} ({type_name(value)}), which is or "
                f"contains a value that cannot be stored ({error})"
            )
            name = info_name(path)
            raise EpisodeTypeError(
                f"{problem}; change or drop it in a StepDataCallback, or call discard_info({name!r}) on the collector.",
                info_path=name,
                problem=problem,
            ) from error
    return texts


def decoded_typed(raw: Any, dtype: np.dtype[Any], path: ColumnPath) -> Column:
    """Return the values of a dtype that are stored as bytes or integers, or a list of such values per step."""
    try:
        if isinstance(raw, np.ndarray) and raw.dtype == object:
            if dtype.kind not in "Mm":  # a step without the key has an empty row
                raw = [row.reshape(0, dtype.itemsize) if row.shape == (0,) else row for row in raw]
            return object_column([typed_of(row, dtype) for row in raw])
        return typed_of(raw, dtype)
    except (ValueError, TypeError, AttributeError) as error:
        raise damaged_info(path, f"does not hold {dtype} values ({error})") from error


def decoded_json(texts: Any, path: ColumnPath) -> Column:
    """Return the values of JSON texts."""
    if not isinstance(texts, np.ndarray) or texts.ndim != 1:
        raise damaged_info(path, "has no texts of JSON")
    try:
        return object_column([from_json(text) for text in texts])
    except (TypeError, ValueError) as error:
        raise damaged_info(path, f"has a text that is not JSON ({error})") from error


def ragged_rows(flat: Any, dims: Any, path: ColumnPath) -> list[Column]:
    """Return the concatenated arrays of different shapes as one array per step."""
    if not all(isinstance(part, np.ndarray) for part in (flat, dims)) or (flat.ndim, dims.ndim) != (1, 2):
        raise damaged_info(path, "has no arrays and their shapes")
    if dims.dtype.kind not in "iu":
        raise damaged_info(path, f"has shapes of {dims.dtype}")
    shapes = [tuple(dim for dim in row if dim >= 0) for row in dims.tolist()]
    sizes = [math.prod(shape) for shape in shapes]
    if sum(sizes) != len(flat):
        raise damaged_info(path, f"has {len(flat)} values, and shapes for {sum(sizes)}")
    rows = []
    start = 0
    try:
        for shape, size in zip(shapes, sizes, strict=True):
            rows.append(flat[start : start + size].reshape(shape))
            start += size
    except (ValueError, OverflowError) as error:  # more dimensions than NumPy supports, or a size beyond 64 bits
        raise damaged_info(path, f"has a shape that no array has ({shortened(str(error))})") from error
    return rows
