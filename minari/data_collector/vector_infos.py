"""The info dicts of the sub-environments in that of a vector environment, as Gymnasium combines them.

For each key there is an array with one value per sub-environment, and beside it a mask ``_<key>`` of those that
have the key; nested dicts are combined in the same way.

>>> import numpy as np
>>> infos = {"x": np.array(["a", None], object), "_x": np.array([True, False]), "step": 3}
>>> info_of(infos, 0, 2), info_of(infos, 1, 2)
({'x': 'a', 'step': 3}, {'step': 3})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import iterate

from minari._model.infos.values import ABSENT


FINAL_OBSERVATION: Final = "final_obs"
FINAL_INFO: Final = "final_info"


def info_of(infos: Any, env: int, num_envs: int) -> dict[str, Any]:
    """Return the info of one sub-environment.

    Args:
        infos: of all sub-environments, or a sequence with the dict of each.
        env: its index.
        num_envs: the number of sub-environments.
    """
    if isinstance(infos, (list, tuple, np.ndarray)):
        info = infos[env] if len(infos) == num_envs else None
        return dict(info) if isinstance(info, Mapping) else {}
    if not isinstance(infos, Mapping):
        return {}
    masks = {f"_{key}": mask for key in infos if (mask := mask_of(infos, key, num_envs)) is not None}
    info = {}
    for key, values in infos.items():
        mask = masks.get(f"_{key}")
        if key not in masks and (mask is None or mask[env]):
            info[key] = _value_of(values, env, num_envs)
    return info


def mask_of(infos: Mapping[str, Any], key: Any, num_envs: int) -> Any:
    """Return the mask of the sub-environments that have a key; None if it has none.

    ``_x`` is a mask if there is an ``x`` and it has one boolean per sub-environment; otherwise it is a key like
    any other.
    """
    mask = infos.get(f"_{key}") if isinstance(key, str) else None
    return mask if isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (num_envs,) else None


def _value_of(values: Any, env: int, num_envs: int) -> Any:
    if isinstance(values, Mapping):
        return info_of(values, env, num_envs)
    if isinstance(values, np.ndarray):
        return values[env] if values.shape[:1] == (num_envs,) else values
    return values[env] if isinstance(values, (list, tuple)) and len(values) == num_envs else values


def without_info(infos: Any, name: str) -> Any:
    """Return the infos of all sub-environments without one key and its mask.

    Args:
        infos: of all sub-environments, or a sequence with the dict of each.
        name: the key; those of nested dicts are joined by ``/``.
    """
    if isinstance(infos, (list, tuple)):
        return [without_info(info, name) for info in infos]
    if not isinstance(infos, Mapping):
        return infos
    kept = {}
    for key, values in infos.items():
        if str(key) == name or (str(key) == f"_{name}" and name in infos):
            continue
        kept[key] = without_info(values, name[len(str(key)) + 1 :]) if name.startswith(f"{key}/") else values
    return kept


def final_values(infos: Any, envs: Sequence[int], space: gym.Space[Any], num_envs: int) -> list[Any]:
    """Return the last observation of sub-environments that were reset in the same step; ABSENT if there is none.

    Args:
        infos: of all sub-environments.
        envs: the sub-environments.
        space: the space of a batch of observations.
        num_envs: the number of sub-environments.
    """
    if not isinstance(infos, Mapping):
        return [info_of(infos, env, num_envs).get(FINAL_OBSERVATION, ABSENT) for env in envs]
    finals = infos.get(FINAL_OBSERVATION)
    if finals is None:
        return [ABSENT] * len(envs)
    if not (isinstance(finals, (list, tuple)) or (isinstance(finals, np.ndarray) and finals.dtype == object)):
        finals = list(iterate(space, finals))  # a batch
    return [finals[env] for env in envs]


def without_finals(infos: Any) -> Any:
    """Return the infos of all sub-environments without what belongs to the episodes that have ended.

    Args:
        infos: of a step in which sub-environments were reset.
    """
    if isinstance(infos, (list, tuple)):
        return [without_finals(info) for info in infos]
    if not isinstance(infos, Mapping):
        return infos
    finals = {FINAL_OBSERVATION, FINAL_INFO, *_of_ended(infos)}
    return {key: value for key, value in infos.items() if not {key, str(key).removeprefix("_")} & finals}


def final_info(infos: Any, env: int, num_envs: int) -> dict[str, Any]:
    """Return the last info of the episode that has ended in a sub-environment, before its reset in the same step."""
    info = info_of(infos, env, num_envs)
    last = info.get(FINAL_INFO)
    others = _of_ended(infos) if isinstance(infos, Mapping) else []
    return {**(last if isinstance(last, Mapping) else {}), **{key: info[key] for key in others if key in info}}


def _of_ended(infos: Mapping[str, Any]) -> list[str]:
    """Return the keys that a wrapper has added for the episodes that have ended, like ``episode``.

    Their parts have no masks, unlike those of a dict that sub-environments return.
    """
    return [
        key
        for key, values in infos.items()
        if key != FINAL_INFO
        and isinstance(values, Mapping)
        and isinstance(infos.get(f"_{key}"), np.ndarray)
        and values
        and not any(f"_{part}" in values for part in values)
    ]
