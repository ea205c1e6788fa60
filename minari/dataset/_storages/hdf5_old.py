"""The metadata that releases before 0.5 kept as attributes of the HDF5 file."""

from __future__ import annotations

import math
import string
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np

from minari.dataset._storages.hdf5_file import open_for_reading
from minari.dataset.env_spec import parse_env_spec, registered_spaces
from minari.dataset.metadata import upgrade_attributes
from minari.dataset.raw_metadata import SPACES
from minari.dataset.space_inference import infer_observation_space
from minari.errors import DataPathError, DatasetCorruptError, EnvironmentSpecError, SpaceError
from minari.serialization import serialize_space
from minari.spaces import codec_for


_MOST_LEVELS = 64  # of groups in each other; those of one link to another may go round in circles
_MOST_ARRAYS = 1 << 14
_MOST_RATIO = 64  # of the values in one row to the bytes of the file, which may be compressed
_ANY_TEXT = gym.spaces.Text(4096, min_length=0, charset=string.printable)


def read_metadata(file: Path) -> dict[str, Any]:
    """Return what ``metadata.json`` would hold for a file of 0.3 or 0.4.

    0.3 kept no spaces. They are those of Gymnasium's own environment where the file names one, without
    arguments, and its observations and actions have the shapes of these spaces. Otherwise they are as wide
    as the types of the arrays of the first episode, and ``inferred_spaces`` is true in the metadata.

    Raises:
        DatasetCorruptError: the file is not HDF5, or has neither spaces nor arrays to infer them from.
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
        if any(key not in raw for key in SPACES):
            raw = _with_spaces(raw, opened, file)
    return raw


def _with_spaces(raw: dict[str, Any], opened: h5py.File, file: Path) -> dict[str, Any]:
    """The metadata with the spaces that it lacks."""
    try:
        episode = opened["episode_0"]
        reader = _ArrayTypes(file.stat().st_size * _MOST_RATIO)
        inferred = [infer_observation_space(reader.read(episode[name])) for name in ("observations", "actions")]
    except (KeyError, SpaceError) as error:
        raise DatasetCorruptError(
            f"{file} describes no spaces, and they cannot be inferred from the arrays of its first episode ({error}); "
            f"copy or download it again."
        ) from error
    registered = _registered(raw.get("env_spec"))
    fits = registered is not None and all(map(_has_shapes_of, registered, inferred))
    chosen = registered if registered is not None and fits else inferred
    described = {key: serialize_space(space) for key, space in zip(SPACES, chosen, strict=True)}
    return {**described, **raw, **({} if fits else {"inferred_spaces": True})}


def _registered(env_spec: Any) -> tuple[gym.Space[Any], gym.Space[Any]] | None:
    try:
        return None if env_spec is None else registered_spaces(parse_env_spec(env_spec))
    except EnvironmentSpecError:
        return None


def _has_shapes_of(space: gym.Space[Any], other: gym.Space[Any]) -> bool:
    first, second = ([(leaf.path, leaf.shape) for leaf in codec_for(s).leaves()] for s in (space, other))
    return first == second


class _ArrayTypes:
    """Reads the dtypes and shapes of the arrays of an episode, as arrays without any row.

    Args:
        most_values: that a row may have.
    """

    def __init__(self, most_values: int) -> None:
        self._most_values = most_values
        self._count = 0

    def read(self, item: h5py.Group | h5py.Dataset, level: int = 0) -> Any:
        """Return the arrays, nested in dicts and tuples as the groups are.

        Raises:
            SpaceError: there are too many, or one of them has too large rows.
        """
        self._count += 1
        if level > _MOST_LEVELS or self._count > _MOST_ARRAYS:
            raise SpaceError("there are too many groups")
        if isinstance(item, h5py.Dataset):
            return self._array(item)
        parts = {name: self.read(part, level + 1) for name, part in item.items()}
        positions = [f"_index_{position}" for position in range(len(parts))]
        return tuple(parts[name] for name in positions) if parts and parts.keys() == set(positions) else parts

    def _array(self, item: h5py.Dataset) -> Any:
        if not item.shape or math.prod(item.shape[1:]) > self._most_values:
            raise SpaceError(f"an array has the shape {item.shape}")
        text = h5py.check_string_dtype(item.dtype)
        if text is not None and text.length is None and item.ndim == 1:
            return _ANY_TEXT
        return np.empty((0, *item.shape[1:]), item.dtype)
