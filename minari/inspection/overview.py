"""Leaves of an episode at a glance: ranges, steps at which flags are True, and texts where they change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from minari.inspection.distributions import components
from minari.inspection.episode import EpisodeLeaf


__all__ = ["ComponentOverview", "LeafOverview", "Leaves", "bounds_of", "overview_of", "text_changes"]

_MOST_COMPONENTS: Final = 64
_MOST_TEXTS: Final = 1000


class Leaves(Protocol):
    """An episode by its leaves: in a dataset, or in memory."""

    def leaf(self, name: str) -> EpisodeLeaf:
        """Return the leaf of a name."""

    def values(self, name: str) -> Any:
        """Return the values of a leaf."""

    def rows(self, name: str) -> int:
        """Return the number of values of a leaf."""

    def timesteps(self, name: str) -> npt.NDArray[np.int64]:
        """Return the step of each value of a leaf."""


@dataclass(frozen=True, slots=True)
class ComponentOverview:
    """One number of the values of a leaf over an episode.

    Attributes:
        label: its place in a value, empty if a value is a single number.
        minimum: the least finite number; None if there is none.
        maximum: the greatest finite number.
        nan: the number of values that are not a number.
        infinite: the number of infinite ones.
        numbers: all of them, shape (rows,), float64.
    """

    label: str
    minimum: float | None
    maximum: float | None
    nan: int
    infinite: int
    numbers: npt.NDArray[np.float64]

    @classmethod
    def of(cls, label: str, numbers: npt.NDArray[np.float64]) -> ComponentOverview:
        """Describe the numbers of a component."""
        nan, finite = int(np.isnan(numbers).sum()), int(np.isfinite(numbers).sum())
        return cls(label, *bounds_of(numbers), nan, len(numbers) - finite - nan, numbers)


@dataclass(frozen=True, slots=True)
class LeafOverview:
    """A leaf of an episode at a glance.

    Attributes:
        leaf: the leaf.
        rows: the number of its values.
        timesteps: the step of each, shape (rows,).
        components: the components of numbers and flags, up to a limit.
        omitted: the number of further components, or changes of text.
        minimum: the least finite number of all components; None if there is none.
        maximum: the greatest one.
        texts: of text, the step and the text wherever it changes, up to 1000 times.
        first: of other values, the first one.
    """

    leaf: EpisodeLeaf
    rows: int
    timesteps: npt.NDArray[np.int64]
    components: list[ComponentOverview] = field(default_factory=list)
    omitted: int = 0
    minimum: float | None = None
    maximum: float | None = None
    texts: list[tuple[int, str]] = field(default_factory=list)
    first: Any = None


def overview_of(episode: Leaves, name: str, most_components: int = _MOST_COMPONENTS) -> LeafOverview:
    """Return a leaf of an episode at a glance; pictures are not decoded.

    Args:
        episode: the episode.
        name: of the leaf.
        most_components: the greatest number of components that are described.

    Raises:
        ArgumentError: there is no such leaf.
        DatasetCorruptError: its values are missing or have another shape.
    """
    leaf, rows, timesteps = episode.leaf(name), episode.rows(name), episode.timesteps(name)
    if leaf.kind == "frames":
        return LeafOverview(leaf, rows, timesteps)
    values = episode.values(name)
    if leaf.kind == "text":
        texts = list(text_changes(values, timesteps))
        return LeafOverview(leaf, rows, timesteps, omitted=len(texts[_MOST_TEXTS:]), texts=texts[:_MOST_TEXTS])
    if leaf.kind == "other":
        return LeafOverview(leaf, rows, timesteps, first=values[0] if len(values) else None)
    shown = [ComponentOverview.of(*one) for one in islice(components(values), most_components)]
    return LeafOverview(leaf, rows, timesteps, shown, max(leaf.components - len(shown), 0), *bounds_of(values))


def bounds_of(values: npt.NDArray[Any]) -> tuple[float | None, float | None]:
    """Return the least and the greatest finite number of an array; None if there is none."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return (float(finite.min()), float(finite.max())) if finite.size else (None, None)


def text_changes(texts: Iterable[Any], timesteps: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    """Yield the step and the text where a text differs from the one before.

    >>> list(text_changes(["go", "go", "stop"], np.arange(3)))
    [(0, 'go'), (2, 'stop')]
    """
    before: Any = None
    for step, text in zip(timesteps.tolist(), texts, strict=False):
        if before is None or text != before:
            yield step, str(text)
        before = text
