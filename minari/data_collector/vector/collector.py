"""VectorDataCollector: records a vector environment while it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from minari._base.json_text import shortened
from minari._base.plain_values import array_of
from minari._base.settings import get_listed_root
from minari._base.warnings import warn
from minari._model.arguments import check_count, check_seed, check_space, made_callback
from minari._model.compression import CompressionChoice
from minari._model.episode_buffer import BufferBatch, EpisodeBuffer
from minari._model.frame_stack import KEEP, FrameStackChoice
from minari._model.infos.values import ABSENT
from minari._model.recorded_with import versions_of
from minari._model.space_check import OutsideValues
from minari._storages.base import PathLike
from minari.data_collector.callbacks import EpisodeMetadataCallback, StepDataCallback
from minari.data_collector.columns import private, snapshot
from minari.data_collector.episode_collector import AUTOSEED_BIT_SIZE, EpisodeCollector, drawn_seed, split_options
from minari.data_collector.episode_queue import EpisodeQueue
from minari.data_collector.exit_handlers import watch
from minari.data_collector.finished_episodes import PendingWarning
from minari.data_collector.open_recording import Medium
from minari.data_collector.recorder import RecordedValues
from minari.data_collector.vector.autoreset import AutoresetMode, autoreset_mode
from minari.data_collector.vector.columns import Numbers, Separate
from minari.data_collector.vector.infos import (
    FINAL_OBSERVATION,
    array_or_none,
    final_info,
    final_values,
    info_of,
    without_finals,
)
from minari.data_collector.vector.recorder import Change, Origin, VectorRecorder
from minari.errors import ArgumentError, ArgumentTypeError, EpisodeTypeError, SpaceError
from minari.spaces.serialization import serialize_space


__all__ = ["VectorDataCollector", "single_spec"]

_RESET_MASK = "reset_mask"
#: Arguments of ``gymnasium.make_vec`` that are not those of the single environment.
_OF_MAKE_VEC = ("num_envs", "vectorization_mode", "vector_kwargs", "wrappers", "max_episode_steps")

#: The results of a step: observations, rewards, terminations, truncations, infos.
StepResult: TypeAlias = tuple[Any, Any, Any, Any, dict[str, Any]]


class VectorDataCollector(EpisodeCollector, VectorWrapper):
    """Recorder of the episodes of a vector environment, from which datasets are created.

    Use the environment as usual: its values are returned unchanged. The dataset is the one that a recorder inside
    each sub-environment would create, for every autoreset mode: an observation that a reset returns never follows
    the action of the step before, and the last observation of an episode is its own. Episodes are in the order in
    which they end, those of one step by their sub-environment, and have its index in their metadata, ``env_index``.

    Writing, recovery and episodes that cannot be stored are as in :class:`~minari.DataCollector`.

    Args:
        env: the vector environment, whose metadata must name its ``autoreset_mode``.
        step_data_callback: as in :class:`~minari.DataCollector`; called for each sub-environment and step.
        episode_metadata_callback: as in :class:`~minari.DataCollector`.
        record_infos: True to record the info dicts.
        observation_space: space of the recorded observations of one sub-environment, if the callback changes it.
        action_space: space of the recorded actions of one sub-environment, if the callback changes it.
        data_format: format of the dataset, by default ``"hdf5"``.
        jpeg_encoding: True to store frames as JPEG, which is lossy.
        compression: as in :class:`~minari.DataCollector`.
        frame_stack: ``"deduplicate"`` to store each frame of stacks once, as those of ``FrameStackObservation``, where
            the stacks can be rebuilt exactly from the frames.
        compatible_with: ``"0.5"`` for a dataset that 0.5.4 can read; None for this release.
        buffer_steps: maximum number of steps of finished episodes in memory. At this number, at 64 MiB, or five
            seconds after the first of them has ended, they are written to disk.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        resume: name of a recording to continue, as listed by ``minari recover``.

    Warns:
        UserWarning: as :class:`~minari.DataCollector`.

    Raises:
        TypeError: ``env`` is not a vector environment, or a callback is an instance instead of a class.
        ArgumentError: the environment names no autoreset mode, or ``buffer_steps`` is not a positive integer.
        SpaceError: a space argument is not a space; or the environment is an ``AsyncVectorEnv`` that returns
            stale texts.

    The other exceptions are those of :class:`~minari.DataCollector`.

    Example:
        >>> import gymnasium as gym, minari
        >>> envs = minari.VectorDataCollector(gym.make_vec("CartPole-v1", num_envs=8, vectorization_mode="sync"))
        >>> observations, infos = envs.reset(seed=1)
        >>> while envs.total_episodes < 20:
        ...     observations, rewards, terminations, truncations, infos = envs.step(envs.action_space.sample())
        >>> dataset = envs.create_dataset(
        ...     "docs/vector-v0", algorithm_name="random", author="Ada", author_email="ada@example.org",
        ...     description="at least 20 episodes", code_permalink="https://example.org", eval_env="CartPole-v1",
        ... )
        >>> dataset.total_episodes >= 20, dataset.observation_space.shape
        (True, (4,))
    """

    _outside: OutsideValues

    def __init__(
        self,
        env: VectorEnv,
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
        buffer_steps: int = 100_000,
        root: PathLike | None = None,
        resume: str | None = None,
    ) -> None:
        if not isinstance(env, VectorEnv):
            raise TypeError(
                f"VectorDataCollector records a vector environment, got {shortened(env)}; record a single "
                f"environment with DataCollector."
            )
        self._mode = autoreset_mode(env)
        check_space("observation_space", observation_space)
        check_space("action_space", action_space)
        step_callback = made_callback(
            "step_data_callback", step_data_callback, StepDataCallback, EpisodeMetadataCallback
        )
        episode_callback = made_callback(
            "episode_metadata_callback", episode_metadata_callback, EpisodeMetadataCallback, StepDataCallback
        )
        check_count("buffer_steps", buffer_steps, 1)
        _check_texts(env)
        super().__init__(env)
        spaces = (
            env.single_observation_space if observation_space is None else observation_space,
            env.single_action_space if action_space is None else action_space,
        )
        for space in spaces:
            serialize_space(space)  # rejects unsupported spaces before the first step
        get_listed_root(root)  # rejects an invalid root before the first step
        self._root = root
        self._spec = single_spec(env)
        medium = Medium(*spaces, self._spec, data_format, jpeg_encoding, compression, frame_stack, compatible_with)
        self._queue = EpisodeQueue(
            medium,
            describe=episode_callback,
            buffer_steps=buffer_steps,
            root=root,
            resume=resume,
            recorded_with=versions_of(env),
        )
        self._recorded = RecordedValues(step_callback, record_infos, _info_dict)
        self._outside = OutsideValues(*spaces)
        keeper = _Keeper(self._queue, self._outside)
        self._recorder = self._running = VectorRecorder(env.num_envs, *spaces, keeper, buffer_steps)
        self._everyone = np.arange(env.num_envs)
        self._lost = self._everyone[:0]  # sub-environments that may have moved in a step that was interrupted
        self._has_warned = False
        self._warnings: list[PendingWarning] = []
        # Without shared memory, it forgets that the caller has reset what it was going to reset in the next step.
        self._resets_again = (
            self._mode is AutoresetMode.NEXT_STEP
            and isinstance(env.unwrapped, AsyncVectorEnv)
            and not getattr(env.unwrapped, "shared_memory", True)
        )
        # Each sub-environment has a generator of its own, which a seed of its own determines.
        self._has_own_seeds = isinstance(env.unwrapped, (SyncVectorEnv, AsyncVectorEnv))
        self._envs = getattr(env.unwrapped, "envs", None) or [env] * env.num_envs
        self._queue.source = self._recorder
        watch(self, self._queue, self._recorder)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all sub-environments, or some; their episodes end here, truncated unless they have terminated.

        Args:
            seed: an integer, with which sub-environment i gets the seed + i; or one seed or None for each. Where
                none is given, one of 32 bits is drawn, and recorded. An environment whose sub-environments share
                one generator takes one integer, recorded as ``vector_seed`` in the metadata of the episodes.
            options: options of the reset. ``{"minari_autoseed": False}`` resets without seeds,
                ``{"reset_mask": mask}`` resets the sub-environments where the mask is true.

        Returns:
            The result of the environment.
        """
        seeds = self._seeds(seed)
        options, draws_seeds = split_options(options)
        given = dict(options or {})
        if draws_seeds:
            seeds = self._drawn(seeds)
        some = self._masked(given.get(_RESET_MASK))
        is_again = self._resets_again & ~self._recorder.is_running & self._recorder.is_started
        self._end(self._everyone if some is None else some, continues=False)
        if some is None:
            self._recorder.clear()
        envs = self._everyone if some is None else some
        self._lost = np.setdiff1d(self._lost, envs)
        recorded_options = snapshot({key: value for key, value in given.items() if key != _RESET_MASK}) or None
        # (The environment may remove the mask from the options.)
        observations, infos = self.env.reset(seed=seeds, options=given or None)  # type: ignore[arg-type]
        origins = self._origins(seeds, recorded_options)
        values = self._reset_values(observations, infos, envs)
        with self._recorder.lock.current:
            if some is None:
                self._recorder.start_all(*values, origins)
            else:
                self._recorder.start(some, *values, origins)
        self._lost = np.union1d(self._lost, envs[is_again[envs]])
        return observations, infos

    def _masked(self, mask: Any) -> Numbers | None:
        """Return the sub-environments that a reset concerns; None for all.

        Raises:
            ArgumentTypeError: the mask is something else.
        """
        if mask is None or not (self._has_own_seeds or self._mode is AutoresetMode.DISABLED):
            return None
        array = array_or_none(mask)
        if array is None or array.dtype != np.bool_ or array.shape != (self.num_envs,):
            raise ArgumentTypeError(
                f"The reset_mask is {shortened(mask)}, expected an array of {self.num_envs} booleans, one for each "
                f"sub-environment."
            )
        if not self._recorder.is_started:
            raise gym.error.ResetNeeded("Cannot reset some sub-environments before all of them; call reset() first.")
        return np.flatnonzero(array)

    def _seeds(self, seed: Any) -> int | list[int | None] | None:
        """Return checked seeds: one for each sub-environment, or that of a shared generator, or None."""
        if isinstance(seed, (list, tuple, np.ndarray)):
            for one in seed:
                check_seed("seed", one)
            if len(seed) != self.num_envs:
                raise ArgumentError(
                    f"seed has {len(seed)} seeds, expected one for each of {self.num_envs} sub-environments."
                )
            return [None if one is None else int(one) for one in seed]
        check_seed("seed", seed)
        if seed is None or not self._has_own_seeds:
            return None if seed is None else int(seed)
        limit = 2**AUTOSEED_BIT_SIZE if seed < 2**AUTOSEED_BIT_SIZE else None
        return [int(seed) + env if limit is None else (int(seed) + env) % limit for env in range(self.num_envs)]

    def _drawn(self, seeds: int | list[int | None] | None) -> int | list[int | None] | None:
        """Return the seeds with random ones where there are none."""
        if seeds is None and not self._has_own_seeds:
            return drawn_seed()
        if isinstance(seeds, int) or not self._has_own_seeds:
            return seeds
        given = [None] * self.num_envs if seeds is None else seeds
        return [drawn_seed() if seed is None else seed for seed in given]

    def _origins(self, seeds: int | list[int | None] | None, options: dict[str, Any] | None) -> list[Origin]:
        """Return the origin of the episode that starts in each sub-environment."""
        shared = {"vector_seed": seeds} if isinstance(seeds, int) else {}
        own = seeds if isinstance(seeds, list) else [None] * self.num_envs
        return [Origin(seed, options, {"env_index": env, **shared}) for env, seed in enumerate(own)]

    def _reset_values(self, observations: Any, infos: Any, envs: Numbers) -> tuple[Any, Any]:
        """Return the observations and infos to record of a reset of some sub-environments."""
        recorded = self._recorded
        if recorded.are_returned:
            return observations, snapshot(infos) if recorded.with_infos else None
        parts = self._split("observations", observations, self.env.observation_space)
        values = {env: recorded.of_reset(self._envs[env], parts[env], self._info(infos, env)) for env in envs.tolist()}
        any_value: tuple[Any, Any] = next(iter(values.values()), (None, {}))  # for the others, which are not read
        observations, infos = zip(*(values.get(env, any_value) for env in range(self.num_envs)), strict=True)
        return Separate(observations), snapshot(infos)

    def _split(self, name: str, batch: Any, space: gym.Space[Any] | None = None) -> list[Any]:
        """Return the part of each sub-environment, for the callback.

        Raises:
            EpisodeTypeError: there is not one for each.
        """
        try:
            parts = list(batch if space is None else iterate(space, batch))
        except Exception:  # other libraries may raise anything
            parts = []
        if len(parts) != self.num_envs:
            raise EpisodeTypeError(
                f"The {name} of a step are {shortened(batch)}, expected a batch with a part for each of "
                f"{self.num_envs} sub-environments; without it the callback cannot be called."
            )
        return parts

    def _info(self, infos: Any, env: int) -> dict[str, Any]:
        return info_of(infos, env, self.num_envs)

    def step(self, actions: Any) -> StepResult:
        """Step all sub-environments and record the results.

        If the environment or a callback raises, or Ctrl-C comes in between, some sub-environments may have moved.
        Their episodes end with the step before, truncated, and the observations after the next step begin new ones.

        Returns:
            The result of the environment.
        """
        recorder = self._recorder
        if not recorder.is_started:
            raise gym.error.ResetNeeded("Cannot record a step before the first reset; call reset() first.")
        warnings = recorder.hand_over() if recorder.must_hand_over else []
        lost = self._lost
        if lost.size:
            with recorder.lock.current:
                recorder.end(lost, continues=False)
        self._lost = self._everyone
        if self._recorded.are_returned:
            recorder.act(actions)
            result = self.env.step(actions)
            with recorder.lock.current:
                self._record(result, lost)
        else:
            given = private(actions)
            result = self.env.step(actions)
            with recorder.lock.current:
                self._record_with_callback(given, result, lost)
        self._lost = self._everyone[:0]
        if recorder.has_ended:
            self._queue.schedule()
        if self._warnings:
            warnings, self._warnings = [*warnings, *self._warnings], []
        for warning in warnings:
            warn(warning)
        return result

    def _record(self, result: StepResult, lost: Numbers) -> None:
        """Record the values of the environment."""
        observations, rewards, terminations, truncations, infos = result
        terminated, truncated = self._flags("terminations", terminations), self._flags("truncations", truncations)
        recorder, with_infos = self._recorder, self._recorded.with_infos
        is_running, is_over = recorder.is_running, terminated | truncated
        is_ended = is_over & is_running
        change, kept = None, snapshot(infos) if with_infos else None
        is_next_step, is_same_step = self._mode is AutoresetMode.NEXT_STEP, self._mode is AutoresetMode.SAME_STEP
        last = kept
        if is_same_step and with_infos:
            kept = without_finals(kept, is_over)
        count = np.count_nonzero  # a third of the time of `any`
        if count(is_ended) or (is_next_step and count(is_running) < self.num_envs) or lost.size:
            ended = is_ended.nonzero()[0]
            starts = ~is_running if is_next_step else is_ended if is_same_step else np.zeros(self.num_envs, np.bool_)
            starts[lost] = is_same_step | ~is_over[lost]
            started = starts.nonzero()[0]
            if is_same_step:
                finals = self._finals(infos, ended.tolist())
                last_infos = [final_info(last, env, is_over) for env in ended.tolist()] if with_infos else None
                change = Change(ended, started, finals, last_infos)
            else:
                change = Change(ended, started)
        if rewards is None:
            rewards = Separate([ABSENT] * self.num_envs)
        recorder.add(observations, rewards, terminated, truncated, kept, change)

    def _finals(self, infos: Any, envs: Sequence[int]) -> list[Any]:
        """Return the last observations of episodes that have ended before a reset in the same step."""
        finals = final_values(infos, envs, self.env.observation_space, self.num_envs)
        if any(value is ABSENT for value in finals) and not self._has_warned:
            self._has_warned = True
            self._warnings.append(
                f"The infos of a step in which an episode has ended have no last observation of it under "
                f"'{FINAL_OBSERVATION}', expected one as the autoreset mode of {self.env} is SAME_STEP; such episodes "
                f"cannot be stored. Put the mode that applies into env.metadata under 'autoreset_mode'."
            )
        return finals

    def _record_with_callback(self, actions: Any, result: StepResult, lost: Numbers) -> None:
        """Record the values that the callback returns for each sub-environment."""
        observations, rewards, terminations, truncations, infos = result
        is_over = self._flags("terminations", terminations) | self._flags("truncations", truncations)
        recorder, recorded, mode = self._recorder, self._recorded, self._mode
        given = self._split("actions", actions, self.env.action_space)
        after = self._split("observations", observations, self.env.observation_space)
        earned = self._split("rewards", rewards)
        finals: dict[int, Any] = {}
        infos_after = infos
        if mode is AutoresetMode.SAME_STEP:
            over = np.flatnonzero(is_over).tolist()
            finals = dict(zip(over, self._finals(infos, over), strict=True))
            infos_after = without_finals(infos, is_over)
        steps: dict[int, tuple[Any, ...]] = {}
        resets: dict[int, tuple[Any, Any]] = {}
        starts = np.full(self.num_envs, mode is AutoresetMode.NEXT_STEP)  # of those without an episode
        starts[lost] = ~is_over[lost]
        for env, (is_running, is_start) in enumerate(zip(recorder.is_running.tolist(), starts.tolist(), strict=True)):
            if is_running:
                is_final = env in finals
                info = final_info(infos, env, is_over) if is_final else self._info(infos_after, env)
                last = finals[env] if is_final else after[env]
                values = last, earned[env], terminations[env], truncations[env], info
                steps[env] = recorded.of_step(self._envs[env], given[env], values)
            if env in finals or (not is_running and is_start):
                resets[env] = recorded.of_reset(self._envs[env], after[env], self._info(infos_after, env))
        ended = [
            env
            for env, (_, _, _, terminated, truncated, _) in steps.items()
            # An environment that resets itself continues elsewhere, regardless of a callback.
            if terminated or truncated or (is_over[env] and mode is not AutoresetMode.DISABLED)
        ]
        started = sorted({*resets, *(env for env in ended if not is_over[env])})
        change = Change(
            np.array(ended, np.int64),
            np.array(started, np.int64),
            [steps[env][0] for env in ended],
            snapshot([steps[env][5] for env in ended]),
        )
        if not (steps or resets):
            return
        others = next(iter(steps.values()), None)  # for rows that are not read
        rows = [steps.get(env, others) for env in range(self.num_envs)]
        _, acted, *outcomes, _ = zip(*rows, strict=True) if others else [None] * 6
        states = {**{env: (values[0], values[5]) for env, values in steps.items()}, **resets}
        other_state = next(iter(states.values()))
        new, new_infos = zip(*(states.get(env, other_state) for env in range(self.num_envs)), strict=True)
        recorder.act(None if acted is None else Separate(acted))
        rewards, terminations, truncations = outcomes
        infos = snapshot(new_infos)
        recorder.add(Separate(new), rewards, terminations, truncations, infos, change if ended or started else None)

    def _flags(self, name: str, values: Any) -> npt.NDArray[np.bool_]:
        """Return the flags of all sub-environments, shape (n,)."""
        flags = values if type(values) is np.ndarray else array_of(values)
        if flags is None and isinstance(values, (list, tuple)):
            flags = np.array(values, object)
        if flags is None or flags.shape != (self.num_envs,):
            raise EpisodeTypeError(
                f"The {name} of a step are {shortened(values)}, expected an array of {self.num_envs} booleans, one for "
                f"each sub-environment."
            )
        return flags if flags.dtype == np.bool_ else flags.astype(np.bool_)

    def _end(self, envs: Numbers, *, continues: bool) -> None:
        """End the running episodes of some sub-environments."""
        with self._recorder.lock.current:
            self._recorder.end(envs, continues=continues)
        self._settle()

    def _settle(self) -> None:
        for warning in self._recorder.hand_over():
            warn(warning)

    def _interrupt(self) -> None:
        self._end(self._everyone, continues=True)

    def _recorded_spec(self) -> EnvSpec | None:
        return self._spec


