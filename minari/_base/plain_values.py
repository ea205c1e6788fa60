"""Conversion of values of any type to those that can be stored: numbers, text, bytes, arrays, lists and dicts.

>>> import datetime, enum
>>> class Color(enum.Enum):
...     RED = "r"
>>> plain_value(Color.RED), plain_value({3, 1, 2}), plain_value(datetime.date(2024, 5, 1))
('r', [1, 2, 3], np.datetime64('2024-05-01'))

A value without a JSON type becomes a JSON object that names its type:

>>> print(to_json([b"ab", {0: "x"}]))
[{"_type": "bytes", "base64": "YWI="}, {"_type": "dict", "items": [[0, "x"]]}]
>>> from_json(to_json([b"ab", {0: "x"}]))
[b'ab', {0: 'x'}]
"""

from __future__ import annotations

import base64
import ctypes
import datetime
import enum
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.json_text import parse_json, shortened


__all__ = [
    "TYPED_KINDS",
    "Unkept",
    "array_of",
    "brief",
    "dtype_from_name",
    "from_json",
    "from_tagged",
    "is_tagged",
    "name_of_dtype",
    "numeric_dtype",
    "plain_value",
    "to_json",
    "to_tagged",
    "type_name",
]

#: Kinds of dtypes that are stored as integers or bytes beside the name of the dtype.
TYPED_KINDS: Final = "SVMm"

_TYPE: Final = "_type"
_MOST_LEVELS: Final = 80  # of nested lists and dicts; tagging doubles them, and they can still be read
_EPOCHS: Final = {datetime.datetime: "us", datetime.timedelta: "us", datetime.date: "D"}


class Unkept:
    """Placeholder for a value that could not be copied, with the reason.

    Args:
        value: the given value.
        reason: why it was not copied.
    """

    __slots__ = ("reason", "type_name")

    def __init__(self, value: Any, reason: str) -> None:
        self.type_name, self.reason = type(value).__name__, reason

    @classmethod
    def because(cls, value: Any, error: Exception) -> Unkept:
        """Return the placeholder for a value after an error."""
        try:
            return cls(value, f"{type(error).__name__}: {error}")
        except Exception:  # of an error whose text cannot be produced
            return cls(value, type(error).__name__)

    def __repr__(self) -> str:
        return f"<{self.type_name} that could not be copied: {self.reason}>"


def brief(value: Any) -> str:
    """Return the ``repr`` of a value, truncated for a message; never fails."""
    try:
        return shortened(value)
    except Exception:  # a ``repr`` may raise anything
        return f"a {type(value).__name__}"


def type_name(value: Any) -> str:
    """Return the name of the type of a value, also of a placeholder."""
    return value.type_name if isinstance(value, Unkept) else type(value).__name__


def array_of(value: Any) -> npt.NDArray[Any] | None:
    """Return the array of a value that provides one: tensors, memory views, arrays of other libraries.

    It may share memory with the value.

    Raises:
        Exception: any exception of the value while it is converted to an array.
    """
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if isinstance(value, (str, bytes, bytearray, type)):
        return None
    kind = type(value)  # attributes of the type, as an instance may claim any
    if hasattr(kind, "__array__") and hasattr(kind, "detach"):
        value = value.detach()  # a torch tensor, which may require gradients
    is_array = any(hasattr(kind, name) for name in ("__array__", "__array_interface__", "__array_struct__"))
    return np.asarray(value) if is_array or isinstance(value, (memoryview, ctypes.Array)) else None


def plain_value(value: Any) -> Any:
    """Return an equal value of a type that can be stored, if there is one.

    Enumerations become their values, subclasses of text and bytes become text and bytes, dates become NumPy
    dates, sets become sorted lists, and objects that provide an array become that array. Containers are kept.
    """
    if isinstance(value, enum.Enum):
        return plain_value(value.value)
    if isinstance(value, np.generic):
        return str(value) if isinstance(value, np.str_) else value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray)):
        return value if type(value) is bytearray else bytes(value)
    if isinstance(value, (set, frozenset)):
        items = [plain_value(item) for item in value]
        try:
            return sorted(items)
        except (TypeError, ValueError):  # of types that cannot be compared
            return sorted(items, key=lambda item: (type(item).__name__, brief(item)))
    for kind, unit in _EPOCHS.items():
        if isinstance(value, kind):
            return _as_numpy_time(value, unit)
    try:
        array = array_of(value)
    except Exception as error:  # other libraries may raise anything
        return Unkept.because(value, error)
    return value if array is None else array


