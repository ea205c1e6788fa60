"""Base of the collectors of many agents, whether these act together or in turns."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._base.json_text import shortened
from minari._base.settings import get_listed_root
from minari._base.warnings import warn
from minari._model.arguments import check_count, check_seed, made_callback
from minari._model.compression import CompressionChoice
from minari._model.multi_agent import AgentID, AgentSpaces
from minari._model.recorded_with import versions_of
from minari._storages.base import PathLike
from minari.data_collector.callbacks import EpisodeMetadataCallback, StepDataCallback
from minari.data_collector.columns import snapshot
from minari.data_collector.episode_collector import FIRST_LOOK, EpisodeCollector, drawn_seed, split_options
from minari.data_collector.episode_queue import EpisodeQueue
from minari.data_collector.exit_handlers import watch
from minari.data_collector.finished_episodes import PendingWarning
from minari.data_collector.multi_agent.agents import DescriptionOfAgents, OutsideValuesOfAgents, SpacesOfAgents
from minari.data_collector.multi_agent.trajectories import RunningTrajectories, Trajectory
from minari.data_collector.open_recording import Medium


class AgentsWrapper:
    """Wrapper of an environment with the methods that both APIs of PettingZoo have; everything else is passed on."""

    env: Any

    def __getattr__(self, name: str) -> Any:
        if name == "env" or (name.startswith("_") and name != "_cumulative_rewards"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
        return getattr(self.env, name)

    @property
    def unwrapped(self) -> Any:
        """Return the environment without wrappers."""
        return self.env.unwrapped

    @property
    def num_agents(self) -> int:
        """Return the number of agents that are alive."""
        return int(self.env.num_agents)

    @property
    def max_num_agents(self) -> int:
        """Return the number of agents that may appear."""
        return int(self.env.max_num_agents)

    def observation_space(self, agent: AgentID) -> gym.Space[Any]:
        """Return the observation space of an agent."""
        return self.env.observation_space(agent)  # type: ignore[no-any-return]

    def action_space(self, agent: AgentID) -> gym.Space[Any]:
        """Return the action space of an agent."""
        return self.env.action_space(agent)  # type: ignore[no-any-return]

    def render(self) -> Any:
        """Return a picture of the environment, or draw it."""
        return self.env.render()

    def state(self) -> Any:
        """Return the global state, whether the environment has it as a method or an attribute."""
        state = self.env.state
        return state() if callable(state) else state

    def close(self, **kwargs: Any) -> None:
        """Close the environment."""
        self.env.close(**kwargs)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __str__(self) -> str:
        return f"{type(self).__name__}<{self.env}>"

    __repr__ = __str__


class AgentsCollector(EpisodeCollector, AgentsWrapper):
    """Base of the collectors of many agents; for the arguments see :class:`~minari.MultiAgentDataCollector`."""

    _queue_type: type[EpisodeQueue] = EpisodeQueue  # where finished episodes go
    _running: RunningTrajectories
    _outside: OutsideValuesOfAgents

    def __init__(
        self,
        env: Any,
        step_data_callback: type[StepDataCallback] = StepDataCallback,
        episode_metadata_callback: type[EpisodeMetadataCallback] = EpisodeMetadataCallback,
        record_infos: bool = False,
        observation_space: gym.Space[Any] | Mapping[Any, gym.Space[Any]] | None = None,
        action_space: gym.Space[Any] | Mapping[Any, gym.Space[Any]] | None = None,
        data_format: str | None = None,
        *,
        record_state: bool = False,
        jpeg_encoding: bool = False,
        compression: CompressionChoice = None,
        buffer_steps: int = 10_000,
        root: PathLike | None = None,
        resume: str | None = None,
    ) -> None:
        made_callback("step_data_callback", step_data_callback, StepDataCallback, EpisodeMetadataCallback)
        made_callback("episode_metadata_callback", episode_metadata_callback, EpisodeMetadataCallback, StepDataCallback)
        check_count("buffer_steps", buffer_steps, 1)
        self.env = env
        self._make_step_callback, self._record_infos = step_data_callback, record_infos
        self._has_callback = step_data_callback is not StepDataCallback
        self._record_state = record_state
        self._spaces = SpacesOfAgents(env, observation_space, action_space)
        get_listed_root(root)  # rejects an invalid root before the first step
        self._root = root
        self._trajectories: dict[AgentID, Trajectory] = {}
        self._refused: set[AgentID] = set()  # left out of the episode
        self._spaces.learn(getattr(env, "possible_agents", None) or ())
        spaces = AgentSpaces(self._spaces.observation_spaces), AgentSpaces(self._spaces.action_spaces)
        medium = Medium(*spaces, None, data_format, jpeg_encoding, compression)
        self._queue = self._queue_type(
            medium,
            describe=DescriptionOfAgents(episode_metadata_callback),
            buffer_steps=buffer_steps,
            root=root,
            resume=resume,
            recorded_with=versions_of(env),
        )
        self._spaces.announce = self._queue.know_agents
        self._running = RunningTrajectories()
        self._outside = OutsideValuesOfAgents()
        self._was_reset = False
        itself = weakref.ref(self)

        def complete_before_end() -> None:
            collector = itself()
            if collector is not None:
                collector._complete()

        self._running.before_end = complete_before_end
        watch(self, self._queue, self._running)

    # Recording

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Reset the environment; the current episode ends here, truncated where agents are alive.

        Args:
            seed: seed of the environment; chosen at random, and recorded, if not given.
            options: options of the reset; ``{"minari_autoseed": False}`` resets without a seed.

        Returns:
            The result of the environment.

        Raises:
            SpaceError: an agent has another space than before.
        """
        check_seed("seed", seed)
        options, draws_seed = split_options(options)
        self._end_episode()
        if seed is None and draws_seed:
            seed = drawn_seed()
        recorded_options = snapshot(options)
        self._was_reset = False
        self._running.clear()
        result = self.env.reset(seed=seed, options=options)
        self._refused.clear()
        self._spaces.begin_episode()
        self._spaces.learn(self._agents())
        self._start(seed, recorded_options)
        self._take_reset(result)
        self._was_reset = True
        return result

    def step(self, action: Any) -> Any:
        """Step the environment and record the result."""
        raise NotImplementedError

    def _take_reset(self, result: Any) -> None:
        """Record what a reset has returned."""
        raise NotImplementedError

    def _complete(self) -> None:
        """Record what has come of the last actions so far, before the episode ends early."""

    def _start(self, seed: int | None, options: dict[str, Any] | None) -> None:
        self._running.start(seed, options)
        self._capacity = min(self._queue.remaining_capacity, FIRST_LOOK)
        if self._record_state:
            self._add_state()

    def _agents(self) -> Sequence[AgentID]:
        """Return the agents that are alive."""
        return getattr(self.env, "agents", None) or ()

    def _trajectory(self, agent: AgentID) -> Trajectory | None:
        """Return the trajectory of an agent that appears; None if its spaces differ from those before."""
        if agent in self._refused:
            return None
        try:
            self._spaces.learn([agent])
        except Exception as error:  # also of the environment, which may not know the agent; a step must not fail
            self._refused.add(agent)
            self._running.note(f"The agent {shortened(agent)} is left out of the episode. {error}")
            return None
        trajectory = self._trajectories.get(agent)
        if trajectory is None:
            trajectory = self._trajectories[agent] = Trajectory(
                agent,
                *self._spaces.of(agent),
                self._make_step_callback(),
                self._record_infos,
                self._running.note,
            )
        trajectory.clear()
        self._running.taking_part[agent] = trajectory
        return trajectory

    def _add_state(self) -> None:
        """Record the global state, if there is one."""
        try:
            self._running.add_state(self.state())
        except Exception as error:  # of the environment; a step must not fail
            self._record_state = False
            self._running.drop_state()
            reason = str(error) or type(error).__name__
            self._running.note(f"The global state is not recorded, since the environment gives none: {reason}")

    # Episodes

    def _end_episode(self) -> None:
        """Move the current episode, if an agent has a step, to the finished ones."""
        running = self._running
        if not len(running):
            running.clear()
            return
        self._complete()
        number, buffer = self._queue.total_episodes, running.ended()
        # Warnings come last, as a warning may raise: the episode is stored by then.
        warnings: list[PendingWarning] = [*running.take_warnings()]
        if buffer is not None:
            self._keep_last_values()
            for agent, episode in buffer.agents.items():
                if len(episode):
                    spaces = self._spaces.of(agent)
                    warnings += self._outside.add(agent, spaces, episode.observations, episode.actions, number)
            warnings += self._queue.add(buffer)
        running.clear()
        for warning in warnings:
            warn(warning)

    def _keep_last_values(self) -> None:
        """Keep what an episode begins with that continues after this one without a reset."""

    def _recorded_spec(self) -> EnvSpec | None:
        return None

    def _interrupt(self) -> None:
        if len(self._running):
            self._end_episode()

    def _check_was_reset(self) -> None:
        if not self._was_reset:
            raise gym.error.ResetNeeded("Cannot record a step before the first reset; call reset() first.")

    def close(self, **kwargs: Any) -> None:
        """Close the environment and write the episodes in memory. Unsaved episodes can be recovered.

        Warns:
            UserWarning: explains how to recover unsaved episodes, if any.
        """
        with suppress(Exception):  # also of a callback; the rest has to be closed
            self._interrupt()  # while the environment can be asked
        super().close(**kwargs)
