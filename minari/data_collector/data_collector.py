"""DataCollector: records an environment while it is used."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import Autoreset

from minari._base.json_text import shortened
from minari._base.settings import get_listed_root
from minari._base.warnings import warn
from minari._model.arguments import check_count, check_seed, check_space, made_callback
from minari._model.compression import CompressionChoice
from minari._model.frame_stack import KEEP, FrameStackChoice
from minari._model.recorded_with import versions_of
from minari._model.space_check import OutsideValues
from minari._storages.base import PathLike
from minari.data_collector.callbacks import EpisodeMetadataCallback, StepDataCallback
from minari.data_collector.columns import last_info, last_row, private, snapshot
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.data_collector.episode_collector import (
    AUTOSEED_BIT_SIZE,
    FIRST_LOOK,
    EpisodeCollector,
    drawn_seed,
    split_options,
)
from minari.data_collector.episode_queue import EpisodeQueue
from minari.data_collector.exit_handlers import watch
from minari.data_collector.finished_episodes import PendingWarning
from minari.data_collector.open_recording import Medium
from minari.data_collector.recorder import NO_INFO, EpisodeRecorder, RecordedValues
from minari.spaces.serialization import serialize_space


__all__ = ["AUTOSEED_BIT_SIZE", "DataCollector", "EpisodeBuffer"]


class DataCollector(EpisodeCollector, gym.Wrapper[Any, Any, Any, Any]):
    """Recorder of the episodes of an environment, from which datasets are created.

    Use the environment as usual: its values are returned unchanged. Recording a step only copies its values;
    spaces are checked when an episode ends. Finished episodes are written to a hidden directory of the
    catalog when enough steps have accumulated, and at the latest five seconds after they have ended, whatever
    the program is doing. If the program ends before they are saved, for any reason, ``minari recover``
    creates a dataset from them.

    An episode that cannot be stored is reported by a warning when it ends, and stays in memory separately;
    see :meth:`discard_episode` and ``on_error`` of :meth:`create_dataset`.

    Args:
        env: the environment.
        step_data_callback: a class like :class:`~minari.StepDataCallback` that selects what to record of a step.
        episode_metadata_callback: a class like :class:`~minari.EpisodeMetadataCallback` that describes episodes.
        record_infos: True to record the info dicts.
        observation_space: space of the recorded observations, if the callback changes it.
        action_space: space of the recorded actions, if the callback changes it.
        data_format: format of the dataset, by default ``"hdf5"``.
        jpeg_encoding: True to store frames as JPEG, which is lossy.
        compression: a codec such as ``"gzip"`` or ``"gzip:9"``, for all columns or for some
            (``{"observations/pixels": "gzip:9"}``). By default, only frames are compressed, without loss.
        frame_stack: ``"deduplicate"`` to store each frame of stacks once, as those of ``FrameStackObservation``, where
            the stacks can be rebuilt exactly from the frames.
        compatible_with: ``"0.5"`` for a dataset that 0.5.4 can read; None for this release.
        buffer_steps: maximum number of steps in memory, including those of the current episode. At this
            number, at 64 MiB, or five seconds after the first of them has ended, finished episodes are
            written to disk.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        resume: name of a recording to continue, as listed by ``minari recover``. Its episodes come first, and
            its format is used.
        max_buffer_steps: name of ``buffer_steps`` before 0.5.
        max_buffer_episodes: ignored.

    Warns:
        UserWarning: an observation or action lies outside its space: once per leaf when the first such
            episode ends, and with the number of steps and the worst value when the recording is saved or
            closed, if there are more; it is recorded anyway. Or an episode cannot be stored, or writing is
            currently not possible.

    Raises:
        TypeError: ``env`` is a vector environment or has many agents, or a callback is an instance instead of a class.
        ArgumentError: ``buffer_steps`` is not a positive integer, or ``frame_stack`` is not a choice.
        SpaceError: a space argument is not a space.
        UnknownFormatError: there is no such format.
        UnknownSpaceError: a space, or one inside it, has a type without a codec.
        CompressionError: the format does not support the codec, or there is no such column.
        DatasetNotFoundError: there is no recording with the name ``resume``.
        DatasetBusyError: the recording to resume is in use by a running program.
        CombineError: the recording to resume has a different environment, spaces or format.

    Example:
        >>> import gymnasium as gym, minari
        >>> env = minari.DataCollector(gym.make("CartPole-v1"))
        >>> observation, info = env.reset(seed=1)
        >>> over = False
        >>> while not over:
        ...     observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        ...     over = terminated or truncated
        >>> dataset = env.create_dataset(
        ...     "docs/collected-v0", algorithm_name="random", author="Ada", author_email="ada@example.org",
        ...     description="one episode", code_permalink="https://example.org", eval_env="CartPole-v1",
        ... )
        >>> dataset.total_episodes
        1
    """

    _outside: OutsideValues

    def __init__(
        self,
        env: gym.Env[Any, Any],
        step_data_callback: type[StepDataCallback] = StepDataCallback,
        episode_metadata_callback: type[EpisodeMetadataCallback] = EpisodeMetadataCallback,
        record_infos: bool = False,
        observation_space: gym.Space[Any] | None = None,
        action_space: gym.Space[Any] | None = None,
        data_format: str | None = None,
        *,
        jpeg_encoding: bool = False,
        compression: CompressionChoice = None,
        frame_stack: FrameStackChoice = KEEP,
        compatible_with: str | None = None,
        buffer_steps: int = 10_000,
        root: PathLike | None = None,
        resume: str | None = None,
        max_buffer_steps: int | None = None,
        max_buffer_episodes: int | None = None,
    ) -> None:
        if isinstance(env, gym.vector.VectorEnv):
            raise TypeError(
                f"DataCollector records a single environment, got the vector environment {env}; record it with "
                f"VectorDataCollector."
            )
        if not isinstance(env, gym.Env) and callable(getattr(env, "observation_space", None)):
            raise TypeError(
                f"DataCollector records an environment of one agent, got {shortened(env)}, which is of many agents; "
                f"record it with MultiAgentDataCollector."
            )
        check_space("observation_space", observation_space)
        check_space("action_space", action_space)
        step_callback = made_callback(
            "step_data_callback", step_data_callback, StepDataCallback, EpisodeMetadataCallback
        )
        episode_callback = made_callback(
            "episode_metadata_callback", episode_metadata_callback, EpisodeMetadataCallback, StepDataCallback
        )
        check_count("buffer_steps", buffer_steps if max_buffer_steps is None else max_buffer_steps, 1)
        super().__init__(env)
        self._observation_space = env.observation_space if observation_space is None else observation_space
        self._action_space = env.action_space if action_space is None else action_space
        for space in (self._observation_space, self._action_space):
            serialize_space(space)  # rejects unsupported spaces before the first step
        if max_buffer_steps is not None:
            _deprecated("max_buffer_steps", "buffer_steps")
            buffer_steps = max_buffer_steps
        if max_buffer_episodes is not None:
            _deprecated("max_buffer_episodes", "buffer_steps")
        get_listed_root(root)  # rejects an invalid root before the first step
        self._root = root
        medium = Medium(
            self._observation_space,
            self._action_space,
            env.spec,
            data_format,
            jpeg_encoding,
            compression,
            frame_stack,
            compatible_with,
        )
        self._queue = EpisodeQueue(
            medium,
            describe=episode_callback,
            buffer_steps=buffer_steps,
            root=root,
            resume=resume,
            recorded_with=versions_of(env),
        )
        self._recorder = self._running = EpisodeRecorder(self._observation_space, self._action_space)
        self._recorded = RecordedValues(step_callback, record_infos, self._recorder.checked_info)
        self._outside = OutsideValues(self._observation_space, self._action_space)
        layer = env
        while isinstance(layer, gym.Wrapper) and not isinstance(layer, Autoreset):
            layer = layer.env
        self._resets_itself = isinstance(layer, Autoreset)
        self._was_reset = False
        self._is_lost = False  # True if the environment may have moved in a step that was interrupted
        self._done = False  # True if the last step ended an episode of the environment
        # Recorded by the last step; the next episode begins with it unless the environment is reset.
        self._last: tuple[Any, dict[str, Any]] = None, {}
        watch(self, self._queue, self._recorder)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; the current episode ends here, truncated unless it has terminated.

        Args:
            seed: seed of the environment; chosen at random, and recorded, if not given.
            options: options of the reset; ``{"minari_autoseed": False}`` resets without a seed.

        Returns:
            The result of the environment.
        """
        check_seed("seed", seed)
        options, draws_seed = split_options(options)
        self._end_episode()
        if seed is None and draws_seed:
            seed = drawn_seed()
        recorded_options = snapshot(options)
        self._is_lost = True
        observation, info = self.env.reset(seed=seed, options=options)
        self._start_episode(*self._recorded.of_reset(self.env, observation, info), seed, recorded_options)
        self._is_lost = False
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment and record the result.

        If a callback changes ``terminated`` or ``truncated``, its values determine where the recorded episode
        ends. After the end of an episode, a step without a reset begins a new one, from the last recorded
        observation and info; an environment with Gymnasium's ``Autoreset`` is reset by the step after its own
        end, which is recorded as a reset.

        If the environment or a callback raises, or Ctrl-C comes in between, the environment may have moved. The
        episode then ends with the step before, truncated, and the observation after the next step begins a new one.

        Returns:
            The result of the environment.
        """
        recorder, recorded = self._recorder, self._recorded
        if self._is_lost or not recorder.started:
            result = self._step_between_episodes(action)
            if result is not None:
                return result
        try:
            if recorded.are_returned:
                recorder.act(action)
                self._is_lost = True
                result = self.env.step(action)
                observation, reward, terminated, truncated, info = result
                if not recorded.with_infos:
                    info = NO_INFO
            else:
                # The environment may modify the action, and the callback should get the original one. Comparing
                # bytes takes a quarter of the time of a copy.
                is_array = type(action) is np.ndarray and not action.dtype.hasobject
                given = action.tobytes() if is_array else private(action)
                self._is_lost = True
                result = self.env.step(action)
                if not is_array:
                    action = given
                elif action.tobytes() != given:
                    action = np.frombuffer(bytearray(given), action.dtype).reshape(action.shape)
                observation, action, reward, terminated, truncated, info = recorded.of_step(self.env, action, result)
                recorder.act(action)
            steps = recorder.add(observation, reward, terminated, truncated, info)
            self._is_lost = False
        except BaseException:
            recorder.drop_half_step()
            raise
        # An environment that resets itself continues elsewhere, regardless of a callback.
        if terminated or truncated or (self._resets_itself and (result[2] or result[3])):
            self._done = bool(result[2] or result[3])
            self._end_episode()
        elif steps >= self._capacity:
            self._free_memory(steps, (observation, action, info))
        return result

    def _step_between_episodes(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]] | None:
        """Begin an episode before a step; return the result of the step if it was the beginning itself."""
        if self._is_lost and self._was_reset:
            return self._step_after_interruption(action)
        if self._recorder.started:  # by a reset that was interrupted when all was done
            return None
        if not self._was_reset:
            raise gym.error.ResetNeeded("Cannot record a step before the first reset; call reset() first.")
        self._end_episode()  # if an interruption occurred in between
        if self._resets_itself and self._done:
            result = self.env.step(action)
            self._start_episode(*self._recorded.of_reset(self.env, result[0], result[4]), None, None)
            return result
        self._start_episode(*self._last, None, None)
        return None

    def _step_after_interruption(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment, which may be elsewhere than the last recorded observation."""
        self._end_episode()
        self._recorder.clear()
        result = self.env.step(action)
        observation, _, terminated, truncated, info = result
        state = self._recorded.of_reset(self.env, observation, info)
        if terminated or truncated:
            self._last, self._done = (snapshot(state[0]), snapshot(state[1])), True
        else:
            self._start_episode(*state, None, None)
        self._is_lost = False
        return result

    def _start_episode(self, observation: Any, info: Any, seed: int | None, options: dict[str, Any] | None) -> None:
        self._recorder.start(observation, info, seed, options)
        self._was_reset, self._done = True, False
        self._capacity = min(self._queue.remaining_capacity, FIRST_LOOK)

    def _end_episode(self) -> None:
        """Move the current episode, if it has a step, to the finished ones."""
        if not len(self._recorder):
            return
        self._recorder.truncate()
        number, buffer = self._queue.total_episodes, self._recorder.ended()
        if buffer is None:
            return
        # The environment and the caller may modify their own, so the copies count.
        self._last = last_row(buffer.observations), last_info(buffer.infos or {})
        # Warnings come last, as a warning may raise: the episode is stored by then.
        warnings: list[PendingWarning] = [*self._recorder.take_warnings()]
        warnings += self._outside.add(buffer.observations, buffer.actions, number)
        warnings += self._queue.add(buffer)
        self._recorder.clear()
        for warning in warnings:
            warn(warning)

    def _recorded_spec(self) -> EnvSpec | None:
        return self.env.spec

    def _interrupt(self) -> None:
        if len(self._recorder):
            self._end_episode()


def _deprecated(old: str, new: str) -> None:
    warn(f"{old} is the older name of {new}; use that.", DeprecationWarning)
