"""Offline reinforcement learning with d3rlpy: implicit Q-learning, which does better than any policy of the data.

Run it from the root of the repository, on a dataset with vectors as observations and continuous actions, such as the
one that ``docs/offline_rl.md`` records::

    python examples/offline_rl.py pendulum/halves-v0 --plot curve.png
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import d3rlpy
import gymnasium as gym
import numpy as np
import structlog
import torch
from matplotlib.figure import Figure

import minari
from minari.integrations.d3rlpy import to_replay_buffer


EVERY = 500  # batches from one evaluation to the next


def evaluate(algorithm: Any, environments: gym.vector.VectorEnv) -> float:
    """Return the mean return of one episode in each environment."""
    observations, _ = environments.reset(seed=10_000)  # and the seeds that follow, none of which was recorded
    returns = np.zeros(environments.num_envs)
    running = np.ones(environments.num_envs, bool)
    while running.any():
        observations, rewards, terminations, truncations, _ = environments.step(algorithm.predict(observations))
        returns += rewards * running
        running &= ~(terminations | truncations)
    return float(returns.mean())


def train(dataset: minari.MinariDataset, options: argparse.Namespace) -> list[tuple[int, float]]:
    """Train a policy, and return its mean return after each number of batches."""
    environments = gym.vector.SyncVectorEnv([dataset.recover_environment] * 20)
    curve = []
    d3rlpy.seed(options.seed)
    algorithm = d3rlpy.algos.IQLConfig(
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-3,
        tau=0.02,
        expectile=0.9,
        weight_temp=options.temperature,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
        action_scaler=d3rlpy.preprocessing.MinMaxActionScaler(),
    ).create()
    buffer, no_files = to_replay_buffer(dataset), d3rlpy.logging.NoopAdapterFactory()
    for epoch, _ in algorithm.fitter(buffer, options.steps, EVERY, logger_adapter=no_files, show_progress=False):
        curve.append((epoch * EVERY, evaluate(algorithm, environments)))
        print(f"batch {epoch * EVERY:4}  mean return {curve[-1][1]:.1f}")
    environments.close()
    return curve


def plot(curve: list[tuple[int, float]], data_return: float, file: Path) -> None:
    """Draw the learning curve, and the mean return of the data as a line."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.axhline(data_return, color="tab:gray", linestyle="--", label="data")
    axes.plot(*zip(*curve, strict=True), marker="o", markersize=4, label="policy")
    axes.set(xlabel="batches", ylabel="mean return of 20 episodes", title="Implicit Q-learning")
    axes.legend()
    figure.savefig(file, dpi=100)


def main(arguments: list[str] | None = None) -> None:
    """Train on a dataset, print the returns, and draw the learning curve if a file is given."""
    parser = argparse.ArgumentParser(description="Implicit Q-learning on a Minari dataset.")
    parser.add_argument("dataset_id", help="such as pendulum/halves-v0")
    parser.add_argument("--steps", type=int, default=3000, help=f"number of batches to train on, at least {EVERY}")
    parser.add_argument("--temperature", type=float, default=0.3, help="weight of the advantages; 0 clones the data")
    parser.add_argument("--seed", type=int, default=0, help="of the networks and of the order of the data")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of the learning curve, such as curve.png")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)  # the networks are too small to gain from more
    # d3rlpy logs every parameter and metric.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    dataset = minari.load_dataset(options.dataset_id)
    returns = [float(episode.rewards.sum()) for episode in dataset]
    print(f"{dataset.id}: {dataset.total_steps} steps, returns from {min(returns):.1f} to {max(returns):.1f}")
    curve = train(dataset, options)
    if options.plot is not None:
        plot(curve, float(np.mean(returns)), options.plot)
    print(f"Mean return of the data: {np.mean(returns):.1f}")
    print(f"Mean return of the policy: {curve[-1][1]:.1f}")


if __name__ == "__main__":
    main()
