"""Gymnasium spaces as JSON, and back, by value and dtype.

Every space of Gymnasium is known. The random state of a space is not part of its description.

>>> import numpy as np
>>> from gymnasium import spaces
>>> text = serialize_space(spaces.Discrete(3, start=1))
>>> text
'{"type": "Discrete", "dtype": "int64", "start": 1, "n": 3}'
>>> deserialize_space(text)
Discrete(3, start=1)

A space of one's own takes two functions, one for each direction:

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

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari._base.json_text import parse_json, shortened
from minari.errors import SpaceError, UnknownSpaceError


__all__ = ["SpaceReader", "deserialize_space", "serialize_space"]

# What the description of a space may ask for, which somebody else may have written.
_MOST_LEVELS = 64
_MOST_SPACES = 1 << 16
_MOST_BITS = 1 << 24  # of all MultiBinary spaces together: they alone are larger than their description
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
        space: any space of Gymnasium, or of a type given to ``serialize_space.register``.
        to_string: whether to return JSON text; otherwise the object that the text would hold.

    Raises:
        UnknownSpaceError: no function is registered for the type of ``space``.
        SpaceError: the space has a dtype or keys that JSON cannot hold.
    """
    if not isinstance(space, spaces.Space):
        raise SpaceError(f"Expected a gymnasium space to describe, got {space!r}.")
    name = type(space).__name__
    raise UnknownSpaceError(
        f"Spaces of the type {name} have no description in JSON; give one to "
        f"`serialize_space.register({name})`, and its reverse to `deserialize_space.register({name!r})`."
    )


def _written(description: Description, to_string: bool) -> str | Description:
    return json.dumps(description) if to_string else description


@serialize_space.register(spaces.Box)
def _write_box(space: spaces.Box, to_string: bool = True) -> str | Description:
    dtype = np.dtype(space.dtype)
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise SpaceError(f"JSON cannot hold the bounds of a Box of {dtype}; use float64 or less.")
    description = {
        "type": "Box",
        "dtype": str(dtype),
        "shape": list(space.shape),
        "low": space.low.tolist(),
        "high": space.high.tolist(),
    }
    return _written(description, to_string)


@serialize_space.register(spaces.Discrete)
def _write_discrete(space: spaces.Discrete, to_string: bool = True) -> str | Description:
    description = {
        "type": "Discrete",
        "dtype": str(np.dtype(space.dtype)),
        "start": int(space.start),
        "n": int(space.n),
    }
    return _written(description, to_string)


@serialize_space.register(spaces.MultiDiscrete)
def _write_multi_discrete(space: spaces.MultiDiscrete, to_string: bool = True) -> str | Description:
    description = {
        "type": "MultiDiscrete",
        "dtype": str(np.dtype(space.dtype)),
        "nvec": space.nvec.tolist(),
        "start": space.start.tolist(),
    }
    return _written(description, to_string)


@serialize_space.register(spaces.MultiBinary)
def _write_multi_binary(space: spaces.MultiBinary, to_string: bool = True) -> str | Description:
    is_flat = isinstance(space.n, (int, np.integer))
    description = {"type": "MultiBinary", "n": int(space.shape[0]) if is_flat else list(space.shape)}
    return _written(description, to_string)


@serialize_space.register(spaces.Text)
def _write_text(space: spaces.Text, to_string: bool = True) -> str | Description:
    description = {
        "type": "Text",
        "max_length": space.max_length,
        "min_length": space.min_length,
        # In the order of the space, which flattened and masked values depend on.
        "charset": "".join(space.character_list),
    }
    return _written(description, to_string)


@serialize_space.register(spaces.Dict)
def _write_dict(space: spaces.Dict, to_string: bool = True) -> str | Description:
    for key in space.spaces:
        if not isinstance(key, str):
            raise SpaceError(f"The keys of a Dict space must be strings to be stored, got {key!r}.")
    subspaces = {key: serialize_space(subspace, to_string=False) for key, subspace in space.spaces.items()}
    return _written({"type": "Dict", "subspaces": subspaces}, to_string)


@serialize_space.register(spaces.Tuple)
def _write_tuple(space: spaces.Tuple[Any], to_string: bool = True) -> str | Description:
    subspaces = [serialize_space(subspace, to_string=False) for subspace in space.spaces]
    return _written({"type": "Tuple", "subspaces": subspaces}, to_string)


@serialize_space.register(spaces.OneOf)
def _write_one_of(space: spaces.OneOf[Any], to_string: bool = True) -> str | Description:
    subspaces = [serialize_space(subspace, to_string=False) for subspace in space.spaces]
    return _written({"type": "OneOf", "subspaces": subspaces}, to_string)


@serialize_space.register(spaces.Sequence)
def _write_sequence(space: spaces.Sequence, to_string: bool = True) -> str | Description:
    description = {
        "type": "Sequence",
        "feature_space": serialize_space(space.feature_space, to_string=False),
        "stack": bool(space.stack),
    }
    return _written(description, to_string)


