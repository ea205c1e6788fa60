"""Conversion of Gymnasium spaces to JSON and back, preserving values and dtypes.

Every space of Gymnasium is supported. The random state of a space is not stored.

>>> import numpy as np
>>> from gymnasium import spaces
>>> text = serialize_space(spaces.Discrete(3, start=1))
>>> text
'{"type": "Discrete", "dtype": "int64", "start": 1, "n": 3}'
>>> deserialize_space(text)
Discrete(3, start=1)

A subclass of one of these spaces is described as its base class. To restore it as its own class, register two
functions, one for each direction:

>>> class Angle(spaces.Space):
...     def __init__(self, unit): self.unit = unit; super().__init__((), np.float64)
>>> @serialize_space.register(Angle)
... def write_angle(space, to_string=True):
...     description = {"type": "Angle", "unit": space.unit}
...     return json.dumps(description) if to_string else description
>>> @deserialize_space.register("Angle")
... def read_angle(description):
...     return Angle(description["unit"])
>>> deserialize_space(serialize_space(spaces.Dict(joint=Angle("degree"))))["joint"].unit
'degree'
"""

from __future__ import annotations

import copy
import json
import math
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import singledispatch
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari._base.json_text import parse_json, shortened
from minari.errors import SpaceError, UnknownSpaceError
from minari.spaces import ColumnPath, path_name, recorded_space, uniform_bound, unknown_space


__all__ = [
    "MOST_WRITTEN_OUT",
    "SpaceReader",
    "described_types",
    "deserialize_space",
    "has_uniform_bounds",
    "serialize_space",
    "space_classes",
    "with_written_bounds",
]

#: A Box with more numbers and uniform bounds is described by one lower and one upper bound.
MOST_WRITTEN_OUT = 1 << 16

# Limits for untrusted descriptions of spaces.
_MOST_LEVELS = 64
_MOST_SPACES = 1 << 16
_MOST_BITS = 1 << 24  # total of all MultiBinary spaces, which are larger than their description
_MOST_NUMBERS = 1 << 30  # total of all Boxes with uniform bounds, which take no memory for them
_MOST_DIMENSIONS = 64  # the limit of NumPy
_ONE_BOUND = re.compile(r'"(?:low|high)"\s*:\s*[^\[\s]')
_DTYPES = {
    name: dtype
    for dtype in map(np.dtype, "?bhilqBHILQefd")
    for name in (dtype.name, dtype.str, dtype.newbyteorder("<").str, dtype.newbyteorder(">").str)
}

Space: TypeAlias = spaces.Space[Any]
Description: TypeAlias = dict[str, Any]
Reader = TypeVar("Reader", bound=Callable[[Description], Space])


@singledispatch
def serialize_space(space: Space, to_string: bool = True) -> str | Description:
    """Describe a space in JSON.

    Args:
        space: any Gymnasium space, or one of a type registered with ``serialize_space.register``.
        to_string: True to return JSON text; False to return the object that the text represents.

    Raises:
        UnknownSpaceError: no function is registered for the type of ``space``.
        SpaceError: the space has a dtype or keys that JSON cannot represent.
    """
    if not isinstance(space, spaces.Space):
        raise SpaceError(f"Expected a gymnasium space to describe, got {space!r}.")
    recorded = recorded_space(space)
    if serialize_space.dispatch(type(recorded)) is serialize_space.dispatch(object):  # described by its codec
        raise unknown_space(space)
    return serialize_space(recorded, to_string)


Writer: TypeAlias = Callable[[Any], Description]

# The types whose functions are defined here; any other function comes from a user.
_OWN_WRITERS: set[Any] = {serialize_space.dispatch(object)}


def _describes(space_type: type[Space]) -> Callable[[Writer], Writer]:
    """Register the function that describes the spaces of a Gymnasium type, and those recorded as such."""

    def register(describe: Writer) -> Writer:
        def write(space: Space, to_string: bool = True) -> str | Description:
            if type(space) is not space_type:
                recorded = recorded_space(space)
                if not isinstance(recorded, space_type):
                    return serialize_space(recorded, to_string)
                space = recorded
            description = describe(space)
            return json.dumps(description) if to_string else description

        _OWN_WRITERS.add(serialize_space.register(space_type, write))
        return describe

    return register


