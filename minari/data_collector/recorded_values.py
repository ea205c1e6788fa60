"""What is recorded of a reset and of a step: what a callback makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from minari._base.json_text import shortened
from minari._model.episode_buffer import STEP_KEYS
from minari.data_collector.callbacks import StepDataCallback
from minari.errors import EpisodeError, EpisodeTypeError


class RecordedValues:
    """Takes the callback's word for what is recorded.

    Args:
        callback: says it of every step.
        record_infos: whether the infos are recorded, beside what the callback adds.
        checked_info: gives an info dict, also where the info of a step is none.

    Attributes:
        are_returned: whether they are what the environment returned, since the callback is the one
            that changes nothing and need not be asked.
        with_infos: whether the infos are recorded.
    """

    def __init__(
        self, callback: StepDataCallback, record_infos: bool, checked_info: Callable[[Any], Mapping[str, Any]]
    ) -> None:
        self.are_returned = type(callback) is StepDataCallback
        self.with_infos = record_infos
        self._callback, self._checked_info = callback, checked_info

    def of_reset(self, env: gym.Env[Any, Any], observation: Any, info: Any) -> tuple[Any, Any]:
        """The observation and the infos to record of a reset.

        Raises:
            EpisodeError: the callback leaves something out, or returns something else than a dict.
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
        """The observation, action, reward, two flags and infos to record of a step."""
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
        """The info of the step, where infos are recorded, with what the callback has added to the step."""
        info = step_data["info"] if self.with_infos else {}
        if len(step_data) <= len(STEP_KEYS):
            return info
        added = {key: value for key, value in step_data.items() if key not in STEP_KEYS}
        return {**self._checked_info(info), **added}
