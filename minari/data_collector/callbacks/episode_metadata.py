"""The hook that describes every episode."""

from __future__ import annotations

from typing import Any

import numpy as np


class EpisodeMetadataCallback:
    """Gives the metadata that are stored with an episode.

    Subclass it and give the class to :class:`~minari.DataCollector` to keep more of each episode.

    Example:
        >>> class WithSuccess(EpisodeMetadataCallback):
        ...     def __call__(self, episode):
        ...         metadata = super().__call__(episode)
        ...         metadata["success"] = bool(episode["terminations"][-1])
        ...         return metadata
    """

    def __call__(self, episode: dict[str, Any]) -> dict[str, Any]:
        """Statistics of the rewards.

        Args:
            episode: the fields of an :class:`~minari.EpisodeData`.

        Returns:
            Names and values: numbers, strings, arrays, and nested dicts of them.
        """
        rewards = np.asarray(episode["rewards"])
        return {
            "rewards_sum": rewards.sum(),
            "rewards_mean": rewards.mean(),
            "rewards_std": rewards.std(),
            "rewards_max": rewards.max(),
            "rewards_min": rewards.min(),
        }
