"""Replay of episodes of one agent, step by step, in an environment of Gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from minari._base.json_text import shortened
from minari._base.plain_values import brief
from minari._model.episode_codec import ACTIONS, OBSERVATIONS, REWARDS, TERMINATIONS, TRUNCATIONS, EpisodeCodec
from minari._storages.base import MinariStorage
from minari.data_collector.recorder import EpisodeRecorder
from minari.data_collector.verification.comparison import (
    Difference,
    Differences,
    leaf_codecs,
    rows_of,
)
from minari.data_collector.verification.recorded import RecordedEpisode
from minari.data_collector.verification.report import Divergence, EpisodeVerification
from minari.errors import EnvironmentSpecError, EpisodeError
from minari.spaces import ArrayCodec, Column, ColumnPath, Columns, SpaceCodec, path_name
from minari.spaces.differences import differing_leaf


__all__ = [
    "SingleAgentReplay",
    "actions_of",
    "common_leaves",
    "divergence_of",
    "flags_of",
    "is_alike",
    "squeezed",
    "text_of",
]

_MOST_STEPS = 1024  # between two comparisons

CUT_OFF = "cut off at its last step"


class SingleAgentReplay:
    """Environment that replays episodes of one agent.

    Args:
        storage: the dataset.
        env: the environment.
        tolerance: the tolerated difference.

    Attributes:
        notes: sentences about what is not compared.

    Raises:
        EnvironmentSpecError: the environment takes other actions.
    """

    def __init__(self, storage: MinariStorage, env: gym.Env[Any, Any], tolerance: float) -> None:
        self._env, self._tolerance = env, tolerance
        self._recorded_codec = storage.episode_codec
        self._codec = EpisodeCodec(env.observation_space, env.action_space, least_steps=0)
        self.notes: list[str] = []
        ours, theirs = self._recorded_codec.actions, self._codec.actions
        difference = differing_leaf(ours.space, theirs.space, (ACTIONS,))
        if not is_alike(ours, theirs):
            raise EnvironmentSpecError(
                f"The environment takes other actions than those of {storage.dataset_id}: "
                f"{difference or 'another space'}; give the one that was recorded."
            )
        if difference:
            self.notes.append(
                f"The actions are stored in another dtype than the environment takes ({difference}), which may be a "
                f"cause of differences."
            )
        self._leaves = common_leaves(self._recorded_codec.observations, self._codec.observations, self.notes)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def replay(self, recorded: RecordedEpisode) -> EpisodeVerification:
        """Replay an episode from its reset, until it ends or diverges."""
        actions = actions_of(self._recorded_codec, recorded.columns, recorded.total_steps)
        return _OneEpisode(self._env, self._codec, recorded, actions, self._leaves, self._tolerance).verified()


class _OneEpisode:
    """Replay of one episode, a few steps at a time."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        codec: EpisodeCodec,
        recorded: RecordedEpisode,
        actions: list[Any],
        leaves: list[tuple[SpaceCodec, SpaceCodec]],
        tolerance: float,
    ) -> None:
        columns, total = recorded.columns, recorded.total_steps
        self._env, self._codec, self._episode = env, codec, recorded
        self._leaves = [(ours, theirs) for ours, theirs in leaves if ours.path not in recorded.lossy]
        self._observations = {ours.path: rows_of(ours, columns, total + 1) for ours, _ in self._leaves}
        self._actions = actions
        self._rewards = squeezed(columns[REWARDS])
        self._flags = {path: flags_of(columns[path]) for path in (TERMINATIONS, TRUNCATIONS)}
        # Whoever records cuts off the last episode; the environment would go on.
        self._is_cut = bool(total and self._flags[TRUNCATIONS][-1] and not self._flags[TERMINATIONS][-1])
        self._was_cut = False
        self._recorder = EpisodeRecorder(env.observation_space, env.action_space)
        self._differences = Differences(tolerance)
        self._failure: str | None = None
        self._last: Any = None  # the latest observation

    def verified(self) -> EpisodeVerification:
        """Return the result."""
        index, total = self._episode.index, self._episode.total_steps
        try:
            self._last, _ = self._env.reset(seed=self._episode.seed, options=self._episode.options)
            self._recorder.start(self._last, {}, None, None)
        except (Exception, SystemExit) as error:  # an environment may raise anything
            return EpisodeVerification(index, "diverged", Divergence(None, "steps", (), "a reset", text_of(error)))
        done = count = 0  # first, only the reset is compared
        while True:
            last = self._play(done, min(done + count, total))
            divergence = self._compared(done, last)
            if divergence is not None:
                return EpisodeVerification(index, "diverged", divergence)
            if last == total:
                break
            done, count = last, min(2 * count or 1, _MOST_STEPS)
        largest = self._differences.largest
        note = CUT_OFF if self._was_cut else None
        return EpisodeVerification(index, "within tolerance" if largest else "exact", None, largest, note)

    def _play(self, start: int, stop: int) -> int:
        """Take the actions from ``start`` to ``stop``; return the number of steps so far, if fewer are possible."""
        recorder, terminations, truncations = self._recorder, self._flags[TERMINATIONS], self._flags[TRUNCATIONS]
        for step in range(start, stop):
            action = self._actions[step]
            try:
                recorder.act(action)
                observation, reward, terminated, truncated, _ = self._env.step(action)
                differs = bool(terminated) != terminations[step] or bool(truncated) != truncations[step]
                recorder.add(observation, reward, terminated, truncated, {})
            except (Exception, SystemExit) as error:  # an environment may raise anything
                recorder.drop_half_step()
                self._failure = text_of(error)
                return step
            self._last = observation
            if differs:  # what comes after an end is of no meaning
                return step + 1
        return stop

    def _compared(self, start: int, stop: int) -> Divergence | None:
        """Compare the steps from ``start`` to ``stop``, or the reset if there are none; return a divergence."""
        count = stop - start
        try:
            columns = self._codec.encode(self._recorder.take()).columns
        except EpisodeError as error:
            step = start if count else None
            return Divergence(step, OBSERVATIONS, (), "values of the space", brief(str(error)))
        self._recorder.start(self._last, {}, None, None)
        first = 1 if count else 0  # the first row has been compared before
        for ours, theirs in self._leaves:
            replayed = rows_of(theirs, columns, count + 1)[first:]
            recorded = self._observations[ours.path][start + first : stop + 1]
            self._differences.compare(ours.path, recorded, replayed, start + first - 1)
        if count:
            for path, column in ((REWARDS, self._rewards), *self._flags.items()):
                replayed = columns[path]
                if path == TRUNCATIONS and stop == self._episode.total_steps and self._is_cut and not replayed[-1]:
                    self._was_cut, replayed = True, np.append(replayed[:-1], True)
                self._differences.compare(path, column[start:stop], replayed, start)
        if self._differences.first is not None:
            step, path, difference = self._differences.first
            return divergence_of(step, path_name(path), difference)
        return None if self._failure is None else Divergence(stop, "steps", (), "a step", self._failure)


