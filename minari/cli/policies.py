"""Loading of the policy named by the user."""

from __future__ import annotations

import random
import traceback
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from minari.cli.rollout import Policy
from minari.cli.running import UsageError


__all__ = ["RANDOM", "find_policy", "place_of", "seed_policies"]

_OWN = str(Path(__file__).parents[1])
_STANDARD = str(Path(traceback.__file__).parent)
_LIBRARIES = frozenset({"site-packages", "dist-packages"})

#: The name of the policy that draws from the action space.
RANDOM = "random"


def find_policy(name: str, env: gym.Env[Any, Any]) -> Policy:
    """Return the policy with a name.

    Args:
        name: ``random``, or ``package.module:callable``. A class is instantiated with the environment, and
            its instance is the policy.
        env: the environment of the policy.

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
        hint = ""
        if module_name.endswith(".py") or "/" in module_name:
            hint = f"; give it as {Path(module_name).stem}:{attribute}, from the directory of the file"
        raise UsageError(
            f"The policy {name!r} cannot be loaded: {type(error).__name__}: {error}{place_of(error)}{hint}"
        ) from error
    if not callable(policy):
        raise UsageError(f"The policy {name!r} is {policy!r}, expected something that can be called.")
    return policy  # type: ignore[no-any-return]


def place_of(error: BaseException) -> str:
    """Return the file and line of foreign code that raised an error, in parentheses; empty if there is none.

    Args:
        error: the exception.
    """
    frames = traceback.extract_tb(error.__traceback__)
    foreign = [frame for frame in frames if not frame.filename.startswith((_OWN, _STANDARD, "<frozen"))]
    own = [frame for frame in foreign if not any(part in _LIBRARIES for part in Path(frame.filename).parts)]
    if not own:
        return ""
    return f" ({own[-1].filename}, line {own[-1].lineno}, in {own[-1].name})"


def seed_policies(env: gym.Env[Any, Any], seed: int) -> None:
    """Seed the random sources of policies: the action space and the global generators of Python and NumPy."""
    env.action_space.seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