@serialize_space.register(spaces.Graph)
def _write_graph(space: spaces.Graph, to_string: bool = True) -> str | Description:
    edges = space.edge_space
    description = {
        "type": "Graph",
        "node_space": serialize_space(space.node_space, to_string=False),
        "edge_space": None if edges is None else serialize_space(edges, to_string=False),
    }
    return _written(description, to_string)


class SpaceReader:
    """What :func:`deserialize_space` is: it reads a description by the function of its type.

    Attributes:
        registry: for the name of each known type, the function that reads it.
    """

    def __init__(self) -> None:
        self.registry: dict[str, Callable[[Description], Space]] = {}

    def register(self, type_name: str) -> Callable[[Reader], Reader]:
        """Decorate a function that makes a space of the description whose ``type`` is ``type_name``."""

        def add(function: Reader) -> Reader:
            self.registry[type_name] = function
            return function

        return add

    def __call__(self, space_dict: str | bytes | Mapping[str, Any]) -> Space:
        """Make the space that a description in JSON stands for.

        Args:
            space_dict: the text, or the object, that :func:`serialize_space` gave.

        Raises:
            UnknownSpaceError: no function is registered for the type of the description.
            SpaceError: the text is no JSON object, or a key is missing or has a wrong value.
        """
        description = _parsed(space_dict)
        _check_extent(description)
        return self._read(description)

    def _read(self, description: Description) -> Space:
        """Make the space of a description whose extent has been checked."""
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
        except Exception as error:  # whatever Gymnasium and NumPy raise about values of any kind
            reason = shortened(str(error))
            raise SpaceError(f"The description of a {type_name} space does not make one: {reason}.") from error


def _parsed(space_dict: str | bytes | Mapping[str, Any]) -> Description:
    value: Any = space_dict
    if isinstance(space_dict, (str, bytes)):
        try:
            value = parse_json(space_dict)
        except ValueError as error:
            raise SpaceError(f"The description of a space is not valid JSON: {error}.") from error
    if not isinstance(value, Mapping):
        raise SpaceError(f"The description of a space must be a JSON object, got {shortened(value)}.")
    return dict(value)


#: What most of a description consists of, told from mappings in a third of the time.
_SCALARS = frozenset({bool, int, float, str})


def _check_extent(description: Mapping[str, Any]) -> None:
    """Make sure that a description asks for no more than its own length warrants, before anything is made of it."""
    count = bits = 0
    pending: list[tuple[Mapping[str, Any], int]] = [(description, 1)]
    while pending:
        node, level = pending.pop()
        if "type" in node:
            count, level = count + 1, level + 1
            bits += _bits_of(node)
        if level > _MOST_LEVELS + 1 or count > _MOST_SPACES or bits > _MOST_BITS:
            raise SpaceError(
                f"The description of a space has too many parts, expected no more than {_MOST_LEVELS} levels, "
                f"{_MOST_SPACES:,} spaces and {_MOST_BITS:,} binary values; describe a smaller space."
            )
        for value in node.values():
            parts = value if isinstance(value, list) else (value,)
            pending += [(part, level) for part in parts if type(part) not in _SCALARS and isinstance(part, Mapping)]


def _bits_of(description: Mapping[str, Any]) -> int:
    """The number of values of a MultiBinary space, which its description gives without listing them."""
    if description["type"] != "MultiBinary":
        return 0
    n = description.get("n")
    sizes = n if isinstance(n, list) else [n]
    bits = 1
    for size in sizes:
        if not isinstance(size, int) or size < 0:
            raise SpaceError(f"The 'n' of a MultiBinary space must be sizes, got {shortened(n)}.")
        bits *= size
        if bits > _MOST_BITS:
            break
    return bits


def _dtype_of(name: Any) -> np.dtype[Any]:
    """The dtype of that name, which must be one of numbers."""
    dtype = _DTYPES.get(name) if isinstance(name, str) else None
    if dtype is None:
        raise SpaceError(f"The dtype of a space must be one of numbers, such as 'float32', got {shortened(name)}.")
    return dtype.newbyteorder(">") if name.startswith(">") else dtype


deserialize_space = SpaceReader()


@deserialize_space.register("Box")
def _read_box(description: Description) -> Space:
    dtype = _dtype_of(description["dtype"])
    shape = tuple(description["shape"])
    low, high = (_bounds(description[key], key, shape, dtype) for key in ("low", "high"))
    return spaces.Box(low=low, high=high, shape=shape, dtype=dtype.type if dtype.isnative else dtype)


def _bounds(values: Any, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    bounds = np.array(values, dtype=dtype)
    if bounds.size == 0:
        # Nested lists cannot tell (0, 3) from (0,).
        bounds = bounds.reshape(shape)
    if bounds.shape != shape:
        raise SpaceError(f"The bounds {key!r} of a Box have the shape {bounds.shape}, expected {shape}.")
    return bounds


@deserialize_space.register("Discrete")
def _read_discrete(description: Description) -> Space:
    n, start = description["n"], description.get("start", 0)
    dtype = _dtype_of(description.get("dtype", "int64"))
    # The first releases of Gymnasium 1 know no other dtype.
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
    # Gymnasium sorts the keys of a plain dict, and leaves those of an OrderedDict where they are.
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
