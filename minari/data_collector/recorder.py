"""The current episode, leaf by leaf, without checks or trees of temporary objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import gymnasium as gym
import numpy as np

from minari._base.json_text import shortened
from minari._model.episode_buffer import STEP_KEYS, EpisodeBuffer
from minari._model.infos import append_info, discard_info
from minari._model.infos.values import IMMUTABLE
from minari.data_collector.callbacks import StepDataCallback
from minari.data_collector.columns import growing_column, snapshot
from minari.errors import EpisodeError, EpisodeTypeError


if TYPE_CHECKING:
    from minari.data_collector.episode_queue import EpisodeQueue


#: Info of each step where infos are not recorded.
NO_INFO: Final[dict[str, Any]] = {}
_NO_FIELDS: Final = vars(EpisodeBuffer())


class EpisodeRecorder:
    """Recorder of the steps of one episode at a time.

    Args:
        observation_space: space of the recorded observations.
        action_space: space of the recorded actions.

    Attributes:
        started: True if an episode is in progress.
        act: keeps the action of the step that begins, before the environment can modify it.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self._warnings: list[str] = []
        self._observations = growing_column(observation_space, self._warnings)
        self._actions = growing_column(action_space, self._warnings)
        self._append_observation, self.act = self._observations.append, self._actions.append
        self._has_warned = False
        self.clear()

    def clear(self) -> None:
        """Drop the episode."""
        self._observations.clear()
        self._actions.clear()
        self._rewards: list[Any] = []
        # Terminated and truncated, by the number of the step, where one of them is not False.
        self._flags: dict[int, tuple[Any, Any]] = {}
        self._infos: dict[str, Any] = {}
        self._seed: int | None = None
        self._options: dict[str, Any] | None = None
        self.started = False
        self._ended: EpisodeBuffer | None = None  # set last, so that an earlier interruption changes nothing

    def __len__(self) -> int:
        return len(self._rewards)

    def start(self, observation: Any, info: Any, seed: int | None, options: dict[str, Any] | None) -> None:
        """Start an episode with the result of a reset."""
        if self.started or self._ended is not None:
            self.clear()
        try:
            self._append_observation(observation)
            self._add_info(info, recorded=0)
        except BaseException:
            self.clear()
            raise
        self._seed, self._options, self.started = seed, options, True

    def add(self, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> int:
        """Add one step, whose action has already been kept.

        Returns:
            The number of steps.
        """
        step = len(self._rewards)
        if info is not NO_INFO and (type(info) is not dict or info or self._infos):
            self._add_info(info, recorded=step + 1)
        self._append_observation(observation)
        if terminated is not False or truncated is not False:
            self._flags[step] = snapshot(terminated), snapshot(truncated)
        self._rewards.append(reward if type(reward) in IMMUTABLE else snapshot(reward))
        return step + 1

    def drop_half_step(self) -> None:
        """Drop the partial values of a step that was interrupted by an error."""
        self._actions.cut(len(self._rewards))  # appended last
        self.drop_half_outcome()

    def drop_half_outcome(self) -> None:
        """Drop the partial outcome of a step that was interrupted by an error, but not its action."""
        steps = len(self._rewards)
        self._observations.cut(steps + 1)
        while self._flags and next(reversed(self._flags)) >= steps:
            self._flags.popitem()
        cut_infos(self._infos, steps + 1)

    def cut(self, steps: int) -> None:
        """Drop the steps after the first ``steps``."""
        del self._rewards[steps:]
        self.drop_half_step()

    def reopen(self) -> None:
        """Drop the outcome of the last step, whose action is kept, so that another one can be added."""
        del self._rewards[-1:]
        self.drop_half_outcome()

    def _add_info(self, info: Any, recorded: int) -> None:
        info = self.checked_info(info)
        if info or self._infos:
            append_info(self._infos, info, recorded, snapshot)

    def checked_info(self, info: Any) -> Mapping[str, Any]:
        """Return the info of a step; an empty one, with a note, if it is not a dict."""
        if type(info) is dict or isinstance(info, Mapping):
            return info
        if not (info is None or self._has_warned):
            self._has_warned = True
            self._warnings.append(f"The info of a step is {info!r}, expected a dict; it is not recorded.")
        return {}

    def take_warnings(self) -> list[str]:
        """Return the reasons for omitted values so far, one sentence each, without repetitions."""
        warnings = list(self._warnings)
        self._warnings.clear()
        return warnings

    def discard_info(self, name: str) -> None:
        """Drop one info of the current episode."""
        discard_info(self._infos, name)

    def truncate(self) -> None:
        """Mark the last step as truncated, unless the episode has ended there."""
        last = len(self._rewards) - 1
        terminated, _ = self._flags.get(last, (False, False))
        if last >= 0 and not terminated:
            self._flags[last] = terminated, True

    def ended(self) -> EpisodeBuffer | None:
        """Return the episode, which ends here; None if there is no step.

        It is the same object each time until :meth:`clear`, even after an interruption.
        """
        self.started = False
        if self._ended is None and self._rewards:
            self.drop_half_step()  # the program may end while another thread steps
            self._ended = self.buffer()
        return self._ended

    def finish(self, queue: EpisodeQueue) -> None:
        """End the episode, truncated unless it has terminated, and add it to a queue."""
        self.truncate()
        buffer = self.ended()
        if buffer is not None:
            queue.add(buffer)
        self.clear()

    def take(self) -> EpisodeBuffer:
        """Return the episode so far; the recorder is empty afterwards."""
        buffer = self.ended() or self.buffer()
        self.clear()
        return buffer

    def buffer(self) -> EpisodeBuffer:
        """Return the episode so far, even if it has no step."""
        buffer = EpisodeBuffer.__new__(EpisodeBuffer)
        vars(buffer).update(  # in a third of the time of the constructor, as it is frozen
            _NO_FIELDS,
            seed=self._seed,
            options=self._options,
            observations=self._observations.values(),
            actions=self._actions.values(),
            rewards=self._rewards,
            terminations=self._column_of_flags(0),
            truncations=self._column_of_flags(1),
            infos=self._infos,
        )
        return buffer

    def _column_of_flags(self, part: int) -> Any:
        """Return an array of one of the flags of all steps; a list if a value is neither True nor False."""
        column: Any = np.zeros(len(self._rewards), np.bool_)
        for step, flags in self._flags.items():
            if type(flags[part]) is not bool and isinstance(column, np.ndarray):
                column = column.tolist()
            column[step] = flags[part]
        return column


def cut_infos(infos: dict[str, Any], rows: int) -> None:
    """Drop the values of infos after the first ``rows``."""
    for values in infos.values():
        if isinstance(values, dict):
            cut_infos(values, rows)
        else:
            del values[rows:]


class RecordedValues:
    """The values to record, as determined by the step data callback.

    Args:
        callback: called for every step.
        record_infos: True to record the infos, in addition to what the callback adds.
        checked_info: returns an info dict, even if the info of a step is not one.

    Attributes:
        are_returned: True if they are the values of the environment, since the callback is the default one
            and need not be called.
        with_infos: True if the infos are recorded.
    """

    def __init__(
        self, callback: StepDataCallback, record_infos: bool, checked_info: Callable[[Any], Mapping[str, Any]]
    ) -> None:
        self.are_returned = type(callback) is StepDataCallback
        self.with_infos = record_infos
        self._callback, self._checked_info = callback, checked_info

    def of_reset(self, env: gym.Env[Any, Any], observation: Any, info: Any) -> tuple[Any, Any]:
        """Return the observation and the infos to record of a reset.

        Raises:
            EpisodeError: the callback omits something, or does not return a dict.
        """
        if self.are_returned:
            return observation, info if self.with_infos else {}
        step_data = self._callback(env=env, obs=observation, info=info)
        if not isinstance(step_data, Mapping):
            raise EpisodeTypeError(
                f"The StepDataCallback returned {shortened(step_data)}, expected a dict; return one that is based on "
                f"what super().__call__ returns."
            )
        missing = STEP_KEYS - step_data.keys()
        if missing:
            raise EpisodeError(
                f"The StepDataCallback left out {sorted(missing)}, expected each of {sorted(STEP_KEYS)}; change "
                f"what super().__call__ returns."
            )
        return step_data["observation"], self._info(step_data)

    def of_step(
        self, env: gym.Env[Any, Any], action: Any, returned: tuple[Any, Any, bool, bool, Any]
    ) -> tuple[Any, Any, Any, Any, Any, Any]:
        """Return the observation, action, reward, two flags and infos to record of a step."""
        observation, reward, terminated, truncated, info = returned
        step_data = self._callback(
            env=env,
            obs=observation,
            info=info,
            action=action,
            rew=reward,
            terminated=terminated,
            truncated=truncated,
        )
        return (
            step_data["observation"],
            step_data["action"],
            step_data["reward"],
            step_data["terminated"],
            step_data["truncated"],
            self._info(step_data),
        )

    def _info(self, step_data: Mapping[str, Any]) -> Any:
        """Return the info of the step, if infos are recorded, with the keys added by the callback."""
        info = step_data["info"] if self.with_infos else {}
        if len(step_data) <= len(STEP_KEYS):
            return info
        added = {key: value for key, value in step_data.items() if key not in STEP_KEYS}
        return {**self._checked_info(info), **added}
