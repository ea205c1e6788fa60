"""Features of TensorFlow Datasets: what ``features.json`` says about the values in records, and their decoding.

A feature has a name whose parts are joined by ``/``. Within a sequence, such as the steps of an episode, a feature of a
record has the values of all items, one after the other; a sequence in a sequence has them below
``ragged_flat_values``, and the lengths of the inner one below ``ragged_row_lengths_0``. Numbers are stored as integers
of 64 bits or floats of 32 bits, or, with an encoding, as the bytes of each item. The layout is that of
https://github.com/tensorflow/datasets (``example_serializer.py``, ``features/``).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari.errors import InterchangeError
from minari.interchange.pictures import MOST_PIXELS_PER_BYTE, decode_picture
from minari.interchange.tf_example import Feature
from minari.spaces import is_utf8_text, object_column
from minari.spaces.inference import infer_observation_space


__all__ = ["FeatureTree", "Leaf", "Record", "leaves_of", "parse_features", "space_of"]

_NUMBERS: Final = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
_DTYPES: Final = _NUMBERS | {"bool", "float16", "float32", "float64"}
_TEXTS: Final = frozenset({"string", "object", "str", "bytes"})
_MOST_INFLATED: Final = 1032  # bytes that deflate makes of one
_MOST_LEVELS: Final = 30
_LONGEST_NAME: Final = 1000
_VALUES, _LENGTHS = "ragged_flat_values", "ragged_row_lengths_0"

Kind: TypeAlias = Literal["tensor", "picture", "text", "unknown"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A feature with values.

    Attributes:
        name: in records, such as ``"steps/observation/image"``.
        kind: ``"unknown"`` for one that cannot be read.
        dtype: of numbers and pixels.
        shape: of a value; None for a dimension of any length, which only the first one may have.
        encoding: of a tensor: ``"none"``, ``"bytes"`` or ``"zlib"``.
        sequences: the lengths of the sequences that it is in, from the outside; None for any length.
        low, high: the least and greatest number, if they are known.
        description: a sentence about it; empty if there is none.
    """

    name: str
    kind: Kind
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] = ()
    encoding: str = "none"
    sequences: tuple[int | None, ...] = ()
    low: int | None = None
    high: int | None = None
    description: str = ""

    @property
    def is_ragged(self) -> bool:
        """Return whether the values of steps may differ in length."""
        return None in self.sequences[1:] or None in self.shape

    @property
    def is_choice(self) -> bool:
        """Return whether the value of a step is one integer, which may be the number of a choice."""
        is_number = self.kind == "tensor" and self.dtype == np.int64
        return is_number and not self.shape and len(self.sequences) == 1


#: Features by their names.
FeatureTree: TypeAlias = dict[str, Any]


def leaves_of(tree: FeatureTree | Leaf) -> Iterator[Leaf]:
    """Yield the features with values."""
    if isinstance(tree, Leaf):
        yield tree
        return
    for part in tree.values():
        yield from leaves_of(part)


def parse_features(content: Any) -> FeatureTree:
    """Return the features of ``features.json``.

    Raises:
        ValueError: it is something else.
    """
    tree = _parse(content, "", ())
    if isinstance(tree, Leaf):
        raise ValueError("it has no dict of features at its root")
    return tree


def _parse(content: Any, name: str, sequences: tuple[int | None, ...]) -> FeatureTree | Leaf:
    if not isinstance(content, Mapping):
        raise ValueError(f"{shortened(name)} is {shortened(content)}, no feature")
    if name.count("/") > _MOST_LEVELS or len(sequences) > _MOST_LEVELS:
        raise ValueError("its features are nested too deeply")
    if "featuresDict" in content:
        tree: FeatureTree = {}
        for key, part in _mapping(_mapping(content["featuresDict"]).get("features", {})).items():
            if key in ("", ".", "..") or "/" in key or len(key) > _LONGEST_NAME or not is_utf8_text(key):
                raise ValueError(f"it has a feature of the name {shortened(key)}")
            tree[key] = _parse(part, f"{name}/{key}" if name else key, sequences)
        return tree
    if "sequence" in content:
        inner = _mapping(content["sequence"])
        length = _whole(inner.get("length", -1))
        return _parse(inner.get("feature"), name, (*sequences, None if length < 0 else length))
    return _parse_leaf(content, name, sequences)


