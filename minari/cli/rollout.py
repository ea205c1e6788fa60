"""Running episodes until there are enough, something fails, or the user interrupts."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeAlias

import gymnasium as gym


__all__ = ["Goal", "Policy", "Tally", "roll_out"]

Policy: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """Number of episodes or steps to record.

    Attributes:
        episodes: number of episodes.
        steps: number of steps; the last episode is truncated.
    """

    episodes: int | None
    steps: int | None


class Tally:
    """The progress of a recording, and what ended it.

    Attributes:
        episodes: number of episodes with at least one step.
        finished: number of episodes that have ended.
        steps: number of steps of all episodes.
        return_sum: sum of the returns of all episodes.
        failure: exception of the environment or the policy.
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
        """Return the mean return of the episodes; 0 before the first step."""
        return self.return_sum / max(self.episodes, 1)

    def reaches(self, goal: Goal) -> bool:
        """Return whether there is enough."""
        if goal.steps is not None:
            return self.steps >= goal.steps
        return self.finished >= (goal.episodes or 0)


def roll_out(
    env: gym.Env[Any, Any],
    policy: Policy,
    goal: Goal,
    *,
    seed: int | None,
    first_episode: int,
    report: Callable[[Tally], None],
) -> Tally:
    """Run episodes. Failures are not raised but stored in the tally.

    A first Ctrl-C, or a termination request of the system, takes effect after the current step, so that no
    partial step is recorded; a second one interrupts that step.

    Args:
        env: the environment that records.
        policy: maps an observation to an action.
        goal: the number of episodes or steps.
        seed: episode ``i`` is reset with ``seed + i``; None leaves the seeds to the environment.
        first_episode: number of the first episode.
        report: called after each step.
    """
    tally = Tally()
    with _signals_noted_in(tally):
        try:
            while not tally.reaches(goal) and tally.signal is None:
                number = first_episode + tally.finished
                observation, _ = env.reset(seed=None if seed is None else seed + number)
                _run_episode(env, policy, observation, goal, tally, report)
        except (Exception, KeyboardInterrupt) as error:  # foreign code may raise anything
            tally.failure = error
    return tally


def _run_episode(
    env: gym.Env[Any, Any],
    policy: Policy,
    observation: Any,
    goal: Goal,
    tally: Tally,
    report: Callable[[Tally], None],
) -> None:
    begun = over = False
    while not over and tally.signal is None and not (goal.steps is not None and tally.steps >= goal.steps):
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        over = bool(terminated or truncated)
        tally.episodes += not begun
        begun = True
        tally.finished += over
        tally.steps += 1
        tally.return_sum += float(reward)
        report(tally)


@contextmanager
def _signals_noted_in(tally: Tally) -> Iterator[None]:
    def note(number: int, frame: FrameType | None) -> None:
        if tally.signal is not None:
            raise KeyboardInterrupt
        tally.signal = number

    # An ignored signal, as in a background job, stays ignored. Closing a terminal sends SIGHUP.
    ends = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
    numbers = [number for number in ends if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
