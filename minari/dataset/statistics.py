"""Returns and lengths of the episodes of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minari.progress import track


if TYPE_CHECKING:
    from minari.dataset.minari_storage import MinariStorage


@dataclass(frozen=True, slots=True, eq=False)
class DatasetStatistics:
    """What the episodes of a dataset, or of a view, add up to.

    Attributes:
        returns: the undiscounted return of each episode, shape (E,).
        lengths: the number of steps of each episode, shape (E,).
    """

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]

    def summary(self) -> dict[str, dict[str, float]]:
        """Minimum, mean, maximum and standard deviation of both; empty for a view without episodes."""
        if not len(self.returns):
            return {}
        return {"return": _summary(self.returns), "length": _summary(self.lengths)}


def _summary(values: npt.NDArray[Any]) -> dict[str, float]:
    return {
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "std": float(values.std()),
    }


def statistics_of(storage: MinariStorage, indices: npt.NDArray[np.int_]) -> DatasetStatistics:
    """The statistics of some episodes, from their rewards."""
    episodes = track(storage.get_episodes(indices), "adding up the rewards", total=len(indices))
    returns = np.fromiter((episode["rewards"].sum() for episode in episodes), dtype=np.float64, count=len(indices))
    return DatasetStatistics(returns, storage.get_episode_lengths(indices))
