"""Record three datasets to look at: a lander with two cameras, games of many agents, and ten thousand short episodes.

Run it with ``python examples/datasets_to_view.py``, then ``minari view``. It needs ``pip install gymnasium[box2d]
pettingzoo mpe2``.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.lunar_lander import heuristic
from mpe2 import simple_tag_v3

import minari


POLICIES = ("pilot", "pilot", "sleepy pilot", "random")
WINDOW = 48  # pixels on each side of the lander


class WithCameras(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """The observation, a picture of the whole scene, and one of the lander and what is around it."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.observation_space = gym.spaces.Dict(
            state=env.observation_space,
            cameras=gym.spaces.Dict(
                scene=gym.spaces.Box(0, 255, (200, 300, 3), np.uint8),
                lander=gym.spaces.Box(0, 255, (2 * WINDOW, 2 * WINDOW, 3), np.uint8),
            ),
        )

    def observation(self, state: Any) -> Any:
        """Return the state with both pictures."""
        picture = np.asarray(self.env.render())
        height, width = picture.shape[:2]
        # The state has the place of the lander, from the landing pad, in half widths of the scene.
        row, column = int(height * (0.7 - 0.5 * state[1])), int(width * (0.5 + 0.5 * state[0]))
        padded = np.pad(picture, ((WINDOW, WINDOW), (WINDOW, WINDOW), (0, 0)))
        top, left = np.clip(row, 0, height), np.clip(column, 0, width)
        window = padded[top : top + 2 * WINDOW, left : left + 2 * WINDOW]
        return {"state": state, "cameras": {"scene": picture[::2, ::2], "lander": window}}


class WithPolicy(minari.EpisodeMetadataCallback):
    """Metadata of episodes that names the policy."""

    policy = ""

    def __call__(self, episode: Any) -> dict[str, Any]:
        """Return the metadata of an episode that has ended."""
        return {**super().__call__(episode), "policy": self.policy}


def record_lander(dataset_id: str, episodes: int = 12) -> minari.MinariDataset:
    """Record landings by a heuristic, which sleeps now and then, and by random actions."""
    env = minari.DataCollector(
        WithCameras(gym.make("LunarLander-v3", render_mode="rgb_array")), episode_metadata_callback=WithPolicy
    )
    random = np.random.default_rng(0)
    for seed in range(episodes):
        WithPolicy.policy = policy = POLICIES[seed % len(POLICIES)]
        observation, _ = env.reset(seed=seed)
        is_over = False
        while not is_over:
            action = heuristic(env.unwrapped, observation["state"])
            if policy == "random" or (policy == "sleepy pilot" and random.random() < 0.5):
                action = int(random.integers(4)) if policy == "random" else 0
            observation, _, terminated, truncated, _ = env.step(action)
            is_over = terminated or truncated
    return env.create_dataset(
        dataset_id, algorithm_name="heuristic", author="Ada", description="Landings of a pilot, awake and asleep."
    )


def record_tag(dataset_id: str, episodes: int = 20) -> minari.MinariDataset:
    """Record games in which predators chase prey, all of which move at random."""
    env = minari.MultiAgentDataCollector(simple_tag_v3.parallel_env(num_good=1, num_adversaries=2, max_cycles=60))
    for seed in range(episodes):
        env.reset(seed=seed)
        while env.agents:
            env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    return env.create_dataset(dataset_id, algorithm_name="random", author="Ada")


def record_cartpole(dataset_id: str, episodes: int = 10_000) -> minari.MinariDataset:
    """Record short episodes of random actions."""
    collector = minari.DataCollector(gym.make("CartPole-v1"))
    collector.action_space.seed(0)
    for seed in range(episodes):
        collector.reset(seed=seed)
        is_over = False
        while not is_over:
            *_, terminated, truncated, _ = collector.step(collector.action_space.sample())
            is_over = terminated or truncated
    return collector.create_dataset(dataset_id, algorithm_name="random", author="Ada")


if __name__ == "__main__":
    for record, name in ((record_lander, "lander"), (record_tag, "tag"), (record_cartpole, "cartpole")):
        dataset = record(f"look/{name}-v0")
        print(f"{dataset.id}: {dataset.total_episodes} episodes, {dataset.total_steps} steps")
