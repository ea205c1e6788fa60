"""Recording: the time added to the steps of an environment, including saving."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from benchmarks.workloads.data import AUTHORSHIP
from benchmarks.workloads.toys import frames_env, vector_env
from benchmarks.workloads.workload import Floor, Job, Workload


Policy = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Recording:
    """An environment, a random policy and a minimum number of steps."""

    env: gym.Env[Any, Any]
    policy: Callable[[gym.Env[Any, Any]], Policy]
    steps: int

    def bare(self) -> int:
        """Run the steps without recording."""
        return roll(self.env, self.policy(self.env), self.steps)

    def record(self) -> minari.MinariDataset:
        """Run, record and save the same steps."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            collector = minari.DataCollector(self.env, data_format="hdf5", jpeg_encoding=False)
            roll(collector, self.policy(self.env), self.steps)
            return collector.create_dataset("bench/recorded-v0", **AUTHORSHIP)


def roll(env: gym.Env[Any, Any], policy: Policy, steps: int) -> int:
    """Run whole episodes until the number of steps is reached."""
    done = 0
    while done < steps:
        env.reset(seed=done)
        terminated = truncated = False
        while not (terminated or truncated):
            _, _, terminated, truncated, _ = env.step(policy())
            done += 1
    return done


def random_policy(env: gym.Env[Any, Any]) -> Policy:
    """Create a policy that draws the same random actions each time."""
    env.action_space.seed(0)
    return env.action_space.sample


def drawn_actions(env: gym.Env[Any, Any]) -> Policy:
    """Create a policy that cycles through precomputed actions."""
    env.action_space.seed(0)
    actions = [np.asarray(env.action_space.sample()) for _ in range(997)]
    return itertools.cycle(actions).__next__


def _workload(
    name: str,
    title: str,
    target: float,
    make: Callable[[], gym.Env[Any, Any]],
    policy: Callable[[gym.Env[Any, Any]], Policy],
    size: int,
) -> Workload:
    def setup(job: Job) -> Recording:
        return Recording(make(), policy, job.size)

    return Workload(
        name=name,
        title=title,
        target=target,
        setup=setup,
        run=Recording.record,
        bare=Recording.bare,
        check=lambda recording, dataset: int(dataset.total_steps),
        floor=Floor(note="stepping the environment without recording", setup=setup, run=Recording.bare),
        per="step",
        count=lambda job: job.size,
        size=size,
        quick=600,
    )


WORKLOADS = (
    _workload(
        "record_cartpole",
        "Record CartPole-v1, random policy",
        50,
        lambda: gym.make("CartPole-v1"),
        random_policy,
        50_000,
    ),
    _workload(
        "record_vector", "Record 39 float64 / 28 float32, 200-step episodes", 30, vector_env, drawn_actions, 50_000
    ),
    _workload("record_frames", "Record 84×84×3 simulator frames, lossless", 5, frames_env, drawn_actions, 20_000),
)
