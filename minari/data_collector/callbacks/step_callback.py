"""The hook that sees every step before it is recorded."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from minari._model.episode import StepData


__all__ = ["StepData", "StepDataCallback"]


class StepDataCallback:
    """Turns what the environment returned into what is recorded.

    Subclass it and give the class to :class:`~minari.DataCollector` to record something else, such as
    a part of the observation, or something more: keys that are added are recorded among the infos.

    Example:
        >>> class WithPhysics(StepDataCallback):
        ...     def __call__(self, env, **kwargs):
        ...         step_data = super().__call__(env, **kwargs)
        ...         step_data["force"] = env.unwrapped.force_mag
        ...         return step_data
    """

    def __call__(
        self,
        env: gym.Env[Any, Any],
        obs: Any,
        info: dict[str, Any],
        action: Any | None = None,
        rew: Any | None = None,
        terminated: bool | None = None,
        truncated: bool | None = None,
    ) -> StepData:
        """What to record of one step.

        Args:
            env: the environment under the collector, after the step.
            obs: the observation.
            info: the info dict.
            action: the action; like all that follows, None after a reset.
            rew: the reward.
            terminated: whether the step ended in a terminal state.
            truncated: whether the episode was cut off.
        """
        return {
            "action": action,
            "observation": obs,
            "reward": rew,
            "terminated": terminated,
            "truncated": truncated,
            "info": info,
        }