def space_classes(space: Space, path: ColumnPath = ()) -> dict[str, str]:
    """Return the classes of the spaces that are described as another Gymnasium space.

    >>> class Camera(spaces.Box):
    ...     pass
    >>> space_classes(spaces.Dict(eye=Camera(0, 255, (4, 4))), ("observations",))
    {'observations/eye': 'minari.spaces.serialization:Camera'}

    Args:
        space: any space that can be described.
        path: of the space.

    Returns:
        Path -> ``module:name``, without Gymnasium's own classes and those with their own description.
    """
    if serialize_space.dispatch(type(space)) not in _OWN_WRITERS:
        return {}
    kind = type(space)
    named = {} if kind in serialize_space.registry else {path_name(path): f"{kind.__module__}:{kind.__qualname__}"}
    for name, part in _parts_of(space):
        named.update(space_classes(part, (*path, name)))
    return named


def _parts_of(space: Space) -> Iterator[tuple[str | int, Space]]:
    if isinstance(space, spaces.Dict):
        yield from space.spaces.items()
    elif isinstance(space, (spaces.Tuple, spaces.OneOf)):
        yield from enumerate(space.spaces)
    elif isinstance(space, spaces.Sequence):
        yield "feature_space", space.feature_space
    elif isinstance(space, spaces.Graph):
        yield "node_space", space.node_space
        if space.edge_space is not None:
            yield "edge_space", space.edge_space


@_describes(spaces.Box)
def _write_box(space: spaces.Box) -> Description:
    dtype = np.dtype(space.dtype)
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise SpaceError(f"JSON cannot hold the bounds of a Box of {dtype}; use float64 or less.")
    low, high = space.low, space.high
    if low.size > MOST_WRITTEN_OUT:
        least, greatest = uniform_bound(low), uniform_bound(high)
        if least is not None and greatest is not None:
            low, high = np.asarray(least), np.asarray(greatest)
    return {
        "type": "Box",
        "dtype": str(dtype),
        "shape": list(space.shape),
        "low": low.tolist(),
        "high": high.tolist(),
    }


@_describes(spaces.Discrete)
def _write_discrete(space: spaces.Discrete) -> Description:
    return {
        "type": "Discrete",
        "dtype": str(np.dtype(space.dtype)),
        "start": int(space.start),
        "n": int(space.n),
    }


@_describes(spaces.MultiDiscrete)
def _write_multi_discrete(space: spaces.MultiDiscrete) -> Description:
    return {
        "type": "MultiDiscrete",
        "dtype": str(np.dtype(space.dtype)),
        "nvec": space.nvec.tolist(),
        "start": space.start.tolist(),
    }


@_describes(spaces.MultiBinary)
def _write_multi_binary(space: spaces.MultiBinary) -> Description:
    is_flat = isinstance(space.n, (int, np.integer))
    return {"type": "MultiBinary", "n": int(space.shape[0]) if is_flat else list(space.shape)}


@_describes(spaces.Text)
def _write_text(space: spaces.Text) -> Description:
    return {
        "type": "Text",
        "max_length": space.max_length,
        "min_length": space.min_length,
        # In the order of the space, which flattened and masked values depend on.
        "charset": "".join(space.character_list),
    }


@_describes(spaces.Dict)
def _write_dict(space: spaces.Dict) -> Description:
    for key in space.spaces:
        if not isinstance(key, str):
            raise SpaceError(f"The keys of a Dict space must be strings to be stored, got {key!r}.")
    subspaces = {key: serialize_space(subspace, to_string=False) for key, subspace in space.spaces.items()}
    return {"type": "Dict", "subspaces": subspaces}


@_describes(spaces.Tuple)
def _write_tuple(space: spaces.Tuple[Any]) -> Description:
    subspaces = [serialize_space(subspace, to_string=False) for subspace in space.spaces]
    return {"type": "Tuple", "subspaces": subspaces}


@_describes(spaces.OneOf)
def _write_one_of(space: spaces.OneOf[Any]) -> Description:
    subspaces = [serialize_space(subspace, to_string=False) for subspace in space.spaces]
    return {"type": "OneOf", "subspaces": subspaces}


@_describes(spaces.Sequence)
def _write_sequence(space: spaces.Sequence) -> Description:
    return {
        "type": "Sequence",
        "feature_space": serialize_space(space.feature_space, to_string=False),
        "stack": bool(space.stack),
    }


@_describes(spaces.Graph)
def _write_graph(space: spaces.Graph) -> Description:
    edges = space.edge_space
    return {
        "type": "Graph",
        "node_space": serialize_space(space.node_space, to_string=False),
        "edge_space": None if edges is None else serialize_space(edges, to_string=False),
    }


