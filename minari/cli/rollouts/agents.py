"""Environments of many agents for ``minari record``: made from their function, and run with a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np

import minari
from minari._base.json_text import shortened
from minari._model.env_spec import environment_error
from minari._model.multi_agent import MultiAgentCodec
from minari.cli.rollouts.episodes import RANDOM, Goal, Tally, load_policy, place_of
from minari.cli.running import UsageError
from minari.errors import CombineError, SpaceError


__all__ = ["AgentsPolicy", "check_agents", "find_agents_policy", "make_agents_environment", "play_agents"]

#: Chooses the action of an agent from its observation and its info.
AgentsPolicy: TypeAlias = Callable[[Any, Any, Mapping[str, Any]], Any]


def make_agents_environment(place: str, arguments: Mapping[str, Any]) -> Any:
    """Return the environment that a function makes.

    Args:
        place: ``package.module:function``, such as ``pettingzoo.butterfly.pistonball_v6:parallel_env``.
        arguments: arguments of the function.

    Raises:
        UsageError: there is no such module or function.
        MinariError: calling it fails.
    """
    module_name, separator, attribute = place.partition(":")
    if not (module_name and separator and attribute):
        raise UsageError(
            f"--pettingzoo is {place!r}, expected 'package.module:function', such as "
            f"'pettingzoo.butterfly.pistonball_v6:parallel_env'."
        )
    try:
        function = attrgetter(attribute)(import_module(module_name))
    except Exception as error:  # importing may raise anything
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name == "pettingzoo":
            hint = '; install it with pip install "minari[pettingzoo]" and what its game needs'
        raise UsageError(
            f"The environment {place!r} cannot be found: {type(error).__name__}: {error}{place_of(error)}{hint}"
        ) from error
    try:
        env = function(**arguments)
    except Exception as error:  # an environment may raise anything
        reason = f"{type(error).__name__}: {error}{place_of(error)}"
        raise environment_error(f"The environment {place!r} cannot be made: {reason}", error) from error
    if not all(callable(getattr(env, name, None)) for name in ("reset", "step", "observation_space", "close")):
        raise UsageError(
            f"The environment {place!r} is {shortened(env)}, expected a ParallelEnv or an AECEnv of PettingZoo."
        )
    return env


def check_agents(dataset: minari.MinariDataset, env: Any) -> None:
    """Raise unless the episodes of an environment of many agents can be added to a dataset, as far as is known.

    Raises:
        CombineError: the dataset is of one agent, or an agent has another space there.
    """
    codec = dataset.storage.episode_codec
    if not isinstance(codec, MultiAgentCodec):
        raise CombineError(f"The dataset {dataset.id} is of one agent, expected one of many; leave out --append.")
    agents = [agent for agent in getattr(env, "possible_agents", ()) if agent in codec.names]
    try:
        codec.with_agents(
            {agent: env.observation_space(agent) for agent in agents},
            {agent: env.action_space(agent) for agent in agents},
        )
    except SpaceError as error:
        raise CombineError(f"The environment does not fit to the dataset {dataset.id}: {error}") from error


def find_agents_policy(name: str, env: Any, seed: int | None) -> AgentsPolicy:
    """Return the policy of a name.

    Args:
        name: ``random``, or ``package.module:callable``, which is called with an observation and the agent. A class is
            called with the environment, and its instance is the policy.
        env: environment that the agents act in.
        seed: seed of the actions that are sampled.

    Raises:
        UsageError: there is no such module or callable, or importing or calling it fails.
    """
    if name == RANDOM:
        return _RandomAgents(env, seed)
    policy = load_policy(name, env)
    return lambda observation, agent, info: policy(observation, agent)


class _RandomAgents:
    """Samples the action space of each agent, among the actions that a mask allows.

    Args:
        env: environment that the agents act in.
        seed: seed of the action spaces; that of an agent is seeded when it first acts.
    """

    def __init__(self, env: Any, seed: int | None) -> None:
        self._env, self._seed = env, seed
        self._seeded: dict[int, Any] = {}

    def __call__(self, observation: Any, agent: Any, info: Mapping[str, Any]) -> Any:
        space = self._env.action_space(agent)
        if self._seed is not None and id(space) not in self._seeded:
            space.seed(self._seed + len(self._seeded))
            self._seeded[id(space)] = space  # agents may share one
        mask = _mask_in(observation)
        return space.sample(_mask_in(info) if mask is None else mask)


def _mask_in(values: Any) -> Any:
    """Return the mask of legal actions, where PettingZoo's games put it; None if there is none."""
    mask = values.get("action_mask") if isinstance(values, Mapping) else None
    return None if mask is None else np.asarray(mask, np.int8)


def play_agents(
    env: Any, policy: AgentsPolicy, given: Any, goal: Goal, tally: Tally, report: Callable[[Tally], None]
) -> None:
    """Run one episode, or its part up to the goal.

    Args:
        env: environment, which has been reset and records its steps.
        policy: chooses the actions.
        given: what the reset has returned.
        goal: amount to record.
        tally: state of the recording.
        report: called with the tally after each joint step, or turn.
    """
    if callable(getattr(env, "last", None)):
        _play_turns(env, policy, goal, tally, report)
    else:
        _play_together(env, policy, given, goal, tally, report)


def _play_together(
    env: Any, policy: AgentsPolicy, given: Any, goal: Goal, tally: Tally, report: Callable[[Tally], None]
) -> None:
    observations, infos = given
    begun = False
    while env.agents and tally.continues(goal):
        acting = [agent for agent in env.agents if agent in observations]
        actions = {agent: policy(observations[agent], agent, infos.get(agent, {})) for agent in acting}
        observations, rewards, _, _, infos = env.step(actions)
        tally.count(sum(float(rewards.get(agent, 0)) for agent in acting), begins=not begun, ends=not env.agents)
        begun = True
        report(tally)


def _play_turns(env: Any, policy: AgentsPolicy, goal: Goal, tally: Tally, report: Callable[[Tally], None]) -> None:
    have_acted: set[Any] = set()
    for agent in env.agent_iter():
        if not tally.continues(goal):
            with suppress(Exception):  # of an environment that does not tell what has not been given out
                tally.return_sum += sum(
                    float(env._cumulative_rewards[each]) for each in env.agents if each in have_acted
                )
            return
        observation, reward, terminated, truncated, info = env.last()
        earned = float(reward) if agent in have_acted else 0.0  # before its first action it belongs to no step
        is_first = not have_acted
        if terminated or truncated:
            env.step(None)
        else:
            env.step(policy(observation, agent, info))
            have_acted.add(agent)
        tally.count(earned, begins=is_first and bool(have_acted), ends=not env.agents)
        report(tally)
