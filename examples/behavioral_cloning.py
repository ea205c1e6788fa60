"""Behavioral cloning: train a policy to choose the actions that a dataset has in the same states.

Run it from the root of the repository, on a dataset with vectors as observations and discrete actions::

    minari record CartPole-v1 --dataset-id cartpole/steady-v0 --policy examples.cartpole_policies:steady --seed 0
    python examples/behavioral_cloning.py cartpole/steady-v0 --plot curve.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

import minari
from minari.integrations.torch import loader


class Policy(nn.Module):
    """A network from observations to one score for each action.

    Args:
        dataset: gives the sizes of the spaces, and the mean and standard deviation of the observations, which become
            part of the network.
        width: number of units of a hidden layer.
    """

    def __init__(self, dataset: minari.MinariDataset, width: int = 64) -> None:
        super().__init__()
        statistics = dataset.field_statistics(["observations"])["observations"]
        self.register_buffer("mean", torch.tensor(statistics.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(statistics.std, dtype=torch.float32))
        self.layers = nn.Sequential(
            nn.Linear(len(statistics.mean), width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, int(dataset.action_space.n)),
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the scores of the actions, shape (B, actions)."""
        return self.layers((observations - self.mean) / self.std)


def evaluate(policy: Policy, environments: gym.vector.VectorEnv) -> float:
    """Return the mean return of one episode in each environment, with the actions of the highest scores."""
    observations, _ = environments.reset(seed=10_000)  # and the seeds that follow, none of which was recorded
    returns = np.zeros(environments.num_envs)
    running = np.ones(environments.num_envs, bool)
    while running.any():
        with torch.no_grad():
            actions = policy(torch.from_numpy(observations)).argmax(dim=1)
        observations, rewards, terminations, truncations, _ = environments.step(actions.numpy())
        returns += rewards * running
        running &= ~(terminations | truncations)
    return float(returns.mean())


def train(dataset: minari.MinariDataset, epochs: int, seed: int) -> list[tuple[int, float]]:
    """Train a policy, and return its mean return after each number of batches."""
    torch.manual_seed(seed)
    policy = Policy(dataset)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-4)
    batches = loader(dataset.transitions(fields=["observations", "actions"]), 256, seed=seed)
    environments = gym.vector.SyncVectorEnv([dataset.recover_environment] * 20)

    curve = [(0, evaluate(policy, environments))]
    for epoch in range(1, epochs + 1):
        for batch in batches:
            loss = nn.functional.cross_entropy(policy(batch["observations"]), batch["actions"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        curve.append((epoch * len(batches), evaluate(policy, environments)))
        print(f"epoch {epoch:2}  loss {loss.item():.3f}  mean return {curve[-1][1]:.1f}")
    environments.close()
    return curve


def plot(curve: list[tuple[int, float]], data_return: float, file: Path) -> None:
    """Draw the learning curve, and the mean return of the data as a line."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.axhline(data_return, color="tab:gray", linestyle="--", label="data")
    axes.plot(*zip(*curve, strict=True), marker="o", markersize=4, label="policy")
    axes.set(xlabel="batches", ylabel="mean return of 20 episodes", title="Behavioral cloning")
    axes.legend()
    figure.savefig(file, dpi=100)


def main(arguments: list[str] | None = None) -> None:
    """Train on a dataset, print the returns, and draw the learning curve if a file is given."""
    parser = argparse.ArgumentParser(description="Behavioral cloning on a Minari dataset.")
    parser.add_argument("dataset_id", help="such as cartpole/steady-v0")
    parser.add_argument("--epochs", type=int, default=20, help="number of passes over the data")
    parser.add_argument("--seed", type=int, default=0, help="of the network and of the order of the data")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of the learning curve, such as curve.png")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)  # the network is too small to gain from more
    dataset = minari.load_dataset(options.dataset_id)
    data_return = float(np.mean([episode.rewards.sum() for episode in dataset]))
    print(f"{dataset.id}: {dataset.total_steps} steps, mean return {data_return:.1f}")
    curve = train(dataset, options.epochs, options.seed)
    if options.plot is not None:
        plot(curve, data_return, options.plot)
    print(f"Mean return of the policy: {curve[-1][1]:.1f}")


if __name__ == "__main__":
    main()