class SpaceReader:
    """Callable behind :func:`deserialize_space`: reads a description with the function of its type.

    Attributes:
        registry: the function for the name of each known type.
    """

    def __init__(self) -> None:
        self.registry: dict[str, Callable[[Description], Space]] = {}

    def register(self, type_name: str) -> Callable[[Reader], Reader]:
        """Register a function that creates a space from a description with the ``type`` ``type_name``."""

        def add(function: Reader) -> Reader:
            self.registry[type_name] = function
            return function

        return add

    def __call__(self, space_dict: str | bytes | Mapping[str, Any]) -> Space:
        """Create the space of a description in JSON.

        Args:
            space_dict: the text or object returned by :func:`serialize_space`.

        Raises:
            UnknownSpaceError: no function is registered for the type of the description.
            SpaceError: the text is not a JSON object, or a key is missing or has an invalid value.
        """
        description = _parsed(space_dict)
        _check_extent(description)
        return self._read(description)

    def _read(self, description: Description) -> Space:
        """Create the space of a description whose size has been checked."""
        if not isinstance(description, Mapping):
            raise SpaceError(f"The description of a space must be a JSON object, got {shortened(description)}.")
        type_name = description.get("type")
        if not isinstance(type_name, str):
            raise SpaceError(f"The description of a space needs a 'type' that is a string, got {shortened(type_name)}.")
        if type_name not in self.registry:
            raise UnknownSpaceError(
                f"A space of the type {shortened(type_name)} is described, which is not known; import the package it "
                f"comes from, or give a function to `deserialize_space.register({shortened(type_name)})`."
            )
        try:
            return self.registry[type_name](description)
        except SpaceError:
            raise
        except KeyError as error:
            missing = shortened(error.args[0] if error.args else None)
            raise SpaceError(f"The description of a {type_name} space lacks the key {missing}.") from error
        except Exception as error:  # Gymnasium and NumPy may raise anything for invalid values
            reason = shortened(str(error))
            raise SpaceError(f"The description of a {type_name} space does not make one: {reason}.") from error


def _parsed(space_dict: str | bytes | Mapping[str, Any]) -> Description:
    value: Any = space_dict
    if isinstance(space_dict, (str, bytes)):
        if isinstance(space_dict, str) and len(space_dict) > _LONG_TEXT:
            space_dict = _with_uniform_bounds(space_dict)
        try:
            value = parse_json(space_dict)
        except ValueError as error:
            raise SpaceError(f"The description of a space is not valid JSON: {error}.") from error
    if not isinstance(value, Mapping):
        raise SpaceError(f"The description of a space must be a JSON object, got {shortened(value)}.")
    return dict(value)


#: Matches most of a description, three times as fast as testing for mappings.
_SCALARS = frozenset({bool, int, float, str})


def _check_extent(description: Mapping[str, Any]) -> None:
    """Raise if a description requests much more than its own length justifies, before anything is created."""
    count = bits = numbers = 0
    for node, level in _nodes(description):
        if "type" in node:
            count += 1
            if node["type"] == "MultiBinary":  # whose description does not list its values
                n = node.get("n")
                bits += _size_of(n if isinstance(n, list) else [n], "'n' of a MultiBinary")
            numbers += _size_of(node["shape"], "'shape' of a Box") if _is_uniform(node) else 0
        if level > _MOST_LEVELS + 1 or count > _MOST_SPACES or bits > _MOST_BITS or numbers > _MOST_NUMBERS:
            raise SpaceError(
                f"The description of a space has too many parts, expected no more than {_MOST_LEVELS} levels, "
                f"{_MOST_SPACES:,} spaces, {_MOST_BITS:,} binary values and {_MOST_NUMBERS:,} numbers with uniform "
                f"bounds; describe a smaller space."
            )