def _parse_leaf(content: Mapping[str, Any], name: str, sequences: tuple[int | None, ...]) -> Leaf:
    description = _text(content, "description", "")
    kind: Kind = "unknown"
    dtype: np.dtype[Any] = np.dtype(np.int64)
    shape: tuple[int | None, ...] = ()
    encoding, low, high = "none", None, None
    if "tensor" in content or "boundingBox" in content:
        tensor = _mapping(content["tensor"] if "tensor" in content else content["boundingBox"])
        declared, shape, encoding = _text(tensor, "dtype", "float32"), _shape(tensor), _text(tensor, "encoding", "none")
        if declared in _DTYPES and encoding in ("none", "bytes", "zlib") and None not in shape[1:]:
            kind, dtype = "tensor", np.dtype(declared)
        elif declared in _TEXTS and not shape and encoding == "none":
            kind = "text"
        low, high = (None if key not in tensor else _whole(tensor[key]) for key in ("minimum", "maximum"))
    elif "classLabel" in content:
        kind, low = "tensor", 0
        high = _whole(_mapping(content["classLabel"]).get("numClasses", 0)) - 1
    elif "image" in content:
        image = _mapping(content["image"])
        dtype, shape = np.dtype(np.uint8), _shape(image)
        declared = _text(image, "dtype", "uint8")
        if declared in ("uint8", "uint16", "float32") and len(shape) == 3 and None not in shape:
            kind, dtype = "picture", np.dtype(declared)
    elif "text" in content:
        kind = "text"
    if len(sequences) > 2 or (None in shape and len(sequences) > 1):
        kind = "unknown"
    return Leaf(name, kind, dtype, shape, encoding, sequences, low, high, description)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"it has {shortened(value)} where an object was expected")
    return value


def _text(content: Mapping[str, Any], key: str, default: str) -> str:
    value = content.get(key) or default
    if not isinstance(value, str):
        raise ValueError(f"it has the {key} {shortened(value)}")
    return value


