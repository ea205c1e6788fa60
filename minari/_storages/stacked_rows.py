"""Rows of stacks of frames for samplers, gathered from the frames that are stored once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from minari._model.frame_stack import FrameStacks, StackedLeaf, windows
from minari._storages.rows import RowRequest, check_exact
from minari.spaces import Column


__all__ = ["frame_request", "read_stacked_rows", "stacks_from"]

#: Returns which episodes have the frames of a leaf.
_HasFrames = Callable[[StackedLeaf, npt.NDArray[np.int64]], npt.NDArray[np.bool_]]


def frame_request(leaf: StackedLeaf, request: RowRequest) -> RowRequest:
    """Return the request of the frames that the stacks of a request consist of; stack t begins with frame t."""
    episodes, rows, out = request.episodes, request.rows, request.out
    length = leaf.length
    if request.length is not None:  # consecutive stacks, which share their frames
        length, out = request.length + leaf.length - 1, None
    elif rows.ndim > 1:
        episodes, rows, out = np.repeat(episodes, rows.shape[1]), rows.reshape(-1), None
    return RowRequest(leaf.frames.path, leaf.frames.shape, episodes, rows, length, out)


def stacks_from(leaf: StackedLeaf, request: RowRequest, frames: Column) -> Column:
    """Return the stacks of a request as a new array, from the frames that :func:`frame_request` asks for."""
    if request.length is not None:
        stacks = windows(frames, leaf.length, axis=1)
        target = request.target(stacks.dtype)
        target[...] = stacks
        return target
    return frames.reshape(*request.rows.shape, *leaf.leaf.shape)


def read_stacked_rows(
    requests: Sequence[RowRequest],
    stacks: FrameStacks,
    has_frames: _HasFrames,
    read: Callable[[Sequence[RowRequest]], list[Column]],
) -> list[Column]:
    """Return the rows of each request, those of stacks from their frames where these are stored.

    Args:
        requests: the rows to read.
        stacks: the leaves that may be stored as frames.
        has_frames: returns which episodes have the frames of a leaf.
        read: returns the rows of requests of what is stored.
    """
    plans = [_Plan(request, stacks.at(request.path), has_frames) for request in requests]
    rows = iter(read([stored for plan in plans for stored in plan.stored]))
    return [plan.result([next(rows) for _ in plan.stored]) for plan in plans]


class _Plan:
    """A request, and what is read for it.

    Args:
        request: the request.
        leaf: the stacked leaf that it asks for, None for others.
        has_frames: returns which episodes have the frames of a leaf.

    Attributes:
        stored: the requests of what is stored.
    """

    def __init__(self, request: RowRequest, leaf: StackedLeaf | None, has_frames: _HasFrames) -> None:
        self._request, self._leaf = request, leaf
        self._mask = has_frames(leaf, request.episodes) if leaf is not None else np.zeros(0, bool)
        self._is_mixed = bool(self._mask.any() and not self._mask.all())
        #: The parts of the request, each with whether its stacks are stored as frames.
        self._parts = [(request, bool(self._mask.any()))]
        if self._is_mixed:
            self._parts = [(_part(request, self._mask), True), (_part(request, ~self._mask), False)]
        self.stored = [
            frame_request(leaf, part) if is_frames and leaf is not None else part for part, is_frames in self._parts
        ]

    def result(self, rows: Sequence[Column]) -> Column:
        """Return the rows of the request from those that were read."""
        leaf = self._leaf
        if leaf is None:
            return rows[0]
        parts = [
            stacks_from(leaf, part, read) if is_frames else read
            for (part, is_frames), read in zip(self._parts, rows, strict=True)
        ]
        if not self._is_mixed:
            return parts[0]
        dtypes = {part.dtype for part in parts}
        dtype = np.result_type(*dtypes)
        check_exact(dtypes, dtype, self._request.path)
        result = np.empty((*self._request.all_rows.shape, *self._request.shape), dtype)
        for chosen, part in zip((self._mask, ~self._mask), parts, strict=True):
            result[chosen] = part
        return result


def _part(request: RowRequest, chosen: npt.NDArray[np.bool_]) -> RowRequest:
    return request._replace(episodes=request.episodes[chosen], rows=request.rows[chosen], out=None)
