"""Codecs of spaces: the values of many steps <-> flat columns with time first.

A codec is selected by the type of the space, so that custom spaces can have their own:

>>> import gymnasium as gym
>>> from minari.spaces import ArrayCodec, register_codec
>>> class Angle(gym.spaces.Box):
...     '''A space that is stored like any other box.'''
>>> register_codec(Angle)(ArrayCodec)
<class 'minari.spaces.codecs.ArrayCodec'>

In a dataset, such a space is described by the Gymnasium space that its codec records it as, here a ``Box``,
and restored as that space, unless it has its own description in JSON; see :mod:`minari.spaces.serialization`.
"""

from __future__ import annotations

import string
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import singledispatch
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces

from minari._base.plain_values import array_of, brief, plain_value, type_name
from minari.errors import EpisodeError, EpisodeTypeError, UnknownSpaceError
from minari.spaces.columns import (
    Column,
    ColumnPath,
    Columns,
    Leaf,
    is_utf8_text,
    native,
    object_column,
    path_name,
    without_ones,
)


# The Text space that stands for other spaces of text, which do not specify lengths and characters.
_LONGEST_TEXT = 4096
_CHARACTERS = string.digits + string.ascii_letters + string.punctuation + " "

CodecFactory = Callable[[Any, ColumnPath], "SpaceCodec"]
F = TypeVar("F", bound=CodecFactory)


class SpaceCodec(ABC):
    """Converter between the values of a space over many steps and columns.

    Args:
        space: the space.
        path: prefix of the paths of all its columns.
    """

    def __init__(self, space: spaces.Space[Any], path: ColumnPath = ()) -> None:
        self.space = space
        self.path = path

    @property
    def name(self) -> str:
        """Return the path for messages."""
        return path_name(self.path) or "the value"

    @abstractmethod
    def encode(self, values: Any) -> dict[ColumnPath, Column]:
        """Return the columns of the values.

        Args:
            values: a list with one value per step, or, for a ``Dict``, ``Tuple`` or array, the values column
                by column: a dict or tuple of such values, an array with time first.

        Raises:
            EpisodeError: the shape or type of the values does not match the space.
        """

    @abstractmethod
    def decode(self, columns: Columns) -> Any:
        """Return the values for readers: arrays with time first, nested like the space, or a list of steps."""

    @abstractmethod
    def steps(self, decoded: Any, count: int) -> list[Any]:
        """Return the values of ``count`` steps as the environment gave them, from the result of ``decode``."""

    @abstractmethod
    def count(self, columns: Columns) -> int | None:
        """Return the number of steps in the columns; None if the space is empty and the number is unknown."""

    @abstractmethod
    def paths(self) -> Iterator[ColumnPath]:
        """Return the paths of all columns of the codec."""

    def leaves(self) -> Iterator[Leaf]:
        """Return the leaves that are arrays with one row per step."""
        return iter(())

    def recorded_space(self) -> spaces.Space[Any] | None:
        """Return the Gymnasium space with the same columns that describes this one in a dataset; None for none."""
        return None

    @abstractmethod
    def layout(self) -> Any:
        """Return the layout of the columns, without bounds: equal for spaces whose episodes can be mixed."""


@singledispatch
def _find_codec(space: Any, path: ColumnPath) -> SpaceCodec:
    raise EpisodeTypeError(f"Expected a gymnasium space for {path_name(path)}, got {space!r}.")


def codec_for(space: spaces.Space[Any], path: ColumnPath = ()) -> SpaceCodec:
    """Return the codec of a space.

    Raises:
        UnknownSpaceError: the type of the space has no codec, and the space has no shape and dtype.
    """
    return _find_codec(space, path)


def register_codec(space_type: type) -> Callable[[F], F]:
    """Register the codec of a space type and its subclasses.

    Returns:
        A decorator for a :class:`SpaceCodec` class, or a function of a space and a path.
    """

    def register(factory: F) -> F:
        _find_codec.register(space_type, factory)
        return factory

    return register


