"""Vector environments for ``minari record``: run with a policy, up to the goal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

import minari
from minari.cli.rollouts.episodes import RANDOM, Goal, Policy, Tally, load_policy
from minari.data_collector.vector.autoreset import AutoresetMode, autoreset_mode


__all__ = ["drop_surplus", "find_vector_policy", "play_vector"]


def find_vector_policy(name: str, env: VectorEnv) -> Policy:
    """Return a function from a batch of observations to a batch of actions.

    Args:
        name: ``random``, or ``package.module:callable``. A class is called with the vector environment, and its
            instance is the policy. A policy with the attribute ``batched = True`` gets batches, others get the
            observations one by one.
        env: the vector environment.

    Raises:
        UsageError: there is no such module or callable, or importing or calling it fails.
    """
    if name == RANDOM:
        return lambda observations: env.action_space.sample()
    policy = load_policy(name, env)
    if getattr(policy, "batched", False):
        return policy
    space = env.single_action_space

    def act(observations: Any) -> Any:
        actions = [policy(observation) for observation in iterate(env.observation_space, observations)]
        batch: Any = create_empty_array(space, env.num_envs)
        return concatenate(space, actions, batch)

    return act


def play_vector(
    env: VectorEnv, policy: Policy, given: Any, goal: Goal, tally: Tally, report: Callable[[Tally], None]
) -> None:
    """Run the sub-environments after a reset, up to the goal; see :func:`minari.cli.rollout.roll_out`.

    If the goal is a number of episodes, the tally has no more than these in the end, in the order in which they end.
    """
    observations, _ = given
    resets_in_next_step = autoreset_mode(env) is AutoresetMode.NEXT_STEP
    lengths, returns = np.zeros(env.num_envs, np.int64), np.zeros(env.num_envs)
    over = np.zeros(env.num_envs, np.bool_)
    surplus: list[tuple[int, float]] = []  # length and return of episodes after the last one
    while not tally.reaches(goal) and tally.continues(goal):
        observations, rewards, terminations, truncations, _ = env.step(policy(observations))
        is_step = ~over if resets_in_next_step else np.ones(env.num_envs, np.bool_)
        over = np.logical_or(terminations, truncations) & is_step
        tally.episodes += int(np.count_nonzero(is_step & (lengths == 0)))
        tally.steps += int(np.count_nonzero(is_step))
        gained = np.where(is_step, np.sum(np.reshape(rewards, (env.num_envs, -1)), axis=1), 0.0)
        tally.return_sum += float(gained.sum())
        lengths, returns = lengths + is_step, returns + gained
        for index in np.flatnonzero(over).tolist():
            if tally.reaches(goal):
                surplus.append((int(lengths[index]), float(returns[index])))
            else:
                tally.finished += 1
        lengths[over], returns[over] = 0, 0.0
        report(tally)
    if goal.episodes is not None and tally.reaches(goal):
        running = zip(lengths.tolist(), returns.tolist(), strict=True)
        dropped = [*surplus, *((length, value) for length, value in running if length)]
        tally.episodes -= len(dropped)
        tally.steps -= sum(length for length, _ in dropped)
        tally.return_sum -= sum(value for _, value in dropped)


def drop_surplus(collector: minari.VectorDataCollector, goal: Goal) -> None:
    """Drop the running episodes of a recording, and those that ended after the goal was reached."""
    if goal.episodes is None:
        return
    collector.reset()  # ends the running episodes, which come last
    while collector.total_episodes > goal.episodes:
        collector.discard_episode(-1)
