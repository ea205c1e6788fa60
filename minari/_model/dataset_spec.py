"""MinariDatasetSpec: the description of a dataset without its data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._model.dataset_id import parse_dataset_id


@dataclass(frozen=True)
class MinariDatasetSpec:
    """The description of a dataset without its data.

    Attributes:
        env_spec: spec of the recorded environment; None if there is none.
        total_episodes: number of episodes of the dataset or view.
        total_steps: number of steps of the dataset or view.
        dataset_id: id of the dataset.
        combined_datasets: ids of the source datasets of a combination.
        observation_space: space of the observations.
        action_space: space of the actions.
        data_path: the directory of the data.
        minari_version: the format version of the dataset.
        namespace, dataset_name, version: the parts of the id.
    """

    env_spec: EnvSpec | None
    total_episodes: int
    total_steps: int
    dataset_id: str
    combined_datasets: list[str]
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    data_path: str
    minari_version: str
    namespace: str | None = field(init=False)
    dataset_name: str = field(init=False)
    version: int | None = field(init=False)

    def __post_init__(self) -> None:
        namespace, name, version = parse_dataset_id(self.dataset_id)
        object.__setattr__(self, "namespace", namespace)
        object.__setattr__(self, "dataset_name", name)
        object.__setattr__(self, "version", version)