@register_codec(spaces.Space)
def _codec_of_unknown_space(space: spaces.Space[Any], path: ColumnPath) -> SpaceCodec:
    if _is_of_text(space):
        return TextCodec(space, path)
    if space.shape is not None and space.dtype is not None:
        return ArrayCodec(space, path)
    raise unknown_space(space)


def _is_of_text(space: spaces.Space[Any]) -> bool:
    """Return whether the dtype of a space is that of strings, as for the missions of MiniGrid."""
    return space.shape is None and space.dtype is not None and space.dtype.kind == "U"


def recorded_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return the Gymnasium space that describes a space in a dataset: itself, its base, or that of its codec.

    Raises:
        UnknownSpaceError: the space is not a subclass of one of Gymnasium's, has no codec of its own, and is not text.
    """
    is_known = _find_codec.dispatch(type(space)) is not _codec_of_unknown_space or _is_of_text(space)
    recorded = codec_for(space).recorded_space() if is_known else None
    if recorded is None:
        raise unknown_space(space)
    return recorded


def unknown_space(space: spaces.Space[Any]) -> UnknownSpaceError:
    """Return the error for a space without a codec."""
    name = type(space).__name__
    return UnknownSpaceError(
        f"Spaces of the type {name} cannot be stored, as it is unknown which of Gymnasium's spaces has such values; "
        f"call `minari.spaces.register_codec({name})(minari.spaces.ArrayCodec)` first if they are arrays of one shape "
        f"and dtype, do so with `minari.spaces.TextCodec` if they are text, or give the space a description in JSON, "
        f"`serialize_space.register({name})` and `deserialize_space.register({name!r})` of minari.spaces.serialization."
    )


class ArrayCodec(SpaceCodec):
    """Codec of spaces whose value is an array of one shape and dtype: Box, Discrete, and so on.

    An array keeps its dtype, so that nothing is lost; Python numbers take the dtype of the space if it
    represents them exactly. A value that differs from the shape of the space only by dimensions of length one
    is stored in the shape of the space. Values that cannot belong to the space are rejected: text, ragged
    lists, fractions for integers.
    """

    def __init__(self, space: spaces.Space[Any], path: ColumnPath = ()) -> None:
        super().__init__(space, path)
        if space.dtype is None:
            raise UnknownSpaceError(
                f"The space {space!r} has no dtype, which arrays require; give it one, or register another codec."
            )
        self.dtype = np.dtype(space.dtype)
        self.shape = tuple(space.shape or ())

    def encode(self, values: Any) -> dict[ColumnPath, Column]:
        try:
            column = np.asarray(values)
        except Exception:  # rows of different shapes, or values of other libraries, which may raise anything
            column = self._row_by_row(values)
        if column.dtype == self.dtype and column.ndim and column.shape[1:] == self.shape:
            return {self.path: column}
        if column.dtype.kind not in "biufc":
            column = self._row_by_row(values)
        if column.shape == (0,):
            return {self.path: np.empty((0, *self.shape), self.dtype)}
        if column.ndim == 0 or not self._fits(column.shape[1:]):
            raise EpisodeError(
                f"The {self.name} have the shape {column.shape[1:]} a step, expected {self.shape} "
                f"as in the space {self.space}."
            )
        if column.shape[1:] != self.shape:
            column = column.reshape(len(column), *self.shape)
        if column.dtype != self.dtype:
            column = native(self._with_fitting_dtype(column, weak=_are_python_numbers(values)))
        return {self.path: column}

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return shape == self.shape or without_ones(shape) == without_ones(self.shape)

    def _row_by_row(self, values: Any) -> Column:
        """Return an array that NumPy cannot create directly; name the first invalid value."""
        rows = []
        for step, value in enumerate(values):
            row: Column | None = None
            try:
                row = array_of(value)
                row = np.asarray(value) if row is None else row
            except ValueError:
                raise self._odd_shape(step, "ragged") from None
            except Exception as error:  # other libraries may raise anything
                raise self._odd_kind(step, value, "object", f": {type(error).__name__}: {error}") from None
            if row.dtype.kind not in "biufc":
                raise self._odd_kind(step, value, str(row.dtype))
            if not self._fits(row.shape):
                raise self._odd_shape(step, row.shape)
            rows.append(row.reshape(self.shape))
        return np.array(rows) if rows else np.empty(0, self.dtype)

    def _odd_shape(self, step: int, shape: Any) -> EpisodeError:
        return EpisodeError(
            f"The {self.name} at step {step} have the shape {shape}, expected {self.shape} "
            f"as in the space {self.space}."
        )

    def _odd_kind(self, step: int, value: Any, found: str, reason: str = "") -> EpisodeError:
        return EpisodeTypeError(
            f"The {self.name} hold {found} values, expected {self.dtype} of shape {self.shape} for each step, and at "
            f"step {step} there is {brief(value)} ({type_name(value)}{reason}); convert it to numbers."
        )

    def _with_fitting_dtype(self, column: Column, weak: bool) -> Column:
        given, declared = column.dtype, self.dtype
        whole_wanted = declared.kind in "biu" and given.kind not in "biu"
        if not (weak or whole_wanted):
            return column
        with np.errstate(all="ignore"):
            converted = column.astype(declared)
            exact = np.array_equal(converted, column, equal_nan=declared.kind in "fc")
        if weak and given.kind in "iu":
            exact = bool(converted.tolist() == column.tolist())  # NumPy would round large integers for the comparison
        if exact:
            return converted
        if whole_wanted:
            row = int(np.nonzero((converted != column).reshape(len(column), -1).any(axis=1))[0][0])
            raise EpisodeTypeError(
                f"The {self.name} at step {row} are {column[row]!r}, expected whole numbers of dtype "
                f"{declared}; convert them, or declare a space of floats."
            )
        return column

    def decode(self, columns: Columns) -> Column:
        return columns[self.path]

    def steps(self, decoded: Any, count: int) -> list[Any]:
        if isinstance(self.space, spaces.Box) and not self.shape:
            return [decoded[step, ...] for step in range(count)]  # a Box returns arrays, even without dimensions
        return list(decoded)

    def count(self, columns: Columns) -> int | None:
        return len(columns[self.path])

    def leaves(self) -> Iterator[Leaf]:
        low, high = getattr(self.space, "low", None), getattr(self.space, "high", None)
        yield Leaf(self.path, self.dtype, self.shape, low, high)

    def recorded_space(self) -> spaces.Space[Any] | None:
        if isinstance(self.space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
            return self.space
        if self.dtype.kind not in "biuf":
            return None
        if self.dtype.kind in "iu":
            whole = np.iinfo(self.dtype)
            return spaces.Box(int(whole.min), int(whole.max), self.shape, self.dtype.type)
        low, high = (0, 1) if self.dtype.kind == "b" else (-np.inf, np.inf)
        return spaces.Box(low, high, self.shape, self.dtype.type)

    def paths(self) -> Iterator[ColumnPath]:
        yield self.path

    def layout(self) -> Any:
        return (self.dtype, self.shape)


def _are_python_numbers(values: Any) -> bool:
    while isinstance(values, (list, tuple)):
        if not values:
            return True
        values = values[0]
    return type(values) in (bool, int, float)


for _space_type in (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary):
    register_codec(_space_type)(ArrayCodec)


def _as_text(value: Any) -> Any:
    """Return the text of a subclass or an enumeration; the value itself if it has none."""
    text = plain_value(value)
    return text if type(text) is str else value


@register_codec(spaces.Text)
class TextCodec(SpaceCodec):
    """Codec of text: one string per step, also for other spaces with string values."""

    def recorded_space(self) -> spaces.Space[Any] | None:
        if isinstance(self.space, spaces.Text):
            return self.space
        return spaces.Text(max_length=_LONGEST_TEXT, min_length=0, charset=_CHARACTERS)

    def encode(self, values: Any) -> dict[ColumnPath, Column]:
        texts = [text if type(text) is str else _as_text(text) for text in values]
        for row, text in enumerate(texts):
            if type(text) is not str:
                raise EpisodeTypeError(
                    f"The {self.name} at step {row} are {brief(text)}, expected a string as in {self.space}."
                )
            if not is_utf8_text(text):
                raise EpisodeTypeError(
                    f"The {self.name} at step {row} are {brief(text)}, which holds a NUL character or half a "
                    f"surrogate pair; UTF-8 text on disk cannot, so leave it out."
                )
        return {self.path: object_column(texts)}

    def decode(self, columns: Columns) -> list[str]:
        texts: list[str] = columns[self.path].tolist()
        if not {str}.issuperset(map(type, texts)):
            raise ValueError(f"the {self.name} are not all text")
        return texts

    def steps(self, decoded: Any, count: int) -> list[Any]:
        return list(decoded)

    def count(self, columns: Columns) -> int | None:
        return len(columns[self.path])

    def paths(self) -> Iterator[ColumnPath]:
        yield self.path

    def layout(self) -> Any:
        return "text"


@register_codec(spaces.Dict)
class DictCodec(SpaceCodec):
    """Codec of ``Dict``: the columns of its subspaces, each under its key."""

    def __init__(self, space: spaces.Dict, path: ColumnPath = ()) -> None:
        super().__init__(space, path)
        self.codecs = {key: codec_for(sub, (*path, key)) for key, sub in space.spaces.items()}

    def encode(self, values: Any) -> dict[ColumnPath, Column]:
        columns: dict[ColumnPath, Column] = {}
        parts = values if isinstance(values, Mapping) else self._transposed(values)
        if parts.keys() != self.codecs.keys():
            raise EpisodeError(
                f"The {self.name} have the keys {sorted(parts, key=str)}, expected "
                f"{sorted(self.codecs)} as in the space."
            )
        for key, codec in self.codecs.items():
            columns.update(codec.encode(parts[key]))
        return columns

    def _transposed(self, values: Any) -> dict[str, list[Any]]:
        rows = list(values)
        for row, value in enumerate(rows):
            if not isinstance(value, Mapping) or value.keys() != self.codecs.keys():
                raise EpisodeError(
                    f"The {self.name} at step {row} are {_brief(value)}, expected a dict with the keys "
                    f"{sorted(self.codecs)}."
                )
        return {key: [value[key] for value in rows] for key in self.codecs}

    def decode(self, columns: Columns) -> dict[str, Any]:
        return {key: codec.decode(columns) for key, codec in self.codecs.items()}

    def steps(self, decoded: Any, count: int) -> list[Any]:
        parts = {key: codec.steps(decoded[key], count) for key, codec in self.codecs.items()}
        return [{key: values[step] for key, values in parts.items()} for step in range(count)]

    def count(self, columns: Columns) -> int | None:
        return _common_count(self, self.codecs.values(), columns)

    def leaves(self) -> Iterator[Leaf]:
        for codec in self.codecs.values():
            yield from codec.leaves()

    def paths(self) -> Iterator[ColumnPath]:
        for codec in self.codecs.values():
            yield from codec.paths()

    def recorded_space(self) -> spaces.Space[Any] | None:
        parts: Any = self.space
        return self.space if isinstance(self.space, spaces.Dict) else spaces.Dict(OrderedDict(parts.spaces))

    def layout(self) -> Any:
        return {key: codec.layout() for key, codec in self.codecs.items()}


@register_codec(spaces.Tuple)
class TupleCodec(SpaceCodec):
    """Codec of ``Tuple``: the columns of its subspaces, each under its position."""

    def __init__(self, space: spaces.Tuple[Any], path: ColumnPath = ()) -> None:
        super().__init__(space, path)
        self.codecs = tuple(codec_for(sub, (*path, i)) for i, sub in enumerate(space.spaces))

    def encode(self, values: Any) -> dict[ColumnPath, Column]:
        parts = values if isinstance(values, tuple) else self._transposed(values)
        if len(parts) != len(self.codecs):
            raise EpisodeError(
                f"The {self.name} are a tuple of {len(parts)} parts, expected {len(self.codecs)} as in the space."
            )
        columns: dict[ColumnPath, Column] = {}
        for codec, part in zip(self.codecs, parts, strict=True):
            columns.update(codec.encode(part))
        return columns

    def _transposed(self, values: Any) -> tuple[list[Any], ...]:
        rows = list(values)
        for row, value in enumerate(rows):
            if not isinstance(value, (tuple, list)) or len(value) != len(self.codecs):
                raise EpisodeError(
                    f"The {self.name} at step {row} are {_brief(value)}, expected a tuple of {len(self.codecs)} parts."
                )
        return tuple([value[i] for value in rows] for i in range(len(self.codecs)))

    def decode(self, columns: Columns) -> tuple[Any, ...]:
        return tuple(codec.decode(columns) for codec in self.codecs)

    def steps(self, decoded: Any, count: int) -> list[Any]:
        parts = [codec.steps(part, count) for codec, part in zip(self.codecs, decoded, strict=True)]
        return [tuple(values[step] for values in parts) for step in range(count)]

    def count(self, columns: Columns) -> int | None:
        return _common_count(self, self.codecs, columns)

    def leaves(self) -> Iterator[Leaf]:
        for codec in self.codecs:
            yield from codec.leaves()

    def paths(self) -> Iterator[ColumnPath]:
        for codec in self.codecs:
            yield from codec.paths()

    def recorded_space(self) -> spaces.Space[Any] | None:
        parts: Any = self.space
        return self.space if isinstance(self.space, spaces.Tuple) else spaces.Tuple(parts.spaces)

    def layout(self) -> Any:
        return tuple(codec.layout() for codec in self.codecs)


def _common_count(parent: SpaceCodec, codecs: Any, columns: Columns) -> int | None:
    counts = {codec.count(columns) for codec in codecs} - {None}
    if len(counts) > 1:
        known = {codec.name: codec.count(columns) for codec in codecs}
        raise EpisodeError(f"The parts of the {parent.name} differ in length: {known}; every step needs each of them.")
    return counts.pop() if counts else None


def kind_in_batch(codec: SpaceCodec, values: Any) -> Any:
    """Return what values have in common that can be encoded together, one episode after the other, without an error.

    Args:
        codec: their codec.
        values: values of an episode, as :meth:`SpaceCodec.encode` takes them.

    Returns:
        The dtypes of the leaves; None if the values have to be encoded alone.
    """
    if type(codec) is ArrayCodec:
        return _kind_of_array(codec, values)
    kinds: list[Any] = []
    if type(codec) is DictCodec and type(values) is dict and values.keys() == codec.codecs.keys():
        kinds = [kind_in_batch(part, values[key]) for key, part in codec.codecs.items()]
    elif type(codec) is TupleCodec and type(values) is tuple and len(values) == len(codec.codecs):
        kinds = list(map(kind_in_batch, codec.codecs, values))
    return tuple(kinds) if kinds and all(kind is not None for kind in kinds) else None


def _kind_of_array(codec: ArrayCodec, values: Any) -> np.dtype[Any] | type | None:
    if type(values) is np.ndarray:
        is_kept = values.dtype == codec.dtype or values.dtype.kind == codec.dtype.kind == "f"
        return values.dtype if is_kept and values.shape[1:] == codec.shape else None
    if type(values) is not list or codec.shape or not values:
        return None
    types = set(map(type, values))
    if types == {codec.dtype.type}:
        return codec.dtype
    are_whole = types == {int} and codec.dtype == np.int64 and min(values) >= -(2**63) and max(values) < 2**63
    return int if are_whole else None


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
