"""Codecs of the spaces whose values differ in size from step to step: Sequence, Graph, OneOf.

Each stores the concatenated elements of all steps, using the codec of the element space, and beside them a
column with the number of elements of each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from minari._base.json_text import shortened
from minari.errors import DatasetCorruptError, EpisodeTypeError
from minari.spaces.codecs import SpaceCodec, codec_for, register_codec
from minari.spaces.columns import Column, ColumnPath, Columns


_MOST_EMPTY: Final = 1 << 20  # elements of an empty space, which only the lengths determine


def _counts(lengths: Column, name: str, least: int = 0) -> list[int]:
    """Return the stored numbers of elements of each step, as ints.

    Raises:
        DatasetCorruptError: they are not numbers of elements.
    """
    counts: list[int] = lengths.tolist() if lengths.ndim == 1 and lengths.dtype.kind in "iu" else [least - 1]
    if min(counts, default=least) < least:
        raise _damaged(name, "has lengths that are not numbers of elements")
    return counts


def _bounds(counts: list[int], elements: int | None, name: str) -> list[tuple[int, int]]:
    """Return the start and end of the elements of each step.

    Args:
        counts: the number of elements of each step.
        elements: the total number; None if unknown.
        name: name of the column, for the message.

    Raises:
        DatasetCorruptError: the counts do not add up to the number of elements.
    """
    ends = list(accumulate(counts, initial=0))
    if elements not in (None, ends[-1]):
        raise _damaged(name, f"has {elements} elements, and lengths that add up to {ends[-1]}")
    if elements is None and ends[-1] > _MOST_EMPTY:
        raise _damaged(name, f"has {ends[-1]} elements without any value")
    return list(pairwise(ends))


def _damaged(name: str, reason: str) -> DatasetCorruptError:
    return DatasetCorruptError(
        f"{shortened(name)} of an episode {reason}, so that it is damaged; copy or download the dataset again."
    )


def _step_by_step(values: Any) -> Any:
    """Return the values as a list with one item per step, if a buffer has collected them part by part.

    A buffer that is filled step by step does not know the space, and treats tuples and dicts as structure.
    """
    if not isinstance(values, (Mapping, tuple)) or not values:
        return values
    parts = [_step_by_step(part) for part in (values.values() if isinstance(values, Mapping) else values)]
    if not all(isinstance(part, list) and len(part) == len(parts[0]) for part in parts):
        return values
    steps = zip(*parts, strict=True)
    return [dict(zip(values, step, strict=True)) for step in steps] if isinstance(values, Mapping) else list(steps)


@register_codec(spaces.Sequence)
class SequenceCodec(SpaceCodec):
    """Codec of ``Sequence``: ``_lengths``, one per step, and ``_values``, the elements of all steps."""

    def __init__(self, space: spaces.Sequence, path: ColumnPath = ()) -> None:
        super().__init__(space, path)
        self.stack = space.stack
        self.feature_space = space.feature_space
        self.lengths_path = (*path, "_lengths")
        self.element = codec_for(space.feature_space, (*path, "_values"))

    def encode(self, values: Any) -> dict[ColumnPath, Column]:
        steps = [self._elements(value, row) for row, value in enumerate(_step_by_step(values))]
        lengths = np.array([len(step) for step in steps], dtype=np.int64)
        elements = [element for step in steps for element in step]
        return {self.lengths_path: lengths, **self.element.encode(elements)}

    def _elements(self, value: Any, row: int) -> Sequence[Any]:
        if self.stack:
            try:
                return list(iterate(batch_space(self.feature_space, 1), value))
            except (TypeError, ValueError, KeyError) as error:
                raise EpisodeTypeError(
                    f"The {self.name} at step {row} are {value!r}, expected stacked elements of "
                    f"{self.feature_space} ({error})."
                ) from error
        if not isinstance(value, (tuple, list)):
            raise EpisodeTypeError(
                f"The {self.name} at step {row} are {value!r}, expected a tuple of elements of {self.feature_space}."
            )
        return value

    def decode(self, columns: Columns) -> list[Any]:
        counts = _counts(columns[self.lengths_path], self.name)
        bounds = _bounds(counts, self.element.count(columns), self.name)
        decoded = self.element.decode(columns)
        if self.stack:
            return [_stacked(decoded, start, end) for start, end in bounds]
        elements = self.element.steps(decoded, sum(counts))
        return [tuple(elements[start:end]) for start, end in bounds]

    def steps(self, decoded: Any, count: int) -> list[Any]:
        return list(decoded)

    def count(self, columns: Columns) -> int | None:
        return len(columns[self.lengths_path])

    def paths(self) -> Iterator[ColumnPath]:
        yield self.lengths_path
        yield from self.element.paths()

    def recorded_space(self) -> spaces.Space[Any]:
        return self.space

    def layout(self) -> Any:
        return ("sequence", self.stack, self.element.layout())


def _stacked(decoded: Any, start: int, end: int) -> Any:
    """Return elements in the form of ``Sequence.sample``: batched as by a vector environment."""
    if isinstance(decoded, dict):
        return {key: _stacked(part, start, end) for key, part in decoded.items()}
    if isinstance(decoded, tuple):
        return tuple(_stacked(part, start, end) for part in decoded)
    return tuple(decoded[start:end]) if isinstance(decoded, list) else decoded[start:end]


@register_codec(spaces.Graph)
class GraphCodec(SpaceCodec):
    """Codec of ``Graph``: counts of nodes, edges and links per step (-1 for None), and their values."""

    PARTS = ("nodes", "edges", "edge_links")

    def __init__(self, space: spaces.Graph, path: ColumnPath = ()) -> None:
        super().__init__(space, path)
        self.count_paths: dict[str, ColumnPath] = {
            "nodes": (*path, "_node_counts"),
            "edges": (*path, "_edge_counts"),
            "edge_links": (*path, "_link_counts"),
        }
        link = spaces.Box(0, np.iinfo(np.int32).max, (2,), np.int32)
        self.codecs = {
            "nodes": codec_for(space.node_space, (*path, "_nodes")),
            "edges": codec_for(space.edge_space or spaces.Discrete(1), (*path, "_edges")),
            "edge_links": codec_for(link, (*path, "_edge_links")),
        }

    def encode(self, values: Any) -> dict[ColumnPath, Column]:
        graphs = list(values)
        for row, graph in enumerate(graphs):
            if not isinstance(graph, spaces.GraphInstance):
                raise EpisodeTypeError(
                    f"The {self.name} at step {row} are {graph!r}, expected a gymnasium.spaces.GraphInstance."
                )
        columns: dict[ColumnPath, Column] = {}
        for part in self.PARTS:
            given = [getattr(graph, part) for graph in graphs]
            counts = [-1 if value is None else len(value) for value in given]
            columns[self.count_paths[part]] = np.array(counts, dtype=np.int64)
            present = [value for value in given if value is not None]
            values_of_part: Any = np.concatenate(present) if present else []
            columns.update(self.codecs[part].encode(values_of_part))
        return columns

    def decode(self, columns: Columns) -> list[spaces.GraphInstance]:
        parts = {}
        for part, codec in self.codecs.items():
            counts = _counts(columns[self.count_paths[part]], self.name, least=-1)
            bounds = _bounds([max(count, 0) for count in counts], codec.count(columns), self.name)
            rows, places = codec.decode(columns), zip(counts, bounds, strict=True)
            parts[part] = [None if count < 0 else rows[start:end] for count, (start, end) in places]
        if len({len(steps) for steps in parts.values()}) > 1:
            raise _damaged(self.name, "has counts of nodes, edges and links for different numbers of steps")
        return [
            spaces.GraphInstance(nodes=nodes, edges=edges, edge_links=links)
            for nodes, edges, links in zip(*parts.values(), strict=True)
        ]

    def steps(self, decoded: Any, count: int) -> list[Any]:
        return list(decoded)

    def count(self, columns: Columns) -> int | None:
        return len(columns[self.count_paths["nodes"]])

    def paths(self) -> Iterator[ColumnPath]:
        yield from self.count_paths.values()
        for codec in self.codecs.values():
            yield from codec.paths()

    def recorded_space(self) -> spaces.Space[Any]:
        return self.space

    def layout(self) -> Any:
        return ("graph", *(codec.layout() for codec in self.codecs.values()))


@register_codec(spaces.OneOf)
class OneOfCodec(SpaceCodec):
    """Codec of ``OneOf``: ``_choice``, one per step, and ``_option_i``, the values of the steps that chose i."""

    def __init__(self, space: spaces.OneOf[Any], path: ColumnPath = ()) -> None:
        super().__init__(space, path)
        self.choice_path = (*path, "_choice")
        self.options = tuple(codec_for(sub, (*path, f"_option_{i}")) for i, sub in enumerate(space.spaces))

    def encode(self, values: Any) -> dict[ColumnPath, Column]:
        chosen: list[list[Any]] = [[] for _ in self.options]
        choices = []
        for row, value in enumerate(_step_by_step(values)):
            number = value[0] if isinstance(value, (tuple, list)) and len(value) == 2 else None
            if not isinstance(number, (int, np.integer)) or not 0 <= number < len(self.options):
                raise EpisodeTypeError(
                    f"The {self.name} at step {row} are {value!r}, expected a pair of a number below "
                    f"{len(self.options)} and a value of that option."
                )
            choices.append(int(number))
            chosen[choices[-1]].append(value[1])
        columns: dict[ColumnPath, Column] = {self.choice_path: np.array(choices, dtype=np.int64)}
        for codec, option_values in zip(self.options, chosen, strict=True):
            columns.update(codec.encode(option_values))
        return columns

    def decode(self, columns: Columns) -> list[tuple[Any, Any]]:
        choices = columns[self.choice_path]
        numbers = _counts(choices, self.name)
        if numbers and not 0 <= min(numbers) <= max(numbers) < len(self.options):
            raise _damaged(self.name, f"has choices that are not from 0 to {len(self.options) - 1}")
        values = [self._values(codec, numbers.count(number), columns) for number, codec in enumerate(self.options)]
        return [(choice, next(values[choice])) for choice in choices]

    def _values(self, codec: SpaceCodec, chosen: int, columns: Columns) -> Iterator[Any]:
        """Return the values of an option, one for each step that chose it."""
        if codec.count(columns) not in (chosen, None):
            raise _damaged(self.name, f"has {codec.count(columns)} values of an option that {chosen} steps chose")
        return iter(codec.steps(codec.decode(columns), chosen))

    def steps(self, decoded: Any, count: int) -> list[Any]:
        return list(decoded)

    def count(self, columns: Columns) -> int | None:
        return len(columns[self.choice_path])

    def paths(self) -> Iterator[ColumnPath]:
        yield self.choice_path
        for codec in self.options:
            yield from codec.paths()

    def recorded_space(self) -> spaces.Space[Any]:
        return self.space

    def layout(self) -> Any:
        return ("one of", *(codec.layout() for codec in self.options))
