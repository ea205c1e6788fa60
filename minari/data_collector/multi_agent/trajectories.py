"""The episode in progress of several agents: one trajectory for each, of its own length."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

from minari._base.json_text import shortened
from minari._base.plain_values import Unkept
from minari._model.episode_buffer import MultiAgentEpisodeBuffer
from minari._model.infos import append_info
from minari._model.multi_agent import AgentID
from minari.data_collector.callbacks import StepDataCallback
from minari.data_collector.columns import last_info, last_row, private, snapshot
from minari.data_collector.recorder import EpisodeRecorder, RecordedValues, cut_infos


if TYPE_CHECKING:
    from minari.data_collector.episode_queue import EpisodeQueue


class Outcome(NamedTuple):
    """Outcome of an action: the values that an agent receives after it, or that an environment returns for it.

    Attributes:
        observation: the observation; :data:`UNSEEN` if there is none.
        reward: the reward since its last action.
        terminated: True if the agent has reached a terminal state.
        truncated: True if its episode was cut off.
        info: its info dict.
    """

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: Any

    @property
    def is_last(self) -> bool:
        """Return whether the agent does not act any more."""
        try:
            return bool(self.terminated or self.truncated)
        except Exception:  # values of other types are reported when the episode ends
            return False


class _Unseen:
    def __repr__(self) -> str:
        return "no observation"


#: Stands for an observation that the environment did not give.
UNSEEN = _Unseen()


class Trajectory:
    """The rows of one agent in the episode in progress.

    An action is kept by :meth:`act`, and makes a row together with its outcome, which may come many turns later.

    Args:
        agent: id of the agent.
        observation_space: space of its recorded observations.
        action_space: space of its recorded actions.
        callback: selects what to record of a step.
        record_infos: True to record the infos.
        note: called with a sentence for each omission.

    Attributes:
        agent: id of the agent.
        recorder: its rows.
        uses_callback: True if a callback selects what is recorded.
        timesteps: number of steps of the environment before each of its observations.
        started: True if it has a first observation.
        is_open: True if its last action has no outcome yet.
        is_over: True after its last row; whatever else the environment returns for it belongs to no episode.
        has_left: True if it is over because the environment says so, and not only a callback.
        early_reward: what it earned before its first action; None if it has not earned anything.
        counted: the part of its next reward that is recorded elsewhere already; None for nothing.
    """

    def __init__(
        self,
        agent: AgentID,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        callback: StepDataCallback,
        record_infos: bool,
        note: Callable[[str], None],
    ) -> None:
        self.agent, self._note = agent, note
        self.recorder = EpisodeRecorder(observation_space, action_space)
        if type(callback) is not StepDataCallback and _accepts_agent(callback):
            callback = partial(callback, agent=agent)  # type: ignore[assignment]
        self._recorded = RecordedValues(callback, record_infos, self.recorder.checked_info)
        self.uses_callback = not self._recorded.are_returned
        self.clear()

    def clear(self) -> None:
        """Drop the rows."""
        self.recorder.clear()
        self.timesteps: list[int] = []
        self.started = self.is_open = self.is_over = self.has_left = False
        self.counted: Any = None
        self.early_reward: Any = None
        self._action: Any = None  # as given, for the callback
        self._reward: Any = None  # of the last row, as given
        self._is_repeated = False  # whether the last observation is that before it

    def __len__(self) -> int:
        return len(self.recorder)

    def start(self, env: Any, observation: Any, info: Any, timestep: int) -> None:
        """Start with the first observation."""
        self.recorder.start(*self._recorded.of_reset(env, observation, info), None, None)
        self.timesteps[:] = [timestep]
        self.started = True

    def start_again(self, observation: Any, info: Any, timestep: int) -> None:
        """Start with the last recorded values of the episode before."""
        self.recorder.start(observation, info, None, None)
        self.timesteps[:] = [timestep]
        self.started = True

    def act(self, action: Any) -> None:
        """Keep an action, before the environment can modify it."""
        if self._is_repeated:
            self._is_repeated = False
            self._note(
                f"The environment gave no observation to the agent {shortened(self.agent)} after an "
                f"action; the one before it is recorded again."
            )
        if self.uses_callback:
            self._action = private(action)
        else:
            self.recorder.act(action)
        self.is_open = True

    def undo_act(self) -> None:
        """Drop an action that the environment did not take."""
        self.recorder.drop_half_step()
        self.is_open = False

    def cut(self, steps: int) -> None:
        """Drop the rows after the first ``steps``, before which the agent was alive."""
        self.recorder.cut(steps)
        del self.timesteps[steps + 1 :]
        self.is_open = self.is_over = self.has_left = False

    def leave(self) -> None:
        """Note that the agent has gone, whatever the recorded flags of its last row say."""
        self.is_over = self.has_left = True

    def complete(self, env: Any, outcome: Outcome, timestep: int) -> None:
        """Complete the row of the last action.

        Raises:
            Exception: of the callback; the row is still open.
        """
        if self.uses_callback or outcome.observation is UNSEEN:
            self._add(self._recorded_of(env, self._given(outcome)), timestep)
            if outcome.is_last:
                self.leave()
        else:  # the most frequent case
            self._is_repeated = False
            observation, reward, terminated, truncated, info = outcome
            self._add(
                (observation, None, reward, terminated, truncated, info if self._recorded.with_infos else {}), timestep
            )
            self.has_left = self.is_over
        self._reward, self.is_open = private(outcome.reward), False

    def amend(self, env: Any, outcome: Outcome, timestep: int, *, is_repeated: bool = False) -> None:
        """Replace the last observation by a later one, as the agent has not acted in between.

        Args:
            env: the environment.
            outcome: the observation, and the reward since the one before, which is added to that of the last row, or to
                those before the first action.
            timestep: number of steps of the environment so far.
            is_repeated: True if the reward is that of the last row again.
        """
        steps = len(self)
        if not steps:
            if outcome.observation is not UNSEEN:
                self.start(env, outcome.observation, outcome.info, timestep)
            self.earn_early(outcome.reward)
            if outcome.is_last:
                self.leave()
            return
        if outcome.observation is UNSEEN:
            if not (outcome.is_last or _is_something(outcome.reward)):
                return
            timestep = self.timesteps[-1]
        reward = outcome.reward if is_repeated else _sum(self._reward, outcome.reward)
        was_repeated = self._is_repeated
        values = self._recorded_of(env, self._given(outcome)._replace(reward=reward))
        self._is_repeated = self._is_repeated and was_repeated
        if self.uses_callback:
            self.recorder.cut(steps - 1)
        else:
            self.recorder.reopen()
        del self.timesteps[steps:]
        self._add(values, timestep)
        self._reward = reward
        if outcome.is_last:
            self.leave()

    def _given(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the last observation again if there is no new one."""
        self._is_repeated = outcome.observation is UNSEEN
        if not self._is_repeated:
            return outcome
        return outcome._replace(observation=last_row(self.recorder.buffer().observations))

    def _recorded_of(self, env: Any, outcome: Outcome) -> tuple[Any, ...]:
        """Return observation, action, reward, flags and info to record."""
        if self.uses_callback:
            return self._recorded.of_step(env, self._action, tuple(outcome))
        observation, reward, terminated, truncated, info = outcome
        return observation, None, reward, terminated, truncated, info if self._recorded.with_infos else {}

    def _add(self, values: tuple[Any, ...], timestep: int) -> None:
        """Add the outcome of the action that is kept."""
        observation, action, reward, terminated, truncated, info = values
        recorder, timesteps = self.recorder, self.timesteps
        steps = len(recorder)
        try:
            if len(timesteps) > steps + 1:  # left by an interruption
                del timesteps[steps + 1 :]
            timesteps.append(timestep)
            if self.uses_callback:
                recorder.act(action)
            recorder.add(observation, reward, terminated, truncated, info)
        except BaseException:
            if self.uses_callback:
                recorder.drop_half_step()
            else:
                recorder.drop_half_outcome()
            del timesteps[steps + 1 :]
            raise
        try:
            self.is_over = bool(terminated or truncated)
        except Exception:  # flags of other types have no truth value; they are reported with the episode
            self.is_over = False

    def earn_early(self, reward: Any) -> None:
        """Count a reward before the first action, without the part that is recorded already."""
        if self.counted is not None:
            reward, self.counted = _difference(reward, self.counted), None
        if _is_something(reward):
            self.early_reward = reward if self.early_reward is None else _sum(self.early_reward, reward)

    def last_values(self) -> tuple[Any, dict[str, Any]]:
        """Return copies of the last recorded observation and info."""
        buffer = self.recorder.buffer()
        return last_row(buffer.observations), last_info(buffer.infos or {})

    def close(self) -> None:
        """End the trajectory, truncated unless it has ended."""
        self.undo_act()
        del self.timesteps[len(self) + 1 :]
        if self._is_repeated:
            self._is_repeated = False
            self._note(
                f"The environment gave no last observation to the agent {shortened(self.agent)}; the "
                f"one before it is recorded again."
            )
        self.recorder.truncate()  # unless a flag says otherwise


