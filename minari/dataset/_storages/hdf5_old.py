"""The metadata that releases before 0.5 kept as attributes of the HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np

from minari.dataset._storages.hdf5_file import open_for_reading
from minari.dataset.env_spec import parse_env_spec, spaces_of
from minari.dataset.metadata import upgrade_attributes
from minari.errors import DataPathError, EnvironmentSpecError
from minari.serialization import serialize_space


def read_metadata(file: Path) -> dict[str, Any]:
    """What ``metadata.json`` would hold for a file of 0.3 or 0.4.

    0.3 kept no spaces: they are those of the environment, and where that cannot be made here, boxes
    without bounds like the arrays of the first episode.

    Raises:
        DatasetCorruptError: the file is not HDF5.
        DataPathError: the file is HDF5, and no dataset of ours.
    """
    with open_for_reading(file) as opened:
        attributes = dict(opened.attrs)
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


def _spaces_of_data(file: h5py.File) -> tuple[gym.Space[Any], gym.Space[Any]]:
    episode = file["episode_0"]
    return _space_like(episode["observations"]), _space_like(episode["actions"])


def _space_like(item: h5py.Group | h5py.Dataset) -> gym.Space[Any]:
    if isinstance(item, h5py.Dataset):
        if item.dtype.kind == "f":
            return gym.spaces.Box(-np.inf, np.inf, item.shape[1:], item.dtype.type)
        limits = np.iinfo(item.dtype)
        return gym.spaces.Box(limits.min, limits.max, item.shape[1:], item.dtype.type)
    parts = {name: _space_like(part) for name, part in item.items()}
    if parts and all(name.startswith("_index_") for name in parts):
        return gym.spaces.Tuple([parts[f"_index_{position}"] for position in range(len(parts))])
    return gym.spaces.Dict(parts)
