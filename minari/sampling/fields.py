"""The fields of a batch: which leaves are read for them, and how they are nested."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._storages.rows import RowRequest
from minari.errors import ArgumentError, ArgumentTypeError
from minari.spaces import ArrayCodec, Column, ColumnPath, DictCodec, SpaceCodec, TupleCodec, path_name


__all__ = ["NEXT_OBSERVATIONS", "FieldTree", "Part", "Positions", "checked_names", "parts_of", "select"]

Positions = npt.NDArray[np.int64]

NEXT_OBSERVATIONS: Final = "next_observations"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a space that is read as one value: an array leaf, or a space whose values have no fixed shape.

    Attributes:
        path: the path in the dataset, such as ``("observations", "camera")``.
        shape: the shape of a step's value; None for values without a fixed shape, which are read as lists.
        codec: the codec of values without a fixed shape.
    """

    path: ColumnPath
    shape: tuple[int, ...] | None
    codec: SpaceCodec | None = None

    def at(
        self, episodes: Positions, rows: Positions, length: int | None = None, out: Column | None = None
    ) -> tuple[Part, RowRequest]:
        """Return this part with a request of its rows; see :class:`~minari._storages.rows.RowRequest`."""
        return self, RowRequest(self.path, self.shape or (), episodes, rows, length, out)


def parts_of(codec: SpaceCodec) -> Iterator[Part]:
    """Yield the parts of a space, from left to right."""
    if isinstance(codec, DictCodec):
        for inner in codec.codecs.values():
            yield from parts_of(inner)
    elif isinstance(codec, TupleCodec):
        for inner in codec.codecs:
            yield from parts_of(inner)
    elif isinstance(codec, ArrayCodec):
        yield Part(codec.path, codec.shape)
    else:
        yield Part(codec.path, None, codec)


class FieldTree:
    """The selected parts of a space, and their nesting.

    Args:
        codec: the codec of the space.
        paths: the paths of the selected parts.
    """

    def __init__(self, codec: SpaceCodec, paths: Iterable[ColumnPath]) -> None:
        chosen = set(paths)
        self.parts = [part for part in parts_of(codec) if part.path in chosen]
        self._nest = _nesting(codec, chosen)

    def nest(self, values: Sequence[Any]) -> Any:
        """Return the values of the parts nested as the space is.

        Parts that were not selected are left out of a ``Dict``, and are None in a ``Tuple``.
        """
        return self._nest({part.path: value for part, value in zip(self.parts, values, strict=True)})

    def outs(self, nested: Any) -> list[Any]:
        """Return the arrays of the parts out of values nested as the space is; None for those that are not arrays."""
        if nested is None:
            return [None] * len(self.parts)
        found: list[Any] = []
        for part in self.parts:
            value = nested
            for key in part.path[1:]:
                is_there = (isinstance(value, dict) and key in value) or (
                    isinstance(value, tuple) and isinstance(key, int) and key < len(value)
                )
                value = value[key] if is_there else None
            found.append(value if isinstance(value, np.ndarray) else None)
        return found


def _nesting(codec: SpaceCodec, chosen: set[ColumnPath]) -> Callable[[Mapping[ColumnPath, Any]], Any]:
    if isinstance(codec, DictCodec):
        inner = {key: _nesting(sub, chosen) for key, sub in codec.codecs.items() if _has_any(sub, chosen)}
        return lambda values: {key: nest(values) for key, nest in inner.items()}
    if isinstance(codec, TupleCodec):
        each = [_nesting(sub, chosen) if _has_any(sub, chosen) else (lambda values: None) for sub in codec.codecs]
        return lambda values: tuple(nest(values) for nest in each)
    path = codec.path
    return lambda values: values[path]


def _has_any(codec: SpaceCodec, chosen: set[ColumnPath]) -> bool:
    parts = list(parts_of(codec))
    return not parts or any(part.path in chosen for part in parts)  # (an empty Dict is part of its parent)


def checked_names(name: str, given: object) -> tuple[str, ...]:
    """Return the names of fields or infos that a user has given.

    Raises:
        ArgumentTypeError: they are not a list of strings.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ArgumentTypeError(f"{name} is {shortened(given)}, expected a list of names.")
    names = tuple(given)
    for one in names:
        if not isinstance(one, str):
            raise ArgumentTypeError(f"{name} holds {shortened(one)}, expected names as strings.")
    return tuple(dict.fromkeys(names))


def select(
    fields: Iterable[str], trees: Mapping[str, SpaceCodec], others: Iterable[str]
) -> dict[str, list[ColumnPath]]:
    """Return the chosen fields and, for those that are spaces, the paths of the chosen parts.

    Args:
        fields: names such as ``"rewards"``, ``"observations"`` or ``"observations/camera"``.
        trees: the fields that are spaces, with their codecs.
        others: the names of all other fields.

    Raises:
        ArgumentError: there is no such field; the message has the nearest names.
    """
    names: dict[str, tuple[str, list[ColumnPath]]] = {name: (name, []) for name in others}
    for field, codec in trees.items():
        paths = [part.path for part in parts_of(codec)]
        names[field] = (field, paths)
        for path in paths:
            for length in range(2, len(path) + 1):
                prefix = path[:length]
                below = [other for other in paths if other[:length] == prefix]
                names[f"{field}/{path_name(prefix[1:])}"] = (field, below)
    chosen: dict[str, list[ColumnPath]] = {}
    for field in fields:
        if field not in names:
            near = difflib.get_close_matches(field, names, n=3, cutoff=0.5) or list(names)[:8]
            raise ArgumentError(
                f"There is no field {shortened(field)}; the nearest names are {', '.join(map(repr, near))}."
            )
        name, paths = names[field]
        known = chosen.setdefault(name, [])
        known += [path for path in paths if path not in known]
    return chosen