class RunningTrajectories:
    """The episode in progress: the trajectories of its agents, and the global state.

    Attributes:
        started: True if an episode is in progress.
        turn: number of steps of the environment since it began.
        taking_part: trajectories of the agents that have appeared, by their ids.
        before_end: called before the episode ends at the end of the program, while its collector still exists.
    """

    def __init__(self) -> None:
        self._warnings: list[str] = []
        self._noted: set[str] = set()
        self.before_end: Callable[[], object] = _nothing
        self.clear()

    def clear(self) -> None:
        """Drop the episode."""
        for trajectory in getattr(self, "taking_part", {}).values():
            trajectory.clear()  # frees the memory of its rows
        self.taking_part: dict[AgentID, Trajectory] = {}
        self._state: dict[str, Any] = {}
        self._state_rows = 0
        self._seed: int | None = None
        self._options: dict[str, Any] | None = None
        self.turn = 0
        self.started = False
        self._ended: MultiAgentEpisodeBuffer | None = None  # set last, so that an earlier interruption changes nothing

    def __len__(self) -> int:
        """Return the number of steps of the environment; 0 if no agent has acted."""
        return self.turn if any(len(each) or each.is_open for each in self.taking_part.values()) else 0

    def start(self, seed: int | None, options: dict[str, Any] | None) -> None:
        """Start an episode without agents."""
        self.clear()
        self._seed, self._options, self.started = seed, options, True

    def add_state(self, state: Any) -> None:
        """Add the global state after a step, or after the reset."""
        append_info(self._state, {_STATE: state}, self._state_rows, snapshot)
        self._state_rows += 1

    def cut_state(self, rows: int) -> None:
        """Drop the states after the first ``rows``."""
        cut_infos(self._state, rows)
        self._state_rows = min(rows, self._state_rows)

    def drop_state(self) -> None:
        """Drop the states of the episode."""
        self._state, self._state_rows = {}, 0

    @property
    def alive(self) -> list[Trajectory]:
        """Return the trajectories that have not ended."""
        return [each for each in self.taking_part.values() if not each.is_over]

    def have_ended(self, agents: Iterable[AgentID]) -> bool:
        """Return whether none of the agents can act any more."""
        return all(agent in self.taking_part and self.taking_part[agent].is_over for agent in agents)

    # Warnings

    @property
    def has_warnings(self) -> bool:
        """Return whether there are warnings that should not wait for the end of the episode."""
        return bool(self._warnings)

    def note(self, sentence: str) -> None:
        """Keep a sentence to warn with, once."""
        if sentence not in self._noted:
            self._noted.add(sentence)
            self._warnings.append(sentence)

    def take_warnings(self) -> list[str]:
        """Return the reasons for omitted values so far, one sentence each, without repetitions."""
        for trajectory in self.taking_part.values():
            for sentence in trajectory.recorder.take_warnings():
                self.note(sentence)
        warnings = list(self._warnings)
        self._warnings.clear()
        return warnings

    # The end

    def discard_info(self, name: str) -> None:
        """Drop one info of the current episode, of all agents."""
        for trajectory in self.taking_part.values():
            trajectory.recorder.discard_info(name)

    def ended(self) -> MultiAgentEpisodeBuffer | None:
        """Return the episode, which ends here; None if there is no step.

        It is the same object each time until :meth:`clear`, even after an interruption.
        """
        self.started = False
        if self._ended is None and any(map(len, self.taking_part.values())):
            for trajectory in self.taking_part.values():
                trajectory.close()
            self.cut_state(self.turn + 1)
            self._ended = self._buffer()
        return self._ended

    def _buffer(self) -> MultiAgentEpisodeBuffer:
        agents = {agent: each for agent, each in self.taking_part.items() if each.started}
        early = {
            agent: {"rewards_before_first_action": each.early_reward}
            for agent, each in agents.items()
            if each.early_reward is not None
        }
        return MultiAgentEpisodeBuffer(
            agents={agent: each.recorder.buffer() for agent, each in agents.items()},
            timesteps={agent: list(each.timesteps) for agent, each in agents.items()},
            total_steps=self.turn,
            state=self._state.get(_STATE),
            seed=self._seed,
            options=self._options,
            metadata={"agents": early} if early else None,
        )

    def finish(self, queue: EpisodeQueue) -> None:
        """End the episode, truncated where agents are alive, and add it to a queue."""
        if len(self):
            with suppress(Exception):  # the environment, or a callback, may fail, and the rest has to be kept
                self.before_end()
        buffer = self.ended()
        if buffer is not None:
            queue.add(buffer)
        self.clear()


def came_back(agent: AgentID) -> str:
    """Return the sentence about an agent that acts after its end."""
    return (
        f"The agent {shortened(agent)} came back after its end, and an episode has one trajectory of each agent; the "
        f"rest is left out, so give it another id when it comes back."
    )


_STATE = "state"


def _nothing() -> None:
    pass


def _accepts_agent(callback: Callable[..., Any]) -> bool:
    """Return whether a callback has an argument for the agent."""
    try:
        parameters = inspect.signature(callback).parameters
    except (TypeError, ValueError):
        return False
    return "agent" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _sum(a: Any, b: Any) -> Any:
    """Return the sum of two rewards; a placeholder with the reason if they have none."""
    try:
        return a + b
    except Exception as error:  # of values that are no numbers, which may raise anything
        return Unkept.because(b, error)


def _difference(a: Any, b: Any) -> Any:
    try:
        return a - b
    except Exception as error:
        return Unkept.because(a, error)


def _is_something(reward: Any) -> bool:
    with suppress(Exception):
        return bool(np.any(np.asarray(reward) != 0))
    return True
