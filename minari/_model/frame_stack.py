"""Stacks of frames that are stored once: observations that repeat the frames of earlier steps <-> the frames.

A leaf of the observations is a stack if it is a ``Box`` of shape (k, …), k ≥ 2, as ``FrameStackObservation`` makes it:
its value at step t + 1, without the last frame, is that at step t without the first one. The T + 1 stacks of an
episode are then determined by k + T frames, those of the reset and the last one of every step, which are a column of
their own below :data:`~minari.spaces.FRAMES`. An episode in which that does not hold, bit for bit, keeps its stacks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari.errors import ArgumentError, DatasetCorruptError
from minari.spaces import FRAMES, Column, ColumnPath, Columns, Leaf, SpaceCodec, path_name


__all__ = ["DEDUPLICATE", "KEEP", "FrameStackChoice", "FrameStacks", "StackedLeaf", "check_frame_stack"]

#: How stacks of frames are stored.
FrameStackChoice: TypeAlias = Literal["keep", "deduplicate"]
KEEP: Final = "keep"
DEDUPLICATE: Final = "deduplicate"

_NUMBERS: Final = "biufc"  # kinds of dtypes
_COMPARED: Final = 2**20  # bytes that are compared at a time, as most leaves that are no stacks differ at once


def check_frame_stack(choice: Any) -> FrameStackChoice:
    """Return a choice of the user.

    Raises:
        ArgumentError: it is none.
    """
    if choice not in get_args(FrameStackChoice):
        raise ArgumentError(f"frame_stack is {shortened(choice)}, expected 'keep' or 'deduplicate'.")
    checked: FrameStackChoice = choice
    return checked


@dataclass(frozen=True, slots=True)
class StackedLeaf:
    """A leaf of the observations whose values may be stacks.

    Attributes:
        leaf: the leaf, of shape (k, …).
        frames: a frame of it, at the path of the column of frames.
    """

    leaf: Leaf
    frames: Leaf

    @property
    def path(self) -> ColumnPath:
        """Return the path of the leaf."""
        return self.leaf.path

    @property
    def name(self) -> str:
        """Return the name of the leaf in the metadata."""
        return path_name(self.leaf.path)

    @property
    def length(self) -> int:
        """Return the number of frames in a stack, k."""
        return self.leaf.shape[0]

    def frames_of(self, stacks: Column) -> Column | None:
        """Return the frames that stacks of shape (T + 1, k, …) consist of; None if they cannot be rebuilt from them."""
        if stacks.shape[1:] != self.leaf.shape or not len(stacks) or not _are_rolling(stacks):
            return None
        return np.concatenate([stacks[0], stacks[1:, -1]])

    def following(self, last: Column, stacks: Column) -> Column | None:
        """Return the frames that further stacks add to an episode; None if they do not continue it.

        Args:
            last: the last frames of the episode, k - 1.
            stacks: of the further steps.
        """
        continues = stacks.dtype == last.dtype and stacks.shape[1:] == self.leaf.shape and len(stacks) > 0
        if continues and _are_same(stacks[0, :-1], last) and _are_rolling(stacks):
            return stacks[:, -1]
        return None

    def stacks_of(self, frames: Column) -> Column:
        """Return the stacks of shape (T + 1, k, …) that consist of k + T frames, as a read-only view of them.

        Raises:
            DatasetCorruptError: the frames are not those of such stacks.
        """
        if (
            frames.dtype.kind not in _NUMBERS
            or frames.shape[1:] != self.frames.shape
            or frames.ndim != len(self.leaf.shape)
            or len(frames) < self.length
        ):
            raise DatasetCorruptError(
                f"The {path_name(self.frames.path)} of an episode are {frames.dtype} values of shape {frames.shape}, "
                f"expected at least {self.length} rows of numbers of shape {self.frames.shape}; the file is damaged, "
                f"or belongs to another dataset."
            )
        return windows(frames, self.length)


def windows(frames: Column, length: int, axis: int = 0) -> Column:
    """Return all consecutive frames along an axis, with their number as the next axis, as a read-only view.

    >>> windows(np.arange(4), 3).tolist()
    [[0, 1, 2], [1, 2, 3]]
    """
    view: Column = np.lib.stride_tricks.sliding_window_view(frames, length, axis)
    return np.moveaxis(view, -1, axis + 1)


def _are_rolling(stacks: Column) -> bool:
    """Return whether every stack, without its last frame, is the one before it without its first frame."""
    step = max(1, _COMPARED // max(1, stacks[0].nbytes))
    blocks = (stacks[start : start + step + 1] for start in range(0, len(stacks) - 1, step))
    return all(_are_same(block[1:, :-1], block[:-1, 1:]) for block in blocks)


def _are_same(first: Column, second: Column) -> bool:
    """Return whether arrays of one dtype and shape are equal bit for bit."""
    return bool(np.array_equal(_bits(first), _bits(second)))


def _bits(array: Column) -> npt.NDArray[Any]:
    is_word = array.dtype.itemsize in (1, 2, 4, 8)
    array = np.ascontiguousarray(array)
    return array.view(f"u{array.dtype.itemsize}") if is_word else array.reshape(*array.shape, 1).view(np.uint8)


class FrameStacks:
    """The leaves of a dataset whose stacks are stored once.

    Args:
        leaves: the leaves; none if stacks are stored as they are.
    """

    def __init__(self, leaves: Iterable[StackedLeaf] = ()) -> None:
        self._by_path = {leaf.path: leaf for leaf in leaves}
        self._by_frames = {leaf.frames.path: leaf for leaf in self._by_path.values()}

    @classmethod
    def of(cls, observations: SpaceCodec, choice: FrameStackChoice) -> FrameStacks:
        """Return the stacks among observations, none unless they are to be stored once."""
        if choice != DEDUPLICATE:
            return cls()
        leaves = [leaf for leaf in observations.leaves() if _may_be_stack(leaf)]
        names = Counter(path_name(leaf.path) for leaf in leaves)
        return cls(
            StackedLeaf(leaf, _frame_of(leaf)) for leaf in leaves if names[path_name(leaf.path)] == 1
        )  # others have the same name in the metadata

    def __iter__(self) -> Iterator[StackedLeaf]:
        return iter(self._by_path.values())

    def __bool__(self) -> bool:
        return bool(self._by_path)

    def at(self, path: ColumnPath) -> StackedLeaf | None:
        """Return the stacked leaf at a path."""
        return self._by_path.get(path)

    def of_frames(self, path: ColumnPath) -> StackedLeaf | None:
        """Return the stacked leaf whose frames are the column at a path."""
        return self._by_frames.get(path)

    def with_frames(self, paths: Container[ColumnPath]) -> Container[ColumnPath]:
        """Return paths together with those of the frames of the stacks among them."""
        return _PathsWithFrames(paths) if self else paths

    def deduplicated(self, columns: Columns) -> Columns:
        """Return the columns of an episode with the frames of its stacks, where they can be rebuilt from them."""
        found = dict(columns)
        for leaf in self:
            frames = leaf.frames_of(columns[leaf.path]) if leaf.path in columns else None
            if frames is not None:
                del found[leaf.path]
                found[leaf.frames.path] = frames
        return found

    def rebuilt(
        self,
        columns: Columns,
        *,
        copy: bool = False,
        paths: Container[ColumnPath] | None = None,
        encoded: Container[ColumnPath] = (),
    ) -> Columns:
        """Return the columns of an episode with its stacks instead of their frames.

        Args:
            columns: as they are stored.
            copy: True if the stacks should be new arrays; otherwise they are read-only views of the frames.
            paths: the paths that are wanted: the frames stay where they are among them.
            encoded: paths of frames that are still encoded, of which there is one for each stack afterwards.

        Raises:
            DatasetCorruptError: frames are not those of stacks, or the stacks are stored as well.
        """
        if self._by_frames.keys().isdisjoint(columns):
            return columns
        found = dict(columns)
        for path, leaf in self._by_frames.items():
            if path not in columns or (paths is not None and path in paths):
                continue
            if leaf.path in columns:
                raise DatasetCorruptError(
                    f"An episode has both {leaf.name} and {path_name(path)}, expected one of them; the file is "
                    f"damaged, or belongs to another dataset."
                )
            frames = found.pop(path)
            if path in encoded:
                found[leaf.path] = frames[leaf.length - 1 :]
            else:
                stacks = leaf.stacks_of(frames)
                found[leaf.path] = stacks.copy() if copy else stacks
        return found

    def counted(self, columns: Iterable[ColumnPath]) -> Counter[str]:
        """Return the names of the leaves whose stacks an episode with these columns has as frames, each once."""
        return Counter(self._by_frames[path].name for path in columns if path in self._by_frames)

    def summary(self, counts: Mapping[str, int], total: int) -> str | None:
        """Return what is said about episodes whose stacks are stored whole; None if there is nothing to say.

        Args:
            counts: the number of episodes with frames, by the names of leaves.
            total: the number of all.
        """
        if not total:
            return None
        known = {leaf.name: counts.get(leaf.name, 0) for leaf in self}
        if not any(known.values()):
            return (
                "frame_stack is 'deduplicate', and no observations could be stored as frames, since none are stacks "
                "that repeat the frames of the step before; they are stored whole."
            )
        parts = [
            f"{total - count} of {total} episodes have {name}" for name, count in known.items() if 0 < count < total
        ]
        if not parts:
            return None
        return f"{' and '.join(parts)} that cannot be rebuilt from single frames; these are stored whole, without loss."


def _may_be_stack(leaf: Leaf) -> bool:
    is_box = leaf.low is not None and leaf.dtype.kind in _NUMBERS
    return is_box and len(leaf.shape) > 0 and leaf.shape[0] >= 2 and math.prod(leaf.shape) > 0


def _frame_of(leaf: Leaf) -> Leaf:
    low, high = (None if bound is None else bound[0] for bound in (leaf.low, leaf.high))
    return Leaf((FRAMES, *leaf.path), leaf.dtype, leaf.shape[1:], low, high)


@dataclass(frozen=True, slots=True)
class _PathsWithFrames:
    """Paths, and those of the frames of the leaves at them."""

    paths: Container[ColumnPath]

    def __contains__(self, path: object) -> bool:
        if path in self.paths:
            return True
        return isinstance(path, tuple) and path[:1] == (FRAMES,) and path[1:] in self.paths
