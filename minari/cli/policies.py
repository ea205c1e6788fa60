"""Finds the policy that the user names."""

from __future__ import annotations

import random
from importlib import import_module
from operator import attrgetter
from typing import Any

import gymnasium as gym
import numpy as np

from minari.cli.rollout import Policy
from minari.cli.running import UsageError


__all__ = ["RANDOM", "find_policy", "seed_policies"]

#: The name of the policy that draws from the action space.
RANDOM = "random"


def find_policy(name: str, env: gym.Env[Any, Any]) -> Policy:
    """The policy of a name.

    Args:
        name: ``random``, or ``package.module:callable``. A class is called with the environment, and
            its instance is the policy.
        env: the environment that it is for.

    Raises:
        UsageError: there is no such module or callable, or importing or calling it fails.
    """
    if name == RANDOM:
        return lambda observation: env.action_space.sample()
    module_name, separator, attribute = name.partition(":")
    if not (module_name and separator and attribute):
        raise UsageError(f"The policy {name!r} is not known; give 'random' or 'package.module:callable'.")
    try:
        policy = attrgetter(attribute)(import_module(module_name))
        if isinstance(policy, type):
            policy = policy(env)
    except Exception as error:  # the module is foreign code and may raise anything
        raise UsageError(f"The policy {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(policy):
        raise UsageError(f"The policy {name!r} is {policy!r}, expected something that can be called.")
    return policy  # type: ignore[no-any-return]


def seed_policies(env: gym.Env[Any, Any], seed: int) -> None:
    """Seed what policies draw from: the action space, and the generators that Python and NumPy share out."""
    env.action_space.seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
