"""Appends further steps to an episode that is stored already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minari.dataset.episode_buffer import EpisodeBuffer
from minari.errors import EpisodeError


def continued(stored: Mapping[str, Any], metadata: Mapping[str, Any], more: EpisodeBuffer) -> EpisodeBuffer:
    """The whole episode: what is stored, followed by what a buffer has.

    Args:
        stored: the fields of an :class:`~minari.EpisodeData`.
        metadata: of the stored episode; its seed and options stay.
        more: the further steps, with as many observations and infos as actions.

    Raises:
        EpisodeError: the two are nested differently.
    """
    infos = more.infos
    if not stored["infos"] and not infos:
        infos = {}
    return EpisodeBuffer(
        seed=metadata.get("seed"),
        options=metadata.get("options"),
        observations=_joined(stored["observations"], more.observations, "observations"),
        actions=_joined(stored["actions"], more.actions, "actions"),
        rewards=_joined(stored["rewards"], more.rewards, "rewards"),
        terminations=_joined(stored["terminations"], more.terminations, "terminations"),
        truncations=_joined(stored["truncations"], more.truncations, "truncations"),
        infos=_joined(stored["infos"], infos, "infos"),
    )


def _joined(first: Any, second: Any, name: str) -> Any:
    if isinstance(first, Mapping) and isinstance(second, Mapping) and first.keys() == second.keys():
        return {key: _joined(first[key], second[key], f"{name}/{key}") for key in first}
    if isinstance(first, tuple) and isinstance(second, tuple) and len(first) == len(second):
        return tuple(_joined(a, b, f"{name}/{i}") for i, (a, b) in enumerate(zip(first, second, strict=True)))
    if isinstance(second, (list, np.ndarray)) and not isinstance(first, (Mapping, tuple)):
        return [*first, *second]
    raise EpisodeError(
        f"The {name} of the steps that continue an episode are not nested like those that are stored; "
        f"give the same keys and parts."
    )