def _as_numpy_time(value: Any, unit: Any) -> Any:
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    if value != value:  # the missing date of pandas
        return np.datetime64("NaT", unit)
    return np.timedelta64(value, unit) if isinstance(value, datetime.timedelta) else np.datetime64(value, unit)


def to_json(value: Any) -> str:
    """Return the JSON text of a value.

    Raises:
        TypeError: the value, or one inside it, cannot be stored.
        ValueError: it contains itself, or has a number with too many digits.
    """
    return json.dumps(to_tagged(value))


def from_json(text: str | bytes) -> Any:
    """Return the value of a text created by :func:`to_json`.

    Raises:
        ValueError: the text is not JSON.
    """
    value = parse_json(text)
    return from_tagged(value) if f'"{_TYPE}"' in (text if isinstance(text, str) else text.decode()) else value


def to_tagged(value: Any) -> Any:
    """Return a value that JSON can represent.

    Raises:
        TypeError: the value, or one inside it, cannot be stored.
        ValueError: it is nested too deeply or contains itself.
    """
    return _to_tagged(value, 0)


def _to_tagged(value: Any, level: int) -> Any:
    if level > _MOST_LEVELS:
        raise ValueError("it is nested too deeply, or contains itself")
    if value is None or type(value) in (str, bool, int, float):
        return value
    value = plain_value(value)
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value) and _TYPE not in value:
            return {key: _to_tagged(item, level + 1) for key, item in value.items()}
        return {
            _TYPE: "dict",
            "items": [[_to_tagged(key, level + 1), _to_tagged(item, level + 1)] for key, item in value.items()],
        }
    if isinstance(value, (list, tuple, range)):
        return [_to_tagged(item, level + 1) for item in value]
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return _to_tagged(value.tolist(), level + 1)
    if isinstance(value, (np.generic, np.ndarray)):
        return _tagged_array(value)
    if isinstance(value, (bytes, bytearray)):
        return {_TYPE: "bytes", "base64": base64.b64encode(value).decode()}
    if isinstance(value, complex):
        return {_TYPE: "complex", "real": value.real, "imag": value.imag}
    if isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{value!r}" if isinstance(value, Unkept) else f"of type {type(value).__name__}")


def _tagged_array(value: Any) -> Any:
    if value.dtype.kind == "U" or (value.dtype.kind in "biuf" and value.dtype.itemsize <= 8):
        return value.tolist()
    try:
        name = name_of_dtype(value.dtype)
    except ValueError:
        raise TypeError(f"an array of dtype {value.dtype}") from None
    data = np.array(value, value.dtype.newbyteorder("="), order="C").tobytes()
    return {_TYPE: "array", "dtype": name, "shape": list(value.shape), "base64": base64.b64encode(data).decode()}


def from_tagged(value: Any) -> Any:
    """Return the value that was passed to :func:`to_tagged`; objects that only look similar are unchanged."""
    if isinstance(value, list):
        return [from_tagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_TYPE)
    try:
        if kind == "bytes" and value.keys() == {_TYPE, "base64"}:
            return base64.b64decode(value["base64"], validate=True)
        if kind == "complex" and value.keys() == {_TYPE, "real", "imag"}:
            return complex(value["real"], value["imag"])
        if kind == "array" and value.keys() == {_TYPE, "dtype", "shape", "base64"}:
            dtype, shape = dtype_from_name(value["dtype"]), _shape(value["shape"])
            data = base64.b64decode(value["base64"], validate=True)
            if len(data) == dtype.itemsize * math.prod(shape):
                return np.frombuffer(bytearray(data), dtype).reshape(shape)[()]
            return value
        if kind == "dict" and value.keys() == {_TYPE, "items"}:
            return {_hashable(from_tagged(key)): from_tagged(item) for key, item in value["items"]}
    except (TypeError, ValueError):  # of another program, with another meaning
        return value
    return {key: from_tagged(item) for key, item in value.items()}


def is_tagged(value: Mapping[str, Any]) -> bool:
    """Return whether a dict looks like a tagged value, so that it can only be stored as one."""
    return _TYPE in value


def _shape(value: Any) -> tuple[int, ...]:
    sizes = value.tolist() if isinstance(value, np.ndarray) else value  # (HDF5 returns lists of numbers as arrays)
    if not isinstance(sizes, list) or len(sizes) > 32 or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("it has no shape")
    return tuple(sizes)


def _hashable(key: Any) -> Any:
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


