"""Replay of episodes of many agents, by joint step or by turn, in an environment of PettingZoo."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from minari._base.json_text import shortened
from minari._base.plain_values import brief
from minari._model.episode_buffer import AnyEpisodeBuffer, MultiAgentEpisodeBuffer
from minari._model.episode_codec import ACTIONS, REWARDS, TERMINATIONS, TRUNCATIONS, EpisodeCodec
from minari._model.infos import encode_infos
from minari._model.multi_agent import TIMESTEPS, AgentID, MultiAgentCodec, trajectory_of
from minari._storages.base import MinariStorage
from minari.data_collector.episode_queue import EpisodeQueue
from minari.data_collector.finished_episodes import PendingWarning
from minari.data_collector.multi_agent import MultiAgentDataCollector
from minari.data_collector.verification.comparison import Differences, rows_of
from minari.data_collector.verification.recorded import RecordedEpisode
from minari.data_collector.verification.report import Divergence, EpisodeVerification
from minari.data_collector.verification.single_agent import (
    actions_of,
    common_leaves,
    divergence_of,
    flags_of,
    is_alike,
    squeezed,
    text_of,
)
from minari.errors import EnvironmentSpecError, MinariError
from minari.spaces import AGENTS, STATE, Column, ColumnPath, Columns, path_name
from minari.spaces.differences import differing_leaf


__all__ = ["ManyAgentsReplay"]

#: Columns of an agent, those of one agent.
Trajectory = Mapping[ColumnPath, Column]


class ManyAgentsReplay:
    """Environment that replays episodes of many agents.

    The collector of such environments determines what belongs to a trajectory, and records the replay as well.

    Args:
        storage: the dataset.
        env: the environment, a ``ParallelEnv`` or an ``AECEnv``.
        tolerance: the tolerated difference.

    Attributes:
        notes: sentences about what is not compared.

    Raises:
        EnvironmentSpecError: an agent takes other actions.
    """

    def __init__(self, storage: MinariStorage, env: Any, tolerance: float) -> None:
        codec = storage.episode_codec
        if not isinstance(codec, MultiAgentCodec):
            raise EnvironmentSpecError(
                f"The environment {shortened(env)} has many agents and the dataset {storage.dataset_id} has one, "
                f"expected an environment of one agent; give that with env."
            )
        self._recorded_codec, self._tolerance = codec, tolerance
        self._collector = _ReplayCollector(env)
        self._acts_in_turns = callable(getattr(env, "last", None))
        self.notes: list[str] = []
        self._common: dict[AgentID, Any] = {}
        for agent in getattr(env, "possible_agents", None) or ():
            if agent in codec.names:
                self._leaves_of(agent, storage.dataset_id)

    def close(self) -> None:
        """Close the environment."""
        self._collector.env.close()

    def _leaves_of(self, agent: AgentID, dataset_id: str = "the dataset") -> Any:
        """Return the codec of the replayed trajectories of an agent, and the leaves to compare."""
        if agent not in self._common:
            env = self._collector.env
            codec = EpisodeCodec(env.observation_space(agent), env.action_space(agent), least_steps=0)
            ours = self._recorded_codec.of_agent(agent)
            if not is_alike(ours.actions, codec.actions):
                difference = differing_leaf(ours.actions.space, codec.actions.space, (ACTIONS,))
                raise EnvironmentSpecError(
                    f"The agent {shortened(agent)} takes other actions than in {dataset_id}: "
                    f"{difference or 'another space'}; give the environment that was recorded."
                )
            notes: list[str] = []
            leaves = common_leaves(ours.observations, codec.observations, notes)
            self.notes += [f"Of the agent {shortened(agent)}: {note}" for note in notes]
            self._common[agent] = codec, leaves
        return self._common[agent]

    # Playing

    def replay(self, recorded: RecordedEpisode) -> EpisodeVerification:
        """Replay an episode from its reset, until it ends or the agents that act are others."""
        recorded_by = {
            agent: trajectory
            for agent, name in self._recorded_codec.names.items()
            if (trajectory := trajectory_of(recorded.columns, name))
        }
        self._collector.record_states(any(path[0] == STATE for path in recorded.columns))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # those of the recording have been shown
            problem = self._play(recorded, self._schedule(recorded_by))
            try:
                buffer = self._collector.taken()
            except (
                Exception,
                SystemExit,
            ) as error:  # of the environment, which is asked what has come of the last actions
                failure = Divergence(recorded.total_steps, "steps", (), "the end", text_of(error))
                buffer, problem = None, problem or failure
        return self._compared(recorded, recorded_by, buffer, problem)

    def _schedule(self, recorded: Mapping[AgentID, Trajectory]) -> list[dict[AgentID, Any]]:
        """Return the actions of each agent at each joint step, or turn."""
        steps: dict[int, dict[AgentID, Any]] = {}
        for agent, trajectory in recorded.items():
            count = len(trajectory[REWARDS])
            actions = actions_of(self._recorded_codec.of_agent(agent), trajectory, count)
            for timestep, action in zip(trajectory[TIMESTEPS].tolist(), actions, strict=False):
                steps.setdefault(timestep, {})[agent] = action
        return [steps.get(step, {}) for step in range(max(steps, default=-1) + 1)]

    def _play(self, recorded: RecordedEpisode, schedule: list[dict[AgentID, Any]]) -> Divergence | None:
        """Take the actions, and the last turns of dead agents after them; return what prevents it, if anything."""
        collector = self._collector
        step: int | None = None
        try:
            collector.reset(seed=recorded.seed, options=recorded.options)
            for step in range(recorded.total_steps):
                actions = schedule[step] if step < len(schedule) else {}
                if self._acts_in_turns:
                    problem, goes_on = self._take_turn(step, actions, is_after=step >= len(schedule))
                else:
                    problem, goes_on = self._take_joint_step(step, actions)
                if problem is not None or not goes_on:
                    return problem
        except (Exception, SystemExit) as error:  # an environment may raise anything
            what = "a reset" if step is None else "a step"
            return Divergence(step, "steps", (), what, text_of(error))
        return None

    def _take_joint_step(self, step: int, actions: dict[AgentID, Any]) -> tuple[Divergence | None, bool]:
        """Take the actions of all agents; return a divergence, and whether there is a next step."""
        alive = list(self._collector.agents)
        others = [agent for agent in actions if agent not in alive]
        if others:
            return Divergence(step, AGENTS, (), f"{shortened(others[0])} acts", "it is not alive"), False
        if not alive:
            return Divergence(step, AGENTS, (), "a joint step", "no agent is alive"), False
        self._collector.step({agent: actions[agent] for agent in alive if agent in actions})
        return None, True

    def _take_turn(self, step: int, actions: dict[AgentID, Any], *, is_after: bool) -> tuple[Divergence | None, bool]:
        """Take the turn of an agent; return a divergence, and whether there is a next turn."""
        env = self._collector.env
        if not env.agents:
            return Divergence(step, AGENTS, (), "a turn", "no agent is alive"), False
        selected = env.agent_selection
        is_dead = env.terminations[selected] or env.truncations[selected]
        if not actions:
            if is_dead:
                self._collector.step(None)
                return None, True
            if is_after:  # the last action has no outcome and was left out
                return None, False
            return Divergence(step, AGENTS, (), "no action", f"{shortened(selected)} acts"), False
        ((agent, action),) = list(actions.items())[:1]
        if agent != selected or is_dead:
            acting = f"{shortened(selected)} {'is dead' if is_dead else 'acts'}"
            return Divergence(step, AGENTS, (), f"{shortened(agent)} acts", acting), False
        self._collector.step(action)
        return None, True

    # Comparing

    def _compared(
        self,
        recorded: RecordedEpisode,
        recorded_by: Mapping[AgentID, Trajectory],
        buffer: AnyEpisodeBuffer | None,
        problem: Divergence | None,
    ) -> EpisodeVerification:
        if problem is not None and buffer is None:  # before anybody has acted
            return EpisodeVerification(recorded.index, "diverged", problem)
        replayed_by = buffer.agents if isinstance(buffer, MultiAgentEpisodeBuffer) else {}
        found: list[Divergence] = [] if problem is None else [problem]
        stop = recorded.total_steps if problem is None else (problem.step if problem.step is not None else 0)
        largest = 0.0
        for agent, trajectory in recorded_by.items():
            name = self._recorded_codec.names[agent]
            lossy = frozenset(path[2:] for path in recorded.lossy if path[:2] == (AGENTS, name))
            replayed = replayed_by.get(agent)
            if replayed is None:
                first = int(trajectory[TIMESTEPS][0])
                if first <= stop:
                    step = first - 1 if first else None
                    found.append(Divergence(step, name, (), "an observation", "the agent is not there"))
                continue
            codec, leaves = self._leaves_of(agent)
            try:
                columns = {
                    **codec.encode(replayed).columns,
                    TIMESTEPS: np.asarray(buffer.timesteps[agent], np.int64),  # type: ignore[union-attr] # is there
                }
            except MinariError as error:
                found.append(Divergence(None, name, (), "values of its space", brief(str(error))))
                continue
            kept = [pair for pair in leaves if pair[0].path not in lossy]
            size, divergence = self._of_agent(name, trajectory, columns, kept, stop, is_whole=problem is None)
            largest = max(largest, size)
            found += [] if divergence is None else [divergence]
        new = [agent for agent in replayed_by if agent not in recorded_by and len(replayed_by[agent])]
        found += [Divergence(None, AGENTS, (), "no trajectory", f"{shortened(agent)} acts") for agent in new]
        if not found:
            size, divergence = self._of_state(recorded, buffer)
            largest = max(largest, size)
            found += [] if divergence is None else [divergence]
        if found:
            first_one = min(found, key=lambda each: -1 if each.step is None else each.step)
            return EpisodeVerification(recorded.index, "diverged", first_one)
        return EpisodeVerification(recorded.index, "within tolerance" if largest else "exact", None, largest)

    def _of_agent(
        self, name: str, ours: Trajectory, theirs: Columns, leaves: Any, stop: int, *, is_whole: bool
    ) -> tuple[float, Divergence | None]:
        """Compare the trajectories of an agent, up to a joint step if the replay ended there."""
        times = ours[TIMESTEPS]
        rows = len(times) if is_whole else int(np.count_nonzero(times <= stop))
        rows = rows if len(theirs[TIMESTEPS]) == len(times) else min(rows, len(theirs[TIMESTEPS]))
        steps = max(rows - 1, 0)
        is_end = rows == len(times)
        found = Differences(self._tolerance)
        pairs: list[tuple[ColumnPath, int, Any, Any]] = [(TIMESTEPS, 0, times[:rows], theirs[TIMESTEPS][:rows])]
        for mine, other in leaves:
            a = rows_of(mine, ours, len(times))[:rows]
            pairs.append((mine.path, 0, a, rows_of(other, theirs, len(theirs[TIMESTEPS]))[:rows]))
        pairs.append((REWARDS, 1, squeezed(ours[REWARDS])[:steps], squeezed(theirs[REWARDS])[:steps]))
        for path in (TERMINATIONS, TRUNCATIONS):
            last = steps if is_end or is_whole else max(steps - 1, 0)  # cut off by the end of the replay
            pairs.append((path, 1, flags_of(ours[path])[:last], flags_of(theirs[path])[:last]))
        for path, first, a, b in pairs:
            found.compare(path, a, b, first)
        if found.first is None:
            if is_whole and len(times) != len(theirs[TIMESTEPS]):
                step = int(times[min(rows, len(times) - 1)]) - 1
                counts = f"{len(times) - 1} steps", f"{len(theirs[TIMESTEPS]) - 1} steps"
                return found.largest, Divergence(step if step >= 0 else None, name, (), *counts)
            return found.largest, None
        row, path, difference = found.first
        return found.largest, divergence_of(int(times[row]) - 1, f"{name}/{path_name(path)}", difference)

    def _of_state(self, recorded: RecordedEpisode, buffer: AnyEpisodeBuffer | None) -> tuple[float, Divergence | None]:
        """Compare the global states, if they are recorded."""
        ours = {path: column for path, column in recorded.columns.items() if path[0] == STATE}
        if not ours:
            return 0.0, None
        state = buffer.state if isinstance(buffer, MultiAgentEpisodeBuffer) else None
        if state is None:
            return 0.0, Divergence(None, STATE, (), "a state", "none")
        encoded = encode_infos({STATE: state}, recorded.total_steps + 1)
        theirs = {path[1:]: column for path, column in encoded.items()}
        found = Differences(self._tolerance)
        for path, column in ours.items():
            other = theirs.get(path)
            if other is None or len(other) != len(column):
                return 0.0, Divergence(None, path_name(path), (), f"{len(column)} values", "others")
            found.compare(path, column, other, -1)
        if found.first is None:
            return found.largest, None
        step, path, difference = found.first
        return found.largest, divergence_of(step, path_name(path), difference)


class _ReplayQueue(EpisodeQueue):
    """Queue that keeps the latest episode in memory, and writes none."""

    latest: AnyEpisodeBuffer | None = None

    def add(self, buffer: AnyEpisodeBuffer) -> list[PendingWarning]:
        self.latest = buffer
        return []


class _ReplayCollector(MultiAgentDataCollector):
    """Collector whose episodes are compared, and not stored."""

    _queue_type = _ReplayQueue

    def record_states(self, wanted: bool) -> None:
        """Record the global state of the next episode, or do not."""
        self._record_state = wanted

    def taken(self) -> AnyEpisodeBuffer | None:
        """End the current episode, and return the latest one; None if no agent has acted."""
        self._interrupt()
        queue: Any = self._queue
        latest: AnyEpisodeBuffer | None = queue.latest
        queue.latest = None
        return latest
