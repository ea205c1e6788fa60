"""The callback that is called for every step before it is recorded."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from minari._model.episode import StepData


__all__ = ["StepData", "StepDataCallback"]


class StepDataCallback:
    """Callback that converts the values returned by the environment to those recorded.

    Pass a subclass to :class:`~minari.DataCollector` to record something else, such as a part of the
    observation, or something more: added keys are recorded in the infos. A
    :class:`~minari.MultiAgentDataCollector` makes one callback of the class for each agent.

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
        *,
        agent: Any = None,
    ) -> StepData:
        """Return the values to record of one step.

        Args:
            env: the environment inside the collector, after the step.
            obs: the observation.
            info: the info dict.
            action: the action; None after a reset, like all following arguments.
            rew: the reward.
            terminated: True if the step ended in a terminal state.
            truncated: True if the episode was cut off.
            agent: the agent of the values, from a :class:`~minari.MultiAgentDataCollector`, which passes it to a
                callback that accepts it.
        """
        return {
            "action": action,
            "observation": obs,
            "reward": rew,
            "terminated": terminated,
            "truncated": truncated,
            "info": info,
        }
