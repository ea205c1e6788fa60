"""The metadata that releases before 0.5 kept as attributes of the HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from minari.dataset._storages.hdf5_reader import EpisodeFile, open_episodes
from minari.dataset.env_spec import parse_env_spec, spaces_of
from minari.dataset.metadata import upgrade_attributes
from minari.errors import DataPathError, DatasetCorruptError, EnvironmentSpecError
from minari.serialization import serialize_space


def read_metadata(file: Path) -> dict[str, Any]:
    """What ``metadata.json`` would hold for a file of 0.3 or 0.4.

    0.3 kept no spaces: they are those of the environment, and where that cannot be made here, boxes
    without bounds like the arrays of the first episode.

    Raises:
        DatasetCorruptError: the file is not HDF5.
        DataPathError: the file is HDF5, and no dataset of ours.
    """
    with open_episodes(file) as opened:
        attributes = opened.root_attributes()
        if "total_episodes" not in attributes:
            raise DataPathError(
                f"No data found in data path {file.parent}; there is no metadata.json, and {file.name} does "
                f"not have the attributes of a dataset from before 0.5 either."
            )
        raw = upgrade_attributes(attributes)
        if "observation_space" not in raw or "action_space" not in raw:
            spaces = _spaces_of_environment(raw.get("env_spec")) or _spaces_of_data(opened)
            raw["observation_space"], raw["action_space"] = map(serialize_space, spaces)
    return raw


def _spaces_of_environment(env_spec: str | None) -> tuple[gym.Space[Any], gym.Space[Any]] | None:
    if env_spec is None:
        return None
    try:
        return spaces_of(parse_env_spec(env_spec))
    except EnvironmentSpecError:
        return None


def _spaces_of_data(file: EpisodeFile) -> tuple[gym.Space[Any], gym.Space[Any]]:
    leaves = file.first_leaves()
    return _space_like(leaves, "observations"), _space_like(leaves, "actions")


def _space_like(leaves: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], name: str) -> gym.Space[Any]:
    if name in leaves:
        dtype, shape = leaves[name]
        if dtype.kind == "f":
            return gym.spaces.Box(-np.inf, np.inf, shape, dtype.type)
        if dtype.kind not in "iu":
            raise DatasetCorruptError(f"The {name} are {dtype} values, expected numbers.")
        limits = np.iinfo(dtype)
        return gym.spaces.Box(limits.min, limits.max, shape, dtype.type)
    inner = {leaf.removeprefix(f"{name}/").partition("/")[0]: None for leaf in leaves if leaf.startswith(f"{name}/")}
    if not inner:
        raise DatasetCorruptError(f"The first episode has no {name}, which the spaces of the dataset are made of.")
    parts = {part: _space_like(leaves, f"{name}/{part}") for part in inner}
    if all(part.startswith("_index_") for part in parts):
        return gym.spaces.Tuple([parts[f"_index_{position}"] for position in range(len(parts))])
    return gym.spaces.Dict(parts)