_NUMERIC: Final = {np.dtype(code).name: np.dtype(code) for code in "?bhilqBHILQefdgFDG"}
_BYTES: Final = re.compile(r"[SVU][1-9][0-9]{0,5}")
_TIME: Final = re.compile(r"(?:datetime|timedelta)64(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?")
_LARGEST: Final = 2**20  # bytes of one element
_MOST_FIELDS: Final = 4096
_MOST_DTYPE_LEVELS: Final = 16  # of structures within structures


def numeric_dtype(name: object) -> np.dtype[Any]:
    """Return the numeric or boolean dtype with this name.

    >>> numeric_dtype("float32")
    dtype('float32')

    Raises:
        ValueError: the name is that of another kind of dtype, or of none.
    """
    dtype = _NUMERIC.get(name) if isinstance(name, str) else None
    if dtype is None:
        raise ValueError(f"{shortened(name)} is the name of no numeric dtype")
    return dtype


def name_of_dtype(dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype of numbers, bytes, dates or structures of these, in native byte order.

    >>> name_of_dtype(np.dtype("M8[us]")), name_of_dtype(np.dtype("S3"))
    ('datetime64[us]', 'S3')
    >>> name_of_dtype(np.dtype([("a", "<i4"), ("b", "<f8", (2,))]))
    '{"fields": [["a", "int32", [], 0], ["b", "float64", [2], 4]], "size": 20}'

    Raises:
        ValueError: the dtype contains objects or nothing, and has no such name.
    """
    name = _name(dtype)
    return name if isinstance(name, str) else json.dumps(name)


def _name(dtype: np.dtype[Any]) -> Any:
    if dtype.hasobject or not dtype.itemsize or dtype.itemsize > _LARGEST:
        raise ValueError(f"values of dtype {dtype} cannot be named")
    if dtype.fields is not None:
        fields = []
        for key in dtype.names or ():
            part, offset = dtype.fields[key][:2]
            base, shape = part.subdtype or (part, ())
            fields.append([key, _name(base), list(shape), offset])
        return {"fields": fields, "size": dtype.itemsize}
    if dtype.kind in "SVU":
        return f"{dtype.kind}{dtype.itemsize // (4 if dtype.kind == 'U' else 1)}"
    return dtype.name


def dtype_from_name(name: str) -> np.dtype[Any]:
    """Return the dtype with a name given by :func:`name_of_dtype`.

    >>> dtype_from_name("timedelta64[ms]")
    dtype('<m8[ms]')

    Raises:
        ValueError: the name is not a valid one.
    """
    return _dtype(parse_json(name) if name.startswith("{") else name, 0)


def _dtype(name: Any, level: int) -> np.dtype[Any]:
    if isinstance(name, dict) and level < _MOST_DTYPE_LEVELS:
        return _structure(name, level)
    if not isinstance(name, str):
        raise ValueError(f"{shortened(name)} is the name of no dtype")
    dtype = np.dtype(name) if _BYTES.fullmatch(name) or _TIME.fullmatch(name) else numeric_dtype(name)
    if dtype.itemsize > _LARGEST:
        raise ValueError(f"{shortened(name)} is the name of a dtype of {dtype.itemsize} bytes")
    return dtype


def _structure(name: dict[str, Any], level: int) -> np.dtype[Any]:
    fields, size = name.get("fields"), name.get("size")
    if not isinstance(fields, list) or len(fields) > _MOST_FIELDS or type(size) is not int or not 0 < size <= _LARGEST:
        raise ValueError(f"{shortened(name)} is not a structure")
    names, formats, offsets = [], [], []
    for field in fields:
        if not isinstance(field, list) or len(field) != 4:
            raise ValueError(f"{shortened(field)} is not a field of a structure")
        key, base, shape, offset = field
        is_place = type(offset) is int and 0 <= offset < size
        if not isinstance(key, str) or not is_place or not isinstance(shape, list) or len(shape) > 32:
            raise ValueError(f"{shortened(field)} is not a field of a structure")
        if not all(type(side) is int and 0 < side <= _LARGEST for side in shape):
            raise ValueError(f"{shortened(shape)} is not the shape of a field")
        names.append(key)
        formats.append((_dtype(base, level + 1), tuple(shape)) if shape else _dtype(base, level + 1))
        offsets.append(offset)
    description: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    try:
        structure: np.dtype[Any] = np.dtype(description)
    except (TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{shortened(name)} is not a structure ({error})") from None
    return structure
