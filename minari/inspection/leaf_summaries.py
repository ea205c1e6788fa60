"""Distributions of the leaves of a dataset, from as many evenly spaced episodes as can be read at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._storages.base import MinariStorage
from minari.inspection.distributions import Distribution, Histogram, components, histogram
from minari.inspection.episode import EpisodeLeaf, checked_values, info_leaves, space_leaves
from minari.spaces import STATE, ColumnPath, field_of


__all__ = ["LeafSummary", "SampledLeaves", "leaf_values", "summarize_leaves"]

_MOST_STEPS: Final = 2**16
_MOST_EPISODES: Final = 2**10
_MOST_COMPONENTS: Final = 64
_MOST_TEXTS: Final = 20
_BINS: Final = 24


@dataclass(frozen=True, slots=True)
class LeafSummary:
    """The distribution of the values of a leaf.

    Attributes:
        leaf: the leaf.
        components: the label, summary and histogram of each component of numbers and flags, up to 64.
        omitted: the number of further components.
        texts: the most frequent texts of a leaf of text, with the number of their occurrences.
    """

    leaf: EpisodeLeaf
    components: list[tuple[str, Distribution, Histogram]] = field(default_factory=list)
    omitted: int = 0
    texts: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SampledLeaves:
    """The distributions of the leaves of a dataset.

    Attributes:
        episodes: the number of episodes that were read.
        steps: the number of their steps.
        leaves: the leaves in order. Those of pictures, and of values without a shape, have no distribution.
    """

    episodes: int
    steps: int
    leaves: list[LeafSummary]


def summarize_leaves(
    storage: MinariStorage, numbers: npt.NDArray[np.int_], most_steps: int = _MOST_STEPS
) -> SampledLeaves:
    """Return the distributions of the leaves of episodes.

    Args:
        storage: of the dataset.
        numbers: of the episodes.
        most_steps: about the number of steps from which on evenly spaced episodes are read instead of all.

    Raises:
        DatasetCorruptError: an episode lacks a leaf.
    """
    chosen, steps = evenly_spaced(storage, numbers, most_steps)
    values = leaf_values(storage, chosen)
    found = [_summary(leaf, values.get(leaf.name, (leaf, []))[1]) for leaf in space_leaves(storage)]
    known = {one.leaf.name for one in found}
    found += [_summary(leaf, arrays) for name, (leaf, arrays) in values.items() if name not in known]
    return SampledLeaves(len(chosen), steps, found)


def evenly_spaced(
    storage: MinariStorage, numbers: npt.NDArray[np.int_], most_steps: int
) -> tuple[npt.NDArray[np.int_], int]:
    """Return episodes at even distances with about ``most_steps`` steps together, and the number of their steps."""
    if not len(numbers):
        return numbers, 0
    lengths = storage.get_episode_lengths(numbers)
    stride = max(1, -(-int(lengths.sum()) // most_steps), -(-len(numbers) // _MOST_EPISODES))
    return numbers[::stride], int(lengths[::stride].sum())


class _WithoutFrames:
    """The paths of the columns of some leaves, and of all infos and the global state."""

    def __init__(self, leaves: list[EpisodeLeaf]) -> None:
        self._paths: set[ColumnPath] = {leaf.path for leaf in leaves}

    def __contains__(self, path: object) -> bool:
        if path in self._paths:
            return True
        return isinstance(path, tuple) and bool(path) and (field_of(path) == "infos" or path[0] == STATE)


def leaf_values(storage: MinariStorage, numbers: npt.NDArray[np.int_]) -> dict[str, tuple[EpisodeLeaf, list[Any]]]:
    """Return the leaves of numbers, flags and text with their values in each of the episodes that have them.

    Raises:
        DatasetCorruptError: an episode lacks a leaf.
    """
    static = [leaf for leaf in space_leaves(storage) if leaf.kind in ("number", "flag", "text")]
    found: dict[str, tuple[EpisodeLeaf, list[Any]]] = {}
    for number, columns in storage.read_parts(numbers.tolist(), _WithoutFrames(static)):
        for leaf in static:
            if leaf.path in columns or leaf.agent is None:  # an agent may not act in an episode
                found.setdefault(leaf.name, (leaf, []))[1].append(checked_values(leaf, columns, number))
        for leaf, values in info_leaves(columns):
            first, arrays = found.setdefault(leaf.name, (leaf, []))
            if (first.kind, first.shape) == (leaf.kind, leaf.shape) and leaf.kind in ("number", "flag", "text"):
                arrays.append(values)
    return found


def _summary(leaf: EpisodeLeaf, values: list[Any]) -> LeafSummary:
    if not values:
        return LeafSummary(leaf)
    if leaf.kind == "text":
        counts = Counter(text for texts in values for text in texts)
        return LeafSummary(leaf, texts=counts.most_common(_MOST_TEXTS))
    rows = np.concatenate(values)
    if not len(rows):
        return LeafSummary(leaf)
    shown = [
        (label, Distribution.of(numbers), histogram(numbers, _BINS))
        for label, numbers in islice(components(rows), _MOST_COMPONENTS)
    ]
    return LeafSummary(leaf, shown, max(leaf.components - len(shown), 0))
