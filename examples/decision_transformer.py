"""Decision transformer: a sequence model that is asked for a return, and acts to reach it.

Run it from the root of the repository, on a dataset with vectors as observations and discrete actions, best of mixed
quality, such as the one that ``docs/decision_transformer.md`` records::

    python examples/decision_transformer.py cartpole/mixed-v0 --plot curve.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

import minari
from minari.integrations.torch import to_tensors


LENGTH = 10  # steps that the model sees
HEADS = 2


class DecisionTransformer(nn.Module):
    """A model of the next action, given the return to go, the observation, and the steps before."""

    def __init__(self, dataset: minari.MinariDataset, largest_return: float, width: int = 64) -> None:
        super().__init__()
        actions = int(dataset.action_space.n)
        self.largest_return = largest_return
        self.embed_return = nn.Linear(1, width)
        self.embed_observation = nn.Linear(dataset.observation_space.shape[0], width)
        self.embed_action = nn.Embedding(actions, width)
        self.positions = nn.Parameter(0.02 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, HEADS, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.scores = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, actions))

    def forward(self, windows: dict[str, Any]) -> torch.Tensor:
        """Return the scores of the actions at each step of a batch of windows, shape (B, LENGTH, actions)."""
        returns = self.embed_return(windows["returns_to_go"].float().unsqueeze(2) / self.largest_return)
        parts = [returns, self.embed_observation(windows["observations"]), self.embed_action(windows["actions"])]
        # Three tokens for each step. Each sees itself and the earlier ones, except for padding.
        tokens = torch.stack([part + self.positions for part in parts], dim=2).flatten(1, 2)
        later = torch.ones(3 * LENGTH, 3 * LENGTH, dtype=torch.bool).triu(1)
        padding = ~windows["mask"].repeat_interleave(3, dim=1)[:, None, :] & ~torch.eye(3 * LENGTH, dtype=torch.bool)
        tokens = self.layers(tokens, mask=(later | padding).repeat_interleave(HEADS, dim=0))
        return self.scores(tokens[:, 1::3])  # of the observations, which do not see the action of their step


def evaluate(
    model: DecisionTransformer, normalizer: Any, environments: gym.vector.VectorEnv, targets: list[float]
) -> list[float]:
    """Return the mean return for each target; each is asked for in an equal share of the environments."""
    observations, _ = environments.reset(seed=10_000)  # and the seeds that follow, none of which was recorded
    count = environments.num_envs
    asked = np.repeat(targets, count // len(targets))
    returns, running = np.zeros(count), np.ones(count, bool)
    windows = {
        "observations": np.zeros((count, LENGTH, observations.shape[1]), np.float32),
        "actions": np.zeros((count, LENGTH), np.int64),
        "returns_to_go": np.zeros((count, LENGTH)),
        "mask": np.zeros((count, LENGTH), bool),
    }
    while running.any():
        windows = {name: np.roll(values, -1, axis=1) for name, values in windows.items()}
        windows["observations"][:, -1] = normalizer.normalize({"observations": observations})["observations"]
        windows["returns_to_go"][:, -1] = np.maximum(asked - returns, 1)  # 1 is the least in the data
        windows["mask"][:, -1] = True
        with torch.no_grad():
            actions = model(to_tensors(windows))[:, -1].argmax(dim=1).numpy()
        windows["actions"][:, -1] = actions
        observations, rewards, terminations, truncations, _ = environments.step(actions)
        returns += rewards * running
        running &= ~(terminations | truncations)
    return returns.reshape(len(targets), -1).mean(axis=1).tolist()


def train(dataset: minari.MinariDataset, largest_return: float, options: argparse.Namespace) -> dict[int, list[float]]:
    """Train a model, and return its mean return for each target after each number of batches."""
    torch.manual_seed(options.seed)
    model = DecisionTransformer(dataset, largest_return)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    normalizer = dataset.normalizer(["observations"])
    windows = dataset.windows(LENGTH, pad="left", returns_to_go=True, fields=["observations", "actions"])
    batches = windows.batches(64, seed=options.seed)
    environments = gym.vector.SyncVectorEnv([dataset.recover_environment] * 10 * len(options.targets))

    curves = {0: evaluate(model, normalizer, environments, options.targets)}
    for step in range(1, options.steps + 1):
        batch = to_tensors(normalizer.normalize(next(batches)))
        real = batch["mask"]
        loss = nn.functional.cross_entropy(model(batch)[real], batch["actions"][real])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == options.steps:
            curves[step] = evaluate(model, normalizer, environments, options.targets)
            reached = ", ".join(f"{value:.1f}" for value in curves[step])
            print(f"batch {step:3}  loss {loss.item():.3f}  mean returns {reached}")
    environments.close()
    return curves


def plot(curves: dict[int, list[float]], targets: list[float], data_return: float, file: Path) -> None:
    """Draw one learning curve for each target, and the mean return of the data as a line."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.axhline(data_return, color="tab:gray", linestyle="--", label="data")
    for target, values in zip(targets, zip(*curves.values(), strict=True), strict=True):
        axes.plot(list(curves), values, marker="o", markersize=4, label=f"asked for {target:g}")
    axes.set(xlabel="batches", ylabel="mean return of 10 episodes", title="Decision transformer")
    figure.legend(loc="outside right upper")
    figure.savefig(file, dpi=100)


def main(arguments: list[str] | None = None) -> None:
    """Train on a dataset, print the returns, and draw the learning curves if a file is given."""
    parser = argparse.ArgumentParser(description="A decision transformer on a Minari dataset.")
    parser.add_argument("dataset_id", help="such as cartpole/mixed-v0")
    parser.add_argument("--steps", type=int, default=300, help="number of batches to train on")
    parser.add_argument("--targets", type=float, nargs="+", default=[500, 180, 50], help="returns to ask for")
    parser.add_argument("--seed", type=int, default=0, help="of the network and of the order of the data")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of the learning curves, such as curve.png")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)  # the model is too small to gain from more
    dataset = minari.load_dataset(options.dataset_id)
    returns = [float(episode.rewards.sum()) for episode in dataset]
    print(f"{dataset.id}: {dataset.total_steps} steps, returns from {min(returns):g} to {max(returns):g}")
    curves = train(dataset, max(returns), options)
    if options.plot is not None:
        plot(curves, options.targets, float(np.mean(returns)), options.plot)
    print(f"Mean return of the data: {np.mean(returns):.1f}")
    for target, reached in zip(options.targets, curves[options.steps], strict=True):
        print(f"Mean return when asked for {target:g}: {reached:.1f}")


if __name__ == "__main__":
    main()
