"""MinariDatasetSpec: what a dataset is, without its data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._model.dataset_id import parse_dataset_id


@dataclass(frozen=True)
class MinariDatasetSpec:
    """What a dataset is, without its data.

    Attributes:
        env_spec: of the environment that was recorded; None where there is none.
        total_episodes: of the dataset, or of the view.
        total_steps: likewise.
        dataset_id: as in the catalogue.
        combined_datasets: the ids of the datasets that it was combined from.
        observation_space: of the episodes.
        action_space: of the episodes.
        data_path: the folder of the data.
        minari_version: the format version that it follows.
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
