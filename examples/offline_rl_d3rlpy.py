"""Offline reinforcement learning with d3rlpy: conservative Q-learning on CartPole, recorded by a mediocre policy.

pip install "minari[d3rlpy]" && python examples/offline_rl_d3rlpy.py
"""

from __future__ import annotations

from typing import Any

import d3rlpy
import gymnasium as gym
import numpy as np
import torch

import minari
from minari.integrations.d3rlpy import to_replay_buffer


def record(dataset_id: str, noise: float, episodes: int = 40) -> minari.MinariDataset:
    """Record a policy that pushes the cart to where the pole falls, or the other way with some probability."""
    collector = minari.DataCollector(gym.make("CartPole-v1"))
    rng = np.random.default_rng(0)
    for seed in range(episodes):
        observation, _ = collector.reset(seed=seed)
        done = False
        while not done:
            wanted = int(observation[2] + 0.3 * observation[3] + 0.02 * observation[0] + 0.05 * observation[1] > 0)
            observation, _, terminated, truncated, _ = collector.step(wanted if rng.random() > noise else 1 - wanted)
            done = terminated or truncated
    return collector.create_dataset(dataset_id, description="A scripted policy with noise.", eval_env="CartPole-v1")


def mean_return(algorithm: Any, env: gym.Env[Any, Any], episodes: int = 10) -> float:
    """Return the mean return of a trained algorithm."""
    total = 0.0
    for seed in range(episodes):
        observation, _ = env.reset(seed=1000 + seed)
        done = False
        while not done:
            action = int(algorithm.predict(observation[None])[0])
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            done = terminated or truncated
    return total / episodes


def main() -> None:
    """Record, train and compare."""
    dataset = record("cartpole/mediocre-v0", noise=0.3)
    d3rlpy.seed(1)
    torch.set_num_threads(1)  # fastest for small networks
    algorithm = d3rlpy.algos.DiscreteCQLConfig(batch_size=64, learning_rate=1e-3, target_update_interval=500).create()
    algorithm.fit(
        to_replay_buffer(dataset),
        n_steps=2000,
        n_steps_per_epoch=1000,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )
    recorded = np.mean([episode.rewards.sum() for episode in dataset])
    learned = mean_return(algorithm, dataset.recover_environment(eval_env=True))
    print(f"mean return: {recorded:.0f} recorded, {learned:.0f} learned")


if __name__ == "__main__":
    main()
