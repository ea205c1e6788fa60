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
import numpy.typing as npt
from gymnasium.vector.utils import iterate

from minari._base.plain_values import array_of
from minari._model.infos.values import ABSENT


FINAL_OBSERVATION: Final = "final_obs"
FINAL_INFO: Final = "final_info"

_STATISTICS: Final = {"r", "l", "t"}  # the return, length and duration of an episode


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
    mask = array_or_none(infos.get(f"_{key}")) if isinstance(key, str) else None
    return mask if mask is not None and mask.dtype == np.bool_ and mask.shape == (num_envs,) else None


def array_or_none(value: Any) -> npt.NDArray[Any] | None:
    """Return the array of a value that provides one; None for any other."""
    if value is None or type(value) is np.ndarray:
        return value
    try:
        return array_of(value)
    except Exception:  # other libraries may raise anything, and a step must not fail
        return None


def _value_of(values: Any, env: int, num_envs: int) -> Any:
    if isinstance(values, Mapping):
        return info_of(values, env, num_envs)
    array = array_or_none(values)
    if array is not None:
        return array[env] if array.shape[:1] == (num_envs,) else values
    return values[env] if isinstance(values, (list, tuple)) and len(values) == num_envs else values


def without_info(infos: Any, name: str) -> Any:
    """Return the infos of all sub-environments without one key and its mask.

    Args:
        infos: of all sub-environments, or a sequence with the dict of each.
        name: the key; those of nested dicts are joined by ``/``.
    """
    if isinstance(infos, (list, tuple, np.ndarray)):
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
        try:
            finals = list(iterate(space, finals))  # a batch
        except Exception:  # other libraries may raise anything, and a step must not fail
            finals = ()
    if len(finals) != num_envs:
        return [ABSENT] * len(envs)
    return [ABSENT if finals[env] is None else finals[env] for env in envs]


def without_finals(infos: Any, is_over: npt.NDArray[np.bool_]) -> Any:
    """Return the infos of all sub-environments without what belongs to the episodes that have ended.

    Args:
        infos: of a step.
        is_over: where an episode has ended and the sub-environment was reset, shape (n,).
    """
    if isinstance(infos, (list, tuple, np.ndarray)) and len(infos) == len(is_over):
        return [
            _without(info, {FINAL_OBSERVATION, FINAL_INFO, *(_statistics_in(info) if over else ())})
            for info, over in zip(infos, is_over.tolist(), strict=True)
        ]
    return _without(infos, {FINAL_OBSERVATION, FINAL_INFO, *_of_ended(infos, is_over)})


def _without(infos: Any, keys: set[Any]) -> Any:
    """Return infos without some keys and their masks."""
    if not isinstance(infos, Mapping):
        return infos
    masks = {f"_{key}" for key in keys if key in infos}
    return {key: value for key, value in infos.items() if key not in keys and key not in masks}


def final_info(infos: Any, env: int, is_over: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the last info of the episode that has ended in a sub-environment, before its reset in the same step.

    Args:
        infos: of all sub-environments, or a sequence with the dict of each.
        env: the sub-environment.
        is_over: where an episode has ended, shape (n,).
    """
    info = info_of(infos, env, len(is_over))
    last = info.get(FINAL_INFO)
    others = _of_ended(infos, is_over) if isinstance(infos, Mapping) else _statistics_in(info)
    return {**(last if isinstance(last, Mapping) else {}), **{key: info[key] for key in others if key in info}}


def _of_ended(infos: Any, is_over: npt.NDArray[np.bool_]) -> list[Any]:
    """Return the keys of the statistics that a wrapper has added for the episodes that have ended.

    Only sub-environments in which one has ended have them.
    """
    masks = {key: mask_of(infos, key, len(is_over)) for key in _statistics_in(infos)}
    return [key for key, mask in masks.items() if mask is not None and not (mask & ~is_over).any()]


def _statistics_in(infos: Any) -> list[Any]:
    """Return the keys of statistics of episodes like ``episode``: Gymnasium's and those that have more parts."""
    if not isinstance(infos, Mapping):
        return []
    return [
        key
        for key, values in infos.items()
        if isinstance(values, Mapping) and values.keys() >= _STATISTICS and key != FINAL_INFO
    ]
