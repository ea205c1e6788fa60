"""Sum tree: numbers that can be drawn in proportion to their size, and changed, in logarithmic time."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt


__all__ = ["SumTree"]

_FANOUT: Final = 64  # children of a node: few levels, each one operation of NumPy for a whole batch


class SumTree:
    """Weights of elements, with the sums of each 64, of each 64 of these, and so on up to the total.

    Args:
        weights: of the elements, finite and not negative, shape (N,).
    """

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        self._count = len(weights)
        self._levels: list[npt.NDArray[np.float64]] = []  # from the leaves to the root, each padded to whole nodes
        level = weights
        while True:
            padded = np.zeros(-(-max(len(level), 1) // _FANOUT) * _FANOUT)
            padded[: len(level)] = level
            self._levels.append(padded)
            level = padded.reshape(-1, _FANOUT).sum(axis=1)
            if len(level) == 1:
                break

    @property
    def total(self) -> float:
        """Return the sum of all weights."""
        return float(self._levels[-1].sum())

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Return the weights, a view of shape (N,)."""
        return self._levels[0][: self._count]

    def set(self, indices: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> None:
        """Change the weights of some elements; the last one counts where an index is repeated."""
        self._levels[0][indices] = weights
        nodes = indices
        for level, above in zip(self._levels, self._levels[1:], strict=False):
            nodes = np.unique(nodes // _FANOUT)
            above[nodes] = level.reshape(-1, _FANOUT)[nodes].sum(axis=1)

    def find(self, fractions: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the element at each fraction of the total, where elements lie side by side, as wide as their weights.

        Args:
            fractions: from 0 up to, but not including, 1.
        """
        nodes = np.zeros(len(fractions), np.int64)
        targets = fractions * self.total
        for level in reversed(self._levels):
            children = level.reshape(-1, _FANOUT)[nodes]
            ends = np.cumsum(children, axis=1)
            # Rounding may put a target at or beyond the end: then it belongs to the last child with a weight.
            last = _FANOUT - 1 - (children[:, ::-1] > 0).argmax(axis=1)
            chosen = np.minimum((targets[:, None] >= ends).sum(axis=1), last)
            row = np.arange(len(nodes))
            targets = targets - (ends[row, chosen] - children[row, chosen])
            nodes = nodes * _FANOUT + chosen
        return nodes