@dataclass(frozen=True, slots=True)
class _Keeper:
    """The queue of the finished episodes, with the check of their values.

    Attributes:
        queue: the queue.
        outside: the values outside their spaces.
    """

    queue: EpisodeQueue
    outside: OutsideValues

    def add(self, buffer: EpisodeBuffer) -> list[PendingWarning]:
        """Add an episode; return problems, one sentence each."""
        warnings: list[PendingWarning] = []
        warnings += self.outside.add(buffer.observations, buffer.actions, self.queue.total_episodes)
        return warnings + self.queue.add(buffer)

    def add_batch(self, batch: BufferBatch) -> list[PendingWarning] | None:
        """Add episodes, as :meth:`add`; None if that has to be done one by one."""
        if self.outside.is_any(batch.observations, batch.actions):
            return None
        return self.queue.add_batch(batch)


def _check_texts(env: VectorEnv) -> None:
    """Raise if the environment returns texts of earlier steps."""
    base = env.unwrapped
    if (
        isinstance(base, AsyncVectorEnv)
        and getattr(base, "shared_memory", False)
        and _has_text(base.single_observation_space)
    ):
        raise SpaceError(
            f"The observations of {env} hold Text, of which an AsyncVectorEnv with shared memory returns earlier "
            f"values; make it with shared_memory=False."
        )


def _has_text(space: gym.Space[Any]) -> bool:
    if isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
        parts = space.spaces.values() if isinstance(space, gym.spaces.Dict) else space.spaces
        return any(map(_has_text, parts))
    return isinstance(space, gym.spaces.Text)


def single_spec(env: VectorEnv) -> EnvSpec | None:
    """Return the spec of the single environment, from which ``gymnasium.make`` creates it; None if it is unknown."""
    get_attr = getattr(env.unwrapped, "get_attr", None)
    if get_attr is not None:
        try:
            spec = get_attr("spec")[0]
        except Exception:  # custom environments may raise anything
            spec = None
        if isinstance(spec, EnvSpec):
            return spec
    spec = env.spec
    if spec is None:
        return None
    arguments = {key: value for key, value in spec.kwargs.items() if key not in _OF_MAKE_VEC}
    return replace(
        spec, kwargs=arguments, max_episode_steps=spec.kwargs.get("max_episode_steps", spec.max_episode_steps)
    )


def _info_dict(info: Any) -> Mapping[str, Any]:
    return info if isinstance(info, Mapping) else {}
