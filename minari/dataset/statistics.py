"""Returns and lengths of the episodes of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minari.errors import EpisodeError
from minari.progress import track


if TYPE_CHECKING:
    from minari._storages.base import MinariStorage


@dataclass(frozen=True, slots=True, eq=False)
class DatasetStatistics:
    """What the episodes of a dataset, or of a view, add up to.

    Attributes:
        returns: the undiscounted return of each episode, shape (E,), or (E, k) where the rewards have k
            components.
        lengths: the number of steps of each episode, shape (E,).
    """

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]

    def summary(self) -> dict[str, dict[str, Any]]:
        """Minimum, mean, maximum and standard deviation of both; empty for a view without episodes.

        Where the rewards have several components, those of the returns are lists with one number for each.
        """
        if not len(self.returns):
            return {}
        return {"return": _summary(self.returns), "length": _summary(self.lengths)}


def _summary(values: npt.NDArray[Any]) -> dict[str, Any]:
    return {
        "min": values.min(axis=0).astype(float).tolist(),
        "mean": values.mean(axis=0).tolist(),
        "max": values.max(axis=0).astype(float).tolist(),
        "std": values.std(axis=0).tolist(),
    }


def statistics_of(storage: MinariStorage, indices: npt.NDArray[np.int_]) -> DatasetStatistics:
    """The statistics of some episodes, from their rewards.

    Raises:
        EpisodeError: the rewards of one have another number of components than those of another.
    """
    episodes = track(storage.get_episodes(indices), "adding up the rewards", total=len(indices))
    sums = [episode["rewards"].sum(axis=0) for episode in episodes]
    shapes = sorted(set(map(np.shape, sums)))
    if len(shapes) > 1:
        raise EpisodeError(
            f"The rewards of {storage.data_path} have the shapes {shapes} a step in different episodes, expected one "
            f"shape; take the returns of episodes that are alike, or `minari validate` the dataset."
        )
    returns = np.array(sums, np.float64)
    return DatasetStatistics(returns, storage.get_episode_lengths(indices))