def _whole(value: Any) -> int:
    """Return an integer of 64 bits, which JSON of protobuf has as text."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"it has {shortened(value)} where a whole number was expected")
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("it has a number of more than 64 bits")
    return number


def _shape(content: Mapping[str, Any]) -> tuple[int | None, ...]:
    dimensions = _mapping(content.get("shape", {})).get("dimensions", [])
    if not isinstance(dimensions, list) or len(dimensions) > 32:
        raise ValueError(f"it has the shape {shortened(dimensions)}")
    return tuple(None if (size := _whole(one)) < 0 else size for one in dimensions)


def space_of(tree: FeatureTree | Leaf, text_spaces: Mapping[str, gym.Space[Any]]) -> gym.Space[Any]:
    """Return the space of features of steps.

    Args:
        tree: the features.
        text_spaces: the spaces of those that only the values determine, by name.

    Raises:
        InterchangeError: a feature has no space.
    """
    if not isinstance(tree, Leaf):
        return gym.spaces.Dict({key: space_of(part, text_spaces) for key, part in tree.items()})
    if tree.name in text_spaces:
        return text_spaces[tree.name]
    if tree.kind == "unknown" or (tree.kind == "text" and tree.is_ragged):
        raise InterchangeError(
            f"The feature {tree.name!r} is of a kind that has no space (a dtype other than numbers and text, or a "
            f"shape or sequence with several dimensions of any length); convert the data set without it."
        )
    if tree.is_choice and tree.low is not None and tree.high is not None and 0 <= tree.high - tree.low < 2**62:
        return gym.spaces.Discrete(tree.high - tree.low + 1, start=tree.low)
    box = infer_observation_space(np.empty((0, *_inner_shape(tree)), tree.dtype))
    return gym.spaces.Sequence(box, stack=True) if tree.is_ragged else box


def _inner_shape(leaf: Leaf) -> tuple[int, ...]:
    """Return the shape of the value of a step, or, if it is ragged, of its items."""
    sizes = (*leaf.sequences[1:], *leaf.shape)
    return tuple(size for size in sizes if size is not None)


class Record:
    """The values of an Example, decoded as the features say.

    Args:
        example: the lists of the Example.
    """

    def __init__(self, example: Mapping[str, Feature]) -> None:
        self._example = example

    def __contains__(self, leaf: Leaf) -> bool:
        return leaf.name in self._example or f"{leaf.name}/{_VALUES}" in self._example

    def value(self, leaf: Leaf) -> Any:
        """Return the value of a feature outside of steps: a number, array or text, or a list of texts.

        Raises:
            ValueError: it cannot be decoded.
        """
        items = _items(leaf, self._feature(leaf.name), None if leaf.sequences else 1)
        if leaf.sequences:
            return items
        if len(items) != 1:
            raise ValueError(f"{shortened(leaf.name)} has {len(items)} values")
        return items[0]

    def steps(self, leaf: Leaf, count: int) -> Any:
        """Return the values of a feature of steps: an array with time first, or a list of texts or arrays.

        Args:
            leaf: the feature.
            count: the number of steps.

        Raises:
            ValueError: they cannot be decoded, or are of another number.
        """
        inner = leaf.sequences[1:]
        if inner and leaf.name not in self._example:
            values = self._sequences(leaf, count)
        else:
            values = _items(leaf, self._feature(leaf.name), count * (inner[0] or 0) if inner else count)
            if inner and inner[0]:
                values = [values[start : start + inner[0]] for start in range(0, len(values), inner[0])]
        if len(values) != count:
            raise ValueError(f"{shortened(leaf.name)} has {len(values)} values for {count} steps")
        if leaf.is_ragged or leaf.kind == "text":
            return list(values)
        return np.stack(values) if inner and count else np.asarray(values)

    def frames(self, leaf: Leaf, count: int | None = None) -> npt.NDArray[Any]:
        """Return the pictures of a feature of steps as the byte strings that they are stored as.

        Raises:
            ValueError: they are not as many as there are steps, if that is given.
        """
        parts = self._feature(leaf.name).strings()
        if count not in (None, len(parts)):
            raise ValueError(f"{shortened(leaf.name)} has {len(parts)} values for {count} steps")
        return object_column([bytes(part) for part in parts])

    def count(self, leaves: Iterable[Leaf]) -> int:
        """Return the number of steps, by the first of some features that tells it; 0 if none does."""
        for leaf in leaves:
            count = self._count(leaf)
            if count is not None:
                return count
        return 0

    def _count(self, leaf: Leaf) -> int | None:
        if len(leaf.sequences) > 1:
            lengths = self._example.get(f"{leaf.name}/{_LENGTHS}")
            return None if lengths is None else len(lengths.integers())
        feature = self._example.get(leaf.name)
        if feature is None or leaf.kind == "unknown":
            return None
        if leaf.kind != "tensor" or leaf.encoding != "none":
            return len(feature.strings())
        size = 0 if None in leaf.shape else math.prod(_inner_shape(leaf))
        return len(_numbers(leaf, feature)) // size if size else None

    def _feature(self, name: str) -> Feature:
        if name not in self._example:
            raise ValueError(f"it has no {shortened(name)}")
        return self._example[name]

    def _sequences(self, leaf: Leaf, count: int) -> list[Any]:
        lengths = self._feature(f"{leaf.name}/{_LENGTHS}").integers().tolist()
        items = _items(leaf, self._feature(f"{leaf.name}/{_VALUES}"), None)
        odd = set(lengths) - {leaf.sequences[1]} if leaf.sequences[1] is not None else set()
        if odd or min(lengths, default=0) < 0 or sum(lengths) != len(items):
            raise ValueError(f"{shortened(leaf.name)} has {len(items)} items, and lengths that do not fit")
        ends = list(accumulate(lengths))
        return [items[end - length : end] for length, end in zip(lengths, ends, strict=True)]


def _items(leaf: Leaf, feature: Feature, expected: int | None) -> Any:
    """Return the items of a list: an array, or a list of texts or of arrays of different lengths.

    Args:
        leaf: the feature.
        feature: the list.
        expected: the number of items, if that is known.
    """
    if leaf.kind == "text":
        return _texts(feature.strings())
    shape = tuple(size for size in leaf.shape if size is not None)
    if leaf.kind == "picture":
        return _pictures(feature.strings(), shape, leaf.dtype)
    if leaf.encoding != "none":
        return _blobs(leaf, feature.strings(), shape)
    values = _numbers(leaf, feature).astype(leaf.dtype)
    size = math.prod(shape)
    if None in leaf.shape:
        if not expected or not size or len(values) % (expected * size):
            raise ValueError(f"{shortened(leaf.name)} has {len(values)} numbers for {expected} items")
        return list(values.reshape(expected, -1, *shape))
    if not size and not len(values):
        return np.empty((expected or 0, *shape), leaf.dtype)
    if not size or len(values) % size:
        raise ValueError(f"{shortened(leaf.name)} has {len(values)} numbers for items of shape {shape}")
    return values.reshape(-1, *shape)


def _numbers(leaf: Leaf, feature: Feature) -> npt.NDArray[Any]:
    return feature.floats() if leaf.dtype.kind == "f" else feature.integers(leaf.dtype)


def _texts(parts: list[memoryview]) -> list[str] | list[bytes]:
    """Return texts; as bytes if one of them is not UTF-8."""
    try:
        return [str(part, "utf-8") for part in parts]
    except UnicodeDecodeError:
        return [bytes(part) for part in parts]


def _pictures(parts: list[memoryview], shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if len(parts) * math.prod(shape) > MOST_PIXELS_PER_BYTE * sum(map(len, parts)):
        raise ValueError(
            f"{sum(map(len, parts))} bytes, which cannot be those of {len(parts)} pictures of shape {shape}"
        )
    pixels = np.empty((len(parts), *shape), dtype)
    for number, part in enumerate(parts):
        pixels[number] = decode_picture(part, shape, dtype)
    return pixels


def _blobs(leaf: Leaf, parts: list[memoryview], shape: tuple[int, ...]) -> Any:
    """Return items that are encoded one by one."""
    stored, size = leaf.dtype.newbyteorder("<"), math.prod(shape) * leaf.dtype.itemsize
    is_open = None in leaf.shape
    items = []
    if not is_open and len(parts) * size > (_MOST_INFLATED + 1) * sum(map(len, parts)):
        raise ValueError(f"{shortened(leaf.name)} has too few bytes for {len(parts)} items of shape {shape}")
    for part in parts:
        data = _inflated(part, None if is_open else size) if leaf.encoding == "zlib" else part
        if (not size or len(data) % size) if is_open else len(data) != size:
            raise ValueError(
                f"{shortened(leaf.name)} has an item of {len(data)} bytes, expected the shape {leaf.shape}"
            )
        items.append(np.frombuffer(data, stored).reshape(-1, *shape) if is_open else np.frombuffer(data, stored))
    if is_open:
        return [item.astype(leaf.dtype) for item in items]
    joined = np.concatenate([np.empty(0, stored), *items]).astype(leaf.dtype, copy=False)
    return joined.reshape(len(parts), *shape)


def _inflated(data: memoryview, size: int | None) -> bytes:
    """Return decompressed bytes, of which there are so many if a size is given."""
    stream = zlib.decompressobj()
    limit = size if size is not None else _MOST_INFLATED * (len(data) + 1)
    try:
        inflated = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not stream.eof or len(inflated) > limit:
        raise ValueError("compressed bytes that do not end where they should")
    return inflated
