"""Policies by name, and episodes run with them until there are enough, one fails, or the user stops them."""

from __future__ import annotations

import random
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

from minari.cli.running import UsageError


__all__ = [
    "RANDOM",
    "Goal",
    "Policy",
    "Tally",
    "find_policy",
    "load_policy",
    "place_of",
    "roll_out",
    "seed_generators",
    "seed_policies",
]

Policy: TypeAlias = Callable[[Any], Any]
#: Runs one episode: environment, policy, what the reset has returned, goal, tally, and what is called after a step.
Play: TypeAlias = Callable[[Any, Any, Any, "Goal", "Tally", Callable[["Tally"], None]], None]

_OWN = str(Path(__file__).parents[2])
_STANDARD = str(Path(traceback.__file__).parent)
_LIBRARIES = frozenset({"site-packages", "dist-packages"})

#: The name of the policy that samples the action space.
RANDOM = "random"


def find_policy(name: str, env: gym.Env[Any, Any]) -> Policy:
    """Return the policy of a name.

    Args:
        name: ``random``, or ``package.module:callable``. A class is called with the environment, and its instance is
            the policy.
        env: environment that the policy acts in.

    Raises:
        UsageError: there is no such module or callable, or importing or calling it fails.
    """
    if name == RANDOM:
        return lambda observation: env.action_space.sample()
    return load_policy(name, env)


def load_policy(name: str, env: Any) -> Callable[..., Any]:
    """Return the policy with the name ``package.module:callable``, see :func:`find_policy`.

    Raises:
        UsageError: there is no such module or callable, or importing or calling it fails.
    """
    module_name, separator, attribute = name.partition(":")
    if not (module_name and separator and attribute):
        raise UsageError(f"The policy {name!r} is not known; give 'random' or 'package.module:callable'.")
    try:
        policy = attrgetter(attribute)(import_module(module_name))
        if isinstance(policy, type):
            policy = policy(env)
    except Exception as error:  # user code may raise anything
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
    """Return file and line of the user's code that raised an error, in parentheses; empty if there is none.

    Args:
        error: the error, with its traceback.
    """
    frames = traceback.extract_tb(error.__traceback__)
    foreign = [frame for frame in frames if not frame.filename.startswith((_OWN, _STANDARD, "<frozen"))]
    own = [frame for frame in foreign if not any(part in _LIBRARIES for part in Path(frame.filename).parts)]
    if not own:
        return ""
    return f" ({own[-1].filename}, line {own[-1].lineno}, in {own[-1].name})"


def seed_policies(env: gym.Env[Any, Any], seed: int) -> None:
    """Seed the random generators that policies use: the action space, and the global ones of Python and NumPy."""
    env.action_space.seed(seed)
    seed_generators(seed)


def seed_generators(seed: int) -> None:
    """Seed the global random generators of Python and NumPy."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


@dataclass(frozen=True, slots=True)
class Goal:
    """Amount to record; one of the two is given.

    Attributes:
        episodes: number of episodes.
        steps: number of steps; the last episode is truncated there.
    """

    episodes: int | None
    steps: int | None


class Tally:
    """State of a recording, and what ended it.

    Attributes:
        episodes: number of episodes with at least one step.
        finished: number of episodes that have ended.
        steps: total number of steps.
        return_sum: sum of the returns of all episodes.
        failure: exception raised by the environment or the policy.
        signal: number of the signal that requested the end.
    """

    def __init__(self) -> None:
        self.episodes = 0
        self.finished = 0
        self.steps = 0
        self.return_sum = 0.0
        self.failure: BaseException | None = None
        self.signal: int | None = None

    @property
    def mean_return(self) -> float:
        """Mean return of the episodes so far; 0 before the first step."""
        return self.return_sum / max(self.episodes, 1)

    def count(self, reward: float, *, begins: bool, ends: bool) -> None:
        """Count a step.

        Args:
            reward: its reward.
            begins: True if it is the first one of its episode.
            ends: True if it is the last one.
        """
        self.episodes += begins
        self.finished += ends
        self.steps += 1
        self.return_sum += reward

    def continues(self, goal: Goal) -> bool:
        """Return whether the current episode should go on."""
        return self.signal is None and not (goal.steps is not None and self.steps >= goal.steps)

    def reaches(self, goal: Goal) -> bool:
        """Return True once the goal is reached."""
        if goal.steps is not None:
            return self.steps >= goal.steps
        return self.finished >= (goal.episodes or 0)


def roll_out(
    env: Any,
    policy: Callable[..., Any],
    goal: Goal,
    *,
    seed: int | None,
    first_episode: int,
    report: Callable[[Tally], None],
    play: Play | None = None,
) -> Tally:
    """Run episodes until the goal is reached; failures are not raised, but returned in the tally.

    The first Ctrl-C, or termination signal, takes effect after the current step, so that no step is recorded
    partially; the second one interrupts that step.

    Args:
        env: environment, which records its steps.
        policy: function from observation to action.
        goal: amount to record.
        seed: episode ``i`` is reset with ``seed + i``; None leaves the seeds to the environment.
        first_episode: number of the first episode.
        report: called with the tally after each step.
        play: runs one episode after its reset, up to the goal; by default one of a single agent.
    """
    tally = Tally()
    play = _play if play is None else play
    with _signals_noted_in(tally):
        try:
            while not tally.reaches(goal) and tally.signal is None:
                number = first_episode + tally.finished
                given = env.reset(seed=None if seed is None else seed + number)
                play(env, policy, given, goal, tally, report)
        except (Exception, KeyboardInterrupt) as error:  # user code may raise anything
            tally.failure = error
    return tally


def _play(
    env: gym.Env[Any, Any], policy: Policy, given: Any, goal: Goal, tally: Tally, report: Callable[[Tally], None]
) -> None:
    observation, _ = given
    begun = over = False
    while not over and tally.continues(goal):
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        over = bool(terminated or truncated)
        tally.count(float(reward), begins=not begun, ends=over)
        begun = True
        report(tally)


@contextmanager
def _signals_noted_in(tally: Tally) -> Iterator[None]:
    def note(number: int, frame: FrameType | None) -> None:
        if tally.signal is not None:
            raise KeyboardInterrupt
        tally.signal = number

    # Ignored signals stay ignored, as in a background job. A terminal that is closed sends SIGHUP.
    ends = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
    numbers = [number for number in ends if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