def divergence_of(step: int, leaf: str, difference: Difference) -> Divergence:
    """Return the divergence for a difference after a step, -1 for the reset."""
    return Divergence(
        None if step < 0 else step,
        leaf,
        difference.index,
        difference.recorded,
        difference.replayed,
        difference.size,
    )


def text_of(error: BaseException) -> str:
    """Return the kind and the message of an exception of an environment, which may have none that can be shown."""
    try:
        return f"{type(error).__name__}: {shortened(str(error))}"
    except Exception:  # of the exception itself
        return type(error).__name__


def is_alike(ours: SpaceCodec, theirs: SpaceCodec) -> bool:
    """Return whether two spaces have the same leaves, of the same kinds and shapes."""
    return [_kind(leaf) for leaf in leaf_codecs(ours)] == [_kind(leaf) for leaf in leaf_codecs(theirs)]


def _kind(codec: SpaceCodec) -> Any:
    return (codec.path, codec.shape) if isinstance(codec, ArrayCodec) else (codec.path, codec.layout())


def common_leaves(ours: SpaceCodec, theirs: SpaceCodec, notes: list[str]) -> list[tuple[SpaceCodec, SpaceCodec]]:
    """Return the codecs of the leaves that a dataset and an environment have in common.

    Args:
        ours: codec of the observations of the dataset.
        theirs: codec of those of the environment.
        notes: where a sentence is added about each leaf of the dataset that the environment does not have.
    """
    others = {leaf.path: leaf for leaf in leaf_codecs(theirs)}
    common = []
    for leaf in leaf_codecs(ours):
        other = others.get(leaf.path)
        if other is not None and _kind(other) == _kind(leaf):
            common.append((leaf, other))
            continue
        other_space = "has none" if other is None else f"has {shortened(other.space)}"
        notes.append(
            f"The {path_name(leaf.path)} were not compared: they are recorded as {shortened(leaf.space)}, and the "
            f"environment {other_space} there."
        )
    return common


def actions_of(codec: EpisodeCodec, columns: Columns, total: int) -> list[Any]:
    """Return the actions of an episode, as the environment takes them, in their own memory."""
    whole: dict[ColumnPath, Column] = {
        leaf.path: np.array(rows_of(leaf, columns, total))
        for leaf in leaf_codecs(codec.actions)
        if isinstance(leaf, ArrayCodec)
    }
    return codec.actions.steps(codec.actions.decode({**columns, **whole}), total)


def squeezed(rewards: Column) -> Column:
    """Return rewards of one number a step in one dimension."""
    return rewards.reshape(len(rewards)) if rewards.ndim > 1 and rewards.size == len(rewards) else rewards


def flags_of(flags: Column) -> Column:
    """Return flags as booleans, shape (T,)."""
    return flags.reshape(len(flags)).astype(np.bool_)