def _nodes(description: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Yield all objects of a description, each with the number of spaces around it, itself included."""
    pending: list[tuple[Mapping[str, Any], int]] = [(description, 1)]
    while pending:
        node, level = pending.pop()
        level += "type" in node
        yield node, level
        for value in node.values():
            parts = value if isinstance(value, list) else (value,)
            pending += [(part, level) for part in parts if type(part) not in _SCALARS and isinstance(part, Mapping)]


def _size_of(shape: Any, name: str) -> int:
    """Return the number of values of a shape, capped just above the limit."""
    sizes: list[Any] = shape if isinstance(shape, list) else [shape]
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise SpaceError(f"The {name} space must be sizes, got {shortened(shape)}.")
    return math.prod(sizes) if len(sizes) <= _MOST_DIMENSIONS else _MOST_NUMBERS + 1


def _is_uniform(description: Mapping[str, Any]) -> bool:
    """Return whether an object describes a Box of at least one dimension with a single number as a bound."""
    is_array = description.get("type") == "Box" and description.get("shape") not in (None, [])
    return is_array and not (isinstance(description.get("low"), list) and isinstance(description.get("high"), list))


def has_uniform_bounds(space_text: str | Mapping[str, Any]) -> bool:
    """Return whether the description of a space has one bound for many numbers, which 0.5.4 cannot read.

    >>> has_uniform_bounds(serialize_space(spaces.Box(0, 255, (480, 640, 3), np.uint8)))
    True
    >>> has_uniform_bounds(serialize_space(spaces.Box(0, 255, (64, 64, 3), np.uint8)))
    False
    """
    # Without parsing: bounds that are written out in megabytes are recognized quickly.
    if isinstance(space_text, str) and "\\" not in space_text and not _ONE_BOUND.search(space_text):
        return False
    description = parse_json(space_text) if isinstance(space_text, str) else space_text
    return isinstance(description, Mapping) and any(_is_uniform(node) for node, _ in _nodes(description))


def described_types(space_text: str | Mapping[str, Any]) -> set[str]:
    """Return the types of a described space and of all spaces in it.

    >>> sorted(described_types(serialize_space(spaces.Tuple([spaces.Discrete(2), spaces.Text(3)]))))
    ['Discrete', 'Text', 'Tuple']
    """
    return {str(node["type"]) for node, _ in _nodes(_parsed(space_text)) if "type" in node}


def with_written_bounds(space_text: str | Mapping[str, Any], most_bytes: int) -> str:
    """Return the description of a space with every bound written out, as 0.5.4 reads it.

    >>> with_written_bounds('{"type": "Box", "dtype": "int8", "shape": [2], "low": 0, "high": 1}', 100)
    '{"type": "Box", "dtype": "int8", "shape": [2], "low": [0, 0], "high": [1, 1]}'

    Args:
        space_text: the description.
        most_bytes: maximum size of the result.

    Raises:
        SpaceError: it would be larger.
    """
    description = copy.deepcopy(_parsed(space_text))
    _check_extent(description)
    uniform = [node for node, _ in _nodes(description) if _is_uniform(node)]
    # Each number takes at least a digit, a comma and a space, and an empty list no less.
    if sum(6 * math.prod(max(size, 1) for size in node["shape"]) for node in uniform) > most_bytes:
        raise SpaceError(
            f"The bounds of the space take more than {most_bytes:,} bytes when they are written out one by one, as "
            f"0.5.4 needs them; keep the dataset in the form of this release."
        )
    # Placeholders stand for the bounds until the rest is written: millions of Python numbers take a second.
    texts: dict[str, str] = {}
    for node in uniform:
        for key in ("low", "high"):
            if not isinstance(node[key], list):
                name = secrets.token_hex(16)
                texts[f'"{name}"'] = _nested(json.dumps(node[key]), node["shape"])
                node[key] = name  # type: ignore[index]
    parts = re.split(f"({'|'.join(texts)})", json.dumps(description)) if texts else [json.dumps(description)]
    return "".join(texts.get(part, part) for part in parts)


def _nested(value: str, shape: Sequence[int]) -> str:
    """Return the text of nested lists of a shape with a single value, as ``json.dumps`` writes them."""
    for size in reversed(shape):
        value = f"[{', '.join([value] * size)}]"
    return value


_WRITTEN_BOX = re.compile(r'"shape": \[([0-9]{1,9}(?:, [0-9]{1,9}){0,31})\], "low": (?=\[)')
_NUMBER = re.compile(r"\[+(-?[0-9A-Za-z.+-]{1,40})")
_LONG_TEXT = 1 << 14
_MANY_NUMBERS = 1 << 12  # of a Box, from which on comparing their text pays


def _with_uniform_bounds(text: str) -> str:
    """Return the text of a description with written-out uniform bounds replaced by a single number.

    Many numbers, of which earlier releases write millions, are compared as text here, a hundred times as fast as
    parsing them. Text in any other form is unchanged.
    """
    parts, done = [], 0
    left = 2 * len(text)  # size limit of the comparison text, as an untrusted text may request it many times
    for box in _WRITTEN_BOX.finditer(text):
        shape = [int(size) for size in box.group(1).split(", ")]
        start, pieces = box.end(), [box.group()]
        for separator in (', "high": ', "}"):
            number = _NUMBER.match(text, start)
            if number is None or math.prod(shape) < _MANY_NUMBERS:
                break
            left -= math.prod(shape) * (len(number.group(1)) + 2)
            if left < 0:
                return text
            written = _nested(number.group(1), shape)
            if not text.startswith(written + separator, start):
                break
            start += len(written) + len(separator)
            pieces += [number.group(1), separator]
        else:
            parts += [text[done : box.start()], *pieces]
            done = start
    return "".join([*parts, text[done:]])


def _dtype_of(name: Any) -> np.dtype[Any]:
    """Return the dtype with that name, which must be numeric."""
    dtype = _DTYPES.get(name) if isinstance(name, str) else None
    if dtype is None:
        raise SpaceError(f"The dtype of a space must be one of numbers, such as 'float32', got {shortened(name)}.")
    return dtype.newbyteorder(">") if name.startswith(">") else dtype


deserialize_space = SpaceReader()


@deserialize_space.register("Box")
def _read_box(description: Description) -> Space:
    dtype = _dtype_of(description["dtype"])
    shape = tuple(description["shape"])
    if _is_uniform(description):
        return _uniform_box(description["low"], description["high"], shape, dtype)
    low, high = _bounds(description, "low", shape, dtype), _bounds(description, "high", shape, dtype)
    return spaces.Box(low=low, high=high, shape=shape, dtype=dtype.type if dtype.isnative else dtype)


def _uniform_box(low: Any, high: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Space:
    """Return a Box whose bounds are views of a single number each, so that they take no memory."""
    least, greatest = np.array(low, dtype=dtype), np.array(high, dtype=dtype)
    if least.ndim or greatest.ndim:
        raise SpaceError(f"The bounds of a Box must both be numbers or both be lists, got {shortened((low, high))}.")
    one = (1,) * len(shape)
    box: Space = spaces.Box(
        least.reshape(one), greatest.reshape(one), one, dtype=dtype.type if dtype.isnative else dtype
    )
    for name, value in vars(box).items():
        if isinstance(value, np.ndarray):
            setattr(box, name, np.broadcast_to(value, shape))
    box._shape = shape
    return box


def _bounds(description: Description, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    bounds = np.array(description[key], dtype=dtype)
    if bounds.size == 0:
        # Nested lists cannot distinguish (0, 3) from (0,).
        bounds = bounds.reshape(shape)
    if bounds.shape != shape:
        raise SpaceError(f"The bounds {key!r} of a Box have the shape {bounds.shape}, expected {shape}.")
    return bounds


@deserialize_space.register("Discrete")
def _read_discrete(description: Description) -> Space:
    n, start = description["n"], description.get("start", 0)
    dtype = _dtype_of(description.get("dtype", "int64"))
    # The first releases of Gymnasium 1 support no other dtype.
    return spaces.Discrete(n, start=start) if dtype == np.int64 else spaces.Discrete(n, start=start, dtype=dtype.type)


@deserialize_space.register("MultiDiscrete")
def _read_multi_discrete(description: Description) -> Space:
    dtype = _dtype_of(description.get("dtype", "int64"))
    nvec = np.array(description["nvec"], dtype=dtype)
    start = description.get("start")
    offset = None if start is None else np.array(start, dtype=dtype)
    return spaces.MultiDiscrete(nvec, dtype=dtype.type, start=offset)


@deserialize_space.register("MultiBinary")
def _read_multi_binary(description: Description) -> Space:
    return spaces.MultiBinary(description["n"])


@deserialize_space.register("Text")
def _read_text(description: Description) -> Space:
    return spaces.Text(
        max_length=description["max_length"],
        min_length=description["min_length"],
        charset=description["charset"],
    )


@deserialize_space.register("Dict")
def _read_dict(description: Description) -> Space:
    # Gymnasium sorts the keys of a plain dict, but not those of an OrderedDict.
    subspaces = description["subspaces"].items()
    return spaces.Dict(OrderedDict((key, deserialize_space._read(subspace)) for key, subspace in subspaces))


@deserialize_space.register("Tuple")
def _read_tuple(description: Description) -> Space:
    return spaces.Tuple([deserialize_space._read(subspace) for subspace in description["subspaces"]])


@deserialize_space.register("OneOf")
def _read_one_of(description: Description) -> Space:
    return spaces.OneOf([deserialize_space._read(subspace) for subspace in description["subspaces"]])


@deserialize_space.register("Sequence")
def _read_sequence(description: Description) -> Space:
    return spaces.Sequence(deserialize_space._read(description["feature_space"]), stack=description["stack"])


@deserialize_space.register("Graph")
def _read_graph(description: Description) -> Space:
    edges = description["edge_space"]
    nodes = deserialize_space._read(description["node_space"])
    return spaces.Graph(nodes, None if edges is None else deserialize_space._read(edges))
