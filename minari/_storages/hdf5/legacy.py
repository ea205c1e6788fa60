"""Metadata that releases before 0.5 stored as attributes of the HDF5 file."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from minari._model.env_spec import parse_env_spec, registered_spaces
from minari._model.metadata import upgrade_attributes
from minari._model.metadata_json import SPACES
from minari._storages.hdf5.format.datatypes import TEXT, Kind
from minari._storages.hdf5.reader import EpisodeFile, open_episodes
from minari.errors import DataPathError, DatasetCorruptError, EnvironmentSpecError, SpaceError
from minari.spaces import codec_for
from minari.spaces.inference import infer_observation_space
from minari.spaces.serialization import serialize_space


_MOST_RATIO = 64  # maximum ratio of the values in one row to the bytes of the file, which may be compressed
_ANY_TEXT = gym.spaces.Text(4096, min_length=0, charset=string.printable)


def read_metadata(file: Path) -> dict[str, Any]:
    """Return the content of ``metadata.json`` for a file of 0.3 or 0.4.

    0.3 stored no spaces. They are those of one of Gymnasium's own environments if the file names it, without
    arguments, and its arrays have the shapes of these spaces. Otherwise they have the full range of the types
    of the arrays of the first episode, and ``inferred_spaces`` is true in the metadata.

    Raises:
        DatasetCorruptError: the file is not HDF5, or has neither spaces nor arrays to infer them from.
        DataPathError: the file is HDF5, but not a dataset of this library.
    """
    with open_episodes(file) as opened:
        attributes = opened.root_attributes()
        if "total_episodes" not in attributes:
            raise DataPathError(
                f"No data found in data path {file.parent}; there is no metadata.json, and {file.name} does "
                f"not have the attributes of a dataset from before 0.5 either."
            )
        raw = upgrade_attributes(attributes)
        if any(key not in raw for key in SPACES):
            raw = _with_spaces(raw, opened, file)
    return raw


def _with_spaces(raw: dict[str, Any], opened: EpisodeFile, file: Path) -> dict[str, Any]:
    """Return the metadata with the spaces that it lacks."""
    try:
        arrays = _nested(opened.first_leaves(), file.stat().st_size * _MOST_RATIO)
        inferred = [infer_observation_space(arrays[name]) for name in ("observations", "actions")]
    except (KeyError, SpaceError) as error:
        raise DatasetCorruptError(
            f"{file} describes no spaces, and they cannot be inferred from the arrays of its first episode ({error}); "
            f"copy or download it again."
        ) from error
    registered = None
    if raw.get("env_spec") is not None:
        with suppress(EnvironmentSpecError):
            registered = registered_spaces(parse_env_spec(raw["env_spec"]))
    fits = registered is not None and _shapes(registered) == _shapes(inferred)
    chosen = registered if registered is not None and fits else inferred
    described = {key: serialize_space(space) for key, space in zip(SPACES, chosen, strict=True)}
    return {**described, **raw, **({} if fits else {"inferred_spaces": True})}


def _shapes(spaces: Iterable[gym.Space[Any]]) -> list[list[tuple[Any, tuple[int, ...]]]]:
    return [[(leaf.path, leaf.shape) for leaf in codec_for(space).leaves()] for space in spaces]


def _nested(leaves: Mapping[str, tuple[Kind, tuple[int, ...]]], most_values: int) -> Any:
    """Return empty arrays, nested in dicts and tuples like the groups of an episode.

    Raises:
        SpaceError: one of them has rows that are too large, or values of an unsupported type.
    """
    tree: dict[str, Any] = {}
    for name, (kind, shape) in leaves.items():
        *groups, last = name.split("/")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = _array(kind, shape, most_values)
    return _with_tuples(tree)


def _array(kind: Kind, shape: tuple[int, ...], most_values: int) -> Any:
    if math.prod(shape) > most_values:
        raise SpaceError(f"an array has rows of the shape {shape}")
    if kind == TEXT and not shape:
        return _ANY_TEXT
    if isinstance(kind, str):
        raise SpaceError(f"an array holds {kind}")
    return np.empty((0, *shape), kind)


def _with_tuples(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    parts = {name: _with_tuples(part) for name, part in node.items()}
    positions = [f"_index_{position}" for position in range(len(parts))]
    return tuple(parts[name] for name in positions) if parts and parts.keys() == set(positions) else parts
