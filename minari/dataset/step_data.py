"""The data of one environment step, as a ``StepDataCallback`` returns them."""

from __future__ import annotations

from typing import Any, SupportsFloat, TypedDict


class StepData(TypedDict):
    """One step of an environment, or its reset.

    For a reset, which has an observation and an info only, the other values are None. A callback
    may add keys of its own: they are recorded as infos.

    Keys:
        observation: the observation after the step.
        action: the action that led to it.
        reward: the reward of the step.
        terminated: whether the episode has ended in a terminal state.
        truncated: whether the episode was cut off.
        info: the info dict.
    """

    observation: Any
    action: Any | None
    reward: SupportsFloat | None
    terminated: bool | None
    truncated: bool | None
    info: dict[str, Any]
