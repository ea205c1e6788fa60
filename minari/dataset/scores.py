"""Reference scores: returns of a random and an expert policy, and returns normalized by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.arguments import no_dataset
from minari.errors import ArgumentTypeError, ScoreError


if TYPE_CHECKING:
    from minari.dataset.minari_dataset import MinariDataset

_SEED = 123  # reference scores are reproducible


class RandomPolicy:
    """Policy that samples the action space, whatever the observation.

    Args:
        env: the environment whose action space is sampled, with its own seed.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.action_space = env.action_space
        self.action_space.seed(_SEED)

    def __call__(self, observation: Any) -> Any:
        """Return a random action."""
        return self.action_space.sample()


def get_average_reference_score(env: gym.Env[Any, Any], policy: Callable[[Any], Any], num_episodes: int) -> float:
    """Return the mean return of a policy.

    Args:
        env: the environment, seeded once at the beginning.
        policy: maps an observation to an action.
        num_episodes: number of episodes to run.

    Raises:
        ScoreError: ``num_episodes`` is less than one, or the rewards have several components.
    """
    if num_episodes < 1:
        raise ScoreError(f"num_episodes is {num_episodes}, expected at least 1 episode to take a mean of.")
    returns = []
    seed: int | None = _SEED
    for _ in range(num_episodes):
        observation, _ = env.reset(seed=seed)
        seed, total, over = None, 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(policy(observation))
            total += _number(reward)
            over = terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def _number(reward: Any) -> float:
    components = np.asarray(reward)
    if components.size != 1:
        raise ScoreError(
            f"The rewards of the environment have the shape {components.shape}, and a reference score is one number; "
            f"wrap the environment so that its reward is one, or give ref_min_score and ref_max_score yourself."
        )
    return float(components.item())


def get_normalized_score(dataset: MinariDataset, returns: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return returns on a scale where the random policy has 0 and the expert 1, as introduced by D4RL.

    Args:
        dataset: a dataset with ``ref_min_score`` and ``ref_max_score`` in its metadata.
        returns: returns of episodes, of any shape; for rewards of several components, select or weight these
            first, as the reference scores are scalars.

    Returns:
        ``(returns - ref_min_score) / (ref_max_score - ref_min_score)``, of the same shape.

    Raises:
        ScoreError: the dataset has no reference scores.
    """
    if not hasattr(dataset, "storage"):
        raise no_dataset("dataset", dataset)
    metadata = dataset.storage.metadata
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is None or high is None:
        raise ScoreError(
            f"The dataset {dataset.id} has no ref_min_score and ref_max_score, so a normalized score cannot "
            f"be computed; give them, or an expert_policy, when it is created."
        )
    if not all(isinstance(score, (int, float)) for score in (low, high)):
        raise ScoreError(
            f"The reference scores of the dataset {dataset.id} are {shortened(low)} and {shortened(high)}, expected "
            f"numbers; set ref_min_score and ref_max_score."
        )
    values = np.asarray(returns)
    if values.dtype.kind not in "biufc":
        raise ArgumentTypeError(f"The returns are {shortened(returns)}, expected numbers.")
    return np.asarray((values - low) / (high - low))
